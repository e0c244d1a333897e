"""Rules of router/relay/endpoint.py."""

from router.relay.endpoint import Endpoint
from router.relay.route import Route
from router.wire.client import Origin

CHAT = Route("/v1/chat/completions", "POST")
TOKENIZE = Route("/tokenize", "POST", under_v1=False)


def test_the_api_prefix_stands_before_routes_of_the_api_only() -> None:
    endpoint = Endpoint(Origin("http", "h", 80), base_path="/base", api_prefix="/api/v1")
    assert endpoint.target(CHAT, "chat/completions") == "/base/api/v1/chat/completions"
    assert endpoint.target(TOKENIZE, "tokenize") == "/base/tokenize"


def test_a_key_is_sent_and_never_shown() -> None:
    endpoint = Endpoint(Origin("http", "h", 80), api_key="sk-secret")
    assert endpoint.key_lines(named_events=False) == b"Authorization: Bearer sk-secret\r\n"
    assert b"x-api-key: sk-secret\r\n" in endpoint.key_lines(named_events=True)
    assert "sk-secret" not in repr(endpoint)


def test_without_a_key_nothing_is_sent() -> None:
    assert Endpoint(Origin("http", "h", 80)).key_lines(named_events=True) == b""
