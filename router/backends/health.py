"""Health of one backend, as its probes see it. All transitions are in NEXT; nothing else sets a state.

    unknown --first pass--> up --`fall` failures, one refusal, or hung--> down --`rise` passes--> up

Told apart are: a probe that passed, one that failed (wrong status, no answer in time, broken connection), one that
was refused (nobody listens there), and one that failed while streams went on (busy). A refusal is certain, so it acts
at once; so does a request whose timer fired while probes fail, and a probe that fails after such a request. A hung
engine is certain too: its server answers probes, but nothing moves, so no pass brings it back until something does.
"""

import enum
from dataclasses import dataclass


class HealthState(enum.Enum):
    """What is believed of a backend."""

    UNKNOWN = "unknown"  # not probed yet, or not often enough to tell
    UP = "up"
    DOWN = "down"


class Seen(enum.Enum):
    """What was observed of a backend."""

    PASSED = "passed"
    FAILED = "failed"
    REFUSED = "refused"  # by a probe or by a request: both are the same fact
    SUSPECTED = "suspected"  # a request's connect, first-byte or idle timer fired at it
    BUSY = "busy"  # a probe failed otherwise than by refusal, while answers of ours made progress
    HUNG = "hung"  # its engine has requests at work and stands still
    MOVED = "moved"  # its engine moves, has nothing to do, or tells nothing of itself


_BOTH = (False, True)

# (state, seen, enough) -> state. "Enough": see `Health.after`.
NEXT: dict[tuple[HealthState, Seen, bool], HealthState] = {
    # At start one pass is enough.
    **{(HealthState.UNKNOWN, Seen.PASSED, enough): HealthState.UP for enough in _BOTH},
    (HealthState.UNKNOWN, Seen.FAILED, False): HealthState.UNKNOWN,
    (HealthState.UNKNOWN, Seen.FAILED, True): HealthState.DOWN,
    (HealthState.UNKNOWN, Seen.SUSPECTED, False): HealthState.UNKNOWN,
    (HealthState.UNKNOWN, Seen.SUSPECTED, True): HealthState.DOWN,
    **{(HealthState.UP, Seen.PASSED, enough): HealthState.UP for enough in _BOTH},
    (HealthState.UP, Seen.FAILED, False): HealthState.UP,
    (HealthState.UP, Seen.FAILED, True): HealthState.DOWN,
    (HealthState.UP, Seen.SUSPECTED, False): HealthState.UP,
    (HealthState.UP, Seen.SUSPECTED, True): HealthState.DOWN,
    (HealthState.DOWN, Seen.PASSED, False): HealthState.DOWN,  # one good probe is not yet trust
    (HealthState.DOWN, Seen.PASSED, True): HealthState.UP,
    **{(HealthState.DOWN, Seen.FAILED, enough): HealthState.DOWN for enough in _BOTH},
    **{(HealthState.DOWN, Seen.SUSPECTED, enough): HealthState.DOWN for enough in _BOTH},
    **{(state, Seen.REFUSED, enough): HealthState.DOWN for state in HealthState for enough in _BOTH},
    **{(state, Seen.BUSY, enough): state for state in HealthState for enough in _BOTH},
    **{(state, Seen.HUNG, enough): HealthState.DOWN for state in HealthState for enough in _BOTH},
    **{(state, Seen.MOVED, enough): state for state in HealthState for enough in _BOTH},
}


@dataclass(frozen=True, slots=True)
class HealthRules:
    """When and how backends are probed. Durations in seconds."""

    enabled: bool = True  # False: no probes, every backend counts as up and its breaker alone takes it out
    interval: float = 2.0
    timeout: float = 5.0  # of one probe
    fall: int = 3  # failed probes in a row that take a backend out
    rise: int = 2  # passed probes in a row that bring it back
    jitter: float = 0.2  # share of the interval by which each pause varies, so that probes never march in step
    models_interval: float = 10.0  # between two listings of a backend's models
    slow_start: float = 30.0  # until a backend that came back has its whole share; 0: at once
    hung_after: float | None = 15.0  # of standing still with requests at work; None: never
    load_interval: float = 5.0  # between two looks at a backend's figures
    warm_up: bool = False  # a backend must have answered one real completion before it is up
    warm_up_timeout: float = 120.0
    max_down_for: float = 60.0  # a flapping backend is held down for no longer at a time


class Health:
    """The health of one backend."""

    __slots__ = ("fails", "is_busy", "is_hung", "must_prove", "passes", "rules", "state", "suspected")

    def __init__(self, rules: HealthRules) -> None:
        """Start unknown, or up where nothing is going to probe."""
        self.rules = rules
        self.state = HealthState.UNKNOWN if rules.enabled else HealthState.UP
        self.passes = 0  # in a row
        self.fails = 0  # in a row
        self.suspected = False  # a request's timer fired since the last passed probe
        self.is_busy = False  # the last probe failed, but its streams went on
        self.is_hung = False  # it was seen hung, and nothing has moved since
        self.must_prove = False  # it was hung: probes that pass do not show that it works again

    def after(self, seen: Seen, *, held: bool = False) -> HealthState:
        """Return the state that `seen` would lead to; changes nothing. `held`: it may not rise now (see hold.py)."""
        match seen:
            case Seen.PASSED:
                enough = self.passes + 1 >= self.rules.rise and not self.is_hung and not held
            case Seen.FAILED:
                enough = self.fails + 1 >= self.rules.fall or self.suspected
            case Seen.SUSPECTED:
                enough = self.fails > 0
            case Seen.REFUSED | Seen.HUNG | Seen.BUSY | Seen.MOVED:
                enough = True
        return NEXT[self.state, seen, enough]

    def observe(self, seen: Seen, *, held: bool = False) -> bool:
        """Take an observation in; return whether the state changed."""
        before, self.state = self.state, self.after(seen, held=held)
        match seen:
            case Seen.SUSPECTED:
                self.suspected = True
            case Seen.MOVED:
                self.is_hung = False
            case Seen.HUNG:
                self.is_hung, self.must_prove, self.passes = True, True, 0
            case Seen.BUSY:  # it is alive, so failures begin to count anew
                self.is_busy, self.passes, self.fails, self.suspected = True, 0, 0, False
            case Seen.PASSED:
                self.passes = 0 if self.is_hung else self.passes + 1
                self.is_busy, self.fails, self.suspected = False, 0, False
            case Seen.FAILED | Seen.REFUSED:
                self.passes, self.fails = 0, self.fails + 1
                if seen is Seen.REFUSED:  # whatever stood still is gone
                    self.is_hung = self.must_prove = False
        if self.state is HealthState.DOWN:
            self.is_busy = False
        elif self.state is HealthState.UP:
            self.must_prove = False
        return self.state is not before

    def set_rules(self, rules: HealthRules) -> None:
        """Go by other rules from now on; where nothing probes any more, nothing keeps a backend down."""
        self.rules = rules
        if rules.hung_after is None:
            self.is_hung = False
        if not rules.enabled:
            self.state, self.is_busy, self.is_hung, self.suspected = HealthState.UP, False, False, False
            self.passes = self.fails = 0

    def __repr__(self) -> str:
        """Show state and runs."""
        return f"<Health {self.state.value} passes={self.passes} fails={self.fails}>"
