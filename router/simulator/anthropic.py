"""Anthropic's Messages API as vLLM serves it: a chat completion in other clothes. Its streams have no [DONE]."""

from typing import Any

import orjson

from router.simulator.answers import Answer, named_event, plain, with_prompt
from router.simulator.body import Body, items, model_of, required
from router.simulator.chat import ID, Chat, finish_of, read_chat
from router.simulator.generation import Generation
from router.simulator.prompt import render
from router.simulator.settings import Settings
from router.simulator.tools import whole

_TOOL_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_SAME = ("model", "max_tokens", "temperature", "top_p", "stream", "seed")
_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def as_chat(body: Body) -> Body:
    """Return the chat request that a Messages request stands for. Raises Refusal."""
    messages: list[dict[str, Any]] = []
    if body.get("system"):
        messages.append({"role": "system", "content": _text(body["system"])})
    for message in items(body, "messages"):
        if isinstance(message, dict):
            messages += _as_chat_messages(message)
    chat: Body = {name: body[name] for name in _SAME if name in body}
    chat["messages"] = messages
    chat["stop"] = body.get("stop_sequences")
    if body.get("tools"):
        chat["tools"] = [_as_chat_tool(tool) for tool in body["tools"] if isinstance(tool, dict)]
        choice = body.get("tool_choice") or {"type": "auto"}
        if isinstance(choice, dict) and choice.get("type") == "tool":
            chat["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
        elif isinstance(choice, dict):
            chat["tool_choice"] = _TOOL_CHOICES.get(str(choice.get("type")), choice.get("type"))
    if messages and messages[-1]["role"] == "assistant":
        chat["continue_final_message"], chat["add_generation_prompt"] = True, False
    return chat


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    return "".join(str(block.get("text", "")) for block in blocks if isinstance(block, dict))


def _as_chat_messages(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    blocks = [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
    results = [
        {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": _text(block.get("content"))}
        for block in blocks
        if block.get("type") == "tool_result"
    ]
    calls = [
        {
            "id": block.get("id"),
            "type": "function",
            "function": {"name": block.get("name"), "arguments": orjson.dumps(block.get("input") or {}).decode()},
        }
        for block in blocks
        if block.get("type") == "tool_use"
    ]
    text = _text(content)
    if results and not text:
        return results
    said: dict[str, Any] = {"role": message.get("role"), "content": text}
    if calls:
        said["tool_calls"] = calls
    return [*results, said]


def _as_chat_tool(tool: dict[str, Any]) -> dict[str, Any]:
    function = {
        "name": tool.get("name"),
        "description": tool.get("description"),
        "parameters": tool.get("input_schema"),
    }
    return {"type": "function", "function": function}


def answer_messages(body: Body, settings: Settings) -> Answer:
    """Return the answer to a Messages request. Raises Refusal."""
    required(body, "max_tokens")
    chat = read_chat(as_chat(body), settings)
    generation = chat.generations()[0]
    answer = _streamed(chat, generation) if chat.stream else _whole(chat, generation)
    return with_prompt(answer, chat.prompt, settings)


def count_tokens(body: Body, settings: Settings) -> Answer:
    """Return how many tokens a Messages request has. Raises Refusal."""
    chat = as_chat(body)
    model_of(chat, settings)
    return plain({"input_tokens": len(render(chat, settings))})


def _ending(chat: Chat, generation: Generation) -> dict[str, Any]:
    if chat.call and generation.finish == "stop":
        return {"stop_reason": "tool_use"}
    if generation.stop_reason is not None:
        return {"stop_reason": "stop_sequence", "stop_sequence": generation.stop_reason}
    return {"stop_reason": _STOP_REASONS[generation.finish]}


def _usage(chat: Chat, completion: int) -> dict[str, int]:
    return {"input_tokens": len(chat.prompt), "output_tokens": completion}


def _whole(chat: Chat, generation: Generation) -> Answer:
    content: list[dict[str, Any]] = [{"type": "text", "text": generation.text}]
    if chat.call:
        made = whole(chat.call, generation)
        arguments = orjson.loads(made["function"]["arguments"])
        content = [{"type": "tool_use", "id": chat.call.ident, "name": chat.call.name, "input": arguments}]
    payload = {
        "id": ID,
        "type": "message",
        "role": "assistant",
        "content": content,
        "model": chat.model,
        **_ending(chat, generation),
        "usage": _usage(chat, len(generation.pieces)),
    }
    count = len(generation.pieces)
    finish = finish_of(chat.call, generation)
    return plain(payload, prompt=len(chat.prompt), completion=count, finish=finish, moments=count)


def _streamed(chat: Chat, generation: Generation) -> Answer:
    message: dict[str, Any] = {
        "id": ID,
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": chat.model,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _usage(chat, 0),
    }
    block: dict[str, Any] = {"type": "text", "text": ""}
    if chat.call:
        block = {"type": "tool_use", "id": chat.call.ident, "name": chat.call.name, "input": {}}
    started = named_event("content_block_start", {"type": "content_block_start", "index": 0, "content_block": block})
    steps: list[tuple[bytes, ...]] = [(_delta(chat, piece.text),) for piece in generation.pieces if piece.text]
    steps = [(started, *steps[0]), *steps[1:]] if steps else [(started,)]
    ending = {"stop_sequence": None, **_ending(chat, generation)}
    return Answer(
        prompt_tokens=len(chat.prompt),
        completion_tokens=len(generation.pieces),
        finish=finish_of(chat.call, generation),
        opening=(named_event("message_start", {"type": "message_start", "message": message}),),
        steps=tuple(steps),
        closing=_closing(ending, _usage(chat, len(generation.pieces))),
        aborted=_closing({"stop_reason": "end_turn", "stop_sequence": None}, _usage(chat, 0)),
        moments=len(steps),
    )


def _delta(chat: Chat, text: str) -> bytes:
    delta = {"type": "input_json_delta", "partial_json": text} if chat.call else {"type": "text_delta", "text": text}
    return named_event("content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta})


def _closing(delta: dict[str, Any], usage: dict[str, int]) -> tuple[bytes, ...]:
    return (
        named_event("content_block_stop", {"type": "content_block_stop", "index": 0}),
        named_event("message_delta", {"type": "message_delta", "delta": delta, "usage": usage}),
        named_event("message_stop", {"type": "message_stop"}),
    )
