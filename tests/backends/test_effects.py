"""Rules of the table from outcome to effect."""

import pytest

from router.backends.breaker import BreakerEvent
from router.backends.effects import EFFECTS
from router.backends.health import Seen
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
    AttemptOutcome.SUPERSEDED,
    AttemptOutcome.INTERNAL,
}


def test_the_table_of_effects_is_total() -> None:
    assert set(EFFECTS) == set(AttemptOutcome)


@pytest.mark.parametrize("outcome", AttemptOutcome)
def test_a_breaker_counts_what_means_broken_and_nothing_else(outcome: AttemptOutcome) -> None:
    counted = EFFECTS[outcome].breaker is BreakerEvent.FAILURE

    assert counted == (outcome not in NEVER_COUNTED | {AttemptOutcome.OK, AttemptOutcome.STOPPING})


@pytest.mark.parametrize("outcome", sorted(NEVER_COUNTED, key=str))
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


def test_only_its_own_word_that_it_stops_opens_a_breaker_without_a_count() -> None:
    at_once = {outcome for outcome, effect in EFFECTS.items() if effect.breaker is BreakerEvent.LIMIT}

    assert at_once == {AttemptOutcome.STOPPING}
