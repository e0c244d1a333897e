"""Calls of answers in one piece."""

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.translate.asked import AnswerForm, Asked
from router.translate.mistral.called import client_name, first_value, made_call, repair_calls, whole_arguments
from router.translate.mistral.limits import MAX_TEXT
from router.translate.notes import Notes, Rule

FORM = AnswerForm()
ASKED = Asked(tools=frozenset(("get_weather", "mcp_fs_read")), names={"mcp_fs_read": "mcp.fs/read"})
CALL = {"id": "abcDEF123", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}


def repaired(*calls: Any, asked: Asked = ASKED, form: AnswerForm = FORM) -> tuple[list[Any], set[Rule]]:
    notes = Notes()
    copies = json.loads(json.dumps(calls))
    return repair_calls(copies, asked, notes, form=form, new_id=lambda: "newID0001", where="calls"), notes.repaired


@pytest.mark.parametrize(
    ("given_name", "name"),
    [
        ("get_weather", "get_weather"),
        ("  get_weather", "get_weather"),
        ("mcp_fs_read", "mcp.fs/read"),
        ("mcp.fs/read", "mcp.fs/read"),
        ("get_weatherabcDEF123", "get_weather"),
        ("get_weatherabcDEF123[ARGS]", "get_weather"),
        ("get_weather[CALL_ID]abcDEF123[ARGS]", "get_weather"),
        ("get_weather[ARGS]", "get_weather"),
        ("mcp_fs_read[ARGS]", "mcp.fs/read"),
        ("get_weathers", "get_weathers"),
        ("otherabcDEF123", "otherabcDEF123"),
        ("", ""),
    ],
)
def test_a_name_is_the_clients_own(given_name: str, name: str) -> None:
    """S6"""
    assert client_name(given_name, ASKED) == name


def test_a_call_in_openais_form_stays() -> None:
    assert repaired(CALL) == ([CALL], set())


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"index": 0}, Rule.S2),
        ({"type": None}, Rule.S4),
        ({"type": "custom"}, Rule.S4),
        ({"provider": 1}, Rule.S1),
        ({"function": {"name": "get_weather", "arguments": None}}, Rule.S7),
        ({"function": {"name": "get_weather", "arguments": " "}}, Rule.S9),
        ({"function": {"name": "get_weather", "arguments": {}}}, Rule.S7),
        ({"function": {"name": "get_weather", "arguments": "{} more"}}, Rule.S10),
        ({"function": {"name": " get_weather", "arguments": "{}"}}, Rule.S6),
        ({"function": {"name": "get_weather", "arguments": "{}", "x": 1}}, Rule.S1),
    ],
)
def test_what_is_wrong_with_a_call_is_put_right(change: dict[str, object], rule: Rule) -> None:
    calls, rules = repaired({**CALL, **change})

    assert calls == [CALL]
    assert rule in rules


@pytest.mark.parametrize("id_", [None, "", 7, []])
def test_a_call_without_an_id_gets_one(id_: object) -> None:
    """S3"""
    assert repaired({**CALL, "id": id_}) == ([{**CALL, "id": "newID0001"}], {Rule.S3})
    assert repaired({key: value for key, value in CALL.items() if key != "id"})[0][0]["id"] == "newID0001"


def test_a_foreign_id_stays() -> None:
    call = {**CALL, "id": "chatcmpl-tool-818e1b8deb1ca518"}

    assert repaired(call) == ([call], set())


def test_a_call_without_a_name_has_an_empty_one() -> None:
    calls, _ = repaired({"id": "a", "function": None}, {"id": "b", "function": {"name": None}})

    assert [call["function"] for call in calls] == [{"name": "", "arguments": "{}"}] * 2


def test_name_and_arguments_beside_the_id_are_found() -> None:
    calls, _ = repaired({"id": "abcDEF123", "name": "get_weather", "arguments": {}})

    assert calls == [CALL]


def test_what_is_no_call_is_left_out() -> None:
    assert repaired(CALL, None, "call", 7) == ([CALL], {Rule.S4})


def test_one_call_is_left_where_the_client_wants_one_at_a_time() -> None:
    """S21"""
    asked = Asked(tools=ASKED.tools, single_call=True)

    assert repaired(CALL, {**CALL, "id": "b"}, asked=asked) == ([CALL], {Rule.S21})
    assert repaired(CALL, asked=asked) == ([CALL], set())


def test_an_index_can_be_asked_for_by_the_configuration() -> None:
    """S2"""
    form = AnswerForm(call_index=True)
    numbered = [{**CALL, "index": 0}, {**CALL, "index": 1}]

    assert repaired(CALL, {**CALL, "index": 7}, form=form) == (numbered, {Rule.S2})
    assert repaired(*numbered, form=form) == (numbered, set())
    assert repaired({**CALL, "index": False}, form=form) == (numbered[:1], {Rule.S2})


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ('{"city": "Paris"} trailing text', '{"city": "Paris"}'),
        ('{"a": "}"}}', '{"a": "}"}'),
        ('{"a": "\\"}"}{"a": 1}', '{"a": "\\"}"}'),
        ("[1, [2]] x", "[1, [2]]"),
        (' {"a": 1} x', ' {"a": 1}'),
        ('{"a": "cut', None),
        ('{"a": [1}', None),
        ("{'a': 1} x", None),
        ("plain words", None),
        ('{"a": 1}', None),
        ('"text" x', None),
        ("", None),
    ],
)
def test_only_the_first_complete_value_counts(text: str, first: str | None) -> None:
    """S10; `first`: None where the text stays as it is."""
    assert first_value(text) == (text if first is None else first)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=4), VALUES, max_size=3), st.text(max_size=12))
def test_nothing_of_the_first_value_is_lost_whatever_follows(value: dict[str, Any], tail: str) -> None:
    text = json.dumps(value)

    assert first_value(text + tail).strip() in (text, (text + tail).strip())
    assert json.loads(first_value(text + "!" + tail)) == value


@pytest.mark.parametrize("text", ['{"' + '\\"' * 200_000, "{" * 200_000, "{" * 50_000 + "}" * 50_001, '{"a"' * 50_000])
def test_hostile_arguments_cost_little_and_break_nothing(text: str) -> None:
    started = time.process_time()

    assert first_value(text)
    assert time.process_time() - started < 2


def test_arguments_are_text() -> None:
    """S7, S9"""
    notes = Notes()

    assert whole_arguments({"city": "Zürich"}, notes, "x") == '{"city":"Zürich"}'
    assert whole_arguments([1], notes, "x") == "[1]"
    assert whole_arguments(None, notes, "x") == "{}"
    assert notes.repaired == {Rule.S7, Rule.S9}


def test_a_call_found_elsewhere_is_a_whole_one() -> None:
    """S15"""
    call = made_call("mcp_fs_read", "", ASKED, Notes(), new_id=lambda: "newID0001", where="x")

    assert call == {"id": "newID0001", "type": "function", "function": {"name": "mcp.fs/read", "arguments": "{}"}}


def test_the_end_of_very_long_arguments_is_not_looked_for() -> None:
    for size, is_cut in ((MAX_TEXT, True), (MAX_TEXT + 1, False)):
        text = "{}" + "{" * (size - 2)
        assert (first_value(text) == "{}") == is_cut
