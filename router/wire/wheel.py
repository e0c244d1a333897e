"""Timers for waits of many seconds, of which a busy router has thousands and hardly one ever fires.

A timer of the loop takes some 600 bytes and a microsecond or two to set and to cancel. Here a wait is an entry in the
set of those that end within the same `TICK`, and one timer of the loop serves all of them. A wait ends up to a `TICK`
late, never early. One shorter than `COARSE` is a timer of the loop as before.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

TICK = 1.0  # seconds
COARSE = 10.0  # seconds: a wait from this on may end a tick late
EARLY = 0.005  # ticks that the loop's timers, which count milliseconds, may fire too early


class Wait(Protocol):
    """A timer that is set."""

    def cancel(self) -> None: ...


class _Entry:
    """A wait in the set of its tick."""

    __slots__ = ("_fellows", "callback")

    def __init__(self, callback: Callable[[], None], fellows: "set[_Entry]") -> None:
        self.callback = callback
        self._fellows = fellows

    def cancel(self) -> None:
        """Never call back. No effect on one that has."""
        self._fellows.discard(self)
        self.callback = _ignore  # breaks the circle of references with who keeps this


class Wheel:
    """The waits of one loop."""

    __slots__ = ("_armed", "_loop", "_ticks", "_timer", "time")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing is set."""
        self.time = loop.time  # seconds, as the loop counts them
        self._loop = loop
        self._ticks: dict[int, set[_Entry]] = {}  # by when they end, in ticks of the loop's time
        self._timer: asyncio.TimerHandle | None = None
        self._armed = 0  # the tick that the timer is set for

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Wait:
        """Call back in so many seconds, or up to a `TICK` later where that is `COARSE` or more."""
        if seconds < COARSE:
            return self._loop.call_later(seconds, callback)
        tick = int((self.time() + seconds) / TICK) + 1
        fellows = self._ticks.get(tick)
        if fellows is None:
            fellows = self._ticks[tick] = set()
            if self._timer is None or tick < self._armed:
                self._arm(tick)
        entry = _Entry(callback, fellows)
        fellows.add(entry)
        return entry

    def call_at(self, moment: float, callback: Callable[[], None]) -> Wait:
        """Do as `call_later`; `moment` is of the loop's time."""
        left = moment - self.time()
        return self.call_later(left, callback) if left >= COARSE else self._loop.call_at(moment, callback)

    def _arm(self, tick: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._armed = self._loop.call_at(tick * TICK, self._turn), tick

    def _turn(self) -> None:
        """Call back whoever is due."""
        self._timer = None
        now = int(self.time() / TICK + EARLY)
        for tick in [tick for tick in self._ticks if tick <= now]:
            fellows = self._ticks.pop(tick)
            while fellows:  # one may cancel others, also of its own tick
                entry = fellows.pop()
                try:
                    entry.callback()
                except Exception as error:  # is told like that of any timer, and costs no other one its turn
                    self._loop.call_exception_handler({"message": "a timer's callback failed", "exception": error})
        if self._ticks:
            self._arm(min(self._ticks))


def _ignore() -> None:
    """What a wait that was cancelled does."""
