"""Health of one backend, as its probes see it. All transitions are in NEXT; nothing else sets a state.

    unknown --first pass--> up --`fall` failures, or one refusal--> down --`rise` passes--> up

Three things are told apart: a probe that passed, one that failed (wrong status, no answer in time, broken
connection), and one that was refused (nobody listens there). A refusal is certain, so it acts at once; so does a
request whose timer fired while probes fail, and a probe that fails after such a request.
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


# (state, seen, enough) -> state. "Enough": see `Health.after`.
NEXT: dict[tuple[HealthState, Seen, bool], HealthState] = {
    # At start one pass is enough.
    **{(HealthState.UNKNOWN, Seen.PASSED, enough): HealthState.UP for enough in (False, True)},
    (HealthState.UNKNOWN, Seen.FAILED, False): HealthState.UNKNOWN,
    (HealthState.UNKNOWN, Seen.FAILED, True): HealthState.DOWN,
    (HealthState.UNKNOWN, Seen.SUSPECTED, False): HealthState.UNKNOWN,
    (HealthState.UNKNOWN, Seen.SUSPECTED, True): HealthState.DOWN,
    **{(HealthState.UP, Seen.PASSED, enough): HealthState.UP for enough in (False, True)},
    (HealthState.UP, Seen.FAILED, False): HealthState.UP,
    (HealthState.UP, Seen.FAILED, True): HealthState.DOWN,
    (HealthState.UP, Seen.SUSPECTED, False): HealthState.UP,
    (HealthState.UP, Seen.SUSPECTED, True): HealthState.DOWN,
    (HealthState.DOWN, Seen.PASSED, False): HealthState.DOWN,  # one good probe is not yet trust
    (HealthState.DOWN, Seen.PASSED, True): HealthState.UP,
    **{(HealthState.DOWN, Seen.FAILED, enough): HealthState.DOWN for enough in (False, True)},
    **{(HealthState.DOWN, Seen.SUSPECTED, enough): HealthState.DOWN for enough in (False, True)},
    **{(state, Seen.REFUSED, enough): HealthState.DOWN for state in HealthState for enough in (False, True)},
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


class Health:
    """The health of one backend."""

    __slots__ = ("fails", "passes", "rules", "state", "suspected")

    def __init__(self, rules: HealthRules) -> None:
        """Start unknown, or up where nothing is going to probe."""
        self.rules = rules
        self.state = HealthState.UNKNOWN if rules.enabled else HealthState.UP
        self.passes = 0  # in a row
        self.fails = 0  # in a row
        self.suspected = False  # a request's timer fired since the last passed probe

    def after(self, seen: Seen) -> HealthState:
        """Return the state that `seen` would lead to; changes nothing."""
        match seen:
            case Seen.PASSED:
                enough = self.passes + 1 >= self.rules.rise
            case Seen.FAILED:
                enough = self.fails + 1 >= self.rules.fall or self.suspected
            case Seen.SUSPECTED:
                enough = self.fails > 0
            case Seen.REFUSED:
                enough = True
        return NEXT[self.state, seen, enough]

    def observe(self, seen: Seen) -> bool:
        """Take an observation in; return whether the state changed."""
        before, self.state = self.state, self.after(seen)
        if seen is Seen.SUSPECTED:
            self.suspected = True
        elif seen is Seen.PASSED:
            self.passes, self.fails, self.suspected = self.passes + 1, 0, False
        else:
            self.passes, self.fails = 0, self.fails + 1
        return self.state is not before

    def __repr__(self) -> str:
        """Show state and runs."""
        return f"<Health {self.state.value} passes={self.passes} fails={self.fails}>"
