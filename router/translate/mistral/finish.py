"""S11: finish_reason takes OpenAI's values."""

import re

import msgspec
from msgspec import Raw, Struct

from router.translate.asked import Asked, ToolChoice
from router.translate.mistral.fields import FINISH_REASONS
from router.translate.mistral.values import UNREADABLE

BROKEN = frozenset(("abort", "error"))  # vLLM's words for an answer that it did not finish (S18)

# What other servers and other versions say; what is in no table means that the model stopped.
_SAME = {
    "model_length": "length",
    "max_tokens": "length",
    "max_length": "length",
    "tool_use": "tool_calls",
    "tool_call": "tool_calls",
}


_OBJECTS = (b'"chat.completion', b"null")  # what `object` begins with, of an answer and of a chunk
_MAY_SAY = re.compile(rb'"(?:%b)"|\\u' % "|".join(sorted(BROKEN)).encode())
_SAID = re.compile(rb'"finish_reason"\s*+:\s*+"(?:%b)"' % "|".join(sorted(BROKEN)).encode())


class _Reason(Struct, gc=False):
    finish_reason: str | None = None


class _Reasons(Struct):
    """Why each choice of an answer ended; all else is passed over."""

    choices: list[_Reason]
    object: Raw = Raw(b"null")


_read_reasons = msgspec.json.Decoder(_Reasons).decode


def says_broken(data: bytes) -> bool:
    """Return whether a chat answer, or a chunk of one, that is not read otherwise says that it is not whole.

    Where choices are odd, the words do, wherever they stand: reading those would cost what is to be spared here.
    """
    if _MAY_SAY.search(data) is None:
        return False
    try:
        told = _read_reasons(data)
    except msgspec.ValidationError:
        return _SAID.search(data) is not None
    except UNREADABLE:
        return False
    return bytes(told.object).startswith(_OBJECTS) and any(is_broken(choice.finish_reason) for choice in told.choices)


def is_broken(reason: object) -> bool:
    """Return whether it says that the answer is not whole."""
    return isinstance(reason, str) and reason in BROKEN


def finish_reason(reason: object, *, has_calls: bool, asked: Asked) -> str:
    """Return what a choice that is whole says in OpenAI's words (S11); `reason` as the backend gave it, None if it did
    not.

    With calls it is "tool_calls", but "stop" may stand where the request named the function, as OpenAI says it there
    too. Without calls it is not "tool_calls", or an agent would wait for them.
    """
    word = _SAME.get(reason, reason) if isinstance(reason, str) else "stop"
    if word not in FINISH_REASONS:
        word = "stop"
    if has_calls and word == "stop" and asked.tool_choice is not ToolChoice.NAMED:
        return "tool_calls"
    if not has_calls and word == "tool_calls":
        return "stop"
    return word
