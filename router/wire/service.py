"""What all connections of one server share, and how each of them is known to the application."""

import asyncio
import logging
import math
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from tornado.httputil import HTTPServerConnectionDelegate, RequestStartLine

from router.wire.headers import RequestHeaders
from router.wire.limits import READ_SIZE, ServerLimits
from router.wire.wheel import Wheel

if TYPE_CHECKING:
    from router.wire.handshake import Handshake
    from router.wire.server_connection import ServerConnection

CROWDED_INTERVAL = 1.0  # seconds between two lines in the log
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Context:
    """Who is at the other end, as Tornado's `HTTPServerRequest` wants to know it."""

    remote_ip: str  # "0.0.0.0" behind a Unix socket, as in Tornado
    protocol: str  # "http" or "https"
    client_cert: str | None = None  # whose certificate was shown and verified, as "CN=agent-1,O=Example"


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that the wire answers itself."""

    status: int
    message: str
    context: Context
    own_lines: bytes  # what the application wants on every answer to this request; b"" where it does not know of it
    start_line: RequestStartLine | None = None  # None where nothing of it is known; target "" where it may go on
    headers: RequestHeaders | None = None  # those that were read
    waited: float = 0.0  # seconds since the first byte of a head that came in several reads

    @property
    def method(self) -> str:
        """Return the request's method, "" where it is not known."""
        return "" if self.start_line is None else self.start_line.method


class OwnAnswer(NamedTuple):
    """What the application is told of an answer that the wire gave in its place, to a request that was on its way."""

    status: int
    bytes_in: int  # of the body, until then
    bytes_out: int  # of the answer's body


ErrorRenderer = Callable[[Refused], tuple[bytes, bytes]]  # -> serialised header lines with a Content-Type, body


@dataclass(slots=True)
class Service:
    """Shared by the connections of one server."""

    delegate: HTTPServerConnectionDelegate
    limits: ServerLimits
    render_error: ErrorRenderer
    loop: asyncio.AbstractEventLoop
    done: "asyncio.Future[None]"  # what a write returns that need not be waited for
    timers: Wheel = field(init=False)
    buffer: memoryview = field(default_factory=lambda: memoryview(bytearray(READ_SIZE)))  # of the read being parsed
    connections: "set[ServerConnection]" = field(default_factory=set)
    tls: ssl.SSLContext | None = None  # of connections that come now; None: they are plain
    handshakes: "set[Handshake]" = field(default_factory=set)  # under way: no connections yet
    handshake_failed: Callable[[], None] = lambda: None  # told of each
    is_short: Callable[[], bool] = lambda: False  # whether memory is: then less is held of what need not be
    draining: bool = False  # every answer from now on is the last of its connection
    emptied: asyncio.Event = field(default_factory=asyncio.Event)  # set when the last one has gone
    crowded_at: float = -math.inf  # when it was last told that connections are reset

    def __post_init__(self) -> None:
        """All connections share a wheel."""
        self.timers = Wheel(self.loop)

    @property
    def count(self) -> int:
        """How many connections are open, handshakes included."""
        return len(self.connections) + len(self.handshakes)

    def tell_if_empty(self) -> None:
        """Wake whoever waits for the last connection to go."""
        if not self.connections and not self.handshakes:
            self.emptied.set()

    def is_crowded(self, transport: asyncio.Transport) -> bool:
        """Return whether a new connection is one too many; say so in the log, at most once in `CROWDED_INTERVAL`.

        A new descriptor has the lowest number that is free: one beyond the limit tells that so many are in use.
        """
        limits = self.limits
        if limits.connections is not None and self.count >= limits.connections:
            self._tell_crowded("clients have %d connections", limits.connections)
            return True
        if limits.descriptors is not None:
            sock = transport.get_extra_info("socket")
            if sock is not None and sock.fileno() >= limits.descriptors:
                self._tell_crowded("%d file descriptors are in use", limits.descriptors)
                return True
        return False

    def _tell_crowded(self, why: str, count: int) -> None:
        now = self.loop.time()
        if now - self.crowded_at >= CROWDED_INTERVAL:
            self.crowded_at = now
            log.warning("new connections are reset: " + why, count)


def plain_error(refused: Refused) -> tuple[bytes, bytes]:
    """Render an error as one line of text."""
    text = f"{refused.status} {refused.message}\n".encode("utf-8", "replace")
    return b"Content-Type: text/plain; charset=utf-8\r\n" + refused.own_lines, text
