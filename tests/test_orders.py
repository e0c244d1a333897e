"""Rules of router/orders.py: the reports of several processes are one."""

import pytest

from router.orders import Problem, Report, together


def test_what_is_at_work_is_the_most_that_one_has_seen_in_all_of_them() -> None:
    reports = [Report(True, "done", changes=("a",), name="gpu", in_flight=number) for number in (2, 0, 5)]

    assert together(reports) == Report(True, "done", changes=("a",), name="gpu", in_flight=5)


def test_one_failure_is_the_whole_ones() -> None:
    failed = Report(False, "no", problem=Problem.FAILED)

    assert together([Report(True, "done"), failed]) is failed


def test_nobody_asked_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no report"):
        together([])
