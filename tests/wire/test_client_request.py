"""Rules of requests: whom they go to, and their first bytes."""

import pytest
from tornado.httpclient import HTTPRequest

from router.wire.client_request import Head, Origin, Request, TLSOptions, declared_length, encode_head, parse_url

HOST = b"Host: a\r\n"


def test_equal_origins_share_a_pool_and_others_do_not() -> None:
    origin = Origin("https", "a", 443, tls=TLSOptions(ca_file="x"))
    assert origin == Origin("https", "a", 443, tls=TLSOptions(ca_file="x"))
    assert hash(origin) == hash(Origin("https", "a", 443, tls=TLSOptions(ca_file="x")))
    others = [
        Origin("http", "a", 443), Origin("https", "a", 444), Origin("https", "b", 443), Origin("https", "a", 443),
        Origin("https", "a", 443, tls=TLSOptions(ca_file="y")), Origin("https", "a", 443, unix_path="/s"),
    ]  # fmt: skip
    assert len({origin, *others}) == 7


@pytest.mark.parametrize(
    ("url", "origin", "target", "authority"),
    [
        ("http://a", Origin("http", "a", 80), "/", "a"),
        ("http://A:8000/v1/x?y=1&z#f", Origin("http", "a", 8000), "/v1/x?y=1&z", "a:8000"),
        ("https://a:443/", Origin("https", "a", 443), "/", "a"),
        ("http://[::1]:80/x", Origin("http", "::1", 80), "/x", "[::1]"),
        ("http://user:pass@a/?q", Origin("http", "a", 80), "/?q", "a"),
        ("unix:/run/x.sock", Origin("http", "localhost", 80, unix_path="/run/x.sock"), "/", "localhost"),
    ],
)
def test_a_url_names_an_origin_and_a_target(url: str, origin: Origin, target: str, authority: str) -> None:
    assert parse_url(url) == (origin, target)
    assert origin.authority == authority


def test_where_an_origin_leads_is_what_is_connected_to() -> None:
    assert Origin("http", "::1", 80).server == ("::1", 80)
    assert Origin("https", "a", 443, unix_path="/s").server == ("/s", None)


@pytest.mark.parametrize(
    "url", ["", "a", "//a", "ftp://a", "file:///etc/passwd", "http://", "unix:x", "http://a:x", "http://a:99999"]
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_url(url)


def test_an_origin_is_shown_as_a_url_without_secrets() -> None:
    assert str(Origin("https", "a", 8443, tls=TLSOptions(key_file="/k"))) == "https://a:8443"
    assert str(Origin("http", "localhost", 80, unix_path="/s")) == "unix:/s"
    assert "/k" not in repr(Origin("https", "a", 8443, tls=TLSOptions(key_file="/k")))


@pytest.mark.parametrize(
    ("request_", "head"),
    [
        (Request(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (Request(header_lines=b"A: b\r\n"), b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n"),
        (Request(method="POST"), b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"),
        (Request(method="DELETE", target="/x"), b"DELETE /x HTTP/1.1\r\nHost: a\r\n\r\n"),
        (Request(method="POST", body=b"abc"), b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"),
        (Request(method="POST", body=b""), b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"),
        (Request(method="PUT", body_producer=print),
         b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (Request(method="PUT", body_producer=print, header_lines=b"Content-Length: 3\r\n"),
         b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"),
    ],
)  # fmt: skip
def test_a_head_says_how_long_the_body_is(request_: Request, head: bytes) -> None:
    assert encode_head(request_, HOST) == head


@pytest.mark.parametrize("target", ["", "/a b", "/a\r\nX: y", "/a\n", "/a\0", "/é", "/a\x7f", "/\u2028"])
def test_a_target_that_would_break_the_first_line_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        encode_head(Request(target=target), HOST)
    with pytest.raises(ValueError, match=r"."):
        encode_head(Request(method=target), HOST)


def test_a_declared_length_is_found_in_any_case() -> None:
    assert declared_length(b"A: b\r\ncontent-LENGTH: 12\r\n") == 12
    assert declared_length(b"X-Content-Length: 12\r\n") is None


def test_a_request_has_every_attribute_that_tornados_has() -> None:
    """Whoever takes Tornado's requests can take ours."""
    ours = Request(url="http://a")
    assert isinstance(ours, HTTPRequest)
    for name in vars(HTTPRequest("http://a")):
        getattr(ours, name.removeprefix("_"))


def test_a_head_finds_the_first_value_of_a_header_in_any_case() -> None:
    head = Head(200, "OK", [(b"X", b"1"), (b"Retry-After", b"2"), (b"retry-after", b"3")])
    assert (head.get(b"retry-after"), head.get(b"y")) == (b"2", None)
