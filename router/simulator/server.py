"""A simulated vLLM server: `Simulator(settings)`, `await start()`, `await stop()`; and what happens when it is refused.

It runs on the project's own wire. Several can live in one loop: nothing is shared between them.
"""

import asyncio
import random
from collections import deque

from tornado.httputil import HTTPHeaders as TornadoHeaders
from tornado.httputil import HTTPMessageDelegate, HTTPServerConnectionDelegate, RequestStartLine, ResponseStartLine

from router.simulator.faults import Faults
from router.simulator.metrics import Figures
from router.simulator.probes import Seen
from router.simulator.service import Service
from router.simulator.settings import Settings
from router.simulator.wheel import TimerWheel
from router.wire.headers import RequestHeaders
from router.wire.limits import ServerLimits
from router.wire.listen import bind_sockets
from router.wire.server import HTTPServer
from router.wire.server_connection import ServerConnection


class _Request(HTTPMessageDelegate):
    """One request being received."""

    __slots__ = ("_body", "_connection", "_headers", "_method", "_service", "_target")

    def __init__(self, service: Service, connection: ServerConnection) -> None:
        self._service = service
        self._connection = connection
        self._body: list[bytes] = []

    def headers_received(self, start_line: RequestStartLine | ResponseStartLine, headers: TornadoHeaders) -> None:
        assert isinstance(start_line, RequestStartLine)
        assert isinstance(headers, RequestHeaders)
        self._method, self._target = start_line.method, start_line.path
        self._headers = headers

    def data_received(self, chunk: bytes) -> None:
        self._body.append(chunk)

    def finish(self) -> None:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._service.answer(self._connection, self._method, self._target, headers=self._headers, body=body)

    def on_connection_close(self) -> None:
        """The client left while it was sending: nothing has begun."""


class _Requests(HTTPServerConnectionDelegate):
    """Makes a `_Request` of each request."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def start_request(self, server_conn: object, request_conn: object) -> HTTPMessageDelegate:
        assert isinstance(request_conn, ServerConnection)
        return _Request(self._service, request_conn)


class Simulator:
    """One simulated server. Must be made and used within a running loop."""

    def __init__(self, settings: Settings | None = None, *, rng: random.Random | None = None) -> None:
        """`rng`: for ids and for the share of requests that a fault strikes."""
        self.settings = settings or Settings()
        self.port = self.settings.port
        self._wheel = TimerWheel(asyncio.get_running_loop())
        self._service = Service(
            self.settings,
            wheel=self._wheel,
            rng=rng or random.Random(),
            change_faults=self._set_faults,
        )
        self._limits = ServerLimits(idle_timeout=self.settings.keepalive or None)
        self._server: HTTPServer | None = None  # None: nobody listens
        self._closing: list[HTTPServer] = []  # those that still have connections
        self._comeback: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        """Show where it listens and what it does."""
        figures = self.figures
        state = "listening" if self._server else "closed"
        return f"<Simulator {self.url} {state} running={figures.running} waiting={figures.waiting}>"

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"http://{self.settings.host}:{self.port}"

    @property
    def faults(self) -> Faults:
        """What goes wrong; put another `Faults` in its place to change it."""
        return self._service.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._set_faults(faults)

    @property
    def figures(self) -> Figures:
        """What was counted."""
        return self._service.figures

    @property
    def requests(self) -> "deque[Seen]":
        """The last requests, the newest at the end; those to the control endpoint are left out."""
        return self._service.requests

    async def start(self) -> int:
        """Listen, unless the faults refuse it, and return the port. Raises OSError when it is taken."""
        self._listen()
        self._set_faults(self.settings.faults)
        return self.port

    async def stop(self) -> None:
        """Stop as vLLM does on SIGTERM: what runs goes on for `shutdown_timeout`, then ends as "abort"."""
        self._service.is_closing = True
        self._cancel_comeback()
        self._close_listening()
        await self._service.engine.drain(self.settings.shutdown_timeout)
        await self._drop_connections()

    async def kill(self) -> None:
        """Stop as kill -9 does: nobody listens, and every connection is cut at once."""
        self._cancel_comeback()
        self._close_listening()
        await self._drop_connections()

    # ---- within

    def _listen(self) -> None:
        if self._server is not None:
            return
        sockets = bind_sockets(self.settings.host, self.port)
        self.port = sockets[0].getsockname()[1]
        self._server = HTTPServer(_Requests(self._service), limits=self._limits)
        self._server.add_sockets(sockets)

    def _close_listening(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.stop()
            server.close_idle_connections()
            self._closing = [old for old in self._closing if old.connections] + [server]

    async def _drop_connections(self) -> None:
        servers, self._closing = self._closing, []
        for server in servers:
            await server.close_all_connections()
        self._wheel.stop()

    def _set_faults(self, faults: Faults) -> None:
        self._service.faults = faults
        self._service.struck = 0
        self._service.engine.freeze(faults.freeze)
        self._cancel_comeback()
        if not faults.refuse:
            if not self._service.is_closing:
                self._listen()
            return
        self._close_listening()
        if faults.refuse_for is not None:
            loop = asyncio.get_running_loop()
            self._comeback = loop.call_later(faults.refuse_for, self._set_faults, Faults())

    def _cancel_comeback(self) -> None:
        if self._comeback is not None:
            self._comeback.cancel()
            self._comeback = None
