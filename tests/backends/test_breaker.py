"""Rules of a backend's circuit breaker."""

import itertools

import pytest

from router.backends.breaker import JITTER_SHARE, NEXT, Breaker, BreakerEvent, BreakerRules, BreakerState

RULES = BreakerRules()


def tell(
    breaker: Breaker, event: BreakerEvent, *, now: float = 0.0, jitter: float = 0.0, may_open: bool = True
) -> bool:
    return breaker.record(event, now=now, jitter=jitter, may_open=lambda: may_open)


def opened(*, now: float = 0.0, rules: BreakerRules = RULES) -> Breaker:
    breaker = Breaker(rules)
    tell(breaker, BreakerEvent.LIMIT, now=now)
    assert breaker.state is BreakerState.OPEN
    return breaker


def test_the_table_is_total() -> None:
    assert set(NEXT) == set(itertools.product(BreakerState, BreakerEvent))


def test_only_a_limit_opens_a_closed_breaker() -> None:
    openers = {event for (state, event), after in NEXT.items() if state is BreakerState.CLOSED is not after}

    assert openers == {BreakerEvent.LIMIT}


def test_an_open_breaker_is_left_by_a_trial_alone() -> None:
    leaving = {event for (state, event), after in NEXT.items() if state is BreakerState.OPEN is not after}

    assert leaving == {BreakerEvent.TRIAL}


def test_five_failures_in_a_row_open_it() -> None:
    breaker = Breaker(RULES)

    assert [tell(breaker, BreakerEvent.FAILURE) for _ in range(5)] == [False] * 4 + [True]
    assert breaker.state is BreakerState.OPEN


def test_a_success_ends_a_row_of_failures_and_what_says_nothing_does_not() -> None:
    breaker = Breaker(RULES)
    for event in [BreakerEvent.FAILURE] * 4 + [BreakerEvent.SUCCESS] + [BreakerEvent.FAILURE] * 4:
        tell(breaker, event)
    tell(breaker, BreakerEvent.UNDECIDED)

    assert breaker.state is BreakerState.CLOSED
    assert tell(breaker, BreakerEvent.FAILURE)


def test_half_of_twenty_answers_failing_within_the_window_opens_it() -> None:
    breaker = Breaker(RULES)
    alternating = [BreakerEvent.SUCCESS, BreakerEvent.FAILURE] * 10
    changes = [tell(breaker, event, now=number) for number, event in enumerate(alternating)]

    assert changes == [False] * 19 + [True]


def test_failures_older_than_the_window_do_not_count() -> None:
    breaker = Breaker(RULES)
    for number in range(100):  # every second one fails, but 20 answers take longer than the window
        tell(breaker, BreakerEvent.FAILURE if number % 2 else BreakerEvent.SUCCESS, now=number * RULES.window / 18)

    assert breaker.state is BreakerState.CLOSED


def test_the_window_holds_a_bounded_number_of_slots() -> None:
    breaker = Breaker(RULES)
    for number in range(1000):
        tell(breaker, BreakerEvent.SUCCESS, now=number * 7.7)

    assert len(breaker._slots) <= 11


def test_it_stays_closed_and_counts_on_where_opening_would_leave_nobody() -> None:
    breaker = Breaker(RULES)
    for _ in range(50):
        assert not tell(breaker, BreakerEvent.FAILURE, may_open=False)

    assert tell(breaker, BreakerEvent.FAILURE, may_open=True)


def test_it_lets_nothing_through_until_its_time_is_over_and_then_one_trial() -> None:
    breaker = opened(now=100)

    assert not breaker.allows(109.9)
    assert breaker.allows(110)
    tell(breaker, BreakerEvent.TRIAL, now=110)
    assert breaker.state is BreakerState.HALF_OPEN
    assert not breaker.allows(111)


def test_a_good_trial_closes_it() -> None:
    breaker = opened()
    tell(breaker, BreakerEvent.TRIAL, now=10)

    assert tell(breaker, BreakerEvent.SUCCESS, now=11)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.allows(11)


def test_once_closed_it_counts_from_nothing() -> None:
    rules = BreakerRules(window=300, failures=15)
    breaker = Breaker(rules)
    for _ in range(10):  # opens by its rate
        tell(breaker, BreakerEvent.FAILURE)
        tell(breaker, BreakerEvent.SUCCESS)
    for _ in range(9):
        tell(breaker, BreakerEvent.FAILURE)
    assert breaker.state is BreakerState.OPEN
    tell(breaker, BreakerEvent.TRIAL, now=10)
    tell(breaker, BreakerEvent.SUCCESS, now=10)

    assert [tell(breaker, BreakerEvent.FAILURE, now=10) for _ in range(15)] == [False] * 14 + [True]


def test_each_bad_trial_doubles_the_time_up_to_the_longest() -> None:
    breaker = opened()
    lengths = [breaker.until]
    for _ in range(8):
        now = breaker.until
        tell(breaker, BreakerEvent.TRIAL, now=now)
        tell(breaker, BreakerEvent.FAILURE, now=now)
        lengths.append(breaker.until - now)

    assert lengths == [10, 20, 40, 80, 160, 300, 300, 300, 300]


def test_a_flapping_backend_stays_out_longer_each_time_and_a_quiet_one_is_forgiven() -> None:
    breaker = opened()
    lengths = []
    now = 10.0
    for quiet in (1, 1, 35, 1000):
        tell(breaker, BreakerEvent.TRIAL, now=now)
        tell(breaker, BreakerEvent.SUCCESS, now=now)
        now += quiet
        tell(breaker, BreakerEvent.LIMIT, now=now)
        lengths.append(breaker.until - now)
        now = breaker.until

    assert lengths == [20, 40, 10, 10]


def test_jitter_lengthens_the_time_by_a_bounded_share() -> None:
    breaker = Breaker(RULES)
    tell(breaker, BreakerEvent.LIMIT, jitter=0.5)

    assert breaker.until == pytest.approx(10 * (1 + JITTER_SHARE / 2))


def test_a_trial_that_told_nothing_makes_room_for_the_next() -> None:
    breaker = opened()
    tell(breaker, BreakerEvent.TRIAL, now=10)
    tell(breaker, BreakerEvent.UNDECIDED, now=12)

    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.allows(12)


def test_a_trial_whose_end_is_never_told_does_not_keep_it_half_open_for_ever() -> None:
    breaker = opened()
    tell(breaker, BreakerEvent.TRIAL, now=10)

    assert breaker.allows(breaker.allows_at())
    assert breaker.allows_at() == 10 + RULES.open_for


def test_a_bad_trial_before_its_time_does_not_lengthen_the_wait() -> None:
    breaker = opened()
    for now in (1, 2, 3):
        tell(breaker, BreakerEvent.TRIAL, now=now)
        tell(breaker, BreakerEvent.FAILURE, now=now)

    assert breaker.state is BreakerState.OPEN
    assert breaker.until == 10


def test_answers_to_attempts_from_before_it_opened_change_nothing() -> None:
    breaker = opened()

    assert not tell(breaker, BreakerEvent.SUCCESS, now=1)
    assert not tell(breaker, BreakerEvent.FAILURE, now=1)
    assert breaker.until == 10


def test_a_backend_that_came_back_gets_its_trial_now() -> None:
    breaker = opened()
    breaker.hasten(3)

    assert breaker.allows(3)
    assert repr(breaker) == "<Breaker open failures=0 level=1>"


def test_a_breaker_that_is_switched_off_stays_closed() -> None:
    breaker = Breaker(BreakerRules(enabled=False))
    for event in BreakerEvent:
        assert not tell(breaker, event)

    assert breaker.state is BreakerState.CLOSED


def test_one_that_is_switched_off_while_open_keeps_nobody_away() -> None:
    breaker = opened(now=10.0)
    breaker.set_rules(BreakerRules(enabled=False))

    assert breaker.state is BreakerState.CLOSED
    assert breaker.allows(10.0)


@pytest.mark.parametrize("window", [3.0, 300.0])
def test_a_window_of_another_length_begins_anew_and_forgets_as_ever(window: float) -> None:
    breaker = Breaker(RULES)
    for second in range(100):
        tell(breaker, BreakerEvent.FAILURE, now=1000.0 + second, may_open=False)
    rules = BreakerRules(failures=1000, window=window)
    breaker.set_rules(rules)
    for step in range(1000):
        now = 1100.0 + step * window / 10
        tell(breaker, BreakerEvent.FAILURE if step % 4 == 0 else BreakerEvent.SUCCESS, now=now)

    assert breaker.state is BreakerState.CLOSED
    assert len(breaker._slots) <= 12


def test_rules_that_leave_the_window_as_it_is_leave_what_was_counted() -> None:
    breaker = Breaker(RULES)
    for _ in range(4):
        tell(breaker, BreakerEvent.FAILURE)
    breaker.set_rules(BreakerRules(open_for=1.0))

    assert tell(breaker, BreakerEvent.FAILURE)
