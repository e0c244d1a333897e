"""Rules of coming back: slow starts, failing fast, busy, hung and flapping backends."""

from collections import Counter

import pytest

from router.backends.backend import Backend, BackendSpec, Change, ChangeKind
from router.backends.breaker import BreakerRules, BreakerState
from router.backends.health import HealthRules, HealthState, Seen
from router.backends.registry import Registry
from router.exchange import AttemptOutcome

SLOW_START = 30.0
PACE = 0.5  # seconds between the probes of a backend that rises


def make(count: int = 2, **fields: object) -> Registry:
    specs = [BackendSpec(f"b{index}", f"http://b{index}:1", **fields) for index in range(count)]  # type: ignore[arg-type]
    registry = Registry(specs, health_rules=HealthRules(slow_start=SLOW_START))
    for backend in registry.backends:
        registry.listed(backend, [{"id": "m"}], now=0)
        registry.probed(backend, Seen.PASSED, now=0)
    return registry


def names(registry: Registry, count: int, *, now: float) -> Counter[str]:
    backends = (registry.pick("m", now=now) for _ in range(count))
    return Counter(backend.spec.name for backend in backends if isinstance(backend, Backend))


def comes_back(registry: Registry, backend: Backend, now: float) -> float:
    """Let probes pass until it is up; return when that was."""
    while backend.is_down:
        now += PACE
        registry.probed(backend, Seen.PASSED, now=now)
    return now


def shares(registry: Registry, *, since: float, seconds: float, per_second: int = 100) -> Counter[str]:
    """Return who is picked by so many requests a second."""
    total: Counter[str] = Counter()
    for second in range(int(seconds)):
        total += names(registry, per_second, now=since + second)
    return total


# Slow start


def test_a_backend_that_came_back_gets_at_most_half_of_its_fair_share_in_the_first_half_and_all_of_it_at_the_end() -> (
    None
):
    registry = make(3)
    back = registry.backends[0]
    registry.probed(back, Seen.REFUSED, now=1)
    up = comes_back(registry, back, 1)
    first_half = shares(registry, since=up, seconds=SLOW_START / 2)
    second_half = shares(registry, since=up + SLOW_START / 2, seconds=SLOW_START / 2)
    afterwards = shares(registry, since=up + SLOW_START, seconds=3)

    assert 0.05 * 1500 < first_half["b0"] <= 0.5 * 1500 / 3
    assert first_half["b0"] < second_half["b0"] < 1500 / 3
    assert afterwards == {"b0": 100, "b1": 100, "b2": 100}
    assert back.status(up + SLOW_START).share == 1.0


def test_a_backend_whose_breaker_closed_starts_slowly_too() -> None:
    registry = make(2)
    back = registry.backends[0]
    registry.report(back, AttemptOutcome.STOPPING, now=0)
    later = back.breaker.until
    names(registry, 2, now=later)
    registry.report(back, AttemptOutcome.OK, now=later)

    assert back.breaker.state is BreakerState.CLOSED
    assert shares(registry, since=later, seconds=5)["b0"] < 0.25 * 500


def test_neither_at_the_start_nor_added_later_does_a_backend_start_slowly() -> None:
    registry = make(2)
    registry.update([*(each.spec for each in registry.backends), BackendSpec("new", "http://new:1", models=("m",))])
    new = registry.backends[2]
    registry.probed(new, Seen.REFUSED, now=1)  # it is added first and started then
    up = comes_back(registry, new, 1)

    assert names(registry, 30, now=up) == {"b0": 10, "b1": 10, "new": 10}


def test_where_all_start_slowly_they_share_as_ever() -> None:
    registry = make(2)
    for backend in registry.backends:
        registry.probed(backend, Seen.REFUSED, now=1)
    up = max(comes_back(registry, backend, 1) for backend in registry.backends)

    assert names(registry, 100, now=up) == {"b0": 50, "b1": 50}


def test_the_limit_of_requests_grows_too_and_is_one_at_least() -> None:
    registry = make(2, max_connections=20)
    back = registry.backends[0]
    registry.probed(back, Seen.REFUSED, now=1)
    up = comes_back(registry, back, 1)
    limits = []
    for second in (0, 10, 20, 30):
        registry.pick("m", now=up + second)
        limits.append(back.max_in_flight)

    assert limits == [2, 8, 14, 20]
    small = make(2, max_connections=1)
    small.probed(small.backends[0], Seen.REFUSED, now=1)
    comes_back(small, small.backends[0], 1)
    assert small.backends[0].max_in_flight == 1


def test_a_slow_start_can_be_switched_off() -> None:
    registry = make(2, max_connections=20)
    registry.set_rules(health_rules=HealthRules(slow_start=0.0), breaker_rules=BreakerRules())
    back = registry.backends[0]
    registry.probed(back, Seen.REFUSED, now=1)
    up = comes_back(registry, back, 1)

    assert names(registry, 10, now=up) == {"b0": 5, "b1": 5}
    assert back.max_in_flight == 20


# Failing fast


def test_a_backend_that_answers_failures_at_once_attracts_no_requests() -> None:
    """It is free again at once each time: whoever is least busy would get most of them."""
    registry = make(3)
    bad = registry.backends[0]
    picks: Counter[str] = Counter()
    while bad.breaker.state is BreakerState.CLOSED and picks.total() < 1000:
        backend = registry.pick("m", now=1)
        assert isinstance(backend, Backend)
        picks[backend.spec.name] += 1
        registry.report(backend, AttemptOutcome.SERVER_ERROR if backend is bad else AttemptOutcome.OK, now=1)

    assert picks["b0"] == BreakerRules().failures
    assert picks.total() > 6 * picks["b0"]  # an even share would have been a third


def test_one_success_gives_the_whole_weight_back() -> None:
    registry = make(2)
    bad = registry.backends[0]
    for _ in range(4):
        registry.report(bad, AttemptOutcome.CUT, now=1)
    assert bad.share == 1 / 16
    registry.report(bad, AttemptOutcome.OK, now=1)

    assert bad.share == 1.0
    assert names(registry, 10, now=1) == {"b0": 5, "b1": 5}


# Busy


def test_a_busy_backend_stays_up_with_half_its_weight_until_a_probe_passes() -> None:
    registry = make(2)
    busy = registry.backends[0]
    for second in range(600):
        assert registry.probed(busy, Seen.BUSY, now=second) == []

    assert busy.health.state is HealthState.UP
    assert (busy.status(600).busy, busy.status(600).usable) == (True, True)
    assert names(registry, 30, now=600) == {"b0": 10, "b1": 20}
    registry.probed(busy, Seen.PASSED, now=601)
    assert not busy.status(601).busy
    assert names(registry, 30, now=601) == {"b0": 15, "b1": 15}


# Hung


def test_a_hung_backend_is_out_at_once_and_no_probe_brings_it_back_while_it_stands() -> None:
    registry = make(2)
    hung = registry.backends[0]
    assert registry.looked(hung, None, now=1, seen=Seen.HUNG) == [Change("b0", ChangeKind.HEALTH, "up", "down", "hung")]
    for second in range(100):
        assert registry.probed(hung, Seen.PASSED, now=second) == []
    assert names(registry, 5, now=100) == {"b1": 5}
    registry.looked(hung, None, now=101, seen=Seen.MOVED)
    assert hung.is_down

    assert comes_back(registry, hung, 101) == 101 + 2 * PACE


def test_a_hung_backend_that_was_started_anew_comes_back_as_any() -> None:
    registry = make(2)
    hung = registry.backends[0]
    registry.probed(hung, Seen.HUNG, now=1)
    registry.probed(hung, Seen.REFUSED, now=2)

    assert comes_back(registry, hung, 2) == 2 + 2 * PACE


# Flapping


def flap(registry: Registry, backend: Backend, now: float) -> float:
    """Let it go down; return for how long it stayed so, with probes passing all the time."""
    registry.probed(backend, Seen.REFUSED, now=now)
    return comes_back(registry, backend, now) - now


def test_a_flapping_backend_stays_down_for_longer_each_time_though_its_probes_pass() -> None:
    registry = make(2)
    back, now, downs = registry.backends[0], 100.0, []
    for _ in range(10):
        downs.append(flap(registry, back, now))
        now += downs[-1] + 1

    assert downs == [1, 1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_what_held_it_is_shown_and_forgotten_after_a_minute_of_staying_up() -> None:
    registry = make(2)
    back = registry.backends[0]
    for now in (100, 102, 104, 108):
        flap(registry, back, now)
    registry.probed(back, Seen.REFUSED, now=115)
    assert back.status(116).held_for == 7
    up = comes_back(registry, back, 116)
    assert back.status(up).held_for == 0

    assert flap(registry, back, up + 61) == 1


@pytest.mark.parametrize("other", [Seen.REFUSED, Seen.HUNG])
def test_nobody_is_held_while_no_other_is_usable(other: Seen) -> None:
    registry = make(2)
    back, only = registry.backends
    for now in (100, 102, 104, 108, 116, 133):
        flap(registry, back, now)
    registry.probed(back, Seen.REFUSED, now=170)
    registry.probed(back, Seen.PASSED, now=171)
    registry.probed(back, Seen.PASSED, now=172)
    assert back.is_down
    assert not registry.would_rise(back, now=173)
    registry.probed(only, other, now=173)
    assert registry.would_rise(back, now=173)
    registry.probed(back, Seen.PASSED, now=173)

    assert not back.is_down


def test_nobody_is_held_who_alone_serves_a_model() -> None:
    registry = make(2)
    back = registry.backends[0]
    registry.listed(back, [{"id": "m"}, {"id": "own"}], now=0)

    assert [flap(registry, back, now) for now in (100, 102, 104, 106, 108)] == [1] * 5


# Why


def test_why_a_backend_is_out_is_told_for_as_long_as_it_is() -> None:
    registry = make()
    backend = registry.backends[0]
    assert backend.status(0).cause == ""
    registry.probed(backend, Seen.REFUSED, now=1)
    assert backend.status(1).cause == "refused"
    up = comes_back(registry, backend, 2)
    assert backend.status(up).cause == ""
    for _ in range(BreakerRules().failures):
        registry.report(backend, AttemptOutcome.CUT, now=up, jitter=0.0)
    assert (backend.breaker.state, backend.status(up).cause) == (BreakerState.OPEN, "cut")
    registry.probed(backend, Seen.REFUSED, now=up)
    assert backend.status(up).cause == "refused", "what is worse"


def test_of_a_backend_that_is_down_the_probe_that_failed_last_tells_why() -> None:
    """A server that starts again is no longer absent: it loads, or cannot answer a completion."""
    registry = make()
    backend = registry.backends[0]
    changes = registry.probed(backend, Seen.REFUSED, now=1)
    for seen, cause, shown in (
        (Seen.FAILED, "bad_status", "bad_status"),
        (Seen.PASSED, None, "bad_status"),
        (Seen.FAILED, "no_completion", "no_completion"),
        (Seen.REFUSED, None, "refused"),
    ):
        changes += registry.probed(backend, seen, now=2, cause=cause)
        assert backend.status(2).cause == shown

    assert [each.cause for each in changes] == ["refused"], "what took it out is counted, once"


def test_why_a_hung_backend_fails_its_probes_is_that_it_hangs() -> None:
    registry = make()
    backend = registry.backends[0]
    registry.looked(backend, None, now=1, seen=Seen.HUNG)
    registry.probed(backend, Seen.FAILED, now=2, cause="timeout")
    assert backend.status(2).cause == "hung"
    registry.probed(backend, Seen.REFUSED, now=3)
    assert backend.status(3).cause == "refused", "somebody has ended it"
    registry.looked(backend, None, now=4, seen=Seen.HUNG)
    assert backend.status(4).cause == "hung"
    registry.looked(backend, None, now=5, seen=Seen.MOVED)
    registry.probed(backend, Seen.FAILED, now=6, cause="no_completion")
    assert backend.status(6).cause == "no_completion"


def test_what_says_nothing_of_a_backend_that_is_down_changes_no_cause() -> None:
    registry = make()
    backend = registry.backends[0]
    registry.probed(backend, Seen.REFUSED, now=1)
    registry.report(backend, AttemptOutcome.FIRST_BYTE_TIMEOUT, now=2, jitter=0.0)
    assert backend.status(2).cause == "refused"
