"""The sending of a request: at once when its body is there, piece by piece when a producer makes it (`body_producer`).

A produced body is framed as chunks unless the request declares its Content-Length; then so many bytes must come.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from router.wire.client_request import Request, declared_length

JOINED_WRITE = 16 * 1024  # a body up to this size is joined with its head: copying it costs less than a second buffer

Producer = Callable[[Callable[[bytes], "asyncio.Future[None]"]], Awaitable[None] | None]


def write_request(transport: asyncio.WriteTransport, head: bytes, body: bytes | None) -> None:
    """Write a whole request; a big body is not copied."""
    if not body:
        transport.write(head)
    elif len(body) <= JOINED_WRITE:
        transport.write(head + body)
    else:
        transport.writelines((head, body))


class Upload:
    """One body on its way out."""

    def __init__(
        self, request: Request, *, write: Callable[[bytes], Any], on_error: Callable[[BaseException], None]
    ) -> None:
        """Starts the producer. `on_error` gets what it raises."""
        self._loop = asyncio.get_running_loop()
        self._write = write
        self._left = declared_length(request.header_lines)
        self._on_error = on_error
        self._drained: asyncio.Future[None] = self._loop.create_future()
        self._drained.set_result(None)
        self._task = self._loop.create_task(self._run(request.body_producer))

    @property
    def is_done(self) -> bool:
        """Whether the whole body was written."""
        return self._task.done()

    def pause(self) -> None:
        """The transport's buffer is full: writes from now on return a future that waits."""
        if self._drained.done():
            self._drained = self._loop.create_future()

    def resume(self) -> None:
        """The transport takes more."""
        if not self._drained.done():
            self._drained.set_result(None)

    def stop(self) -> None:
        """The connection is gone, or the answer came early."""
        self._task.cancel()
        self._drained.cancel()

    def _send(self, chunk: bytes) -> "asyncio.Future[None]":
        if self._left is not None:
            self._left -= len(chunk)
            if self._left < 0:
                raise ValueError("the body is longer than its Content-Length")
            self._write(chunk)
        elif chunk:  # an empty chunk would end the body
            self._write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        return self._drained

    async def _run(self, producer: Producer) -> None:
        try:
            made = producer(self._send)
            if made is not None:  # Tornado takes plain functions too
                await made
            if self._left:
                raise ValueError("the body is shorter than its Content-Length")
            if self._left is None:
                self._write(b"0\r\n\r\n")
        except Exception as error:
            self._on_error(error)
