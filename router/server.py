"""The process: listening sockets, signals, readiness, drain, and what the service manager is told.

Sockets are bound before anything else is built, so a port that is taken ends the start at once; they accept when the
application has started. A stop goes: not ready any more, no new connections, idle ones closed, those at work
finished for `drain_timeout`, then the application stops. A second signal ends the waiting.
"""

import asyncio
import contextlib
import ctypes
import errno
import faulthandler
import gc
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import uvloop
from tornado.httputil import HTTPServerConnectionDelegate

from router import __version__
from router.config import Loaded, ServerConfig
from router.observe.notify import READY, STOPPING, WATCHDOG, Notifier, extend_timeout, status
from router.wire.limits import ServerLimits
from router.wire.listen import bind_sockets, bind_unix_socket
from router.wire.server import HTTPServer
from router.wire.service import Refused

FIRST_INHERITED = 3  # file descriptors of socket activation begin here (sd_listen_fds(3))
DRAIN_POLL = 0.05  # seconds between two looks at whether the work is done
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # names of mallopt(3)
KEPT_MEMORY = 64 * 1024 * 1024  # bytes of free heap that stay ours
LARGEST_KEPT = 4 * 1024 * 1024  # bytes; larger blocks are mapped and given back one by one
COLLECT_AFTER = 50_000  # objects made and not yet freed; the collector's own 700 is for programs that make circles
STOP_MARGIN = 30.0  # seconds that the service manager is asked for beyond the drain: closing what is left

log = logging.getLogger(__name__)


class Application(Protocol):
    """What is served; router.app.App is one."""

    @property
    def delegate(self) -> HTTPServerConnectionDelegate: ...
    @property
    def limits(self) -> ServerLimits: ...
    @property
    def in_flight(self) -> int: ...  # exchanges not yet closed
    async def start(self) -> None: ...
    def drain(self) -> None: ...  # from now on not ready
    async def stop(self) -> None: ...  # ends what is still at work
    def reopen_logs(self) -> None: ...
    def render_error(self, refused: Refused, /) -> tuple[bytes, bytes]: ...


@dataclass(frozen=True, slots=True)
class Listening:
    """Where and how the process listens, and how long it drains."""

    host: str = "127.0.0.1"
    port: int = 0
    unix_socket: str | None = None  # beside the port
    backlog: int = 1024
    drain_timeout: float = 600.0  # seconds; 0: what is at work is cut at once

    @classmethod
    def of(cls, config: ServerConfig) -> "Listening":
        """Take the settings from the configuration's `server` section."""
        return cls(config.host, config.port, config.unix_socket, config.backlog, config.drain_timeout)


def serve(loaded: Loaded) -> int:
    """Serve as configured until a signal says to stop; return the exit code."""
    from router.app import App  # here, not above: `run` serves any Application without building the whole router

    faulthandler.enable()  # a watchdog's SIGABRT then shows in the journal where the loop stood
    return run(lambda: App(loaded.config), Listening.of(loaded.config.server))


def run(make_app: Callable[[], Application], listening: Listening, *, environ: Mapping[str, str] | None = None) -> int:
    """Serve the application until a signal says to stop; return the exit code (1: could not start).

    `environ` tells of the service manager (sockets, notification); None for the process's own.
    """
    environ = os.environ if environ is None else environ
    _raise_descriptor_limit()
    _keep_freed_memory()
    try:
        sockets = inherited_sockets(environ)
        socket_file = None if sockets else listening.unix_socket
        sockets = sockets or _bind(listening)
    except OSError as error:
        return _refuse(_bind_message(listening, error))
    notifier = Notifier.from_environment(environ)
    process = _Process(sockets, listening, notifier=notifier, socket_file=socket_file)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(process.serve(make_app))
    finally:
        process.close()


def inherited_sockets(environ: Mapping[str, str]) -> list[socket.socket]:
    """Return the listening sockets that the service manager passed to this process; [] if it passed none."""
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(os.getpid()) or not count.isascii() or not count.isdigit():
        return []
    sockets = [socket.socket(fileno=fd) for fd in range(FIRST_INHERITED, FIRST_INHERITED + int(count))]
    for sock in sockets:
        sock.setblocking(False)
        sock.set_inheritable(False)
    return sockets


def _raise_descriptor_limit() -> None:
    """Take as many file descriptors as we may: each exchange needs two, and shells start us with 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # then it stays as it is
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _keep_freed_memory() -> None:
    """Have glibc keep what large bodies took instead of giving it back to the kernel after each of them.

    Else a request of 128 KB costs some 65 page faults, more than all the rest of it. Without glibc nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, KEPT_MEMORY)
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)


def _spare_the_collector() -> None:
    """Take what lives for ever out of the garbage collector's sight, and let it look seldom.

    An exchange leaves no circles of references, so there is next to nothing to find; each look at everything would
    hold up every stream for tens of milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def _bind(listening: Listening) -> list[socket.socket]:
    sockets = bind_sockets(listening.host, listening.port, backlog=listening.backlog)
    if listening.unix_socket is not None:
        try:
            sockets.append(bind_unix_socket(listening.unix_socket, backlog=listening.backlog))
        except OSError as error:
            for sock in sockets:
                sock.close()
            raise OSError(error.errno, error.strerror, listening.unix_socket) from error
    return sockets


def _bind_message(listening: Listening, error: OSError) -> str:
    """Say in one line why nobody can be served, and what to do."""
    where = error.filename or f"{listening.host}:{listening.port}"
    key = "server.unix_socket" if error.filename else "server.port (--port)"
    if error.errno == errno.EADDRINUSE:
        return f"cannot listen on {where}: already in use; stop the other process, or set another {key}"
    if error.errno == errno.EACCES and not error.filename:
        return f"cannot listen on {where}: not permitted; take a port from 1024 up, or grant CAP_NET_BIND_SERVICE"
    return f"cannot listen on {where}: {error.strerror or error}"


def _refuse(message: str) -> int:
    """Tell why the start failed; return the exit code."""
    sys.stderr.write(f"devstral-router: {message}\n")
    return 1


def _name(sock: socket.socket) -> str:
    """Return the address of a listening socket as a person writes it."""
    address = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{address}"
    return f"[{address[0]}]:{address[1]}" if sock.family == socket.AF_INET6 else f"{address[0]}:{address[1]}"


class _Process:
    """One process from its start to its end."""

    def __init__(
        self, sockets: list[socket.socket], listening: Listening, *, notifier: Notifier, socket_file: str | None
    ) -> None:
        """`socket_file`: the file of our unix socket, which is ours to remove."""
        self._socket_file = socket_file
        self._sockets = sockets
        self._listening = listening
        self._notifier = notifier
        self._stopping = asyncio.Event()
        self._hurried = asyncio.Event()

    async def serve(self, make_app: Callable[[], Application]) -> int:
        """Start, serve until a signal, drain, stop; return the exit code."""
        try:
            app = make_app()
        except OSError as error:  # a log file or certificate that cannot be opened
            what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            return _refuse(f"cannot start, a file that the configuration names cannot be opened: {what}")
        self._listen_to_signals(app)
        beat = asyncio.create_task(self._beat())
        try:
            await app.start()
            server = HTTPServer(app.delegate, limits=app.limits, render_error=app.render_error)
            for sock in self._sockets:
                server.add_socket(sock, backlog=self._listening.backlog)
            _spare_the_collector()
            self._announce()
            await self._stopping.wait()
            await self._drain(app, server)
            log.info("stopped")
        finally:
            beat.cancel()
            await app.stop()
        await server.close_all_connections()
        return 0

    def close(self) -> None:
        """Release what `serve` leaves, also where it could not start."""
        self._remove_socket_file()
        self._notifier.close()
        for sock in self._sockets:
            sock.close()

    def _remove_socket_file(self) -> None:
        """Remove it before its socket is closed, once: later the path may be that of our successor."""
        if self._socket_file is not None:
            with contextlib.suppress(OSError):  # gone already, or its directory is not ours: the next start replaces it
                os.unlink(self._socket_file)
            self._socket_file = None

    def _listen_to_signals(self, app: Application) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, app.reopen_logs)

    def _stop(self) -> None:
        if self._stopping.is_set():
            self._hurried.set()
        self._stopping.set()

    def _announce(self) -> None:
        names = ", ".join(_name(sock) for sock in self._sockets)
        log.info("devstral-router %s listens on %s", __version__, names)
        self._notifier.send(READY, status(f"listens on {names}"))

    async def _beat(self) -> None:
        """Show the service manager, from the loop itself, that the loop still turns."""
        if self._notifier.watchdog is None:
            return
        while True:
            self._notifier.send(WATCHDOG)
            await asyncio.sleep(self._notifier.watchdog / 2)

    async def _drain(self, app: Application, server: HTTPServer) -> None:
        timeout = self._listening.drain_timeout
        log.info("stopping: %d exchanges at work", app.in_flight)
        self._notifier.send(STOPPING, status("finishing what is at work"), extend_timeout(timeout + STOP_MARGIN))
        app.drain()
        self._remove_socket_file()
        server.stop()
        server.close_idle_connections()
        try:
            async with asyncio.timeout(timeout):
                await self._work_done(app, server)
        except TimeoutError:
            log.warning("%d exchanges did not end within %s s: they are cut", app.in_flight, timeout)

    async def _work_done(self, app: Application, server: HTTPServer) -> None:
        """Return when nothing is at work, or a second signal has come."""
        while (app.in_flight or server.connections) and not self._hurried.is_set():
            try:
                await asyncio.wait_for(self._hurried.wait(), DRAIN_POLL)
            except TimeoutError:
                continue
