"""The fast reader of answers says what the thorough one says, or nothing."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.translate.asked import Asked, ToolChoice
from router.translate.mistral.answer import translate_answer
from router.translate.mistral.usual import LONGEST, read_usual
from router.translate.notes import Rule

MESSAGE: dict[str, Any] = {
    "role": "assistant",
    "content": "Hello.",
    "refusal": None,
    "annotations": None,
    "audio": None,
    "function_call": None,
    "reasoning": None,
}
CHOICE: dict[str, Any] = {
    "index": 0,
    "message": MESSAGE,
    "logprobs": None,
    "finish_reason": "stop",
    "stop_reason": None,
    "token_ids": None,
    "routed_experts": None,
}
# As vLLM 0.32 sends it.
ANSWER: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1795210400,
    "model": "devstral",
    "choices": [CHOICE],
    "service_tier": None,
    "system_fingerprint": "vllm-0.32.0",
    "usage": {"prompt_tokens": 3, "total_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": None},
    "prompt_logprobs": None,
    "prompt_token_ids": None,
    "prompt_text": None,
    "kv_transfer_params": None,
    "ec_transfer_params": None,
    "metrics": None,
}
TOOLS = Asked(tools=frozenset({"f"}))


def encoded(answer: object) -> bytes:
    return json.dumps(answer, separators=(",", ":"), ensure_ascii=False).encode()


def saying(**message: Any) -> dict[str, Any]:
    return {**ANSWER, "choices": [{**CHOICE, "message": {**MESSAGE, **message}}]}


def thorough(body: bytes, asked: Asked) -> tuple[Any, set[Rule]]:
    told, notes = translate_answer(body, asked, new_id=lambda: "abcDEF123", is_fast=False)
    return json.loads(told), notes.repaired


def test_what_vllm_usually_sends_is_cut_to_what_openai_knows() -> None:
    read = read_usual(encoded(ANSWER), Asked(), may_leak=False)

    assert read is not None
    assert (json.loads(read[0]), read[1].repaired) == thorough(encoded(ANSWER), Asked())
    assert read[1].repaired == {Rule.S1, Rule.S13}


@pytest.mark.parametrize("choices", [1, 3])
def test_empty_calls_as_older_vllm_sends_them_are_cut_too(choices: int) -> None:
    (choice,) = saying(tool_calls=[], content='",\\"tool_calls\\":[]')["choices"]
    body = encoded({**ANSWER, "choices": [{**choice, "index": index} for index in range(choices)]})
    read = read_usual(body, Asked(), may_leak=False)

    assert read is not None
    assert (json.loads(read[0]), read[1].repaired) == thorough(body, Asked())
    assert b',"tool_calls":[]' not in read[0]


def test_empty_calls_that_are_written_otherwise_are_left_to_the_thorough_reader() -> None:
    body = encoded(saying(tool_calls=[])).replace(b'"tool_calls":[]', b'"tool_calls": []')

    assert read_usual(body, Asked(), may_leak=False) is None


def test_what_needs_nothing_is_the_same_object() -> None:
    body = read_usual(encoded(ANSWER), Asked(), may_leak=False)
    assert body is not None

    again = read_usual(body[0], Asked(), may_leak=True)

    assert again is not None
    assert again[0] is body[0]
    assert not again[1].repaired


@pytest.mark.parametrize(
    "answer",
    [
        saying(content=None),
        saying(content=""),
        saying(content=["x"]),
        saying(role="user"),
        saying(tool_calls=[1]),
        saying(tool_calls=None),
        {**ANSWER, "choices": [{**CHOICE, "tool_calls": []}]},
        saying(reasoning="x"),
        saying(content="[THINK]x[/THINK]y"),
        saying(content=" <think>"),
        saying(refusal="no"),
        saying(odd=1),
        {**ANSWER, "choices": [{**CHOICE, "finish_reason": "abort"}]},
        {**ANSWER, "choices": [{**CHOICE, "finish_reason": None}]},
        {**ANSWER, "choices": [{**CHOICE, "stop_reason": 2}]},
        {**ANSWER, "choices": [{**CHOICE, "logprobs": {"content": []}}]},
        {**ANSWER, "choices": [{**CHOICE, "index": None}]},
        {**ANSWER, "usage": {"prompt_tokens": 1, "completion_tokens": None, "total_tokens": 1}},
        {**ANSWER, "object": "text_completion"},
        {"error": {"message": "x"}},
        [],
        saying(content="x" * LONGEST),
    ],
)
def test_what_is_not_usual_is_left_to_the_thorough_reader(answer: object) -> None:
    assert read_usual(encoded(answer), Asked(), may_leak=True) is None


def test_calls_that_leaked_are_left_to_the_thorough_reader() -> None:
    body = encoded(saying(content='[TOOL_CALLS]f[ARGS]{"a": 1}'))

    assert read_usual(body, TOOLS, may_leak=True) is None
    assert read_usual(body, TOOLS, may_leak=False) is not None


def test_what_was_asked_for_is_left_to_the_thorough_reader() -> None:
    assert read_usual(encoded(ANSWER), Asked(extras=frozenset({"token_ids"})), may_leak=False) is None


TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            ',"metrics":null',
            '","metrics":null,"',
            '\\",\\"stop_reason\\":null',
            '"annotations":null',
            "[TOOL_CALLS]f{}",
            "TOOL",
            "<think>x</think>y",
            "\\",
            '"',
        ]
    ),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=4).map("".join), st.booleans(), st.booleans())
def test_fast_and_thorough_say_the_same_of_any_text(text: str, tools: bool, spaced: bool) -> None:
    asked = TOOLS if tools else Asked(tool_choice=ToolChoice.AUTO)
    body = json.dumps(saying(content=text)).encode() if spaced else encoded(saying(content=text))

    told, notes = translate_answer(body, asked, new_id=lambda: "abcDEF123")

    assert (json.loads(told), notes.repaired) == thorough(body, asked)
