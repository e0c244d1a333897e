"""A scripted raw TCP server, and a client in front of it, on one uvloop: for tests of the client's side of the wire."""

import asyncio
import functools
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvloop

from router.wire.client import Origin, PooledHTTPClient, Request
from router.wire.client_request import declared_length

PATIENCE = 10.0  # seconds: far beyond what anything here takes
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def on_uvloop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test on a loop of its own, bounded in time."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def bounded() -> None:
            await asyncio.wait_for(test(*args, **kwargs), PATIENCE * 2)

        uvloop.run(bounded())

    return run


class Peer:
    """The upstream's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader, self.writer, self.number = reader, writer, number
        self.requests: list[bytes] = []  # heads and bodies as they came
        self.gone = asyncio.Event()  # the client has closed

    async def request(self) -> bytes:
        """Read one request; only bodies with a Content-Length."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone.set()
            raise EOFError from None
        whole = head + await self.reader.readexactly(declared_length(head) or 0)
        self.requests.append(whole)
        return whole

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        try:
            await self.writer.drain()
        except ConnectionError:
            self.gone.set()
            raise

    async def wait_gone(self) -> None:
        """Wait until the client closes; what it still sends is dropped."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass
        self.gone.set()

    def reset(self) -> None:
        """End with RST."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    def close(self) -> None:
        """End with FIN."""
        self.writer.close()


Script = Callable[[Peer], Awaitable[None]]


@dataclass
class Upstream:
    """A running server."""

    origin: Origin
    peers: list[Peer] = field(default_factory=list)
    faults: list[BaseException] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.origin.port

    def request(self, **settings: Any) -> Request:
        """A request to it, with timeouts that end a test rather than hang it."""
        given: dict[str, Any] = dict.fromkeys(("connect_timeout", "first_byte_timeout", "idle_timeout"), PATIENCE)
        return Request(**({"origin": self.origin} | given | settings))

    async def gone(self, number: int = 0) -> None:
        """Wait until the client has closed this connection; it may have done so before it was accepted here."""

        async def wait() -> None:
            while len(self.peers) <= number:
                await asyncio.sleep(0.005)
            await self.peers[number].gone.wait()

        await asyncio.wait_for(wait(), PATIENCE)


@asynccontextmanager
async def upstream(
    script: Script,
    *,
    host: str = "127.0.0.1",
    name: str | None = None,
    unix_path: str | None = None,
    tls: ssl.SSLContext | None = None,
    client_tls: Any = None,
) -> AsyncIterator[Upstream]:
    """Serve each connection by `script`; its end closes the connection."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer, len(running.peers))
        running.peers.append(peer)
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await script(peer)
        except (EOFError, ConnectionError, asyncio.CancelledError):
            pass
        except BaseException as error:
            running.faults.append(error)
        finally:
            tasks.discard(task)
            writer.close()

    if unix_path is not None:
        server = await asyncio.start_unix_server(serve, unix_path, ssl=tls)
        port = 80
    else:
        server = await asyncio.start_server(serve, host, 0, ssl=tls, limit=2**20)
        port = server.sockets[0].getsockname()[1]
    running = Upstream(Origin("https" if tls else "http", name or host, port, unix_path=unix_path, tls=client_tls))
    try:
        yield running
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.sleep(0)
    assert not running.faults


def answering(*answers: bytes) -> Script:
    """Answer each request of a connection with the next of `answers`, the last one again and again."""

    async def script(peer: Peer) -> None:
        number = 0
        while True:
            await peer.request()
            await peer.send(answers[min(number, len(answers) - 1)])
            number += 1

    return script


def sending(data: bytes, *, then: str = "wait") -> Script:
    """Answer the first request with these bytes, then wait for the client to close, or `close` or `reset`."""

    async def script(peer: Peer) -> None:
        await peer.request()
        if data:
            await peer.send(data)
        if then == "wait":
            await peer.wait_gone()
        elif then == "reset":
            await asyncio.sleep(0.02)  # else the kernel drops what was sent before
            peer.reset()

    return script


@asynccontextmanager
async def client(**settings: Any) -> AsyncIterator[PooledHTTPClient]:
    """A client of its own."""
    made: Any = PooledHTTPClient(force_instance=True, **settings)
    try:
        yield made
    finally:
        made.close()


@asynccontextmanager
async def black_hole() -> AsyncIterator[int]:
    """A port that takes no connection: its queue is full, so the kernel drops what comes."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
            fillers.append(filler)
        await asyncio.sleep(0.05)
        yield int(listening.getsockname()[1])
        for filler in fillers:
            filler.close()
