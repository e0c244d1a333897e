"""Requests from bytes: llhttp reads, this module adds the checks that llhttp leaves out. Without I/O.

Bytes go in at any split through `feed()`; `events` fills with, for each request in order, one `RequestHead`, then
`bytes` (body), then `END`; or with one `Refusal`, after which nothing more comes.

What llhttp refuses itself (400): bare LF, folded lines, control characters, bad names and numbers, repeated or signed
Content-Length, Content-Length beside Transfer-Encoding, a coding after chunked. Ours: HTTP version, CONNECT, targets
that are no path, Host, Transfer-Encoding on HTTP/1.0 or other than chunked, Expect, and every limit.
"""

import re
from io import BytesIO
from typing import Any, Final

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserUpgrade,
    HttpRequestParser,
)
from tornado.httputil import RequestStartLine

from router.wire.headers import RequestHeaders
from router.wire.limits import ROOM_FROM, ROOM_SHARE, ROOM_UP_TO, ServerLimits

SLICE = 16 * 1024  # fed at once outside a body of known length: bounds how many pipelined requests are parsed ahead
FRAMING_RATIO = 16  # bytes of chunk framing allowed per byte of body; a 1-byte chunk needs 6
HEAD_END = b"\r\n\r\n"
METHOD_PREFIX = 32  # bytes kept to tell an unknown method from something that is not HTTP
LOOKS_LIKE_METHOD = re.compile(rb"[\r\n]*[A-Za-z][A-Za-z0-9!#$%&'*+.^_`|~-]*(?: |\Z)")
UNSUPPORTED_VERSION = frozenset({"Invalid HTTP version", "Pause on PRI/Upgrade"})  # llhttp's words


class Refusal(Exception):
    """A request that the wire answers itself, with an error; nothing after it on the connection is read."""

    def __init__(self, status: int, message: str) -> None:
        """`message` is for the client."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.start_line: RequestStartLine | None = None  # what was read of it; target "" where it may go on
        self.headers: RequestHeaders | None = None  # those that were read


class RequestHead:
    """Start line and headers of one request, and what they mean for the connection."""

    __slots__ = ("expects_continue", "headers", "is_http_1_0", "keep_alive", "start_line")

    def __init__(self, start_line: RequestStartLine, headers: RequestHeaders, *, keep_alive: bool) -> None:
        """`keep_alive`: the client is ready to send another request on this connection."""
        self.start_line = start_line
        self.headers = headers
        self.keep_alive = keep_alive
        self.is_http_1_0 = start_line.version == "HTTP/1.0"
        self.expects_continue = "Expect" in headers.fields and not self.is_http_1_0


class End:
    """The end of one request."""


END: Final = End()
Event = RequestHead | bytes | End | Refusal


class RequestParser:
    """Reads the requests of one connection."""

    __slots__ = (
        *("_cause", "_completed", "_ended", "_fed", "_feeding", "_in_body", "_keep_alive", "_length"),
        *("_limits", "_llhttp", "_pairs", "_pieces", "_prefix", "_replaying", "_upgrading", "_url", "_whole"),
        *("body_size", "events", "in_head", "room"),
    )

    def __init__(self, limits: ServerLimits) -> None:
        """`limits`: sizes only are used here; times are the connection's."""
        self.events: list[Event] = []  # few: a deque would take 700 bytes of every connection
        self.in_head = False  # some bytes of a request have come, but not its empty line
        self.body_size = 0  # bytes so far of the body being read
        self.room: memoryview | None = None  # where the rest of the body is to be written to, instead of `feed`
        self._whole: BytesIO | None = None  # the body that `room` is a part of
        self._limits = limits
        self._ended = False  # refused, or the client announced that this was its last request
        self._in_body = False
        self._replaying = False  # a head of our own is being fed, see _read_on_as_http
        self._upgrading = False
        self._completed = False  # a request ended during this feed
        self._keep_alive = True
        self._prefix = b""
        self._feeding = 0  # bytes of this feed
        self._cause: Refusal | None = None  # raised by one of our callbacks
        self._clear()
        self._llhttp: Any = HttpRequestParser(self)  # httptools' classes are untyped

    def _clear(self) -> None:
        self._url = b""
        self._pairs: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []
        self._length: int | None = 0  # None: chunked
        self._fed = 0  # bytes fed since this request began, and up to a slice from before it

    @property
    def appetite(self) -> int:
        """How many bytes may be fed at once, at least `SLICE`."""
        return max(SLICE, self._length - self.body_size) if self._in_body and self._length else SLICE

    def first_slice(self, data: memoryview) -> int:
        """Return how many bytes of a read may be fed at once: where a head ends in the first slice, no more than it.

        To be asked once for each read: a client could send the end of a head again and again.
        """
        end = -1 if self._in_body else bytes(data[:SLICE]).find(HEAD_END)
        return self.appetite if end < 0 else end + len(HEAD_END)

    def make_room(self, come: int) -> None:
        """Have a long body of known length read to where it stays, if nothing of it was fed; `come`: bytes at hand.

        Nothing in it is to be parsed, and a body that llhttp delivers piece by piece would be copied twice.
        """
        length = self._length
        if length is None or not ROOM_FROM <= length <= ROOM_UP_TO or self.body_size or not self._in_body:
            return
        if length <= come * ROOM_SHARE:
            # The bytes belong to nobody else: the view is onto what `getvalue` returns.
            self._whole = BytesIO(bytes(length))
            self.room = self._whole.getbuffer()

    def fill(self, size: int) -> None:
        """So many bytes were written to `room`."""
        room, whole = self.room, self._whole
        assert room is not None
        assert whole is not None
        self.body_size += size
        self.room = room[size:]
        if not self.room:
            self.room = self._whole = None
            self.events.append(whole.getvalue())
            self._llhttp = HttpRequestParser(self)  # the one before still waits for the body
            self._end()

    def leave_room(self) -> None:
        """Nothing more is to be read: what still comes is thrown away, and not by as little as a body lacks."""
        self.room = self._whole = None

    def feed(self, data: bytes | memoryview) -> None:
        """Read bytes; never raises for what a client sent. Ignored after a refusal or a client's last request."""
        if self._ended:
            return
        self._completed = False
        self._feeding = len(data)
        self._fed += self._feeding
        try:
            self._llhttp.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._read_on_as_http(data, offset=upgrade.args[0])
            return
        except HttpParserError as error:
            if not self._ended:  # after a client's last request llhttp complains of any further byte
                self._refuse(self._refusal(error, data))
            return
        if self._pieces:
            self._flush()
        if self._completed:
            self.in_head = bool(self._url)
        else:
            self._check_unfinished(data)

    def close(self) -> None:
        """Let go of what was collected, and of llhttp, which refers back to here."""
        self._ended = True
        self.events.clear()
        self._pairs = []
        self._pieces = []
        self.leave_room()
        self._llhttp = None

    def _check_unfinished(self, data: bytes | memoryview) -> None:
        """Bound what llhttp collects while a head or a trailer goes on over many reads."""
        limits = self._limits
        if self._in_body:
            framing = self._fed - self.body_size
            if self._length is None and framing > limits.header_bytes + SLICE + FRAMING_RATIO * self.body_size:
                self._refuse(Refusal(400, "Too many bytes of chunk framing"))
            return
        if not self._url:
            self._prefix = (self._prefix + bytes(data[:METHOD_PREFIX]))[:METHOD_PREFIX]
            if not self._prefix.strip(b"\r\n"):
                return  # empty lines between requests are no request (RFC 9112 section 2.2)
        self.in_head = True
        if self._fed > limits.start_line + limits.header_bytes + SLICE:
            self._refuse(
                Refusal(431, f"The request's headers are too large; the limit is {self._limits.header_bytes} bytes")
            )

    def attributed(self, refusal: Refusal) -> Refusal:
        """Return a refusal with what has come of the head that is being read, if one is."""
        if refusal.start_line is None and self._url and not self._in_body:
            target = self._url.decode("latin-1")
            is_sure = self._pairs or "?" in target or refusal.status in (414, 505)
            method = self._llhttp.get_method().decode("ascii")
            refusal.start_line = RequestStartLine(method, target if is_sure else "", "")
            refusal.headers = RequestHeaders(self._pairs)
        return refusal

    def _refuse(self, refusal: Refusal) -> None:
        self.attributed(refusal)
        self._ended = True
        self.in_head = False
        if self._pieces:
            self._flush()
        self.events.append(refusal)

    def _refusal(self, error: HttpParserError, data: bytes | memoryview) -> Refusal:
        reason = str(error)
        if isinstance(error, HttpParserCallbackError):
            if self._cause is None:
                raise error
            return self._cause
        if isinstance(error, HttpParserInvalidMethodError):
            start = b"" if self._completed else self._prefix + bytes(data[:METHOD_PREFIX])
            if LOOKS_LIKE_METHOD.match(start):
                return Refusal(501, "The request's method is not known here")
        elif reason in UNSUPPORTED_VERSION:
            return Refusal(505, "Only HTTP/1.1 and HTTP/1.0 are spoken here")
        return Refusal(400, f"Malformed request: {reason}")

    def _read_on_as_http(self, data: bytes | memoryview, *, offset: int) -> None:
        """Read on in plain HTTP after a head that asked for an upgrade (RFC 9110 section 7.8: it may be ignored).

        llhttp takes what follows such a head for another protocol. A second parser is given a head with the same
        framing, whose events are dropped, and then the rest of the bytes.
        """
        framing = b"Transfer-Encoding: chunked" if self._length is None else b"Content-Length: %d" % self._length
        connection = b"keep-alive" if self._keep_alive else b"close"
        self._llhttp = HttpRequestParser(self)
        self._upgrading, self._replaying = False, True
        self._llhttp.feed_data(b"POST / HTTP/1.1\r\n%b\r\nConnection: %b\r\n\r\n" % (framing, connection))
        self._replaying = False
        if len(data) > offset:
            self.feed(data[offset:])

    # What llhttp calls.

    def on_url(self, url: bytes) -> None:
        """Collect the target, which may come in pieces."""
        if self._replaying:
            return
        self._url += url
        if len(self._url) > self._limits.start_line:
            raise self._fault(414, f"The request's target is too long; the limit is {self._limits.start_line} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header or a trailer. Limits are looked at later: one feed cannot bring many more."""
        self._pairs.append((name, value))

    def on_headers_complete(self) -> None:
        """Check the head and put it out."""
        pairs, self._pairs = self._pairs, []  # what comes from now on are trailers: dropped, merging them is unsafe
        if self._replaying:
            return
        llhttp = self._llhttp
        method = llhttp.get_method().decode("ascii")
        version = llhttp.get_http_version()
        start_line = RequestStartLine(method, self._url.decode("latin-1"), "HTTP/" + version)
        headers = RequestHeaders(pairs)
        try:
            self._check_start_line(method, version)
            self._check_size(pairs)
            self._check_fields(headers.fields, is_http_1_0=version == "1.0")
        except Refusal as refusal:
            refusal.start_line, refusal.headers = start_line, headers
            raise
        self._keep_alive = llhttp.should_keep_alive()
        if version == "1.0" and self._keep_alive:  # llhttp also heeds Proxy-Connection, and keep-alive beside close
            words = {word.strip() for word in headers.get("Connection", "").lower().split(",")}
            self._keep_alive = "keep-alive" in words and "close" not in words
        self._upgrading = llhttp.should_upgrade()
        self.events.append(RequestHead(start_line, headers, keep_alive=self._keep_alive))
        self._in_body = True
        self.in_head = False
        self.body_size = 0

    def on_body(self, body: bytes) -> None:
        """Collect the pieces of one feed."""
        self.body_size += len(body)
        if self.body_size > self._limits.body:
            raise self._fault(413, f"The request's body is too large; the limit is {self._limits.body} bytes")
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        """End the request."""
        if self._upgrading:
            return
        if self._pieces:
            self._flush()
        self._end()
        self._completed = True
        self._fed = min(self._feeding, SLICE)

    def _end(self) -> None:
        self.events.append(END)
        self._in_body = False
        self._prefix = b""
        self._ended = not self._keep_alive
        self._clear()

    def _flush(self) -> None:
        pieces = self._pieces
        self.events.append(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        self._pieces = []

    def _fault(self, status: int, message: str) -> Refusal:
        """Return what a callback is to raise; it is remembered, for llhttp's own error does not always lead to it."""
        self._cause = Refusal(status, message)
        return self._cause

    # What llhttp leaves to its user.

    def _check_start_line(self, method: str, version: str) -> None:
        url = self._url
        if version not in ("1.1", "1.0"):
            raise self._fault(505, "Only HTTP/1.1 and HTTP/1.0 are spoken here")
        if len(method) + len(url) + len("  HTTP/1.1") > self._limits.start_line:
            raise self._fault(414, f"The request's target is too long; the limit is {self._limits.start_line} bytes")
        if method == "CONNECT":
            raise self._fault(501, "This server opens no tunnels")
        if url[0] != 0x2F and not (url == b"*" and method == "OPTIONS"):
            raise self._fault(400, "The request's target must be a path")
        if b"#" in url:  # some readers end the target there, others do not (RFC 9112 section 3.2 knows no fragment)
            raise self._fault(400, "The request's target must have no fragment")

    def _check_size(self, pairs: list[tuple[bytes, bytes]]) -> None:
        limits = self._limits
        if len(pairs) > limits.header_count:
            raise self._fault(431, f"The request has too many headers; the limit is {self._limits.header_count}")
        if self._fed > limits.header_bytes and _size(pairs) > limits.header_bytes:
            raise self._fault(
                431, f"The request's headers are too large; the limit is {self._limits.header_bytes} bytes"
            )

    def _check_fields(self, fields: dict[str, list[str]], *, is_http_1_0: bool) -> None:
        hosts = fields.get("Host")
        if hosts is None:
            if not is_http_1_0:
                raise self._fault(400, "The Host header is missing")
        elif len(hosts) != 1 or not hosts[0]:
            raise self._fault(400, "There must be one Host header, and it must not be empty")
        if "Transfer-Encoding" in fields:
            if is_http_1_0:
                raise self._fault(400, "HTTP/1.0 knows no Transfer-Encoding")
            if [value.lower() for value in fields["Transfer-Encoding"]] != ["chunked"]:
                raise self._fault(501, "The only transfer coding known here is chunked")
            self._length = None
        elif "Content-Length" in fields:
            self._length = int(fields["Content-Length"][0])
            if self._length > self._limits.body:
                raise self._fault(413, f"The request's body is too large; the limit is {self._limits.body} bytes")
        if "Expect" in fields and [value.lower() for value in fields["Expect"]] != ["100-continue"]:
            raise self._fault(417, "The only expectation known here is 100-continue")


def _size(pairs: list[tuple[bytes, bytes]]) -> int:
    """Return the bytes of header lines as they were sent."""
    return sum(len(name) + len(value) + len(": \r\n") for name, value in pairs)
