"""Rules of the timer: the nearest deadline counts, moving one costs no timer."""

import asyncio

from router.wire.timer import INFINITE, Timer
from tests.wire.upstream import on_uvloop

SHORT = 0.05


class Watched:
    """A timer, what it said, and when."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.due: list[tuple[bool, float]] = []
        self.timer = Timer(self.loop, lambda is_total: self.due.append((is_total, self.loop.time())))


@on_uvloop
async def test_the_nearer_of_both_deadlines_is_told() -> None:
    for phase, total in ((SHORT, 9), (9, SHORT), (SHORT, INFINITE), (INFINITE, SHORT)):
        watched = Watched()
        started = watched.loop.time()
        watched.timer.deadline, watched.timer.total = started + phase, started + total
        watched.timer.watch()
        await asyncio.sleep(3 * SHORT)
        assert [which for which, _ in watched.due] == [total == SHORT]
        assert watched.due[0][1] - started >= SHORT - 0.002


@on_uvloop
async def test_a_deadline_that_moves_on_is_told_only_when_it_is_reached() -> None:
    watched = Watched()
    for _ in range(6):
        watched.timer.deadline = watched.loop.time() + SHORT
        watched.timer.watch()
        await asyncio.sleep(SHORT / 2)
        assert not watched.due
    await asyncio.sleep(2 * SHORT)
    assert len(watched.due) == 1


@on_uvloop
async def test_a_deadline_that_comes_nearer_is_told_in_time() -> None:
    watched = Watched()
    watched.timer.deadline = watched.loop.time() + 9
    watched.timer.watch()
    watched.timer.deadline = watched.loop.time() + SHORT
    watched.timer.watch()
    await asyncio.sleep(3 * SHORT)
    assert len(watched.due) == 1


@on_uvloop
async def test_nothing_is_told_after_clear_and_stop() -> None:
    for end in (Timer.clear, Timer.stop):
        watched = Watched()
        watched.timer.deadline = watched.timer.total = watched.loop.time() + SHORT
        watched.timer.watch()
        end(watched.timer)
        await asyncio.sleep(2 * SHORT)
        assert not watched.due


@on_uvloop
async def test_a_cleared_timer_can_be_used_again() -> None:
    watched = Watched()
    watched.timer.deadline = watched.loop.time() + SHORT
    watched.timer.watch()
    watched.timer.clear()
    watched.timer.deadline = watched.loop.time() + 2 * SHORT
    watched.timer.watch()
    await asyncio.sleep(4 * SHORT)
    assert len(watched.due) == 1
