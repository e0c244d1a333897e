"""Backends that answer byte for byte as a test says, over real sockets, and a router before them."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.front import CHAT, Front, front, merged

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n'
TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
END = b"0\r\n\r\n"  # of chunked framing


@dataclass(eq=False)
class Asked:
    """One request as a backend got it."""

    head: bytes
    body: bytes
    writer: asyncio.StreamWriter
    left: asyncio.Event = field(default_factory=asyncio.Event)  # set once the router has closed the connection

    def headers(self, name: bytes) -> list[bytes]:
        """Return the values of a header; `name` in lower case."""
        lines = [line.partition(b": ") for line in self.head.split(b"\r\n")[1:]]
        return [value for key, _, value in lines if key.lower() == name]


Script = Callable[[Asked], Awaitable[None]]


def chunk(data: bytes) -> bytes:
    """Return a piece of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def stream(*events: bytes) -> bytes:
    """Return a whole answer: an event stream."""
    return HEAD + b"".join(map(chunk, events)) + END


def plain(status: int, body: object, *lines: bytes) -> bytes:
    """Return a whole answer: JSON, or the bytes given; `lines`: further header lines, without their ends."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    more = b"".join(line + b"\r\n" for line in lines)
    head = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n"
    return head % (status, more, len(raw)) + raw


def says(*answers: bytes) -> Script:
    """Return a script that gives these answers, the last one again and again; b"" is silence."""
    left = list(answers)

    async def script(asked: Asked) -> None:
        asked.writer.write(left.pop(0) if len(left) > 1 else left[0])

    return script


def chat(body: object = None, *, lines: bytes = b"", stream: bool = True, version: bytes = b"1.1") -> bytes:
    """Return the bytes of a request; `lines`: further header lines, each with its end."""
    raw = json.dumps({**CHAT, "stream": stream} if body is None else body).encode()
    head = b"POST /v1/chat/completions HTTP/%b\r\nHost: a\r\nContent-Type: application/json\r\n%bContent-Length: %d"
    return head % (version, lines, len(raw)) + b"\r\n\r\n" + raw


async def gone(asked: Asked) -> None:
    """Wait until the router has hung up."""
    async with asyncio.timeout(5):
        await asked.left.wait()


@asynccontextmanager
async def scripted(*scripts: Script, config: dict[str, Any] | None = None) -> AsyncIterator[tuple[Front, list[Asked]]]:
    """Start one backend per script and a router before them; the list fills with what the backends are asked.

    Each is one try, nobody is probed, and all serve "simulated-model": unless `config` says otherwise.
    """
    asked: list[Asked] = []

    def served_by(script: Script) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            mine: list[Asked] = []
            try:
                while True:
                    await _serve_one(reader, writer, script, (mine, asked))
            except (asyncio.IncompleteReadError, ConnectionError, RuntimeError):
                pass  # it was hung up on
            finally:
                for each in mine:
                    each.left.set()
                writer.close()

        return serve

    servers = [await asyncio.start_server(served_by(script), "127.0.0.1", 0) for script in scripts]
    urls = [f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in servers]
    base = {
        "health": {"enabled": False},
        "retry": {"max_attempts": 1},
        "backend_options": [{"models": ["simulated-model"]}] * len(scripts),
    }
    try:
        async with front(urls=urls, config=merged(base, config or {})) as cluster:
            yield cluster, asked
    finally:
        for server in servers:
            server.close()


async def _serve_one(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, script: Script, lists: tuple[list[Asked], ...]
) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    one = Asked(head, b"", writer)
    if head.startswith(b"GET /v1/models "):
        writer.write(plain(404, {}))
        return
    one.body = await reader.readexactly(int((one.headers(b"content-length") or [b"0"])[0]))
    for each in lists:
        each.append(one)
    await script(one)
