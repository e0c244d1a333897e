"""The one process of a router without workers: signals, readiness, and what the service manager is told."""

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from typing import Protocol

from router.errors import ConfigError
from router.observe.notify import WATCHDOG
from router.process import sockets
from router.process.earlier import Earlier
from router.process.handover import Handover
from router.process.serving import Application, Serving
from router.process.sockets import Listening
from router.process.telling import SETTLE_TIME, Begun, announce, cannot_open, farewell, refuse, tell_stopping
from router.process.tuning import spare_the_collector

log = logging.getLogger(__name__)


class Reloading(Protocol):
    """What reads the configuration anew; router.reload.Reloader is one."""

    @property
    def listening(self) -> Listening: ...  # as configured now
    @property
    def drained(self) -> Sequence[str]: ...  # backends that operators keep requests from
    def drain(self, names: Sequence[str], /) -> None: ...
    def ask(self) -> None: ...
    async def stop(self) -> None: ...


class Single:
    """One process from its start to its end."""

    def __init__(self, begun: Begun, listening: Listening) -> None:
        """Made before its loop runs."""
        self._begun = begun
        self._listeners = begun.listeners
        self._listening = listening
        self._notifier = begun.notifier
        self._stopping = asyncio.Event()
        self._hurry: Callable[[], None] | None = None
        self._reloading: Reloading | None = None
        self._earlier = Earlier.than(begun.predecessor)
        self._handover = Handover(
            begun.listeners,
            begun.notifier,
            done=self._succeeded,
            drained=self._drained,
            earlier=self._earlier.living,
        )
        self._has_successor = False
        self._was_told = False  # by a signal, to stop

    async def serve(
        self, make_app: Callable[[], Application], *, reloading: Callable[[Application], Reloading] | None = None
    ) -> int:
        """Start, serve until a signal, drain, stop; return the exit code.

        `reloading`: makes what reads the configuration anew for the application.
        """
        try:
            app = make_app()
        except OSError as error:
            return refuse(cannot_open(error), self._begun.predecessor)
        except ConfigError as error:  # of what is looked at only now
            if self._begun.predecessor is not None:
                self._begun.predecessor.explain([f"configuration: {fault}" for fault in error.faults])
            raise
        app.earlier = self._earlier.living
        serving = Serving(app, self._listeners, self._listening)
        self._hurry = serving.hurried.set
        reloader = self._reloading = None if reloading is None else reloading(app)
        if reloader is not None and self._begun.predecessor is not None:
            reloader.drain(self._begun.predecessor.drained)
        self._listen_to_signals(app, reloader)
        beat: asyncio.Task[None] | None = None
        try:
            await serving.start(settle=SETTLE_TIME if self._begun.predecessor else 0.0)
            spare_the_collector()
            if not self._stopping.is_set():  # else nobody shall rely on us, least of all who had the sockets before
                announce(self._begun)
            beat = asyncio.create_task(self._beat())
            await self._stopping.wait()
            if reloader is not None:
                await reloader.stop()
                self._listening = serving.listening = reloader.listening
            await self._handover.cancel()
            await self._drain(serving)
            log.info("stopped")
        finally:
            if beat is not None:
                beat.cancel()
            await serving.stop()
        return 0

    def close(self) -> None:
        """Release what `serve` leaves, also where it could not start."""
        sockets.remove_files(self._listeners)
        self._notifier.close()
        sockets.close_all(self._listeners)

    def _listen_to_signals(self, app: Application, reloader: Reloading | None) -> None:
        def renew() -> None:
            app.reopen_logs()
            if reloader is not None:
                reloader.ask()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, renew)
        loop.add_signal_handler(signal.SIGUSR1, app.reopen_logs)
        loop.add_signal_handler(signal.SIGUSR2, self._handover.begin)

    def _stop(self) -> None:
        if self._was_told and self._hurry is not None:
            self._hurry()
        self._was_told = True
        self._stopping.set()

    def _drained(self) -> Sequence[str]:
        return () if self._reloading is None else self._reloading.drained

    def _succeeded(self) -> None:
        self._has_successor = True
        self._notifier.close()  # from now on the service manager listens to the successor only
        self._stopping.set()

    async def _beat(self) -> None:
        """Show the service manager, from the loop itself, that the loop still turns."""
        if self._notifier.watchdog is None:
            return
        while True:
            self._notifier.send(WATCHDOG)
            await asyncio.sleep(self._notifier.watchdog / 2)

    async def _drain(self, serving: Serving) -> None:
        how = farewell(self._listening, has_successor=self._has_successor)
        if not self._has_successor:
            tell_stopping(self._notifier, self._listening)
        await serving.drain(how, unlisten=lambda: sockets.remove_files(self._listeners))
