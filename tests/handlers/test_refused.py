"""Rules of router/handlers/refused.py: answers that the wire gives itself are answers like all others. Real sockets."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from router.relay.headers import HARMLESS_ID
from tests.front import Front, front, run, until
from tests.fuzz.target import no_errors
from tests.operating import operator

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


def lines_of(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in lines if line.get("logger") == "router.access"]


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
            told = Told(await cluster.exchange(raw))
            ident = told.all("x-request-id")[0]
            sent.append(len(told.body))
            await until(lambda: cluster.server.connections == 0)
            assert await cluster.metric("router_requests_total") == 1
            assert await cluster.metric("router_requests_total", outcome="rejected", status=str(status)) == 1
            assert cluster.app.in_flight == 0
            idents.append(ident)

    idents: list[str] = []
    sent: list[int] = []
    run(test)
    access = lines_of(tmp_path / "log")
    _, status, code = ALL[what]
    assert [(line["id"], line["status"], line["outcome"], line["error"]) for line in access] == [
        (idents[0], status, "rejected", code or "invalid_request_error")
    ]
    assert access[0]["client"] == "127.0.0.1"
    assert access[0]["bytes_out"] == sent[0] > 0


@pytest.mark.parametrize(
    ("second", "status", "least"),
    [(b"", 408, 0.3), (b"A: " + b"b" * 99_999 + b"\r\n\r\n", 431, 0.1), (b"Host: b\r\n\r\n", 400, 0.1)],
)
def test_how_long_a_head_took_is_told_though_it_is_refused_before_it_is_whole(
    second: bytes, status: int, least: float, tmp_path: Path
) -> None:
    """From its first byte: that the client was connected for long before says nothing of its request."""

    async def test() -> None:
        config = {"server": LIMITS, "health": {"interval": 30}, "logging": {"file": str(tmp_path / "log")}}
        async with front(config=config) as cluster:
            reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port)
            await asyncio.sleep(0.4)
            started.append(time.monotonic())
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n")
            await asyncio.sleep(0.1)
            writer.write(second)
            assert Told(await reader.read()).status == status
            started.append(time.monotonic())
            writer.close()

    started: list[float] = []
    run(test)
    (line,) = lines_of(tmp_path / "log")
    slack = 0.01  # the loop counts milliseconds
    assert least - slack <= line["duration"] <= started[1] - started[0] + slack


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


LINE = b"Authorization: Bearer k\r\nTraceparent: 00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01\r\nX-Team: red\r\n"
CHATS = "/v1/chat/completions"
LONG = b"A: " + b"b" * 99_999 + b"\r\n\r\n"
# What is sent -> what of its access line is known: method, route, path.
KNOWN = {
    "too large by its own word": (POST + LINE + b"Content-Length: 1001\r\n\r\n", ("POST", CHATS, None)),
    "a model, too large": (
        b"POST /v1/models/a?b=c HTTP/1.1\r\nHost: a\r\n" + SAID + LINE + b"Content-Length: 1001\r\n\r\n",
        ("POST", "/v1/models/{id}", None),
    ),
    "an expectation": (POST + LINE + b"Expect: cake\r\nContent-Length: 2\r\n\r\n", ("POST", CHATS, None)),
    "an unknown coding": (POST + LINE + b"Transfer-Encoding: gzip\r\n\r\n", ("POST", CHATS, None)),
    "two hosts": (POST + LINE + b"Host: b\r\n\r\n", ("POST", CHATS, None)),
    "an odd host": (POST.replace(b"Host: a", b"Host: a b") + LINE + b"\r\n", ("POST", CHATS, None)),
    "many headers": (POST + LINE + b"A: b\r\n" * 200 + b"\r\n", ("POST", CHATS, None)),
    "large headers": (POST + LINE + LONG, ("POST", CHATS, None)),
    "a bad line": (POST + LINE + b"A: b\r\nno header\r\n\r\n", ("POST", CHATS, None)),
    "a head that never ends": (POST + LINE + b"A: b\r\n", ("POST", CHATS, None)),
    "a path that is not served": (
        b"POST /secret/" + b"x" * 300 + b"?key=k HTTP/1.1\r\nHost: a\r\n" + SAID + LINE + b"Expect: cake\r\n\r\n",
        ("POST", "other", "/secret/" + "x" * 192),
    ),
}


@pytest.mark.parametrize("what", KNOWN)
def test_the_line_of_a_request_that_was_refused_by_its_head_tells_all_that_was_read(what: str, tmp_path: Path) -> None:
    """An operator looks for whose uploads are too large, and where they go."""
    raw, known = KNOWN[what]

    async def test() -> None:
        logging = {"file": str(tmp_path / "log"), "headers": ["x-team"]}
        async with front(config={"server": LIMITS, "health": {"interval": 30}, "logging": logging}) as cluster:
            told = Told(await cluster.exchange(raw))
            assert told.all("x-request-id") == ["mine-1"]
            assert told.all("access-control-allow-origin") == ["*"]
            await until(lambda: cluster.server.connections == 0)
            assert await cluster.metric("router_requests_total", outcome="rejected", route=known[1]) == 1

    run(test)
    (line,) = lines_of(tmp_path / "log")
    assert (line["method"], line["route"], line.get("path")) == known
    assert (line["id"], line["trace"], line["headers"]) == ("mine-1", "a" * 32, {"x-team": "red"})
    assert line["tenant"].startswith("key:")


# A target that may go on says nothing of its route; one that is too long is known to be so.
PARTS = {
    "a target that never ends": (b"POST /v1/models", ("POST", "other", None)),
    "a query that never ends": (b"POST /v1/models?a", ("POST", "/v1/models", None)),
    "a long target": (b"GET /x" + b"y" * 9000, ("GET", "other", "/x" + "y" * 198)),
    "an unknown version": (b"GET /v1/models HTTP/3.0\r\nHost: a\r\n\r\n", ("GET", "/v1/models", None)),
    "a whole URL": (b"GET http://u:canary@a/v1/models HTTP/1.1\r\nHost: a\r\n\r\n", ("GET", "other", None)),
    "a URL without scheme": (b"GET //u:canary@a/x HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", ("GET", "other", None)),
    "a fragment": (b"GET /v1/models#key=canary HTTP/1.1\r\nHost: a\r\n\r\n", ("GET", "/v1/models", None)),
    "a fragment of what is not served": (b"GET /x#key=canary HTTP/1.1\r\nHost: a\r\n\r\n", ("GET", "other", "/x")),
    "a tunnel": (b"CONNECT u:canary@a:443 HTTP/1.1\r\nHost: a\r\n\r\n", ("CONNECT", "other", None)),
    "no target": (b"GET ", ("", "other", None)),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", ("", "other", None)),
}


@pytest.mark.parametrize("what", PARTS)
def test_the_line_of_a_request_whose_head_was_not_read_to_its_end_tells_what_is_sure(what: str, tmp_path: Path) -> None:
    raw, known = PARTS[what]

    async def test() -> None:
        config = {"server": LIMITS, "health": {"interval": 30}, "logging": {"file": str(tmp_path / "log")}}
        async with front(config=config) as cluster:
            await cluster.exchange(raw)

    run(test)
    (line,) = lines_of(tmp_path / "log")
    assert (line["method"], line["route"], line.get("path")) == known
    assert "canary" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("what", READ)
def test_the_line_of_a_body_that_was_refused_on_its_way_tells_how_much_of_it_came(what: str, tmp_path: Path) -> None:
    async def test() -> None:
        config = {"server": LIMITS, "health": {"interval": 30}, "logging": {"file": str(tmp_path / "log")}}
        async with front(config=config) as cluster:
            await cluster.exchange(READ[what][0])

    run(test)
    (line,) = lines_of(tmp_path / "log")
    assert (line["method"], line["route"]) == ("POST", CHATS)
    assert line["bytes_in"] == {"too large": 1024, "too slow": 1, "no chunk": 0}[what]


@pytest.mark.parametrize("path", ["//u:canary@a/x", "/x?key=canary"])
def test_a_path_that_is_not_served_is_told_without_what_may_be_secret(path: str, tmp_path: Path) -> None:
    async def test() -> None:
        async with front(config={"logging": {"file": str(tmp_path / "log")}}) as cluster:
            await cluster.exchange(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())

    run(test)
    (line,) = [each for each in lines_of(tmp_path / "log") if each["status"] == 404]
    assert line.get("path") == (None if path.startswith("//") else "/x")
    assert "canary" not in (tmp_path / "log").read_text()


def test_a_request_of_operators_that_is_refused_by_its_head_has_its_route_too(tmp_path: Path) -> None:
    """Its tenant is none, as of any other request of theirs, and pages of other origins are told nothing."""
    raws = {
        b"POST /admin/backends/a/drain": "/admin/backends/{name}/drain",
        b"DELETE /admin/backends/a": "/admin/backends/{name}",
        b"POST /admin/reload": "/admin/reload",
        b"GET /status/events": "/status/events",
        b"GET /docs": "/docs",
        b"GET /metrics": "/metrics",
        b"GET /v1/models": "other",
    }

    async def test() -> None:
        config = {"health": {"interval": 30}, "logging": {"file": str(tmp_path / "log")}}
        async with front(config=config) as cluster, operator(cluster) as place:
            cluster.port = place.port
            for raw in raws:
                head = raw + b" HTTP/1.1\r\nHost: a\r\nHost: b\r\n" + SAID + LINE
                told = Told(await cluster.exchange(head + b"\r\n"))
                assert told.all("x-request-id") == ["mine-1"]
                assert told.all("access-control-allow-origin") == []

    run(test)
    lines = lines_of(tmp_path / "log")
    assert [line["route"] for line in lines] == list(raws.values())
    assert {line["tenant"] for line in lines} == {"127.0.0.1"}


def test_what_head_asks_is_refused_without_a_body(tmp_path: Path) -> None:
    """A client that asks by HEAD waits for none (RFC 9110 section 9.3.2); the length is that of what GET would get."""

    async def test() -> None:
        config = {"server": LIMITS, "health": {"interval": 30}, "logging": {"file": str(tmp_path / "log")}}
        async with front(config=config) as cluster:
            got, asked = Told(await cluster.exchange(get)), Told(await cluster.exchange(get.replace(b"GET", b"HEAD")))
            assert (asked.status, asked.body) == (400, b"")
            assert asked.all("content-length") == got.all("content-length") == [str(len(got.body))]

    get = UNREAD["two hosts"][0]
    run(test)
    assert [line["bytes_out"] > 0 for line in lines_of(tmp_path / "log")] == [True, False]


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
