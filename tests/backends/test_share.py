"""Rules of a backend's share."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.backends.share import LEAST_SHARE, RAMP_FLOOR, STRIDE, ramp, ramp_step, share, stride


def test_a_slow_start_goes_in_a_straight_line_from_a_tenth_to_the_whole() -> None:
    assert [ramp(elapsed, 30) for elapsed in (0, 10, 20, 30, 1e9)] == pytest.approx([0.1, 0.4, 0.7, 1.0, 1.0])


@pytest.mark.parametrize("others", range(1, 10))
def test_in_the_first_half_of_its_slow_start_a_backend_gets_at_most_half_of_its_fair_share(others: int) -> None:
    moments = [second / 10 for second in range(150)]
    shares = [ramp(moment, 30) / (ramp(moment, 30) + others) for moment in moments]

    assert sum(shares) / len(shares) <= 0.5 / (1 + others)


def test_without_a_slow_start_a_backend_has_its_whole_share_at_once() -> None:
    assert ramp(0, 0) == 1.0


@given(st.floats(-1, 100), st.floats(0.01, 100))
def test_a_slow_start_never_leaves_its_bounds(elapsed: float, slow_start: float) -> None:
    assert RAMP_FLOOR <= ramp(elapsed, slow_start) <= 1.0


def test_a_slow_start_has_a_step_a_second_and_ten_steps_at_least() -> None:
    assert [ramp_step(length) for length in (60, 10, 2)] == [1.0, 1.0, 0.2]


def test_each_failure_in_a_row_halves_the_share_down_to_a_bound() -> None:
    shares = [share(1.0, failures=failures, is_busy=False, was_full=False) for failures in (0, 1, 2, 3, 4, 5, 10**6)]

    assert shares == [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 16, 1 / 16]


def test_who_is_busy_and_who_was_full_has_half() -> None:
    assert share(1.0, failures=0, is_busy=True, was_full=False) == 0.5
    assert share(1.0, failures=0, is_busy=False, was_full=True) == 0.5


@pytest.mark.parametrize(
    ("ramped", "failures", "is_busy", "was_full"),
    [*itertools.product((0.1, 1.0), (0, 99), (False, True), (False, True))],
)
def test_no_sum_of_rules_makes_a_share_so_small_that_nobody_hears_of_a_backend(
    ramped: float, failures: int, is_busy: bool, was_full: bool
) -> None:
    assert LEAST_SHARE <= share(ramped, failures=failures, is_busy=is_busy, was_full=was_full) <= 1.0


def test_turns_are_as_far_apart_as_weight_and_share_are_small() -> None:
    assert (stride(1, 1.0), stride(4, 1.0), stride(4, 0.25)) == (STRIDE, STRIDE // 4, STRIDE)
