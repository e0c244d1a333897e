"""What an attempt's outcome does to its backend: EFFECTS is the one table.

Its rule: a full backend is not broken, a request's own fault is nobody else's, a broken answer counts although its
status was 200, and a refused connection is certain, as is a backend's own word that it is stopping.
"""

from dataclasses import dataclass

from router.backends.breaker import BreakerEvent
from router.backends.health import Seen
from router.exchange import AttemptOutcome


@dataclass(frozen=True, slots=True)
class Effect:
    """What an attempt's outcome does to its backend."""

    breaker: BreakerEvent
    seen: Seen | None = None
    rests: bool = False  # until its Retry-After; without one it is eased
    alarms: bool = False


_BROKEN = Effect(BreakerEvent.FAILURE)
_BROKEN_OR_HUNG = Effect(BreakerEvent.FAILURE, seen=Seen.SUSPECTED)
_SAYS_NOTHING = Effect(BreakerEvent.UNDECIDED)

EFFECTS: dict[AttemptOutcome, Effect] = {
    AttemptOutcome.OK: Effect(BreakerEvent.SUCCESS),
    AttemptOutcome.REFUSED: Effect(BreakerEvent.UNDECIDED, seen=Seen.REFUSED),
    AttemptOutcome.CONNECT_FAILED: _BROKEN_OR_HUNG,
    AttemptOutcome.CONNECTION_LOST: _BROKEN,
    AttemptOutcome.BAD_RESPONSE: _BROKEN,
    AttemptOutcome.FIRST_BYTE_TIMEOUT: _BROKEN_OR_HUNG,
    AttemptOutcome.OVERLOADED: Effect(BreakerEvent.UNDECIDED, rests=True),
    AttemptOutcome.SERVER_ERROR: _BROKEN,
    AttemptOutcome.GATEWAY_ERROR: _BROKEN,
    # It said so itself, and its /health may pass for as long as it takes to stop: no count is needed.
    AttemptOutcome.STOPPING: Effect(BreakerEvent.LIMIT),
    AttemptOutcome.UNAUTHORIZED: Effect(BreakerEvent.UNDECIDED, alarms=True),
    AttemptOutcome.FORBIDDEN: Effect(BreakerEvent.UNDECIDED, alarms=True),
    AttemptOutcome.CLIENT_ERROR: _SAYS_NOTHING,
    AttemptOutcome.ERROR_EVENT: _BROKEN,
    AttemptOutcome.CUT: _BROKEN,
    AttemptOutcome.STALLED: _BROKEN_OR_HUNG,
    AttemptOutcome.CLIENT_GONE: _SAYS_NOTHING,
    AttemptOutcome.DEADLINE: _SAYS_NOTHING,
    AttemptOutcome.SHUTDOWN: _SAYS_NOTHING,
    AttemptOutcome.SUPERSEDED: _SAYS_NOTHING,
    AttemptOutcome.INTERNAL: _SAYS_NOTHING,
}
