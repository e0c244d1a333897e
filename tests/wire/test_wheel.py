"""Rules of router/wire/wheel.py: a long wait ends in its second, never early; a short one ends at once."""

import asyncio
import gc
import weakref
from collections.abc import Callable

import pytest

from router.wire.wheel import COARSE, TICK, Wait, Wheel
from tests.wire.served import on_uvloop, until


class Handle:
    """What `HandTurned` returns for a timer."""

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when, self.callback, self.is_cancelled = when, callback, False

    def cancel(self) -> None:
        self.is_cancelled = True


class HandTurned:
    """A loop whose time is turned by hand, and which fires timers some milliseconds early, as loops do."""

    def __init__(self) -> None:
        self.now = 1000.3
        self.set: list[Handle] = []
        self.faults: list[object] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Handle:
        self.set.append(Handle(when, callback))
        return self.set[-1]

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Handle:
        return self.call_at(self.now + seconds, callback)

    def call_exception_handler(self, context: dict[str, object]) -> None:
        self.faults.append(context["exception"])

    @property
    def armed(self) -> list[Handle]:
        return [handle for handle in self.set if not handle.is_cancelled]

    def turn_to(self, now: float) -> None:
        while due := [handle for handle in self.armed if handle.when - 0.002 <= now]:
            first = min(due, key=lambda handle: handle.when)
            self.set.remove(first)
            self.now = max(self.now, first.when - 0.002)
            first.callback()
        self.now = max(self.now, now)


def wheel() -> tuple[HandTurned, Wheel]:
    loop = HandTurned()
    return loop, Wheel(loop)  # type: ignore[arg-type]  # the part of a loop that it needs


@pytest.mark.parametrize("seconds", [COARSE, 10.65, 10.7, 10.701, 60, 3600.5])
def test_a_long_wait_ends_within_a_tick_and_never_before_it_is_over(seconds: float) -> None:
    loop, timers = wheel()
    rung: list[float] = []
    timers.call_later(seconds, lambda: rung.append(loop.now))
    begun = loop.now
    for step in range(int((seconds + 3) * 20)):
        loop.turn_to(begun + step / 20)
    assert len(rung) == 1
    assert begun + seconds - 0.01 <= rung[0] <= begun + seconds + TICK


def test_a_short_wait_is_a_timer_of_the_loop() -> None:
    loop, timers = wheel()
    timers.call_later(COARSE - 0.1, list)
    timers.call_at(loop.now + 0.25, list)
    assert [handle.when for handle in loop.armed] == [loop.now + COARSE - 0.1, loop.now + 0.25]


def test_thousands_of_waits_take_one_timer() -> None:
    loop, timers = wheel()
    rung: list[int] = []
    waits = [timers.call_later(20 + number % 40, lambda at=number: rung.append(at)) for number in range(5000)]
    timers.call_at(loop.now + 15, lambda: rung.append(-1))
    assert len(loop.armed) == 1
    for wait in waits[::2]:
        wait.cancel()
    loop.turn_to(loop.now + 70)
    assert rung[0] == -1
    assert sorted(rung[1:]) == list(range(1, 5000, 2))
    assert loop.armed == []


def test_a_wait_that_is_cancelled_by_one_of_its_own_tick_does_not_ring() -> None:
    loop, timers = wheel()
    rung: list[str] = []
    waits = {}
    waits["a"] = timers.call_later(12, lambda: (rung.append("a"), waits["b"].cancel()))
    waits["b"] = timers.call_later(12, lambda: (rung.append("b"), waits["a"].cancel()))
    loop.turn_to(loop.now + 20)
    assert len(rung) == 1
    waits["a"].cancel()  # over: nothing happens


def test_a_callback_that_fails_is_told_and_costs_no_other_one_its_turn() -> None:
    loop, timers = wheel()
    rung: list[int] = []
    for number in range(3):
        timers.call_later(12, lambda at=number: rung.append(1 // (at - 1)))
    timers.call_later(30, lambda: rung.append(7))
    loop.turn_to(loop.now + 40)
    assert sorted(rung) == [-1, 1, 7]
    assert [type(fault) for fault in loop.faults] == [ZeroDivisionError]


def test_a_callback_may_set_a_wait() -> None:
    loop, timers = wheel()
    rung: list[float] = []

    def again() -> None:
        rung.append(loop.now)
        if len(rung) < 3:
            timers.call_later(11, again)

    timers.call_later(11, again)
    loop.turn_to(loop.now + 60)
    assert len(rung) == 3
    assert 11 <= rung[1] - rung[0] <= 11 + TICK + 0.01


def test_a_wait_that_is_cancelled_leaves_no_circle_with_its_owner() -> None:
    class Owner:
        wait: Wait

        def ring(self) -> None:
            raise AssertionError

    loop, timers = wheel()
    owner = Owner()
    seen = weakref.ref(owner)
    owner.wait = timers.call_later(12, owner.ring)
    owner.wait.cancel()
    gc.disable()
    try:
        del owner
        assert seen() is None
    finally:
        gc.enable()
    loop.turn_to(loop.now + 20)


@on_uvloop
async def test_it_turns_on_a_real_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.wire.wheel.COARSE", 0.05)
    monkeypatch.setattr("router.wire.wheel.TICK", 0.02)
    loop = asyncio.get_running_loop()
    timers, rung = Wheel(loop), []
    begun = loop.time()
    for number in range(20):
        timers.call_later(0.05 + number / 100, lambda at=number: rung.append((at, loop.time() - begun)))
    await until(lambda: len(rung) == 20)
    assert {number for number, _ in rung} == set(range(20))
    assert all(after >= 0.05 + number / 100 - 0.003 for number, after in rung)
