"""Several deadlines on one timer of the loop.

Setting an alarm costs an assignment and a comparison: the timer is touched only when none is armed or the new alarm is
earlier; a later one is found when the timer fires. So a deadline that moves with every request costs no timer.
"""

import asyncio
import enum
from collections.abc import Callable

from router.wire.wheel import Wait, Wheel

NEVER = float("inf")
TIMER_SLACK = 0.002  # seconds; the loop counts milliseconds, so a timer may fire so much too early


class Alarm(enum.IntEnum):
    """What a server connection waits for."""

    PHASE, STALL, LEFT = range(3)


class Alarms:
    """The alarms of one connection. Times are the loop's."""

    __slots__ = ("_armed", "_due", "_loop", "_ring", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop | Wheel, ring: Callable[[Alarm], None]) -> None:
        """`loop`: whose time it is, and who wakes us.

        `ring` is called with each alarm that is due; the alarm is off by then and may be set again.
        """
        self._loop = loop
        self._ring = ring
        self._due = [NEVER] * len(Alarm)
        self._timer: Wait | None = None
        self._armed = NEVER  # when the timer fires

    def __getitem__(self, alarm: Alarm) -> float:
        """Return when an alarm is due, NEVER when it is off."""
        return self._due[alarm]

    def set(self, alarm: Alarm, at: float) -> None:
        """Set an alarm, replacing what it was; NEVER switches it off."""
        self._due[alarm] = at
        if at < self._armed:
            if self._timer is not None:
                self._timer.cancel()
            self._armed = at
            self._timer = self._loop.call_at(at, self._fire)

    def close(self) -> None:
        """Switch everything off for good and let go of loop and owner."""
        self._due = [NEVER] * len(Alarm)
        self._ring = _ignore
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        self._armed = NEVER
        now = self._loop.time() + TIMER_SLACK
        for alarm in Alarm:
            if self._due[alarm] <= now:
                self._due[alarm] = NEVER
                self._ring(alarm)
        for alarm in Alarm:
            self.set(alarm, self._due[alarm])


def _ignore(alarm: Alarm) -> None:
    """What closed alarms do."""
