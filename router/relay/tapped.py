"""A client's answer that middlewares see, and change, on its way out: see tap.py.

It takes the place of `Answer` where middlewares are configured, and only there. Nothing passes it by: it lends nobody
the client's connection, so that no event takes the short way of wire/chunks.py.
"""

from collections.abc import Awaitable, Callable

from router.errors import AnswerError
from router.exchange import Exchange
from router.middleware.interface import Failure
from router.relay.answer import EVENT_LINES, Answer
from router.relay.tap import Tap
from router.wire.server import ServerConnection


class TappedAnswer(Answer):
    """Writes one answer to a client, as the middlewares want it."""

    __slots__ = ("_tap",)

    def __init__(
        self, connection: ServerConnection, exchange: Exchange, own_lines: bytes, *, named_events: bool, tap: Tap
    ) -> None:
        """`tap`: the exchange's middlewares, which have seen the request."""
        super().__init__(connection, exchange, own_lines, named_events=named_events)
        self._tap = tap

    @property
    def connection(self) -> None:
        """Return nobody's: whole events must come by here."""
        return None

    @property
    def sink(self) -> Callable[[bytes], Awaitable[None] | None]:
        """Return what takes further events, which were counted as they are given here."""
        return self._send_counted

    def whole(self, status: int, lines: bytes, body: bytes) -> None:
        """Send a complete answer."""
        lines, body = self._tap.whole(status, lines, body, own_lines=self._more_lines)
        super().whole(status, lines, body)

    def begin(
        self, status: int, lines: bytes, chunk: bytes, *, is_stream: bool, length: int | None = None
    ) -> Awaitable[None] | None:
        """Send the head and the first part of a body."""
        if self.started:  # keepalive comments opened it already
            return self.write(chunk)
        self._tap.head(status, lines + self._more_lines, is_stream=is_stream)
        self._is_stream = is_stream
        return super().begin(status, lines, self._tapped(chunk), is_stream=is_stream, length=length)

    def write(self, chunk: bytes) -> Awaitable[None] | None:
        """Send more of the body."""
        return super().write(self._tapped(chunk))

    def keep_alive(self) -> None:
        """Keep the client's connection open with a comment while nothing has come."""
        if not self.started:
            self._tap.head(200, EVENT_LINES + self._more_lines, is_stream=True)
        super().keep_alive()

    def finish(self, chunk: bytes = b"") -> None:
        """End a body that is whole with this last piece."""
        super().finish(b"" if self.finished else self._tapped(chunk))

    def fail(self, error: AnswerError, *, final: bool = False) -> None:
        """Tell an error in the way that is still open."""
        if self.started and not self.finished:
            code = error.code or error.kind
            self._tap.failed(Failure(error.status, code, error.message, has_begun=True))
        super().fail(error, final=final)

    @property
    def _more_lines(self) -> bytes:
        return self._own_lines + self._revealed + self._told

    def _send_counted(self, block: bytes) -> Awaitable[None] | None:
        told = self._tap.events(block)
        self._exchange.bytes_out += len(told) - len(block)
        return self._connection.write_chunk(told)

    def _tapped(self, chunk: bytes) -> bytes:
        if self._is_stream:
            return self._tap.events(chunk)
        self._tap.piece(chunk)
        return chunk
