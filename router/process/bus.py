"""Messages between the parent and a worker, over a socket pair that nobody else can reach.

    frame    length of the rest (4 bytes, big endian) | channel (1 byte) | payload

`Frames` is the framing without I/O. A peer that does not read is cut off when too much waits for it: the parent
must not fill its memory for a worker that hangs.
"""

import asyncio
import enum
import socket
import struct
from collections.abc import Callable
from typing import cast

HEAD = struct.Struct(">I")
MAX_FRAME = 64 << 20  # bytes; a dump of metrics with as many series as there may be has some 5 MB
MAX_UNSENT = 64 << 20  # bytes that may wait for a peer


class Channel(enum.IntEnum):
    """What a frame carries."""

    MESSAGE = 0  # for who receives it (process.messages)
    FACTS = 1  # for all other workers: the parent passes them on as they are


class Frames:
    """Bytes in, frames out, at any split."""

    def __init__(self) -> None:
        """Nothing read yet."""
        self._held = bytearray()

    def feed(self, data: bytes) -> list[tuple[Channel, bytes]]:
        """Return the frames that are whole now. Raises ValueError for what is none; the stream is then useless."""
        self._held += data
        held, found, at = self._held, [], 0
        while len(held) - at >= HEAD.size:
            (length,) = HEAD.unpack_from(held, at)
            if not 1 <= length <= MAX_FRAME:
                raise ValueError(f"a frame of {length} bytes")
            end = at + HEAD.size + length
            if len(held) < end:
                break
            found.append((Channel(held[at + HEAD.size]), bytes(held[at + HEAD.size + 1 : end])))
            at = end
        del held[:at]
        return found


def frame(channel: Channel, payload: bytes) -> bytes:
    """Return the bytes of one frame. Raises ValueError where it is too long."""
    if len(payload) >= MAX_FRAME:
        raise ValueError(f"a message of {len(payload)} bytes")
    return HEAD.pack(len(payload) + 1) + bytes([channel]) + payload


class Bus(asyncio.Protocol):
    """One end of a socket pair."""

    def __init__(self, receive: Callable[[Channel, bytes], None], lost: Callable[[], None]) -> None:
        """`receive` is called for each frame, `lost` once, when the other end has gone or sent nonsense."""
        self._receive = receive
        self._lost = lost
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self._ended = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether the other end may still be there."""
        return self._transport is not None

    async def connect(self, sock: socket.socket) -> None:
        """Take the socket, which is ours from now on."""
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=sock)

    def send(self, payload: bytes, *, channel: Channel = Channel.MESSAGE) -> None:
        """Send a frame; where the other end has gone, it goes nowhere."""
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(frame(channel, payload))
        if self._transport.get_write_buffer_size() > MAX_UNSENT:
            self._transport.abort()

    def close(self) -> None:
        """Send what waits and say no more; the other end closes when it has read all. `lost` is not called.

        What it still sends is taken and dropped: a write to a socket that is closed would fail, its event loop would
        read no further then, and what we said last would be lost.
        """
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.write_eof()

    async def ended(self) -> None:
        """Return when the other end has read all that was sent before `close`, or has gone."""
        await self._ended.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand on each frame that is whole."""
        if self._transport is None:
            return
        try:
            frames = self._frames.feed(data)
        except ValueError:
            if self._transport is not None:
                self._transport.abort()
            return
        for channel, payload in frames:
            self._receive(channel, payload)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that nothing will come any more."""
        self._ended.set()
        if self._transport is not None:
            self._transport = None
            self._lost()
