r"""Halves of surrogate pairs in JSON: Python writes "\ud800" for them, and no strict reader takes that (R36)."""

import re

# A pair, any other escape, or one half. Escapes are read from left to right, so that the "\\" in "\\ud800" is one.
_ESCAPES = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)
_REPLACEMENT = rb"\ufffd"


def mend_surrogates(body: bytes) -> bytes:
    """Return JSON text with U+FFFD for each half of a surrogate pair (R36); `body` itself where there is none."""
    if rb"\ud" not in body and rb"\uD" not in body:
        return body
    mended = _ESCAPES.sub(lambda found: _REPLACEMENT if found[1] else found[0], body)
    return body if mended == body else mended
