"""The fast reader of a stream's events: those that every stream has are seen to be usual, and only cut.

    the role, alone  ->  the first text  ->  the end, with "stop" or "length"

vLLM's own keys are taken out of the bytes where they are null, then one strict reading shows that what is left needs
no repair. Whatever is not usual (calls, reasoning, usage, other keys) is None here, and read anew by `stream.py`.
"""

import re
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from router.translate.mistral.fields import VLLM_CHOICE_KEYS, VLLM_CHUNK_KEYS
from router.translate.mistral.usual import Nothing, Text, nulls
from router.wire.sse import data_line

_NULLS = nulls(VLLM_CHUNK_KEYS | VLLM_CHOICE_KEYS)
_BEGINNING = b"data: {"
_TEXT = b'"content":"'
_REST = re.compile(rb'(?:[^"\\]++|\\.)++"')  # of a JSON string that is not empty
_BACKSLASH = 0x5C

Number = Annotated[int, Meta(ge=0, le=2**53)]  # readers differ on greater ones


class Delta(Struct, forbid_unknown_fields=True, gc=False):
    """What a choice says."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET


class Said(Struct, forbid_unknown_fields=True, gc=False):
    """One choice."""

    index: Number
    delta: Delta
    finish_reason: Literal["stop", "length"] | None = None
    logprobs: Nothing = UNSET


class Usual(Struct, forbid_unknown_fields=True, gc=False):
    """One event, or more exactly the chunk in it."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: Number
    model: str
    choices: list[Said]
    usage: Nothing = UNSET
    service_tier: Text = UNSET
    system_fingerprint: Text = UNSET


_read = msgspec.json.Decoder(Usual).decode


def read_usual(event: bytes) -> tuple[Usual, bytes] | None:
    """Return what a usual event of one choice says, and the event as the client gets it (S1); None for any other."""
    if not event.startswith(_BEGINNING) or data_line(event) is None:
        return None
    cut = _NULLS.sub(b"", event)
    try:
        chunk = _read(cut[6:-2])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return (chunk, cut) if len(chunk.choices) == 1 and chunk.id else None


def around_text(event: bytes) -> tuple[bytes, bytes] | None:
    """Return what stands before and behind the text of a usual event, without its quotation marks; None where keys
    may be written so that this is not sure."""
    begin = event.find(_TEXT) + len(_TEXT)
    found = _REST.match(event, begin) if begin >= len(_TEXT) else None
    if found is None:
        return None
    before, behind = event[: begin - 1], event[found.end() :]
    is_sure = behind.find(_TEXT) < 0 and _BACKSLASH not in before and _BACKSLASH not in behind
    return (before, behind) if is_sure else None


def without_nulls(part: bytes) -> bytes:
    """Return a part of a usual event, outside of its text, as the client gets it (S1)."""
    return _NULLS.sub(b"", part)
