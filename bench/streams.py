"""Load of concurrent SSE streams over keep-alive connections, and the time between their events.

A program of its own (`python -m bench.streams`), so that its CPU is nobody's but its own. It reads raw sockets and
looks only for ends of events: enough to time them, too little to disturb what it times. Prints one JSON line.
"""

import argparse
import asyncio
import gc
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from bench.figures import percentile

DONE = b"data: [DONE]"
LAST_CHUNK = b"0\r\n\r\n"
TAIL = len(DONE) + 32  # bytes kept of earlier reads: more than any mark that is looked for


class StreamReader:
    """Times of the events of one answer. Pure: bytes and the time of their coming are given."""

    def __init__(self) -> None:
        """Begin with nothing read."""
        self.events = 0
        self.gaps: list[float] = []  # seconds; the first event has none
        self.ok = False  # the status was 200
        self._last: float | None = None
        self._tail = b""
        self._done = False
        self._head = b""
        self._in_head = True

    def feed(self, data: bytes, now: float) -> bool:
        """Take the bytes of one read; return whether the answer has ended.

        Events that come in one read have a gap of 0 between them: the client saw them together.
        """
        if self._in_head:
            data = self._skip_head(data)
        ends = (self._tail[-1:] + data).count(b"\n\n")
        if ends:
            if self._last is not None:
                self.gaps.append(now - self._last)
            self.gaps.extend([0.0] * (ends - 1))
            self._last = now
            self.events += ends
        window = self._tail + data
        self._done = self._done or DONE in window
        self._tail = window[-TAIL:]
        return self._done and self._tail.endswith(LAST_CHUNK)

    def _skip_head(self, data: bytes) -> bytes:
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            return b""
        self.ok = self._head.split(b"\r\n", 1)[0].split(b" ")[1:2] == [b"200"]
        self._in_head = False
        return self._head[end + 4 :]


class Load:
    """The shared state of all connections: how many streams are still to begin, and what came of the rest."""

    def __init__(self, total: int, request: bytes) -> None:
        """`total` streams are begun, each with the bytes of `request`."""
        self.left = total
        self.request = request
        self.streams = self.events = self.errors = 0
        self.gaps: list[float] = []
        self.open = 0
        self.ended = asyncio.get_running_loop().create_future()

    def close(self, reader: StreamReader | None, *, whole: bool) -> None:
        """Count one ended stream."""
        if reader is None:
            return
        self.streams += 1
        self.events += reader.events
        self.gaps += reader.gaps
        if not (whole and reader.ok):
            self.errors += 1


class Connection(asyncio.Protocol):
    """One keep-alive connection that asks for stream after stream."""

    def __init__(self, load: Load) -> None:
        """`load` tells whether there is another stream to begin."""
        self.load = load
        self.reader: StreamReader | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast(asyncio.Transport, transport)
        self.load.open += 1
        self._next()

    def data_received(self, data: bytes) -> None:
        """Time what came, and go on to the next stream after the last byte."""
        now = time.perf_counter()
        if self.reader is not None and self.reader.feed(data, now):
            self.load.close(self.reader, whole=True)
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count a stream that is still open as broken; the last connection ends the run."""
        self.load.close(self.reader, whole=False)
        self.reader = None
        self.load.open -= 1
        if not self.load.open and not self.load.ended.done():
            self.load.ended.set_result(None)

    def _next(self) -> None:
        self.reader = None
        assert self.transport is not None
        if self.load.left <= 0:
            self.transport.close()
            return
        self.load.left -= 1
        self.reader = StreamReader()
        self.transport.write(self.load.request)


def request_bytes(port: int, body: bytes, headers: Sequence[str] = ()) -> bytes:
    """Return the bytes of one chat request; `headers`: further lines."""
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{port}\r\n"
        "Accept: application/json\r\n"
        "Content-Type: application/json\r\n"
        "User-Agent: OpenAI/Python 2.0.0\r\n"
        "Authorization: Bearer sk-bench\r\n"
        "X-Stainless-Lang: python\r\n"
        "X-Stainless-Runtime: CPython\r\n"
        f"Content-Length: {len(body)}\r\n" + "".join(f"{line}\r\n" for line in headers) + "\r\n"
    )
    return head.encode() + body


async def run(
    port: int, body: bytes, *, concurrency: int, total: int, timeout: float, headers: Sequence[str] = ()
) -> dict[str, float]:
    """Run `total` streams, `concurrency` at a time, and return the figures; gaps in milliseconds."""
    load = Load(total, request_bytes(port, body, headers))
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    for _ in range(min(concurrency, total)):
        await loop.create_connection(lambda: Connection(load), "127.0.0.1", port)
    try:
        await asyncio.wait_for(load.ended, timeout)
    except TimeoutError:
        load.errors += load.open
    elapsed = time.perf_counter() - started
    load.gaps.sort()
    return {
        "count": load.events,
        "streams": load.streams,
        "errors": load.errors,
        "elapsed": elapsed,
        "p50": percentile(load.gaps, 50) * 1e3,
        "p99": percentile(load.gaps, 99) * 1e3,
    }


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.streams", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--body", type=Path, required=True, help="file with the body, which must ask for a stream")
    parser.add_argument("--concurrency", type=int, default=100)
    parser.add_argument("--total", type=int, default=800)
    parser.add_argument("--header", action="append", default=[], metavar="LINE", help="one more, as 'Name: value'")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds after which the run is cut short")
    args = parser.parse_args()
    work = run(
        args.port,
        args.body.read_bytes(),
        concurrency=args.concurrency,
        total=args.total,
        timeout=args.timeout,
        headers=args.header,
    )
    gc.disable()  # a collection would show as a gap that no front made
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        print(json.dumps(runner.run(work)))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's factory where it is installed; None means asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


if __name__ == "__main__":
    main()
