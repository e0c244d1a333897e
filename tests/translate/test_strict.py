"""The oracle of the answers' tests, tested itself."""

import pytest
from openai.types.chat import ChatCompletion

from tests.translate.strict import check_answer, check_chunk, unknown_keys

ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            "logprobs": None,
            "finish_reason": "tool_calls",
        }
    ],
}
CHUNK = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}],
}


def test_what_is_strictly_openai_passes() -> None:
    check_answer(ANSWER)
    check_chunk(CHUNK)


def test_an_unknown_key_is_found_at_any_depth() -> None:
    call = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}", "x": 1}}
    payload = {**ANSWER, "metrics": None, "choices": [{"message": {"tool_calls": [call]}, "token_ids": None}]}

    assert set(unknown_keys(ChatCompletion, payload)) == {
        "metrics",
        "choices.0.token_ids",
        "choices.0.message.tool_calls.0.index",
        "choices.0.message.tool_calls.0.function.x",
    }


@pytest.mark.parametrize(
    "changed", [{"created": "1"}, {"object": "chat.completion.chunk"}, {"id": None}, {"usage": {"prompt_tokens": 1}}]
)
def test_a_wrong_type_is_found(changed: dict[str, object]) -> None:
    with pytest.raises(AssertionError):
        check_answer({**ANSWER, **changed})


def test_nothing_is_coerced() -> None:
    with pytest.raises(AssertionError):
        check_chunk({**CHUNK, "choices": [{"index": "0", "delta": {}, "finish_reason": None}]})
