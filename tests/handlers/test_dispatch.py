"""Rules of router/handlers/dispatch.py."""

import json

import pytest
from tornado.httputil import HTTPInputError

from router.handlers.dispatch import host_name
from tests.front import CHAT, front, run


@pytest.mark.parametrize(
    ("host", "name"), [
        *(("a", "a"), ("Router:9000", "router"), ("127.0.0.1:80", "127.0.0.1"), ("[::1]:80", "[::1]"), ("a:", "a")),
        *(("vllm_1", "vllm_1"), ("[FE80::1%25eth0]", "[fe80::1%25eth0]"), ("a.", "a.")),
    ],
)
def test_a_host_is_read_without_its_port(host: str, name: str) -> None:
    assert host_name(host) == name


@pytest.mark.parametrize(
    "host",
    ["a,b", "a b", "a/b", "user@host", "\x7f", "a\\b", "a:80:90", "a:b", ":80", "::1", "[::1", "[]", "é", ""],
)
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(HTTPInputError):
        host_name(host)


def test_a_bad_host_is_told_as_a_bad_request() -> None:
    async def test() -> None:
        async with front() as cluster:
            got = await cluster.exchange(b"GET /health HTTP/1.1\r\nHost: user@evil\r\n\r\n")
            assert got.startswith(b"HTTP/1.1 400 ")

    run(test)


def test_a_host_that_is_longer_than_any_name_is_refused_and_not_remembered() -> None:
    async def test() -> None:
        async with front() as cluster:
            before = host_name.cache_info().currsize
            got = await cluster.exchange(b"GET /livez HTTP/1.1\r\nHost: " + b"a" * 301 + b"\r\n\r\n")
            assert got.startswith(b"HTTP/1.1 400 ")
            assert host_name.cache_info().currsize == before

    run(test)


def test_a_request_of_an_http_1_0_client_needs_no_host() -> None:
    async def test() -> None:
        async with front() as cluster:
            got = await cluster.exchange(b"GET /livez HTTP/1.0\r\n\r\n")
            assert got.startswith(b"HTTP/1.1 200 ")

    run(test)


def test_a_query_is_no_part_of_the_path_and_is_parsed_only_when_asked_for() -> None:
    async def test() -> None:
        async with front() as cluster:
            many = "&".join(f"a{number}=1" for number in range(1500))
            assert (await cluster.ask(f"/livez?{many[:7000]}")).code == 200
            answer = await cluster.ask("/v1/chat/completions?beta=true", CHAT)
            assert answer.code == 200

    run(test)


def test_what_is_wrong_with_a_head_is_told_before_the_body_has_come() -> None:
    async def test() -> None:
        async with front() as cluster:
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n"
            head += b"Content-Length: 9\r\n\r\n"
            got = await cluster.exchange(head, until=b"}}")
            assert got.startswith(b"HTTP/1.1 415 ")
            assert b"100 Continue" not in got

    run(test)


def test_a_body_is_asked_for_when_the_head_is_good() -> None:
    async def test() -> None:
        async with front() as cluster:
            body = json.dumps(CHAT).encode()
            head = (
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
                b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
            )
            assert (await cluster.exchange(head, until=b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
            assert b"HTTP/1.1 200 OK" in await cluster.exchange(head + body)

    run(test)


def test_a_client_that_asks_before_it_sends_is_refused_without_being_asked_for_the_body() -> None:
    """RFC 9110 section 10.1.1: 100 (Continue) says that the body is wanted."""

    async def test() -> None:
        async with front() as cluster:
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n"
            got = await cluster.exchange(head + b"Expect: 100-continue\r\n\r\n")
            assert got.startswith(b"HTTP/1.1 415 ")
            assert got.count(b"HTTP/1.1") == 1

    run(test)


def test_a_refusal_does_not_wait_for_a_body_that_is_long() -> None:
    async def test() -> None:
        async with front() as cluster:
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nConnection: close\r\n"
            got = await cluster.exchange(head + b"Content-Length: 9000000\r\n\r\n" + b"a" * 200_000)
            assert got.startswith(b"HTTP/1.1 415 ")

    run(test)
