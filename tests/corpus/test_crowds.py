"""Many hostile clients at once, or one that never says the same thing twice: nobody else waits, and nothing grows."""

import asyncio
import os
import random
import string
from typing import Any

import orjson
import pytest
import uvloop

from tests.chaos.processes import memory
from tests.corpus.notation import steps, written
from tests.corpus.stand import stand
from tests.wire.served import Client

LONG = os.environ.get("ROUTER_CHAOS") == "1"  # make chaos
SLOW_CLIENTS = 300  # below the usual limit of 1,024 open files
REQUESTS = 100_000 if LONG else 1_000
BATCH = 100  # requests at once on a connection
GROWTH = 8 << 20  # bytes that the process may grow by: one arena of the allocator here and there, not what was sent
GOOD = written(steps("<<request>>"))
SIGNS = string.ascii_letters + string.digits + "-_.:"


def run(test: Any) -> None:
    """Run an async test on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test())


@pytest.mark.row(40, 41)
def test_hundreds_of_slow_clients_hold_nobody_up_and_are_sent_away() -> None:
    async def test() -> None:
        async with stand() as it:
            begun = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX-A: "
            slow = [await Client.to(it.port) for _ in range(SLOW_CLIENTS)]
            await asyncio.gather(*(client.send(begun) for client in slow))
            other = await Client.to(it.port)
            for _ in range(50):
                await other.send(GOOD)
                assert (await other.answer()).status == 200
            assert not any(client.reader.at_eof() for client in slow), "they left before the others were served"
            answers = await asyncio.gather(*(client.answer() for client in slow))
            assert {answer.status for answer in answers} == {408}
            assert all(await asyncio.gather(*(client.is_closed() for client in slow)))
            for client in (*slow, other):
                await client.close()
            assert await it.is_alive()

    run(test)


@pytest.mark.row(41)
def test_connections_beyond_the_limit_are_refused_and_those_within_are_served() -> None:
    async def test() -> None:
        async with stand({"server": {"max_connections": 100, "idle_timeout": "30s"}}) as it:
            clients = [await Client.to(it.port) for _ in range(150)]
            served = 0
            for client in clients:
                try:
                    await client.send(GOOD)
                    served += (await client.answer()).status == 200
                except (ConnectionError, asyncio.IncompleteReadError):
                    pass
            assert served == 100
            for client in clients:
                await client.close()

    run(test)


def made_up(rng: random.Random, longest: int = 60) -> str:
    """Return a name that was never there before."""
    return "".join(rng.choices(SIGNS, k=rng.randrange(8, longest)))


def request(rng: random.Random) -> bytes:
    """Return a request in which everything that a client may choose is made up."""
    body = orjson.dumps({"model": made_up(rng), "user": made_up(rng), "messages": []})
    method, path = "POST", "/v1/chat/completions"
    if rng.random() < 0.5:  # without a body, which an early answer would not wait for
        body, method = b"", rng.choice(("GET", "PUT", "DELETE", "OPTIONS", "PATCH"))
        path = rng.choice((path, "/" + made_up(rng), "/v1/models/" + made_up(rng)))
    lines = f"{method} {path}?{made_up(rng)} HTTP/1.1\r\nHost: {made_up(rng).replace(':', '')}\r\n"
    for name in ("X-Request-Id", "User-Agent", "Authorization", "X-Forwarded-For", "Origin", "X-" + made_up(rng)):
        lines += f"{name.replace(':', '')}: {made_up(rng)}\r\n"
    return f"{lines}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.row(64)
def test_what_clients_make_up_grows_neither_the_metrics_nor_the_process() -> None:
    async def test() -> None:
        rng = random.Random(64)
        async with stand({"logging": {"level": "error", "access": True}}) as it:
            client = await Client.to(it.port)

            async def send(count: int) -> None:
                for _ in range(count // BATCH):
                    batch = [request(rng) for _ in range(BATCH)]
                    await client.send(b"".join(batch))
                    for raw in batch:
                        assert (await client.answer(head_only=raw.startswith(b"HEAD"))).status in (200, 404, 405)

            async def series() -> set[str]:
                return {line.rpartition(" ")[0] for line in (await it.router.page()).splitlines() if line[:1] != "#"}

            await send(1000)  # tables that are bounded are full by then
            names, size = await series(), memory(it.router.pid)
            await send(REQUESTS)
            assert await series() == names
            assert memory(it.router.pid) - size < GROWTH
            await client.close()

    run(test)
