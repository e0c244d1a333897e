"""Rules of knowing whom to look at next."""

import math

from router.backends.backend import Backend, BackendSpec
from router.backends.breaker import BreakerRules
from router.backends.health import HealthRules
from router.backends.wakes import Wakes


def make(count: int) -> list[Backend]:
    rules = {"health_rules": HealthRules(), "breaker_rules": BreakerRules()}
    return [Backend(BackendSpec(f"b{n}", f"http://b{n}:1"), n, **rules) for n in range(count)]  # type: ignore[arg-type]


def test_each_is_due_once_at_the_earliest_of_its_times() -> None:
    a, b = make(2)
    wakes = Wakes()
    assert wakes.next_at == math.inf
    for backend, at in ((a, 5), (a, 3), (a, 9), (b, 4)):
        wakes.note(backend, at)

    assert wakes.next_at == 3
    assert list(wakes.due(2)) == []
    assert list(wakes.due(4)) == [a, b]
    assert list(wakes.due(100)) == []
    assert (wakes.next_at, len(wakes)) == (math.inf, 0)


def test_who_is_noted_while_others_come_up_is_due_later() -> None:
    (a,) = make(1)
    wakes = Wakes()
    wakes.note(a, 1)
    for backend in wakes.due(1):
        wakes.note(backend, 2)

    assert wakes.next_at == 2
    assert list(wakes.due(2)) == [a]


def test_nothing_is_kept_of_who_is_forgotten() -> None:
    a, b = make(2)
    wakes = Wakes()
    for at in (9, 8, 7):
        wakes.note(a, at)
    wakes.note(b, 8)
    wakes.forget(a)

    assert (len(wakes), wakes.next_at) == (1, 8)
    assert list(wakes.due(100)) == [b]
