"""Messages that the fast reader does not know."""

import json
from typing import Any

import pytest
from msgspec import UNSET, Raw

from router.errors import InvalidRequest
from router.translate.mistral.foreign import read_message, read_messages
from router.translate.mistral.message import Assistant, Developer, Message, System, Tool, User
from router.translate.notes import Notes, Rule


def read(message: Any) -> tuple[Message, Notes]:
    notes = Notes(explain=True)
    return read_message(Raw(json.dumps(message).encode()), 3, notes), notes


@pytest.mark.parametrize(
    ("role", "kind"),
    [
        ("human", User),
        ("ai", Assistant),
        ("model", Assistant),
        ("function", Tool),
        ("tool_results", Tool),
        ("User", User),
        ("SYSTEM", System),
        ("Developer", Developer),
    ],
)
def test_r2_roles_of_others_get_openais_names(role: str, kind: type) -> None:
    message, notes = read({"role": role, "content": "x"})

    assert type(message) is kind
    assert notes.repaired == {Rule.R2}
    assert not notes.lost


def test_a_message_of_the_usual_shape_is_read_without_a_note() -> None:
    message, notes = read({"role": "user", "content": "x"})

    assert type(message) is User
    assert not notes.repaired


@pytest.mark.parametrize(("value", "is_loss"), [(None, False), ([], False), ("x", True), ({"a": 1}, True)])
def test_r1_keys_that_nobody_knows_go_and_are_lost_if_they_said_something(value: object, is_loss: bool) -> None:
    message, notes = read({"role": "user", "content": "x", "foo": value})

    assert message == User(Raw(b'"x"'))
    assert notes.steps == [(Rule.R1, "messages.3.foo", is_loss)]


def test_ids_of_other_types_become_text() -> None:
    message, notes = read({"role": "tool", "content": "x", "tool_call_id": 5})

    assert isinstance(message, Tool)
    assert message.tool_call_id == "5"
    assert notes.repaired == {Rule.R3}


def test_calls_of_other_shapes_are_read() -> None:
    message, notes = read({"role": "assistant", "tool_calls": [{"id": 5, "function": {"name": "f"}}]})

    assert isinstance(message, Assistant)
    assert message.content is UNSET
    assert message.tool_calls
    assert (message.tool_calls[0].id, message.tool_calls[0].function.name) == ("5", "f")
    assert notes.repaired == {Rule.R4}


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("text", "messages.3"),
        (None, "messages.3"),
        ({"content": "x"}, "messages.3.role"),
        ({"role": 5}, "messages.3.role"),
        ({"role": "wizard"}, "messages.3.role"),
        ({"role": "assistant", "tool_calls": {}}, "messages.3.tool_calls"),
        ({"role": "assistant", "tool_calls": ["f"]}, "messages.3.tool_calls.0"),
        ({"role": "assistant", "tool_calls": [{"id": "a", "type": "function"}]}, "messages.3.tool_calls.0"),
    ],
)
def test_r37_what_is_no_message_is_refused_by_its_place(message: object, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(message)

    assert (refused.value.param, refused.value.code) == (param, "unsupported_value")


@pytest.mark.parametrize("messages", [None, Raw(b"null"), Raw(b"{}"), Raw(b'"x"')])
def test_r37_messages_must_be_a_list(messages: object) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_messages(messages, Notes())

    assert refused.value.param == "messages"


def test_a_long_role_is_not_repeated_in_full() -> None:
    with pytest.raises(InvalidRequest) as refused:
        read({"role": "x" * 10_000})

    assert len(refused.value.message) < 200
