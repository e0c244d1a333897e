"""LangChain's ChatOpenAI: HumanMessage, AIMessage and ToolMessage; a streamed answer is the sum of its chunks."""

from typing import Any

import conversation
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.runnables import Runnable
from langchain_openai import ChatOpenAI

Json = dict[str, Any]


def ask(model: Runnable[LanguageModelInput, AIMessage], messages: list[BaseMessage], *, is_streamed: bool) -> AIMessage:
    """Return the whole answer."""
    if not is_streamed:
        return model.invoke(messages)
    chunks = iter(model.stream(messages))
    return sum(chunks, start=next(chunks))


def turn(message: AIMessage) -> Json:
    """Return what is told of one turn; LangChain has parsed the arguments, and sorted out what it could not parse."""
    if message.invalid_tool_calls:
        raise ValueError(f"invalid calls: {message.invalid_tool_calls}")
    calls = [{"id": call["id"], "name": call["name"], "arguments": call["args"]} for call in message.tool_calls]
    return conversation.turn(message.text, calls=calls, finish=message.response_metadata.get("finish_reason"))


def converse(asked: Json) -> list[Json]:
    """Hold one conversation."""
    model = ChatOpenAI(
        base_url=asked["base_url"],
        api_key="none",
        model=asked["model"],
        seed=asked["seed"],
        max_tokens=conversation.MOST_TOKENS,
        max_retries=0,
        timeout=conversation.TIMEOUT,
        stream_usage=True,
    )
    messages: list[BaseMessage] = [HumanMessage(conversation.QUESTION)]
    choice = conversation.NAME if asked["choice"] == "named" else asked["choice"]
    calling = model.bind_tools([conversation.TOOL], tool_choice=choice)
    first = ask(calling, messages, is_streamed=asked["is_streamed"])
    messages.append(first)
    messages.extend(ToolMessage(conversation.RESULT, tool_call_id=call["id"]) for call in first.tool_calls)
    telling = model.bind_tools([conversation.TOOL], tool_choice="none")
    second = ask(telling, messages, is_streamed=asked["is_streamed"])
    return [turn(first), turn(second)]


if __name__ == "__main__":
    conversation.serve(converse)
