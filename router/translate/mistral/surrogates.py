r"""Halves of surrogate pairs in JSON: Python writes "\ud800" for them, and no strict reader takes that (R36)."""

import re

# Escapes are read from left to right, so that the "\\" in "\\ud800" is one: what stands before a half is read whole.
_PAIR = rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_HALF = rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
_UP_TO_HALF = re.compile(rb"((?:[^\\]++|" + _PAIR + rb"|(?!" + _HALF + rb")\\.)*+)" + _HALF, re.DOTALL)
LONGEST = 8 * 1024 * 1024  # bytes that are searched: it takes 30 ns for each escape


def mend_surrogates(body: bytes) -> bytes:
    """Return JSON text with U+FFFD for each half of a surrogate pair (R36); `body` itself where there is none.

    For bodies that no reader has taken: it is slow where there are many escapes.
    """
    if len(body) > LONGEST or (rb"\ud" not in body and rb"\uD" not in body):
        return body
    parts: list[bytes] = []
    at = 0
    while (found := _UP_TO_HALF.match(body, at)) is not None:
        parts += (found[1], rb"\ufffd")
        at = found.end()
    return b"".join((*parts, body[at:])) if parts else body
