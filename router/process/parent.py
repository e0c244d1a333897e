"""The parent of several workers: it holds the sockets, starts and ends workers, and speaks for all of them.

It serves nobody itself and never closes a listening socket while it lives, so a connection that arrives while workers
are replaced waits for the next one. A worker that ends is started again by `backoff`; one that says nothing for the
service manager's watchdog time is killed first.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Coroutine, Mapping

from router import __version__
from router.config import Loaded
from router.config.addition import read_logging
from router.observe import logs
from router.observe.notify import WATCHDOG
from router.orders import Order, OrderKind, Report
from router.process import sockets
from router.process.assembly import Assembly
from router.process.backoff import Backoff
from router.process.child import Child
from router.process.counts import Places, Table, new_file
from router.process.earlier import Earlier
from router.process.handover import Handover, environment
from router.process.messages import Ask, AskMetrics, AskRecent, Hurry, Message, Reopen, Serving, Start, Stop
from router.process.sockets import Listening
from router.process.telling import (
    SETTLE_TIME,
    STOP_MARGIN,
    Begun,
    announce,
    cannot_open,
    farewell,
    refuse,
    tell_stopping,
)
from router.reload import Reloader, Source

TICK = 1.0  # seconds between two looks at the workers
SILENCE = 20.0  # seconds without a beat after which a worker counts as hung, where no watchdog says otherwise
START_LIMIT = 60.0  # the same for one that starts
BRIEF_SETTLE = 0.5  # seconds that a worker may take to know its backends before it serves, as clients wait for it
LATE = 5.0  # seconds: when our own look comes that late, it was we who stood still, and nobody is judged by it

log = logging.getLogger(__name__)


class Parent:
    """One parent from its start to its end."""

    def __init__(self, begun: Begun, loaded: Loaded, *, source: Source, workers: int) -> None:
        """Made in its running loop. `workers`: how many; `source`: how the configuration is read anew."""
        self._begun = begun
        self._listeners = begun.listeners
        self._notifier = begun.notifier
        self._workers = workers
        self._counts = new_file()
        self._table = Table(self._counts)
        self._assembly = Assembly(loaded, Places(self._table))
        if begun.predecessor is not None:
            self._assembly.orders = tuple(Order(OrderKind.DRAIN, name) for name in begun.predecessor.drained)
        self._source = source
        self._backoffs = [Backoff() for _ in range(workers)]
        self._environ: Mapping[str, str] = environment(os.environ)
        self._earlier = Earlier.than(begun.predecessor)
        self._handover = Handover(
            begun.listeners,
            begun.notifier,
            done=self._succeeded,
            drained=lambda: self._assembly.drained,
            earlier=self._earlier.living,
        )
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()  # no worker is left
        self._has_served = False
        self._has_successor = False
        self._was_told = False  # by a signal, to stop
        self._failure: str | None = None  # why nobody has ever served
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> int:
        """Start the workers, serve until a signal, let them finish; return the exit code."""
        try:
            journal = logs.setup(self._assembly.loaded.config.logging)
        except OSError as error:
            return refuse(cannot_open(error), self._begun.predecessor)

        async def apply(loaded: Loaded) -> Report:
            report = await self._assembly.apply(loaded)
            if report.ok:
                with contextlib.suppress(OSError):  # the workers could open it; we go on with the old one
                    journal.change(loaded.config.logging)
            return report

        def carried(order: Order) -> None:
            if order.kind is OrderKind.LOG:
                (kept,) = (each.fields or {} for each in self._assembly.orders if each.kind is OrderKind.LOG)
                journal.change(read_logging(kept, self._assembly.loaded.config.logging))

        self._assembly.carried = carried
        named = self._assembly.loaded.files
        reloader = Reloader(self._source, apply=apply, reloaded=self._assembly.reloaded, named=named)
        self._assembly.reload = reloader.reload
        self._listen_to_signals(journal, reloader)
        reloader.watch(self._assembly.loaded.config.server.watch_config)
        for slot in range(self._workers):
            self._start(slot)
        watch = asyncio.create_task(self._watch())
        try:
            await self._stopping.wait()
            await reloader.stop()
            await self._handover.cancel()
            if self._failure is None:
                await self._drain()
        finally:
            watch.cancel()
            await self._end_all()
            log.info("stopped")
            journal.close()
        if self._failure is None:
            return 0
        return refuse(self._failure, None if self._has_served else self._begun.predecessor)

    def close(self) -> None:
        """Release what `serve` leaves, also where it could not start."""
        sockets.remove_files(self._listeners)
        self._notifier.close()
        sockets.close_all(self._listeners)
        self._table.close()
        os.close(self._counts)

    @property
    def _listening(self) -> Listening:
        """How we listen and drain, as configured now."""
        return Listening.of(self._assembly.loaded.config)

    # Workers.

    def _start(self, slot: int) -> None:
        """Start the worker of a slot."""
        if self._stopping.is_set():
            return
        self._ended.clear()
        child = Child(slot, heard=self._hear, facts=self._assembly.pass_on, gone=self._gone)
        self._assembly.children[slot] = child
        passed = tuple(each.passed() for each in self._listeners)
        first = Start(
            version=__version__,
            loaded=self._assembly.loaded,
            listening=self._listening,
            sockets=passed,
            slot=slot,
            counts=self._counts,
            places=self._assembly.places(),
            orders=self._assembly.orders,
            settle=self._settle_time(),
            earlier=self._earlier.living(),
        )
        self._in_background(
            child.start(first, fds=[self._counts, *(each.fd for each in passed)], environ=self._environ)
        )

    def _settle_time(self) -> float:
        """Return the seconds that a new worker may take to know its backends before it serves."""
        is_successor = self._begun.predecessor is not None and not self._has_served
        return SETTLE_TIME if is_successor else BRIEF_SETTLE

    def _hear(self, child: Child, message: Message) -> None:
        """A worker says something of its own accord."""
        if isinstance(message, Serving):
            log.info("worker %d (pid %d) serves", child.slot, child.pid)
            if self._stopping.is_set():
                child.send(self._stop_message())
            elif not self._has_served and all(each.is_serving for each in self._assembly.children.values()):
                self._has_served = True
                announce(self._begun)
        elif isinstance(message, Ask):
            self._in_background(self._assembly.answer_order(child, message))
        elif isinstance(message, AskMetrics):
            self._in_background(self._assembly.answer_metrics(child, message))
        elif isinstance(message, AskRecent):
            self._in_background(self._assembly.answer_recent(child, message))

    def _gone(self, child: Child) -> None:
        """A worker has ended."""
        self._table.clear(child.slot)
        self._assembly.bury(child)
        loop = asyncio.get_running_loop()
        if self._stopping.is_set():
            log.info("worker %d (pid %d) has ended", child.slot, child.pid)
        elif not self._has_served:
            self._failure = child.refusal or f"cannot start: a worker ended with {child.ending}"
            self._stopping.set()
        else:
            wait = self._backoffs[child.slot].after(loop.time() - child.started)
            self._assembly.restarts += 1
            when = f"in {wait:.1f} s" if wait else "at once"
            log.error("worker %d (pid %d) ended: %s; started again %s", child.slot, child.pid, child.ending, when)
            loop.call_later(wait, self._start, child.slot)
        if not self._assembly.children:
            self._ended.set()

    async def _watch(self) -> None:
        """Beat to the service manager while the workers beat to us; kill one that does not."""
        loop = asyncio.get_running_loop()
        limit = min(SILENCE, self._notifier.watchdog or SILENCE)
        pause = min(TICK, (self._notifier.watchdog or 2 * TICK) / 2)
        last = loop.time()
        while True:
            now = loop.time()
            if now - last < LATE:
                self._judge(now, limit)
            else:
                for child in self._assembly.children.values():
                    child.last_heard = now
            last = now
            if self._has_served:
                self._notifier.send(WATCHDOG)
            await asyncio.sleep(pause)

    def _judge(self, now: float, limit: float) -> None:
        for child in self._assembly.children.values():
            silent = now - child.last_heard
            if silent > (limit if child.is_serving else START_LIMIT):
                log.error("worker %d (pid %d) has said nothing for %.0f s: killed", child.slot, child.pid, silent)
                child.last_heard = now
                child.kill_hung()

    # Signals and the end.

    def _listen_to_signals(self, journal: logs.Logs, reloader: Reloader) -> None:
        def reopen() -> None:
            journal.reopen()
            for child in self._assembly.children.values():
                child.send(Reopen())

        def renew() -> None:
            reopen()
            reloader.ask()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, renew)
        loop.add_signal_handler(signal.SIGUSR1, reopen)
        loop.add_signal_handler(signal.SIGUSR2, self._handover.begin)

    def _stop(self) -> None:
        if self._was_told:
            for child in self._assembly.children.values():
                child.send(Hurry())
        self._was_told = True
        self._stopping.set()

    def _succeeded(self) -> None:
        self._has_successor = True
        self._notifier.close()  # from now on the service manager listens to the successor only
        self._stopping.set()

    def _stop_message(self) -> Stop:
        how = farewell(self._listening, has_successor=self._has_successor)
        return Stop(how.delay, how.grace)

    async def _drain(self) -> None:
        log.info("stopping: %d workers finish what is at work", len(self._assembly.children))
        if not self._has_successor:
            tell_stopping(self._notifier, self._listening)
        stop = self._stop_message()
        for child in self._assembly.children.values():
            child.send(stop)
        await self._all_ended(stop.delay)
        sockets.remove_files(self._listeners)
        sockets.close_all(self._listeners)  # nobody accepts any more: who comes now is to be refused, not to wait
        await self._all_ended(self._listening.drain_timeout + STOP_MARGIN)

    async def _all_ended(self, seconds: float) -> None:
        """Return when no worker is left, or after so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                if self._assembly.children:
                    await self._ended.wait()
        except TimeoutError:
            return

    async def _end_all(self) -> None:
        """Kill what is left."""
        for child in self._assembly.children.values():
            child.signal(signal.SIGKILL)
        await self._all_ended(STOP_MARGIN)

    def _in_background(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
