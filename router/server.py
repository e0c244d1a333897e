"""The way in: sockets first, then one process, or a parent with workers.

Sockets are bound before anything else is built, so a port that is taken ends the start at once; they accept when the
application has started. What follows is in `router.process`; a parent imports nothing of what only its workers need.
"""

import asyncio
import faulthandler
import os
import time
from collections.abc import Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING

from router.config import Loaded
from router.observe.notify import Notifier
from router.orders import Order, OrderKind
from router.process.handover import Predecessor
from router.process.sockets import ListenError, Listening, acquire, inherited, take_over
from router.process.telling import Begun, refuse
from router.process.tuning import keep_freed_memory, raise_descriptor_limit
from router.reload import LocalControl, Source, reloader_of

if TYPE_CHECKING:
    from router.app import App
    from router.process.serving import Application
    from router.process.single import Reloading


def serve(loaded: Loaded, source: Source | None = None) -> int:
    """Serve as configured until a signal says to stop; return the exit code.

    `source`: how the configuration is read anew; without one it stays as it is.
    """
    faulthandler.enable()  # a watchdog's SIGABRT then shows in the journal where the loop stood
    source = source or Source(lambda: loaded)
    workers = loaded.config.server.workers or os.cpu_count() or 1
    return _serve_alone(loaded, source) if workers == 1 else _serve_with_workers(loaded, source, workers=workers)


def _serve_with_workers(loaded: Loaded, source: Source, *, workers: int) -> int:
    from router.process.parent import Parent

    begun = _begin(Listening.of(loaded.config, loaded.origins), os.environ)
    if isinstance(begun, str):
        return refuse(begun)

    async def serve() -> int:
        parent = Parent(begun, loaded, source=source, workers=workers)
        try:
            return await parent.serve()
        finally:
            parent.close()

    return asyncio.run(serve())


class _Local:
    """What reads the configuration anew for a router of one process."""

    def __init__(self, app: "App", source: Source, named: tuple[str, ...]) -> None:
        """Made in the running loop. `named`: files that the configuration names."""
        self._app = app
        self._reloader = reloader_of(app, source, named)
        app.control = LocalControl(app, self._reloader)
        self._reloader.watch(app.config.server.watch_config)

    @property
    def listening(self) -> Listening:
        return Listening.of(self._app.config)

    @property
    def drained(self) -> list[str]:
        return [backend.name for backend in self._app.registry.snapshot(time.monotonic()) if backend.drained]

    def drain(self, names: Sequence[str]) -> None:
        for name in names:
            self._app.carry_out(Order(OrderKind.DRAIN, name))

    def ask(self) -> None:
        self._reloader.ask()

    async def stop(self) -> None:
        await self._reloader.stop()


def _serve_alone(loaded: Loaded, source: Source) -> int:
    from router.app import App

    def reloading(app: "Application") -> _Local:
        assert isinstance(app, App)
        return _Local(app, source, loaded.files)

    return run(lambda: App.of(loaded), Listening.of(loaded.config, loaded.origins), reloading=reloading)


def run(
    make_app: "Callable[[], Application]",
    listening: Listening,
    *,
    environ: MutableMapping[str, str] | None = None,
    reloading: "Callable[[Application], Reloading] | None" = None,
) -> int:
    """Serve the application in this process until a signal says to stop; return the exit code (1: could not start).

    `environ` tells of the service manager (sockets, notification); None for the process's own. `reloading` makes, in
    the running loop, what SIGHUP asks for a new configuration.
    """
    import uvloop

    from router.process.single import Single

    begun = _begin(listening, os.environ if environ is None else environ)
    if isinstance(begun, str):
        return refuse(begun)
    keep_freed_memory()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        process = Single(begun, listening)
        try:
            return runner.run(process.serve(make_app, reloading=reloading))
        finally:
            process.close()


def _begin(listening: Listening, environ: MutableMapping[str, str]) -> Begun | str:
    """Take the sockets; return what a process begins with, or why it cannot."""
    raise_descriptor_limit()
    predecessor = Predecessor.take(environ)
    had = inherited(environ) if predecessor is None else take_over(predecessor.sockets)
    try:
        listeners, notices = acquire(listening, had)
    except ListenError as error:
        if predecessor is not None:
            predecessor.explain([str(error)])
        return str(error)
    return Begun(listeners, Notifier.from_environment(environ), predecessor, tuple(notices))
