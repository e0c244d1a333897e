"""Rules of taking turns."""

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.backends.backend import Backend, BackendSpec, Reason, Standing, Unavailable
from router.backends.breaker import BreakerRules
from router.backends.health import HealthRules, Seen
from router.backends.policy import Pool, Rotation


def make(*weights: int) -> list[Backend]:
    return [
        Backend(
            BackendSpec(f"b{index}", f"http://b{index}:1", weight=weight),
            index,
            health_rules=HealthRules(),
            breaker_rules=BreakerRules(),
        )
        for index, weight in enumerate(weights)
    ]


def rotation_of(backends: list[Backend], *, offset: int = 0) -> Rotation:
    rotation = Rotation(offset)
    for backend in backends:
        rotation.join(backend)
    return rotation


def pool_of(backends: list[Backend], standing: Standing = Standing.READY) -> Pool:
    pool = Pool()
    for backend in backends:
        pool.place(backend, standing)
    return pool


def taken(source: Rotation | Pool, count: int) -> str:
    """Return the numbers of those whose turn it is, as in "0101"."""
    backends = [source.take(()) for _ in range(count)]
    return "".join(str(backend.index) for backend in backends if backend is not None)


def test_equal_weights_take_strict_turns() -> None:
    assert taken(rotation_of(make(1, 1, 1)), 9) == "012012012"


def test_a_rotation_starts_at_its_offset() -> None:
    assert taken(rotation_of(make(1, 1, 1), offset=2), 6) == "201201"


def test_greater_weights_come_more_often_and_spread_out() -> None:
    assert taken(rotation_of(make(2, 1)), 9) in ("010010010", "001001001", "010001010")
    assert Counter(taken(rotation_of(make(5, 1, 1)), 70)) == {"0": 50, "1": 10, "2": 10}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 100), min_size=1, max_size=12), st.integers(1, 400))
def test_at_any_moment_everybody_is_within_one_turn_or_so_of_its_share(weights: list[int], count: int) -> None:
    rotation = rotation_of(make(*weights))
    counts = Counter(rotation.take(()).index for _ in range(count))  # type: ignore[union-attr]

    for index, weight in enumerate(weights):
        share = count * weight / sum(weights)
        # Half a turn early or late by itself, and as much for each of the others that may go first.
        assert abs(counts[index] - share) <= 1 + len(weights) * weight / sum(weights)


def test_who_was_tried_is_passed_over_and_keeps_its_turn() -> None:
    a, b, c = backends = make(1, 1, 1)
    rotation = rotation_of(backends)

    assert rotation.take((a, b)) is c
    assert [rotation.take(()) for _ in range(5)] == [a, b, a, b, c]  # c had its turn of the first round


def test_where_everybody_was_tried_nobody_is_taken() -> None:
    backends = make(1, 1)
    rotation = rotation_of(backends)

    assert rotation.take(backends) is None
    assert taken(rotation, 2) == "01"


def test_who_left_is_not_taken_and_who_came_back_does_not_catch_up() -> None:
    a, _ = backends = make(1, 1)
    rotation = rotation_of(backends)
    rotation.leave(a)
    assert taken(rotation, 50) == "1" * 50
    rotation.join(a)

    assert Counter(taken(rotation, 20)) == {"0": 10, "1": 10}
    assert rotation.members == 2


def test_coming_and_going_without_end_takes_no_memory() -> None:
    a, _ = backends = make(1, 1)
    rotation = rotation_of(backends)
    for _ in range(1000):
        rotation.leave(a)
        rotation.take(())
        rotation.join(a)

    assert len(rotation._heap) <= 2


def test_a_turn_comes_sooner_or_later_as_its_stride_changes() -> None:
    a, _ = backends = make(1, 1)
    rotation = rotation_of(backends)
    assert taken(rotation, 2) == "01"
    whole = a.stride
    a.stride *= 4
    rotation.restride(a, whole)
    assert Counter(taken(rotation, 10)) == {"0": 2, "1": 8}
    a.stride = whole
    rotation.restride(a, 4 * whole)

    assert Counter(taken(rotation, 10)) == {"0": 5, "1": 5}


def test_nothing_is_kept_of_who_is_dropped() -> None:
    a, b = backends = make(1, 1)
    rotation = rotation_of(backends)
    rotation.drop(a)
    rotation.drop(a)

    assert (rotation.members, len(rotation._heap), list(rotation._turns)) == (1, 1, [b])
    assert taken(rotation, 3) == "111"
    rotation.join(a)
    assert Counter(taken(rotation, 10)) == {"0": 5, "1": 5}


def test_joining_and_leaving_twice_count_once() -> None:
    (a,) = make(1)
    rotation = Rotation()
    rotation.leave(a)
    rotation.join(a)
    rotation.join(a)
    assert rotation.members == 1
    rotation.leave(a)
    rotation.leave(a)

    assert rotation.members == 0


def test_a_pool_prefers_ready_to_eased_to_not_probed() -> None:
    ready, eased, unprobed, full = make(1, 1, 1, 1)
    pool = Pool()
    pool.place(full, Standing.FULL)
    pool.place(unprobed, Standing.UNPROBED)
    pool.place(eased, Standing.EASED)
    pool.place(ready, Standing.READY)

    assert (pool.best(), pool.standing(full), pool.standing(make(1)[0])) == (Standing.READY, Standing.FULL, None)
    assert pool.take(()) is ready
    assert pool.take((ready,)) is eased
    assert pool.take((ready, eased)) is unprobed
    assert pool.take((ready, eased, unprobed)) is None


def test_whether_somebody_is_free_is_told_without_taking_a_turn() -> None:
    ready, eased, out = make(1, 1, 1)
    pool = Pool()
    for backend, standing in ((ready, Standing.READY), (eased, Standing.EASED), (out, Standing.OUT)):
        pool.place(backend, standing)

    assert pool.has_free(())
    assert pool.has_free((ready, ready, out))
    assert not pool.has_free([ready, eased])
    assert pool.take(()) is ready


def test_who_changes_standing_is_in_one_rotation_only() -> None:
    a, b = backends = make(1, 1)
    pool = pool_of(backends)
    for standing in (Standing.EASED, Standing.READY, Standing.OUT, Standing.READY, Standing.FULL):
        pool.place(a, standing)

    assert taken(pool, 3) == "111"
    pool.remove(a)
    pool.remove(a)
    assert set(pool.members()) == {b}


def test_each_backend_that_is_out_is_tried_once_a_second() -> None:
    backends = make(1, 1, 1)
    pool = pool_of(backends, Standing.OUT)
    tried = []
    for tenth in range(20):
        now = tenth / 10
        backend = pool.take_trial(now, tried=())
        if backend is not None:
            backend.last_trial = now
            tried.append(backend.index)

    assert tried == [0, 1, 2, 0, 1, 2]


def test_seldom_trials_take_turns_too() -> None:
    pool = pool_of(make(1, 1, 1), Standing.OUT)
    tried = [pool.take_trial(now, tried=()) for now in range(0, 60, 10)]  # each is due each time

    assert [each.index for each in tried if each is not None] == [0, 1, 2, 0, 1, 2]


def test_no_trial_while_somebody_is_only_busy() -> None:
    a, b, c = make(1, 1, 1)
    for standing in set(Standing) - {Standing.OUT}:
        pool = pool_of([a, b], Standing.OUT)
        pool.place(c, standing)

        assert pool.take_trial(0, tried=()) is None


def test_a_backend_that_was_tried_for_this_exchange_gets_no_trial_from_it() -> None:
    a, b = backends = make(1, 1)
    pool = pool_of(backends, Standing.OUT)

    assert pool.take_trial(0, tried=(a,)) is b
    assert pool.take_trial(0, tried=(a, b)) is None
    assert pool.take_trial(0, tried=()) in backends


def test_that_no_trial_is_due_is_remembered_until_one_is_or_something_changes() -> None:
    a, b = backends = make(1, 1)
    pool = pool_of(backends, Standing.OUT)
    for backend in backends:
        backend.last_trial = 0
    assert pool.take_trial(0.1, tried=()) is None
    a.last_trial = -9  # not looked at again before it is time ...
    assert pool.take_trial(0.9, tried=()) is None
    assert pool.take_trial(1.0, tried=()) is a
    b.last_trial = a.last_trial = 1.0
    assert pool.take_trial(1.1, tried=()) is None
    a.last_trial = -9
    pool.place(b, Standing.READY)  # ... or a standing changes
    pool.place(b, Standing.OUT)

    assert pool.take_trial(1.2, tried=()) is a


def test_why_nobody_can_be_taken_is_told() -> None:
    a, b, c = make(1, 1, 1)
    out, resting, full, ready = Standing.OUT, Standing.RESTING, Standing.FULL, Standing.READY
    a.rest(0, retry_after=30)
    b.rest(0, retry_after=20)
    reasons = {}
    for standings in itertools.product((out, resting, full, ready), (out, resting), (out,)):
        pool = Pool()
        for backend, standing in zip((a, b, c), standings, strict=True):
            pool.place(backend, standing)
        reasons[standings] = pool.refusal(5)

    assert reasons[out, out, out].reason is Reason.NONE_USABLE
    assert reasons[resting, resting, out] == Unavailable(Reason.ALL_RESTING, 15.0)
    assert reasons[full, resting, out].reason is Reason.ALL_FULL
    assert reasons[ready, out, out].reason is Reason.ALL_TRIED
    assert Pool().refusal(0).reason is Reason.NONE_USABLE
    assert all(each.retry_after > 0 for each in reasons.values())


@pytest.mark.parametrize("seen", [Seen.PASSED, Seen.FAILED])
def test_the_smallest_rest_is_told_also_after_it_changed(seen: Seen) -> None:
    a, b = backends = make(1, 1)
    a.rest(0, retry_after=10)
    b.rest(0, retry_after=20)
    pool = pool_of(backends, Standing.RESTING)
    assert pool.refusal(0).retry_after == 10
    pool.place(a, Standing.READY if seen is Seen.PASSED else Standing.OUT)

    assert pool.refusal(1).retry_after == 19


def test_many_turns_that_change_at_once_are_all_kept() -> None:
    backends = make(*[1] * 200)
    rotation = rotation_of(backends)
    taken(rotation, 200)
    for number, backend in enumerate(backends):
        before, backend.stride = backend.stride, backend.stride // (1 + number % 4)
        rotation.restride(backend, before)

    counts = Counter(rotation.take(()) for _ in range(500 * 2))
    assert {counts[each] for each in backends[0::4]} <= {1, 2, 3}
    assert {counts[each] for each in backends[3::4]} <= {7, 8, 9}


def test_who_is_dropped_and_comes_again_before_anybody_takes_has_one_turn() -> None:
    a, b, c = backends = make(1, 1, 1)
    rotation = rotation_of(backends)
    taken(rotation, 3)
    for _ in range(5):
        for each in (a, b):
            rotation.drop(each)
            rotation.join(each)

    assert len(rotation._heap) <= 6
    assert Counter(rotation.take(()) for _ in range(30)) == {a: 10, b: 10, c: 10}


def test_nothing_is_kept_of_many_who_are_dropped_where_nobody_takes() -> None:
    backends = make(*[1] * 100)
    rotation = rotation_of(backends)
    for backend in backends:
        rotation.drop(backend)

    assert (rotation.members, rotation._heap, rotation._turns) == (0, [], {})
