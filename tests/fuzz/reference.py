"""How RFC 9112 reads HTTP/1.1, strictly: the judge of what the router reads. Shares nothing with `router.wire`.

It reads whole byte strings with the grammar's own expressions, keeps no state, and knows three ends:

    WHOLE      the bytes end with a message
    PARTIAL    a message has begun and is not whole
    AMBIGUOUS  two readers may understand what follows differently: whoever forwards must refuse it

Stricter than the RFC asks: repeated Content-Length, also with the same number, codings other than chunked, bare LF and
CR and folded lines are all ambiguous. Chunk extensions and trailers mean nothing: odd ones may be read or refused.
"""

import enum
import re
from dataclasses import dataclass, field

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
# Several spaces may part its words (section 3); whoever forwards writes one. A fragment is no part of a target.
# RTSP and ICE have the same grammar, and llhttp takes their names for HTTP's: no byte is read otherwise for it.
REQUEST_LINE = re.compile(rb"(%b) +([\x21\x22\x24-\x7e]+) +(?:HTTP|RTSP|ICE)/(1\.[01])" % TOKEN)
STATUS_LINE = re.compile(rb"HTTP/(1\.[01]) ([1-9][0-9]{2})(?: ([^\r\n]*))?")
FIELD_LINE = re.compile(rb"(%b):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[ \t]*[\x21-\x7e\x80-\xff])*)?)[ \t]*" % TOKEN)
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]+)(?:;%b(?:=(?:%b|%b))?)*" % (TOKEN, TOKEN, QUOTED))
ODD_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]+)[ \t]*;[\t \x21-\x7e\x80-\xff]*")  # its size is the same for everybody
PREFACE = b"PRI ", b"SM\r\n\r\n"  # of HTTP/2: whole only with its second half (RFC 9113 section 3.4); no request
NO_TRAILERS = {b"content-length", b"transfer-encoding", b"connection", b"proxy-connection"}  # of them, odd ones
MOST = 2**64  # a number that does not fit means different things to different readers

Field = tuple[bytes, bytes]


class Ambiguous(Exception):
    """See the module's docstring."""


class Partial(Exception):
    """See the module's docstring. `body`: what of it has come."""

    def __init__(self, body: bytes = b"") -> None:
        super().__init__()
        self.body = body


class Ending(enum.Enum):
    """How the bytes end."""

    WHOLE, PARTIAL, AMBIGUOUS = "whole", "partial", "ambiguous"


@dataclass(frozen=True, slots=True)
class Message:
    """One request or answer."""

    start: tuple[bytes, ...]  # method, target, version; or version, status, reason
    fields: tuple[Field, ...]  # names as they came
    body: bytes
    is_last: bool  # the connection ends with it
    is_odd: bool = False  # badly written where nothing depends on it: whoever wants may refuse it

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of a field; `name` in lower case."""
        return _values(self.fields, name)


@dataclass(slots=True)
class Reading:
    """What the bytes of one connection are."""

    messages: list[Message] = field(default_factory=list)
    ending: Ending = Ending.WHOLE
    why: str = ""
    rest: int = 0  # where what is not understood begins
    part: Message | None = None  # of an answer that is not whole, where its head is


def _values(fields: tuple[Field, ...], name: bytes) -> list[bytes]:
    return [value for key, value in fields if key.lower() == name]


def _head(data: bytes, at: int) -> tuple[bytes, tuple[Field, ...], int]:
    """Return start line, fields and where the body begins."""
    end = data.find(b"\r\n\r\n", at)
    if end < 0:
        raise Partial
    first, *lines = data[at:end].split(b"\r\n")
    return first, _fields(lines), end + 4


def _fields(lines: list[bytes]) -> tuple[Field, ...]:
    fields = []
    for line in lines:
        match = FIELD_LINE.fullmatch(line)
        if match is None:
            raise Ambiguous(f"a field line: {line[:60]!r}")
        fields.append((match[1], match[2]))
    return tuple(fields)


def _framing(fields: tuple[Field, ...], version: bytes) -> int | None:
    """Return how long the body is, None: chunked; -1: nothing says so."""
    lengths, codings = _values(fields, b"content-length"), _values(fields, b"transfer-encoding")
    if codings:
        if lengths or version == b"1.0" or [coding.lower() for coding in codings] != [b"chunked"]:
            raise Ambiguous("Transfer-Encoding")
        return None
    if not lengths:
        return -1
    if len(lengths) != 1 or not re.fullmatch(rb"[0-9]+", lengths[0]) or int(lengths[0][:100]) >= MOST:
        raise Ambiguous("Content-Length")
    return int(lengths[0])


def _chunked(data: bytes, at: int) -> tuple[bytes, int, bool]:
    """Return the body, where it ends, and whether it is odd."""
    body = b""
    is_odd = False
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            raise Partial(body)
        match = CHUNK_LINE.fullmatch(data, at, end)
        if match is None:
            match, is_odd = ODD_CHUNK_LINE.fullmatch(data, at, end), True
        if match is None or len(match[1].lstrip(b"0")) > 16:
            raise Ambiguous(f"a chunk's size: {data[at : min(end, at + 60)]!r}")
        size = int(match[1], 16)
        at = end + 2
        if not size:
            end, is_odd_at_end = _trailers(data, at, body)
            return body, end, is_odd or is_odd_at_end
        body += data[at : at + size]
        at += size
        if len(data) < at + 2:
            if not b"\r\n".startswith(data[at:]):
                raise Ambiguous("a chunk's end")
            raise Partial(body)
        if data[at : at + 2] != b"\r\n":
            raise Ambiguous("a chunk's end")
        at += 2


def _trailers(data: bytes, at: int, body: bytes) -> tuple[int, bool]:
    if data.startswith(b"\r\n", at):
        return at + 2, False
    end = data.find(b"\r\n\r\n", at)
    if end < 0:
        raise Partial(body)
    trailers = _fields(data[at:end].split(b"\r\n"))
    return end + 4, any(name.lower() in NO_TRAILERS for name, _ in trailers)


def _counted(data: bytes, at: int, length: int) -> tuple[bytes, int, bool]:
    if len(data) < at + length:
        raise Partial(data[at:])
    return data[at : at + length], at + length, False


def _is_last(fields: tuple[Field, ...], version: bytes) -> bool:
    words = {word.strip(b" \t").lower() for value in _values(fields, b"connection") for word in value.split(b",")}
    return b"close" in words or (version == b"1.0" and b"keep-alive" not in words)


def _request(data: bytes, at: int) -> tuple[Message, int]:
    first, fields, at = _head(data, at)
    match = REQUEST_LINE.fullmatch(first)
    if first.startswith(PREFACE[0]):
        if not fields and len(data) - at < len(PREFACE[1]) and PREFACE[1].startswith(data[at:]):
            raise Partial
        match = None
    if match is None:
        raise Ambiguous(f"the request line: {first[:60]!r}")
    method, target, version = match.groups()
    if method == b"CONNECT" or not (target.startswith(b"/") or (target == b"*" and method == b"OPTIONS")):
        raise Ambiguous("the target")
    hosts = _values(fields, b"host")
    if len(hosts) > 1 or b"" in hosts or (version == b"1.1" and not hosts):
        raise Ambiguous("Host")
    length = _framing(fields, version)
    body, at, is_odd = _chunked(data, at) if length is None else _counted(data, at, max(length, 0))
    return Message((method, target, version), fields, body, _is_last(fields, version), is_odd), at


def read_requests(data: bytes) -> Reading:
    """Read what a client has sent on one connection; nothing behind its last request is looked at."""
    reading = Reading()
    while True:
        while data[reading.rest : reading.rest + 1] in (b"\r", b"\n"):
            reading.rest += 1  # empty lines before a request: nothing can be read into them (section 2.2)
        if reading.rest == len(data):
            return reading
        try:
            request, reading.rest = _request(data, reading.rest)
        except Partial:
            reading.ending = Ending.PARTIAL
            return reading
        except Ambiguous as error:
            reading.ending, reading.why = Ending.AMBIGUOUS, str(error)
            return reading
        reading.messages.append(request)
        if request.is_last:
            return reading


def _answer(data: bytes, at: int, method: bytes, reading: Reading, *, is_ended: bool) -> tuple[Message, int]:
    first, fields, at = _head(data, at)
    match = STATUS_LINE.fullmatch(first)
    if match is None:
        raise Ambiguous(f"the status line: {first[:60]!r}")
    version, status, reason = match[1], match[2], match[3] or b""
    is_last = _is_last(fields, version)
    length = _framing(fields, version)  # judged also where there is no body
    if status[:1] == b"1" and (is_last or length != -1):
        raise Ambiguous("1xx that ends the connection or has a body")
    if status[:1] == b"1" or status in (b"204", b"304") or method == b"HEAD":
        return Message((version, status, reason), fields, b"", is_last), at
    try:
        if length is None:
            body, at, is_odd = _chunked(data, at)
        elif length >= 0:
            body, at, is_odd = _counted(data, at, length)
        elif is_ended:
            return Message((version, status, reason), fields, data[at:], is_last=True), len(data)
        else:
            raise Partial(data[at:])
    except Partial as error:
        reading.part = Message((version, status, reason), fields, error.body, is_last)
        raise
    return Message((version, status, reason), fields, body, is_last, is_odd), at


def read_answers(data: bytes, methods: list[bytes], *, is_ended: bool) -> Reading:
    """Read the answers to requests of these methods; 1xx are messages too. What comes behind the last is AMBIGUOUS.

    Empty lines between answers and behind them are passed over, as before requests.

    `is_ended`: no more will come, in order; an answer without a length ends so.
    """
    reading = Reading()
    left = list(methods)
    while True:
        while data[reading.rest : reading.rest + 1] in (b"\r", b"\n"):
            reading.rest += 1
        if not left or reading.rest == len(data):
            break
        try:
            answer, reading.rest = _answer(data, reading.rest, left[0], reading, is_ended=is_ended)
        except Partial:
            reading.ending = Ending.PARTIAL
            return reading
        except Ambiguous as error:
            reading.ending, reading.why = Ending.AMBIGUOUS, str(error)
            return reading
        reading.messages.append(answer)
        if answer.start[1] == b"101":
            reading.ending, reading.why = Ending.AMBIGUOUS, "another protocol"
            return reading
        if answer.start[1][:1] != b"1":
            left.pop(0)
            if answer.is_last:
                break
    if reading.rest < len(data):
        reading.ending, reading.why = Ending.AMBIGUOUS, "bytes behind the last answer"
    elif left and (not reading.messages or not reading.messages[-1].is_last):
        reading.ending = Ending.PARTIAL
    return reading
