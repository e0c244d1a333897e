"""What a worker asks of its parent for an operator: orders, and the counts of all workers."""

from collections.abc import Callable
from typing import Protocol, cast

from router.observe.exposition import Families
from router.observe.page import render
from router.orders import Order, Problem, Report
from router.process.calls import Lost
from router.process.messages import Ask, AskMetrics, AskRecent, Message
from router.recent import Told, joined

ORDER_LIMIT = 45.0  # seconds for an order to be carried out everywhere; reading a configuration may take 30, each 10
SCRAPE_LIMIT = 1.0  # seconds for the counts of all; the parent waits 0.5 for the others


class Asker(Protocol):
    """A worker; router.process.worker.Worker is one."""

    async def ask(self, question: Callable[[int], Message], seconds: float) -> object: ...  # raises Lost
    def dump(self) -> Families: ...
    def recently(self) -> Told: ...


class WorkerControl:
    """The Control of a worker: the parent does it, with all workers."""

    def __init__(self, worker: Asker) -> None:
        """Ask through the worker's bus."""
        self._worker = worker

    async def carry_out(self, order: Order) -> Report:
        """Have an order carried out by all workers."""
        try:
            return cast("Report", await self._worker.ask(lambda number: Ask(number, order), ORDER_LIMIT))
        except Lost as error:
            return Report(False, f"The router's main process did not answer: {error}.", problem=Problem.FAILED)

    async def metrics(self, accept: str) -> tuple[str, bytes]:
        """Return the metrics of all; where the parent does not answer, our own."""
        own = self._worker.dump()
        try:
            families = await self._worker.ask(lambda number: AskMetrics(number, own), SCRAPE_LIMIT)
        except Lost:
            families = own
        return render(cast("Families", families), accept)

    async def recent(self) -> Told:
        """Return what happened lately in all; where the parent does not answer, what we know ourselves."""
        try:
            others = cast("list[Told]", await self._worker.ask(AskRecent, SCRAPE_LIMIT))
        except Lost:
            others = []
        return joined([self._worker.recently(), *others])
