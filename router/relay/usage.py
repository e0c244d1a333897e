"""How many tokens an answer says it has taken. Pure, and without reading it as JSON: it may be long.

    "usage":{"prompt_tokens":9,"completion_tokens":12}       chat, completions, embeddings
    "usage":{"input_tokens":9,"output_tokens":12}            responses, messages

In a text of JSON, quotation marks are escaped: what has none before them is a key.
"""

import re

TAIL = 16 * 1024  # bytes at the end that are looked at: servers write it behind what they have generated
HEAD = 4 * 1024  # ... and at the beginning, for those that write it before what they have found (rerank)
MAX_PLACES = 4  # where it might stand in either

_USAGE = re.compile(rb'"usage"\s*:\s*\{')
# As vLLM writes it: one look instead of three.
_USUAL = re.compile(
    rb'"usage":\{"prompt_tokens":(\d{1,12}),"total_tokens":\d{1,12},"completion_tokens":(\d{1,12})[,}]'
)
_READ = re.compile(rb'"(?:prompt|input)_tokens"\s*:\s*(\d{1,12})\b')
_WRITTEN = re.compile(rb'"(?:completion|output)_tokens"\s*:\s*(\d{1,12})\b')
_LENGTH = 1024  # bytes of it that are looked at, with its details

Tokens = tuple[int, int]  # of the prompt, and of the answer


def tokens_of(answer: bytes, before: Tokens | None = None) -> Tokens | None:
    """Return what the last usage in a body, or in the events of a stream, tells; `before` where there is none.

    What it does not tell is as it was before: the prompt of a message is told at its beginning, the rest at its end.
    """
    usual = _USUAL.match(answer, answer.rfind(b'"usage"', -TAIL))  # -1 is none either: nothing begins with it
    if usual is not None:
        read, written = usual.groups()
        return int(read), int(written)
    return _looked_for(answer, before)


def _looked_for(answer: bytes, before: Tokens | None) -> Tokens | None:
    """Do as `tokens_of`, where it is not written as vLLM does."""
    length = len(answer)
    place = _usage_in(answer, max(0, length - TAIL), length)
    if place < 0 and length > TAIL:
        place = _usage_in(answer, 0, HEAD)
    if place < 0:
        return before
    read, written = _READ.search(answer, place, place + _LENGTH), _WRITTEN.search(answer, place, place + _LENGTH)
    if read is None and written is None:
        return before
    had = before or (0, 0)
    return (had[0] if read is None else int(read[1]), had[1] if written is None else int(written[1]))


def _usage_in(answer: bytes, start: int, end: int) -> int:
    """Return where the last usage of a part begins, -1 where none does."""
    stop = end
    for _ in range(MAX_PLACES):
        end = answer.rfind(b'"usage"', start, end)
        if end < 0 or answer.startswith(b":{", end + 7) or _USAGE.match(answer, end, stop) is not None:
            return end
    return -1
