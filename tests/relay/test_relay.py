"""Rules of router/relay/relay.py: every exchange comes to exactly one end. Real sockets."""

import asyncio
import gc
import json
import time

import pytest

from router.simulator.settings import Settings
from tests.front import CHAT, Front, broken, front, run, until
from tests.relay.scripted import DONE, END, HEAD, TEXT, chat, chunk, says, scripted


def in_flight(cluster: Front) -> int:
    return cluster.backends[0].figures.running + cluster.backends[0].figures.waiting


def error_of(body: bytes) -> dict[str, str]:
    return dict(json.loads(body)["error"])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("waiting", [False, True])
def test_a_client_that_leaves_frees_its_backend_at_once(stream: bool, waiting: bool) -> None:
    async def test() -> None:
        async with front(Settings(itl=0.05, tokens=1000)) as cluster:
            if waiting:
                broken(cluster.backends[0], hang=True)
            reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port)
            writer.write(chat({**CHAT, "stream": stream, "max_tokens": 900}))
            if stream and not waiting:
                assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            else:
                await until(lambda: in_flight(cluster) == 1 or cluster.backends[0].figures.struck == 1)
            writer.close()
            started = time.monotonic()
            await until(lambda: cluster.backends[0].figures.aborted == 1 and in_flight(cluster) == 0)
            assert time.monotonic() - started < 2
            await until(lambda: cluster.app.in_flight == 0)
            assert await cluster.metric("router_requests_total", outcome="client_gone") == 1
            assert await cluster.metric("router_attempts_total", outcome="client_gone") == 1

    run(test)


@pytest.mark.row(38)
def test_a_client_that_leaves_during_a_back_off_causes_no_further_attempt() -> None:
    async def test() -> None:
        async with front(Settings()) as cluster:
            broken(cluster.backends[0], status=503, retry_after="1")
            asking = asyncio.ensure_future(cluster.chat())
            await until(lambda: cluster.backends[0].figures.served >= 1 or cluster.app.in_flight == 1)
            await asyncio.sleep(0.3)
            asking.cancel()
            await until(lambda: cluster.app.in_flight == 0)
            await asyncio.sleep(1.2)
            assert await cluster.metric("router_attempts_total") == 1

    run(test)


def test_a_deadline_of_the_client_ends_the_exchange_and_blames_nobody() -> None:
    async def test() -> None:
        async with front(Settings()) as cluster:
            broken(cluster.backends[0], hang=True)
            answer = await cluster.ask("/v1/chat/completions", CHAT, headers={"X-Request-Timeout": "0.3"})
            assert (answer.code, error_of(answer.body)["code"]) == (504, "timeout")
            assert await cluster.metric("router_attempts_total", outcome="deadline") == 1

    run(test)


@pytest.mark.parametrize("begun", [True, False])
def test_when_the_router_stops_its_clients_are_told(begun: bool) -> None:
    async def test() -> None:
        async with front(Settings(itl=0.05, tokens=1000)) as cluster:
            if not begun:
                broken(cluster.backends[0], hang=True)
            asking = asyncio.ensure_future(cluster.chat(stream=True, max_tokens=900))
            await until(lambda: in_flight(cluster) == 1 or cluster.backends[0].figures.struck == 1)
            await asyncio.sleep(0.2)
            await cluster.app.stop()
            answer = await asking
            assert answer.code == (200 if begun else 503)
            assert "shutting down" in answer.body.decode()
            assert b"[DONE]" not in answer.body
            assert await cluster.metric("router_requests_total", outcome="shutdown") == 1

    run(test)


@pytest.mark.parametrize("stream", [False, True])
def test_an_exchange_leaves_no_circle_of_references(stream: bool) -> None:
    """A circle would keep a request's body, often the largest thing there is, until the collector comes by."""

    async def test() -> None:
        async with front(Settings(), config={"health": {"interval": 60}}) as cluster:
            for _ in range(5):
                await cluster.chat(stream=stream)
            await asyncio.sleep(0.1)
            gc.collect()
            gc.disable()
            try:
                for _ in range(50):
                    await cluster.chat(stream=stream)
                await asyncio.sleep(0.1)
                assert gc.collect() < 50
            finally:
                gc.enable()

    run(test)


def test_a_deadline_behind_the_end_mark_takes_nothing_from_an_answer_that_is_whole() -> None:
    """The client has it all; only the end of the backend's framing was still waited for."""

    async def test() -> None:
        async with scripted(says(HEAD + chunk(TEXT) + chunk(DONE))) as (cluster, _):
            got = await cluster.exchange(chat(lines=b"X-Request-Timeout: 0.3\r\n"), until=END)
            assert DONE in got
            await until(lambda: cluster.app.in_flight == 0)
            assert await cluster.metric("router_requests_total", outcome="ok") == 1
            assert await cluster.metric("router_attempts_total", outcome="ok") == 1

    run(test)


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_arrives_while_the_router_stops_is_told_so(stream: bool) -> None:
    async def test() -> None:
        async with front() as cluster:
            assert cluster.app.relay is not None
            await cluster.app.relay.stop()
            answer = await cluster.chat(stream=stream)
            assert (answer.code, answer.headers["Retry-After"]) == (503, "1")
            assert "shutting down" in error_of(answer.body)["message"]
            assert await cluster.metric("router_attempts_total") == 0

    run(test)


def test_a_request_whose_body_ends_while_the_router_stops_is_told_so() -> None:
    async def test() -> None:
        async with front() as cluster:
            reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port)
            raw = chat(lines=b"Connection: close\r\n")
            writer.write(raw[:-5])
            await until(lambda: cluster.app.in_flight == 1)
            await cluster.app.stop()
            writer.write(raw[-5:])
            got = await reader.read()
            assert got.startswith(b"HTTP/1.1 503 ")
            assert b"shutting down" in got
            writer.close()

    run(test)
