"""What `trace` keeps of one exchange, and the JSON that becomes of it. Pure but for the id, which comes in.

Headers and the query are masked, bodies stand as they were: they are what a trace is for.
"""

import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import orjson

from router.middleware.fitness import is_json_text, writable
from router.middleware.interface import Ending, Headers
from router.observe.redaction import MASKED, is_secret, masked

LEAST = 64  # bytes that an event counts as, however short: so much it takes in memory beside its text
MAX_SET = 64 * 1024  # bytes of a body that is set in lines
MAX_DEPTH = 32  # of one that is: each level makes all lines in it longer, so that a small body could fill a disk
_BODY_INDENT = b"\n" + b" " * 4  # of what belongs to the request or the response
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


@dataclass(slots=True)
class Part:
    """A body, or the events of a stream, up to so many bytes."""

    room: int  # bytes that may still come
    pieces: list[bytes] = field(default_factory=list)
    is_truncated: bool = False  # more has come

    def add(self, piece: bytes, *, is_event: bool) -> None:
        """Keep a piece if there is room. Of a body that is too long nothing is kept: half of it is no JSON."""
        if self.is_truncated:
            return
        if len(piece) > self.room:
            self.is_truncated = True
            if not is_event:
                self.pieces.clear()
            return
        self.room -= max(len(piece), LEAST) if is_event else len(piece)
        self.pieces.append(piece)


@dataclass(slots=True)
class Record:
    """One exchange."""

    id: str
    began: float  # seconds since 1970
    method: str
    scheme: str
    path: str
    query: str
    sent: Headers  # by the client
    asked: Part
    answer: Part
    status: int = 0
    told: Headers = ()  # to the client
    is_stream: bool = False
    model: str | None = None
    session: str | None = None  # its name
    ending: Ending | None = None

    @property
    def size(self) -> int:
        """Return about how many bytes it holds."""
        bodies = (*self.asked.pieces, *self.answer.pieces)
        return sum(map(len, bodies)) + 100 * (len(bodies) + len(self.sent) + len(self.told))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of an exchange is told."""

    headers: bool
    body: bool
    secret: frozenset[str]  # names of headers that are masked besides those that are always, in lower case


def encoded(record: Record, wanted: Wanted, *, trace_id: str, when: Callable[[float], str]) -> bytes:
    """Return the JSON of a record. `when`: the text of a time, given as seconds since 1970."""
    fields = {
        "timestamp": when(record.began),
        "request": _request(record, wanted),
        "response": _response(record, wanted) if record.status else None,
        **_ending(record),
        "trace_id": trace_id,
        "request_id": record.id,
        "model": None if record.model is None else writable(record.model),
    } | ({"session": record.session} if record.session else {})
    return orjson.dumps(fields, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _request(record: Record, wanted: Wanted) -> dict[str, Any]:
    query = [(name, _of_query(name, value)) for name, value in urllib.parse.parse_qsl(record.query, True)]
    host = next((masked("host", value) for name, value in record.sent if name.lower() == "host"), "")
    target = record.path + (f"?{urllib.parse.urlencode(query, safe='[]')}" if query else "")
    return {
        "method": record.method,
        "url": f"{record.scheme}://{host}{target}",
        "headers": _headers(record.sent, wanted),
        "body": _body(record.asked, wanted),
        "query_params": dict(query) or None,
    } | _truncated(record.asked)


def _response(record: Record, wanted: Wanted) -> dict[str, Any]:
    is_stream = record.is_stream
    chunks = [piece.decode("utf-8", "replace") for piece in record.answer.pieces] if is_stream and wanted.body else []
    return {
        "status_code": record.status,
        "headers": _headers(record.told, wanted),
        "body": None if is_stream else _body(record.answer, wanted),
        "chunks": chunks,
        "is_streaming": is_stream,
    } | _truncated(record.answer)


def _ending(record: Record) -> dict[str, Any]:
    ending = record.ending
    if ending is None:
        return {"duration_ms": None}
    return {
        "duration_ms": round(ending.seconds * 1000, 3),
        "outcome": ending.outcome,
        "error": None if ending.error is None else writable(ending.error),
        "attempts": [{"backend": backend, "outcome": outcome} for backend, outcome in ending.attempts],
    }


def _truncated(part: Part) -> dict[str, bool]:
    return {"truncated": True} if part.is_truncated else {}


def _headers(pairs: Headers, wanted: Wanted) -> dict[str, str]:
    """Return the headers by name, masked; values of one that came several times are joined."""
    found: dict[str, str] = {}
    for name, value in pairs if wanted.headers else ():
        low = name.lower()
        told = MASKED if low in wanted.secret else masked(low, value)
        found[low] = told if low not in found or told == MASKED else f"{found[low]}, {told}"
    return found


def _of_query(name: str, value: str) -> str:
    return MASKED if is_secret(name) else masked("", value)


def _body(part: Part, wanted: Wanted) -> Any:
    """Return a body: as JSON where it is some, else as text; None where it is empty, unwanted or too long.

    JSON stays what it is to the letter, numbers of any length and names that come twice too; it is only set in lines.
    A large one is not even that: it would hold up all other threads.
    """
    if not wanted.body or not part.pieces:
        return None
    raw = b"".join(part.pieces)
    if not is_json_text(raw):
        return raw.decode("utf-8", "replace")
    if len(raw) > MAX_SET or _is_deep(raw):
        return orjson.Fragment(raw)
    try:
        return orjson.Fragment(msgspec.json.format(raw, indent=2).replace(b"\n", _BODY_INDENT))
    except msgspec.DecodeError:  # half of a surrogate pair
        return raw.decode("utf-8", "replace")


def _is_deep(raw: bytes) -> bool:
    """Return whether JSON is nested more than MAX_DEPTH deep."""
    brackets = _STRING.sub(b"", raw).translate(None, _NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    return bool(brackets)
