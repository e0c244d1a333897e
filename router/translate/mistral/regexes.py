"""Regular expressions in schemas: would Python take them (R26)? Answered at a bounded cost.

mistral-common compiles every `pattern`, and refuses tools with one that Python does not know, as `\\p{L}` or `(?<n>.)`.
Compiling is slow, and slowest for sets of characters beyond Latin-1 (10 ms for one of six characters), so these are
moved together first: what is valid depends on the order of characters, not on their distance.
"""

import re
import warnings

# Characters of all patterns of one request; at the worst 10 us each. Tools of real agents have a few hundred.
PATTERN_CHARACTERS = 10_000
GROUPS = 100  # parentheses of one pattern: Python's parser goes a level deeper for each

# Characters beyond ASCII, as escapes and as themselves; other escapes are found too, so that none is cut in two.
ESCAPES = r"\\x([0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})|\\([23][0-7]{2})|\\."
WIDE = re.compile(ESCAPES + r"|([^\x00-\x7f])", re.DOTALL)
PLACES = "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõöøùúûüýþÿ"  # letters of Latin-1, in order
FIRST, LAST = 0x80, 0x10FFFF
BY_NAME = "\\N{"  # a character by its name; no other language knows it


def compiles(pattern: str) -> bool:
    """Return whether it is a regular expression of Python's."""
    if pattern.count("(") > GROUPS or BY_NAME in pattern:
        return False
    try:
        with warnings.catch_warnings(action="ignore"):
            re.compile(_narrowed(pattern))
    except (re.error, OverflowError, RecursionError):
        return False
    return True


def _narrowed(pattern: str) -> str:
    """Return a pattern that is as valid as the given one, with all characters beyond ASCII among `PLACES`."""
    wide = sorted({code for found in WIDE.finditer(pattern) if (code := _code(found)) is not None})
    if not wide:
        return pattern
    # As many as there are places keep apart; more of them share some, so that a range may be taken that is none.
    step = max(len(wide), len(PLACES))
    moved = {code: PLACES[rank * len(PLACES) // step] for rank, code in enumerate(wide)}

    def move(found: re.Match[str]) -> str:
        code = _code(found)
        return found[0] if code is None else moved[code]

    return WIDE.sub(move, pattern)


def _code(found: re.Match[str]) -> int | None:
    """Return the code point of a character beyond ASCII, None for anything else."""
    byte, short, long, octal, plain = found.groups()
    digits = byte or short or long
    code = ord(plain) if plain else int(octal, 8) if octal else int(digits or "0", 16)
    return code if FIRST <= code <= LAST else None
