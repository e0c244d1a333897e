"""All workers as one: orders to each of them, one report; their counts, one page; and what a new one has to know."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from prometheus_client import ProcessCollector

from router.config import Loaded
from router.config.diff import in_effect
from router.observe.exposition import Families, Sheet
from router.observe.states import Reloads, add_process
from router.orders import Order, OrderKind, Problem, Report, together
from router.process.calls import Lost
from router.process.child import Child
from router.process.counts import Places
from router.process.messages import Answer, Ask, AskMetrics, AskRecent, Carry, Collect, CollectRecent, Stop
from router.process.messages import Places as PlacesMessage
from router.process.remember import remembered
from router.process.tally import Tally
from router.process.telling import GRACE
from router.recent import Told

ORDER_LIMIT = 10.0  # seconds for a worker to carry out an order
COLLECT_LIMIT = 0.5  # seconds for a worker to tell its counts; else those that it told last are good

log = logging.getLogger(__name__)


class Assembly:
    """The workers that live, and what they share."""

    def __init__(self, loaded: Loaded, places: Places) -> None:
        """No worker yet."""
        self.loaded = loaded
        self.orders: tuple[Order, ...] = ()  # carried out since the configuration was read
        self.children: dict[int, Child] = {}  # by slot
        self.restarts = 0
        self.reload: Callable[[], Awaitable[Report]] | None = None  # set before the first order
        self._places = places
        self._tally = Tally()
        self._reloads = Reloads()
        self._process = ProcessCollector(registry=None)
        self._turn = asyncio.Lock()  # one order at a time, so that all workers have them in one order

    # Orders.

    @property
    def drained(self) -> tuple[str, ...]:
        """The backends that operators keep requests from."""
        return tuple(order.name for order in self.orders if order.kind is OrderKind.DRAIN and order.name is not None)

    def places(self, coming: Loaded | None = None) -> dict[str, int]:
        """Return the place of each backend in the table of counts, those of a `coming` configuration included."""
        configured = [*self.loaded.config.backends, *(coming.config.backends if coming is not None else ())]
        names = [backend.name for backend in configured]
        added = [order.fields.get("name") for order in self.orders if order.kind is OrderKind.ADD and order.fields]
        return self._places.assign([*names, *(name for name in added if isinstance(name, str))])

    def reloaded(self, ok: bool) -> None:
        """Count a reload."""
        self._reloads.count(ok=ok)

    async def apply(self, loaded: Loaded) -> Report:
        """Have all workers take up a configuration that has no fault."""
        async with self._turn:
            order = Order(OrderKind.RELOAD)
            self._tell_places(loaded)
            report = await self._everywhere(order, loaded)
            if report.ok:
                # A worker that starts later serves the sockets that there are: it must not take what needs a restart.
                self.loaded = replace(loaded, config=in_effect(self.loaded.config, loaded.config))
                self.orders = remembered(self.orders, order, None)
            return report

    async def answer_order(self, asker: Child, ask: Ask) -> None:
        """Carry out what an operator has ordered through a worker."""
        asker.send(Answer(ask.number, await self._carry_out(ask.order)))

    async def _carry_out(self, order: Order) -> Report:
        if order.kind is OrderKind.RELOAD:
            assert self.reload is not None
            return await self.reload()
        async with self._turn:
            report = await self._everywhere(order, None)
            if report.ok:
                self.orders = remembered(self.orders, order, report.name or order.name)
                self._tell_places()
            return report

    def _tell_places(self, coming: Loaded | None = None) -> None:
        message = PlacesMessage(self.places(coming))
        for child in self.children.values():
            child.send(message)

    async def _everywhere(self, order: Order, loaded: Loaded | None) -> Report:
        """Have each worker carry it out; one that does it otherwise than the rest is replaced."""
        children = list(self.children.values())
        answers = await asyncio.gather(*(self._one(child, order, loaded) for child in children))
        reports = [report for report in answers if report is not None]
        if not reports:
            if loaded is not None:  # it was read without a fault, and may be what lets workers live again
                return Report(True, "The configuration was read; no worker runs now, the next ones begin with it.")
            return Report(False, "No worker is there to carry it out.", problem=Problem.FAILED)
        good = [report for report in reports if report.ok]
        if not good:
            return together(reports)
        for child in self.children.values():
            if child not in children:  # started meanwhile, as things were before
                child.send(Carry(0, order, loaded))
        for child, report in zip(children, answers, strict=True):
            if report is not None and not report.ok:
                log.error("worker %d could not carry out an order: %s; it is replaced", child.slot, report.message)
                child.send(Stop(0.0, GRACE))
        # Each has counted what is at work in all of them.
        return replace(together(good), in_flight=max(report.in_flight for report in good))

    async def _one(self, child: Child, order: Order, loaded: Loaded | None) -> Report | None:
        """Return a worker's report; None for one that has ended: the next one begins with what is now."""
        if not child.is_serving:  # it has been told how things were, and is told this as well
            child.send(Carry(0, order, loaded))
            return None
        try:
            answer = await child.ask(lambda number: Carry(number, order, loaded), ORDER_LIMIT)
        except Lost as error:
            return None if child.is_gone else Report(False, f"A worker failed: {error}.", problem=Problem.FAILED)
        assert isinstance(answer, Report)
        return answer

    # Counts and facts.

    def pass_on(self, teller: Child, payload: bytes) -> None:
        """Give what one worker has seen to the others."""
        for child in self.children.values():
            if child is not teller and child.is_serving:
                child.send_facts(payload)

    async def answer_metrics(self, asker: Child, ask: AskMetrics) -> None:
        """Answer a scrape that came to a worker."""
        asker.dump = ask.dump
        await asyncio.gather(*(self._collect(child) for child in self._others(asker)))
        asker.send(Answer(ask.number, self.counted()))

    async def answer_recent(self, asker: Child, ask: AskRecent) -> None:
        """Answer a worker that shows a status page with what the others have to tell."""
        tellings = await asyncio.gather(
            *(child.ask(CollectRecent, COLLECT_LIMIT) for child in self._others(asker)), return_exceptions=True
        )
        asker.send(Answer(ask.number, [told for told in tellings if isinstance(told, Told)]))

    def _others(self, asker: Child) -> list[Child]:
        return [child for child in self.children.values() if child is not asker and child.is_serving]

    async def _collect(self, child: Child) -> None:
        try:
            dump = await child.ask(Collect, COLLECT_LIMIT)
        except Lost:
            return  # what it told last is good
        assert isinstance(dump, dict)
        child.dump = dump

    def counted(self) -> Families:
        """Return the counts of all workers, and our own."""
        sheet = Sheet()
        sheet.counter("router_worker_restarts", "Workers started again after they had ended.", [("", self.restarts)])
        self._reloads.add_to(sheet)
        add_process(sheet, self._process)
        return self._tally.total([*(child.dump for child in self.children.values()), sheet.families])

    def bury(self, child: Child) -> None:
        """Take a worker out that has ended; what it counted stays."""
        if self.children.get(child.slot) is child:
            del self.children[child.slot]
        self._tally.bury(child.dump)
