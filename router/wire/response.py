"""The writing half of a server connection: Tornado's `HTTPConnection`, and the same without header objects.

Framing is chosen here, once per answer, from what the answer declares and what the request allows:

    HEAD, 204, 304          no body, whatever is written
    a Content-Length        exactly so many bytes, or the connection is aborted
    none, HTTP/1.1          chunked
    none, HTTP/1.0          until the connection closes

Connection and Transfer-Encoding headers are ours alone; of the application's, only `Connection: close` is heard.
The reading half (`server_connection`) opens each answer and is told when it is finished.
"""

import asyncio
from collections.abc import Callable
from functools import lru_cache
from http.client import responses

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPOutputError,
    RequestStartLine,
    ResponseStartLine,
    format_timestamp,
)
from tornado.iostream import StreamClosedError

from router.wire.request_parser import RequestHead
from router.wire.service import OwnAnswer, Service

JOINED_WRITE = 64 * 1024  # a body piece over this size is written beside its head instead of copied behind it
STATUS_LINES = 256  # remembered


@lru_cache(STATUS_LINES)
def status_line(status: int, reason: str) -> bytes:
    """Return the first line of an answer. Raises ValueError for a reason that would break it."""
    if "\r" in reason or "\n" in reason:
        raise ValueError("line break in a reason phrase")
    return f"HTTP/1.1 {status} {reason}\r\n".encode("latin-1", "replace")


def serialised(headers: HTTPHeaders) -> tuple[bytes, int | None, bool]:
    """Return the header lines, the declared Content-Length and whether the connection is to be closed.

    Connection and Transfer-Encoding are left out. Raises ValueError for a line break in a header, and for a length
    that is none.
    """
    lines = []
    length = None
    is_last = False
    for name, value in headers.get_all():
        if name == "Content-Length":
            if not (value.isascii() and value.isdigit()):  # int() takes more: +1, 1_0, and digits of other scripts
                raise ValueError("a Content-Length that is no number")
            length = int(value)
        elif name == "Connection":
            is_last = "close" in value.lower()
            continue
        elif name == "Transfer-Encoding":
            continue
        lines.append(f"{name}: {value}\r\n")
    text = "".join(lines)
    if text.count("\n") != len(lines) or text.count("\r") != len(lines):
        raise ValueError("line break in a header")
    return text.encode("latin-1"), length, is_last


def error_answer(status: int, lines: bytes, body: bytes, *, now: float, method: str = "") -> bytes:
    """Return a whole answer that is the last of its connection; `now`: seconds since the epoch, for its Date.

    `method`: of the request; one by HEAD is answered with the length of a body that is not sent.
    """
    framing = f"Content-Length: {len(body)}\r\nDate: {format_timestamp(now)}\r\nConnection: close\r\n\r\n"
    head = status_line(status, responses.get(status, "Unknown")) + lines + framing.encode("latin-1")
    return head if method == "HEAD" else head + body


class ResponseWriter(HTTPConnection):
    """Writes answers to one client, one after the other."""

    __slots__ = (
        *("_answering", "_beneath", "_congested", "_head_written", "_is_bodyless", "_is_chunked", "_is_http_1_0"),
        *("_is_last", "_left", "_method", "_queued", "_service", "_transport", "_unsent", "_waiters", "pipe"),
        *("own_lines", "refused"),
    )

    def __init__(self, service: Service, *, beneath: asyncio.Transport | None = None) -> None:
        """`service`: what all connections of a server share. `beneath`: the transport below one of TLS."""
        self._service = service
        self._beneath = beneath
        self.own_lines = b""  # what the application wants on an answer that the wire itself gives to this request
        self.refused: OwnAnswer | None = None  # such an answer, when the application is told of the end
        self._transport: asyncio.Transport | None = None  # None before the connection and after it
        self._answering = False  # an answer is expected and not yet finished
        self._head_written = False
        self._is_last = False  # the connection ends with this answer
        self._is_chunked = False
        self._is_bodyless = False
        self._left: int | None = None  # bytes that Content-Length still promises
        self._method = ""
        self._is_http_1_0 = False
        self._congested = False  # the transport asked to write no more
        self._unsent = 0  # bytes that were waiting for the client when progress was last looked at
        self._queued = 0  # and that were added since
        self._waiters: list[asyncio.Future[None]] = []
        # Takes chunks of the body with their framing, as long as it is chunked, open, and the client not slow.
        self.pipe: Callable[[bytes], None] | None = None

    def _open_answer(self, head: RequestHead) -> None:
        self._answering = True
        self._head_written = False
        self.own_lines = b""
        self._method = head.start_line[0]
        self._is_http_1_0 = head.is_http_1_0
        self._is_last = not head.keep_alive

    @property
    def is_blocked(self) -> bool:
        """Whether the client takes bytes more slowly than they are written."""
        return self._congested

    # Tornado's interface.

    def write_headers(
        self,
        start_line: RequestStartLine | ResponseStartLine,
        headers: HTTPHeaders,
        chunk: bytes | None = None,
    ) -> "asyncio.Future[None]":
        """Write the head and the first piece of the body; see `HTTPConnection.write_headers`.

        Raises ValueError for headers that cannot be sent; the connection is aborted then.
        """
        assert isinstance(start_line, ResponseStartLine)
        try:
            lines, length, is_last = serialised(headers)
        except ValueError:
            self.abort()
            raise
        if is_last:
            self._is_last = True
        flow = self.write_raw_head(start_line[1], start_line[2], lines, chunk or b"", content_length=length)
        return self._service.done if flow is None else flow

    def write(self, chunk: bytes) -> "asyncio.Future[None]":
        """Write a piece of the body; see `HTTPConnection.write`. The future waits while the client is slow."""
        flow = self.write_chunk(chunk)
        return self._service.done if flow is None else flow

    def drained(self) -> "asyncio.Future[None] | None":
        """Return what to wait for before more is written, None where the client is not slow."""
        return self._waiter() if self._congested else None

    def finish(self) -> None:
        """End the answer. Raises HTTPOutputError, and aborts the connection, where it is shorter than it declared."""
        if not self._answering:
            return
        if not self._head_written:
            self.abort()
            raise HTTPOutputError("finish() before a head was written")
        if self._left:
            left = self._left
            self.abort()
            raise HTTPOutputError(f"the answer is {left} bytes shorter than its Content-Length")
        if self._is_chunked:
            self._send(b"0\r\n\r\n")
        self._answering = False
        self.pipe = None
        self._answer_finished()

    def finish_with(self, chunk: bytes) -> None:
        """Write the last piece of the body and end the answer, in one write where it is chunked."""
        if self._answering and self._head_written and self._is_chunked and 0 < len(chunk) <= JOINED_WRITE:
            assert self._transport is not None
            self._transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(chunk), chunk))
            self._is_chunked = False
        else:
            self.write_chunk(chunk)
        self.finish()

    # The same without header objects.

    def write_raw_head(
        self, status: int, reason: str, header_lines: bytes, chunk: bytes, *, content_length: int | None = None
    ) -> "asyncio.Future[None] | None":
        """Write the head and the first piece of the body.

        `header_lines`: each ends in CRLF and is clean, which the caller answers for; neither Connection nor
        Transfer-Encoding is among them. `content_length`: what they declare, None where they do not.
        Returns None, or, when the client is slow, what to wait for before more is written.
        Raises ValueError for a status below 200, RuntimeError for a second head.
        """
        if not self._answering:
            return self._gone()
        if self._head_written or status < 200:
            self.abort()
            raise RuntimeError("a second head") if self._head_written else ValueError(f"no final status: {status}")
        framing = self._choose_framing(status, content_length, size=len(chunk))
        self._head_written = True
        self._open_pipe()
        if self._is_bodyless or not chunk:
            return self._send(b"".join((status_line(status, reason), header_lines, framing, b"\r\n")))
        if self._left is not None:
            self._count_down(len(chunk))
        if len(chunk) > JOINED_WRITE:
            self._send(b"".join((status_line(status, reason), header_lines, framing, b"\r\n")))
            return self._send_body(chunk)
        if self._is_chunked:
            framing = b"%b\r\n%x\r\n" % (framing, len(chunk))
            return self._send(b"".join((status_line(status, reason), header_lines, framing, chunk, b"\r\n")))
        return self._send(b"".join((status_line(status, reason), header_lines, framing, b"\r\n", chunk)))

    def write_chunk(self, chunk: bytes) -> "asyncio.Future[None] | None":
        """Write a piece of the body.

        Returns None, or, when the client is slow, what to wait for before more is written; waiting raises
        StreamClosedError when the client has left. Raises HTTPOutputError where the body outgrows its Content-Length.
        """
        if not self._answering:
            return self._gone()
        if self._is_chunked and not self._congested and self._head_written and 0 < len(chunk) <= JOINED_WRITE:
            # A stream's next piece, by far the most frequent call: in as few steps as may be.
            assert self._transport is not None
            self._transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            return self._waiter() if self._congested else None
        if self._is_bodyless or not chunk:
            return self._waiter() if self._congested else None
        if not self._head_written:
            self.abort()
            raise HTTPOutputError("a body before its head")
        if self._left is not None:
            self._count_down(len(chunk))
        return self._send_body(chunk)

    def abort(self) -> None:
        """Cut the connection at once: the client sees a broken answer. The close callback is not called."""
        raise NotImplementedError

    # What the transport calls.

    def pause_writing(self) -> None:
        """Note that the client is slower than the answer."""
        assert self._transport is not None
        self._congested = True
        self.pipe = None
        self._unsent = self._unsent_now()
        self._queued = 0
        self._congestion_began()

    def resume_writing(self) -> None:
        """Let writers go on."""
        self._congested = False
        self._open_pipe()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    # What the reading half does.

    def _answer_finished(self) -> None:
        raise NotImplementedError

    def _congestion_began(self) -> None:
        raise NotImplementedError

    def _is_request_whole(self) -> bool:
        raise NotImplementedError

    # Beneath.

    def _choose_framing(self, status: int, content_length: int | None, *, size: int) -> bytes:
        """Decide how this answer is delimited and return the header lines that say so; `size`: of its first piece."""
        self._is_chunked = False
        self._left = None
        framing = b""
        self._is_bodyless = self._method == "HEAD" or status == 204 or status == 304
        if not self._is_bodyless:
            if content_length is not None:
                self._left = content_length
            elif self._is_http_1_0:
                self._is_last = True
            else:
                self._is_chunked = True
                framing = b"Transfer-Encoding: chunked\r\n"
        if self._service.draining:
            self._is_last = True
        elif (self._is_bodyless or content_length == size) and not self._is_request_whole():
            self._is_last = True  # the answer is whole, the request is not: its rest will not be read
        if self._is_last:
            return framing + b"Connection: close\r\n"
        return framing + b"Connection: keep-alive\r\n" if self._is_http_1_0 else framing

    def _open_pipe(self) -> None:
        is_open = self._answering and self._head_written and self._is_chunked and not self._congested
        self.pipe = self._transport.write if is_open and self._transport is not None else None

    def _count_down(self, size: int) -> None:
        assert self._left is not None
        self._left -= size
        if self._left < 0:
            self.abort()
            raise HTTPOutputError("the answer is longer than its Content-Length")

    def _send_body(self, chunk: bytes) -> "asyncio.Future[None] | None":
        if not self._is_chunked:
            return self._send(chunk)
        if len(chunk) <= JOINED_WRITE:
            return self._send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        self._send(b"%x\r\n" % len(chunk))
        self._send(chunk)
        return self._send(b"\r\n")

    def _send(self, data: bytes) -> "asyncio.Future[None] | None":
        assert self._transport is not None
        was_congested = self._congested
        if self._beneath is not None and len(data) > JOINED_WRITE:
            self._write_in_pieces(data)
        else:
            self._transport.write(data)
        if not self._congested:
            return None
        if was_congested:  # else pause_writing() has just counted it
            self._queued += len(data)
        return self._waiter()

    def _write_in_pieces(self, data: bytes) -> None:
        """Write much by TLS: what it has handed on it no longer counts, so a client that takes nothing must be seen."""
        assert self._transport is not None
        view = memoryview(data)
        for start in range(0, len(data), JOINED_WRITE):
            self._transport.write(view[start : start + JOINED_WRITE])

    def _waiter(self) -> "asyncio.Future[None]":
        """Return a future of its own for each writer, so that cancelling one does not touch another."""
        waiter = self._service.loop.create_future()
        self._waiters.append(waiter)
        return waiter

    def _gone(self) -> "asyncio.Future[None]":
        """Return what a write after the end gets: a failed future that does not complain when nobody looks at it."""
        return _failed(self._service.loop.create_future())

    def _fail_waiters(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                _failed(waiter)

    def _unsent_now(self) -> int:
        """Return how many bytes wait for the client; TLS hands its own on to the transport beneath it."""
        assert self._transport is not None
        unsent = self._transport.get_write_buffer_size()
        return unsent if self._beneath is None else unsent + self._beneath.get_write_buffer_size()

    def _made_progress(self) -> bool:
        """Return whether the client took any byte since the last look, and look anew."""
        unsent = self._unsent_now()
        progress = unsent < self._unsent + self._queued
        self._unsent = unsent
        self._queued = 0
        return progress


def _failed(future: "asyncio.Future[None]") -> "asyncio.Future[None]":
    future.set_exception(StreamClosedError())
    future.exception()
    return future
