"""Rules of Tornado's own requests on our wire."""

import ssl
from typing import Any

import pytest
from tornado.httpclient import HTTPRequest

from router.wire.client_request import Origin, Request, TLSOptions
from router.wire.plain import USER_AGENT, translate

DEFAULTS: dict[str, Any] = dict(HTTPRequest._DEFAULTS)


def of(url: str = "http://a/x", **settings: Any) -> Request:
    return translate(HTTPRequest(url, **settings), DEFAULTS)


def lines(**settings: Any) -> list[bytes]:
    return of(**settings).header_lines.split(b"\r\n")[:-1]


def test_tornados_defaults_apply_and_zero_means_no_timeout() -> None:
    request = of()
    assert (request.connect_timeout, request.request_timeout) == (20.0, 20.0)
    assert (request.first_byte_timeout, request.idle_timeout) == (None, None)
    request = of(connect_timeout=0, request_timeout=0)
    assert (request.connect_timeout, request.request_timeout) == (None, None)


def test_headers_are_sent_in_order_but_those_that_the_wire_writes() -> None:
    own = {"Host": "evil", "Content-Length": "7", "connection": "close", "Transfer-Encoding": "chunked"}
    headers = {"X-A": "1", **own, "B": "é"}
    assert lines(headers=headers) == [b"X-A: 1", b"B: \xe9", b"User-Agent: " + USER_AGENT.encode()]


def test_a_header_may_be_given_in_bytes() -> None:
    assert lines(headers={"X-A": b"\xc3\xa9"}, user_agent=b"x") == [b"X-A: \xc3\xa9", b"User-Agent: x"]


def test_credentials_are_composed_characters() -> None:
    """RFC 7617 section 2.1 by way of RFC 7613: an e and its accent are one character to the server."""
    assert lines(auth_username="e\u0301", auth_password="p") == lines(auth_username="é", auth_password="p")


def test_the_user_agent_is_the_requests_own_if_it_has_one() -> None:
    assert lines(user_agent="x") == [b"User-Agent: x"]
    assert lines(headers={"user-agent": "y"}) == [b"User-Agent: y"]


def test_a_body_without_a_type_is_a_form_as_in_tornado() -> None:
    assert b"Content-Type: application/x-www-form-urlencoded" in lines(method="POST", body="a=b")
    assert b"Content-Type: text/plain" in lines(method="POST", body="a", headers={"content-type": "text/plain"})
    assert of(method="POST", body="é").body == "é".encode()


def test_credentials_come_from_the_url_or_the_request() -> None:
    expected = b"Authorization: Basic dXNlcjpwQHNz"  # user:p@ss
    assert expected in lines(url="http://user:p%40ss@a/")
    assert expected in lines(auth_username="user", auth_password="p@ss")


@pytest.mark.parametrize(
    "settings",
    [
        {"proxy_host": "p", "proxy_port": 1}, {"network_interface": "127.0.0.1"}, {"expect_100_continue": True},
        {"prepare_curl_callback": print}, {"auth_username": "u", "auth_mode": "digest"},
    ],
)  # fmt: skip
def test_what_is_not_supported_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(NotImplementedError):
        of(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "POST"}, {"method": "GET", "body": "x"}, {"method": "BREW"}, {"url": "ftp://a"},
        {"headers": {"A": "b\r\nC: d"}}, {"headers": {"A b": "c"}}, {"headers": {"A": "\0"}},
        {"headers": {"A": "€"}}, {"user_agent": "x\nY: z"}, {"headers": {"": "x"}},
    ],
)  # fmt: skip
def test_what_cannot_be_sent_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        of(**settings)


def test_any_method_and_body_go_with_allow_nonstandard_methods() -> None:
    assert of(method="BREW", allow_nonstandard_methods=True).method == "BREW"
    assert of(method="GET", body="x", allow_nonstandard_methods=True).body == b"x"


def test_tls_settings_become_part_of_the_origin() -> None:
    assert of("https://a/").origin == Origin("https", "a", 443, tls=TLSOptions())
    request = of("https://a/", validate_cert=False, ca_certs="ca", client_cert="c", client_key="k")
    assert request.origin == Origin("https", "a", 443, tls=TLSOptions("ca", False, None, "c", "k"))
    context = ssl.create_default_context()
    origin = of("https://a/", ssl_options=context).origin
    assert origin is not None
    assert origin.tls is context
    request = of("https://a/", ssl_options={"ca_certs": "ca", "cert_reqs": ssl.CERT_NONE})
    assert request.origin == Origin("https", "a", 443, tls=TLSOptions("ca", False))


def test_our_own_request_with_a_url_keeps_its_timeouts_and_callbacks() -> None:
    given = Request(url="http://a/x?y", method="POST", body=b"z", headers={"A": "b"}, idle_timeout=1, fresh=True)
    given.on_head = print
    request = translate(given, DEFAULTS)
    assert (request.origin, request.target) == (Origin("http", "a", 80), "/x?y")
    assert (request.connect_timeout, request.request_timeout, request.idle_timeout) == (None, None, 1)
    assert (request.fresh, request.on_head, request.body) == (True, print, b"z")
    assert b"A: b\r\n" in request.header_lines
