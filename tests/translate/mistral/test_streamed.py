from typing import Any

import pytest

from router.translate.asked import AnswerForm, Asked, ToolChoice
from router.translate.mistral.reply import Repairs
from router.translate.mistral.streamed import MAX_NAMELESS, Calls
from router.translate.notes import Notes, Rule

ID = "abcDEF123"


def calls_for(**asked: Any) -> tuple[Calls, Notes]:
    notes = Notes()
    wanted = {"tools": frozenset(("add", "get_weather")), **asked}
    return Calls(Repairs(Asked(**wanted), AnswerForm(), lambda: "new000001", True, notes)), notes


def first(index: int = 0, id_: str = ID, name: str = "add", arguments: str = "") -> dict[str, Any]:
    return {"index": index, "id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def more(arguments: str, index: int = 0) -> dict[str, Any]:
    return {"index": index, "function": {"arguments": arguments}}


def test_a_call_in_openais_form_is_left_alone() -> None:
    calls, notes = calls_for()
    entries = [first(arguments='{"a'), more('": 1'), more(""), more("}"), first(1, "xyzDEF123"), more("{}", 1)]

    assert [calls.feed([entry]) for entry in entries] == [[entry] for entry in entries]
    assert calls.has_any
    assert not calls.unfilled()
    assert not notes.repaired


@pytest.mark.parametrize(
    ("entry", "expected", "rule"),
    [
        ({"id": ID, "type": "function", "function": {"name": "add", "arguments": ""}}, first(), Rule.S2),
        ({"index": True, "id": ID, "type": "function", "function": {"name": "add", "arguments": ""}}, first(), Rule.S2),
        (first(5), first(), Rule.S2),
        (first(id_=""), first(id_="new000001"), Rule.S3),
        ({**first(), "id": None}, first(id_="new000001"), Rule.S3),
        ({"index": 0, "id": ID, "function": {"name": "add", "arguments": ""}}, first(), Rule.S4),
        ({"index": 0, "id": ID, "type": "function", "function": {"name": "add"}}, first(), Rule.S5),
        (first(name="  add"), first(), Rule.S6),
        (first(name="addabcDEF123[ARGS]"), first(), Rule.S6),
        (first(name="get_weather"), first(name="get.weather"), Rule.S6),
        ({**first(), "function": {"name": "add", "arguments": {"a": 1}}}, first(arguments='{"a":1}'), Rule.S7),
        ({**first(), "function": {"name": "add", "arguments": None}}, first(), Rule.S7),
        (first(arguments="{} and"), first(arguments="{}"), Rule.S10),
        ({**first(), "x": 1}, first(), Rule.S1),
    ],
)
def test_the_beginning_of_a_call_is_complete(entry: Any, expected: Any, rule: Rule) -> None:
    calls, notes = calls_for(names={"get_weather": "get.weather"})

    assert calls.feed([entry]) == [expected]
    assert rule in notes.repaired


@pytest.mark.parametrize(
    ("entry", "expected", "rule"),
    [
        ({**more("x"), "type": "function"}, [more("x")], Rule.S4),
        (first(arguments="x"), [more("x")], Rule.S5),
        ({**more("x"), "id": ""}, [more("x")], Rule.S5),
        ({"index": 0, "function": {"name": "add"}}, [], Rule.S5),
        ({"function": {"arguments": "x"}}, [more("x")], Rule.S2),
        ({"index": 0, "function": {"arguments": None}}, [more("")], Rule.S7),
        ({"index": 0, "function": 7}, [], None),
        (7, [], Rule.S4),
    ],
)
def test_the_rest_of_a_call_is_arguments(entry: Any, expected: Any, rule: Rule | None) -> None:
    calls, notes = calls_for()
    calls.feed([first(arguments='{"')])

    assert calls.feed([entry]) == expected
    assert rule is None or rule in notes.repaired


def test_a_chunk_holds_one_entry_for_each_call() -> None:
    """S8."""
    calls, notes = calls_for()

    assert calls.feed([first(arguments="{"), more("}"), first(1, "x"), more("{", 1)]) == [
        first(arguments="{}"),
        first(1, "x", arguments="{"),
    ]
    assert notes.repaired == {Rule.S8}


def test_calls_without_an_index_are_told_apart() -> None:
    """S2: by their ids, or by names where the arguments before are complete."""
    calls, _ = calls_for()
    entries: list[Any] = [
        {"id": "a", "function": {"name": "add", "arguments": "{"}},
        {"function": {"arguments": "}"}},
        {"id": "b", "function": {"name": "add", "arguments": "{}"}},
        {"function": {"name": "get_weather", "arguments": "{}"}},
    ]

    assert [entry["index"] for one in entries for entry in calls.feed([one])] == [
        0,
        0,
        1,
        2,
    ]


def test_another_call_under_the_same_index_is_another_call() -> None:
    calls, _ = calls_for()
    calls.feed([first(arguments="{}")])
    assert not calls.take_renewed()

    assert calls.feed([first(0, "other", "get_weather", "{")]) == [first(1, "other", "get_weather", "{")]
    assert calls.take_renewed()
    assert not calls.take_renewed()
    assert calls.feed([more("}")]) == [more("}", 1)]


def test_arguments_wait_for_the_name() -> None:
    calls, _ = calls_for()

    assert calls.feed([more("{")]) == []
    assert calls.by_index(0) is None
    assert calls.feed([{"index": 0, "id": ID, "type": "function", "function": {"name": "add", "arguments": "}"}}]) == [
        first(arguments="{}")
    ]
    assert calls.by_index(0) is not None


def test_what_waits_for_a_name_has_a_bound() -> None:
    calls, _ = calls_for()
    for _ in range(3):
        calls.feed([more("[" * MAX_NAMELESS)])

    assert calls.feed([first()]) == [first(arguments="[" * MAX_NAMELESS)]


def test_calls_without_arguments_get_an_empty_object_once() -> None:
    """S9."""
    calls, notes = calls_for()
    calls.feed([first(), first(1, "x"), more("{}", 1), first(2, "y"), more(" ", 2)])

    assert calls.unfilled() == [more("{}"), more("{}", 2)]
    assert calls.unfilled() == []
    assert Rule.S9 in notes.repaired


def test_the_second_call_is_left_out_where_one_was_asked_for() -> None:
    """S21."""
    calls, notes = calls_for(single_call=True)

    assert calls.feed([first(), first(1, "x")]) == [first()]
    assert calls.feed([more("{}", 1)]) == []
    assert calls.add("add", "{}") is None
    assert Rule.S21 in notes.repaired


@pytest.mark.parametrize("asked", [{"tools": frozenset()}, {"tool_choice": ToolChoice.NONE}])
def test_calls_that_nobody_asked_for_are_left_out(asked: Any) -> None:
    """S21."""
    calls, notes = calls_for(**asked)

    assert calls.feed([first()]) == []
    assert not calls.has_any
    assert notes.repaired == {Rule.S21}


def test_a_call_that_was_found_elsewhere_comes_behind_the_others() -> None:
    """S15."""
    calls, _ = calls_for(names={"get_weather": "get.weather"})
    calls.feed([first()])

    assert calls.add("get_weather", '{"a": 1}') == first(1, "new000001", "get.weather", '{"a": 1}')
