"""Rules of router/relay/retry.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.exchange import AttemptOutcome
from router.relay.retry import (
    AGAIN,
    GONE,
    MOST_COUNTED,
    MOST_OWED,
    Again,
    Failed,
    GiveUp,
    Retry,
    RetryBudget,
    RetryRules,
    decide,
)

RULES = RetryRules(max_attempts=3, base_delay=0.1, max_delay=2.0)
RETRYABLE = [outcome for outcome in AttemptOutcome if AGAIN[outcome] is not Again.NO]


def failed(outcome: AttemptOutcome = AttemptOutcome.GATEWAY_ERROR, **more: object) -> Failed:
    facts: dict[str, object] = {"attempts": 1, "alike": 1, "begun": False, "other_free": True}
    return Failed(outcome, **{**facts, **more})  # type: ignore[arg-type]


def step(one: Failed, *, budget_left: bool = True, jitter: float = 0.0) -> Retry | GiveUp:
    return decide(one, RULES, budget_left=budget_left, jitter=jitter)


def test_every_outcome_has_a_rule() -> None:
    assert set(AGAIN) == set(AttemptOutcome)


@pytest.mark.parametrize("outcome", AttemptOutcome)
def test_nothing_is_retried_once_the_answer_has_begun(outcome: AttemptOutcome) -> None:
    """A second attempt would start the answer again from its first word."""
    assert step(failed(outcome, begun=True)) is GiveUp.BEGUN


@pytest.mark.parametrize("outcome", [AttemptOutcome.CLIENT_ERROR, AttemptOutcome.FORBIDDEN, AttemptOutcome.CLIENT_GONE])
def test_the_requests_own_fault_is_not_retried(outcome: AttemptOutcome) -> None:
    assert step(failed(outcome)) is GiveUp.NOT_RETRYABLE


@pytest.mark.parametrize("outcome", RETRYABLE)
def test_attempts_are_bounded(outcome: AttemptOutcome) -> None:
    assert step(failed(outcome, attempts=3)) is GiveUp.SPENT


def test_two_alike_500s_end_it() -> None:
    """The request may be what breaks the backends."""
    assert isinstance(step(failed(AttemptOutcome.SERVER_ERROR)), Retry)
    assert step(failed(AttemptOutcome.SERVER_ERROR, attempts=2, alike=2)) is GiveUp.ALIKE


def test_a_refused_full_or_stopping_backend_is_left_for_another_at_once() -> None:
    for outcome in (AttemptOutcome.REFUSED, AttemptOutcome.OVERLOADED, AttemptOutcome.STOPPING):
        decided = step(failed(outcome, retry_after=30.0))
        assert isinstance(decided, Retry)
        assert decided.after == 0.0


def test_retry_after_is_waited_for_only_where_no_other_backend_is_free() -> None:
    assert step(failed(AttemptOutcome.OVERLOADED, other_free=False, retry_after=1.5)) == Retry(1.5)


def test_retry_after_beyond_max_delay_is_the_clients_to_wait_for() -> None:
    assert step(failed(AttemptOutcome.OVERLOADED, other_free=False, retry_after=2.5)) is GiveUp.NO_TIME


def test_no_pause_reaches_beyond_the_clients_deadline() -> None:
    waiting = failed(AttemptOutcome.OVERLOADED, other_free=False, retry_after=1.0, deadline_in=0.9)
    assert step(waiting) is GiveUp.NO_TIME


def test_the_pause_doubles_and_is_jittered_between_half_and_whole() -> None:
    assert step(failed(), jitter=0.0) == Retry(0.05)
    assert step(failed(), jitter=1.0) == Retry(0.1)
    assert step(failed(attempts=2), jitter=1.0) == Retry(0.2)


def test_a_spent_budget_ends_it() -> None:
    assert step(failed(), budget_left=False) is GiveUp.NO_BUDGET


@pytest.mark.parametrize("outcome", sorted(GONE, key=lambda outcome: outcome.value))
def test_what_a_dead_backend_leaves_moves_to_another_outside_of_the_budget(outcome: AttemptOutcome) -> None:
    """Else the death of one of two under load would fail what the other one could serve."""
    moved = step(failed(outcome), budget_left=False)
    assert isinstance(moved, Retry)
    assert not moved.costs_budget
    assert step(failed(outcome, other_free=False), budget_left=False) is GiveUp.NO_BUDGET


def test_so_does_what_a_backend_leaves_whose_breaker_has_opened() -> None:
    moved = step(failed(AttemptOutcome.SERVER_ERROR, is_out=True), budget_left=False)
    assert isinstance(moved, Retry)
    assert not moved.costs_budget


@given(
    st.sampled_from(AttemptOutcome),
    st.integers(1, 5),
    st.booleans(),
    st.one_of(st.none(), st.floats(0, 100)),
    st.one_of(st.none(), st.floats(0, 10)),
    st.floats(0, 1),
)
def test_a_pause_is_never_negative_nor_over_its_limits(
    outcome: AttemptOutcome, attempts: int, free: bool, after: float | None, deadline: float | None, jitter: float
) -> None:
    one = failed(outcome, attempts=attempts, other_free=free, retry_after=after, deadline_in=deadline)
    decided = step(one, jitter=jitter)
    if isinstance(decided, Retry):
        assert 0 <= decided.after <= RULES.max_delay
        assert deadline is None or decided.after < deadline


def spend(budget: RetryBudget, now: float) -> int:
    spent = 0
    while budget.has_room(now):
        budget.take()
        spent += 1
    return spent


def test_the_budget_is_a_share_of_the_exchanges_and_a_few_retries_in_any_case() -> None:
    budget = RetryBudget(RetryRules(budget=0.2, budget_min=3))
    assert spend(budget, 0.0) == 3
    for _ in range(115):  # the first fifteen pay the three back
        budget.earn()
    assert spend(budget, 0.0) == pytest.approx(20, abs=1)


def test_the_few_retries_grow_again_in_ten_seconds() -> None:
    budget = RetryBudget(RetryRules(budget=0.0, budget_min=3))
    assert [spend(budget, now) for now in (0.0, 1.0, 4.0, 7.5, 1000.0)] == [3, 0, 1, 1, 3]


def test_a_calm_hour_is_not_answered_with_a_flood_of_retries() -> None:
    budget = RetryBudget(RetryRules(budget=0.2, budget_min=3))
    for _ in range(100_000):
        budget.earn()
    assert spend(budget, 3600.0) == pytest.approx(MOST_COUNTED * 0.2, abs=1)


def test_when_all_fail_the_attempts_are_the_exchanges_and_their_share() -> None:
    budget = RetryBudget(RetryRules(budget=0.2, budget_min=3))
    attempts = 0
    for number in range(3000):
        budget.earn()
        attempts += 1
        if budget.has_room(number / 100):
            budget.take()
            attempts += 1
    assert 3000 * 1.19 < attempts <= 3000 * 1.2 + 1


def test_other_rules_hold_at_once_and_what_was_spent_stays_spent() -> None:
    budget = RetryBudget(RetryRules(budget=0.0, budget_min=2))
    assert budget.has_room(0.0)
    budget.take()

    budget.change(RetryRules(budget=0.0, budget_min=1))
    assert spend(budget, 0.0) == 1

    budget.change(RetryRules(budget=1.0, budget_min=0))
    assert not budget.has_room(0.0)
    for _ in range(3):  # one of them was advanced
        budget.earn()
    assert spend(budget, 0.0) == 2


def test_what_moves_without_asking_leaves_a_few_owing_and_no_more() -> None:
    budget = RetryBudget(RetryRules(budget=1.0, budget_min=0))
    for _ in range(100):
        budget.take()
    for _ in range(int(MOST_OWED) + 1):
        assert not budget.has_room(0.0)
        budget.earn()
    assert spend(budget, 0.0) == 1
