"""Rules of one backend."""

import math

import pytest

from router.backends.backend import (
    EASE_TIME,
    MAX_REST,
    TRIAL_INTERVAL,
    Backend,
    BackendSpec,
    Standing,
)
from router.backends.breaker import BreakerEvent, BreakerRules
from router.backends.health import HealthRules, Seen
from router.backends.share import AFTER_FULL


def make(*, max_connections: int | None = None, seen: Seen | None = Seen.PASSED) -> Backend:
    spec = BackendSpec("a", "http://a:1", api_key="sk-secret", max_connections=max_connections)
    backend = Backend(spec, health_rules=HealthRules(), breaker_rules=BreakerRules())
    if seen is not None:
        backend.health.observe(seen)
    return backend


def open_breaker(backend: Backend, now: float) -> None:
    backend.breaker.record(BreakerEvent.LIMIT, now=now, jitter=0.0, may_open=lambda: True)


def test_a_probed_backend_is_ready_and_one_not_probed_is_told_apart() -> None:
    assert make().standing(0) is Standing.READY
    assert make(seen=None).standing(0) is Standing.UNPROBED


def test_a_backend_that_is_down_or_open_is_out() -> None:
    broken = make()
    open_breaker(broken, 0)

    assert make(seen=Seen.REFUSED).standing(0) is Standing.OUT
    assert broken.standing(9) is Standing.OUT
    assert broken.standing(10) is Standing.READY  # for its trial
    assert broken.changes_at(0) == 10


def test_a_backend_with_as_many_requests_as_configured_is_full() -> None:
    backend = make(max_connections=2)
    backend.in_flight = 2

    assert backend.standing(0) is Standing.FULL
    assert backend.trial_at() == math.inf


def test_retry_after_rests_a_backend_for_that_time() -> None:
    backend = make()
    backend.rest(100, retry_after=7)

    assert backend.standing(106.9) is Standing.RESTING
    assert backend.standing(107) is Standing.READY
    assert backend.changes_at(100) == 107
    assert backend.status(101).resting_for == 6


@pytest.mark.parametrize("retry_after", [61, 1e9, math.inf])
def test_retry_after_is_believed_up_to_a_bound(retry_after: float) -> None:
    backend = make()
    backend.rest(0, retry_after=retry_after)

    assert backend.resting_until == MAX_REST


def test_a_shorter_retry_after_does_not_cut_a_longer_one_short() -> None:
    backend = make()
    backend.rest(0, retry_after=30)
    backend.rest(1, retry_after=2)

    assert backend.resting_until == 30


@pytest.mark.parametrize("retry_after", [None, 0, -5, math.nan])
def test_without_a_usable_retry_after_a_backend_is_eased_for_a_moment(retry_after: float | None) -> None:
    backend = make()
    backend.rest(0, retry_after=retry_after)

    assert backend.standing(EASE_TIME / 2) is Standing.EASED
    assert backend.standing(EASE_TIME) is Standing.READY


def test_trials_of_one_backend_keep_their_distance_and_respect_its_rest() -> None:
    backend = make(seen=Seen.REFUSED)
    backend.last_trial = 5

    assert backend.trial_at() == 5 + TRIAL_INTERVAL
    backend.rest(5, retry_after=20)
    assert backend.trial_at() == 25


def test_an_open_breaker_is_not_usable_until_its_trial_is_due() -> None:
    backend = make()
    open_breaker(backend, 0)

    assert not backend.is_working
    assert not backend.is_usable(9)
    assert backend.is_usable(10)


def test_no_key_shows_in_any_repr() -> None:
    backend = make()
    backend.in_flight = 3

    assert repr(backend) == "<Backend a up closed in_flight=3>"
    assert "sk-secret" not in repr(backend.spec) + repr(backend.status(0))


def test_a_drained_backend_is_out_and_never_due_for_a_trial() -> None:
    backend = make()
    backend.drained = True

    assert (backend.standing(0), backend.is_usable(0), backend.is_working) == (Standing.OUT, False, False)
    assert backend.trial_at() == math.inf
    assert repr(backend) == "<Backend a up closed drained in_flight=0>"


def test_what_other_workers_have_in_flight_fills_it_too() -> None:
    backend = make(max_connections=3)
    backend.in_flight, backend.elsewhere = 1, 2

    assert backend.standing(0) is Standing.FULL


def test_after_its_rest_it_has_half_its_share_for_a_while() -> None:
    backend = make()
    backend.rest(0, retry_after=10)
    shares = []
    for now in (10, 10 + AFTER_FULL):
        backend.weigh(now)
        shares.append(backend.share)

    assert shares == [0.5, 1.0]
    assert backend.changes_at(10) == 10 + AFTER_FULL


def test_a_slow_start_is_looked_at_each_second_until_it_is_over() -> None:
    backend = make(max_connections=100)
    backend.start_slowly(100)
    limits, now = [], 100.0
    while now < math.inf:
        backend.weigh(now)
        limits.append(backend.max_in_flight)
        now = backend.changes_at(now)

    assert limits[0] == 10
    assert limits[-1] == 100
    assert len(limits) == 31
    assert limits == sorted(limits)


def test_while_its_breaker_lets_trials_through_failures_do_not_delay_them() -> None:
    backend = make()
    backend.failing = 4
    backend.weigh(0)
    assert backend.share == 1 / 16
    open_breaker(backend, 0)
    backend.weigh(0)

    assert backend.share == 1.0
