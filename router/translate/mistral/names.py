"""Names of functions: what mistral-common takes, and the way back to the client's own (R12).

A name that is valid stays what it is. Another gets a name that depends on nothing but itself and on which other
names are declared: not on their order, not on the history, so that a growing conversation keeps its prompt's beginning.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable
from functools import lru_cache
from hashlib import sha256

MAX_NAME = 64  # characters, of mistral-common and of OpenAI
VALID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
OTHER = re.compile(r"[^a-zA-Z0-9_-]")
TELLING = re.compile(r"[a-zA-Z0-9]")
HASH_LENGTH = 8  # hex digits
KEPT = 1024  # names of which it is kept whether they are valid: a conversation says the same few again and again


def is_valid_name(name: str) -> bool:
    """Return whether mistral-common takes the name of a function as it is."""
    return len(name) <= MAX_NAME and _is_valid(name)


@lru_cache(KEPT)
def _is_valid(name: str) -> bool:
    return VALID.fullmatch(name) is not None


def hashed_name(name: str, *, salt: str = "") -> str:
    """Return a valid name that no other name is likely to get; `salt` gives another one."""
    digest = sha256(f"{salt}{name}".encode("utf-8", "surrogatepass")).hexdigest()[:HASH_LENGTH]
    stem = OTHER.sub("_", name[: MAX_NAME - HASH_LENGTH - 1])
    return f"{stem if TELLING.search(stem) else 'function'}_{digest}"


def safe_name(name: str) -> str:
    """Return the name as a backend takes it (R12): other characters become "_", a long one is shortened with a hash.

    Deterministic; a valid name is returned as it is, so safe_name(safe_name(name)) is safe_name(name).
    """
    if is_valid_name(name):
        return name
    if len(name) > MAX_NAME or not TELLING.search(name):
        return hashed_name(name)
    return OTHER.sub("_", name)


class Names:
    """The names of one request: of its tools, which must stay apart, and of calls in its history."""

    __slots__ = ("_changed", "_declared", "back", "declared")

    def __init__(self) -> None:
        """No tools are declared."""
        self.declared: frozenset[str] = frozenset()  # the client's names of tools
        self._declared: Collection[str] = frozenset()  # the backend's
        self._changed: dict[str, str] = {}  # from the client's name to the backend's, where they differ
        self.back: dict[str, str] = {}  # from the backend's name to the client's, where they differ

    def declare(self, names: Iterable[str]) -> None:
        """Take the client's names of all tools of the request; two of them never get one name."""
        own = self.declared = frozenset(names)
        valid = frozenset(name for name in own if is_valid_name(name))
        if len(valid) == len(own):
            self._declared = valid
            return
        odd = sorted(own - valid)
        wanted = Counter(map(safe_name, odd))
        taken = set(valid)
        for name in odd:
            given = safe_name(name)
            if given in taken or wanted[given] > 1:
                given = _free_name(name, taken)
            taken.add(given)
            self._changed[name] = given
        self._declared = taken
        self.back = {given: name for name, given in self._changed.items()}

    def declare_valid(self, names: frozenset[str]) -> None:
        """Take names of tools of which it is known that all are valid."""
        self.declared = self._declared = names

    def to_backend(self, name: str) -> str:
        """Return the backend's name of a tool or of a call in the history (R12)."""
        if is_valid_name(name):
            return name
        known = self._changed.get(name)
        if known is not None:
            return known
        given = safe_name(name)
        # A call of something that is no tool of this request must not look like a call of one that is.
        return hashed_name(name) if given in self._declared else given


def _free_name(name: str, taken: Collection[str]) -> str:
    given, count = hashed_name(name), 1
    while given in taken:
        given, count = hashed_name(name, salt=f"{count}#"), count + 1
    return given
