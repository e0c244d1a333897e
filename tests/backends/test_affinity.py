"""Rules of router/backends/affinity.py: who gets a session's request, and for whose sake it goes elsewhere."""

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import blake2b

import pytest

from router.backends.affinity import KEEPS, KEEPS_ALWAYS, MEAN_FOR, TAKES_ALWAYS, Affinity
from router.backends.backend import Backend, BackendSpec
from router.backends.breaker import BreakerRules
from router.backends.health import HealthRules, Seen
from router.backends.registry import Registry
from router.backends.sessions import Verdict
from router.exchange import AttemptOutcome

MODEL = "m"


def key(number: int) -> bytes:
    return blake2b(number.to_bytes(8, "big"), digest_size=16).digest()


def registry(*names: str, weights: Mapping[str, int] | None = None, most: int | None = None) -> Registry:
    """Return one whose backends are up, and have no slow start."""
    weighed = weights or {}
    made = Registry(
        [
            BackendSpec(name, f"http://{name}", weight=weighed.get(name, 1), max_connections=most, models=(MODEL,))
            for name in names
        ],
        health_rules=HealthRules(rise=1, fall=1, slow_start=0.0),
        breaker_rules=BreakerRules(failures=3),
    )
    for backend in made.backends:
        made.probed(backend, Seen.PASSED, now=0.0)
    return made


def at_work(cluster: Registry, name: str, count: int) -> Backend:
    backend = cluster.find(name)
    assert backend is not None
    for _ in range(count):
        cluster.acquire(backend)
    return backend


def placed(cluster: Registry, numbers: Iterable[int], *, now: float = 1.0) -> dict[int, str]:
    """Return where new sessions go while nothing is at work."""
    affinity, found = Affinity(cluster), {}
    for number in numbers:
        backend, verdict = affinity.place(MODEL, was_at=None, key=key(number), now=now)
        assert backend is not None
        assert verdict is Verdict.NEW
        found[number] = backend.spec.name
    return found


def test_a_session_stays_where_it_was() -> None:
    cluster = registry("a", "b", "c")
    for name in "abc":
        backend, verdict = Affinity(cluster).place(MODEL, was_at=name, key=key(1), now=1.0)
        assert backend is cluster.find(name)
        assert verdict is Verdict.KEPT


def test_two_routers_agree_on_where_a_session_begins_in_whatever_order_they_know_the_backends() -> None:
    one, other = registry("a", "b", "c", "d"), registry("d", "b", "a", "c")

    assert placed(one, range(1000)) == placed(other, range(1000))


def test_new_sessions_are_spread_evenly_and_by_weight() -> None:
    even = Counter(placed(registry("a", "b", "c", "d"), range(8000)).values())
    weighed = Counter(placed(registry("a", "b", weights={"b": 3}), range(8000)).values())

    assert all(1800 < count < 2200 for count in even.values())
    assert 5800 < weighed["b"] < 6200


def test_where_a_backend_goes_only_its_sessions_move() -> None:
    before, after = placed(registry("a", "b", "c"), range(3000)), placed(registry("a", "c"), range(3000))

    assert all(after[number] == name for number, name in before.items() if name != "b")


def test_a_slow_start_holds_for_sessions_too() -> None:
    cluster = Registry(
        [BackendSpec(name, f"http://{name}", models=(MODEL,)) for name in "ab"],
        health_rules=HealthRules(rise=1, fall=1, slow_start=10.0),
    )
    for backend in cluster.backends:
        cluster.probed(backend, Seen.PASSED, now=0.0)
    back = cluster.find("b")
    assert back is not None
    cluster.probed(back, Seen.REFUSED, now=100.0)
    cluster.probed(back, Seen.PASSED, now=101.0)
    just_back = Counter(placed(cluster, range(4000), now=101.0).values())["b"]
    later = Counter(placed(cluster, range(4000), now=120.0).values())["b"]

    assert 250 < just_back < 480  # a tenth of its weight, of 1.1
    assert 1850 < later < 2150


def test_what_is_little_overloads_nobody() -> None:
    cluster = registry("a", "b", "c")
    at_work(cluster, "a", KEEPS_ALWAYS - 1)
    assert Affinity(cluster).place(MODEL, was_at="a", key=key(1), now=1.0)[1] is Verdict.KEPT

    at_work(cluster, "b", TAKES_ALWAYS - 1)
    assert "b" in placed(cluster, range(50)).values()


def test_a_session_that_costs_nothing_to_move_goes_where_less_is_at_work() -> None:
    """One whose cache is there stays longer than a new one comes."""
    cluster = registry("a", "b", "c")
    for name, count in (("a", 30), ("b", 20), ("c", 20)):
        at_work(cluster, name, count)

    assert Affinity(cluster).place(MODEL, was_at="a", key=key(1), now=1.0)[1] is Verdict.KEPT
    assert set(placed(cluster, range(200)).values()) == {"b", "c"}


def test_who_has_more_at_work_than_others_is_left_for_one_who_has_room() -> None:
    cluster = registry("a", "b", "c")
    for name, count in (("a", 50), ("b", 10), ("c", 10)):
        at_work(cluster, name, count)
    backend, verdict = Affinity(cluster).place(MODEL, was_at="a", key=key(1), now=1.0)

    assert verdict is Verdict.OVERLOADED
    assert backend is not None
    assert backend.spec.name in "bc"


def test_the_bound_is_the_mean_by_weight() -> None:
    """Where one has three times the weight, three times as much at work is its share, and no overload."""
    cluster = registry("a", "b", "c", "d", weights={"a": 3})
    for name, count in (("a", 30), ("b", 10), ("c", 10), ("d", 10)):
        at_work(cluster, name, count)
    affinity = Affinity(cluster)

    assert affinity.place(MODEL, was_at="a", key=key(1), now=1.0)[1] is Verdict.KEPT
    at_work(cluster, "a", 70)
    assert affinity.place(MODEL, was_at="a", key=key(1), now=2.0)[1] is Verdict.OVERLOADED


def test_one_conversation_that_everybody_asks_spreads_out() -> None:
    """Nobody gets more than the bound, however many come at once: the mean that is old misleads for a moment only."""
    cluster, now = registry("a", "b", "c", "d"), 1.0
    affinity, was_at = Affinity(cluster), "a"
    for _ in range(400):
        backend, _ = affinity.place(MODEL, was_at=was_at, key=key(1), now=now)
        chosen = backend or cluster.pick(MODEL, now=now)
        assert isinstance(chosen, Backend)
        cluster.acquire(chosen)
        now += MEAN_FOR / 3
    loads = [each.in_flight for each in cluster.backends]

    assert sum(loads) == 400
    assert max(loads) <= KEEPS * 100 + KEEPS_ALWAYS
    assert sum(load > 20 for load in loads) >= 3


def test_others_work_counts_as_much_as_ours() -> None:
    class Counts:
        def take(self, name: str) -> None: ...
        def give(self, name: str) -> None: ...
        def elsewhere(self, name: str) -> int:
            return 20 if name == "a" else 1

    cluster = registry("a", "b")
    cluster.counts = Counts()

    assert Affinity(cluster).place(MODEL, was_at="a", key=key(1), now=1.0)[1] is Verdict.OVERLOADED


def test_who_has_all_the_requests_that_it_may_have_is_overloaded() -> None:
    cluster = registry("a", "b", most=2)
    at_work(cluster, "a", 2)
    backend, verdict = Affinity(cluster).place(MODEL, was_at="a", key=key(1), now=1.0)

    assert (backend, verdict) == (cluster.find("b"), Verdict.OVERLOADED)


@pytest.mark.parametrize("retry_after", [None, 5.0])
def test_who_said_that_it_is_full_is_left_alone(retry_after: float | None) -> None:
    cluster = registry("a", "b")
    full = at_work(cluster, "a", 1)
    cluster.release(full)
    cluster.report(full, AttemptOutcome.OVERLOADED, now=1.0, retry_after=retry_after)

    assert Affinity(cluster).place(MODEL, was_at="a", key=key(1), now=1.1) == (cluster.find("b"), Verdict.OVERLOADED)


@pytest.mark.parametrize("how", ["down", "drained", "removed", "breaker", "other model"])
def test_who_takes_no_requests_is_unusable(how: str) -> None:
    cluster = registry("a", "b")
    gone = cluster.find("a")
    assert gone is not None
    if how == "down":
        cluster.probed(gone, Seen.REFUSED, now=0.5)
    elif how == "drained":
        cluster.drain("a")
    elif how == "removed":
        cluster.update([BackendSpec("b", "http://b", models=(MODEL,))])
    elif how == "breaker":
        for _ in range(3):
            cluster.report(gone, AttemptOutcome.SERVER_ERROR, now=0.5)
    else:
        cluster.update([BackendSpec("a", "http://a", models=("x",)), BackendSpec("b", "http://b", models=(MODEL,))])

    assert Affinity(cluster).place(MODEL, was_at="a", key=key(1), now=0.6) == (cluster.find("b"), Verdict.UNUSABLE)


def test_a_backend_whose_breaker_is_half_open_gets_trials_and_no_sessions() -> None:
    cluster = registry("a", "b")
    broken = cluster.find("a")
    assert broken is not None
    for _ in range(3):
        cluster.report(broken, AttemptOutcome.SERVER_ERROR, now=0.5)
    later = broken.breaker.allows_at() + 0.1
    backend, verdict = Affinity(cluster).place(MODEL, was_at="a", key=key(1), now=later)

    assert (backend, verdict) == (cluster.find("b"), Verdict.UNUSABLE)


def test_with_nobody_usable_or_a_model_that_nobody_serves_the_usual_policy_decides() -> None:
    cluster = registry("a")
    affinity = Affinity(cluster)
    assert affinity.place("x", was_at="a", key=key(1), now=1.0) == (None, Verdict.UNUSABLE)

    cluster.drain("a")
    assert affinity.place(MODEL, was_at="a", key=key(1), now=1.0) == (None, Verdict.UNUSABLE)
    assert affinity.place(MODEL, was_at=None, key=key(1), now=1.0) == (None, Verdict.NEW)


def test_who_was_not_probed_yet_is_nobodys_first_choice_while_others_are_ready() -> None:
    cluster = registry("a")
    cluster.update([BackendSpec(name, f"http://{name}", models=(MODEL,)) for name in "ab"])

    assert set(placed(cluster, range(50)).values()) == {"a"}
    assert Affinity(cluster).place(MODEL, was_at="b", key=key(1), now=1.0) == (cluster.find("a"), Verdict.UNUSABLE)


def test_with_any_load_and_any_state_only_who_may_be_picked_is_placed() -> None:
    dice = random.Random(7)
    for _ in range(300):
        cluster = registry("a", "b", "c", most=dice.choice([None, 3]))
        for backend in cluster.backends:
            at_work(cluster, backend.spec.name, dice.randrange(4 if backend.spec.max_connections else 40))
            seen = dice.choice([None, None, Seen.REFUSED, "drain", AttemptOutcome.OVERLOADED])
            if isinstance(seen, Seen):
                cluster.probed(backend, seen, now=1.0)
            elif isinstance(seen, AttemptOutcome):
                cluster.report(backend, seen, now=1.0)
            elif seen is not None:
                cluster.drain(backend.spec.name)
        was_at = dice.choice(["a", "b", "c", "gone", None])
        chosen, _ = Affinity(cluster).place(MODEL, was_at=was_at, key=key(dice.randrange(1000)), now=1.1)
        others = {each: each.standing(1.1) for each in cluster.backends}
        if chosen is not None:
            assert others[chosen] == min(others.values())
            assert not chosen.is_full
