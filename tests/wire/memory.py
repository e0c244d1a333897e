"""A loop without sockets whose time a test moves, and connections in memory whose other end is the test.

Nothing waits: `settle` runs what is ready and returns, `advance` moves the clock from one timer to the next.
"""

import asyncio
import os
import selectors
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

ENDLESS = 100_000  # turns of the loop after which callbacks that call each other count as a hang


class _Still(selectors.SelectSelector):
    """Waits for nothing: the loop asks it only when nothing is ready, and is stopped or moved on then."""

    def __init__(self) -> None:
        super().__init__()
        self.idle: Callable[[float | None], None] = lambda timeout: None
        self.turns = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout == 0:
            self.turns += 1
            assert self.turns < ENDLESS, "callbacks that call each other without an end"
        else:
            self.idle(timeout)
        return []


class Loop(asyncio.SelectorEventLoop):
    """A loop in memory. `faults` collects what nobody has caught; the current loop while it is used in `with`."""

    def __init__(self) -> None:
        still = _Still()
        self.now = 1000.0  # seconds
        self._until = self.now
        self.faults: list[dict[str, Any]] = []
        self.peers: Callable[[Any], asyncio.Transport] | None = None  # makes the transports of outgoing connections
        super().__init__(still)
        self._clock_resolution = 1e-6  # seconds: in weeks, which tests let go by, a float tells no shorter ones apart
        still.idle = self._idle
        self._still = still
        self.set_exception_handler(lambda loop, context: self.faults.append(context))

    def __enter__(self) -> "Loop":
        asyncio.set_event_loop(self)
        return self

    def __exit__(self, *error: object) -> None:
        asyncio.set_event_loop(None)
        self.close()

    def time(self) -> float:
        return self.now

    def settle(self) -> None:
        """Run until nothing is ready."""
        self.advance(0.0)

    def advance(self, seconds: float) -> None:
        """Let time go by; timers fire in their order, and what they make ready runs."""
        self._until = self.now + seconds
        self._still.turns = 0
        self.run_forever()

    def _idle(self, timeout: float | None) -> None:
        if timeout is not None and self.now + timeout <= self._until:
            self.now += timeout
        else:
            self.now = self._until
            self.stop()

    async def create_connection(self, protocol_factory: Any, *args: Any, **options: Any) -> Any:
        """Connect to whom the test plays."""
        assert self.peers is not None, "nobody listens"
        protocol = protocol_factory()
        transport = self.peers(protocol)
        protocol.connection_made(transport)
        return transport, protocol


class Line(asyncio.Transport):
    """Our end of a connection, as the loop would give it to a protocol; the test plays the other end.

    `got` is what the other end has taken. `room` bounds how much it takes: what is beyond waits here, as in the
    kernel's and the transport's buffers.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: Any, *, room: float = float("inf")) -> None:
        super().__init__()
        self.got = bytearray()
        self.late: list[bytes] = []  # written after the end of writing
        self.is_open = True  # for the other end: neither closed nor reset by us
        self.has_eof = False  # we have ended our sending side
        self.is_paused = False  # we do not read
        self.is_lost = False
        self._loop = loop
        self._protocol = protocol
        self._room = room
        self._unsent = bytearray()
        self._low, self._high = 16 * 1024, 64 * 1024
        self._is_congested = False
        self._is_closing = False
        self._coming: list[bytes | None] = []  # from the other end, not yet read; None: its end
        self._pair: tuple[socket.socket, socket.socket] | None = None

    # What a protocol calls.

    def write(self, data: Any) -> None:
        if self.has_eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._is_closing:
            self.late.append(bytes(data))
            return
        self._unsent += data
        self._move()
        if len(self._unsent) > self._high and not self._is_congested:
            self._is_congested = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        self.has_eof = True

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = 64 * 1024 if high is None else high
        self._low = self._high // 4 if low is None else low

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False
        self._loop.call_soon(self._read)

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        self._is_closing = True
        self._close_when_sent()

    def abort(self) -> None:
        self._is_closing = True
        self._unsent.clear()
        self._lose(None)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Have a real socket only for those who ask: the kernel is asked for the other end's leaving through it."""
        if name != "socket":
            return default
        if self._pair is None:
            self._pair = socket.socketpair()
        return self._pair[0]

    # What the other end does.

    def send(self, data: bytes) -> None:
        """Send; it is read unless we have stopped reading."""
        self._coming.append(data)
        self._read()

    def end(self) -> None:
        """Close the sending side."""
        if self._pair is not None:
            self._pair[1].shutdown(socket.SHUT_WR)
        self._coming.append(None)
        self._read()

    def reset(self) -> None:
        """Break the connection; seen at once only by those who read."""
        if self._pair is not None:
            self._pair[1].close()
        self._coming.clear()
        if not self.is_paused:
            self._is_closing = True
            self._lose(ConnectionResetError(104, "reset by the test"))

    def take(self, size: float) -> None:
        """Make room for so many bytes more."""
        self._room += size
        self._move()
        if self._is_congested and len(self._unsent) <= self._low and not self.is_lost:
            self._is_congested = False
            self._protocol.resume_writing()
        self._close_when_sent()

    def release(self) -> None:
        """Let go of the socket, where there is one."""
        for each in self._pair or ():
            each.close()

    # Beneath.

    def _move(self) -> None:
        size = int(min(self._room, len(self._unsent)))
        self.got += self._unsent[:size]
        del self._unsent[:size]
        self._room -= size

    def _close_when_sent(self) -> None:
        if self._is_closing and not self._unsent:
            self._lose(None)

    def _lose(self, error: Exception | None) -> None:
        if self.is_open:
            self.is_open = False
            self._loop.call_soon(self._lost, error)

    def _lost(self, error: Exception | None) -> None:
        self.is_lost = True
        self._protocol.connection_lost(error)

    def _read(self) -> None:
        while self._coming and not (self.is_paused or self._is_closing):
            data = self._coming.pop(0)
            if data is None:
                if not self._protocol.eof_received():
                    self.close()
            elif isinstance(self._protocol, asyncio.BufferedProtocol):
                self._fill(data)
            else:
                self._protocol.data_received(data)

    def _fill(self, data: bytes) -> None:
        buffer = self._protocol.get_buffer(-1)
        piece = data[: len(buffer)]
        buffer[: len(piece)] = piece
        if len(piece) < len(data):
            self._coming.insert(0, data[len(piece) :])
        self._protocol.buffer_updated(len(piece))


class Kept:
    """One loop for many cases that leave nothing on it; another one after a case that broke a rule."""

    def __init__(self) -> None:
        self._loop: Loop | None = None
        self._owner = 0

    @contextmanager
    def loop(self) -> Iterator[Loop]:
        """Lend it; it is the current one meanwhile."""
        if self._loop is None or self._owner != os.getpid():
            self._loop, self._owner = Loop(), os.getpid()
        loop = self._loop
        asyncio.set_event_loop(loop)
        try:
            yield loop
        except BaseException:
            self.close()
            raise
        finally:
            asyncio.set_event_loop(None)

    def close(self) -> None:
        """Let go of it."""
        if self._loop is not None:
            self._loop.close()
            self._loop = None
