"""The client's side of one exchange: at most one head, then a body, then exactly one end.

A broken answer never looks whole: a stream ends with an error event and without its end mark, any other body is cut
with its connection. Whether something was sent is recorded here, and decides what may still be told.
"""

from collections.abc import Awaitable, Callable
from functools import cache
from http import HTTPStatus
from math import ceil

import orjson

from router.errors import AnswerError
from router.exchange import Exchange
from router.wire.server import ServerConnection
from router.wire.sse import encode_comment, encode_event

_JSON = b"Content-Type: application/json\r\n"
# of a stream that is ours from its head on
EVENT_LINES = b"Content-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\nX-Accel-Buffering: no\r\n"
_NO_BODY = (204, 304)  # RFC 9110 section 8.6: such answers carry no Content-Length
KEEPALIVE = encode_comment("keepalive")


@cache
def reason_of(status: int) -> str:
    """Return the reason phrase of a status; any number between 100 and 599 has one here."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def error_lines(error: AnswerError, *, final: bool) -> bytes:
    """Return the header lines that belong to an error answer.

    `final`: retries were spent on it here, so SDKs must not multiply them (`x-should-retry`, read by OpenAI's SDKs).
    """
    lines = _JSON
    if error.retry_after is not None:
        lines += b"Retry-After: %d\r\n" % max(1, ceil(error.retry_after))
    return lines + (b"x-should-retry: false\r\n" if final else b"")


class Answer:
    """Writes one answer to a client."""

    __slots__ = (
        *("_connection", "_exchange", "_is_stream", "_named_events", "_own_lines", "_revealed", "_told"),
        *("finished", "is_whole", "started"),
    )

    def __init__(
        self, connection: ServerConnection, exchange: Exchange, own_lines: bytes, *, named_events: bool
    ) -> None:
        """`own_lines`: serialised header lines that every answer of this exchange carries."""
        self._connection = connection
        self._exchange = exchange
        self._named_events = named_events
        self._own_lines = own_lines
        self._revealed = b""
        self._told = b""
        self.started = False  # a head was sent: the status is spent
        self.finished = False
        self.is_whole = False  # it was brought to its regular end
        self._is_stream = False

    def tell(self, lines: bytes) -> None:
        """Let the head carry these serialised lines of the attempt that is now made."""
        self._told = lines

    def reveal(self, backend: str, attempts: int) -> None:
        """Tell in the head which backend answers, and how many attempts it took."""
        self._revealed = f"X-Router-Backend: {backend}\r\nX-Router-Attempts: {attempts}\r\n".encode(
            "latin-1", "replace"
        )

    @property
    def is_blocked(self) -> bool:
        """Return whether the client reads slower than we write."""
        return self._connection.is_blocked

    def whole(self, status: int, lines: bytes, body: bytes) -> None:
        """Send a complete answer."""
        self._open(status)
        self._exchange.bytes_out += len(body)
        length = b"" if status in _NO_BODY else b"Content-Length: %d\r\n" % len(body)
        head = lines + self._own_lines + self._revealed + self._told + length
        self._connection.write_raw_head(status, reason_of(status), head, body, content_length=len(body))
        self._end()

    def begin(
        self, status: int, lines: bytes, chunk: bytes, *, is_stream: bool, length: int | None = None
    ) -> Awaitable[None] | None:
        """Send the head and the first part of a body; `length`: of all of it, None where it is not known."""
        if self.started:  # keepalive comments opened it already
            return self.write(chunk)
        self._open(status)
        self._is_stream = is_stream
        self._exchange.bytes_out += len(chunk)
        head = lines + self._own_lines + self._revealed + self._told
        if length is not None:
            head += b"Content-Length: %d\r\n" % length
        return self._connection.write_raw_head(status, reason_of(status), head, chunk, content_length=length)

    @property
    def connection(self) -> ServerConnection | None:
        """Return the client's connection, for who writes the body himself and counts it; None: nobody may."""
        return self._connection

    @property
    def sink(self) -> Callable[[bytes], Awaitable[None] | None]:
        """Return what takes further pieces of the body, without counting them: for who counts them himself."""
        return self._connection.write_chunk

    def write(self, chunk: bytes) -> Awaitable[None] | None:
        """Send more of the body. An awaitable means: the client is slow, wait for it before the next call."""
        self._exchange.bytes_out += len(chunk)
        return self._connection.write_chunk(chunk)

    def keep_alive(self) -> None:
        """Keep the client's connection open with a comment while nothing has come; this spends the status."""
        if not self.started:
            self._open(200)
            self._is_stream = True
            self._connection.write_raw_head(200, "OK", EVENT_LINES + self._own_lines + self._told, KEEPALIVE)
        elif not self.is_blocked:
            self._connection.write_chunk(KEEPALIVE)

    def finish(self, chunk: bytes = b"") -> None:
        """End a body that is whole with this last piece."""
        if not self.finished:
            self._exchange.bytes_out += len(chunk)
            self.is_whole = self.finished = True
            self._connection.finish_with(chunk)

    def fail(self, error: AnswerError, *, final: bool = False) -> None:
        """Tell an error in the way that is still open: status and body, an error event, or a cut."""
        if self.finished:
            return
        self._exchange.error = error.code or error.kind
        self._exchange.param = error.param
        if not self.started:
            self.whole(error.status, error_lines(error, final=final), orjson.dumps(self._error_body(error)))
        elif self._is_stream:
            name = "error" if self._named_events else None
            self.write(encode_event(orjson.dumps(self._error_body(error)), event=name))
            self._end()
        else:
            self.cut()

    def cut(self) -> None:
        """End a body that cannot be told apart from a whole one in any other way."""
        self.finished = True
        self._connection.abort()

    def _error_body(self, error: AnswerError) -> dict[str, object]:
        envelope: dict[str, object] = dict(error.envelope())
        return {"type": "error", **envelope} if self._named_events else envelope

    def _open(self, status: int) -> None:
        self.started = True
        self._exchange.status = status

    def _end(self) -> None:
        self.finished = True
        self._connection.finish()
