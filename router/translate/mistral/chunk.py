"""Events of a chat answer's stream: told apart, read and written."""

from typing import Any

import orjson

from router.translate.mistral.limits import says_too_much
from router.wire.sse import encode_event, split_events

Object = dict[str, Any]

_LF, _CR = b"\n\r"
_DEEP = 200  # opening brackets, above which nesting is checked: orjson writes no more than 254 levels


def split(block: bytes) -> list[bytes]:
    """Return each event of the block, as `split_events` does, at less cost for what servers usually send."""
    if _CR not in block and block.endswith(b"\n\n"):
        events = block[:-2].split(b"\n\n")
        if all(event and event[0] != _LF for event in events):  # no blank lines but those between
            return [event + b"\n\n" for event in events]
    return split_events(block)


def read(data: bytes) -> Object | None:
    """Return the object that the data is, None if it is none, or one that nests too deep to be written again, or
    holds too much to be read."""
    if says_too_much(data):
        return None
    try:
        chunk = orjson.loads(data)
        if data.count(b"[") + data.count(b"{") > _DEEP:
            orjson.dumps(chunk)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None
    return chunk if isinstance(chunk, dict) else None


def is_chunk(chunk: Object) -> bool:
    """Return whether it is a chunk of a chat answer, of whose choices something can be made."""
    kind, choices = chunk.get("object"), chunk.get("choices")
    if not (kind is None or (isinstance(kind, str) and kind.startswith("chat.completion"))):
        return False
    if choices is None:
        return isinstance(chunk.get("usage"), dict)
    return isinstance(choices, list) and all(map(_is_choice, choices))


def _is_choice(choice: object) -> bool:
    if not isinstance(choice, dict) or "text" in choice or "message" in choice:
        return False
    return choice.get("delta") is None or isinstance(choice["delta"], dict)


def is_error(chunk: Object, name: str | None) -> bool:
    """Return whether an event says that the backend failed (S18), in any form."""
    if name == "error" or chunk.get("object") == "error" or chunk.get("type") == "error":
        return True
    return chunk.get("error") is not None and not chunk.get("choices")


def encode(chunk: Object, name: str | None) -> bytes:
    """Return the event of a chunk; `name` as its `event` field."""
    return encode_event(orjson.dumps(chunk), event=name)
