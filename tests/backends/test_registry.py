"""Rules of the registry: who is picked, what reports do, what is listed; and a machine that tries to break them."""

import gc
import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from router.backends.backend import (
    ALARM_INTERVAL,
    TRIAL_INTERVAL,
    Backend,
    BackendSpec,
    Change,
    ChangeKind,
    Listing,
    Reason,
    Standing,
    Unavailable,
)
from router.backends.breaker import BreakerRules, BreakerState
from router.backends.catalogue import MAX_MODELS
from router.backends.effects import EFFECTS
from router.backends.health import HealthRules, HealthState, Seen
from router.backends.registry import Registry
from router.backends.roster import Updated
from router.backends.share import AFTER_FULL
from router.exchange import AttemptOutcome
from tests.leftover import Leftover

FAILURES = BreakerRules().failures
SLOW_START = HealthRules().slow_start


def make(count: int = 2, *, models: tuple[str, ...] = ("m",), up: bool = True, **fields: int | None) -> Registry:
    """Return a registry of backends b0, b1 ... that are up and have listed `models`."""
    specs = [BackendSpec(f"b{index}", f"http://b{index}:1", **fields) for index in range(count)]  # type: ignore[arg-type]
    registry = Registry(specs)
    for backend in registry.backends:
        if up:
            registry.listed(backend, [{"id": name} for name in models], now=0)
            registry.probed(backend, Seen.PASSED, now=0)
    return registry


def picked(
    registry: Registry, *, now: float = 0.0, model: str | None = "m", tried: tuple[Backend, ...] = ()
) -> Backend:
    backend = registry.pick(model, now=now, tried=tried)
    assert isinstance(backend, Backend)
    return backend


def refused(
    registry: Registry, *, now: float = 0.0, model: str | None = "m", tried: tuple[Backend, ...] = ()
) -> Reason:
    answer = registry.pick(model, now=now, tried=tried)
    assert isinstance(answer, Unavailable)
    return answer.reason


def names(registry: Registry, count: int, *, now: float = 0.0, model: str | None = "m") -> Counter[str]:
    return Counter(picked(registry, now=now, model=model).spec.name for _ in range(count))


def fail(registry: Registry, backend: Backend, times: int = FAILURES, *, now: float = 0.0) -> list[Change]:
    outcome = AttemptOutcome.SERVER_ERROR
    return [change for _ in range(times) for change in registry.report(backend, outcome, now=now)]


# Picking


def test_a_hundred_requests_over_two_backends_are_fifty_each() -> None:
    assert names(make(2), 100) == {"b0": 50, "b1": 50}


def test_each_models_requests_are_even_also_between_those_of_others() -> None:
    registry = make(2, models=("m", "n"))
    picks = [(model, picked(registry, model=model).spec.name) for _ in range(50) for model in ("m", "n", None, "n")]
    counts = Counter(picks)

    assert counts["m", "b0"] == counts["m", "b1"] == 25
    assert counts["n", "b0"] == counts["n", "b1"] == 50
    assert counts[None, "b0"] == counts[None, "b1"] == 25


def test_models_that_are_asked_for_once_each_do_not_all_begin_at_the_first_backend() -> None:
    registry = make(4, models=tuple("abcdefgh"))

    assert Counter(picked(registry, model=model).spec.name for model in "abcdefgh") == {f"b{n}": 2 for n in range(4)}


def test_requests_go_only_to_backends_that_serve_their_model() -> None:
    registry = make(3)
    registry.listed(registry.backends[2], [{"id": "other"}], now=0)

    assert names(registry, 10) == {"b0": 5, "b1": 5}
    assert names(registry, 10, model="other") == {"b2": 10}


def test_a_backend_that_was_tried_is_not_picked_again() -> None:
    registry = make(2)
    a, b = registry.backends

    assert all(picked(registry, tried=(a,)) is b for _ in range(5))
    assert refused(registry, tried=(a, b)) is Reason.ALL_TRIED


def test_a_backend_that_was_not_probed_yet_is_picked_only_if_no_probed_one_is_up() -> None:
    registry = Registry([BackendSpec(name, f"http://{name}:1", models=("m",)) for name in ("b0", "b1")])
    probed = registry.backends[1]
    registry.probed(probed, Seen.PASSED, now=0)

    assert names(registry, 10) == {"b1": 10}
    registry.report(probed, AttemptOutcome.OVERLOADED, now=0)
    assert names(registry, 10) == {"b1": 10}
    registry.probed(probed, Seen.REFUSED, now=0)
    assert names(registry, 10) == {"b0": 10}
    assert registry.usable_count(0) == 0  # it may work, but nobody knows


def test_asking_whether_somebody_is_free_spends_no_turn_and_no_trial() -> None:
    registry = make(2)
    bad, good = registry.backends
    fail(registry, bad)
    assert not registry.has_free("m", now=9, tried=(good,))
    later = bad.breaker.until

    assert registry.has_free("m", now=later, tried=(good,))
    assert bad.breaker.state is BreakerState.OPEN
    assert picked(registry, now=later, tried=(good,)) is bad
    assert not registry.has_free("typo", now=later)


def test_max_connections_are_respected() -> None:
    registry = make(2, max_connections=1)
    a = picked(registry)
    registry.acquire(a)
    b = picked(registry)
    registry.acquire(b)

    assert {a, b} == set(registry.backends)
    assert refused(registry) is Reason.ALL_FULL
    registry.release(a)
    assert picked(registry) is a


def test_more_releases_than_acquires_are_an_error() -> None:
    registry = make(1)
    registry.acquire(registry.backends[0])
    registry.release(registry.backends[0])

    with pytest.raises(ValueError, match="nothing in flight"):
        registry.release(registry.backends[0])
    assert registry.backends[0].in_flight == 0


def test_two_backends_of_one_name_are_an_error() -> None:
    with pytest.raises(ValueError, match="share a name"):
        Registry([BackendSpec("a", "http://a:1"), BackendSpec("a", "http://b:1")])


# What outcomes do


def test_a_refused_backend_is_out_at_once_even_the_last() -> None:
    registry = make(1)
    changes = registry.report(registry.backends[0], AttemptOutcome.REFUSED, now=0)

    assert changes == [Change("b0", ChangeKind.HEALTH, "up", "down", "refused")]
    assert registry.usable_count(0) == 0
    assert picked(registry).spec.name == "b0"  # the one trial
    assert refused(registry) is Reason.NONE_USABLE


def test_with_none_usable_one_trial_per_backend_and_second_goes_through() -> None:
    registry = make(3)
    for backend in registry.backends:
        registry.report(backend, AttemptOutcome.REFUSED, now=0)
    let_through = Counter(
        answer.spec.name
        for tenth in range(50)
        for _ in range(20)
        if isinstance(answer := registry.pick("m", now=tenth / 10), Backend)
    )

    assert let_through == {"b0": 5, "b1": 5, "b2": 5}


def test_failures_in_a_row_open_the_breaker_and_the_trial_closes_it() -> None:
    registry = make(2)
    bad, _ = registry.backends
    assert fail(registry, bad) == [Change("b0", ChangeKind.BREAKER, "closed", "open", "server_error")]
    assert names(registry, 10, now=9) == {"b1": 10}

    later = bad.breaker.until
    assert names(registry, 10, now=later) == {"b0": 1, "b1": 9}
    assert bad.breaker.state is BreakerState.HALF_OPEN
    assert registry.report(bad, AttemptOutcome.OK, now=later) == [
        Change("b0", ChangeKind.BREAKER, "open", "half_open", "trial"),
        Change("b0", ChangeKind.BREAKER, "half_open", "closed", "ok"),
    ]
    assert names(registry, 10, now=later + SLOW_START) == {"b0": 5, "b1": 5}


def test_a_client_that_leaves_during_the_trial_makes_room_for_the_next() -> None:
    registry = make(2)
    bad, _ = registry.backends
    fail(registry, bad)
    later = bad.breaker.until
    names(registry, 10, now=later)
    registry.report(bad, AttemptOutcome.CLIENT_GONE, now=later)

    assert names(registry, 10, now=later)["b0"] == 1


def test_counts_never_take_out_the_last_backend_that_works() -> None:
    registry = make(2)
    a, b = registry.backends
    fail(registry, a)
    fail(registry, b, 100)

    assert a.breaker.state is BreakerState.OPEN
    assert b.breaker.state is BreakerState.CLOSED
    assert names(registry, 5) == {"b1": 5}


def test_counts_never_take_out_the_last_backend_of_any_of_its_models() -> None:
    registry = make(3)
    registry.listed(registry.backends[0], [{"id": "m"}, {"id": "only-here"}], now=0)
    fail(registry, registry.backends[0], 100)

    assert registry.backends[0].breaker.state is BreakerState.CLOSED


def test_a_backend_that_rests_is_no_reason_to_take_the_other_out() -> None:
    registry = make(2)
    a, b = registry.backends
    registry.report(a, AttemptOutcome.OVERLOADED, now=0, retry_after=30)
    fail(registry, b, 20)

    assert b.breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize(
    "outcome",
    [outcome for outcome, effect in EFFECTS.items() if effect.breaker.value == "undecided" and not effect.seen],
)
def test_what_is_not_the_backends_fault_never_takes_it_out(outcome: AttemptOutcome) -> None:
    registry = make(2)
    for _ in range(100):
        registry.report(registry.backends[0], outcome, now=0)

    assert registry.usable_count(0) == 2
    assert registry.backends[0].breaker.state is BreakerState.CLOSED


def test_a_backend_rests_for_its_retry_after_and_all_resting_tell_the_smallest() -> None:
    registry = make(2)
    a, b = registry.backends
    registry.report(a, AttemptOutcome.OVERLOADED, now=0, retry_after=20)
    assert names(registry, 10) == {"b1": 10}
    registry.report(b, AttemptOutcome.OVERLOADED, now=0, retry_after=30)

    assert registry.pick("m", now=5) == Unavailable(Reason.ALL_RESTING, 15.0)
    assert registry.usable_count(5) == 2  # full is not broken
    assert names(registry, 10, now=20) == {"b0": 10}
    assert names(registry, 10, now=30 + AFTER_FULL) == {"b0": 5, "b1": 5}


def test_without_retry_after_a_full_backend_is_picked_last_for_a_second() -> None:
    registry = make(2)
    a, b = registry.backends
    registry.report(a, AttemptOutcome.OVERLOADED, now=0)

    assert names(registry, 10, now=0.9) == {"b1": 10}
    assert picked(registry, now=0.9, tried=(b,)) is a
    assert names(registry, 9, now=1.0) == {"b0": 3, "b1": 6}  # it is not filled up at once again
    assert names(registry, 10, now=1.0 + AFTER_FULL) == {"b0": 5, "b1": 5}


def test_a_wrong_key_raises_one_alarm_a_minute() -> None:
    registry = make(1)
    backend = registry.backends[0]
    alarms = [
        change
        for now in (0, 1, ALARM_INTERVAL - 1, ALARM_INTERVAL)
        for change in registry.report(backend, AttemptOutcome.UNAUTHORIZED, now=now)
    ]

    assert alarms == [Change("b0", ChangeKind.ALARM, "", "unauthorized", "unauthorized")] * 2


def test_a_timer_that_fires_while_probes_fail_takes_the_backend_out_at_once() -> None:
    registry = make(2)
    backend = registry.backends[0]
    registry.probed(backend, Seen.FAILED, now=0)
    assert backend.health.state is HealthState.UP
    registry.report(backend, AttemptOutcome.FIRST_BYTE_TIMEOUT, now=0)

    assert backend.health.state is HealthState.DOWN


def test_a_backend_that_came_back_is_tried_at_once_whatever_its_breaker_had_counted() -> None:
    registry = make(2)
    backend = registry.backends[0]
    fail(registry, backend)
    for seen in (Seen.REFUSED, Seen.PASSED, Seen.PASSED):
        registry.probed(backend, seen, now=1)

    assert names(registry, 10, now=1) == {"b0": 1, "b1": 9}
    registry.report(backend, AttemptOutcome.OK, now=1)
    assert names(registry, 10, now=1 + SLOW_START) == {"b0": 5, "b1": 5}


def test_without_probes_a_refusal_opens_the_breaker_and_its_trial_brings_the_backend_back() -> None:
    specs = [BackendSpec(name, f"http://{name}:1", models=("m",)) for name in ("b0", "b1")]
    registry = Registry(specs, health_rules=HealthRules(enabled=False))
    backend = registry.backends[0]
    registry.report(backend, AttemptOutcome.REFUSED, now=0)

    assert names(registry, 10, now=1) == {"b1": 10}
    later = backend.breaker.until
    assert names(registry, 10, now=later)["b0"] == 1
    registry.report(backend, AttemptOutcome.OK, now=later)
    assert names(registry, 10, now=later + SLOW_START) == {"b0": 5, "b1": 5}


def test_a_backend_that_says_that_it_stops_is_out_at_once_though_its_probes_pass() -> None:
    registry = make(2)
    a, b = registry.backends
    change = registry.report(a, AttemptOutcome.STOPPING, now=0)
    for now in range(9):
        registry.probed(a, Seen.PASSED, now=now)

    assert change == [Change("b0", ChangeKind.BREAKER, "closed", "open", "stopping")]
    assert names(registry, 10, now=9) == {"b1": 10}
    for seen in (Seen.REFUSED, Seen.PASSED, Seen.PASSED):  # it has stopped, and was started anew
        registry.probed(a, seen, now=9)
    assert picked(registry, now=9, tried=(b,)) is a


def test_that_another_attempt_was_faster_says_nothing_of_a_backend() -> None:
    registry = make(2)
    fail(registry, registry.backends[0], FAILURES - 1)
    registry.report(registry.backends[0], AttemptOutcome.SUPERSEDED, now=0)

    assert registry.backends[0].breaker.failures == FAILURES - 1
    assert fail(registry, registry.backends[0], 1) != []


# What other workers tell


def test_every_outcome_of_ours_is_told_on_and_none_of_others() -> None:
    told: list[tuple[str, AttemptOutcome, float | None]] = []
    registry = make(2)
    registry.on_report = lambda name, outcome, retry_after: told.append((name, outcome, retry_after))
    a, b = registry.backends
    registry.report(a, AttemptOutcome.OK, now=0)
    registry.report(b, AttemptOutcome.OVERLOADED, now=0, retry_after=7.0)
    registry.report(b, AttemptOutcome.REFUSED, now=0, told_by_other=True)

    assert told == [("b0", AttemptOutcome.OK, None), ("b1", AttemptOutcome.OVERLOADED, 7.0)]
    assert b.is_down


def test_failures_of_all_workers_count_together() -> None:
    registry = make(2)
    for number in range(FAILURES):
        registry.report(registry.backends[0], AttemptOutcome.CUT, now=0, told_by_other=number % 2 == 0)

    assert registry.backends[0].breaker.state is BreakerState.OPEN


def test_an_attempt_of_another_worker_that_says_nothing_does_not_end_our_trial() -> None:
    registry = make(2)
    bad, good = registry.backends
    fail(registry, bad)
    later = bad.breaker.until
    assert picked(registry, now=later, tried=(good,)) is bad
    registry.report(bad, AttemptOutcome.CLIENT_GONE, now=later, told_by_other=True)
    assert refused(registry, now=later, tried=(good,)) is Reason.ALL_TRIED
    registry.report(bad, AttemptOutcome.CLIENT_GONE, now=later)

    assert picked(registry, now=later, tried=(good,)) is bad


def test_an_alarm_that_another_worker_has_raised_is_not_raised_again() -> None:
    registry = make(1)
    backend = registry.backends[0]

    assert registry.report(backend, AttemptOutcome.UNAUTHORIZED, now=0, told_by_other=True) == []
    assert registry.report(backend, AttemptOutcome.UNAUTHORIZED, now=1) == []


# What operators ask for


def test_a_drained_backend_gets_no_request_and_no_trial_until_it_is_undrained() -> None:
    registry = make(2)
    a, b = registry.backends

    assert registry.drain("b0") == [Change("b0", ChangeKind.DRAIN, "serving", "drained", "asked")]
    assert registry.drain("b0") == []
    assert names(registry, 10) == {"b1": 10}
    assert (registry.usable_count(0), a.status(0).drained, a.status(0).standing) == (1, True, Standing.OUT)
    registry.report(b, AttemptOutcome.REFUSED, now=0)
    assert names(registry, 1) == {"b1": 1}  # the one trial
    assert all(isinstance(registry.pick("m", now=tenth / 100), Unavailable) for tenth in range(99))
    assert registry.undrain("b0") == [Change("b0", ChangeKind.DRAIN, "drained", "serving", "asked")]
    assert registry.undrain("b0") == []
    assert names(registry, 10, now=0.99) == {"b0": 10}


def test_with_all_drained_nobody_is_usable_and_nobody_is_tried() -> None:
    registry = make(2)
    for name in ("b0", "b1"):
        registry.drain(name)

    assert {refused(registry, now=now) for now in range(100)} == {Reason.NONE_USABLE}
    assert registry.usable_count(0) == 0


def test_a_drained_backend_is_no_reason_to_take_the_other_out() -> None:
    registry = make(2)
    registry.drain("b0")
    fail(registry, registry.backends[1], 100)

    assert registry.backends[1].breaker.state is BreakerState.CLOSED


def test_nobody_can_be_drained_who_is_not_there() -> None:
    registry = make(1)

    assert registry.find("b1") is None
    for act in (registry.drain, registry.undrain):
        with pytest.raises(KeyError):
            act("b1")


def test_an_update_keeps_what_is_known_of_who_stays() -> None:
    registry = make(3)
    a, b, c = registry.backends
    fail(registry, b)
    registry.drain("b2")
    registry.acquire(b)
    kept = [replace(b.spec, weight=7, max_connections=1), c.spec, BackendSpec("new", "http://new:1")]

    assert registry.update(kept) == Updated(added=("new",), removed=("b0",), changed=("b1",))
    assert registry.backends[:2] == (b, c)
    assert [each.spec.name for each in registry.backends] == ["b1", "b2", "new"]
    assert (b.breaker.state, b.in_flight, b.max_in_flight, c.drained) == (BreakerState.OPEN, 1, 1, True)
    assert registry.find("b0") is None
    assert registry.find("new") is registry.backends[2]
    assert a not in registry.backends


def test_a_changed_weight_counts_from_the_next_turn_on() -> None:
    registry = make(2)
    a, b = (each.spec for each in registry.backends)
    registry.update([replace(a, weight=4), b])

    assert names(registry, 50) == {"b0": 40, "b1": 10}


def test_who_was_removed_is_picked_no_more_and_ends_its_attempts_in_peace() -> None:
    registry = make(2, max_connections=1)
    a, b = registry.backends
    registry.acquire(a)
    registry.update([b.spec])
    for outcome in AttemptOutcome:
        assert registry.report(a, outcome, now=0) == []
    assert registry.probed(a, Seen.REFUSED, now=0) == registry.listed(a, [{"id": "x"}], now=0) == []
    assert registry.looked(a, None, now=0, seen=Seen.HUNG) == []
    registry.release(a)

    assert a.in_flight == 0
    assert names(registry, 5) == {"b1": 5}
    assert not registry.is_known("x")
    with pytest.raises(ValueError, match="nothing in flight"):
        registry.release(a)


def test_under_another_url_a_backend_is_a_new_one() -> None:
    registry = make(2)
    a, b = registry.backends
    fail(registry, a)

    assert registry.update([replace(a.spec, url="http://else:1"), b.spec]) == Updated(("b0",), ("b0",))
    new = registry.find("b0")
    assert new is not None
    assert new is not a
    assert (new.health.state, new.breaker.state, new.models) == (HealthState.UNKNOWN, BreakerState.CLOSED, {})


def test_a_model_that_only_a_removed_backend_served_is_still_known() -> None:
    registry = make(2)
    registry.listed(registry.backends[0], [{"id": "own"}], now=0)
    registry.update([registry.backends[1].spec])

    assert registry.is_known("own")
    assert refused(registry, model="own") is Reason.NONE_USABLE
    assert registry.models(now=0) == [{"id": "m"}]


def test_an_update_with_two_of_one_name_changes_nothing() -> None:
    registry = make(2)
    before = registry.backends
    with pytest.raises(ValueError, match="share a name"):
        registry.update([before[0].spec, BackendSpec("x", "http://x:1"), BackendSpec("x", "http://y:1")])

    assert registry.backends == before
    assert names(registry, 4) == {"b0": 2, "b1": 2}


def test_all_may_be_removed_and_others_added() -> None:
    registry = make(2)
    registry.update([])
    assert registry.pick("m", now=0) == Unavailable(Reason.NONE_USABLE, 1.0)
    assert registry.pick("x", now=0) == Unavailable(Reason.UNKNOWN_MODEL, 0.0)
    registry.update([BackendSpec("new", "http://new:1", models=("m", "n"))])

    assert picked(registry, model="n").spec.name == "new"


def test_other_models_may_be_configured() -> None:
    registry = make(2)
    a, b = (each.spec for each in registry.backends)
    registry.update([replace(a, models=("m", "n")), b])
    assert names(registry, 2, model="n") == {"b0": 2}
    registry.update([a, b])  # what it listed last stays good until it lists again
    assert names(registry, 2, model="n") == {"b0": 2}
    registry.listed(registry.backends[0], [{"id": "m"}], now=0)

    assert refused(registry, model="n") is Reason.NONE_USABLE


def test_adding_and_removing_without_end_leaves_nothing_behind() -> None:
    registry = make(1, models=("m", "other"))
    stays = registry.backends[0].spec
    left = Leftover(Backend)
    for number in range(100):
        registry.update([stays, BackendSpec(f"n{number}", f"http://n{number}:1", max_connections=1)])
        backend = registry.backends[1]
        registry.listed(backend, [{"id": "m"}, {"id": "other"}], now=number)
        registry.probed(backend, Seen.PASSED, now=number)
        registry.listed(backend, [{"id": "m"}], now=number)
        registry.report(backend, AttemptOutcome.OVERLOADED, now=number, retry_after=60)
        fail(registry, backend, now=number)
        names(registry, 3, now=number)
    registry.update([stays])
    del backend
    gc.collect()

    assert left.found() == []
    assert names(registry, 3, now=100) == {"b0": 3}


def test_new_rules_hold_at_once_and_switching_probes_off_brings_everybody_up() -> None:
    registry = make(2)
    a, _ = registry.backends
    registry.report(a, AttemptOutcome.REFUSED, now=0)
    registry.set_rules(health_rules=HealthRules(enabled=False), breaker_rules=BreakerRules(failures=1))
    assert registry.usable_count(0) == 2
    fail(registry, a, 1)

    assert a.breaker.state is BreakerState.OPEN
    registry.report(registry.backends[1], AttemptOutcome.REFUSED, now=0)
    assert not registry.backends[1].is_down


def test_a_backend_is_missed_while_nobody_can_be_had_for_one_of_its_models() -> None:
    registry = make(2)
    a, b = registry.backends
    registry.listed(a, [{"id": "m"}, {"id": "own"}], now=0)
    registry.report(a, AttemptOutcome.REFUSED, now=0)

    assert registry.is_missed(a)
    assert not registry.is_missed(b)
    registry.listed(a, [{"id": "m"}], now=0)
    assert not registry.is_missed(a)
    registry.drain("b1")
    assert registry.is_missed(a)


# Models


def test_before_anybody_has_listed_anything_a_model_is_not_unknown() -> None:
    registry = make(2, up=False)
    assert refused(registry) is Reason.NOT_LISTED_YET
    for backend in registry.backends:
        registry.probed(backend, Seen.REFUSED, now=0)

    assert refused(registry) is Reason.NOT_LISTED_YET


def test_a_model_that_nobody_has_ever_listed_is_unknown() -> None:
    assert make(2).pick("typo", now=0) == Unavailable(Reason.UNKNOWN_MODEL, 0.0)


def test_while_a_backend_has_not_told_its_models_a_name_may_be_one_of_them_unless_it_is_down() -> None:
    registry = make(2, up=False)
    a, b = registry.backends
    registry.listed(a, [{"id": "m"}], now=0)
    assert refused(registry, model="other") is Reason.NOT_LISTED_YET
    registry.probed(b, Seen.REFUSED, now=0)

    assert refused(registry, model="other") is Reason.UNKNOWN_MODEL


def test_a_backend_that_gives_no_list_is_not_waited_for() -> None:
    registry = make(2, up=False)
    a, b = registry.backends
    registry.listed(a, [{"id": "m"}], now=0)
    registry.listed(b, None, now=0)

    assert b.listing is Listing.FAILED
    assert refused(registry, model="other") is Reason.UNKNOWN_MODEL


def test_a_model_that_nobody_serves_any_more_is_still_known() -> None:
    registry = make(2)
    for backend in registry.backends:
        registry.listed(backend, [{"id": "new"}], now=0)

    assert registry.is_known("m")
    assert registry.known_models() == ["m", "new"]
    assert refused(registry) is Reason.NONE_USABLE
    assert names(registry, 4, model="new") == {"b0": 2, "b1": 2}


def test_the_one_model_that_is_served_is_told() -> None:
    assert make(2).sole_model() == "m"
    assert make(2, models=("m", "n")).sole_model() is None
    assert make(2, up=False).sole_model() is None


def test_after_a_redeploy_under_a_new_name_the_new_one_is_the_one_model() -> None:
    registry = make(2)
    a, b = registry.backends
    registry.listed(a, [{"id": "new"}], now=0)
    assert registry.sole_model() is None  # the other one still serves the old one
    registry.listed(b, [{"id": "new"}], now=0)
    assert registry.sole_model() == "new"
    registry.listed(a, [], now=0)
    registry.listed(b, [], now=0)
    assert registry.sole_model() is None


def test_the_one_model_is_told_while_its_backends_are_down() -> None:
    registry = make(2)
    for backend in registry.backends:
        registry.probed(backend, Seen.REFUSED, now=0)

    assert registry.sole_model() == "m"


def test_models_are_the_union_over_all_backends_and_usable_ones_describe_them() -> None:
    registry = make(3, up=False)
    for number, backend in enumerate(registry.backends):
        registry.listed(backend, [{"id": "m", "from": number}, {"id": f"own-{number}"}], now=0)
        registry.probed(backend, Seen.PASSED, now=0)
    registry.probed(registry.backends[0], Seen.REFUSED, now=0)

    assert registry.models(now=0) == [{"id": "m", "from": 1}, {"id": "own-1"}, {"id": "own-2"}, {"id": "own-0"}]


def test_a_model_that_nobody_lists_any_more_is_not_shown() -> None:
    registry = make(1)
    registry.listed(registry.backends[0], [{"id": "new"}], now=0)

    assert registry.models(now=0) == [{"id": "new"}]


def test_with_none_usable_all_that_was_listed_is_shown() -> None:
    registry = make(2)
    for backend in registry.backends:
        registry.probed(backend, Seen.REFUSED, now=0)

    assert registry.models(now=0) == [{"id": "m"}]


def test_configured_models_are_known_at_once_and_no_others_are_taken_from_the_list() -> None:
    registry = Registry([BackendSpec("b0", "http://b0:1", models=("m", "n"))])
    backend = registry.backends[0]
    registry.probed(backend, Seen.PASSED, now=0)
    assert registry.known_models() == ["m", "n"]
    assert picked(registry).spec.name == "b0"
    assert refused(registry, model="x") is Reason.UNKNOWN_MODEL
    registry.listed(backend, [{"id": "n", "max_model_len": 5}, {"id": "x"}], now=0)

    assert [each["id"] for each in registry.models(now=0)] == ["m", "n"]
    assert registry.models(now=0)[1]["max_model_len"] == 5


def test_a_failed_listing_leaves_the_last_list_good() -> None:
    registry = make(1)

    assert registry.listed(registry.backends[0], None, now=1) == []
    assert picked(registry).spec.name == "b0"


@pytest.mark.parametrize("junk", [[None, 1, "m", [], {}, {"id": 5}, {"id": ""}, {"id": "x" * 513}], []])
def test_entries_that_are_no_models_are_left_out(junk: list[object]) -> None:
    registry = make(1, up=False)
    changes = registry.listed(registry.backends[0], [*junk, {"id": "m"}], now=0)

    assert changes == [Change("b0", ChangeKind.MODELS, "", "m", "listed")]
    assert registry.known_models() == ["m"]


def test_a_list_is_taken_up_to_a_bound() -> None:
    registry = make(1, up=False)
    registry.listed(registry.backends[0], [{"id": f"m{number}"} for number in range(MAX_MODELS + 5)], now=0)

    assert len(registry.known_models()) == MAX_MODELS


def test_a_model_listed_while_its_backend_is_out_is_served_when_it_is_back() -> None:
    registry = make(1)
    backend = registry.backends[0]
    registry.probed(backend, Seen.REFUSED, now=0)
    registry.listed(backend, [{"id": "new"}], now=0)
    picked(registry, model="new")
    assert refused(registry, model="new") is Reason.NONE_USABLE
    for _ in range(2):
        registry.probed(backend, Seen.PASSED, now=0)

    assert names(registry, 3, model="new") == {"b0": 3}


def test_a_snapshot_shows_each_backend() -> None:
    registry = make(2)
    registry.acquire(registry.backends[1])
    registry.report(registry.backends[0], AttemptOutcome.OVERLOADED, now=0, retry_after=9)
    first, second = registry.snapshot(1)

    assert (first.name, first.health, first.breaker) == ("b0", HealthState.UP, BreakerState.CLOSED)
    assert (first.standing, first.resting_for, first.usable) == (Standing.RESTING, 8.0, True)
    assert (second.in_flight, second.models) == (1, ("m",))


# Whatever happens in whatever order

NAMES = st.sampled_from(["b0", "b1", "b2", "b3", "b4"])
OBSERVED = [Seen.PASSED, Seen.PASSED, Seen.PASSED, Seen.FAILED, Seen.REFUSED, Seen.BUSY, Seen.HUNG, Seen.MOVED]
AT_ONCE = {AttemptOutcome.REFUSED, AttemptOutcome.STOPPING}  # what takes out even the last one


def test_a_model_is_out_where_waiting_is_in_vain_and_not_where_all_are_full_or_unprobed() -> None:
    registry = make(1, up=False, max_connections=1)
    backend = registry.backends[0]
    registry.listed(backend, [{"id": "m"}], now=0)
    registry.acquire(backend)
    assert not registry.is_out("m", now=1.0)
    registry.probed(backend, Seen.REFUSED, now=2.0)

    assert registry.is_out("m", now=2.0)
    assert registry.is_out("of which nobody knows", now=2.0)


def test_probes_alone_bring_a_share_in_line_with_the_time_and_with_what_they_see() -> None:
    registry = make(1)
    [backend] = registry.backends
    registry.probed(backend, Seen.REFUSED, now=10)
    for now in (100, 101):
        registry.probed(backend, Seen.PASSED, now=now)
    assert backend.share < 0.2  # it starts slowly

    shares = []
    for now in range(103, 103 + int(SLOW_START), 2):
        registry.probed(backend, Seen.PASSED, now=now)
        shares.append(backend.share)
    assert shares == sorted(set(shares))
    assert shares[-1] == 1.0

    registry.probed(backend, Seen.BUSY, now=200)
    assert backend.share == 0.5
    registry.probed(backend, Seen.PASSED, now=202)
    assert backend.share == 1.0


class AnyOrder(RuleBasedStateMachine):
    """Random picks, reports, probes, lists, orders of operators and time steps."""

    @initialize(limit=st.sampled_from([None, 2]), fall=st.integers(1, 3))
    def begin(self, limit: int | None, fall: int) -> None:
        self.limit = limit
        self.registry = Registry(
            [self.spec(f"b{number}") for number in range(4)],
            health_rules=HealthRules(fall=fall, slow_start=20.0),
            breaker_rules=BreakerRules(failures=3),
        )
        self.now = 0.0
        self.under_way: list[Backend] = []
        self.last_trial: dict[Backend, float] = {}
        self.served: dict[Backend, set[str]] = {}
        self.known: set[str] = set()
        for backend in self.registry.backends:
            self.told(backend, {"m"})
            self.registry.probed(backend, Seen.PASSED, now=self.now)

    def spec(self, name: str, port: int = 1) -> BackendSpec:
        return BackendSpec(name, f"http://{name}:{port}", max_connections=self.limit, weight=1 + int(name[1]) % 2)

    def told(self, backend: Backend, models: set[str]) -> None:
        self.served[backend] = models
        self.known |= models
        self.registry.listed(backend, [{"id": name} for name in sorted(models)], now=self.now)

    def pool(self, model: str | None) -> list[Backend]:
        return [each for each in self.registry.backends if model is None or model in self.served.get(each, ())]

    @rule(step=st.sampled_from([1 / 64, 0.5, 1.0, 5.0, 12.0, 70.0]))
    def time_passes(self, step: float) -> None:
        self.now += step

    @rule(name=NAMES, models=st.sets(st.sampled_from(["m", "n"])))
    def list_models(self, name: str, models: set[str]) -> None:
        if backend := self.registry.find(name):
            self.told(backend, models)

    @rule(name=NAMES, seen=st.sampled_from(OBSERVED))
    def probe(self, name: str, seen: Seen) -> None:
        if (backend := self.registry.find(name)) is None:
            return
        was_hung, was_up = backend.health.is_hung, backend.health.state is HealthState.UP
        self.registry.probed(backend, seen, now=self.now)
        if seen in (Seen.REFUSED, Seen.HUNG) or (seen is Seen.PASSED and was_hung):
            assert backend.is_down
        elif seen in (Seen.BUSY, Seen.MOVED):
            assert (backend.health.state is HealthState.UP) == was_up

    @rule()
    def everybody_refuses(self) -> None:
        for backend in self.registry.backends:
            self.registry.probed(backend, Seen.REFUSED, now=self.now)

    @rule(name=NAMES, drained=st.booleans())
    def operators_drain(self, name: str, drained: bool) -> None:
        if self.registry.find(name):
            (self.registry.drain if drained else self.registry.undrain)(name)

    @rule(chosen=st.sets(NAMES), moved=NAMES, port=st.integers(1, 2))
    def operators_update(self, chosen: set[str], moved: str, port: int) -> None:
        before = {each.spec.name: each for each in self.registry.backends}
        specs = [self.spec(name, port if name == moved else 1) for name in sorted(chosen)]
        updated = self.registry.update(specs)
        after = {each.spec.name: each for each in self.registry.backends}
        assert set(after) == chosen
        assert {name for name in after if before.get(name) is not after[name]} == set(updated.added)
        assert {name for name in before if after.get(name) is not before[name]} == set(updated.removed)

    @rule(model=st.sampled_from(["m", "n", None]), tried=st.sets(NAMES, max_size=2))
    def pick(self, model: str | None, tried: set[str]) -> None:
        left_out = tuple(each for each in self.registry.backends if each.spec.name in tried)
        pool = self.pool(model)
        self.registry.pick(None, now=self.now, tried=self.registry.backends)  # lets time act
        standings = {each: each.standing(self.now) for each in pool}
        breakers = {each: each.breaker.state for each in pool}
        backend = self.registry.pick(model, now=self.now, tried=left_out)
        if isinstance(backend, Unavailable):
            assert not [each for each in pool if standings[each] <= Standing.UNPROBED and each not in left_out]
            assert backend.retry_after <= 60
            return
        assert backend in pool
        assert backend not in left_out
        assert not backend.removed
        assert not backend.drained
        assert standings[backend] is not Standing.RESTING
        if standings[backend] is Standing.FULL:  # all of them are starting slowly
            assert backend.in_flight < (self.limit or 0)
        if standings[backend] is Standing.OUT:  # a trial
            assert set(standings.values()) == {Standing.OUT}
            assert self.now >= self.last_trial.get(backend, -math.inf) + TRIAL_INTERVAL
            self.last_trial[backend] = self.now
        elif breakers[backend] is not BreakerState.CLOSED:  # its breaker's own trial
            self.last_trial[backend] = self.now
        self.registry.acquire(backend)
        self.under_way.append(backend)

    @precondition(lambda self: self.under_way)
    @rule(
        data=st.data(),
        outcome=st.sampled_from(AttemptOutcome),
        retry_after=st.sampled_from([None, 0.5, 20.0, 1e6]),
        times=st.integers(1, 4),
    )
    def attempt_ends(self, data: st.DataObject, outcome: AttemptOutcome, retry_after: float | None, times: int) -> None:
        backend = data.draw(st.sampled_from(self.under_way))
        for number in range(times):  # others that ended alike
            self.ends_once(backend, outcome, retry_after, told_by_other=number > 1)
        self.under_way.remove(backend)
        self.registry.release(backend)

    def ends_once(
        self, backend: Backend, outcome: AttemptOutcome, retry_after: float | None, *, told_by_other: bool
    ) -> None:
        worked, was_suspect = backend.is_working, backend.health.fails > 0
        self.registry.report(
            backend, outcome, now=self.now, retry_after=retry_after, jitter=0.3, told_by_other=told_by_other
        )
        if backend.removed:
            assert backend.is_working is worked
        elif outcome is AttemptOutcome.REFUSED:
            assert backend.is_down
        elif (
            worked and not backend.is_working and outcome not in AT_ONCE and not (EFFECTS[outcome].seen and was_suspect)
        ):
            for model in (None, *self.served[backend]):  # by counts
                assert any(each.is_working for each in self.pool(model))

    @rule(rounds=st.integers(1, 3))
    def ready_backends_are_picked_by_their_shares(self, rounds: int) -> None:
        self.registry.pick(None, now=self.now, tried=self.registry.backends)  # lets time act
        ready = [each for each in self.registry.backends if each.standing(self.now) is Standing.READY]
        if not ready or any(each.breaker.state is not BreakerState.CLOSED for each in ready):
            return
        for _ in range(5 * len(ready)):  # turns that were due under other shares are taken
            self.registry.pick(None, now=self.now)
        shares = {each: each.spec.weight * each.share for each in ready}
        count = rounds * 50
        counts = Counter(self.registry.pick(None, now=self.now) for _ in range(count))
        for each in ready:
            assert abs(counts[each] - count * shares[each] / sum(shares.values())) <= 4

    @invariant()
    def in_flight_is_what_is_under_way(self) -> None:
        for backend in (*self.registry.backends, *self.under_way):
            assert backend.in_flight == self.under_way.count(backend) >= 0

    @invariant()
    def every_pool_holds_each_backend_under_its_standing(self) -> None:
        self.registry.pick(None, now=self.now, tried=self.registry.backends)
        assert set(self.registry.known_models()) == self.known
        for model, pool in self.registry._pools.items():
            members = set(self.pool(model))
            assert set(pool.members()) == members
            for backend in members:
                assert pool._standings[backend] is backend.standing(self.now)
            for rotation in pool._rotations:
                assert rotation._turns.keys() <= members
                assert len(rotation._heap) <= 2 * len(members)
        assert len(self.registry._wakes) < 300


AnyOrder.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase
