"""One backend: what is configured of it, what is known of it now, and what an attempt's outcome does to it.

EFFECTS is the one table from outcome to effect. Its rule: a full backend is not broken, a request's own fault is
nobody else's, a broken answer counts although its status was 200, and a refused connection is certain.
"""

import enum
import math
from dataclasses import dataclass, field
from typing import Any

from router.backends.breaker import Breaker, BreakerEvent, BreakerRules, BreakerState
from router.backends.health import Health, HealthRules, HealthState, Seen
from router.exchange import AttemptOutcome

MAX_REST = 60.0  # seconds: a longer Retry-After is not believed, a backend may be free again long before
EASE_TIME = 1.0  # seconds for which a full backend without Retry-After is picked last
TRIAL_INTERVAL = 1.0  # seconds between trials of one backend while no backend is usable
ALARM_INTERVAL = 60.0  # seconds between two alarms of one backend: a wrong key fails every request

ModelObject = dict[str, Any]  # a model as /v1/models lists it


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """What is configured of a backend."""

    name: str
    url: str  # scheme://host:port, or unix:/path; without a path below it
    api_prefix: str = "/v1"
    weight: int = 1  # 1..100
    api_key: str | None = field(default=None, repr=False)
    dialect: str = "auto"
    models: tuple[str, ...] = ()  # where given, it serves these and no others
    max_connections: int | None = None  # requests in flight, None: no limit
    health_path: str = "/health"


class Standing(enum.IntEnum):
    """Whether a backend may be picked; the smaller of the first three is preferred. A number: it indexes."""

    READY = 0
    EASED = 1  # it said that it was full, a moment ago
    UNPROBED = 2
    FULL = 3  # as many requests in flight as configured
    RESTING = 4  # it said for how long it is full
    OUT = 5  # down, or its breaker is open


class Listing(enum.Enum):
    """Whether a backend has told its models."""

    PENDING = "pending"
    LISTED = "listed"  # or configured
    FAILED = "failed"  # it was asked and gave no list


class Reason(enum.Enum):
    """Why no backend can be picked."""

    UNKNOWN_MODEL = "unknown_model"  # no backend has ever listed it
    NOT_LISTED_YET = "not_listed_yet"  # ... but one has not yet said what it serves
    NONE_USABLE = "none_usable"  # all down or broken
    ALL_FULL = "all_full"
    ALL_RESTING = "all_resting"
    ALL_TRIED = "all_tried"  # every usable one was tried for this exchange


@dataclass(frozen=True, slots=True)
class Unavailable:
    """No backend can take the request now."""

    reason: Reason
    retry_after: float  # seconds after which it is worth asking again; 0.0 where waiting does not help


class ChangeKind(enum.Enum):
    """What changed."""

    HEALTH = "health"
    BREAKER = "breaker"
    MODELS = "models"  # before and after: what it serves, as comma lists
    ALARM = "alarm"  # a 401 or 403: most likely our configuration is wrong


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a backend, for log and metrics."""

    backend: str
    kind: ChangeKind
    before: str  # values of the state's enum but for MODELS
    after: str
    cause: str  # value of the Seen, AttemptOutcome, BreakerEvent or Listing that brought it


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """A backend at one moment, for /health and metrics."""

    name: str
    url: str
    health: HealthState
    breaker: BreakerState
    standing: Standing
    usable: bool
    in_flight: int
    max_connections: int | None
    weight: int
    dialect: str
    models: tuple[str, ...]
    listing: Listing
    resting_for: float  # seconds, 0.0 where it does not rest


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
    AttemptOutcome.UNAUTHORIZED: Effect(BreakerEvent.UNDECIDED, alarms=True),
    AttemptOutcome.FORBIDDEN: Effect(BreakerEvent.UNDECIDED, alarms=True),
    AttemptOutcome.CLIENT_ERROR: _SAYS_NOTHING,
    AttemptOutcome.ERROR_EVENT: _BROKEN,
    AttemptOutcome.CUT: _BROKEN,
    AttemptOutcome.STALLED: _BROKEN_OR_HUNG,
    AttemptOutcome.CLIENT_GONE: _SAYS_NOTHING,
    AttemptOutcome.DEADLINE: _SAYS_NOTHING,
    AttemptOutcome.SHUTDOWN: _SAYS_NOTHING,
}


class Backend:
    """What is known of one backend. Compared by identity. The registry alone changes it."""

    __slots__ = (
        "alarm_until",
        "breaker",
        "eased_until",
        "health",
        "in_flight",
        "index",
        "last_trial",
        "listing",
        "max_in_flight",
        "models",
        "placed",
        "resting_until",
        "spec",
        "wake_at",
    )

    def __init__(
        self, spec: BackendSpec, index: int = 0, *, health_rules: HealthRules, breaker_rules: BreakerRules
    ) -> None:
        """`index`: its place in the configuration; unique, it orders equals."""
        self.spec = spec
        self.index = index
        self.health = Health(health_rules)
        self.breaker = Breaker(breaker_rules)
        self.in_flight = 0
        self.max_in_flight: float = math.inf if spec.max_connections is None else spec.max_connections
        self.models: dict[str, ModelObject] = {}
        self.listing = Listing.PENDING
        self.resting_until = -math.inf
        self.eased_until = -math.inf
        self.alarm_until = -math.inf  # the alarm is not raised again before
        self.last_trial = -math.inf
        self.placed: Standing | None = None  # the standing under which the pools hold it
        self.wake_at = math.inf  # when the registry looks at it again

    @property
    def is_down(self) -> bool:
        """Return whether it is known to be gone."""
        return self.health.state is HealthState.DOWN

    @property
    def is_working(self) -> bool:
        """Return whether probes and answers are good, be it full or resting at the moment."""
        return self.health.state is HealthState.UP and self.breaker.state is BreakerState.CLOSED

    def is_usable(self, now: float) -> bool:
        """Return whether requests go to it, be it full or resting at the moment, or due for its breaker's trial.

        The trial counts: whoever waits for us to be ready before sending any request would else wait for ever.
        """
        return self.health.state is HealthState.UP and self.breaker.allows(now)

    def standing(self, now: float) -> Standing:
        """Return whether it may be picked at `now`."""
        health = self.health.state
        if health is HealthState.DOWN or not self.breaker.allows(now):
            return Standing.OUT
        if self.resting_until > now:
            return Standing.RESTING
        if self.in_flight >= self.max_in_flight:
            return Standing.FULL
        if health is HealthState.UNKNOWN:
            return Standing.UNPROBED
        return Standing.EASED if self.eased_until > now else Standing.READY

    def changes_at(self, now: float) -> float:
        """Return the next time after `now` at which its standing may change by time alone; inf for never."""
        times = (self.resting_until, self.eased_until, self.breaker.allows_at())
        return min([time for time in times if time > now], default=math.inf)

    def trial_at(self) -> float:
        """Return from when on it may be tried although it is out."""
        if self.in_flight >= self.max_in_flight:
            return math.inf
        return max(self.last_trial + TRIAL_INTERVAL, self.resting_until)

    def rest(self, now: float, *, retry_after: float | None) -> None:
        """Keep away from it for its Retry-After (seconds), or pick it last for a moment where it gave none."""
        if retry_after is not None and retry_after > 0:
            self.resting_until = max(self.resting_until, now + min(retry_after, MAX_REST))
        else:
            self.eased_until = now + EASE_TIME

    def status(self, now: float) -> BackendStatus:
        """Return what it is like at `now`."""
        return BackendStatus(
            name=self.spec.name,
            url=self.spec.url,
            health=self.health.state,
            breaker=self.breaker.state,
            standing=self.standing(now),
            usable=self.is_usable(now),
            in_flight=self.in_flight,
            max_connections=self.spec.max_connections,
            weight=self.spec.weight,
            dialect=self.spec.dialect,
            models=tuple(self.models),
            listing=self.listing,
            resting_for=max(0.0, self.resting_until - now),
        )

    def __repr__(self) -> str:
        """Show what decides whether it is picked."""
        states = f"{self.health.state.value} {self.breaker.state.value}"
        return f"<Backend {self.spec.name} {states} in_flight={self.in_flight}>"
