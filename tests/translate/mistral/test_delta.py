import copy
from typing import Any

import pytest

from router.translate.asked import AnswerForm, Asked, ReasoningField
from router.translate.mistral.delta import Choice
from router.translate.mistral.reply import Repairs
from router.translate.notes import Notes, Rule

TOOLS = frozenset(("add",))
ROLE = {"role": "assistant", "content": ""}
CALL = {"index": 0, "id": "abcDEF123", "type": "function", "function": {"name": "add", "arguments": ""}}


def choice_for(
    *, reasoning: ReasoningField = ReasoningField.OFF, told: bool = True, **asked: Any
) -> tuple[Choice, Notes]:
    """A choice whose role was told already, unless `told` is false."""
    notes = Notes()
    repairs = Repairs(Asked(**asked), AnswerForm(reasoning=reasoning), lambda: "new000001", True, notes)
    choice = Choice(0, repairs)
    if told:
        choice.feed(given(dict(ROLE)))
    return choice, notes


def given(delta: Any, reason: Any = None, **more: Any) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason, **more}


def deltas(choice: Choice, *comes: dict[str, Any]) -> list[tuple[Any, Any]]:
    """What is sent for what comes: delta and finish_reason of each."""
    sent = []
    for one in comes:
        before = copy.deepcopy(one)
        first, rest = choice.feed(one)
        assert one == before
        sent += first + ([rest] if rest is not None else [])
    return [(one["delta"], one["finish_reason"]) for one in sent]


@pytest.mark.parametrize(
    ("delta", "expected"),
    [
        (ROLE, [ROLE]),
        ({"role": "assistant", "content": "Hi"}, [{"role": "assistant", "content": "Hi"}]),
        ({"role": "assistant"}, [ROLE]),
        ({"role": "assistant", "content": None}, [ROLE]),
        ({"role": "model", "content": ""}, [ROLE]),
        ({"content": "Hi"}, [ROLE, {"content": "Hi"}]),
        ({"content": "[TOOL_"}, [ROLE]),
        ({}, [ROLE]),
        (None, [ROLE]),
    ],
)
def test_the_role_comes_first_and_once(delta: Any, expected: list[Any]) -> None:
    """S12."""
    choice, _ = choice_for(told=False, tools=TOOLS)

    assert [one for one, _ in deltas(choice, given(delta))] == expected
    assert all("role" not in one for one, _ in deltas(choice, given({"role": "assistant", "content": "x"})))


@pytest.mark.parametrize(
    ("delta", "expected"),
    [
        ({"content": "Hi"}, [{"content": "Hi"}]),
        ({"content": None, "refusal": "No."}, [{"refusal": "No."}]),
        ({"content": "Hi", "tool_calls": []}, [{"content": "Hi"}]),
        ({"content": "Hi", "tool_calls": None, "function_call": None}, [{"content": "Hi"}]),
        ({"content": "Hi", "token_ids": [1]}, [{"content": "Hi"}]),
        ({"content": [{"type": "text", "text": "Hi"}]}, [{"content": "Hi"}]),
        ({"content": ""}, [{"content": ""}]),
        ({}, []),
    ],
)
def test_deltas_hold_what_openai_has(delta: Any, expected: list[Any]) -> None:
    """S1, S13, S20."""
    choice, _ = choice_for()

    assert [one for one, _ in deltas(choice, given(delta))] == expected


def test_what_stands_beside_an_empty_delta_keeps_it() -> None:
    """S24."""
    choice, _ = choice_for(extras=frozenset(("token_ids",)))

    assert deltas(choice, given({}, logprobs={"content": []})) == [({}, None)]
    assert deltas(choice, given({}, token_ids=[1])) == [({}, None)]
    assert deltas(choice, given({}, token_ids=None)) == []


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (ReasoningField.OFF, [{"content": "Hi"}]),
        (ReasoningField.REASONING, [{"reasoning": "So"}, {"content": "Hi"}]),
        (ReasoningField.BOTH, [{"reasoning_content": "So", "reasoning": "So"}, {"content": "Hi"}]),
    ],
)
@pytest.mark.parametrize("mark", [("[THINK]", "[/THINK]"), ("<think>", "</think>"), None])
def test_reasoning_stands_in_the_field_that_was_configured(field: Any, expected: Any, mark: Any) -> None:
    """S17."""
    choice, notes = choice_for(reasoning=field)
    comes = [{"content": mark[0]}, {"content": "So"}, {"content": mark[1]}] if mark else [{"reasoning": "So"}]

    assert [one for one, _ in deltas(choice, *map(given, [*comes, {"content": "Hi"}]))] == expected
    assert mark is None or field is ReasoningField.OFF or Rule.S17 in notes.repaired


def test_leaked_calls_come_before_the_end() -> None:
    """S15."""
    choice, notes = choice_for(tools=TOOLS)
    call = {**CALL, "id": "new000001", "function": {"name": "add", "arguments": '{"a": 1}'}}
    comes = [given({"content": "Hm. [TOOL"}), given({"content": '_CALLS]add{"a"'}), given({"content": ": 1}"}, "stop")]

    assert deltas(choice, *comes) == [
        ({"content": "Hm. "}, None),
        ({"tool_calls": [call]}, None),
        ({}, "tool_calls"),
    ]
    assert Rule.S15 in notes.repaired


@pytest.mark.parametrize("tail", ["[TOOL_CALLS]add{", "[TOOL", "[TOOL_CALLS]add{} or", "<thi"])
def test_what_was_held_back_and_is_no_call_comes_before_the_end(tail: str) -> None:
    choice, _ = choice_for(tools=TOOLS)

    sent = deltas(choice, *(given({"content": sign}) for sign in tail), given({}, "stop"))

    assert "".join(delta.get("content", "") for delta, _ in sent) == tail
    assert [reason for _, reason in sent if reason] == ["stop"]


def test_text_that_is_held_back_comes_before_a_call() -> None:
    choice, _ = choice_for(tools=TOOLS)

    assert deltas(choice, given({"content": "x[TOOL_CALLS]"}), given({"tool_calls": [CALL]})) == [
        ({"content": "x"}, None),
        ({"content": "[TOOL_CALLS]", "tool_calls": [CALL]}, None),
    ]


@pytest.mark.parametrize("reason", ["stop", "tool_calls", "length"])
@pytest.mark.parametrize("in_one", [True, False])
def test_empty_arguments_are_filled_before_the_end(reason: str, in_one: bool) -> None:
    """S9."""
    choice, _ = choice_for(tools=TOOLS)
    comes = [given({"tool_calls": [CALL]}, reason)] if in_one else [given({"tool_calls": [CALL]}), given({}, reason)]

    sent = deltas(choice, *comes)

    texts = [entry["function"]["arguments"] for delta, _ in sent for entry in delta.get("tool_calls", ())]
    assert "".join(texts) == "{}"
    assert sent[-1][1] == ("length" if reason == "length" else "tool_calls")


def test_a_choice_that_the_backend_broke_off_does_not_end() -> None:
    """S18."""
    choice, _ = choice_for(tools=TOOLS)

    assert deltas(choice, given({"content": "a [TO"}), given({"content": "O"}, "abort")) == [
        ({"content": "a "}, None),
        ({"content": "[TOO"}, None),
    ]
    assert choice.is_broken


def test_a_choice_ends_once() -> None:
    """S11."""
    choice, notes = choice_for()

    assert deltas(choice, given({}, "stop"), given({}, "stop")) == [({}, "stop")]
    assert notes.repaired == {Rule.S11, Rule.S20}


def test_calm_means_that_it_goes_on_and_nothing_is_held_back() -> None:
    choice, _ = choice_for(tools=TOOLS)
    states = []
    for delta, reason in (("Hi", None), (" [", None), ("x", None), ("", "stop")):
        choice.feed(given({"content": delta}, reason))
        states.append(choice.is_calm)

    assert states == [True, False, True, False]


def test_what_is_given_up_is_text() -> None:
    choice, _ = choice_for(tools=TOOLS)
    choice.feed(given({"content": "x[TOOL_CALLS]add{}"}))

    assert choice.give_up() == {"content": "[TOOL_CALLS]add{}"}
    assert choice.give_up() == {}
