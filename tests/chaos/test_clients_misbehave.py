"""Clients that leave, in every way and at every moment, and clients that do not read."""

import asyncio
import contextlib
import time

import pytest

from router.simulator.settings import Settings
from tests.chaos.cluster import cluster, status_of
from tests.chaos.inside import inside
from tests.chaos.processes import memory, until
from tests.chaos.raw import HEAD, ROLE, TEXT, RawClient, chat, chunk, plain
from tests.front import CHAT, Front, broken, run

WAYS = ("fin", "rst", "half")
LONG_ANSWER = {**CHAT, "max_tokens": 5000, "ignore_eos": True}
PACE = Settings(itl=0.02)


def at_work(it: Front) -> int:
    return it.backends[0].figures.running + it.backends[0].figures.waiting


async def left_alone(it: Front, *, ways: int = 1) -> None:
    """Wait until the backend has been told, and hold what the router tells of it."""
    figures = it.backends[0].figures
    took = await until(lambda: figures.aborted == ways and at_work(it) == 0, what="the backend is told")
    assert took < 5, "at once; tests/chaos/figures has the figure"
    await until(lambda: it.app.in_flight == 0)
    assert await it.metric("router_requests_total", outcome="client_gone") == ways
    assert await it.metric("router_attempts_total", outcome="client_gone") == ways
    assert it.app.registry.snapshot(time.monotonic())[0].breaker.value == "closed"


@pytest.mark.row(33, 35)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_that_leaves_before_the_first_byte_frees_its_backend(way: str, streamed: bool) -> None:
    """A half-close means that it has left, too."""

    async def test() -> None:
        async with inside(Settings(ttft=30)) as it:
            client = await RawClient.connect(it.port)
            client.send(chat({**LONG_ANSWER, "stream": streamed}))
            await until(lambda: at_work(it) == 1)
            client.leave(way)
            await left_alone(it)
            client.close()

    run(test)


@pytest.mark.row(34, 35)
@pytest.mark.parametrize("way", WAYS)
def test_a_client_that_leaves_in_mid_stream_frees_its_backend(way: str) -> None:
    async def test() -> None:
        async with inside(PACE) as it:
            client = await RawClient.connect(it.port)
            client.send(chat({**LONG_ANSWER, "stream": True}))
            await client.read_until(b'"content":"')
            client.leave(way)
            await left_alone(it)
            client.close()

    run(test)


@pytest.mark.row(36)
@pytest.mark.parametrize("way", ["fin", "rst"])
@pytest.mark.parametrize("begun", [False, True])
def test_a_client_that_has_pipelined_a_second_request_and_leaves_is_noticed(way: str, begun: bool) -> None:
    async def test() -> None:
        async with inside(PACE if begun else Settings(ttft=30)) as it:
            client = await RawClient.connect(it.port)
            client.send(chat({**LONG_ANSWER, "stream": True}))
            if begun:
                await client.read_until(b'"content":"')
            else:
                await until(lambda: at_work(it) == 1)
            client.send(chat({**LONG_ANSWER, "stream": True}))
            await asyncio.sleep(0.1)
            client.leave(way)
            await left_alone(it)

    run(test)


@pytest.mark.row(37)
@pytest.mark.parametrize("way", WAYS)
def test_a_client_that_leaves_while_it_waits_for_a_place_is_never_sent_to_a_backend(way: str) -> None:
    async def test() -> None:
        config = {"backend_options": [{"max_connections": 1}], "overload": {"queue_timeout": 20}}
        async with inside(Settings(ttft=1.0), config=config) as it:
            first = asyncio.ensure_future(it.chat())
            await until(lambda: at_work(it) == 1)
            client = await RawClient.connect(it.port)
            client.send(chat({**CHAT, "user": "the one who left"}))
            await until(lambda: it.app.in_flight == 2)
            await asyncio.sleep(0.1)
            assert it.app.registry.backends[0].in_flight == 1
            client.leave(way)
            await until(lambda: it.app.in_flight == 1, what="its place is free")
            assert (await first).code == 200
            await asyncio.sleep(0.2)
            assert not [seen for seen in it.backends[0].requests if b"the one who left" in seen.body]
            assert await it.metric("router_requests_total", outcome="client_gone") == 1
            client.close()

    run(test)


@pytest.mark.row(38)
@pytest.mark.parametrize("way", WAYS)
def test_a_client_that_leaves_during_a_back_off_causes_no_further_attempt(way: str) -> None:
    async def test() -> None:
        async with inside(Settings()) as it:
            broken(it.backends[0], status=503, retry_after="1")
            client = await RawClient.connect(it.port)
            client.send(chat())
            await until(lambda: it.backends[0].figures.struck == 1)
            await asyncio.sleep(0.1)
            client.leave(way)
            await until(lambda: it.app.in_flight == 0)
            await asyncio.sleep(1.2)
            assert it.backends[0].figures.struck == 1
            client.close()

    run(test)


class Flood:
    """A backend in this process that sends without end to whoever asks."""

    EVENT = TEXT.replace(b'"x"', b'"' + b"y" * 4000 + b'"')

    def __init__(self) -> None:
        self.sent = 0  # bytes that the router's connections have taken
        self.open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while (head := await reader.readuntil(b"\r\n\r\n")).startswith(b"GET"):
                writer.write(plain(404, {}))
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            self.open += 1
            try:
                writer.write(HEAD + chunk(ROLE + TEXT))
                while True:
                    writer.write(chunk(self.EVENT))
                    await writer.drain()
                    self.sent += len(self.EVENT)
            finally:
                self.open -= 1
        writer.close()


@pytest.mark.row(39)
@pytest.mark.parametrize("readers", [30, pytest.param(200, marks=pytest.mark.long)])
def test_readers_that_stand_still_stop_their_backends_and_are_cut_in_the_end(readers: int) -> None:
    """What the router holds for each is bounded: a backend is read no further than its client reads."""

    async def test() -> None:
        flood = Flood()
        server = await asyncio.start_server(flood.serve, "127.0.0.1", 0)
        config = {
            "server": {"write_stall_timeout": 3},
            "health": {"enabled": False},
            "backend_options": [{"models": ["simulated-model"]}],
        }
        urls = [f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"]
        async with cluster(0, urls=urls, config=config) as it:
            before = memory(it.router.pid)
            clients = [await RawClient.connect(it.router.port, receive_buffer=4096) for _ in range(readers)]
            for client in clients:
                client.send(chat())
                client.writer.transport.pause_reading()
            last = -1
            while flood.sent != last or flood.open == 0:
                last = flood.sent
                await asyncio.sleep(0.5)
                assert memory(it.router.pid) - before < 64 << 20
            assert (await status_of(it.router.port, "/livez"))[0] == 200
            await until(lambda: flood.open == 0, within=60, what="the backend is told")
            assert await it.router.metric("router_requests_total", outcome="client_gone") == readers
            for client in clients:
                client.close()
        server.close()

    run(test, timeout=120)
