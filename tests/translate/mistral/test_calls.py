"""Calls of assistant messages."""

import json
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from router.errors import InvalidRequest
from router.translate.mistral.calls import canonical_call, is_plain_call, legacy_call, made_call, read_calls
from router.translate.mistral.message import Call, Function, encoded
from router.translate.mistral.names import Names
from router.translate.mistral.parts import Use
from router.translate.notes import Notes, Rule

NOBODY = frozenset[str]()


def call(**more: Any) -> dict[str, Any]:
    return {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}, **more}


def read(entry: Any) -> tuple[Any, Notes]:
    """The call as it goes to the backend, but for its id."""
    notes = Notes(explain=True)
    calls = read_calls(encoded([entry]), "tool_calls", notes=notes)
    assert calls is not None
    made = canonical_call(calls[0], "tool_calls", 0, names=Names(), notes=notes)
    return json.loads(msgspec.json.encode(made)), notes


def test_a_plain_call_is_known_at_a_glance_and_stays() -> None:
    plain = Call("a", "function", Function("f", encoded("{}")))

    assert is_plain_call(plain, NOBODY)
    made, notes = read(call())
    assert made == call()
    assert not notes.repaired


@pytest.mark.parametrize(
    "extra",
    [
        {"index": 0},
        {"provider_specific_fields": None},
        {"extra_content": {"google": {"thought_signature": "x"}}},
        {"thought_signature": "x"},
        {"type": "tool_call"},
        {"type": None},
    ],
)
def test_r4_a_call_keeps_id_type_and_function_only(extra: dict[str, Any]) -> None:
    made, notes = read(call(**extra))

    assert made == call()
    assert notes.repaired == {Rule.R4}
    assert not notes.lost


def test_r4_so_does_a_function() -> None:
    made, notes = read(call(function={"name": "f", "arguments": "{}", "parsed_arguments": {}}))

    assert made == call()
    assert notes.repaired == {Rule.R4}


@pytest.mark.parametrize("missing", ["id", "type"])
def test_r4_what_is_missing_is_filled_in(missing: str) -> None:
    made, notes = read({key: value for key, value in call().items() if key != missing})

    assert made == call(**({"id": ""} if missing == "id" else {}))
    assert notes.repaired == {Rule.R4}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [({"city": "P"}, '{"city": "P"}'), (None, "{}"), ("", "{}"), ([1], "[1]"), (5, "5"), ({}, "{}")],
)
def test_r13_arguments_become_json_text(arguments: Any, text: str) -> None:
    made, notes = read(call(function={"name": "f", "arguments": arguments}))

    assert made["function"]["arguments"] == text
    assert notes.repaired == {Rule.R13}


def test_r13_missing_arguments_are_an_empty_object() -> None:
    made, notes = read(call(function={"name": "f"}))

    assert made == call()
    assert Rule.R13 in notes.repaired


@pytest.mark.parametrize("arguments", ["{}", '{"city": "P', "no JSON", " "])
def test_r13_strings_stay_also_broken_ones(arguments: str) -> None:
    made, notes = read(call(function={"name": "f", "arguments": arguments}))

    assert made["function"]["arguments"] == arguments
    assert not notes.repaired


@pytest.mark.parametrize("name", ["mcp.fs/read", "", None, "x" * 65])
def test_r12_names_become_valid(name: Any) -> None:
    made, notes = read(call(function={"name": name, "arguments": "{}"}))

    assert Rule.R12 in notes.repaired
    assert is_plain_call(Call("a", "function", Function(made["function"]["name"], encoded("{}"))), NOBODY)


def test_r12_a_call_of_a_tool_gets_the_tools_name() -> None:
    names = Names()
    names.declare(["a.b", "a_b"])

    made = made_call(Use("x", "a.b", "{}"), names=names, notes=Notes())

    assert made.function.name == names.to_backend("a.b") != "a_b"


def test_r11_a_custom_call_has_one_argument() -> None:
    made, notes = read({"id": "a", "type": "custom", "custom": {"name": "sql", "input": 'select "x"'}})

    assert made["function"]["name"] == "sql"
    assert json.loads(made["function"]["arguments"]) == {"input": 'select "x"'}
    assert Rule.R11 in notes.repaired


def test_r11_a_flat_call_has_a_function() -> None:
    made, notes = read({"id": "a", "name": "f", "arguments": "{}"})

    assert made == call()
    assert Rule.R11 in notes.repaired


def test_r11_a_function_call_is_a_call_and_null_is_none() -> None:
    assert legacy_call(encoded({"name": "f", "arguments": '{"a": 1}'})) == Use(None, "f", '{"a": 1}')
    for value in (None, {}, "f", {"name": None}, []):
        assert legacy_call(encoded(value)) is None


def test_r5_null_is_no_list_of_calls() -> None:
    assert read_calls(Raw(b"null"), notes=Notes()) is None


@pytest.mark.parametrize("value", ["f", {}, 5, [5], [None], [{}], [{"type": "function"}]])
def test_r37_what_is_no_call_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequest):
        read_calls(encoded(value), "messages", 0, "tool_calls", notes=Notes())
