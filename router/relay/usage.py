"""How many tokens an answer says it has taken. Pure, and without reading all of it as JSON: it may be long.

    "usage":{"prompt_tokens":9,"completion_tokens":12}       chat, completions, embeddings
    "usage":{"input_tokens":9,"output_tokens":12}            responses, messages

In a text of JSON, quotation marks are escaped: what has none before them is a key.
"""

import re
from collections.abc import Iterable
from typing import Annotated

import msgspec

from router.exchange import Exchange

TAIL = 16 * 1024  # bytes at the end that are looked at: servers write it behind what they have generated
HEAD = 4 * 1024  # ... and at the beginning, for those that write it before what they have found (rerank)
MAX_PLACES = 4  # where it might stand in either

_MARK = b'"usage":{'
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
# As vLLM writes it: one look instead of three.
_USUAL = re.compile(
    rb'"usage":\{"prompt_tokens":(\d{1,12}),"total_tokens":\d{1,12},"completion_tokens":(\d{1,12})[,}]'
)
_READ = re.compile(rb'"(?:prompt|input)_tokens"\s*:\s*(\d{1,12})\b')
_WRITTEN = re.compile(rb'"(?:completion|output)_tokens"\s*:\s*(\d{1,12})\b')
_LENGTH = 1024  # bytes of it that are looked at, with its details

KEPT = 4 * 1024  # bytes of an answer that is not read at once

Tokens = tuple[int, int]  # of the prompt, and of the answer
Count = Annotated[int, msgspec.Meta(ge=0, lt=10**12)]


class _Usage(msgspec.Struct, gc=False):
    """As OpenAI has it; of embeddings there are no tokens of an answer."""

    prompt_tokens: Count
    completion_tokens: Count = 0


_decode = msgspec.json.Decoder(list[_Usage]).decode


def tokens_of(answer: bytes, before: Tokens | bytes | None = None) -> Tokens | bytes | None:
    """Return what the last usage in a body, or in the events of a stream, tells; `before` where there is none.

    What it does not tell is as it was before: the prompt of a message is told at its beginning, the rest at its end.
    A short answer with nothing before it is returned as it is, to be read by `read` or `note_tokens` when it is told
    of: between two requests that takes longer, as what reads it is not in the processor's caches.
    """
    if before is None and len(answer) <= KEPT:
        return answer
    return _read(answer, read(before))


def read(told: Tokens | bytes | None) -> Tokens | None:
    """Return what `tokens_of` has returned as numbers."""
    return _read(told, None) if isinstance(told, bytes) else told


def note_tokens(exchanges: Iterable[Exchange]) -> None:
    """Put down what the answers of exchanges tell, where that was not read yet. Where all that tell it do so as OpenAI
    has it, one call reads them all."""
    marked, usages = list[Exchange](), list[bytes]()
    for one in exchanges:
        answer = one.tokens
        if type(answer) is bytes:
            _, mark, usage = answer.rpartition(_MARK)
            if mark:
                marked.append(one)
                usages.append(usage.partition(b"}")[0])
            else:
                one.tokens = _read(answer, None)
    if not marked:
        return
    try:
        found = _decode(b"[{%b}]" % b"},{".join(usages))
    except msgspec.DecodeError:
        found = []
    if len(found) == len(marked):  # else what one leaves open ends in another
        for one, told in zip(marked, found, strict=True):
            one.tokens = told.prompt_tokens, told.completion_tokens
    else:
        for one in marked:
            one.tokens = read(one.tokens)


def _read(answer: bytes, before: Tokens | None) -> Tokens | None:
    usual = _USUAL.match(answer, answer.rfind(b'"usage"', -TAIL))  # -1 is none either: nothing begins with it
    if usual is not None:
        asked, written = usual.groups()
        return int(asked), int(written)
    return _looked_for(answer, before)


def _looked_for(answer: bytes, before: Tokens | None) -> Tokens | None:
    """Do as `_read`, where it is not written as vLLM does."""
    length = len(answer)
    place = _usage_in(answer, max(0, length - TAIL), length)
    if place < 0 and length > TAIL:
        place = _usage_in(answer, 0, HEAD)
    if place < 0:
        return before
    asked, written = _READ.search(answer, place, place + _LENGTH), _WRITTEN.search(answer, place, place + _LENGTH)
    if asked is None and written is None:
        return before
    had = before or (0, 0)
    return (had[0] if asked is None else int(asked[1]), had[1] if written is None else int(written[1]))


def _usage_in(answer: bytes, start: int, end: int) -> int:
    """Return where the last usage of a part begins, -1 where none does."""
    stop = end
    for _ in range(MAX_PLACES):
        end = answer.rfind(b'"usage"', start, end)
        if end < 0 or answer.startswith(b":{", end + 7) or _USAGE.match(answer, end, stop) is not None:
            return end
    return -1
