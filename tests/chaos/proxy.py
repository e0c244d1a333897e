"""A TCP proxy that spoils what goes through it: between the router and a backend, on loopback.

`Proxy.faults` may be changed at any time: what is under way follows from its next bytes on. Counts of bytes are of one
connection, from the server to the client, since that is where answers go.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

PIECE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Toxic:
    """What goes wrong on a connection. The default: nothing."""

    latency: float = 0.0  # seconds by which each piece comes later
    black_hole: bool = False  # nothing passes any more, in neither direction; connections stay open
    reset_after: int | None = None  # bytes of the answer after which both sides are reset
    end_after: int | None = None  # bytes of the answer after which the client is sent a FIN
    piece: int = PIECE  # bytes that go out at a time
    pause: float = 0.0  # seconds between two pieces
    refuse: bool = False  # new connections are closed at once

    @property
    def limit(self) -> int | None:
        """Return the bytes of an answer that pass."""
        return self.reset_after if self.reset_after is not None else self.end_after


def abort(writer: asyncio.StreamWriter) -> None:
    """Close a connection with a RST."""
    sock = writer.get_extra_info("socket")
    if sock is None:
        return  # it is closed already
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Proxy:
    """One listening port in front of one server."""

    def __init__(self, target: int) -> None:
        """`target`: the server's port."""
        self.toxic = Toxic()
        self.port = 0
        self.connections = 0  # ever taken
        self._target = target
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_idle(self) -> bool:
        """Whether no connection is open."""
        return not self._open

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and cut what is open."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._open):
            abort(writer)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def reset(self) -> None:
        """Reset every connection that is open now."""
        for writer in list(self._open):
            abort(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        if self.toxic.refuse:
            abort(writer)
            return
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            self._open |= {writer, back}
            try:
                up = asyncio.create_task(self._pump(reader, back, other=writer, counted=False))
                down = asyncio.create_task(self._pump(there, writer, other=back, counted=True))
                for pump in (up, down):
                    self._tasks.add(pump)
                    pump.add_done_callback(self._tasks.discard)
                await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
                if up.done():  # the client has left: the server is told at once
                    down.cancel()
                else:
                    await down
                    up.cancel()
            finally:
                self._open -= {writer, back}
                for each in (writer, back):
                    each.close()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        other: asyncio.StreamWriter,
        counted: bool,
    ) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := await reader.read(PIECE):
                passed = await self._pass_on(data, writer, passed=passed, counted=counted)
                if passed < 0:
                    self._spoil(writer, other)
                    return

    async def _pass_on(self, data: bytes, writer: asyncio.StreamWriter, *, passed: int, counted: bool) -> int:
        """Send bytes as the toxic has it; return how many have passed so far, -1 once no more may."""
        while data:
            toxic = self.toxic
            while toxic.black_hole:
                await asyncio.sleep(0.05)
                toxic = self.toxic
            limit = toxic.limit if counted else None
            size = toxic.piece if limit is None else min(toxic.piece, limit - passed)
            if size <= 0:
                return -1
            if toxic.latency or toxic.pause:
                await asyncio.sleep(toxic.latency + toxic.pause)
            writer.write(data[:size])
            await writer.drain()
            passed += len(data[:size])
            data = data[size:]
        limit = self.toxic.limit if counted else None
        return -1 if limit is not None and passed >= limit else passed

    def _spoil(self, writer: asyncio.StreamWriter, other: asyncio.StreamWriter) -> None:
        if self.toxic.reset_after is not None:
            abort(writer)
        else:
            writer.close()
        abort(other)


@asynccontextmanager
async def proxies(*targets: int) -> AsyncIterator[list[Proxy]]:
    """Start a proxy in front of each port."""
    found = [Proxy(target) for target in targets]
    for each in found:
        await each.start()
    try:
        yield found
    finally:
        for each in found:
            await each.stop()
