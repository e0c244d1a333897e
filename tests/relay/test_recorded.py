"""Recorded streams of real vLLM through the whole router over real sockets, cut into random pieces on their way."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.captures import load_streams
from tests.front import CHAT, Front, front, run

SEEDS = range(50)
MOST_PIECES = 12
STREAMS = {name: (raw, body) for name, raw, body in load_streams()}
DONE = b"data: [DONE]\n\n"


def is_whole(body: bytes) -> bool:
    return DONE in body and b'"error":' not in body and b'"abort"' not in body


@asynccontextmanager
async def replaying() -> AsyncIterator[Front]:
    """A router before a server that answers with the recorded stream that a request asks for, in random pieces."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        await reader.readexactly(int(fields.get("content-length", 0)))
        if "x-recorded" in fields:
            raw = STREAMS[fields["x-recorded"]][0]
            dice = random.Random(fields["x-seed"])
            places = sorted(dice.randrange(len(raw)) for _ in range(dice.randint(1, MOST_PIECES)))
            for start, end in zip([0, *places], [*places, len(raw)], strict=True):
                writer.write(raw[start:end])
                await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    config = {
        "health": {"enabled": False},
        "breaker": {"enabled": False},
        "retry": {"max_attempts": 1},
        "resume": {"mode": "off"},
        "backend_options": [{"models": ["simulated-model"]}],
    }
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        async with front(urls=[url], config=config) as cluster:
            yield cluster
    finally:
        server.close()


@pytest.mark.parametrize("name", STREAMS)
def test_a_recorded_stream_comes_out_as_it_was_or_with_an_honest_end(name: str) -> None:
    body = STREAMS[name][1]

    async def test() -> None:
        async with replaying() as cluster:
            for seed in SEEDS:
                headers = {"X-Recorded": name.lower(), "X-Seed": str(seed)}
                answer = await cluster.ask("/v1/chat/completions", {**CHAT, "stream": True}, headers=headers)
                if is_whole(body):
                    assert answer.body == body, seed
                    continue
                assert DONE not in answer.body
                told, _, last = answer.body.removesuffix(b"\n\n").rpartition(b"\n\n")
                assert body.startswith(told)
                assert json.loads(last.removeprefix(b"data: "))["error"]["message"]

    run(test, timeout=120)
