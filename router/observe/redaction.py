"""Which headers hold secrets, and what is told in their place. Pure.

A header is told only where the configuration names it; one whose name speaks of a secret is masked all the same, and
so is what looks like one in the value of any other: credentials, keys of the usual forms, user and query of a URL.
"""

import re
from collections.abc import Callable, Collection, Iterable

MASKED = "[redacted]"
MAX_VALUE = 256  # characters of a value that are told
# Parts of names: Authorization, X-Api-Key, Cookie, X-Auth-Token, X-Amz-Security-Token, X-Goog-Signature ...
_TELLING = re.compile(
    "auth|token|secret|key|passw|pwd|credential|cookie|session|signature|(^|-)(cert|jwt|assertion|sig|pin|otp|code)(-|$)"
)
_SECRETS = re.compile(
    r"(?i:\b(?:bearer|basic|digest|negotiate)\s+)\S+"
    r"|\b(?:sk|pk|rk|ghp|gho|ghs|glpat|hf|xox[abeprs])[-_][A-Za-z0-9_-]{6,}"
    r"|\beyJ[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*)*"  # a JSON web token
    r"|(?<=//)[^/?#\s]*@"
    r"|(?<=[?#])\S+"
)

Select = Callable[[Iterable[tuple[bytes, bytes]]], dict[str, str]]


def is_secret(name: str) -> bool:
    """Return whether a header of this name is never told; `name` in any case."""
    return _TELLING.search(name.lower()) is not None


def masked(name: str, value: str) -> str:
    """Return what may be told of a header's value."""
    return MASKED if is_secret(name) else _SECRETS.sub(MASKED, value)[:MAX_VALUE]


def selector(names: Collection[str]) -> Select | None:
    """Return what picks these headers out of a request's, masked, by their names in lower case; None for no names."""
    wanted = {name.lower().encode("ascii") for name in names}
    if not wanted:
        return None

    def select(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
        found: dict[str, str] = {}
        for given, value in raw:
            low = given.lower()
            if low in wanted:
                name, text = low.decode("ascii"), value.decode("utf-8", "replace").strip()
                told = masked(name, text)
                found[name] = told if name not in found or told == MASKED else f"{found[name]}, {told}"[:MAX_VALUE]
        return found

    return select
