"""An HTTP/1.1 server that drives Tornado's delegates from llhttp on uvloop.

`HTTPServer` stands where `tornado.httpserver.HTTPServer` does: it takes an `Application`, or any
`HTTPServerConnectionDelegate`. Not supported: `detach()` (WebSocket), `xheaders`, decompression of requests. An Upgrade
is ignored, CONNECT refused, and a client that closes its sending side has left.

Accepting is uvloop's: where file descriptors run out, it accepts and closes what waits, and goes on when some are free.
It should not come to that: `limits.descriptors` keeps some free, without which no backend could be reached. Where
several processes share a socket, it is acceptor.py's.
"""

import asyncio
import contextlib
import socket
import ssl
import sys
from collections.abc import Callable, Iterable
from typing import Any

from tornado.httputil import HTTPServerConnectionDelegate
from tornado.netutil import ssl_options_to_context

from router.wire.acceptor import Acceptor, Share
from router.wire.handshake import Handshake
from router.wire.limits import BACKLOG, ServerLimits
from router.wire.listen import bind_sockets, bind_unix_socket
from router.wire.server_connection import ServerConnection
from router.wire.service import ErrorRenderer, Service, plain_error

__all__ = ["HTTPServer", "ServerConnection", "ServerLimits", "bind_sockets", "bind_unix_socket"]

ARRIVAL = 1.0  # seconds that all_arrived() gives what was accepted
CLOSE_TIME = 1.0  # seconds that close_all_connections() gives clients to take what was written


class HTTPServer:
    """Serves one delegate on any number of listening sockets. Made where its loop is the current one."""

    def __init__(
        self,
        delegate: HTTPServerConnectionDelegate,
        *,
        limits: ServerLimits | None = None,
        ssl_options: ssl.SSLContext | dict[str, Any] | None = None,
        render_error: ErrorRenderer = plain_error,
        handshake_failed: Callable[[], None] = lambda: None,
        is_short: Callable[[], bool] = lambda: False,
        share: Share | None = None,
    ) -> None:
        """`render_error`: (status, message) -> (content type, body) of the answers that the wire itself gives.

        `ssl_options`: for TLS, on all sockets but Unix ones. `handshake_failed`: told of each that comes to nothing.
        `is_short`: whether memory is, so that less is to be held of requests that are sent ahead.
        `share`: what is known of other processes that listen on the same sockets; each is to have its share.
        """
        loop = asyncio.get_event_loop()
        done = loop.create_future()
        done.set_result(None)
        self._service = Service(delegate, limits or ServerLimits(), render_error, loop, done)
        self._service.tls = None if ssl_options is None else ssl_options_to_context(ssl_options, server_side=True)
        self._service.handshake_failed = handshake_failed
        self._service.is_short = is_short
        self._starting: dict[asyncio.Task[None], socket.socket] = {}
        self._servers: list[asyncio.AbstractServer] = []
        self._share = share
        self._acceptors: list[Acceptor] = []
        self._arriving: set[asyncio.Future[None]] = set()  # accepted before the stop, but no connections yet

    def __repr__(self) -> str:
        """Show what it is doing."""
        state = " draining" if self._service.draining else ""
        return f"<HTTPServer sockets={len(self._servers) + len(self._acceptors)} connections={self.connections}{state}>"

    @property
    def connections(self) -> int:
        """How many connections are open, idle ones and closing ones included."""
        return self._service.count

    def set_limits(self, limits: ServerLimits) -> None:
        """Go by other limits from now on; sizes hold for new connections, times from a connection's next phase on."""
        self._service.limits = limits

    def set_tls(self, context: ssl.SSLContext | None) -> None:
        """Meet new connections with another context from now on, or without TLS; open ones go on as they are."""
        self._service.tls = context

    def listen(self, port: int, address: str = "127.0.0.1") -> list[socket.socket]:
        """Bind and serve; return the sockets. Raises OSError."""
        sockets = bind_sockets(address, port)
        self.add_sockets(sockets)
        return sockets

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        """Serve several listening sockets."""
        for sock in sockets:
            self.add_socket(sock)

    def add_socket(self, sock: socket.socket, *, backlog: int = BACKLOG) -> None:
        """Serve a listening socket, which is ours from now on; accepting starts when the loop runs next."""
        task = self._service.loop.create_task(self._serve(sock, backlog))
        self._starting[task] = sock
        task.add_done_callback(self._started)

    def stop(self) -> None:
        """Stop accepting; open connections go on. May be repeated."""
        for task, sock in self._starting.items():
            task.cancel()
            sock.close()
        self._starting.clear()
        for server in self._servers:
            server.close()
        self._servers.clear()
        for acceptor in self._acceptors:
            self._arriving |= acceptor.close()
        self._acceptors.clear()

    async def all_arrived(self) -> None:
        """Return when what was accepted before `stop` is among `connections`: a matter of some turns of the loop, and
        never of more than ARRIVAL seconds."""
        await asyncio.sleep(0)  # what uvloop has accepted is one in the next turn
        if self._arriving:
            await asyncio.wait(self._arriving, timeout=ARRIVAL)

    def refuse_further_requests(self) -> None:
        """Drain gently: from now on every answer is the last of its connection; idle ones may still bring a request."""
        self._service.draining = True

    def close_idle_connections(self) -> None:
        """Drain: close what is idle, and from now on every answer is the last of its connection."""
        service = self._service
        service.draining = True
        for handshake in list(service.handshakes):
            handshake.abort()
        for connection in list(service.connections):
            if connection.is_idle:
                connection.close()

    async def close_all_connections(self) -> None:
        """Close every connection, also in the middle of an answer, and wait until all are gone."""
        service = self._service
        for handshake in list(service.handshakes):
            handshake.abort()
        for connection in list(service.connections):
            connection.close()
        if not await self._are_gone(CLOSE_TIME):
            for connection in list(service.connections):
                connection.abort()
            await self._are_gone(CLOSE_TIME)

    async def _are_gone(self, seconds: float) -> bool:
        service = self._service
        if not service.count:
            return True
        service.emptied.clear()
        try:
            await asyncio.wait_for(service.emptied.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _serve(self, sock: socket.socket, backlog: int) -> None:
        loop = self._service.loop
        if self._share is not None:
            sock.listen(backlog)
            acceptor = Acceptor(sock, self._share, connect=self._take, connections=lambda: self._service.count)
            self._acceptors.append(acceptor)
            return
        if sock.family != socket.AF_UNIX:
            self._servers.append(await loop.create_server(self._connect, sock=sock, backlog=backlog))
            return
        # From Python 3.13 on the loop removes a unix socket's file when we stop; others still listen there.
        keeps_file: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        server = await loop.create_unix_server(self._connect_plain, sock=sock, backlog=backlog, **keeps_file)
        self._servers.append(server)

    async def _take(self, sock: socket.socket) -> None:
        """Serve a connection that was accepted. One that ends before it is ready is nobody's fault here."""
        connect = self._connect_plain if sock.family == socket.AF_UNIX else self._connect
        with contextlib.suppress(OSError):
            await self._service.loop.connect_accepted_socket(connect, sock)

    def _connect(self) -> asyncio.BaseProtocol:
        context = self._service.tls
        return self._connect_plain() if context is None else Handshake(self._service, context)

    def _connect_plain(self) -> ServerConnection:
        return ServerConnection(self._service)

    def _started(self, task: "asyncio.Task[None]") -> None:
        self._starting.pop(task, None)
        if not task.cancelled():
            task.result()  # a socket that cannot be served is a programming error: let the loop report it
