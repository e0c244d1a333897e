"""One backend: what is configured of it, what is known of it now, and the words in which it is spoken of.

What an attempt's outcome does to it stands in effects.py, which part of its weight counts in share.py.
"""

import enum
import math
from dataclasses import dataclass, field
from typing import Any, Protocol

from router.backends import share
from router.backends.breaker import Breaker, BreakerRules, BreakerState
from router.backends.engine import NOTHING_KNOWN, Figures
from router.backends.health import Health, HealthRules, HealthState
from router.backends.hold import HoldDown

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
    zone: str | None = None  # where it stands; for people, decides nothing
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
    OUT = 5  # down, drained, or its breaker is open


class Listing(enum.Enum):
    """Whether a backend has told its models."""

    PENDING = "pending"
    LISTED = "listed"  # or configured
    FAILED = "failed"  # it was asked and gave no list


class Reason(enum.Enum):
    """Why no backend can be picked."""

    UNKNOWN_MODEL = "unknown_model"  # no backend has ever listed it
    NOT_LISTED_YET = "not_listed_yet"  # ... but one has not yet said what it serves
    NONE_USABLE = "none_usable"  # all down, broken or drained
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
    DRAIN = "drain"  # an operator's: before and after are "serving" and "drained"


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a backend, for log and metrics."""

    backend: str
    kind: ChangeKind
    before: str  # values of the state's enum but for MODELS and DRAIN
    after: str
    cause: str  # of a Seen, Trouble, AttemptOutcome, BreakerEvent or Listing, or "asked"


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
    held_for: float = 0.0  # seconds for which it stays down although its probes pass, because it does not stay up
    drained: bool = False  # takes no requests until an operator says so
    busy: bool = False  # its probes are late, its streams go on
    hung: bool = False  # its engine has requests at work and stands still
    share: float = 1.0  # part of its weight that counts now
    running: int | None = None  # as the server itself tells, for all that ask it; None: not known
    waiting: int | None = None
    kv_usage: float | None = None  # 0.0 to 1.0
    zone: str | None = None
    cause: str = ""  # of its being down, or of its breaker's being open; "" where it is neither


class SharedCounts(Protocol):
    """Attempts in flight at each backend over all workers; the names are those of backends."""

    def take(self, name: str, /) -> None:
        """Count an attempt of ours as begun."""

    def give(self, name: str, /) -> None:
        """Count an attempt of ours as ended."""

    def elsewhere(self, name: str, /) -> int:
        """Return how many attempts other workers have in flight."""


class Backend:
    """What is known of one backend. Compared by identity. The registry alone changes it."""

    __slots__ = (
        *("spec", "index", "health", "breaker", "hold", "models", "listing", "figures"),
        *("in_flight", "elsewhere", "max_in_flight", "failing", "been_up", "drained", "removed"),
        *("resting_until", "eased_until", "full_until", "alarm_until", "last_trial", "ramp_from", "ramp_top"),
        *("share", "stride", "placed", "wake_at", "down_by", "open_by"),
    )

    def __init__(
        self, spec: BackendSpec, index: int = 0, *, health_rules: HealthRules, breaker_rules: BreakerRules
    ) -> None:
        """`index`: unique, it orders equals; greater for those added later."""
        self.spec = spec
        self.index = index
        self.health = Health(health_rules)
        self.breaker = Breaker(breaker_rules)
        self.hold = HoldDown()
        self.in_flight = 0  # attempts of ours
        self.elsewhere = 0  # attempts of other workers, as last told
        self.failing = 0  # failures in a row
        self.been_up = False
        self.drained = False
        self.removed = False  # from the configuration: attempts may still run
        self.down_by = ""  # why it is or was down: what took it out, then what each failed probe shows
        self.open_by = ""  # why its breaker is or was open, the last time
        self.figures: Figures = NOTHING_KNOWN
        self.ramp_from = -math.inf  # when its slow start began
        self.ramp_top = 1.0  # how far the others of its pool were, where all of it was starting slowly
        self.full_until = -math.inf  # it was full, and has less weight until then
        self.models: dict[str, ModelObject] = {}
        self.listing = Listing.PENDING
        self.resting_until = -math.inf
        self.eased_until = -math.inf
        self.alarm_until = -math.inf  # the alarm is not raised again before
        self.last_trial = -math.inf
        self.placed: Standing | None = None  # the standing under which the pools hold it
        self.wake_at = math.inf  # when the registry looks at it again
        self.max_in_flight: float = math.inf
        self.share, self.stride = 1.0, 1
        self.weigh(-math.inf)

    @property
    def is_down(self) -> bool:
        """Return whether it is known to be gone."""
        return self.health.state is HealthState.DOWN

    @property
    def cause(self) -> str:
        """Return why it is down, or why its breaker is open; "" where it is neither."""
        if self.is_down:
            return self.down_by
        return "" if self.breaker.state is BreakerState.CLOSED else self.open_by

    @property
    def is_working(self) -> bool:
        """Return whether probes and answers are good and nobody has drained it, be it full or resting now."""
        good = self.health.state is HealthState.UP and self.breaker.state is BreakerState.CLOSED
        return good and not self.drained

    @property
    def is_full(self) -> bool:
        """Return whether as many requests are in flight as it may have now."""
        return self.in_flight + self.elsewhere >= self.max_in_flight

    @property
    def is_limited(self) -> bool:
        """Return whether it may have fewer requests than are configured, because it starts slowly."""
        return self.max_in_flight < (self.spec.max_connections or math.inf)

    def is_usable(self, now: float) -> bool:
        """Return whether requests go to it, be it full or resting at the moment, or due for its breaker's trial.

        The trial counts: whoever waits for us to be ready before sending any request would else wait for ever.
        """
        return self.health.state is HealthState.UP and not self.drained and self.breaker.allows(now)

    def standing(self, now: float) -> Standing:
        """Return whether it may be picked at `now`."""
        health = self.health.state
        if health is HealthState.DOWN or self.drained or not self.breaker.allows(now):
            return Standing.OUT
        if self.resting_until > now:
            return Standing.RESTING
        if self.is_full:
            return Standing.FULL
        if health is HealthState.UNKNOWN:
            return Standing.UNPROBED
        return Standing.EASED if self.eased_until > now else Standing.READY

    def changes_at(self, now: float) -> float:
        """Return the next time after `now` at which its standing or share may change by time alone; inf for never."""
        slow_start = self.health.rules.slow_start
        ramped_at = self.ramp_from + slow_start
        step_at = min(ramped_at, now + share.ramp_step(slow_start)) if now < ramped_at else -math.inf
        times = (self.resting_until, self.eased_until, self.full_until, self.breaker.allows_at(), step_at)
        return min([time for time in times if time > now], default=math.inf)

    def trial_at(self) -> float:
        """Return from when on it may be tried although it is out."""
        if self.drained or self.is_full:
            return math.inf
        return max(self.last_trial + TRIAL_INTERVAL, self.resting_until)

    def rest(self, now: float, *, retry_after: float | None) -> None:
        """Keep away from it for its Retry-After (seconds), or pick it last for a moment where it gave none.

        For a while after that it has less weight: it is not to be filled up at once again.
        """
        if retry_after is not None and retry_after > 0:
            self.resting_until = max(self.resting_until, now + min(retry_after, MAX_REST))
        else:
            self.eased_until = now + EASE_TIME
        self.full_until = max(self.resting_until, self.eased_until) + share.AFTER_FULL

    def start_slowly(self, now: float) -> None:
        """Begin its slow start: it has come back, and knows nothing of its old strength."""
        self.ramp_from, self.ramp_top = now, 1.0

    def ramp(self, now: float) -> float:
        """Return how far its slow start has come, 1.0 where it has none."""
        return share.ramp(now - self.ramp_from, self.health.rules.slow_start) if self.ramp_from > -math.inf else 1.0

    def weigh(self, now: float) -> None:
        """Set its share, and with it the distance of its turns and its limit of requests, to what is so at `now`."""
        ramped = self.ramp(now)
        was_full = now < self.full_until
        # While its breaker is not closed that lets one trial through at a time, which shall not be late.
        failures = self.failing if self.breaker.state is BreakerState.CLOSED else 0
        self.share = share.share(ramped, failures=failures, is_busy=self.health.is_busy, was_full=was_full)
        self.stride = share.stride(self.spec.weight, self.share)
        limit = self.spec.max_connections
        if limit is None:
            self.max_in_flight = math.inf
        else:
            self.max_in_flight = max(1, math.ceil(limit * min(1.0, ramped / self.ramp_top)))

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
            held_for=max(0.0, self.hold.until - now) if self.is_down else 0.0,
            drained=self.drained,
            busy=self.health.is_busy,
            hung=self.health.is_hung,
            share=self.share,
            running=self.figures.running,
            waiting=self.figures.waiting,
            kv_usage=self.figures.kv_usage,
            zone=self.spec.zone,
            cause=self.cause,
        )

    def __repr__(self) -> str:
        """Show what decides whether it is picked."""
        states = f"{self.health.state.value} {self.breaker.state.value}"
        drained = " drained" if self.drained else ""
        return f"<Backend {self.spec.name} {states}{drained} in_flight={self.in_flight}>"
