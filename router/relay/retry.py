"""What to do after a failed attempt. Pure: the caller owns sockets, clocks and dice.

Nothing is tried again once the answer has begun. Before that, what may be tried again, how often and after which
pause is in `AGAIN`; a budget keeps retries from multiplying an outage.
"""

import enum
from dataclasses import dataclass

from router.exchange import AttemptOutcome


class Again(enum.Enum):
    """How an outcome may be tried again, while the answer has not begun."""

    NO = "no"  # the request's own fault, or nobody's
    YES = "yes"
    ONCE = "once"  # two alike end it: the request may be the poison


AGAIN: dict[AttemptOutcome, Again] = {
    AttemptOutcome.OK: Again.NO,
    AttemptOutcome.REFUSED: Again.YES,
    AttemptOutcome.CONNECT_FAILED: Again.YES,
    AttemptOutcome.CONNECTION_LOST: Again.YES,
    AttemptOutcome.BAD_RESPONSE: Again.YES,
    AttemptOutcome.FIRST_BYTE_TIMEOUT: Again.YES,
    AttemptOutcome.OVERLOADED: Again.YES,
    AttemptOutcome.SERVER_ERROR: Again.ONCE,
    AttemptOutcome.GATEWAY_ERROR: Again.YES,
    AttemptOutcome.STOPPING: Again.YES,
    AttemptOutcome.UNAUTHORIZED: Again.YES,  # another backend may take our key
    AttemptOutcome.FORBIDDEN: Again.NO,
    AttemptOutcome.CLIENT_ERROR: Again.NO,
    AttemptOutcome.ERROR_EVENT: Again.ONCE,
    AttemptOutcome.CUT: Again.YES,  # role-only events were held: the client has nothing
    AttemptOutcome.STALLED: Again.YES,
    AttemptOutcome.CLIENT_GONE: Again.NO,
    AttemptOutcome.DEADLINE: Again.NO,
    AttemptOutcome.SHUTDOWN: Again.NO,
    AttemptOutcome.SUPERSEDED: Again.NO,
}


# The backend broke off: many exchanges at once have lost it, and whoever takes them has not had their load.
GONE = frozenset(
    {
        AttemptOutcome.REFUSED,
        AttemptOutcome.CONNECT_FAILED,
        AttemptOutcome.CONNECTION_LOST,
        AttemptOutcome.CUT,
        AttemptOutcome.STOPPING,
    }
)
# Nothing was begun there, so nothing has to settle before another backend is asked.
NOTHING_DONE = frozenset({AttemptOutcome.REFUSED, AttemptOutcome.OVERLOADED, AttemptOutcome.STOPPING})


@dataclass(frozen=True, slots=True)
class RetryRules:
    """The configured limits; see `retry` in docs/configuration.md."""

    max_attempts: int = 3
    budget: float = 0.2  # retries under way, as a share of the live exchanges
    budget_min: int = 3  # retries under way that are always allowed
    base_delay: float = 0.05  # seconds before the second attempt; doubles with each
    max_delay: float = 2.0  # seconds; a longer wait is the client's to make


@dataclass(frozen=True, slots=True)
class Failed:
    """What `decide` must know of an exchange whose last attempt failed."""

    outcome: AttemptOutcome
    attempts: int  # made so far
    alike: int  # how many of them ended with this outcome
    begun: bool  # the client has a part of the answer
    other_free: bool  # another backend can take it now
    is_out: bool = False  # the backend that failed is out of use by now
    retry_after: float | None = None  # seconds, as the backend asked
    deadline_in: float | None = None  # seconds left of the client's deadline; None = none


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after so many seconds."""

    after: float
    costs_budget: bool = True


class GiveUp(enum.Enum):
    """Why there is no further attempt."""

    BEGUN = "begun"
    NOT_RETRYABLE = "not_retryable"
    ALIKE = "alike"
    SPENT = "spent"
    NO_TIME = "no_time"
    NO_BUDGET = "no_budget"


def decide(failed: Failed, rules: RetryRules, *, budget_left: bool, jitter: float) -> Retry | GiveUp:
    """Return the next step; never raises. `jitter` is a random number from 0 to 1.

    A backend's `Retry-After` is waited for only where no other backend is free, and never beyond `max_delay` or the
    client's deadline. The pause is drawn from half to the whole of the exponential step, so that exchanges which
    failed together do not come back together.

    What a dead backend leaves behind moves to another one outside of the budget: else the death of one of two under
    load would fail what the other one could serve. `max_attempts` and the breakers still bound it.
    """
    again = AGAIN[failed.outcome]
    if failed.begun:
        return GiveUp.BEGUN
    if again is Again.NO:
        return GiveUp.NOT_RETRYABLE
    if failed.attempts >= rules.max_attempts:
        return GiveUp.SPENT
    if again is Again.ONCE and failed.alike > 1:
        return GiveUp.ALIKE
    step = min(rules.base_delay * 2.0 ** (failed.attempts - 1), rules.max_delay)
    after = step * (0.5 + jitter / 2)
    if failed.other_free and failed.outcome in NOTHING_DONE:
        after = 0.0  # and the other one has done nothing to be spared for
    elif not failed.other_free and failed.retry_after is not None:
        after = max(after, failed.retry_after)
    if after > rules.max_delay or (failed.deadline_in is not None and after >= failed.deadline_in):
        return GiveUp.NO_TIME
    moves = failed.other_free and (failed.outcome in GONE or failed.is_out)
    return Retry(after, costs_budget=not moves) if moves or budget_left else GiveUp.NO_BUDGET


class RetryBudget:
    """How many retries may be under way at once: a share of the live exchanges, and a few anyway (Envoy's rule)."""

    def __init__(self, rules: RetryRules) -> None:
        """Start with nothing under way."""
        self.retrying = 0
        self.change(rules)

    def change(self, rules: RetryRules) -> None:
        """Go by other rules from now on; what is under way stays counted."""
        self._share = rules.budget
        self._least = rules.budget_min

    def has_room(self, live: int) -> bool:
        """Return whether one more retry may start while `live` exchanges are open."""
        return self.retrying < max(self._least, self._share * live)

    def take(self) -> None:
        """Count an exchange that is now in a retry; give it back with `release` when the exchange ends."""
        self.retrying += 1

    def release(self) -> None:
        """Give back what `take` took."""
        self.retrying -= 1
