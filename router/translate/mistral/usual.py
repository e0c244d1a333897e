"""The fast reader of answers in one piece: what vLLM usually sends is seen to be so, and only cut.

vLLM's own keys are taken out of the bytes where they are null, then one strict reading shows that what is left needs
no repair. Whatever is not usual (calls, reasoning, other keys) is None here, and read anew by `answer.py`.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from router.translate.asked import Asked
from router.translate.mistral import reasoning
from router.translate.mistral.fields import REASONING_KEYS, VLLM_ANSWER_KEYS, VLLM_CHOICE_KEYS
from router.translate.mistral.leaked import find_calls
from router.translate.notes import Notes, Rule


def nulls(keys: Iterable[str]) -> re.Pattern[bytes]:
    """Return what finds these keys in JSON where they are null and not the first of their object.

    A quotation mark behind a comma begins a key or a text; within a text it would be escaped. So none is in a text.
    """
    return re.compile(rb',"(?:%b)":null' % b"|".join(sorted(key.encode() for key in keys)))


_NULLS = nulls((*VLLM_ANSWER_KEYS, *VLLM_CHOICE_KEYS, *REASONING_KEYS))
_NO_ANNOTATIONS, _ANNOTATIONS = b',"annotations":null', b',"annotations":[]'
_NO_CALLS = b',"tool_calls":[]'  # as older vLLM says it
LONGEST = 256 * 1024  # bytes that are searched

Text = str | UnsetType | None
Nothing = UnsetType | None


class _Message(Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["assistant"]
    content: Annotated[str, Meta(min_length=1)]
    refusal: Nothing = UNSET
    annotations: Annotated[list[int], Meta(max_length=0)] | UnsetType = UNSET
    audio: Nothing = UNSET
    function_call: Nothing = UNSET
    tool_calls: Annotated[list[int], Meta(max_length=0)] | UnsetType = UNSET


class _Choice(Struct, forbid_unknown_fields=True, gc=False):
    index: int
    message: _Message
    finish_reason: Literal["stop", "length"]
    logprobs: Nothing = UNSET


class _PromptDetails(Struct, forbid_unknown_fields=True, gc=False):
    cached_tokens: int | UnsetType | None = UNSET


class _Usage(Struct, forbid_unknown_fields=True, gc=False):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: _PromptDetails | UnsetType | None = UNSET
    completion_tokens_details: Nothing = UNSET


class _Answer(Struct, forbid_unknown_fields=True, gc=False):
    choices: list[_Choice]
    object: Literal["chat.completion"]
    id: Text = UNSET
    created: int | UnsetType = UNSET
    model: Text = UNSET
    usage: _Usage | UnsetType | None = UNSET
    service_tier: Nothing = UNSET
    system_fingerprint: Text = UNSET


_read = msgspec.json.Decoder(_Answer).decode


def read_usual(body: bytes, asked: Asked, *, may_leak: bool) -> tuple[bytes, Notes] | None:
    """Return what the client gets of a usual answer, and what was changed (S1, S13); None for any other answer.

    `may_leak`: calls may stand in its text (S15).
    """
    if asked.extras or len(body) > LONGEST:
        return None
    cut = _NULLS.sub(b"", body)
    told = cut.replace(_NO_ANNOTATIONS, _ANNOTATIONS)
    try:
        answer = _read(told)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    calls = 0
    for choice in answer.choices:
        content = choice.message.content
        calls += choice.message.tool_calls is not UNSET
        if reasoning.may_begin(content) or (may_leak and find_calls(content, asked.tools) is not None):
            return None
    notes = Notes()
    if len(cut) != len(body):
        notes.repair(Rule.S1)
    if told is not cut and len(told) != len(cut):
        notes.repair(Rule.S13)
    if calls:
        if told.count(_NO_CALLS) != calls:  # written in another way
            return None
        told = told.replace(_NO_CALLS, b"")
        notes.repair(Rule.S13)
    return told if notes.repaired else body, notes
