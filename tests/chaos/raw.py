"""Backends that send scripted bytes, right or wrong, and clients that do: what no well-behaved library would send.

The scripts are those of tests/relay/scripted.py; here they stand behind a router whose release is checked.
"""

import asyncio
import contextlib
import socket
import struct

from tests.relay.scripted import DONE, END, HEAD, ROLE, TEXT, Asked, Script, chat, chunk, gone, plain, says, stream

__all__ = [
    "DONE",
    "END",
    "HEAD",
    "ROLE",
    "TEXT",
    "Asked",
    "RawClient",
    "Script",
    "chat",
    "chunk",
    "gone",
    "plain",
    "says",
    "stream",
    "then_close",
    "then_reset",
]

LINGER_NOT = struct.pack("ii", 1, 0)


def then_close(data: bytes) -> Script:
    """Return a script that sends bytes and then ends the connection."""

    async def script(asked: Asked) -> None:
        asked.writer.write(data)
        await asked.writer.drain()
        asked.writer.close()

    return script


def then_reset(data: bytes) -> Script:
    """Return a script that sends bytes and then resets the connection."""

    async def script(asked: Asked) -> None:
        asked.writer.write(data)
        await asked.writer.drain()
        await asyncio.sleep(0.1)  # a RST overtakes what the other side has not read yet
        reset(asked.writer)

    return script


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with a RST."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    writer.transport.abort()


class RawClient:
    """One connection of a client that does as the test says."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Made by `connect`."""
        self.reader = reader
        self.writer = writer
        self.got = b""

    @classmethod
    async def connect(cls, port: int, *, receive_buffer: int | None = None) -> "RawClient":
        """Connect to a port; `receive_buffer`: bytes that the kernel may hold for us."""
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=receive_buffer or 65536)
        return cls(reader, writer)

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)

    async def read_until(self, mark: bytes, *, within: float = 15.0) -> bytes:
        """Read until a mark has come; return all that has come so far. Fails where the connection ends before."""
        async with asyncio.timeout(within):
            while mark not in self.got:
                data = await self.reader.read(65536)
                assert data, f"ended after {self.got[-500:]!r}"
                self.got += data
        return self.got

    async def read_all(self, *, within: float = 15.0) -> bytes:
        """Read to the end of the connection; a RST ends it too."""
        async with asyncio.timeout(within):
            with contextlib.suppress(ConnectionError):
                while data := await self.reader.read(65536):
                    self.got += data
        return self.got

    def half_close(self) -> None:
        """Say that nothing more comes from us."""
        self.writer.write_eof()

    def close(self) -> None:
        """Leave in order: a FIN."""
        self.writer.close()

    def reset(self) -> None:
        """Leave with a RST."""
        reset(self.writer)

    def leave(self, way: str) -> None:
        """Leave by `fin`, `rst` or `half`."""
        {"fin": self.close, "rst": self.reset, "half": self.half_close}[way]()
