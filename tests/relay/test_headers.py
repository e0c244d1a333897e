"""Rules of router/relay/headers.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.relay.headers import HARMLESS_ID, Forwarding, ToBackend, ToClient, find, retry_after

NOW = 1_800_000_000.0


def names(lines: bytes) -> list[str]:
    return [line.split(b":")[0].decode().lower() for line in lines.split(b"\r\n")[:-1]]


@pytest.mark.parametrize(
    "name",
    ["Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Proxy-Authorization", "Host",
     "Content-Length", "Expect", "Authorization", "X-Api-Key", "Api-Key", "Cookie", "X-Forwarded-For", "Forwarded",
     "X-Real-Ip", "X-Data-Parallel-Rank", "X_api_key", "X-Router-Backend", "X-Request-Timeout"],
)  # fmt: skip
def test_what_is_not_for_the_backend_stays_here(name: str) -> None:
    lines = ToBackend(Forwarding()).lines([(name.encode(), b"secret"), (b"User-Agent", b"x")], "", "id")
    assert b"secret" not in lines
    assert names(lines) == ["user-agent", "accept-encoding", "x-request-id"]


def test_headers_that_connection_names_stay_here() -> None:
    headers = [(b"X-Custom", b"1"), (b"Traceparent", b"00-a-b-01")]
    assert names(ToBackend(Forwarding()).lines(headers, "close, X-Custom", "id"))[0] == "traceparent"


def test_everything_else_travels_in_its_order_and_the_id_is_ours() -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"X-Request-Id", b"theirs"),
        (b"X-Session-Id", b"s"),
        (b"X-A", b"1"),
        (b"X-A", b"2"),
    ]
    assert ToBackend(Forwarding()).lines(headers, "keep-alive", "ours") == (
        b"content-type: application/json\r\nX-Session-Id: s\r\nX-A: 1\r\nX-A: 2\r\n"
        b"Accept-Encoding: identity\r\nX-Request-Id: ours\r\n"
    )


def test_credentials_and_cookies_travel_where_configured() -> None:
    rules = Forwarding(authorization=True, cookies=True)
    assert names(ToBackend(rules).lines([(b"Authorization", b"Bearer x"), (b"Cookie", b"a=b")], "", "id"))[:2] == [
        "authorization",
        "cookie",
    ]


def test_made_up_names_do_not_grow_the_table() -> None:
    to_backend = ToBackend(Forwarding())
    for number in range(3000):
        to_backend.lines([(b"X-%d" % number, b"1")], "", "id")
    assert len(to_backend._prefixes) <= 1000


def test_long_names_travel_and_are_not_remembered() -> None:
    """A thousand names of 30 KB would be 30 MB that stay."""
    name = b"X-" + b"a" * 30_000
    to_backend, to_client = ToBackend(Forwarding()), ToClient(cookies=False)
    assert name + b": 1" in to_backend.lines([(name, b"1")], "", "id")
    assert name + b": 1" in to_client.lines([(name, b"1")], is_stream=False)
    assert name not in to_backend._prefixes
    assert name not in to_client._prefixes


def test_a_backends_framing_identity_and_cross_origin_lines_stay_here() -> None:
    answer = [
        (b"content-type", b"text/event-stream"), (b"server", b"uvicorn"), (b"transfer-encoding", b"chunked"),
        (b"connection", b"close"), (b"access-control-allow-origin", b"*"), (b"set-cookie", b"a=b"),
        (b"cache-control", b"max-age=1"), (b"x-thing", b"1"),
    ]  # fmt: skip
    assert names(ToClient(cookies=False).lines(answer, is_stream=True)) == [
        "content-type",
        "x-thing",
        "cache-control",
        "x-accel-buffering",
    ]
    assert names(ToClient(cookies=True).lines(answer, is_stream=False)) == [
        "content-type",
        "set-cookie",
        "cache-control",
        "x-thing",
    ]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        ([(b"Retry-After", b"5")], 5.0),
        ([(b"retry-after", b"2.5")], 2.5),
        ([(b"retry-after-ms", b"1500"), (b"retry-after", b"9")], 1.5),
        ([(b"retry-after", b"Fri, 15 Jan 2027 08:00:10 GMT")], 10.0),
        ([(b"retry-after", b"Fri, 15 Jan 2021 08:00:10 GMT")], 0.0),
        ([(b"retry-after", b"soon")], None),
        ([(b"retry-after", b"-1")], None),
        ([(b"retry-after", b"9" * 30)], None),
    ],
)
def test_retry_after_in_all_its_forms(headers: list[tuple[bytes, bytes]], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


def test_a_header_is_found_whatever_its_case() -> None:
    assert find([(b"A", b"1"), (b"Content-Type", b"x")], b"content-type") == "x"
    assert find([], b"a") is None


@pytest.mark.parametrize("ident", ["", "a b", "a\r\nb", "x" * 129, "ä", "a;b", "\x1b[31m"])
def test_an_id_that_could_harm_a_log_is_none(ident: str) -> None:
    assert HARMLESS_ID.fullmatch(ident) is None


def test_headers_that_a_backends_connection_names_stay_here() -> None:
    answer = [
        (b"X-Hop", b"1"), (b"connection", b"close, X-HOP"), (b"Connection", b" x-other "), (b"x-other", b"2"),
        (b"x-kept", b"3"),
    ]  # fmt: skip
    assert names(ToClient(cookies=False).lines(answer, is_stream=False)) == ["x-kept"]


def test_a_backends_word_on_retrying_stays_here() -> None:
    assert ToClient(cookies=False).lines([(b"X-Should-Retry", b"true")], is_stream=False) == b""


@pytest.mark.parametrize(
    "value",
    [b"Mon, 01 Jan 99999 00:00:00 GMT", b"Mon, 01 Jan 0001 00:00:00 +2359", b"Fri, 31 Dec 9999 23:59:59 -2359",
     b"Mon, 01 Jan 2026 99:99:99 GMT", b"Wed, 21 Oct 2015 07:28:00 +99999999999999999999", b"a b c d e f", b"1e5",
     b"1 2 3 4 5 6 7", b"Mon, 99 Foo", b"", b"\xb2", b"6m0s", b"Wed, 21 Oct 2015 07:28:00 -0000", b"1." + b"9" * 40],
)  # fmt: skip
def test_an_odd_retry_after_never_fails(value: bytes) -> None:
    seconds = retry_after([(b"Retry-After", value)], NOW)
    assert seconds is None or seconds >= 0


@given(st.one_of(st.binary(max_size=60), st.from_regex(rb"\w{3}, \d{1,4} Jan \d{1,6} \d+:\d+:\d+ [+-]\d{1,25}")))
def test_no_retry_after_fails_whatever_it_is(value: bytes) -> None:
    seconds = retry_after([(b"Retry-After", value)], NOW)
    assert seconds is None or seconds >= 0
