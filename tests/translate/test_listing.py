"""What was changed, told for people."""

import json
from typing import Any

import pytest

from router.translate.listing import SHOWN_PATH, SHOWN_PLACES, changed, lines, printable, told_profile
from router.translate.mistral.request import translate
from router.translate.notes import Notes, Rule
from router.translate.profile import PRESETS, STRICTEST, parse_profile


def test_a_place_can_be_any_text_and_harms_no_terminal() -> None:
    notes = Notes(explain=True)
    notes.repair(Rule.R1, "messages", 0, "\x1b[31m" + "x" * 1000)

    listing = lines(notes, "request")

    assert "\x1b" not in "".join(listing)
    assert max(map(len, listing)) < 150


@pytest.mark.parametrize(("length", "ends"), [(SHOWN_PATH, "x"), (SHOWN_PATH + 1, "…")])
def test_a_long_text_is_cut(length: int, ends: str) -> None:
    text = printable("x" * length)

    assert len(text) == SHOWN_PATH
    assert text.endswith(ends)


def test_many_places_of_one_rule_are_counted() -> None:
    notes = Notes(explain=True)
    for number in range(SHOWN_PLACES + 5):
        notes.repair(Rule.R3, "messages", number)

    assert lines(notes, "request")[-1] == "       and 5 more"


def test_places_stand_in_the_order_of_the_request_however_they_were_found() -> None:
    notes = Notes(explain=True)
    for where in ("messages.10.id", "messages.2.name", "messages.2.id", "top", "messages.2.id"):
        notes.repair(Rule.S1, where)

    assert lines(notes, "answer")[3:] == [
        "       messages.2.id (2 times)",
        "       messages.2.name",
        "       messages.10.id",
        "       top",
    ]


def request(*calls: dict[str, Any], tools: list[Any] | None = None, **more: Any) -> bytes:
    said = {"role": "assistant", "content": "", "tool_calls": [*calls], **more}
    return json.dumps({"messages": [{"role": "user", "content": "hi"}, said], "tools": tools}).encode()


def call(ident: str | None, name: str) -> dict[str, Any]:
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": "{}"}}


def changes_of(body: bytes) -> dict[tuple[Rule, str], str]:
    done = translate(body, STRICTEST)
    return changed(body, done.body, names=done.asked.names)


def test_what_became_of_ids_and_names_is_told() -> None:
    """R3, R12"""
    tools = [{"type": "function", "function": {"name": "fs/read"}}]

    told = changes_of(request(call("call_0", "fs/read"), call("abcDEF123", "f"), call(None, "g.h"), tools=tools))

    assert told.pop((Rule.R3, "messages.1.tool_calls")).startswith("call_0 -> mupIKT56D, none -> ")
    assert told == {
        (Rule.R12, "tools.0.function.name"): "fs/read -> fs_read",
        (Rule.R12, "messages.1.tool_calls.0.function.name"): "fs/read -> fs_read",
        (Rule.R12, "messages.1.tool_calls.2.function.name"): "g.h -> g_h",
    }


@pytest.mark.parametrize(("name", "told"), [(None, "none"), ("", "none"), ("a b", "a b")])
def test_what_is_missing_is_told_as_none_and_not_as_python_tells_it(name: str | None, told: str) -> None:
    """R3, R12"""
    for function in ({"name": name, "arguments": "{}"}, {"arguments": "{}"} if name is None else {"name": name}):
        body = request({"id": None, "type": "function", "function": function})
        changes = changes_of(body)
        assert changes[Rule.R12, "messages.1.tool_calls.0.function.name"].startswith(f"{told} -> ")
        assert changes[Rule.R3, "messages.1.tool_calls"].startswith("none -> ")


def test_an_id_that_is_no_text_is_told_as_it_was_written() -> None:
    """R3"""
    body = request({"id": True, "type": "function", "function": {"name": "f", "arguments": "{}"}})
    assert changes_of(body)[Rule.R3, "messages.1.tool_calls"].startswith("true -> ")


def test_each_change_stands_behind_its_place() -> None:
    body = request(call("call_0", "f"))
    done = translate(body, STRICTEST, explain=True)

    listing = lines(done.notes, "request", changes=changed(body, done.body, names=done.asked.names))

    assert "       messages.1.tool_calls: call_0 -> mupIKT56D" in listing


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"messages": 1, "tools": [1, {"function": 2}, {"function": {"name": ["x"]}}]}',
        b'{"messages": [1, {"tool_calls": 1}, {"tool_calls": [{"id": {}, "function": 1}]}]}',
        request(call("call_0", "f"), function_call={"name": "g", "arguments": "{}"}),
    ],
)
def test_what_cannot_be_told_apart_is_not_told(body: bytes) -> None:
    assert changed(body, b"{}", names={"a_b": "a.b"}) == {}


def test_odd_calls_break_nothing() -> None:
    body = b'{"messages": [{"tool_calls": [{"id": {}, "function": 1}]}]}'

    assert changed(body, body, names={}) == {}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_told_with_its_name(name: str) -> None:
    assert told_profile(PRESETS[name])[0].startswith(f"Profile {name}: ")


def test_the_strictest_tells_where_more_could_be_learned() -> None:
    assert "/health" in told_profile(parse_profile("renderer unknown"))[1]


def test_what_was_found_is_told_as_health_tells_it() -> None:
    told = "template, text only, free ids"

    assert told_profile(parse_profile(told)) == [f"Profile: {told}."]
