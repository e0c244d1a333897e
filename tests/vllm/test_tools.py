"""Forced tool calls, whole and streamed, through the real OpenAI SDK.

vLLM constrains the arguments only where the function says `strict: true`. Its finish reason is "tool_calls" where
some call was required, and "stop" where the function was named.
"""

import json

import openai
import pytest
from openai.types.chat import ChatCompletionMessage
from vllm_cluster import MODEL

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather in a city",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
ASK = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
    "tools": [WEATHER],
    "max_tokens": 1000,
    "seed": 1,
}
FORCED = pytest.mark.parametrize(
    ("choice", "finish"),
    [("required", "tool_calls"), ({"type": "function", "function": {"name": "get_weather"}}, "stop")],
    ids=["required", "named"],
)


def check_call(name: str | None, arguments: str) -> None:
    """Check that a call is the one that was forced, with arguments as the schema wants them."""
    assert name == "get_weather"
    found = json.loads(arguments)
    assert found.keys() == {"city", "unit"}
    assert found["unit"] in {"celsius", "fahrenheit"}


@FORCED
def test_a_forced_tool_is_called(client: openai.OpenAI, choice: object, finish: str) -> None:
    """With an id, the function's name, and arguments that keep to its schema."""
    answer = client.chat.completions.create(**ASK, tool_choice=choice)
    calls = answer.choices[0].message.tool_calls

    assert answer.choices[0].finish_reason == finish
    assert calls
    assert all(call.id for call in calls)
    for call in calls:
        check_call(call.function.name, call.function.arguments)


@FORCED
def test_a_forced_tool_call_is_streamed(client: openai.OpenAI, choice: object, finish: str) -> None:
    """Id and name come once, first; the arguments come in pieces."""
    chunks = list(client.chat.completions.create(**ASK, tool_choice=choice, stream=True))
    pieces = [piece for chunk in chunks for piece in chunk.choices[0].delta.tool_calls or []]
    first = [piece for piece in pieces if piece.index == 0]

    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == [finish]
    assert first[0].id
    assert [piece.function.name for piece in first if piece.function.name] == ["get_weather"]
    check_call(first[0].function.name, "".join(piece.function.arguments or "" for piece in first))


@FORCED
def test_the_sdk_puts_a_streamed_call_together(client: openai.OpenAI, choice: object, finish: str) -> None:
    """Its own accumulator, which is strict about indices and ids, ends with a whole call."""
    with client.chat.completions.stream(**ASK, tool_choice=choice) as stream:
        message: ChatCompletionMessage = stream.get_final_completion().choices[0].message

    assert message.tool_calls
    check_call(message.tool_calls[0].function.name, message.tool_calls[0].function.arguments)


def test_a_tools_result_is_answered(client: openai.OpenAI) -> None:
    """The second turn of an agent: the call as vLLM gave it, and the tool's result, go back."""
    first = client.chat.completions.create(**ASK, tool_choice="required", parallel_tool_calls=False)
    call = first.choices[0].message.tool_calls[0]
    turn = [
        *ASK["messages"],
        {"role": "assistant", "content": "", "tool_calls": [call.model_dump(include={"id", "type", "function"})]},
        {"role": "tool", "tool_call_id": call.id, "content": '{"temperature": 21}'},
    ]
    answer = client.chat.completions.create(**ASK | {"messages": turn, "tool_choice": "none", "max_tokens": 8})

    assert answer.choices[0].message.content
    assert not answer.choices[0].message.tool_calls
