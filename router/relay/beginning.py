"""When an answer has begun. Pure.

vLLM sends 200 and an event with only the role while a request still waits in its queue, so neither is a beginning.
The answer begins with the first event that carries text, reasoning, a tool call or a finish_reason. Until then
everything can still be taken back: an error that comes first becomes a proper status, or an attempt elsewhere.
"""

import enum
from typing import Any

import msgspec
import orjson

from router.errors import StatusError
from router.translate.refusals import told_of_event
from router.wire.sse import data_line, event_data, event_name

DONE = b"[DONE]"
# Events of the Responses and Messages APIs that say only that the request was taken.
_PRELUDE = frozenset({"response.created", "response.queued", "response.in_progress", "message_start", "ping"})
_ERRORS = frozenset({"error", "response.failed"})
# Fields of a delta that carry nothing of the answer.
_BARE = frozenset({"role", "refusal"})


class Sign(enum.Enum):
    """What one event says of the answer."""

    NOTHING_YET = "nothing_yet"
    BEGINS = "begins"
    ERROR = "error"


class _Event(msgspec.Struct):
    choices: Any = None
    type: Any = None
    object: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(_Event).decode
# Bound once: finding a member of an enum takes as long as eight attributes (Python 3.11).
_NOTHING_YET, _BEGINS, _ERROR = Sign


def sign_of(event: bytes) -> Sign:
    """Return what the event says; one that is not understood counts as the beginning, as it may be text."""
    data = data_line(event)
    if data is None:
        data = event_data(event)
        if data is None:
            return _NOTHING_YET  # a comment
        if event_name(event) in _ERRORS:
            return _ERROR
    try:
        fields = _decode(data)
    except (msgspec.DecodeError, RecursionError):
        return _BEGINS
    kind = fields.type if isinstance(fields.type, str) else ""
    is_flat = fields.object == "error" and not fields.choices  # vLLM before 0.10.1
    has_error = fields.error is not None and not fields.choices and not kind.startswith("response.")
    if is_flat or has_error or kind in _ERRORS:
        return _ERROR
    if isinstance(fields.choices, list):
        for choice in fields.choices:  # not `any`: in two events of each stream, which Python passes through faster
            if _carries(choice):
                return _BEGINS
        return _NOTHING_YET
    return _NOTHING_YET if kind in _PRELUDE else _BEGINS


def kind_of(event: bytes) -> bytes:
    """Return the event's name, or else the `type` of its data; b"" where it has neither."""
    name = event_name(event)
    if name is None:
        try:
            kind = _decode(event_data(event) or b"").type
        except (msgspec.DecodeError, RecursionError):
            kind = None
        name = kind if isinstance(kind, str) else ""
    return name.encode()


def _carries(choice: Any) -> bool:
    if not isinstance(choice, dict):
        return True
    if choice.get("finish_reason") or choice.get("text"):
        return True
    delta = choice.get("delta")
    if isinstance(delta, dict):
        for name, value in delta.items():
            if value and name not in _BARE:
                return True
    return False


def find_error(event: bytes) -> StatusError | None:
    """Return the error that an event carries, None where it carries none. The backend's message is kept."""
    if sign_of(event) is not Sign.ERROR:
        return None
    try:
        payload = orjson.loads(event_data(event) or b"null")
    except orjson.JSONDecodeError:
        payload = None
    if isinstance(payload, dict) and isinstance(payload.get("response"), dict):
        payload = payload["response"]
    told = told_of_event(payload)
    return StatusError(told.message, status=told.status, kind=told.kind, param=told.param, code=told.code)
