"""A new connection of a client until TLS is agreed on: then it is a `ServerConnection` like any other.

Each connection is given the context that holds when it comes, so that another certificate needs no other socket. Who
speaks no TLS, takes too long or shows no certificate where one is asked for is closed, counted, and told of in the log
at level debug.
"""

import asyncio
import logging
import ssl
from collections.abc import Coroutine
from typing import Any, cast

from router.wire.limits import MOST_UNSENT
from router.wire.server_connection import ServerConnection
from router.wire.service import Service

FOREVER = 86400.0  # seconds for TLS to end: our own alarms, which know of progress, are what bounds that

log = logging.getLogger(__name__)


class Handshake(asyncio.Protocol):
    """See the module's docstring. What comes before the connection has its transport waits here."""

    def __init__(self, service: Service, context: ssl.SSLContext) -> None:
        """The loop calls `connection_made` next."""
        self._service = service
        self._context = context
        self._raw: asyncio.Transport | None = None
        self._steps: Coroutine[Any, Any, asyncio.Transport | None] | None = None
        self._connection: ServerConnection | None = None
        self._early: list[bytes] = []
        self._has_ended = False  # the client closed its side before we were done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless there are too many."""
        service = self._service
        raw = cast("asyncio.Transport", transport)
        if service.is_crowded(raw):
            raw.abort()
            return
        self._raw = raw
        service.handshakes.add(self)
        steps = self._steps = service.loop.start_tls(
            raw,
            self,
            self._context,
            server_side=True,
            ssl_handshake_timeout=service.limits.headers_timeout,
            ssl_shutdown_timeout=FOREVER,
        )
        # Its first step is taken here and not in a task: the loop reads as soon as we return, for TLS and not for us.
        steps.send(None).add_done_callback(self._agreed)

    def abort(self) -> None:
        """Close at once."""
        if self._raw is not None:
            self._raw.abort()

    def _agreed(self, _: "asyncio.Future[None]") -> None:
        """Take the second and last step: it returns the transport, or raises what went wrong."""
        service, steps, raw = self._service, self._steps, self._raw
        assert steps is not None
        assert raw is not None
        service.handshakes.discard(self)
        try:
            steps.send(None)
        except StopIteration as done:
            secured: asyncio.Transport = done.value
            if secured.get_extra_info("ssl_object") is not None:  # else the connection was lost meanwhile
                self._hand_over(raw, secured)
        except OSError as error:  # ssl.SSLError is one, and so is what ends it after its time
            self._failed(raw, error)
        service.tell_if_empty()

    def _failed(self, raw: asyncio.Transport, error: OSError) -> None:
        """Say why. Whoever just went away, as probes of load balancers do, has not failed."""
        if not isinstance(error, ConnectionResetError | BrokenPipeError):
            self._service.handshake_failed()
        peer = raw.get_extra_info("peername")
        who = peer[0] if isinstance(peer, tuple) else "a client"
        reason = error.reason if isinstance(error, ssl.SSLError) else str(error) or type(error).__name__
        log.debug("no TLS with %s: %s", who, reason)

    def _hand_over(self, raw: asyncio.Transport, secured: asyncio.Transport) -> None:
        raw.set_write_buffer_limits(MOST_UNSENT)
        connection = self._connection = ServerConnection(self._service, beneath=raw)
        secured.set_protocol(connection)
        connection.connection_made(secured)
        for data in self._early:
            self._pass_on(data)
        self._early.clear()
        if self._has_ended:
            connection.eof_received()

    def _pass_on(self, data: bytes) -> None:
        assert self._connection is not None
        rest = data
        while rest:
            buffer = self._connection.get_buffer(len(rest))
            piece, rest = rest[: len(buffer)], rest[len(buffer) :]
            buffer[: len(piece)] = piece
            self._connection.buffer_updated(len(piece))

    # What the transport calls, where it is quicker than our task.

    def data_received(self, data: bytes) -> None:
        """Keep what comes with the handshake's last bytes: at most what one turn of the loop reads."""
        self._early.append(data)

    def eof_received(self) -> None:
        """Note it."""
        self._has_ended = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the connection, if there is one by now."""
        if self._connection is not None:
            self._connection.connection_lost(exc)
