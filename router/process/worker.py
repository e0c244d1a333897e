"""One worker: the application and its servers, told by the parent through the bus what to do.

    Start ──> App, orders so far, servers ──> Serving ──> Beat each second ──> Stop ──> drain ──> the last Beat

It ends by itself when its parent has gone: what is at work is finished, and nobody new comes in.
"""

import argparse
import asyncio
import contextlib
import faulthandler
import logging
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace

import uvloop

from router import __version__
from router.app import App
from router.config import Loaded
from router.errors import ConfigError
from router.observe.exposition import Families
from router.orders import Order, Problem, Report
from router.process import counts
from router.process.asking import WorkerControl
from router.process.bus import Bus, Channel
from router.process.calls import Calls, Lost
from router.process.earlier import Earlier
from router.process.facts import Facts
from router.process.messages import (
    Answer,
    Beat,
    CannotStart,
    Carry,
    Collect,
    CollectRecent,
    Fact,
    Hurry,
    Message,
    Places,
    Reopen,
    Start,
    Stop,
    pack,
    pack_facts,
    unpack,
    unpack_facts,
)
from router.process.messages import Serving as IsServing
from router.process.serving import Serving
from router.process.sockets import Listening, take_over
from router.process.telling import Farewell, cannot_open
from router.process.tuning import keep_freed_memory, raise_descriptor_limit, spare_the_collector
from router.recent import Told
from router.reload import acceptance, refusal

BEAT = 1.0  # seconds between two; what a killed worker has counted since the last one is lost
START_LIMIT = 30.0  # seconds for the parent's first message
LEAVE_LIMIT = 2.0  # seconds for the parent to read our last ones

log = logging.getLogger(__name__)


class Worker:
    """One worker process."""

    def __init__(self) -> None:
        """Made in its running loop."""
        loop = asyncio.get_running_loop()
        self._bus = Bus(self._receive, self._orphaned)
        self._calls = Calls()
        self._first: asyncio.Future[Start] = loop.create_future()
        self._served = asyncio.Event()  # the application runs
        self._stopping = asyncio.Event()
        self._farewell = Farewell()
        self._app: App | None = None
        self._serving: Serving | None = None
        self._counts: counts.Counts | None = None
        self._connections: counts.Connections | None = None
        self._facts = Facts(self._send_facts, clock=time.monotonic, call_later=loop.call_later)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, bus: socket.socket) -> int:
        """Do what the parent says until it says to stop; return the exit code."""
        await self._bus.connect(bus)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stopping.set)
        try:
            async with asyncio.timeout(START_LIMIT):
                start = await self._first
            app = self._build(start)
        except TimeoutError:
            return 1
        except OSError as error:
            return await self._refuse(cannot_open(error))
        except ConfigError as error:
            return await self._refuse(f"the configuration cannot be used: {error}")
        except Exception as error:  # the last line: the parent's log shall say why
            log.exception("cannot start")
            return await self._refuse(
                f"cannot start: {error!r}; were the files of the program replaced? SIGUSR2 takes up new code"
            )
        beat = asyncio.create_task(self._beat())
        listeners = take_over(start.sockets)
        serving = self._serving = Serving(app, listeners, start.listening, share=self._connections)
        try:
            self._take_orders(app, start.orders)
            await serving.start(settle=start.settle)
            spare_the_collector()
            self._served.set()
            self.send(IsServing())
            await self._stopping.wait()
            await serving.drain(self._farewell, unlisten=lambda: None)
        finally:
            beat.cancel()
            await serving.stop()
            self._facts.flush()
            self.send(Beat(app.metrics.dump()))
            await self._leave()
        return 0

    def dump(self) -> Families:
        """Return what this worker has counted."""
        return {} if self._app is None else self._app.metrics.dump()

    def recently(self) -> Told:
        """Return what happened lately in this worker."""
        return Told() if self._app is None else self._app.recently()

    def send(self, message: Message) -> None:
        """Tell the parent something."""
        self._bus.send(pack(message))

    async def ask(self, question: Callable[[int], Message], seconds: float) -> object:
        """Ask the parent and return its answer. Raises Lost."""
        number = self._calls.begin()
        self.send(question(number))
        return await self._calls.wait(number, seconds)

    def _build(self, start: Start) -> App:
        app = self._app = App.of(start.loaded, worker=start.slot)
        app.earlier = Earlier(start.earlier).living
        if start.version != __version__:
            log.warning(
                "the program's files are of %s, our parent runs %s: send it SIGUSR2", __version__, start.version
            )
        app.control = WorkerControl(self)
        app.registry.on_report = self._facts.add
        if start.counts is not None:
            table = counts.Table(start.counts)
            self._counts = counts.Counts(table, start.slot)
            self._connections = counts.Connections(table, start.slot)
            os.close(start.counts)  # the mapping has it
            self._counts.place(start.places)
            app.registry.counts = self._counts
        return app

    def _take_orders(self, app: App, orders: tuple[Order, ...]) -> None:
        for order in orders:
            report = app.carry_out(replace(order, is_forced=True))  # it was judged when it was given
            if not report.ok:
                log.warning("an earlier order could not be carried out here: %s", report.message)

    async def _refuse(self, reason: str) -> int:
        self.send(CannotStart(reason))
        await self._leave()
        return 1

    async def _leave(self) -> None:
        """Let the bus write what waits."""
        self._bus.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_LIMIT):
                await self._bus.ended()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            self.send(Beat(self.dump()))

    # What the parent says.

    def _receive(self, channel: Channel, payload: bytes) -> None:
        if channel is Channel.FACTS:
            self._take_facts(payload)
            return
        try:
            message = unpack(payload)
        except Exception as error:  # of other code than ours: pickle raises what it likes
            if not self._first.done():
                self._first.set_exception(error)
            return
        self._heed(message)

    def _heed(self, message: Message) -> None:
        if isinstance(message, Start):
            self._first.set_result(message)
        elif isinstance(message, Answer):
            self._calls.answer(message.number, message.value)
        elif isinstance(message, Collect):
            self.send(Answer(message.number, self.dump()))
        elif isinstance(message, CollectRecent):
            self.send(Answer(message.number, self.recently()))
        elif isinstance(message, Carry):
            self._in_background(self._carry(message))
        elif isinstance(message, Places) and self._counts is not None:
            self._counts.place(message.places)
        elif isinstance(message, Reopen) and self._app is not None:
            self._app.reopen_logs()
        elif isinstance(message, Stop):
            self._farewell = Farewell(message.delay, message.grace)
            self._stopping.set()
        elif isinstance(message, Hurry) and self._serving is not None:
            self._stopping.set()
            self._serving.hurried.set()

    async def _carry(self, carry: Carry) -> None:
        """Carry out an order, once the application runs."""
        await self._served.wait()
        assert self._app is not None
        try:
            if carry.loaded is not None:
                report = self._apply(self._app, carry.loaded)
            else:
                report = self._app.carry_out(carry.order)
        except ConfigError as error:
            report = refusal(error)
        except Exception as error:  # the last line: the parent waits for an answer
            log.exception("an order failed")
            report = Report(False, f"The router failed: {error!r}.", problem=Problem.FAILED)
        self.send(Answer(carry.number, report))

    def _apply(self, app: App, loaded: Loaded) -> Report:
        report = acceptance(app.apply(loaded))
        if self._serving is not None:
            self._serving.listening = Listening.of(app.config)
        return report

    def _in_background(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _orphaned(self) -> None:
        """The parent has gone: nobody would tell us to stop, and nobody would start another one beside us."""
        log.error("our parent has ended: this worker finishes its work and ends")
        self._calls.fail()
        if not self._first.done():
            self._first.set_exception(Lost("our parent has ended"))
        self._stopping.set()

    # Facts.

    def _send_facts(self, facts: list[Fact]) -> None:
        self._bus.send(pack_facts(facts), channel=Channel.FACTS)

    def _take_facts(self, payload: bytes) -> None:
        """Take in what other workers have seen."""
        app = self._app
        if app is None:
            return
        try:
            facts = unpack_facts(payload)
        except Exception:  # of other code than ours, which a worker may run that was started again: nothing is lost
            return
        now = time.monotonic()
        for fact in facts:
            backend = app.registry.find(fact.backend)
            if backend is None:
                continue
            for _ in range(fact.count):
                changes = app.registry.report(
                    backend,
                    fact.outcome,
                    now=now,
                    retry_after=fact.retry_after,
                    jitter=random.random(),  # noqa: S311  # jitter is no secret
                    told_by_other=True,
                )
                for change in changes:
                    app.changed(change)


def main() -> int:
    """Run one worker; return the exit code."""
    parser = argparse.ArgumentParser(prog="devstral-router worker")
    parser.add_argument("--bus", type=int, required=True, help="descriptor of our end of the bus")
    arguments = parser.parse_args()
    faulthandler.enable()  # a hung worker is told to abort, and so shows where it stood
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # they are for the parent
    raise_descriptor_limit()
    keep_freed_memory()
    bus = socket.socket(fileno=arguments.bus)
    bus.setblocking(False)
    bus.set_inheritable(False)

    async def run() -> int:
        return await Worker().run(bus)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())
