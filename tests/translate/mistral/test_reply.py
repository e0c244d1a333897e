"""One choice of an answer in one piece."""

import json
from typing import Any

import pytest

from router.translate.asked import AnswerForm, Asked, ReasoningField, ToolChoice
from router.translate.mistral.reply import Repairs, keep_keys, repair_choice
from router.translate.notes import Notes, Rule

FORM = AnswerForm()
ASKED = Asked(tools=frozenset(("get_weather",)))
CALL = {"id": "abcDEF123", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}


def choice_of(message: object, **more: object) -> dict[str, Any]:
    return {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop", **more}


def repaired(
    choice: dict[str, Any], asked: Asked = ASKED, *, form: AnswerForm = FORM, leaks: bool = True
) -> tuple[dict[str, Any], set[Rule]]:
    notes = Notes()
    choice = json.loads(json.dumps(choice))
    repair_choice(choice, 0, Repairs(asked, form, lambda: "newID0001", leaks, notes))
    return choice, notes.repaired


def message_of(message: dict[str, Any], asked: Asked = ASKED, *, form: AnswerForm = FORM) -> dict[str, Any]:
    found = repaired(choice_of({"role": "assistant", **message}), asked, form=form)[0]["message"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": "Hello"},
        {"role": "assistant", "content": "Hello", "refusal": None, "annotations": [], "audio": None},
        {"role": "assistant", "content": None, "refusal": "No."},
        {"role": "assistant", "content": "", "function_call": None},
        {"role": "assistant", "content": "Hello", "reasoning_content": "Hm."},
    ],
)
def test_what_is_strictly_openai_stays(message: dict[str, Any]) -> None:
    choice = choice_of(message)

    assert repaired(choice) == (choice, set())


def test_calls_in_openais_form_stay() -> None:
    choice = choice_of({"role": "assistant", "content": None, "tool_calls": [CALL]}, finish_reason="tool_calls")

    assert repaired(choice) == (choice, set())


def test_keys_of_vllm_are_left_out_but_for_those_that_were_asked_for() -> None:
    """S1"""
    given = choice_of({"role": "assistant", "content": "x", "odd": 1}, stop_reason=None, token_ids=[1])
    asked = Asked(extras=frozenset(("token_ids",)))

    assert repaired(given) == (choice_of({"role": "assistant", "content": "x"}), {Rule.S1})
    assert repaired(given, asked)[0] == choice_of({"role": "assistant", "content": "x"}, token_ids=[1])


def test_keys_that_are_kept_cost_no_note() -> None:
    repairs = Repairs(ASKED, AnswerForm(), lambda: "newID0001", True, Notes())

    keep_keys({"a": 1}, {"a", "b"}, repairs)

    assert not repairs.notes.repaired


@pytest.mark.parametrize(
    ("given", "content"),
    [
        ({"content": None}, ""),
        ({}, ""),
        ({"content": ""}, ""),
        ({"content": "", "tool_calls": [CALL]}, None),
        ({"tool_calls": [CALL]}, None),
        ({"content": "Let me look.", "tool_calls": [CALL]}, "Let me look."),
        ({"content": None, "tool_calls": []}, ""),
        ({"content": [{"type": "text", "text": "a"}, "b", {"text": "c"}, 7, {"type": "image_url"}]}, "abc"),
        ({"content": {"a": 1}}, '{"a":1}'),
        ({"content": 0}, "0"),
        ({"content": []}, ""),
    ],
)
def test_content_is_text_or_null_beside_calls(given: dict[str, Any], content: str | None) -> None:
    """S13"""
    message = message_of(given)

    assert message["content"] == content
    assert ("tool_calls" in message) == bool(given.get("tool_calls"))


@pytest.mark.parametrize("calls", [[], None, "odd", {}, [None], 7])
def test_a_list_without_calls_goes(calls: object) -> None:
    """S13"""
    assert message_of({"content": "x", "tool_calls": calls}) == {"role": "assistant", "content": "x"}


def test_annotations_are_a_list_and_the_role_is_the_assistants() -> None:
    """S12, S13"""
    choice, rules = repaired(choice_of({"content": "x", "annotations": None}))

    assert choice["message"] == {"content": "x", "annotations": [], "role": "assistant"}
    assert rules == {Rule.S12, Rule.S13}


@pytest.mark.parametrize("asked", [Asked(), Asked(tools=ASKED.tools, tool_choice=ToolChoice.NONE)])
def test_calls_that_were_not_asked_for_go_and_nobody_waits_for_them(asked: Asked) -> None:
    """S21"""
    choice, rules = repaired(
        choice_of({"role": "assistant", "content": None, "tool_calls": [CALL]}, finish_reason="tool_calls"), asked
    )

    assert choice == choice_of({"role": "assistant", "content": ""})
    assert rules == {Rule.S21, Rule.S11, Rule.S13}


def test_a_choice_with_calls_ends_with_them() -> None:
    """S11"""
    given = choice_of({"role": "assistant", "content": None, "tool_calls": [CALL]})

    assert repaired(given)[0]["finish_reason"] == "tool_calls"
    assert repaired(given, Asked(tools=ASKED.tools, tool_choice=ToolChoice.NAMED)) == (given, set())


def test_an_index_is_filled_in() -> None:
    assert repaired({"message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"})[0]["index"] == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"content": "x", "reasoning": "t"}, {"content": "x", "reasoning_content": "t"}),
        ({"content": "x", "reasoning": None}, {"content": "x"}),
        ({"content": "[THINK]t[/THINK]x"}, {"content": "x", "reasoning_content": "t"}),
        ({"content": "<think>t"}, {"content": "", "reasoning_content": "t"}),
        ({"content": "[THINK][/THINK]x"}, {"content": "x"}),
        (
            {"content": "<think>t</think>x", "reasoning": "r"},
            {"content": "<think>t</think>x", "reasoning_content": "r"},
        ),
        (
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}, {"text": "x"}]},
            {"content": "x", "reasoning_content": "t"},
        ),
        (
            {"content": [{"type": "thinking", "thinking": "t"}], "reasoning": "r"},
            {"content": "", "reasoning_content": "r"},
        ),
    ],
)
def test_reasoning_stands_in_the_configured_field(given: dict[str, Any], message: dict[str, Any]) -> None:
    """S17"""
    assert message_of(given) == {"role": "assistant", **message}
    assert message_of(given, form=AnswerForm(reasoning=ReasoningField.OFF)) == {
        "role": "assistant",
        "content": message["content"],
    }


def test_calls_that_leaked_into_the_text_become_calls() -> None:
    """S15"""
    given = choice_of({"role": "assistant", "content": '[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"}'})
    choice, rules = repaired(given)

    assert choice["message"] == {"role": "assistant", "content": None, "tool_calls": [{**CALL, "id": "newID0001"}]}
    assert choice["finish_reason"] == "tool_calls"
    assert Rule.S15 in rules
    numbered = repaired(given, form=AnswerForm(call_index=True))[0]["message"]["tool_calls"]
    assert numbered == [{**CALL, "id": "newID0001", "index": 0}]


@pytest.mark.parametrize("asked", [Asked(), Asked(tools=ASKED.tools, tool_choice=ToolChoice.NONE)])
def test_text_about_calls_stays_text_where_none_can_be_made(asked: Asked) -> None:
    given = choice_of({"role": "assistant", "content": '[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"}'})

    assert repaired(given, asked) == (given, set())
    assert repaired(given, leaks=False) == (given, set())


@pytest.mark.parametrize("message", [None, "text", [], 7])
def test_a_choice_without_a_message_is_left_alone(message: object) -> None:
    given = choice_of(message, finish_reason="odd")

    assert repaired(given) == (given, set())
