"""Rules of router/relay/counting.py: tokens are counted by who has the tokenizer, or not at all."""

import asyncio
import time
from typing import Any

import pytest

from router.exchange import Exchange
from router.relay.counting import detokenize, tokenize
from router.relay.endpoint import Endpoint
from router.relay.route import Job, Route
from router.simulator.server import Simulator
from router.simulator.settings import Settings
from router.wire.client import PooledHTTPClient, parse_url
from tests.front import run
from tests.relay.scripted import plain

JOB = Job(
    Route("/v1/chat/completions", "POST"),
    "chat/completions",
    headers=[(b"Content-Type", b"application/json")],
    connection="",
    body=b"",
    model="simulated-model",
)


EXCHANGE = Exchange("id", JOB.route.path, "POST", 0.0)


async def counted(url: str, body: dict[str, Any]) -> dict[str, object]:
    client = PooledHTTPClient(force_instance=True)
    try:
        return await tokenize(client, Endpoint(parse_url(url)[0]), JOB, body, exchange=EXCHANGE)
    finally:
        client.close()


async def text_of(url: str, *ids: bytes) -> str | None:
    client = PooledHTTPClient(force_instance=True)
    try:
        return await detokenize(client, Endpoint(parse_url(url)[0]), JOB, list(ids), exchange=EXCHANGE)
    finally:
        client.close()


def test_a_text_and_a_conversation_are_counted() -> None:
    async def test() -> None:
        backend = Simulator(Settings())
        url = f"http://127.0.0.1:{await backend.start()}"
        told = await counted(url, {"prompt": " lorem ipsum", "add_special_tokens": False})
        assert told["count"] == len(told["tokens"]) == 2  # type: ignore[arg-type]  # a list
        told = await counted(url, {"messages": [{"role": "user", "content": " lorem"}]})
        assert told["count"] == 4
        assert await text_of(url, b"32", b"33", b"2") == " lorem ipsum</s>"
        await backend.stop()

    run(test)


@pytest.mark.parametrize(
    "answer", [plain(404, {}), plain(500, {}), plain(200, b"{"), plain(200, [1]), plain(200, {}), b"", b"nonsense"]
)
def test_who_tells_nothing_has_told_nothing(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(answer)
        writer.close()

    async def test() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert await counted(url, {"prompt": "x"}) == {}
        assert await text_of(url, b"32") is None
        server.close()
        assert await counted(url, {"prompt": "x"}) == {}, "nobody listens"
        assert await text_of(url, b"32") is None

    run(test)


def test_the_wait_is_short() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def test() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        started = time.monotonic()
        assert await counted(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", {"prompt": "x"}) == {}
        assert time.monotonic() - started < 10
        server.close()

    run(test)


@pytest.mark.parametrize("ids", [(b"1", b"", b"2"), (b"1 2",), (b"9" * 5000,), (b"9" * 30,)])
def test_ids_that_are_none_have_no_text(ids: tuple[bytes, ...]) -> None:
    """They came from a backend as they are."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(plain(200, {"prompt": "a"}))

    async def test() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert await text_of(url, b"32") == "a"
        assert await text_of(url, *ids) is None
        server.close()

    run(test)
