"""One timer for all the deadlines of a connection, request after request.

Setting a deadline costs an assignment. The loop's timer is set anew only when a deadline lies before it; when it fires
too early, because the deadline has moved on, it is set again. So a long stream sets a handful of timers.
"""

import asyncio
from collections.abc import Callable

INFINITE = float("inf")  # a deadline that is off
SLACK = 0.001  # seconds; the loop's timers have this resolution and may fire so much early


class Timer:
    """Calls back when `deadline` (of a phase) or `total` is due; times are the loop's."""

    __slots__ = ("_at", "_loop", "_on_due", "_pending", "deadline", "total")

    def __init__(self, loop: asyncio.AbstractEventLoop, on_due: Callable[[bool], None]) -> None:
        """`on_due` gets whether it is the total that is over."""
        self.deadline = INFINITE
        self.total = INFINITE
        self._loop = loop
        self._on_due = on_due
        self._pending: asyncio.TimerHandle | None = None
        self._at = INFINITE

    def watch(self) -> None:
        """To be called when a deadline may have moved nearer; further away it may move by itself."""
        due = self.deadline if self.deadline < self.total else self.total
        if due < self._at:
            if self._pending is not None:
                self._pending.cancel()
            self._pending = self._loop.call_at(due, self._fire)
            self._at = due

    def clear(self) -> None:
        """Nothing is due any more; a pending timer may fire for nothing."""
        self.deadline = self.total = INFINITE

    def stop(self) -> None:
        """For good."""
        self.clear()
        self._on_due = _ignore  # breaks the circle of references with the connection
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None

    def _fire(self) -> None:
        self._pending = None
        self._at = INFINITE
        now = self._loop.time() + SLACK
        if now >= self.total:
            self._on_due(True)
        elif now >= self.deadline:
            self._on_due(False)
        else:
            self.watch()  # which sets nothing when nothing is due


def _ignore(is_total: bool) -> None:
    """What is called for a connection that is closed."""
