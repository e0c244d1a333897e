"""What a worker asks of its parent, where the parent does not answer."""

from collections.abc import Callable

from router.observe.exposition import Families, Sheet
from router.orders import Order, OrderKind, Problem
from router.process.asking import WorkerControl
from router.process.calls import Lost
from router.process.messages import Message
from router.recent import Told
from tests.front import run


class Alone:
    """A worker whose parent has gone."""

    async def ask(self, question: Callable[[int], Message], seconds: float) -> object:
        raise Lost("the other process has ended")

    def dump(self) -> Families:
        sheet = Sheet()
        sheet.counter("router_requests", "x", [("", 5)])
        return sheet.families

    def recently(self) -> Told:
        return Told(in_flight=3)


def test_an_order_is_answered_all_the_same() -> None:
    async def test() -> None:
        report = await WorkerControl(Alone()).carry_out(Order(OrderKind.RELOAD))

        assert not report.ok
        assert report.problem is Problem.FAILED
        assert "the other process has ended" in report.message

    run(test)


def test_a_scrape_then_shows_the_own_counts() -> None:
    async def test() -> None:
        kind, page = await WorkerControl(Alone()).metrics("")

        assert kind.startswith("text/plain")
        assert b"router_requests_total 5\n" in page

    run(test)


def test_a_status_page_then_shows_what_happened_here() -> None:
    async def test() -> None:
        told = await WorkerControl(Alone()).recent()

        assert (told.in_flight, told.workers) == (3, 1)

    run(test)
