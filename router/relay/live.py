"""The attempts under way, by backend: when each backend last sent something, and who must leave one that is down.

A backend that goes down may have left its streams open: a process that is stopped, or a server that stops without a
word, sends neither an end nor a reset. Attempts there that are silent end at once, so that their exchanges go on
elsewhere; those that had bytes a moment ago are looked at again every `MOVE_AFTER`, for as long as it is down. What
makes progress is left alone: probes may fail where answers still come.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Protocol

MOVE_AFTER = 1.0  # seconds without a byte from a backend that is down, before an attempt leaves it
SLACK = 0.01  # seconds: the loop's timers count milliseconds


class Running(Protocol):
    """An attempt under way."""

    @property
    def last_byte(self) -> float:
        """When a byte of the answer came last (monotonic seconds), -inf before the first one."""

    @property
    def progress(self) -> float:
        """When a byte of an answer that has begun came last (monotonic seconds), -inf before it has."""

    @property
    def is_awaited(self) -> bool:
        """Whether it is a stream whose head has come, and nothing of its answer."""

    def leave(self) -> bool:
        """End it, as if its time were over; return False where it is not to be ended."""


class Live:
    """Knows every attempt under way."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, clock: Callable[[], float], is_down: Callable[[str], bool]
    ) -> None:
        """`is_down(backend)`: whether it is down now, False of one that is gone from the configuration."""
        self._loop = loop
        self._clock = clock
        self._is_down = is_down
        self._attempts: dict[str, set[Running]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        """Return how many attempts are under way."""
        return sum(map(len, self._attempts.values()))

    def add(self, backend: str, attempt: Running) -> None:
        """Count an attempt as begun."""
        attempts = self._attempts.get(backend)
        if attempts is None:
            self._attempts[backend] = {attempt}
        else:
            attempts.add(attempt)

    def discard(self, backend: str, attempt: Running) -> None:
        """Count it as ended. No effect on one that is not under way."""
        attempts = self._attempts.get(backend)
        if attempts is not None:
            attempts.discard(attempt)
            if not attempts:
                del self._attempts[backend]

    def last_byte(self, backend: str) -> float:
        """Return when the last byte of any answer that has begun there came (monotonic seconds); -inf: none has come.

        It shows that the backend is at work: what comes before an answer begins does not.
        """
        return max((attempt.progress for attempt in self._attempts.get(backend, ())), default=-math.inf)

    def awaited(self, backend: str) -> int:
        """Return how many streams have a head and nothing else: vLLM's server has taken them, its engine is awaited."""
        return sum(attempt.is_awaited for attempt in self._attempts.get(backend, ()))

    def move_silent(self, backend: str, silent_for: float) -> int:
        """End each attempt at a backend that has had no byte for so many seconds; return how many those are."""
        since = self._clock() - silent_for
        silent = [attempt for attempt in self._attempts.get(backend, ()) if attempt.last_byte <= since]
        return sum(attempt.leave() for attempt in silent)

    def backend_down(self, backend: str) -> None:
        """A backend went down: end what is silent there now, and what falls silent while it is down."""
        if backend in self._timers:
            self._timers.pop(backend).cancel()
        self.move_silent(backend, MOVE_AFTER)
        if backend in self._attempts:
            self._timers[backend] = self._loop.call_later(MOVE_AFTER + SLACK, self._look_again, backend)

    def close(self) -> None:
        """Look no more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _look_again(self, backend: str) -> None:
        del self._timers[backend]
        if self._is_down(backend):
            self.backend_down(backend)
