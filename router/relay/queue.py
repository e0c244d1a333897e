"""The exchanges that wait because all backends of their model are full; who is next is `Line`'s to say.

    take a place -> told that it is its turn -> chooses again -> leaves, served; or waits on where it stands

Nobody is handed a backend: whoever is told that something may be free chooses for himself, and keeps his place until
that has succeeded, so a place that somebody else takes meanwhile costs another look and nothing more. One at a time is
told; that he leaves tells the next. Besides, it is looked every `LOOK_INTERVAL` whether somebody is free: rests end,
backends come up and other processes release theirs without telling anybody here.

A wait holds its place and one timer. It ends with its turn, after `timeout`, or with its task.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from router.errors import TooMuch
from router.relay.line import Line, Place

LOOK_INTERVAL = 0.05  # seconds
FULL, TIMEOUT = "full", "timeout"  # why an exchange was turned away

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class QueueRules:
    """The configured limits; see `overload` in docs/configuration.md."""

    size: int = 1000  # newcomers that wait, per model; 0: nobody waits. Retries are as many as were in flight
    timeout: float = 30.0  # seconds that one waits


class Backends(Protocol):
    """What the queue asks of the backends. Neither call changes anything."""

    def has_free(self, model: str | None) -> bool:
        """Return whether somebody who serves the model can take a request now."""

    def has_usable(self, model: str | None) -> bool:
        """Return whether anybody who serves the model works at all, full or not."""


class _Turn:
    """How a waiter is told."""

    __slots__ = ("called", "is_over")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.called: asyncio.Future[None] = loop.create_future()
        self.is_over = False  # its time is up

    def call(self) -> None:
        if not self.called.done():
            self.called.set_result(None)

    def expire(self) -> None:
        self.is_over = True
        self.call()


class Queue:
    """All who wait, by model."""

    def __init__(
        self,
        rules: QueueRules,
        backends: Backends,
        *,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        rejected: Callable[[str], None],
    ) -> None:
        """`clock`: monotonic seconds. `rejected(reason)` is told of everybody who is turned away."""
        self.rules = rules
        self._backends = backends
        self._loop = loop
        self._clock = clock
        self._rejected = rejected
        self._lines: OrderedDict[str | None, Line] = OrderedDict()  # in the order of their turns
        self._turns: dict[Place, _Turn] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._look_due: asyncio.Handle | None = None

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._turns)

    @property
    def is_open(self) -> bool:
        """Return whether anybody may wait at all."""
        return self.rules.size > 0

    def must_wait(self, model: str | None) -> bool:
        """Return whether others wait for the model: a newcomer stands behind them, whoever is free."""
        return model in self._lines

    async def wait(
        self, model: str | None, key: Hashable, *, choose: Callable[[], Found | None], is_retry: bool = False
    ) -> Found:
        """Wait until `choose` finds somebody (None: nobody is free for this one), and return that.

        `key`: who shares it shares one turn. Raises `TooMuch` where the queue is full or the wait too long, and what
        `choose` raises.
        """
        line = self._lines.get(model)
        if not is_retry and (line.newcomers if line is not None else 0) >= self.rules.size:
            self._rejected(FULL)
            raise TooMuch(
                "All backends for this model are busy, and as many requests wait as may.",
                retry_after=Line().retry_after() if line is None else line.retry_after(),
            )
        line = self._lines.setdefault(model, Line())
        place, turn = line.join(key, is_retry=is_retry), _Turn(self._loop)
        self._turns[place] = turn
        timer = self._loop.call_later(self.rules.timeout, turn.expire)
        self._arm()
        self._look_soon()  # somebody may be free, whom those who stand before cannot use
        served_at = None
        try:
            while True:
                await turn.called
                found = choose()
                if found is not None:
                    served_at = self._clock()
                    return found
                self._wait_on(model, place, turn)
        finally:
            timer.cancel()
            self._leave(model, place, served_at)

    def freed(self) -> None:
        """Somebody may be free now: look at it as soon as whoever is at work has finished."""
        for line in self._lines.values():
            line.look_at_first()
        self._look_soon()

    def _look_soon(self) -> None:
        if self._turns and self._look_due is None:
            self._look_due = self._loop.call_soon(self._look)

    def _wait_on(self, model: str | None, place: Place, turn: _Turn) -> None:
        """It could not use its turn. Raises `TooMuch` where that was its last."""
        line = self._lines[model]
        if turn.is_over:
            self._rejected(TIMEOUT)
            raise TooMuch(
                "All backends for this model were busy for as long as a request may wait.",
                retry_after=line.retry_after(),
            )
        turn.called = self._loop.create_future()
        if self._backends.has_free(model):
            line.pass_over(place)  # what is free is of no use to it, but may be to others
            self._look_soon()
        else:
            line.answered(place)

    def _leave(self, model: str | None, place: Place, served_at: float | None) -> None:
        line = self._lines[model]
        line.leave(place, served_at=served_at)
        del self._turns[place]
        if not len(line):
            del self._lines[model]
        elif served_at is not None:
            self._lines.move_to_end(model)
            line.look_at_first()  # there may be more of what was of use to this one
        self._look_soon()
        if not self._turns and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(LOOK_INTERVAL, self._look_at_all)

    def _look_at_all(self) -> None:
        self._timer = None
        now = self._clock()
        for line in self._lines.values():
            line.look_at_all(now)
        self._look()
        self._arm()

    def _look(self) -> None:
        """Tell whose turn it is in each line for which somebody is free; all, where nobody works any more."""
        self._look_due = None
        for model, line in self._lines.items():
            if self._backends.has_free(model):
                if not line.called:
                    self._call(line)
            elif not self._backends.has_usable(model):
                while self._call(line):
                    pass

    def _call(self, line: Line) -> bool:
        place = line.call()
        if place is None:
            return False
        self._turns[place].call()
        return True
