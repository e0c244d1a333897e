"""Rules of router/relay/route.py."""

import pytest

from router.relay.route import Body, Route


def test_a_route_takes_json_and_lies_under_v1_unless_said_otherwise() -> None:
    route = Route("/v1/chat/completions", "POST")
    assert (route.body, route.under_v1, route.end_marks, route.any_owner) == (Body.JSON, True, (), False)


def test_a_route_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Route("/v1/x", "POST").path = "/v1/y"  # type: ignore[misc]
