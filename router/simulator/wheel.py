"""One timer for many streams: callbacks wait in slots of a millisecond, and only the next slot has a timer of the loop.

A sleep or a `call_later` for each token of each stream would cost more than the token itself.
"""

import asyncio
import heapq
from collections.abc import Callable

RESOLUTION = 0.001  # seconds; libuv's timers are no finer


class TimerWheel:
    """Calls back at about the time asked for: never a whole slot early, and in the order of the slots."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._slots: dict[int, list[Callable[[], None]]] = {}
        self._ticks: list[int] = []  # a heap of the slots in use
        self._timer: asyncio.TimerHandle | None = None
        self._armed = 0  # the slot that the timer is for
        self.time = loop.time

    def __len__(self) -> int:
        """Return how many callbacks wait."""
        return sum(map(len, self._slots.values()))

    def at(self, when: float, callback: Callable[[], None]) -> None:
        """Call back at `when` (the loop's time, seconds). There is no way to take it back: check when called."""
        tick = int(when / RESOLUTION + 0.999)
        slot = self._slots.get(tick)
        if slot is not None:
            slot.append(callback)
            return
        self._slots[tick] = [callback]
        heapq.heappush(self._ticks, tick)
        if self._timer is None or tick < self._armed:
            self._arm(tick)

    def stop(self) -> None:
        """Forget all callbacks."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._slots.clear()
        self._ticks.clear()

    def _arm(self, tick: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = tick
        self._timer = self._loop.call_at(tick * RESOLUTION, self._turn)

    def _turn(self) -> None:
        self._timer = None
        now = int(self._loop.time() / RESOLUTION + 0.5)  # libuv rounds to its milliseconds, so it may be a bit early
        while self._ticks and self._ticks[0] <= now:
            for callback in self._slots.pop(heapq.heappop(self._ticks)):
                callback()
        if self._ticks and (self._timer is None or self._armed != self._ticks[0]):
            self._arm(self._ticks[0])
