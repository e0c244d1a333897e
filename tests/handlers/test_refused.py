"""Rules of router/handlers/refused.py: answers that the wire gives itself are answers like all others. Real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from router.relay.headers import HARMLESS_ID
from tests.front import Front, front, run, until
from tests.fuzz.target import no_errors

SAID = b"X-Request-Id: mine-1\r\nOrigin: http://page\r\n"
JSON = b"Content-Type: application/json\r\n"
LIMITS = {"max_body": 1000, "headers_timeout": 0.3, "body_timeout": 0.3}
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n" + SAID + JSON
# What is refused before a handler has the request.
UNREAD = {
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, None),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", 400, None),
    "a head that never ends": (b"GET / HTTP/1.1\r\nHost: a\r\n", 408, "request_timeout"),
    "too large by its own word": (POST + b"Content-Length: 1001\r\n\r\n", 413, "request_too_large"),
    "a long target": (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "uri_too_long"),
    "many headers": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431, "headers_too_large"),
    "large headers": (b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"b" * 99_999 + b"\r\n\r\n", 431, "headers_too_large"),
    "an unknown method": (b"FROB / HTTP/1.1\r\nHost: a\r\n" + SAID + b"\r\n", 501, "not_implemented"),
    "an unknown coding": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501, "not_implemented"),
    "an odd host": (POST.replace(b"Host: a", b"Host: a b") + b"\r\n", 400, None),
    "an unknown version": (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505, "http_version_not_supported"),
}
# What is refused when a handler has the request already, in the middle of its body.
READ = {
    "too large": (POST + b"Transfer-Encoding: chunked\r\n\r\n400\r\n" + b"x" * 1024, 413, "request_too_large"),
    "too slow": (POST + b"Content-Length: 100\r\n\r\n{", 408, "request_timeout"),
    "no chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\nno chunk\r\n", 400, None),
}
ALL = {**UNREAD, **READ}


class Told:
    """One answer, taken apart."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


@asynccontextmanager
async def limited(**more: Any) -> AsyncIterator[Front]:
    async with front(config={"server": {**LIMITS, **more}, "health": {"interval": 30}}) as cluster:
        yield cluster


@pytest.mark.parametrize("what", ALL)
def test_a_refusal_of_the_wire_has_openais_form_and_a_code_where_there_is_one(what: str) -> None:
    async def test() -> None:
        raw, status, code = ALL[what]
        async with limited() as cluster:
            told = Told(await cluster.exchange(raw))
            error = json.loads(told.body)["error"]
            assert (told.status, error["code"]) == (status, code)
            assert set(error) == {"message", "type", "param", "code"}
            assert error["type"] == "invalid_request_error", "the request is at fault, with 501 and 505 too"
            assert told.all("content-type") == ["application/json"]
            assert told.all("content-length") == [str(len(told.body))]
            assert told.all("connection") == ["close"]
            assert len(told.all("x-request-id")) == 1
            assert HARMLESS_ID.fullmatch(told.all("x-request-id")[0])

    run(test)


@pytest.mark.parametrize("what", ALL)
def test_a_refusal_of_the_wire_is_counted_once_and_leaves_one_line(what: str, tmp_path: Path) -> None:
    async def test() -> None:
        raw, status, _ = ALL[what]
        config = {"server": LIMITS, "health": {"interval": 30}, "logging": {"file": str(tmp_path / "log")}}
        async with front(config=config) as cluster:
            ident = Told(await cluster.exchange(raw)).all("x-request-id")[0]
            await until(lambda: cluster.server.connections == 0)
            assert await cluster.metric("router_requests_total") == 1
            assert await cluster.metric("router_requests_total", outcome="rejected", status=str(status)) == 1
            assert cluster.app.in_flight == 0
            idents.append(ident)

    idents: list[str] = []
    run(test)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    access = [line for line in lines if line.get("logger") == "router.access"]
    _, status, code = ALL[what]
    assert [(line["id"], line["status"], line["outcome"], line["error"]) for line in access] == [
        (idents[0], status, "rejected", code)
    ]
    assert access[0]["client"] == "127.0.0.1"


@pytest.mark.parametrize("what", READ)
def test_what_is_refused_in_the_middle_of_its_body_carries_what_the_client_said(what: str) -> None:
    async def test() -> None:
        async with limited() as cluster:
            told = Told(await cluster.exchange(READ[what][0]))
            assert told.all("x-request-id") == ["mine-1"]
            assert told.all("access-control-allow-origin") == ["*"]
            route = "/v1/chat/completions"
            assert await cluster.metric("router_requests_total", outcome="rejected", route=route) == 1
            assert await cluster.metric("router_requests_total", outcome="client_gone") == 0
            assert await cluster.metric("router_attempts_total") == 0

    run(test)


@pytest.mark.parametrize(
    "what",
    ["an odd host", "too large by its own word", "an unknown coding"],
)
def test_what_is_refused_by_its_headers_carries_what_they_said(what: str) -> None:
    """A page is told nothing of an answer without cross-origin lines, not even that its upload is too large."""

    async def test() -> None:
        async with limited() as cluster:
            told = Told(await cluster.exchange(UNREAD[what][0]))
            assert told.all("x-request-id") == ["mine-1"]
            assert told.all("access-control-allow-origin") == ["*"]

    run(test)


def test_an_id_that_could_harm_a_log_is_not_taken_over() -> None:
    async def test() -> None:
        async with limited() as cluster:
            raw = READ["too large"][0].replace(b"mine-1", b"a b;c")
            told = Told(await cluster.exchange(raw))
            assert HARMLESS_ID.fullmatch(told.all("x-request-id")[0])
            assert told.all("x-request-id") != ["a b;c"]

    run(test)


def test_only_allowed_origins_may_read_a_refusal() -> None:
    async def test() -> None:
        async with limited(cors={"allow_origins": ["http://other"]}) as cluster:
            told = Told(await cluster.exchange(READ["too large"][0]))
            assert told.all("access-control-allow-origin") == []
            assert told.all("vary") == ["Origin"]

    run(test)


def test_a_refusal_behind_an_answer_on_the_same_connection_is_counted_beside_it() -> None:
    async def test() -> None:
        async with limited() as cluster:
            models = b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX-Request-Id: first\r\nOrigin: http://page\r\n\r\n"
            got = await cluster.exchange(models + UNREAD["two hosts"][0])
            second = Told(got[got.index(b"HTTP/1.1 400 ") :])
            assert len(second.all("x-request-id")) == 1
            assert second.all("x-request-id") != ["first"]
            assert second.all("access-control-allow-origin") == []
            assert await cluster.metric("router_requests_total", status="200", outcome="ok") == 1
            assert await cluster.metric("router_requests_total", status="400", outcome="rejected") == 1
            assert await cluster.metric("router_requests_total") == 2

    run(test)


def test_a_client_that_leaves_in_the_middle_of_its_body_is_not_told_as_refused_and_is_no_error() -> None:
    async def test() -> None:
        async with limited(body_timeout=30) as cluster:
            _, writer = await asyncio.open_connection("127.0.0.1", cluster.port)
            writer.write(READ["too slow"][0])
            await until(lambda: cluster.app.in_flight == 1)
            writer.close()
            await until(lambda: cluster.app.in_flight == 0)
            assert await cluster.metric("router_requests_total", outcome="client_gone", status="0") == 1
            assert await cluster.metric("router_requests_total") == 1

    with no_errors("router", "tornado", "asyncio"):
        run(test)
