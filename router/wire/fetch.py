"""One fetch: the future of an answer, which knows how to stop what it waits for.

Cancelling it ends its present phase at once (waiting for a connection, resolving, connecting, sending, receiving):
whoever works on it puts the way to stop into `stop`. It is settled once; what comes later is dropped.
"""

import asyncio
from collections.abc import Callable
from io import BytesIO
from typing import Any

from tornado.httpclient import HTTPError, HTTPResponse
from tornado.httputil import HTTPHeaders

from router.errors import BadResponse
from router.wire.client_request import Head, Headers, Request
from router.wire.timer import INFINITE


class Response(HTTPResponse):
    """Tornado's response, with headers and buffer built only when they are asked for."""

    def __init__(self, request: Request, head: Head, *, body: bytes, request_time: float) -> None:
        """`body` is empty when it was streamed. Skips Tornado's constructor, which builds what is seldom looked
        at."""
        self.request = request
        self.code = head.status
        self.reason = head.reason
        self.head = head
        self.effective_url = request.url
        self.request_time = request_time
        self.start_time = None
        self.time_info = {}
        self._body = body
        self._headers: HTTPHeaders | None = None
        self._error_is_response_code = not 200 <= head.status < 300
        if self._error_is_response_code:
            self.error = HTTPError(head.status, message=head.reason, response=self)

    @property
    def headers(self) -> HTTPHeaders:  # type: ignore[override]  # built when it is asked for
        """The headers; empty when there was a header_callback, as in Tornado."""
        if self._headers is None:
            self._headers = HTTPHeaders()
            if self.request.header_callback is None:
                for name, value in self.head.headers:
                    self._headers.add(name.decode("latin-1"), value.decode("latin-1"))
        return self._headers

    @property
    def body(self) -> bytes:
        """The whole body; empty when it was streamed."""
        return self._body or b""

    @property
    def buffer(self) -> BytesIO:  # type: ignore[override]  # built when it is asked for
        """The body as a file."""
        return BytesIO(self.body)


class Fetch(asyncio.Future[HTTPResponse]):
    """The future of one answer. Made by the client, moved on by pool and connection."""

    __slots__ = (  # quicker: of the attributes that a Future keeps in a dict, Python looks for each anew
        *("_chunks", "_max_body_size", "_raise_error", "_size", "deadline", "encoded_head", "head", "request"),
        *("started", "stop"),
    )

    def __init__(
        self, request: Request, head: bytes, *, loop: asyncio.AbstractEventLoop, raise_error: bool, max_body_size: int
    ) -> None:
        """`head`: the request's head as it goes out; `max_body_size`: bytes of a body that is not streamed."""
        super().__init__(loop=loop)
        self.request = request
        self.encoded_head = head
        self.started = now = loop.time()
        total = request.request_timeout
        self.deadline = INFINITE if total is None else now + total  # of everything; on the loop's clock
        self.stop: Callable[[], Any] | None = None
        self.head: Head | None = None
        self._raise_error = raise_error
        self._max_body_size = max_body_size
        self._chunks: list[bytes] = []
        self._size = 0

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel it and close its connection, if it has one, before this returns."""
        cancelled = super().cancel(msg)
        if cancelled and self.stop is not None:
            stop, self.stop = self.stop, None
            stop()
        return cancelled

    def begin(self, status: int, reason: str, headers: Headers) -> None:
        """Take the head of the answer. Callbacks run here; what they raise goes up."""
        self.head = head = Head(status, reason, headers)
        request = self.request
        if request.on_head is not None:
            request.on_head(head)
        if request.header_callback is not None:
            request.header_callback(f"HTTP/1.1 {status} {reason}\r\n")
            for name, value in headers:
                request.header_callback(f"{name.decode('latin-1')}: {value.decode('latin-1')}\r\n")
            request.header_callback("\r\n")

    def collect(self, chunk: bytes) -> None:
        """Keep a piece of a body that is not streamed. Raises `BadResponse` over the limit."""
        self._size += len(chunk)
        if self._size > self._max_body_size:
            raise BadResponse(f"the body has more than {self._max_body_size} bytes")
        self._chunks.append(chunk)

    def finish(self) -> None:
        """The answer is whole."""
        self.stop = None
        if self.done():
            return
        head = self.head
        if head is None:
            raise RuntimeError("an answer ended before it began")
        taken = self.get_loop().time() - self.started
        response = Response(self.request, head, body=b"".join(self._chunks), request_time=taken)
        self._chunks.clear()
        if self._raise_error and response.error is not None:
            self.set_exception(response.error)
        else:
            self.set_result(response)

    def fail(self, error: BaseException) -> None:
        """There will be no whole answer."""
        self.stop = None
        self._chunks.clear()
        if not self.done():
            self.set_exception(error)
