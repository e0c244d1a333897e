"""Rules of one backend, and of the table from outcome to effect."""

import math

import pytest

from router.backends.backend import (
    EASE_TIME,
    EFFECTS,
    MAX_REST,
    TRIAL_INTERVAL,
    Backend,
    BackendSpec,
    Standing,
)
from router.backends.breaker import BreakerEvent, BreakerRules
from router.backends.health import HealthRules, Seen
from router.exchange import AttemptOutcome

NEVER_COUNTED = {
    AttemptOutcome.REFUSED,  # takes out through health, and certain
    AttemptOutcome.OVERLOADED,
    AttemptOutcome.UNAUTHORIZED,
    AttemptOutcome.FORBIDDEN,
    AttemptOutcome.CLIENT_ERROR,
    AttemptOutcome.CLIENT_GONE,
    AttemptOutcome.DEADLINE,
    AttemptOutcome.SHUTDOWN,
}


def make(*, max_connections: int | None = None, seen: Seen | None = Seen.PASSED) -> Backend:
    spec = BackendSpec("a", "http://a:1", api_key="sk-secret", max_connections=max_connections)
    backend = Backend(spec, health_rules=HealthRules(), breaker_rules=BreakerRules())
    if seen is not None:
        backend.health.observe(seen)
    return backend


def open_breaker(backend: Backend, now: float) -> None:
    backend.breaker.record(BreakerEvent.LIMIT, now=now, jitter=0.0, may_open=lambda: True)


def test_the_table_of_effects_is_total() -> None:
    assert set(EFFECTS) == set(AttemptOutcome)


@pytest.mark.parametrize("outcome", AttemptOutcome)
def test_a_breaker_counts_what_means_broken_and_nothing_else(outcome: AttemptOutcome) -> None:
    counted = EFFECTS[outcome].breaker is BreakerEvent.FAILURE

    assert counted == (outcome not in NEVER_COUNTED | {AttemptOutcome.OK})


@pytest.mark.parametrize("outcome", NEVER_COUNTED)
def test_what_is_never_counted_closes_no_breaker_either(outcome: AttemptOutcome) -> None:
    assert EFFECTS[outcome].breaker is BreakerEvent.UNDECIDED


def test_only_our_own_timers_make_a_backend_suspect_and_only_a_refusal_is_certain() -> None:
    timers = {AttemptOutcome.CONNECT_FAILED, AttemptOutcome.FIRST_BYTE_TIMEOUT, AttemptOutcome.STALLED}

    assert {outcome for outcome, effect in EFFECTS.items() if effect.seen is Seen.SUSPECTED} == timers
    assert {outcome for outcome, effect in EFFECTS.items() if effect.seen is Seen.REFUSED} == {AttemptOutcome.REFUSED}


def test_only_overload_rests_and_only_refused_credentials_alarm() -> None:
    assert {outcome for outcome, effect in EFFECTS.items() if effect.rests} == {AttemptOutcome.OVERLOADED}
    assert {outcome for outcome, effect in EFFECTS.items() if effect.alarms} == {
        AttemptOutcome.UNAUTHORIZED,
        AttemptOutcome.FORBIDDEN,
    }


def test_no_outcome_makes_health_better() -> None:
    assert {effect.seen for effect in EFFECTS.values()} == {None, Seen.SUSPECTED, Seen.REFUSED}


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
