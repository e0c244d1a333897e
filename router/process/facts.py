"""What workers tell each other of backends: how attempts ended, many at a time, so that all know what one has seen.

Good endings wait up to GATHER for more of them. A failure goes out at once, with the good endings counted before it: a
breaker that judges by a share would else see failures alone. What says nothing of a backend is not told.
"""

from collections.abc import Callable

from router.backends.breaker import BreakerEvent
from router.backends.effects import EFFECTS, Effect
from router.exchange import AttemptOutcome
from router.process.messages import Fact

GATHER = 0.05  # seconds that good endings wait
PACE = 0.005  # seconds between two messages: with thousands of failures a second they are gathered as well
EARLY = 0.002  # seconds that a timer may ring too early: uvloop's count whole milliseconds


class Facts:
    """The endings that others have not been told of yet."""

    def __init__(
        self,
        send: Callable[[list[Fact]], None],
        *,
        clock: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        """`clock`: monotonic seconds; `call_later`: as that of an event loop."""
        self._send = send
        self._clock = clock
        self._call_later = call_later
        self._pending: dict[tuple[str, AttemptOutcome, float | None], int] = {}
        self._due = float("inf")  # when they go out; inf: nothing waits
        self._sent = -PACE

    def add(self, backend: str, outcome: AttemptOutcome, retry_after: float | None) -> None:
        """Take in how an attempt of this process ended."""
        if not _is_telling(EFFECTS[outcome]):
            return
        key = (backend, outcome, retry_after)
        self._pending[key] = self._pending.get(key, 0) + 1
        now = self._clock()
        if outcome is AttemptOutcome.OK:
            self._send_by(now + GATHER, now)
        else:
            self._send_by(max(now, self._sent + PACE), now)

    def flush(self) -> None:
        """Send what waits."""
        if self._pending:
            self._sent = self._clock()
            told, self._pending = self._pending, {}
            self._send([Fact(*key, count) for key, count in told.items()])
        self._due = float("inf")

    def _send_by(self, due: float, now: float) -> None:
        if due <= now:
            self.flush()
        elif due < self._due:
            self._due = due
            self._call_later(due - now, self._ring)

    def _ring(self) -> None:
        if self._clock() >= self._due - EARLY:  # else it has gone out since, and what waits now has its own time
            self.flush()


def _is_telling(effect: Effect) -> bool:
    return effect.breaker is not BreakerEvent.UNDECIDED or effect.seen is not None or effect.rests
