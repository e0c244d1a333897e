"""Rules of the registry: who is picked, what reports do, what is listed; and a machine that tries to break them."""

import math
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from router.backends.backend import (
    ALARM_INTERVAL,
    EFFECTS,
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
from router.backends.health import HealthRules, HealthState, Seen
from router.backends.registry import MAX_MODELS, Registry
from router.exchange import AttemptOutcome

FAILURES = BreakerRules().failures


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
    assert names(registry, 10, now=later) == {"b0": 5, "b1": 5}


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
    assert names(registry, 10, now=30) == {"b0": 5, "b1": 5}


def test_without_retry_after_a_full_backend_is_picked_last_for_a_second() -> None:
    registry = make(2)
    a, b = registry.backends
    registry.report(a, AttemptOutcome.OVERLOADED, now=0)

    assert names(registry, 10, now=0.9) == {"b1": 10}
    assert picked(registry, now=0.9, tried=(b,)) is a
    assert names(registry, 10, now=1.0) == {"b0": 5, "b1": 5}


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
    assert names(registry, 10, now=1) == {"b0": 5, "b1": 5}


def test_without_probes_a_refusal_opens_the_breaker_and_its_trial_brings_the_backend_back() -> None:
    specs = [BackendSpec(name, f"http://{name}:1", models=("m",)) for name in ("b0", "b1")]
    registry = Registry(specs, health_rules=HealthRules(enabled=False))
    backend = registry.backends[0]
    registry.report(backend, AttemptOutcome.REFUSED, now=0)

    assert names(registry, 10, now=1) == {"b1": 10}
    later = backend.breaker.until
    assert names(registry, 10, now=later)["b0"] == 1
    registry.report(backend, AttemptOutcome.OK, now=later)
    assert names(registry, 10, now=later) == {"b0": 5, "b1": 5}


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

BACKENDS = st.integers(0, 3)


class AnyOrder(RuleBasedStateMachine):
    """Random reports, probes, lists and time steps."""

    @initialize(limit=st.sampled_from([None, 2]), fall=st.integers(1, 3))
    def begin(self, limit: int | None, fall: int) -> None:
        specs = [BackendSpec(f"b{n}", f"http://b{n}:1", max_connections=limit, weight=1 + n % 2) for n in range(4)]
        self.registry = Registry(specs, health_rules=HealthRules(fall=fall), breaker_rules=BreakerRules(failures=3))
        self.now = 0.0
        self.under_way: list[Backend] = []
        self.refused: dict[Backend, int] = {}  # passed probes since the refusal
        self.last_trial = dict.fromkeys(self.registry.backends, -math.inf)
        self.served: dict[Backend, set[str]] = {}
        for backend in self.registry.backends:
            self.told(backend, {"m"})
            self.registry.probed(backend, Seen.PASSED, now=self.now)

    def told(self, backend: Backend, models: set[str]) -> None:
        self.served[backend] = models
        self.registry.listed(backend, [{"id": name} for name in sorted(models)], now=self.now)

    @rule(step=st.sampled_from([1 / 64, 0.5, 1.0, 5.0, 12.0, 70.0]))
    def time_passes(self, step: float) -> None:
        self.now += step

    @rule(number=BACKENDS, models=st.sets(st.sampled_from(["m", "n"])))
    def list_models(self, number: int, models: set[str]) -> None:
        self.told(self.registry.backends[number], models)

    @rule(number=BACKENDS, seen=st.sampled_from([Seen.PASSED, Seen.PASSED, Seen.FAILED, Seen.REFUSED]))
    def probe(self, number: int, seen: Seen) -> None:
        backend = self.registry.backends[number]
        self.registry.probed(backend, seen, now=self.now)
        if seen is Seen.REFUSED:
            self.refused[backend] = 0
        elif seen is Seen.PASSED and backend in self.refused:
            self.refused[backend] += 1
            if self.refused[backend] >= backend.health.rules.rise:
                del self.refused[backend]
        elif backend in self.refused:
            self.refused[backend] = 0

    @rule()
    def everybody_refuses(self) -> None:
        for number in range(4):
            self.probe(number, Seen.REFUSED)

    @rule(model=st.sampled_from(["m", "n", None]), tried=st.sets(BACKENDS, max_size=2))
    def pick(self, model: str | None, tried: set[int]) -> None:
        left_out = tuple(self.registry.backends[number] for number in tried)
        pool = [each for each in self.registry.backends if model is None or model in self.served[each]]
        standings = {each: each.standing(self.now) for each in pool}
        breakers = {each: each.breaker.state for each in pool}
        backend = self.registry.pick(model, now=self.now, tried=left_out)
        if isinstance(backend, Unavailable):
            can_be_tried = [each for each in pool if standings[each] <= Standing.UNPROBED and each not in left_out]
            assert not can_be_tried
            assert backend.retry_after <= 60
            return
        assert backend in pool
        assert backend not in left_out
        assert standings[backend] not in (Standing.FULL, Standing.RESTING)
        if backend in self.refused or breakers[backend] is BreakerState.OPEN:
            assert standings[backend] is not Standing.OUT or set(standings.values()) == {Standing.OUT}
        if standings[backend] is Standing.OUT:  # a trial
            assert self.now >= self.last_trial[backend] + TRIAL_INTERVAL
            self.last_trial[backend] = self.now
        elif breakers[backend] is not BreakerState.CLOSED:  # its breaker's own trial
            self.last_trial[backend] = self.now
        assert standings[backend] is Standing.OUT or backend not in self.refused
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
        for _ in range(times):  # others that ended alike
            self.ends_once(backend, outcome, retry_after)
        self.under_way.remove(backend)
        self.registry.release(backend)

    def ends_once(self, backend: Backend, outcome: AttemptOutcome, retry_after: float | None) -> None:
        worked, was_suspect = backend.is_working, backend.health.fails > 0
        self.registry.report(backend, outcome, now=self.now, retry_after=retry_after, jitter=0.3)
        if outcome is AttemptOutcome.REFUSED:
            self.refused[backend] = 0
            assert backend.is_down
        elif worked and not backend.is_working and not (EFFECTS[outcome].seen and was_suspect):  # by counts
            for model in (None, *self.served[backend]):
                others = (each for each in self.registry.backends if model is None or model in self.served[each])
                assert any(each.is_working for each in others)

    @rule(rounds=st.integers(1, 3))
    def ready_backends_are_picked_evenly(self, rounds: int) -> None:
        self.registry.pick(None, now=self.now, tried=self.registry.backends)  # lets time act
        ready = [each for each in self.registry.backends if each.standing(self.now) is Standing.READY]
        ready = [each for each in ready if each.breaker.state is BreakerState.CLOSED]
        if len(ready) < len([each for each in self.registry.backends if each.standing(self.now) is Standing.READY]):
            return
        weights = sum(each.spec.weight for each in ready)
        count = rounds * weights
        counts = Counter(self.registry.pick(None, now=self.now) for _ in range(count)) if ready else Counter()
        for each in ready:
            assert abs(counts[each] - rounds * each.spec.weight) <= 2

    @invariant()
    def in_flight_is_what_is_under_way(self) -> None:
        for backend in self.registry.backends:
            assert backend.in_flight == self.under_way.count(backend) >= 0

    @invariant()
    def every_pool_holds_each_backend_under_its_standing(self) -> None:
        self.registry.pick(None, now=self.now, tried=self.registry.backends)
        for model, pool in self.registry._pools.items():
            members = {each for each in self.registry.backends if model is None or model in self.served[each]}
            assert set(pool.members()) == members
            for backend in members:
                assert pool._standings[backend] is backend.standing(self.now)
        assert len(self.registry._wakes) < 200


AnyOrder.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase
