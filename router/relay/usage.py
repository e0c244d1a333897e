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
_READ = re.compile(rb'"(?:prompt|input)_tokens"\s*:\s*(\d{1,12})\b')
_WRITTEN = re.compile(rb'"(?:completion|output)_tokens"\s*:\s*(\d{1,12})\b')
_LENGTH = 1024  # bytes of it that are looked at, with its details

Tokens = tuple[int, int]  # of the prompt, and of the answer


def tokens_of(answer: bytes, before: Tokens | None = None) -> Tokens | None:
    """Return what the last usage in a body, or in the events of a stream, tells; `before` where there is none.

    What it does not tell is as it was before: the prompt of a message is told at its beginning, the rest at its end.
    """
    usage = _usage_in(answer[-TAIL:])
    if usage is None and len(answer) > TAIL:
        usage = _usage_in(answer[:HEAD])
    if usage is None:
        return before
    read, written = _READ.search(usage), _WRITTEN.search(usage)
    if read is None and written is None:
        return before
    had = before or (0, 0)
    return (had[0] if read is None else int(read[1]), had[1] if written is None else int(written[1]))


def _usage_in(part: bytes) -> bytes | None:
    end = len(part)
    for _ in range(MAX_PLACES):
        end = part.rfind(b'"usage"', 0, end)
        if end < 0:
            return None
        if _USAGE.match(part, end) is not None:
            return part[end : end + _LENGTH]
    return None
