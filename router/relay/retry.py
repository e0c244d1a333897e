"""What to do after a failed attempt. Pure: the caller owns sockets, clocks and dice.

Nothing is tried again once the answer has begun. Before that, what may be tried again, how often and after which
pause is in `AGAIN`; a budget keeps retries from multiplying an outage.
"""

import enum
import math
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
    AttemptOutcome.INTERNAL: Again.NO,  # the same bytes would meet the same fault
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
# Nothing was sent: no attempt is multiplied by who comes again.
NOTHING_SENT = frozenset({AttemptOutcome.REFUSED, AttemptOutcome.CONNECT_FAILED})
# Another one is tried at once: where many fail alike, breakers then open after a few exchanges, not after a few pauses.
AT_ONCE = GONE | {AttemptOutcome.OVERLOADED}


REFILL = 10.0  # seconds in which the few retries grow again that there may be in any case
MOST_OWED = 10.0  # retries; more that moved without asking are forgotten, else others would wait for long
MOST_COUNTED = 500  # exchanges whose share can be saved up: an outage after a calm hour is met with no flood of retries


@dataclass(frozen=True, slots=True)
class RetryRules:
    """The configured limits; see `retry` in docs/configuration.md."""

    max_attempts: int = 3
    budget: float = 0.2  # retries, as a share of the exchanges
    budget_min: int = 3  # retries that are allowed in any ten seconds, however few exchanges there are
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
    load would fail what the other one could serve. `max_attempts` and the breakers still bound it. So does what a
    backend has refused for our key: it has done nothing for it, and would else fail its share of all requests.
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
    if (failed.other_free and failed.outcome in AT_ONCE) or failed.outcome is AttemptOutcome.REFUSED:
        after = 0.0  # the other one has done nothing to be spared for; and who refuses will not be asked again
    elif not failed.other_free and failed.retry_after is not None:
        after = max(after, failed.retry_after)
    if after > rules.max_delay or (failed.deadline_in is not None and after >= failed.deadline_in):
        return GiveUp.NO_TIME
    feeds_nothing = failed.outcome in GONE or failed.outcome is AttemptOutcome.UNAUTHORIZED
    moves = failed.other_free and (feeds_nothing or failed.is_out)
    return Retry(after, costs_budget=not moves) if moves or budget_left else GiveUp.NO_BUDGET


class RetryBudget:
    """How many retries there may be: a share of the exchanges, and a few in any case.

    Each exchange saves up its share of a retry, each retry spends one. The few are an advance on it, which exchanges
    pay back before they save more: over time there are no more retries than their share. A count of retries under way
    would not do: where everything fails at once each is over in milliseconds, so that a few at a time are a multiple
    of the exchanges.
    """

    def __init__(self, rules: RetryRules) -> None:
        """Start with the few."""
        self._saved = self._advance = float(rules.budget_min)
        self._grown_at = -math.inf
        self.change(rules)

    def change(self, rules: RetryRules) -> None:
        """Go by other rules from now on; what was saved stays, as far as they allow it."""
        self._share = rules.budget
        self._least = float(rules.budget_min)
        self._most = max(self._least, self._share * MOST_COUNTED)
        self._saved = min(self._saved, self._most)

    def earn(self) -> None:
        """Count an exchange."""
        paid_back = min(self._share, self._advance)
        self._advance -= paid_back
        self._saved = min(self._saved + self._share - paid_back, self._most)

    def has_room(self, now: float) -> bool:
        """Return whether one more retry may be made; `now`: monotonic seconds."""
        if 0 < self._least > self._saved:
            grown = min((now - self._grown_at) * self._least / REFILL, self._least - self._saved)
            self._saved += grown
            self._advance = min(self._advance + grown, self._least)
        self._grown_at = now
        return self._saved >= 1

    def take(self) -> None:
        """Spend one retry. What moves away from a dead backend does not ask, and may leave a few owing."""
        self._saved = max(-MOST_OWED, self._saved - 1)
