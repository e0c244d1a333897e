"""Ids of tool calls: nine letters or digits, always the same ones for the same id of a client (R3).

Tokenizers up to version 11 write the ids into the prompt: ids by chance would cost the backend its prefix cache.
"""

from collections.abc import Collection
from functools import lru_cache
from hashlib import sha256

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
LENGTH = 9
ALL = len(ALPHABET) ** LENGTH  # ids that there are
PAIRS = [low + high for high in ALPHABET for low in ALPHABET]  # two digits at a time: half as many divisions
PAIR = len(PAIRS)
CACHED_IDS = 4096  # ids come again with every request of a conversation
LONGEST_CACHED = 128  # characters; real ones have up to 64


def is_nine(ident: str) -> bool:
    """Return whether it is nine ASCII letters or digits."""
    return len(ident) == LENGTH and ident.isascii() and ident.isalnum()


def nine_of(ident: str) -> str:
    """Return nine letters or digits that stand for any id: the first digits of sha256 in base 62, lowest first."""
    return _cached(ident) if len(ident) <= LONGEST_CACHED else _hashed(ident)


@lru_cache(CACHED_IDS)
def _cached(ident: str) -> str:
    return _hashed(ident)


def _hashed(ident: str) -> str:
    number = int.from_bytes(sha256(ident.encode("utf-8", "surrogatepass")).digest(), "big") % ALL
    number, first = divmod(number, PAIR)
    number, second = divmod(number, PAIR)
    number, third = divmod(number, PAIR)
    last, fourth = divmod(number, PAIR)
    return f"{PAIRS[first]}{PAIRS[second]}{PAIRS[third]}{PAIRS[fourth]}{ALPHABET[last]}"


class Ids:
    """The ids of one conversation."""

    __slots__ = ("_free", "_unnamed")

    def __init__(self, *, nine: bool, longest: int | None) -> None:
        """`nine`: only nine letters or digits are taken; else any id up to `longest` characters, None for all."""
        self._unnamed = 0
        self._free: int | None = None if nine else (longest if longest is not None else -1)

    def is_taken(self, ident: str) -> bool:
        """Return whether a backend takes the id as it is."""
        if len(ident) == LENGTH and ident.isalnum() and ident.isascii():
            return True
        return self._free is not None and bool(ident) and (self._free < 0 or len(ident) <= self._free)

    def of_block(self, idents: list[str]) -> list[str]:
        """Return the backend's ids of the calls of one message, given the client's; "": it has none.

        Valid ids stay, others are hashed. The second of one id becomes hash(id#2), and so on: results are given to
        such calls in order. Calls without id are counted over the conversation, so that the history's stay the same.
        """
        if len(idents) == 1 and idents[0]:
            return [idents[0] if self.is_taken(idents[0]) else nine_of(idents[0])]
        own = {ident for ident in idents if ident and self.is_taken(ident)}
        given: list[str] = []
        used: set[str] = set()
        seen: dict[str, int] = {}
        for ident in idents:
            if not ident:
                self._unnamed += 1
                given.append(_unused(f"#{self._unnamed}", used, own))
            else:
                count = seen[ident] = seen.get(ident, 0) + 1
                if count == 1 and ident in own:
                    given.append(ident)
                else:
                    given.append(_unused(ident if count == 1 else f"{ident}#{count}", used, own))
            used.add(given[-1])
        return given


def _unused(ident: str, used: Collection[str], own: Collection[str]) -> str:
    """Return the hash of an id, or of the id and a mark where that one stands for another call of this message."""
    given = nine_of(ident)
    while given in used or given in own:
        ident += "'"
        given = nine_of(ident)
    return given
