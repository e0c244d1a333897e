"""openai-python: its messages go back into the history as `model_dump()` gives them, nulls and all."""

from typing import Any

import conversation
import openai
from openai.types.chat import ChatCompletion

Json = dict[str, Any]


def ask(client: openai.OpenAI, request: Json, *, is_streamed: bool) -> ChatCompletion:
    """Return the whole answer; of a stream, as the SDK's own accumulator puts it together."""
    if not is_streamed:
        return client.chat.completions.create(**request)
    with client.chat.completions.stream(**request) as stream:
        return stream.get_final_completion()


def turn(answer: ChatCompletion) -> Json:
    """Return what is told of one turn."""
    (choice,) = answer.choices
    calls = [
        conversation.called(call.id, call.function.name, call.function.arguments)
        for call in choice.message.tool_calls or []
    ]
    return conversation.turn(choice.message.content, calls=calls, finish=choice.finish_reason)


def converse(asked: Json) -> list[Json]:
    """Hold one conversation."""
    messages: list[Json] = [{"role": "user", "content": conversation.QUESTION}]
    request = {
        "model": asked["model"],
        "seed": asked["seed"],
        "tools": [conversation.TOOL],
        "messages": messages,
        "max_tokens": conversation.MOST_TOKENS,
    }
    first_choice = conversation.tool_choice(asked["choice"])
    with openai.OpenAI(
        base_url=asked["base_url"], api_key="none", max_retries=0, timeout=conversation.TIMEOUT
    ) as client:
        first = ask(client, request | {"tool_choice": first_choice}, is_streamed=asked["is_streamed"])
        message = first.choices[0].message
        messages.append(message.model_dump())
        messages.extend(
            {"role": "tool", "tool_call_id": call.id, "content": conversation.RESULT}
            for call in message.tool_calls or []
        )
        second = ask(client, request | {"tool_choice": "none"}, is_streamed=asked["is_streamed"])
    return [turn(first), turn(second)]


if __name__ == "__main__":
    conversation.serve(converse)
