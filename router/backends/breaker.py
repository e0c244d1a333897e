"""Circuit breaker of one backend, as its answers tell. All transitions are in NEXT; nothing else sets a state.

    closed --limit of failures--> open --trial--> half open --success--> closed
                                    ^                 |
                                    +----failure------+   for longer each time

Only failures that mean "broken" come here: see EFFECTS in backend.py. What a breaker may not decide alone is whether
opening would leave nobody to serve: `record` asks its caller.
"""

import enum
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

SLOTS = 10  # parts of the window: it moves on by a tenth of itself, which is exact enough for a rate
JITTER_SHARE = 0.2  # an open time is longer by up to this share, so that breakers that opened together do not end so


class BreakerState(enum.Enum):
    """Whether requests go through."""

    __hash__ = object.__hash__  # each member is one object; Enum computes it from the name, in Python

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"  # one trial is under way


class BreakerEvent(enum.Enum):
    """What a breaker is told."""

    __hash__ = object.__hash__

    SUCCESS = "success"
    FAILURE = "failure"
    LIMIT = "limit"  # a failure that reached the limit, or one that needs no limit
    TRIAL = "trial"  # a request was let through to try
    UNDECIDED = "undecided"  # an attempt ended that says nothing of the backend


NEXT: dict[tuple[BreakerState, BreakerEvent], BreakerState] = {
    (BreakerState.CLOSED, BreakerEvent.SUCCESS): BreakerState.CLOSED,
    (BreakerState.CLOSED, BreakerEvent.FAILURE): BreakerState.CLOSED,
    (BreakerState.CLOSED, BreakerEvent.LIMIT): BreakerState.OPEN,
    (BreakerState.CLOSED, BreakerEvent.TRIAL): BreakerState.CLOSED,
    (BreakerState.OPEN, BreakerEvent.SUCCESS): BreakerState.OPEN,  # of an attempt from before it opened
    (BreakerState.OPEN, BreakerEvent.FAILURE): BreakerState.OPEN,
    (BreakerState.OPEN, BreakerEvent.LIMIT): BreakerState.OPEN,
    (BreakerState.OPEN, BreakerEvent.TRIAL): BreakerState.HALF_OPEN,
    (BreakerState.HALF_OPEN, BreakerEvent.SUCCESS): BreakerState.CLOSED,
    (BreakerState.HALF_OPEN, BreakerEvent.FAILURE): BreakerState.OPEN,
    (BreakerState.HALF_OPEN, BreakerEvent.LIMIT): BreakerState.OPEN,
    (BreakerState.HALF_OPEN, BreakerEvent.TRIAL): BreakerState.HALF_OPEN,
    **{(state, BreakerEvent.UNDECIDED): state for state in BreakerState},
}

# Bound once: finding a member of an enum takes as long as eight attributes (Python 3.11).
_CLOSED, _HALF_OPEN, _FAILURE = BreakerState.CLOSED, BreakerState.HALF_OPEN, BreakerEvent.FAILURE
_COUNTED = (BreakerEvent.SUCCESS, BreakerEvent.FAILURE)


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """When a breaker opens and for how long. Durations in seconds."""

    enabled: bool = True
    failures: int = 5  # in a row
    error_rate: float = 0.5  # or this share of at least `min_requests` within `window`
    min_requests: int = 20
    window: float = 30.0
    open_for: float = 10.0  # the first time; doubled each further time
    max_open_for: float = 300.0


class Breaker:
    """The breaker of one backend."""

    __slots__ = ("_slots", "closed_at", "failures", "lease_until", "level", "rules", "state", "until")

    def __init__(self, rules: BreakerRules) -> None:
        """Start closed."""
        self.rules = rules
        self.state = BreakerState.CLOSED
        self.failures = 0  # in a row, while closed
        self.level = 0  # how often it opened of late; sets how long it stays open
        self.until = 0.0  # while open: when a trial is due
        self.lease_until = 0.0  # while half open: when the trial counts as lost and another may go
        self.closed_at = 0.0
        self._slots: deque[list[int]] = deque()  # [slot of time, answers counted, failures]

    def allows(self, now: float) -> bool:
        """Return whether a request may go through, be it as the one trial."""
        if self.state is BreakerState.CLOSED:
            return True
        return now >= self.allows_at()

    def allows_at(self) -> float:
        """Return from when on `allows` is true; -inf while closed."""
        if self.state is BreakerState.CLOSED:
            return -math.inf
        return self.until if self.state is BreakerState.OPEN else self.lease_until

    def record(self, event: BreakerEvent, *, now: float, jitter: float, may_open: Callable[[], bool]) -> bool:
        """Take an event in; return whether the state changed.

        `may_open` is asked only when a count reached its limit; where it says no, the breaker stays closed and goes
        on counting. `jitter` is in [0, 1).
        """
        if not self.rules.enabled:
            return False
        if self.state is _CLOSED and event in _COUNTED:
            is_failure = event is _FAILURE
            self._count(now, failed=is_failure)
            if is_failure and self._is_over_limit(now) and may_open():
                event = BreakerEvent.LIMIT
        return self._move(event, now=now, jitter=jitter)

    def set_rules(self, rules: BreakerRules) -> None:
        """Go by other rules from now on; one that is switched off keeps nobody away."""
        if rules.window != self.rules.window:
            self._slots.clear()  # they are numbered by the window's length
        self.rules = rules
        if not rules.enabled:
            self.state = BreakerState.CLOSED
            self.failures = self.level = 0
            self._slots.clear()

    def hasten(self, now: float) -> None:
        """Make a trial due now: the backend is known to have come back, most likely as a new process."""
        self.until = min(self.until, now)
        self.lease_until = min(self.lease_until, now)

    def _move(self, event: BreakerEvent, *, now: float, jitter: float) -> bool:
        before, self.state = self.state, NEXT[self.state, event]
        if self.state is _HALF_OPEN:
            if event is BreakerEvent.TRIAL:
                self.lease_until = now + self.rules.open_for
            else:
                self.lease_until = now  # the trial told nothing: the next may go
        if self.state is before:
            return False
        if self.state is BreakerState.OPEN:
            self._set_open_time(now, jitter=jitter, was_half_open=before is BreakerState.HALF_OPEN)
        elif self.state is BreakerState.CLOSED:
            self.closed_at = now
        self.failures = 0
        self._slots.clear()
        return True

    def _set_open_time(self, now: float, *, jitter: float, was_half_open: bool) -> None:
        if was_half_open and now < self.until:
            return  # a trial before its time, made only because nobody else was left: no reason to wait longer
        if not was_half_open:  # each quiet `open_for` since it closed forgives one opening
            self.level = max(0, self.level - int((now - self.closed_at) / self.rules.open_for))
        # The exponent is bounded so that no amount of openings makes it a huge number.
        length = min(self.rules.max_open_for, self.rules.open_for * 2.0 ** min(self.level, 32))
        if length < self.rules.max_open_for:
            self.level += 1
        self.until = now + length * (1 + JITTER_SHARE * jitter)

    def _count(self, now: float, *, failed: bool) -> None:
        self.failures = self.failures + 1 if failed else 0
        slot = int(now * SLOTS / self.rules.window)
        slots = self._slots
        if not slots or slots[-1][0] != slot:
            while slots and slots[0][0] <= slot - SLOTS:
                slots.popleft()
            slots.append([slot, 0, 0])
        last = slots[-1]
        last[1] += 1
        last[2] += failed

    def _is_over_limit(self, now: float) -> bool:
        if self.failures >= self.rules.failures:
            return True
        oldest = int(now * SLOTS / self.rules.window) - SLOTS
        answers = sum(slot[1] for slot in self._slots if slot[0] > oldest)
        failed = sum(slot[2] for slot in self._slots if slot[0] > oldest)
        return answers >= self.rules.min_requests and failed >= self.rules.error_rate * answers

    def __repr__(self) -> str:
        """Show state and counts."""
        return f"<Breaker {self.state.value} failures={self.failures} level={self.level}>"
