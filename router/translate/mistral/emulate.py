"""S16: the stream that a whole answer would have been, for backends that swallow calls when they stream.

Of each choice comes the role, then reasoning, content, every call in one piece, and the reason why it ended. What goes
in is an answer in OpenAI's form already (`repaired_answer`), so names, ids and reasons stay as they are. What every
event repeats is bounded, or the stream could be thousands of times as long as the answer.
"""

from collections.abc import Iterator
from typing import Any, TypeGuard

import orjson

from router.errors import BackendUnavailable
from router.translate.asked import Asked
from router.translate.mistral.fields import REASONING_KEYS
from router.translate.mistral.limits import MAX_CHOICES, MAX_REPEATED
from router.translate.refusals import envelope, told_of_event
from router.wire.sse import encode_event

Object = dict[str, Any]

DONE = b"data: [DONE]\n\n"
CHUNK = "chat.completion.chunk"

_HEAD = ("id", "created", "model", "service_tier", "system_fingerprint")  # the same in every chunk
_FIRST = ("prompt_token_ids", "prompt_text")  # asked for by the request, or they would not stand there any more
_WITH_TEXT = ("token_ids",)
_LAST = ("stop_reason",)
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


def as_stream(payload: object, asked: Asked) -> bytes:
    """Return the events of a whole answer, ending with [DONE]. `payload`: what it says, None where it cannot be read.

    An error, or what is no chat answer, becomes one error event without [DONE]: a broken answer never looks whole. So
    does one of too many choices: its events would hold up everybody else.
    """
    if _is_answer(payload):
        try:
            return b"".join(map(_event, _chunks(payload, asked))) + DONE
        except orjson.JSONEncodeError:  # nests deeper than any answer of a model
            payload = None
    if isinstance(payload, dict) and (payload.get("error") or payload.get("object") == "error"):
        return _event(envelope(told_of_event(payload)))
    return _event(BackendUnavailable("The backend's answer cannot be read.").envelope())


def _event(payload: object) -> bytes:
    return encode_event(orjson.dumps(payload))


def _chunks(payload: Object, asked: Asked) -> Iterator[Object]:
    told = {key: payload[key] for key in _HEAD if payload.get(key) is not None}
    head: Object = {
        "object": CHUNK,
        **{key: plain for key, value in told.items() if (plain := _plain(value)) is not None},
    }
    usage = payload.get("usage")
    counts = usage if isinstance(usage, dict) else None
    extra = {key: payload[key] for key in _FIRST if key in payload}
    extra |= {key: value for key, value in told.items() if key not in head}
    for choice in filter(_is_choice, payload["choices"]):
        for part in _parts(choice):
            chunk = {**head, "choices": [part], **extra}
            if asked.continuous_usage and counts is not None:
                chunk["usage"] = _so_far(counts, is_over=bool(part["finish_reason"]))
            extra = {}
            yield chunk
    if asked.include_usage and counts is not None:
        yield {**head, "choices": [], "usage": counts}


def _is_answer(payload: object) -> TypeGuard[Object]:
    choices = payload.get("choices") if isinstance(payload, dict) else None
    return isinstance(choices, list) and len(choices) <= MAX_CHOICES and any(map(_is_choice, choices))


def _is_choice(choice: object) -> bool:
    return isinstance(choice, dict) and isinstance(choice.get("message"), dict)


def _plain(value: object) -> str | float | None:
    """Return what of a value may stand in every event: no more than so much of a text, and a number."""
    if isinstance(value, str):
        return value[:MAX_REPEATED]
    return value if isinstance(value, int | float) else None


def _so_far(usage: Object, *, is_over: bool) -> Object:
    """Return what usage says beside a choice, without details as vLLM; the answer is not counted before it is over."""
    if is_over:
        return {name: _plain(usage.get(name, 0)) for name in _COUNTS}
    prompt = _plain(usage.get("prompt_tokens", 0))
    return {"prompt_tokens": prompt, "completion_tokens": 0, "total_tokens": prompt}


def _parts(choice: Object) -> Iterator[Object]:
    """Yield the choice of each chunk; what says something of its tokens stands with the first that has any."""
    index = _plain(choice.get("index", 0))
    deltas = list(_deltas(choice["message"]))
    of_tokens = {key: choice[key] for key in ("logprobs", *_WITH_TEXT) if key in choice}
    told_at = next((number for number, delta in enumerate(deltas) if "content" in delta or "tool_calls" in delta), -1)

    def part(delta: Object, *, reason: Any = None, extra: Object | None = None) -> Object:
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason, **(extra or {})}

    yield part({"role": "assistant", "content": ""})
    for number, delta in enumerate(deltas):
        yield part(delta, extra=of_tokens if number == told_at else None)
    last = {key: choice[key] for key in _LAST if key in choice}
    if told_at < 0:
        last |= of_tokens
    yield part({}, reason=choice.get("finish_reason"), extra=last)


def _deltas(message: Object) -> Iterator[Object]:
    """Yield what the message says, piece by piece."""
    if thoughts := {key: message[key] for key in REASONING_KEYS if message.get(key)}:
        yield thoughts
    for key in ("content", "refusal"):
        if message.get(key):
            yield {key: message[key]}
    for key in ("audio", "function_call"):
        if isinstance(message.get(key), dict):
            yield {key: message[key]}
    calls = message.get("tool_calls")
    for index, call in enumerate(calls if isinstance(calls, list) else ()):
        if isinstance(call, dict):
            yield {"tool_calls": [{**call, "index": index}]}
