"""The Responses API, basically: text in, text out, whole and streamed. Its streams have no [DONE]."""

from typing import Any

from router.simulator.answers import CREATED, IDENT, Answer, named_event, plain, with_prompt
from router.simulator.body import Body, integer, items, required
from router.simulator.chat import Chat, read_chat
from router.simulator.generation import Generation
from router.simulator.settings import Settings

ID = f"resp_{IDENT}"
_MESSAGE_ID = f"msg_{IDENT}"
_ROLES = {"developer": "system"}


def as_chat(body: Body) -> Body:
    """Return the chat request that a Responses request stands for. Raises Refusal."""
    given = required(body, "input")
    messages: list[dict[str, Any]] = []
    if body.get("instructions"):
        messages.append({"role": "system", "content": str(body["instructions"])})
    if isinstance(given, str):
        messages.append({"role": "user", "content": given})
    else:
        listed = [item for item in items(body, "input") if isinstance(item, dict)]
        listed = [item for item in listed if item.get("type", "message") == "message"]
        messages += [
            {"role": _ROLES.get(str(item.get("role")), item.get("role")), "content": _text(item)} for item in listed
        ]
    chat: Body = {name: body[name] for name in ("model", "temperature", "top_p", "stream") if name in body}
    return chat | {"messages": messages, "max_tokens": integer(body, "max_output_tokens")}


def _text(item: dict[str, Any]) -> str:
    content = item.get("content")
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in content or () if isinstance(part, dict))


def answer_response(body: Body, settings: Settings) -> Answer:
    """Return the answer to a Responses request. Raises Refusal."""
    chat = read_chat(as_chat(body), settings)
    generation = chat.generations()[0]
    if chat.stream:
        return with_prompt(_streamed(body, chat, generation), chat.prompt, settings)
    count = len(generation.pieces)
    payload = _response(body, chat, generation)
    answer = plain(payload, prompt=len(chat.prompt), completion=count, finish=generation.finish, moments=count)
    return with_prompt(answer, chat.prompt, settings)


def _response(body: Body, chat: Chat, generation: Generation | None) -> dict[str, Any]:
    """Return the response object; without a generation it is one in progress."""
    cut = generation is not None and generation.finish == "length"
    return {
        "id": ID,
        "created_at": CREATED,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": body.get("instructions"),
        "metadata": body.get("metadata"),
        "model": chat.model,
        "object": "response",
        "output": [_message(generation.text)] if generation else [],
        "parallel_tool_calls": True,
        "temperature": body.get("temperature", 1.0),
        "tool_choice": "none",
        "tools": [],
        "top_p": body.get("top_p", 1.0),
        "background": False,
        "max_output_tokens": body.get("max_output_tokens") or chat.sampling.limit,
        "max_tool_calls": None,
        "previous_response_id": None,
        "prompt": None,
        "reasoning": None,
        "service_tier": "auto",
        "status": "in_progress" if generation is None else "incomplete" if cut else "completed",
        "text": None,
        "top_logprobs": None,
        "truncation": "disabled",
        "usage": _usage(chat, generation) if generation else None,
        "user": body.get("user"),
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "input_messages": None,
        "output_messages": None,
    }


def _message(text: str, *, status: str = "completed") -> dict[str, Any]:
    part: dict[str, Any] = {"annotations": [], "text": text, "type": "output_text", "logprobs": None}
    return {
        "id": _MESSAGE_ID,
        "content": [part] if status == "completed" else [],
        "role": "assistant",
        "status": status,
        "type": "message",
        "phase": None,
    }


def _usage(chat: Chat, generation: Generation) -> dict[str, Any]:
    prompt, completion = len(chat.prompt), len(generation.pieces)
    return {
        "input_tokens": prompt,
        "input_tokens_details": {
            "cached_tokens": 0,
            "cache_write_tokens": 0,
            "input_tokens_per_turn": [],
            "cached_tokens_per_turn": [],
        },
        "output_tokens": completion,
        "output_tokens_details": {
            "reasoning_tokens": 0,
            "tool_output_tokens": 0,
            "output_tokens_per_turn": [],
            "tool_output_tokens_per_turn": [],
        },
        "total_tokens": prompt + completion,
    }


class _Numbered:
    """Numbers the events of one stream."""

    def __init__(self) -> None:
        self._next = 0

    def event(self, kind: str, fields: dict[str, Any]) -> bytes:
        number, self._next = self._next, self._next + 1
        return named_event(kind, {**fields, "sequence_number": number, "type": kind})


def _streamed(body: Body, chat: Chat, generation: Generation) -> Answer:
    number = _Numbered()
    begun = _response(body, chat, None)
    whole = _response(body, chat, generation)
    part: dict[str, Any] = {"annotations": [], "text": "", "type": "output_text", "logprobs": []}
    where = {"item_id": _MESSAGE_ID, "output_index": 0, "content_index": 0}
    opening = (
        number.event("response.created", {"response": begun}),
        number.event("response.in_progress", {"response": begun}),
    )
    started = (
        number.event("response.output_item.added", {"item": _message("", status="in_progress"), "output_index": 0}),
        number.event("response.content_part.added", {**where, "part": part}),
    )
    texts = [piece.text for piece in generation.pieces if piece.text]
    steps = [(number.event("response.output_text.delta", {**where, "delta": text, "logprobs": []}),) for text in texts]
    done = {**part, "text": generation.text}
    closing = (
        number.event("response.output_text.done", {**where, "text": generation.text, "logprobs": []}),
        number.event("response.content_part.done", {**where, "part": done}),
        number.event("response.output_item.done", {"item": _message(generation.text), "output_index": 0}),
        number.event("response.completed", {"response": whole}),
    )
    return Answer(
        prompt_tokens=len(chat.prompt),
        completion_tokens=len(generation.pieces),
        finish=generation.finish,
        opening=opening,
        steps=((*started, *steps[0]), *steps[1:]) if steps else (started,),
        closing=closing,
        aborted=closing[-1:],
        moments=max(1, len(steps)),
    )
