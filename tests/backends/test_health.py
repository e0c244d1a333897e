"""Rules of a backend's health."""

import itertools

import pytest

from router.backends.health import NEXT, Health, HealthRules, HealthState, Seen


def seen_by(*observations: Seen, rules: HealthRules | None = None) -> Health:
    health = Health(rules or HealthRules())
    for seen in observations:
        health.observe(seen)
    return health


def test_the_table_is_total() -> None:
    assert set(NEXT) == set(itertools.product(HealthState, Seen, (False, True)))


@pytest.mark.parametrize("state", HealthState)
def test_a_refusal_takes_out_at_once_from_every_state(state: HealthState) -> None:
    assert {NEXT[state, Seen.REFUSED, enough] for enough in (False, True)} == {HealthState.DOWN}


def test_nobody_becomes_unknown_again() -> None:
    into_unknown = {state for (state, _, _), after in NEXT.items() if after is HealthState.UNKNOWN}

    assert into_unknown == {HealthState.UNKNOWN}


def test_only_a_passed_probe_brings_up() -> None:
    assert {seen for (state, seen, _), after in NEXT.items() if after is HealthState.UP is not state} == {Seen.PASSED}


def test_at_start_the_first_passed_probe_is_enough() -> None:
    assert seen_by(Seen.PASSED).state is HealthState.UP
    assert seen_by(Seen.FAILED, Seen.PASSED).state is HealthState.UP


@pytest.mark.parametrize("start", [(), (Seen.PASSED,)])
def test_as_many_failed_probes_in_a_row_as_fall_says_take_out(start: tuple[Seen, ...]) -> None:
    rules = HealthRules(fall=3)

    assert seen_by(*start, Seen.FAILED, Seen.FAILED, rules=rules).state is not HealthState.DOWN
    assert seen_by(*start, Seen.FAILED, Seen.FAILED, Seen.FAILED, rules=rules).state is HealthState.DOWN


def test_a_passed_probe_ends_a_run_of_failed_ones() -> None:
    failed_twice = (Seen.FAILED, Seen.FAILED)

    assert seen_by(Seen.PASSED, *failed_twice, Seen.PASSED, *failed_twice).state is HealthState.UP


def test_one_good_probe_is_not_yet_trust() -> None:
    down = (Seen.PASSED, Seen.REFUSED)

    assert seen_by(*down, Seen.PASSED).state is HealthState.DOWN
    assert seen_by(*down, Seen.PASSED, Seen.FAILED, Seen.PASSED).state is HealthState.DOWN
    assert seen_by(*down, Seen.PASSED, Seen.PASSED).state is HealthState.UP


def test_a_timer_that_fires_while_probes_fail_takes_out_at_once_in_either_order() -> None:
    assert seen_by(Seen.PASSED, Seen.FAILED, Seen.SUSPECTED).state is HealthState.DOWN
    assert seen_by(Seen.PASSED, Seen.SUSPECTED, Seen.FAILED).state is HealthState.DOWN


def test_timers_alone_take_nobody_out() -> None:
    assert seen_by(Seen.PASSED, *[Seen.SUSPECTED] * 9).state is HealthState.UP


def test_a_passed_probe_clears_the_suspicion_of_a_timer() -> None:
    assert seen_by(Seen.PASSED, Seen.SUSPECTED, Seen.PASSED, Seen.FAILED).state is HealthState.UP


def test_without_probes_a_backend_counts_as_up() -> None:
    assert Health(HealthRules(enabled=False)).state is HealthState.UP


def test_looking_ahead_changes_nothing() -> None:
    health = seen_by(Seen.REFUSED, Seen.PASSED)

    assert health.after(Seen.PASSED) is HealthState.UP
    assert health.after(Seen.PASSED) is HealthState.UP
    assert health.state is HealthState.DOWN


def test_observing_tells_whether_the_state_changed() -> None:
    health = Health(HealthRules())

    assert [health.observe(seen) for seen in (Seen.PASSED, Seen.PASSED, Seen.REFUSED)] == [True, False, True]
    assert repr(health) == "<Health down passes=0 fails=1>"
