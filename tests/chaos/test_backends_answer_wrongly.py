"""Backends that answer, and wrongly: errors of every kind, bytes that are no HTTP, streams that are none."""

import asyncio
import gzip
import json
import os
import time

import pytest
from tornado.httpclient import HTTPResponse

from router.simulator.settings import Settings
from tests.chaos.inside import byte_by_byte, inside, simulators
from tests.chaos.processes import memory, until
from tests.chaos.proxy import Toxic, proxies
from tests.chaos.raw import (
    DONE,
    END,
    HEAD,
    ROLE,
    TEXT,
    Asked,
    Script,
    chunk,
    plain,
    says,
    stream,
    then_close,
)
from tests.front import Front, broken, run

OFF = {"resume": {"mode": "off"}}
TWO = (Settings(), Settings())
THREE = (*TWO, Settings())


def error_of(answer: HTTPResponse) -> dict[str, object]:
    return dict(json.loads(answer.body)["error"])


def name_of(cluster: Front, number: int = 0) -> str:
    return f"127.0.0.1:{cluster.backends[number].port}"


def breaker(cluster: Front, number: int = 0) -> str:
    return cluster.app.registry.snapshot(time.monotonic())[number].breaker.value


@pytest.mark.row(9)
def test_a_healthy_backend_that_fails_each_request_is_left_alone_and_tried_again_later() -> None:
    async def test() -> None:
        async with inside(*THREE, config={"breaker": {"open_for": 0.5}}) as it:
            broken(it.backends[0], status=502)
            asked = 0
            while breaker(it) != "open":
                assert (await it.chat()).code == 200
                asked += 1
                assert asked < 500
            assert it.backends[0].figures.struck <= 6
            broken(it.backends[0])
            await asyncio.sleep(0.6)
            while it.backends[0].figures.served == 0:
                assert (await it.chat()).code == 200
            assert await it.metric("router_backend_changes_total", change="breaker", to="open") == 1

    run(test)


@pytest.mark.row(10)
@pytest.mark.parametrize("status", [429, 503])
def test_a_full_backend_is_left_for_another_and_counts_as_no_failure(status: int) -> None:
    async def test() -> None:
        async with inside(*TWO) as it:
            broken(it.backends[0], status=status, retry_after="30")
            assert {(await it.chat()).code for _ in range(20)} == {200}
            assert breaker(it) == "closed"
            assert it.backends[0].figures.struck == 1, "it is left alone for as long as it has asked"

    run(test)


@pytest.mark.row(10)
def test_when_all_are_full_the_smallest_retry_after_is_told() -> None:
    async def test() -> None:
        async with inside(*TWO) as it:
            broken(it.backends[0], status=503, retry_after="40")
            broken(it.backends[1], status=429, retry_after="20")
            answer = await it.chat()
            assert (answer.code in (429, 503), answer.headers["Retry-After"]) == (True, "20")

    run(test)


@pytest.mark.row(11)
@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_the_requests_own_fault_is_passed_on_and_counts_for_no_breaker(status: int) -> None:
    async def test() -> None:
        async with inside(*TWO) as it:
            for backend in it.backends:
                broken(backend, status=status)
            answers = [await it.chat() for _ in range(20)]
            assert {answer.code for answer in answers} == {status}
            assert (breaker(it), breaker(it, 1)) == ("closed", "closed")
            assert all(error_of(answer)["message"] for answer in answers)

    run(test)


@pytest.mark.row(11)
@pytest.mark.parametrize("status", [401, 403])
def test_credentials_that_a_backend_refuses_raise_an_alarm(status: int, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        config = {"backend_options": [{"api_key": "ours"}]}
        async with inside(Settings(), config=config) as it:
            broken(it.backends[0], status=status)
            with caplog.at_level("WARNING"):
                answer = await it.chat()
            assert answer.code == (502 if status == 401 else 403)
            assert breaker(it) == "closed"
            assert "refuses our credentials" in caplog.text
            assert await it.metric("router_backend_changes_total", change="alarm") >= 1

    run(test)


@pytest.mark.row(12)
def test_a_request_that_breaks_two_backends_alike_is_not_given_to_a_third() -> None:
    async def test() -> None:
        async with inside(*THREE) as it:
            for backend in it.backends:
                broken(backend, status=500)
            answer = await it.chat()
            assert (answer.code, answer.headers["X-Router-Attempts"]) == (500, "2")
            assert sum(backend.figures.struck for backend in it.backends) == 2

    run(test)


@pytest.mark.row(12)
def test_a_500_before_any_byte_is_tried_once_more_elsewhere() -> None:
    async def test() -> None:
        async with inside(*TWO) as it:
            broken(it.backends[0], status=500, count=1)
            broken(it.backends[1], status=500, count=0)
            assert [(await it.chat()).code for _ in range(4)] == [200] * 4

    run(test)


@pytest.mark.row(14)
@pytest.mark.parametrize("fault", [{"status": 502}, {"close": True}])
def test_when_all_fail_at_100_a_second_there_are_at_most_a_fifth_more_attempts(
    fault: dict[str, object],
) -> None:
    async def test() -> None:
        # Probes seldom: what they leave behind are kept connections, and a reset on one of those is tried once more.
        async with inside(*THREE, config={"health": {"interval": 60}}) as it:
            for backend in it.backends:
                broken(backend, **fault)
            asked = []
            for _ in range(200):
                asked.append(asyncio.ensure_future(it.chat()))
                await asyncio.sleep(0.01)
            answers = await asyncio.gather(*asked)
            assert not {answer.code for answer in answers} - {500, 502, 503}
            assert all(error_of(answer)["message"] for answer in answers)
            struck = sum(backend.figures.struck for backend in it.backends)
            # The few that are always allowed, the failures that open two breakers, and one kept connection to each.
            assert 0 < struck <= 200 * 1.2 + 3 + 2 * 5 + 3 + 2

    run(test, timeout=60)


@pytest.mark.row(15)
@pytest.mark.parametrize("fault", [{"status": 500}, {"reset": True}, {"refuse": True}])
def test_a_backend_that_fails_at_once_attracts_no_traffic(fault: dict[str, object]) -> None:
    """The quickest to answer is the least busy; its failures reach at most five clients, a refusal none."""

    async def test() -> None:
        async with inside(Settings(), Settings(ttft=0.02), Settings(ttft=0.02)) as it:
            broken(it.backends[0], **fault)
            codes = []
            for _ in range(10):
                codes += [answer.code for answer in await asyncio.gather(*(it.chat() for _ in range(10)))]
            failed = sum(code != 200 for code in codes)
            assert failed <= (0 if "refuse" in fault else 5)

    run(test)


@pytest.mark.row(20)
def test_a_drip_of_bytes_is_progress_though_no_event_is_whole() -> None:
    """Silence is counted from the last byte; another stream beside is not held up."""

    async def test() -> None:
        async def drip(asked: Asked) -> None:
            asked.writer.write(HEAD + chunk(ROLE + TEXT))
            if b"slowly" in asked.body:
                for byte in TEXT:
                    asked.writer.write(chunk(bytes([byte])))
                    await asyncio.sleep(0.02)
            asked.writer.write(chunk(DONE) + END)

        async with byte_by_byte(drip, config={"timeouts": {"idle": 0.5}}) as (it, _):
            slow = asyncio.ensure_future(it.chat(stream=True, user="slowly"))
            await asyncio.sleep(0.3)
            assert (await it.chat(stream=True)).body.endswith(DONE)
            assert not slow.done()
            assert (await slow).body.endswith(TEXT + DONE)

    run(test)


@pytest.mark.row(21)
def test_an_answer_that_comes_byte_by_byte_is_the_same_answer() -> None:
    async def test() -> None:
        raw = stream(ROLE, 'data: {"choices":[{"index":0,"delta":{"content":"é€😀"}}]}\r\n\r\n'.encode(), TEXT, DONE)

        async def in_bytes(asked: Asked) -> None:
            for place in range(len(raw)):
                asked.writer.write(raw[place : place + 1])
                await asked.writer.drain()
                await asyncio.sleep(0)

        async with byte_by_byte(says(raw)) as (it, _):
            whole = (await it.chat(stream=True)).body
        async with byte_by_byte(in_bytes) as (it, _):
            assert (await it.chat(stream=True)).body == whole

    run(test)


@pytest.mark.row(21)
def test_a_stream_sliced_on_its_way_is_the_same_stream() -> None:
    async def test() -> None:
        async with (
            simulators(Settings()) as (there,),
            proxies(there.port) as (proxy,),
            inside(urls=[proxy.url]) as it,
        ):
            whole = (await it.chat(stream=True)).body
            proxy.toxic = Toxic(piece=1)
            sliced = (await it.chat(stream=True)).body
            assert len(sliced) == len(whole)
            assert sliced.endswith(b"data: [DONE]\n\n")

    run(test)


@pytest.mark.row(22)
def test_an_event_of_64_mebibytes_is_cut_at_the_limit_and_not_kept() -> None:
    async def test() -> None:

        block = b"x" * (1 << 20)

        async def flood(asked: Asked) -> None:
            asked.writer.write(HEAD + chunk(ROLE + TEXT) + chunk(b"data: "))
            for _ in range(64):
                asked.writer.write(chunk(block))
                await asked.writer.drain()

        async with byte_by_byte(flood, config=OFF) as (it, _):
            await it.chat(stream=True)
            before = memory(os.getpid())
            answer = await it.chat(stream=True)
            assert b'"error"' in answer.body[-1000:]
            assert len(answer.body) < 2 << 20
            assert memory(os.getpid()) - before < 48 << 20, "backend, router and client are one process here"

    run(test, timeout=60)


@pytest.mark.row(23)
@pytest.mark.parametrize(
    "event",
    [
        b"data: {not json\n\n",
        b"data: \xff\xfe\n\n",
        b"data: a\x00b\n\n",
        b": \xff\n\n",
        b"data: []\n\n",
        b"data: 1e999\n\n",
    ],
)
def test_an_event_that_is_no_json_is_relayed_as_it_is(event: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with byte_by_byte(says(stream(ROLE, TEXT, event + b"\n\n", TEXT, DONE))) as (it, _):
            answer = await it.chat(stream=True)
            assert answer.body == ROLE + TEXT + event + b"\n\n" + TEXT + DONE
            assert await it.metric("router_requests_total", outcome="ok") == 1
        assert "Traceback" not in caplog.text

    run(test)


@pytest.mark.row(24)
@pytest.mark.parametrize(
    "bad",
    [b"zz\r\n", b"-1\r\nx\r\n", b"5\r\nabcdefgh\r\n", b"fffffffffffffffff\r\n", b"3\r\nabcX", b"\r\n"],
    ids=["no size", "negative", "no end", "too large", "no CRLF", "empty line"],
)
def test_what_came_before_a_corrupt_chunk_is_delivered_and_the_end_is_told(bad: bytes) -> None:
    async def test() -> None:
        async with byte_by_byte(then_close(HEAD + chunk(ROLE + TEXT) + bad), config=OFF) as (it, _):
            answer = await it.chat(stream=True)
            assert answer.body.startswith(ROLE + TEXT)
            assert b'"error"' in answer.body
            assert b"[DONE]" not in answer.body

    run(test)


@pytest.mark.row(24)
@pytest.mark.parametrize(
    "raw",
    [
        HEAD + b"%x;name=value\r\n%b\r\n" % (len(TEXT + DONE), TEXT + DONE) + END,
        HEAD + chunk(TEXT + DONE) + b"0\r\nX-Trailer: a\r\n\r\n",
    ],
    ids=["extension", "trailer"],
)
def test_chunk_extensions_and_trailers_are_read_over(raw: bytes) -> None:
    async def test() -> None:
        async with byte_by_byte(says(raw)) as (it, _):
            answer = await it.chat(stream=True)
            assert (answer.code, answer.body) == (200, TEXT + DONE)

    run(test)


OK = plain(200, {"a": 1})
BAD_HEADS = {
    "length and chunked": HEAD.replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\n") + chunk(b"{}") + END,
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "folded": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
    "large": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\nContent-Length: 2\r\n\r\n{}",
    "informational": b"HTTP/1.1 102 Processing\r\n\r\n" * 20 + OK,
    "garbage": b"\x00\x01 this is no HTTP\r\n\r\n",
    "switching": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
    "304 with a body": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.row(25)
@pytest.mark.parametrize("name", BAD_HEADS)
def test_what_is_no_answer_is_a_502_and_its_connection_is_not_kept(name: str) -> None:
    async def test() -> None:
        connections: set[object] = set()

        async def script(asked: Asked) -> None:
            connections.add(asked.writer)
            asked.writer.write(BAD_HEADS[name] if len(connections) == 1 else OK)

        async with byte_by_byte(script) as (it, _):
            answer = await it.chat()
            assert answer.code == 502
            assert error_of(answer)["message"]
            assert (await it.chat()).code == 200
            assert len(connections) == 2

    run(test)


@pytest.mark.row(25, 26)
def test_a_204_has_no_body_and_what_follows_it_belongs_to_nobody() -> None:
    async def test() -> None:
        async with byte_by_byte(says(b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}", OK)) as (it, asked):
            assert [((answer := await it.chat()).code, answer.body) for _ in range(2)] == [
                (204, b""),
                (200, b'{"a": 1}'),
            ]
            assert asked[0].writer is not asked[1].writer

    run(test)


@pytest.mark.row(26)
@pytest.mark.parametrize("extra", [b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"])
def test_bytes_behind_an_answer_never_reach_the_next_client(extra: bytes) -> None:
    async def test() -> None:
        async with byte_by_byte(says(OK + extra, OK)) as (it, asked):
            assert [(await it.chat()).body for _ in range(3)] == [b'{"a": 1}'] * 3
            assert asked[0].writer is not asked[1].writer

    run(test)


@pytest.mark.row(27)
def test_the_end_mark_ends_the_clients_answer_though_the_backend_keeps_its_connection_open() -> None:
    async def test() -> None:
        async with byte_by_byte(says(HEAD + chunk(TEXT) + chunk(DONE))) as (it, asked):
            begun = time.monotonic()
            assert (await it.chat(stream=True)).body == TEXT + DONE
            assert time.monotonic() - begun < 5
            await until(lambda: asked[0].left.is_set(), what="the connection is closed, not kept")
            assert await it.metric("router_requests_total", outcome="ok") == 1

    run(test)


TO_THE_END = HEAD.replace(b"Transfer-Encoding: chunked\r\n", b"")


@pytest.mark.row(28)
@pytest.mark.parametrize(
    "end", [says(stream(ROLE, TEXT)), then_close(HEAD.replace(b"Transfer-Encoding: chunked\r\n", b"") + TEXT)]
)
def test_a_stream_that_ends_cleanly_without_its_end_mark_is_told_as_broken(end: Script) -> None:
    async def test() -> None:
        async with byte_by_byte(end, config=OFF) as (it, _):
            answer = await it.chat(stream=True)
            assert b'"error"' in answer.body
            assert await it.metric("router_requests_total", outcome="broken") == 1

    run(test)


@pytest.mark.row(29)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_no_key_leaves(status: int) -> None:
    async def test() -> None:
        async with simulators(Settings()) as (elsewhere,):
            there = f"Location: {elsewhere.url}/v1/chat/completions".encode()
            config = {"backend_options": [{"models": ["simulated-model"], "api_key": "secret"}]}
            async with byte_by_byte(says(plain(status, {}, there)), config=config) as (it, _):
                answer = await it.chat()
                assert answer.code == 502
                assert "Location" not in answer.headers
            assert not elsewhere.requests

    run(test)


@pytest.mark.row(30)
def test_a_compressed_answer_is_passed_on_and_never_inflated() -> None:
    async def test() -> None:
        bomb = gzip.compress(b"\0" * (64 << 20))
        raw = plain(200, bomb, b"Content-Encoding: gzip")
        async with byte_by_byte(says(raw)) as (it, asked):
            answer = await it.chat()
            assert (answer.body, answer.headers["Content-Encoding"]) == (bomb, "gzip")
            assert asked[0].headers(b"accept-encoding") in ([], [b"identity"])

    run(test)


@pytest.mark.row(32)
def test_an_early_413_is_told_while_the_request_is_still_being_sent() -> None:
    async def test() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"POST"):
                writer.write(plain(413, {"error": {"message": "too large", "type": "x", "param": None, "code": 413}}))
                await writer.drain()
                await asyncio.sleep(0.5)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        config = {"health": {"enabled": False}, "backend_options": [{"models": ["simulated-model"]}]}
        async with inside(urls=[url], config=config, ready=False) as it:
            answer = await it.chat(messages=[{"role": "user", "content": "x" * (20 << 20)}])
            assert answer.code == 413
            assert await it.metric("router_attempts_total") == 1
        server.close()

    run(test)
