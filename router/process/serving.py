"""An application and its servers, from their start to their end; the same in the one process and in each worker.

An end goes: not ready any more for `delay`, no new connections, those that idle for `grace` closed, those at work
finished for `drain_timeout`, then the application stops and cuts the rest in order.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from tornado.httputil import HTTPServerConnectionDelegate

from router.process.sockets import Listener, Listening, Role
from router.process.telling import Farewell
from router.securing import Securing
from router.vitals import Looking
from router.wire.acceptor import Share
from router.wire.limits import ServerLimits
from router.wire.server import HTTPServer
from router.wire.service import Refused

DRAIN_POLL = 0.05  # seconds between two looks at whether the work is done

log = logging.getLogger(__name__)


class Application(Protocol):
    """What is served; router.app.App is one."""

    on_limits: Callable[[ServerLimits], None] | None  # told the limits of clients when they change
    looking: Looking  # asks us how many connections clients hold
    securing: Securing  # TLS of the listeners
    earlier: Callable[[], Sequence[int]]  # asked for processes before us that still finish requests

    @property
    def delegate(self) -> HTTPServerConnectionDelegate: ...
    @property
    def admin_delegate(self) -> HTTPServerConnectionDelegate: ...  # for operators
    @property
    def limits(self) -> ServerLimits: ...
    @property
    def admin_limits(self) -> ServerLimits: ...
    @property
    def in_flight(self) -> int: ...  # exchanges not yet closed
    @property
    def settled(self) -> bool: ...  # every backend has been asked once
    async def start(self) -> None: ...
    def drain(self) -> None: ...  # from now on not ready
    async def stop(self) -> None: ...  # ends what is still at work
    def reopen_logs(self) -> None: ...
    def render_error(self, refused: Refused, /) -> tuple[bytes, bytes]: ...
    def render_admin_error(self, refused: Refused, /) -> tuple[bytes, bytes]: ...


class Serving:
    """One application at work."""

    def __init__(
        self, app: Application, listeners: Iterable[Listener], listening: Listening, *, share: Share | None = None
    ) -> None:
        """Nothing runs before `start`. `share`: what is known of other processes that listen for clients as we do."""
        self.app = app
        self._listeners = tuple(listeners)
        self.listening = listening  # may become another one while it serves
        self._share = share
        self._servers: list[HTTPServer] = []
        self.hurried = asyncio.Event()  # the end must not wait any longer

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return sum(server.connections for server in self._servers)

    async def start(self, *, settle: float = 0.0) -> None:
        """Start the application, wait up to `settle` seconds until it knows its backends, and accept connections."""
        await self.app.start()
        await self._until(lambda: self.app.settled, at_most=settle)
        for role in Role:
            listeners = [each for each in self._listeners if each.role is role]
            if not listeners:
                continue
            server = self._server_of(role)
            self._servers.append(server)
            for each in listeners:
                server.add_socket(each.sock, backlog=self.listening.backlog)
        await asyncio.sleep(0)  # accepting starts with the loop's next turn

    async def drain(self, how: Farewell, *, unlisten: Callable[[], None]) -> None:
        """Let what is at work finish. `unlisten` is called right before listening ends."""
        app, timeout = self.app, self.listening.drain_timeout
        log.info("stopping: %d exchanges at work", app.in_flight)
        app.drain()
        if how.delay:
            await self._pause(how.delay)
        unlisten()
        for server in self._servers:
            server.stop()
            server.refuse_further_requests()
        for server in self._servers:
            await server.all_arrived()
        try:
            async with asyncio.timeout(timeout):
                await self._until(lambda: not self.connections, at_most=how.grace)
                for server in self._servers:
                    server.close_idle_connections()
                await self._until(lambda: not (app.in_flight or self.connections))
        except TimeoutError:
            log.warning("%d exchanges did not end within %s s: they are cut", app.in_flight, timeout)

    async def stop(self) -> None:
        """End what is left, in order."""
        for server in self._servers:
            server.stop()
        await self.app.stop()
        for server in self._servers:
            await server.close_all_connections()

    def _server_of(self, role: Role) -> HTTPServer:
        app = self.app
        is_admin = role is Role.ADMIN
        shown = app.securing.operators if is_admin else app.securing.clients
        server = HTTPServer(
            app.admin_delegate if is_admin else app.delegate,
            limits=app.admin_limits if is_admin else app.limits,
            ssl_options=shown.credentials.context,
            render_error=app.render_admin_error if is_admin else app.render_error,
            handshake_failed=shown.handshake_failed,
            is_short=app.looking.is_short_of_memory,
            share=None if is_admin else self._share,
        )
        shown.on_change = server.set_tls
        if not is_admin:
            app.on_limits = server.set_limits
            app.looking.connections = lambda: server.connections
        return server

    async def _pause(self, seconds: float) -> None:
        """Wait, unless there is a hurry."""
        try:
            await asyncio.wait_for(self.hurried.wait(), seconds)
        except TimeoutError:
            return

    async def _until(self, is_done: Callable[[], bool], *, at_most: float = float("inf")) -> None:
        """Return when it is done, in a hurry, or after `at_most` seconds."""
        deadline = asyncio.get_running_loop().time() + at_most
        while not is_done() and not self.hurried.is_set() and asyncio.get_running_loop().time() < deadline:
            await self._pause(DRAIN_POLL)
