"""Following the JSON of a call's arguments through fragments: how deep it nests and where the first value ends.

Nothing is parsed or judged here: brackets are counted, strings are stepped over. What a fragment is has no influence;
any split of a text has the same result as the whole, as long as no fragment is longer than `MAX_TEXT`: such a one is
not followed, nor what comes behind it. A backend may write more behind the arguments (S10), and a leaked
call (S15) ends where its arguments do.
"""

import re

from router.translate.mistral.limits import MAX_TEXT

BLANK = " \t\r\n"

_OUTSIDE = re.compile(r'["{}\[\]]')  # what means something outside of strings
_STRING = re.compile(r'(?:[^"\\]++|\\.)*+', re.DOTALL)  # up to a string's end, or the half of an escape


class Nesting:
    """Where in a JSON value a text stands. The value is an object, an array or a string."""

    __slots__ = ("_depth", "_in_string", "_is_escaped")

    def __init__(self) -> None:
        """Nothing of the value was seen yet."""
        self._depth = 0
        self._in_string = False
        self._is_escaped = False  # the last character was a backslash

    def scan(self, text: str, start: int = 0) -> int:
        """Follow `text` from `start` on; return the place behind the end of the value, -1 if it goes on."""
        size = len(text)
        while start < size:
            if self._in_string:
                start = self._leave_string(text, start)
                if not self._in_string and not self._depth:
                    return start
            elif found := _OUTSIDE.search(text, start):
                start = found.end()
                sign = found.group()
                if sign == '"':
                    self._in_string = True
                else:
                    self._depth += 1 if sign in "{[" else -1
                    if self._depth <= 0:
                        return start
            else:
                return -1
        return -1

    def is_unmoved_by(self, text: str) -> bool:
        """Return whether nothing in `text` opens or closes anything: a quick judge, of most fragments."""
        if '"' in text or "\\" in text or self._is_escaped:
            return False
        return self._in_string or _OUTSIDE.search(text) is None

    def _leave_string(self, text: str, start: int) -> int:
        if self._is_escaped:
            self._is_escaped = False
            start += 1
        found = _STRING.match(text, start)
        end = start if found is None else found.end()
        if end < len(text):
            self._in_string = text[end] != '"'
            self._is_escaped = self._in_string
            end += 1
        return end


class Arguments:
    """The arguments of one streamed call: which part of each fragment is passed on."""

    __slots__ = ("_is_free", "_nesting", "is_empty", "is_whole")

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._nesting: Nesting | None = None
        self._is_free = False  # no value that can be followed: all is passed on
        self.is_empty = True  # nothing but blanks (S9)
        self.is_whole = False  # the first value has ended

    def feed(self, fragment: str) -> str:
        """Return what of the next fragment belongs to the first complete value (S10): `fragment` itself where all of it
        does. What begins like no object, array or string is passed on.
        """
        nesting = self._nesting
        if self.is_whole:
            return fragment and ""
        if nesting is None or len(fragment) > MAX_TEXT:
            return self._begin(fragment)
        if nesting.is_unmoved_by(fragment):
            return fragment
        return self._follow(nesting, fragment, 0)

    def _begin(self, fragment: str) -> str:
        """Drop blanks before the JSON: openai-python parses what came so far, and fails on blanks alone."""
        if self._is_free or not fragment:
            return fragment
        if len(fragment) > MAX_TEXT:
            # Not empty, though it may be blanks: they went out, and {} behind them (S9) might stand behind a value.
            self._is_free, self._nesting, self.is_empty = True, None, False
            return fragment
        begun = fragment.lstrip(BLANK)
        if not begun:
            return ""
        fragment = fragment if len(begun) == len(fragment) else begun
        self.is_empty = False
        if fragment[0] not in '{["':
            self._is_free = True
            return fragment
        self._nesting = Nesting()
        return self._follow(self._nesting, fragment, 0)

    def _follow(self, nesting: Nesting, fragment: str, start: int) -> str:
        end = nesting.scan(fragment, start)
        self.is_whole = end >= 0
        return fragment[:end] if 0 <= end < len(fragment) else fragment
