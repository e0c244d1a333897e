"""Rules of what a new configuration keeps, adds and takes away."""

from dataclasses import replace

import pytest

from router.backends.backend import Backend, BackendSpec
from router.backends.breaker import BreakerRules
from router.backends.health import HealthRules
from router.backends.roster import Updated, compare

A, B, C = (BackendSpec(name, f"http://{name}:1") for name in "abc")


def current(*specs: BackendSpec) -> dict[str, Backend]:
    rules = {"health_rules": HealthRules(), "breaker_rules": BreakerRules()}
    return {spec.name: Backend(spec, n, **rules) for n, spec in enumerate(specs)}  # type: ignore[arg-type]


def test_the_same_backends_in_another_order_are_no_change() -> None:
    assert compare(current(A, B), [B, A]).told() == Updated()


def test_names_are_added_and_removed() -> None:
    assert compare(current(A, B), [B, C]).told() == Updated(added=("c",), removed=("a",))


@pytest.mark.parametrize(
    "fields",
    [
        *({"weight": 5}, {"models": ("m",)}, {"api_key": "k"}, {"max_connections": 3}, {"dialect": "vllm"}),
        *({"api_prefix": "/x"}, {"health_path": "/y"}),
    ],
)
def test_all_but_the_url_may_change_while_a_backend_is_kept(fields: dict[str, object]) -> None:
    known = current(A, B)
    plan = compare(known, [replace(A, **fields), B])  # type: ignore[arg-type]

    assert plan.told() == Updated(changed=("a",))
    assert [backend for _, backend in plan.order] == list(known.values())


def test_under_another_url_there_is_another_backend() -> None:
    known = current(A, B)
    plan = compare(known, [replace(A, url="http://elsewhere:1"), B])

    assert plan.told() == Updated(added=("a",), removed=("a",))
    assert plan.removed == (known["a"],)


def test_two_backends_of_one_name_are_an_error() -> None:
    with pytest.raises(ValueError, match="share a name"):
        compare({}, [A, replace(B, name="a")])
