"""Rules of standing in the pools: what time does, what other workers hold, what a slow start may not take."""

from collections import Counter

from router.backends.backend import Backend, BackendSpec, Reason, Standing, Unavailable
from router.backends.health import Seen
from router.backends.registry import Registry


class Others:
    """A table of attempts in flight, as workers share one."""

    def __init__(self) -> None:
        self.ours: Counter[str] = Counter()
        self.theirs: Counter[str] = Counter()

    def take(self, name: str) -> None:
        self.ours[name] += 1

    def give(self, name: str) -> None:
        self.ours[name] -= 1

    def elsewhere(self, name: str) -> int:
        return self.theirs[name]


def make(count: int = 2, *, limit: int | None = 2) -> tuple[Registry, Others]:
    others = Others()
    specs = [BackendSpec(f"b{index}", f"http://b{index}:1", max_connections=limit) for index in range(count)]
    registry = Registry(specs, counts=others)
    for backend in registry.backends:
        registry.listed(backend, [{"id": "m"}], now=0)
        registry.probed(backend, Seen.PASSED, now=0)
    return registry, others


def fill(registry: Registry, *, now: float = 0.0) -> list[str]:
    """Begin attempts until nobody takes one more; return at whom."""
    begun = []
    while isinstance(backend := registry.pick("m", now=now), Backend):
        registry.acquire(backend)
        begun.append(backend.spec.name)
    assert backend.reason is Reason.ALL_FULL
    return sorted(begun)


def test_what_other_workers_have_in_flight_counts() -> None:
    registry, others = make()
    others.theirs["b0"] = 1

    assert fill(registry) == ["b0", "b1", "b1"]
    assert others.ours == {"b0": 1, "b1": 2}


def test_a_backend_that_others_have_filled_meanwhile_is_not_picked() -> None:
    registry, others = make()
    others.theirs.update(b0=2, b1=1)

    assert fill(registry) == ["b1"]
    assert [each.standing(0) for each in registry.backends] == [Standing.FULL, Standing.FULL]


def test_a_place_that_others_have_given_back_is_found_though_nobody_told() -> None:
    registry, others = make()
    others.theirs.update(b0=2, b1=2)
    assert fill(registry) == []
    assert not registry.has_free("m", now=0)
    others.theirs["b1"] = 1
    assert registry.has_free("m", now=0)

    assert fill(registry) == ["b1"]


def test_who_was_tried_is_not_picked_for_having_a_place_again() -> None:
    registry, others = make()
    others.theirs.update(b0=2, b1=2)
    fill(registry)
    others.theirs["b1"] = 0
    answer = registry.pick("m", now=0, tried=(registry.backends[1],))

    assert isinstance(answer, Unavailable)


def test_every_attempt_is_counted_once_and_given_back_also_of_a_backend_that_is_gone() -> None:
    registry, others = make(limit=None)
    picked = [registry.pick("m", now=0) for _ in range(6)]
    for backend in picked:
        assert isinstance(backend, Backend)
        registry.acquire(backend)
    assert others.ours == {"b0": 3, "b1": 3}
    registry.update([registry.backends[1].spec])
    for backend in picked:
        assert isinstance(backend, Backend)
        registry.release(backend)

    assert others.ours == {"b0": 0, "b1": 0}


def test_counts_may_be_shared_later() -> None:
    registry, _ = make()
    others = Others()
    others.theirs["b0"] = 2
    registry.counts = others

    assert fill(registry) == ["b1", "b1"]


def test_where_all_start_slowly_the_limits_turn_nobody_away() -> None:
    registry, _ = make(limit=20)
    for backend in registry.backends:
        registry.probed(backend, Seen.REFUSED, now=1)
        for _ in range(2):
            registry.probed(backend, Seen.PASSED, now=1)
    assert [backend.max_in_flight for backend in registry.backends] == [2, 2]

    assert len(fill(registry, now=1)) == 40


def test_who_has_come_furthest_has_all_its_places_and_the_others_in_proportion() -> None:
    registry, _ = make(limit=20)
    a, b = registry.backends
    for backend, now in ((a, 0), (b, 20)):
        registry.probed(backend, Seen.REFUSED, now=now)
        for _ in range(2):
            registry.probed(backend, Seen.PASSED, now=now)

    assert Counter(fill(registry, now=20)) == {"b0": 20, "b1": 3}  # 70 % and 10 %


def test_while_one_has_its_whole_strength_the_limit_of_a_slow_start_holds() -> None:
    registry, _ = make(limit=20)
    registry.probed(registry.backends[0], Seen.REFUSED, now=1)
    for _ in range(2):
        registry.probed(registry.backends[0], Seen.PASSED, now=1)

    assert Counter(fill(registry, now=1)) == {"b0": 2, "b1": 20}
    assert Counter(fill(registry, now=31)) == {"b0": 18}
