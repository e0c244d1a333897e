"""A backend within this process, on the clock of the clients: it notes by the millisecond when it is left. For a flood
it runs as a process of its own: `python -m tests.chaos.figures.hollow PORT`.

What a request gets is said by its message: "wait" nothing, "flow" an event every 20 ms, "flood" events as fast as they
are taken; anything else a short answer.
"""

import asyncio
import json
import sys
import time
from typing import cast

from tests.chaos.figures.servers import MODEL

PAUSE = 0.02  # seconds between two events
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
PIECE = 1024  # bytes of the text of a flood's event


def event(text: str, *, role: bool = False) -> bytes:
    """Return one chunk with one event."""
    delta = {"role": "assistant", "content": text} if role else {"content": text}
    data = {
        "id": "chatcmpl-hollow",
        "object": "chat.completion.chunk",
        "created": 1_800_000_000,
        "model": MODEL,
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}],
    }
    raw = b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(raw), raw)


def plain(body: object, *, status: str = "200 OK") -> bytes:
    """Return a whole answer."""
    raw = json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(raw)}\r\n\r\n"
    return head.encode() + raw


CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}
SHORT = plain(
    {
        "id": "chatcmpl-hollow",
        "object": "chat.completion",
        "created": 1_800_000_000,
        "model": MODEL,
        "choices": [CHOICE],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
)
PROBES = {
    b"/health": plain({}),
    b"/version": plain({"version": "0.33.0"}),
    b"/v1/models": plain({"object": "list", "data": [{"id": MODEL, "object": "model", "max_model_len": 32768}]}),
}
NOT_FOUND = plain({"detail": "Not Found"}, status="404 Not Found")


class Hollow:
    """The backend: start it, and look at what arrives."""

    def __init__(self) -> None:
        """Not listening yet."""
        self.port = 0
        # For each request that waits or flows: when its connection ends.
        self.arrived: asyncio.Queue[asyncio.Future[float]] = asyncio.Queue()
        self._server: asyncio.Server | None = None

    async def start(self, port: int) -> None:
        """Listen."""
        self.port = port
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self), "127.0.0.1", port, backlog=4096
        )

    async def stop(self) -> None:
        """Listen no more; connections end with their clients."""
        if self._server is not None:
            self._server.close()


class _Connection(asyncio.Protocol):
    def __init__(self, hollow: Hollow) -> None:
        self._hollow = hollow
        self._raw = b""
        self._left: asyncio.Future[float] | None = None
        self._is_paused = False
        self._flood: bytes | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._raw += data
        while (request := self._next()) is not None:
            self._answer(*request)

    def eof_received(self) -> bool:
        return False  # whoever half-closes has left

    def connection_lost(self, exc: Exception | None) -> None:
        if self._left is not None and not self._left.done():
            self._left.set_result(time.monotonic())
        self._transport = None

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        if self._flood:
            asyncio.get_running_loop().call_soon(self._pour)

    def _next(self) -> tuple[bytes, bytes] | None:
        """Return path and body of the next whole request."""
        head, mark, rest = self._raw.partition(b"\r\n\r\n")
        if not mark:
            return None
        size = 0
        for line in head.lower().split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            size = int(value) if name == b"content-length" else size
        if len(rest) < size:
            return None
        self._raw = rest[size:]
        return head.split(b" ")[1], rest[:size]

    def _answer(self, path: bytes, body: bytes) -> None:
        assert self._transport is not None
        if not body:
            self._transport.write(PROBES.get(path, NOT_FOUND))
        elif b'"wait"' in body:
            self._watch()
        elif b'"flow"' in body:
            self._watch()
            self._transport.write(STREAM_HEAD + event("", role=True))
            self._drip()
        elif b'"flood"' in body:
            self._transport.write(STREAM_HEAD + event("", role=True))
            self._flood = event("x" * PIECE) * 16
            self._pour()
        else:
            self._transport.write(SHORT)

    def _watch(self) -> None:
        self._left = asyncio.get_running_loop().create_future()
        self._hollow.arrived.put_nowait(self._left)

    def _drip(self) -> None:
        if self._transport is not None:
            self._transport.write(event("word "))
            asyncio.get_running_loop().call_later(PAUSE, self._drip)

    def _pour(self) -> None:
        """Write as long as it is taken, a piece for each turn of the loop."""
        if self._transport is not None and not self._is_paused and self._flood is not None:
            self._transport.write(self._flood)
            asyncio.get_running_loop().call_soon(self._pour)


async def _serve(port: int) -> None:
    await Hollow().start(port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
