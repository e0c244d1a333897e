"""LiteLLM with its provider `openai/`: its Message goes back into the history as it is, of a stream as it builds it."""

import os
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it fetches a list of prices while it is imported

import conversation
import litellm
from litellm import ModelResponse

Json = dict[str, Any]
litellm.suppress_debug_info = True  # it prints hints otherwise


def ask(request: Json, *, is_streamed: bool) -> ModelResponse:
    """Return the whole answer."""
    answer = litellm.completion(**request, stream=is_streamed)
    if not is_streamed:
        return answer
    return litellm.stream_chunk_builder(list(answer), messages=request["messages"])


def turn(answer: ModelResponse) -> Json:
    """Return what is told of one turn."""
    (choice,) = answer.choices
    calls = [
        conversation.called(call.id, call.function.name, call.function.arguments)
        for call in choice.message.tool_calls or []
    ]
    return conversation.turn(choice.message.content, calls=calls, finish=choice.finish_reason)


def converse(asked: Json) -> list[Json]:
    """Hold one conversation."""
    messages: list[Any] = [{"role": "user", "content": conversation.QUESTION}]
    request = {
        "model": f"openai/{asked['model']}",
        "api_base": asked["base_url"],
        "api_key": "none",
        "seed": asked["seed"],
        "tools": [conversation.TOOL],
        "messages": messages,
        "max_tokens": conversation.MOST_TOKENS,
        "max_retries": 0,
        "timeout": conversation.TIMEOUT,
    }
    first_choice = conversation.tool_choice(asked["choice"])
    first = ask(request | {"tool_choice": first_choice}, is_streamed=asked["is_streamed"])
    message = first.choices[0].message
    messages.append(message)
    messages.extend(
        {"role": "tool", "tool_call_id": call.id, "name": call.function.name, "content": conversation.RESULT}
        for call in message.tool_calls or []
    )
    second = ask(request | {"tool_choice": "none"}, is_streamed=asked["is_streamed"])
    return [turn(first), turn(second)]


if __name__ == "__main__":
    conversation.serve(converse)
