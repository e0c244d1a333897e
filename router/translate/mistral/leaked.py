"""S15: calls of tools that a model wrote in its own format and a parser took for text become calls again.

    [TOOL_CALLS]name[ARGS]{...}      v11 and later, also with [CALL_ID]abcDEF123 between, and several in a row
    [TOOL_CALLS][{"name": ..., "arguments": {...}}]   v7 and before
    TOOL_CALLSname{...}              either, where brackets were lost
    name{...}, [{"name": ...}]       where all marks were lost: at the beginning of the content only

It is a call only if the function's name is one of the request's and its JSON is complete, and only if nothing else
stands behind the calls: a model that calls stops there, while a text about calls goes on. All else stays text.

A stream is held back only while what was seen may yet be a call, and no more of it than `MAX_HELD`. The JSON of what
proves to be no call is not searched for others, so each character is looked at a bounded number of times.
"""

import re
from collections.abc import Collection

import msgspec
import orjson

from router.translate.mistral.arguments import Nesting
from router.translate.mistral.heads import MARKERS, MAX_HEAD, MORE, head_at, skip_blanks

MAX_HELD = 256 * 1024  # characters of leaked calls, as a call may write a file; more is released as text

_PREFIXES = "|".join(re.escape(marker[:size]) for marker in MARKERS for size in range(len(marker), 0, -1))
_LAST_PART = re.compile(rf"(?:{_PREFIXES})\Z")
_LONGEST = max(len(marker) for marker in MARKERS)
# No mark begins in a text that does not hold this part of all of them and does not end in one of these letters.
MARK_PART = "TOOL"
MARK_ENDS = "[TOL_CAS"

_PART, _ENDS = MARK_PART.encode(), frozenset(MARK_ENDS.encode())

Call = tuple[str, str]  # the function's name as the backend knows it, and the arguments: the text of a JSON object


class _Listed(msgspec.Struct):
    """One call of the older format; other keys (an id) are of no interest."""

    name: str
    arguments: msgspec.Raw


_decode_list = msgspec.json.Decoder(list[_Listed]).decode


def find_calls(text: str, tools: Collection[str]) -> tuple[str, list[Call]] | None:
    """Return the text before the leaked calls that `text` ends with, and the calls; None if there are none (S15)."""
    watcher = LeakWatcher(tools, limit=len(text))
    before = watcher.feed(text)
    rest, calls = watcher.finish()
    return (before + rest, calls) if calls else None


def has_no_mark(literal: bytes) -> bool:
    """Return whether a text, seen as it stands in JSON, is there and surely holds no beginning of a mark."""
    return bool(literal) and literal[-1] not in _ENDS and _PART not in literal and b"\\u" not in literal


def mark_at(text: str, start: int) -> int:
    """Return where the first mark begins, or at the end what may become one; the text's length if there is none."""
    bracketed, bare = MARKERS
    at = text.find(bare, start)
    if at < 0:
        found = _LAST_PART.search(text, max(start, len(text) - _LONGEST))
        return len(text) if found is None else found.start()
    front = at - 1
    if front >= start and (text.startswith(bracketed, front) or text[front:] == bracketed[:-1]):
        return front
    return at


class LeakWatcher:
    """Watches the content of one choice of a stream as it comes; what it finds in the end is what `find_calls` finds in
    the whole, but for calls that are longer than its limit."""

    __slots__ = (
        *("_bare", "_calls", "_head", "_held", "_json", "_limit", "_name", "_nesting", "_size", "_start", "_tools"),
    )

    def __init__(self, tools: Collection[str], *, limit: int = MAX_HELD) -> None:
        """`tools`: names of the request's functions; `limit`: characters that are held back at most."""
        self._tools = frozenset(tools)
        self._limit = limit
        self._start = True  # nothing but blanks was seen yet
        self._held: list[str] = []  # what has been recognised as part of calls
        self._size = 0  # characters that are held back
        self._head: str | None = None  # behind that: what may be the front of a call
        self._bare = False  # that front may do without marks
        self._nesting: Nesting | None = None  # or: we are within a call's JSON
        self._json: list[str] = []  # which is this, as far as it was seen
        self._name: str | None = None  # of the function whose arguments that JSON is; None: a list of calls
        self._calls: list[Call] = []  # those that are complete

    @property
    def is_holding(self) -> bool:
        """Return whether any text is held back."""
        return self._head is not None or self._nesting is not None

    @property
    def is_idle(self) -> bool:
        """Return whether text in which no mark may begin passes and leaves no trace."""
        return not (self._start or self.is_holding)

    @staticmethod
    def may_begin_in(text: str) -> bool:
        """Return whether an idle watcher would hold back anything of `text`, or at least has to look closer."""
        return mark_at(text, 0) < len(text)

    def feed(self, text: str) -> str:
        """Take the next piece of content and return what is certain to be text by now."""
        passed: list[str] = []
        self._size += len(text)
        at = 0
        if self._head:
            text = self._head + text  # no more than MAX_HEAD characters
        while at < len(text):
            if self._nesting is not None:
                at = self._in_json(text, at, self._nesting, passed)
            elif self._head is not None:
                at = self._in_head(text, at, passed)
            else:
                at = self._in_text(text, at, passed)
        if self.is_holding and self._size > self._limit:
            passed.append(self.release())
        return "".join(passed)

    def finish(self) -> tuple[str, list[Call]]:
        """The content has ended: return what is left of it as text, and the calls behind that text."""
        is_whole = self._nesting is None and self._head is not None and skip_blanks(self._head, 0) == len(self._head)
        calls = self._calls if is_whole else []
        rest = self.release()
        return ("", calls) if calls else (rest, [])

    def release(self) -> str:
        """Return what is held back, as text."""
        held = "".join((*self._held, *self._json, self._head or ""))
        self._held, self._json, self._calls, self._size = [], [], [], 0
        self._head = self._nesting = None
        return held

    def pass_over(self, text: str) -> str:
        """Take a piece that is too long to be looked at, and return it behind what is held back; all is text."""
        self._start = False
        return self.release() + text

    def _in_text(self, text: str, at: int, passed: list[str]) -> int:
        """Pass text on up to where a call may begin, and return that place."""
        start = at
        self._bare = False
        if self._start:
            start = skip_blanks(text, at)
            self._start = start == len(text)
            self._bare = not self._start and head_at(text, start, self._tools, bare=True) is not None
        if not self._start and not self._bare:
            start = mark_at(text, start)
        passed.append(text[at:start])
        if start < len(text):
            self._head = ""
            self._size = len(text) - start
        return start

    def _in_head(self, text: str, at: int, passed: list[str]) -> int:
        """Judge what may be the front of a call; return where to go on."""
        found = head_at(text, at, self._tools, bare=self._bare)
        if found is MORE and len(text) - at <= MAX_HEAD:
            self._head = text[at:]
            return len(text)
        self._head = None
        if found is None or found is MORE or found.seen - at > MAX_HEAD:
            if self._held:  # complete calls, and no other behind them
                passed.append(self.release())
                return at
            passed.append(text[at])
            return at + 1
        self._held.append(text[at : found.start])
        self._nesting, self._name = Nesting(), found.name
        return found.start

    def _in_json(self, text: str, at: int, nesting: Nesting, passed: list[str]) -> int:
        """Follow a call's JSON to its end; return where to go on."""
        end = nesting.scan(text, at)
        if end < 0:
            self._json.append(text[at:])
            return len(text)
        self._json.append(text[at:end])
        calls = _calls_of(self._name, "".join(self._json), self._tools)
        if calls is None:
            passed.append(self.release())
            return end
        self._calls += calls
        self._held += self._json
        self._json, self._nesting = [], None
        self._head, self._bare = "", True  # another call may follow, with marks or without
        return end


def _calls_of(name: str | None, text: str, tools: Collection[str]) -> list[Call] | None:
    """Return the calls that a complete JSON value says, None if it says none."""
    calls = _listed(text) if name is None else [(name, text)]
    return calls if calls and all(name in tools and _is_object(arguments) for name, arguments in calls) else None


def _listed(text: str) -> list[Call]:
    try:
        return [(call.name.strip(), _text_of(bytes(call.arguments))) for call in _decode_list(text)]
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return []


def _text_of(arguments: bytes) -> str:
    """Return arguments as the text of an object; some wrote them as a string already."""
    value = orjson.loads(arguments) if arguments.startswith(b'"') else arguments.decode()
    return str(value)


def _is_object(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False
