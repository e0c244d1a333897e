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


@pytest.mark.parametrize("state", HealthState)
@pytest.mark.parametrize("seen", [Seen.BUSY, Seen.MOVED])
def test_neither_being_busy_nor_moving_changes_a_state(state: HealthState, seen: Seen) -> None:
    assert NEXT[state, seen, True] is NEXT[state, seen, False] is state


def test_a_busy_probe_is_no_failure_and_breaks_a_row_of_them() -> None:
    failed, busy = Seen.FAILED, Seen.BUSY

    assert seen_by(Seen.PASSED, failed, failed, busy, failed, failed).state is HealthState.UP
    assert seen_by(Seen.PASSED, Seen.SUSPECTED, busy, failed).state is HealthState.UP
    assert seen_by(Seen.REFUSED, Seen.PASSED, busy, Seen.PASSED).state is HealthState.DOWN


@pytest.mark.parametrize("seen", [Seen.PASSED, Seen.REFUSED, Seen.HUNG])
def test_busy_is_who_was_seen_so_last(seen: Seen) -> None:
    assert seen_by(Seen.PASSED, Seen.BUSY).is_busy
    assert seen_by(Seen.PASSED, Seen.BUSY, Seen.FAILED).is_busy
    assert not seen_by(Seen.PASSED, Seen.BUSY, seen).is_busy


def test_who_hangs_is_down_at_once_and_passes_count_only_after_it_moved() -> None:
    passes = [Seen.PASSED] * 9

    assert seen_by(Seen.PASSED, Seen.HUNG).state is HealthState.DOWN
    assert seen_by(Seen.PASSED, Seen.HUNG, *passes).state is HealthState.DOWN
    assert seen_by(Seen.PASSED, Seen.HUNG, *passes, Seen.MOVED, Seen.PASSED).state is HealthState.DOWN
    assert seen_by(Seen.PASSED, Seen.HUNG, Seen.MOVED, Seen.PASSED, Seen.PASSED).state is HealthState.UP
    assert seen_by(Seen.PASSED, Seen.HUNG, Seen.REFUSED, Seen.PASSED, Seen.PASSED).state is HealthState.UP


def test_who_is_held_does_not_rise_and_does_so_with_the_first_pass_after() -> None:
    health = seen_by(Seen.REFUSED)
    for _ in range(5):
        assert not health.observe(Seen.PASSED, held=True)
    assert health.after(Seen.PASSED, held=True) is HealthState.DOWN

    assert health.observe(Seen.PASSED)


def test_where_hangs_are_looked_for_no_more_nothing_keeps_a_hung_backend_down() -> None:
    health = seen_by(Seen.PASSED, Seen.HUNG)
    health.set_rules(HealthRules(hung_after=None))
    for _ in range(2):
        health.observe(Seen.PASSED)

    assert health.state is HealthState.UP


def test_where_probes_are_switched_off_nothing_keeps_a_backend_down() -> None:
    health = seen_by(Seen.PASSED, Seen.HUNG)
    health.set_rules(HealthRules(enabled=False))

    assert (health.state, health.is_hung) == (HealthState.UP, False)
    health.set_rules(HealthRules(fall=1))
    assert health.state is HealthState.UP
    assert health.observe(Seen.FAILED)
