"""Rules of router/middleware/interface.py: what operators' code is given."""

import dataclasses

import pytest

from router.middleware import Call, Middleware, Refusal, Request
from router.middleware.interface import HOOKS


def test_the_package_offers_what_the_documentation_names() -> None:
    assert all(callable(getattr(Middleware, hook)) for hook in HOOKS)
    assert Middleware().on_request(Call("a", "/v1", "c", "http", 0.0), Request("POST", "/", "", (), b"")) is None


def test_a_request_is_changed_by_making_another_one() -> None:
    had = Request("POST", "/v1", "", (("A", "1"),), b"x")

    assert dataclasses.replace(had, body=b"y") == Request("POST", "/v1", "", (("A", "1"),), b"y")
    with pytest.raises(dataclasses.FrozenInstanceError):
        had.body = b"z"  # type: ignore[misc]


def test_each_call_has_a_state_of_its_own() -> None:
    one, other = (Call("a", "/v1", "c", "http", 0.0) for _ in range(2))
    one.state["x"] = 1

    assert other.state == {}


@pytest.mark.parametrize("status", [200, 302, 399, 500, 502, 600, "403", None])
def test_a_refusal_has_the_status_of_one(status: object) -> None:
    with pytest.raises(ValueError, match="status"):
        Refusal("No.", status=status)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [{"message": b"No."}, {"message": "No.", "code": 3}, {"message": "No.", "param": []}])
def test_a_refusal_is_told_in_texts(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="texts"):
        Refusal(**given)  # type: ignore[arg-type]


def test_a_refusal_is_a_403_unless_it_says_otherwise() -> None:
    assert (Refusal("No.").status, Refusal("No.").code, Refusal("No.", status=503).status) == (403, "refused", 503)
