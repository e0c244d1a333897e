"""Streams that are open and stand idle: what each costs a front in memory, and whether 9,000 of them work.

`python -m bench.idle` is the load, a program of its own: it opens streams, prints one JSON line when each has had its
first text or is lost, another one for each line that it reads, and keeps them open until its standard input ends.
"""

import argparse
import asyncio
import contextlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from bench.figures import Held
from bench.fronts import Server
from bench.processes import pin, tree_memory
from bench.streams import StreamReader, request_bytes

STREAMS = 9_000
FEW = 100  # of a front that is slow
DESCRIPTORS = 20_000  # the limit of files under which they have to work: two for each stream, and some
AT_ONCE = 100  # streams that wait for their first text at a time
BEGUN = 2  # events: the role, the first text
TIMEOUT = 90.0  # seconds for all to begin
SETTLE = 1.0  # seconds between the last beginning and the look at the memory


class Idle(asyncio.Protocol):
    """One connection with one stream that is never read to its end."""

    def __init__(self, request: bytes) -> None:
        """`request`: the bytes that ask for the stream."""
        self.request = request
        self.reader = StreamReader()
        self.begun: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        cast(asyncio.Transport, transport).write(self.request)

    def data_received(self, data: bytes) -> None:
        """Look for the first text."""
        self.reader.feed(data, 0.0)
        if self.reader.events >= BEGUN and not self.begun.done():
            self.begun.set_result(self.reader.ok)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the stream as lost: nobody should end it."""
        self.lost = True
        if not self.begun.done():
            self.begun.set_result(False)


async def open_streams(port: int, request: bytes, count: int) -> list[Idle]:
    """Return `count` connections, each with a stream that has begun or was lost."""
    loop, left, kept = asyncio.get_running_loop(), iter(range(count)), []

    async def one_after_another() -> None:
        for _ in left:
            connection = Idle(request)
            try:
                await loop.create_connection(lambda connection=connection: connection, "127.0.0.1", port)
                kept.append(connection)
                await connection.begun
            except OSError:
                connection.lost = True

    await asyncio.wait_for(asyncio.gather(*(one_after_another() for _ in range(AT_ONCE))), TIMEOUT)
    return kept


async def hold(port: int, body: bytes, count: int, headers: Sequence[str] = ()) -> None:
    """Open streams, and tell on each line of standard input how many are open and their events, until its end."""
    with contextlib.suppress(TimeoutError):
        kept = await open_streams(port, request_bytes(port, body, headers), count)
        await asyncio.sleep(SETTLE)
        while True:
            is_open = sum(one.begun.result() and not one.lost for one in kept)
            print(json.dumps({"open": is_open, "events": sum(one.reader.events for one in kept)}), flush=True)
            if not await asyncio.to_thread(sys.stdin.readline):
                break


class Streams:
    """Streams that another process holds open."""

    def __init__(
        self, port: int, *, body: Path, streams: int, cores: set[int] | None, headers: Sequence[str] = ()
    ) -> None:
        """Open them, which takes a while; `told` has the first figures. Raises RuntimeError where not all begin."""
        line = [sys.executable, "-m", "bench.idle", "--port", str(port), "--body", str(body), "--streams", str(streams)]
        line += [f"--header={one}" for one in headers]
        self._load = subprocess.Popen(
            line,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parent.parent,
            preexec_fn=pin(cores, descriptors=DESCRIPTORS),
        )
        try:
            self.told = self._read()
        except RuntimeError:
            self.close()
            raise

    def ask(self) -> dict[str, int]:
        """Return how many are open now, and their events so far."""
        assert self._load.stdin is not None
        self._load.stdin.write("\n")
        self._load.stdin.flush()
        return self._read()

    def close(self) -> None:
        """Close all of them."""
        self._load.communicate(timeout=TIMEOUT)

    def _read(self) -> dict[str, int]:
        assert self._load.stdout is not None
        line = self._load.stdout.readline()  # the load bounds its own time
        if not line:
            raise RuntimeError(f"not all streams began within {TIMEOUT:.0f} s")
        found: dict[str, int] = json.loads(line)
        return found


def measure(server: Server, pid: int, *, body: Path, streams: int, cores: set[int] | None) -> Held:
    """Open streams at a front that is idle, look at its memory, and close them. Raises RuntimeError without figures."""
    idle = tree_memory(pid)["rss"]
    started = time.monotonic()
    try:
        held = Streams(server.port, body=body, streams=streams, cores=cores, headers=server.headers)
    except RuntimeError as error:
        raise RuntimeError(f"idle streams at {server.name}: {error}") from error
    try:
        loaded = tree_memory(pid)["rss"]
    finally:
        held.close()
    return Held(server.name, idle, loaded, streams, held.told["open"], time.monotonic() - started)


def possible(limit: int | None = None) -> int:
    """Return how many streams the hard limit of descriptors allows here: 9,000 where it is 20,000 or more."""
    hard = limit if limit is not None else resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY or hard >= DESCRIPTORS:
        return STREAMS
    return hard * STREAMS // DESCRIPTORS


def main(argv: Sequence[str] | None = None) -> None:
    """Read the arguments, open, wait."""
    parser = argparse.ArgumentParser(prog="python -m bench.idle", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--body", type=Path, required=True, help="file with the body, which must ask for a stream")
    parser.add_argument("--streams", type=int, default=STREAMS)
    parser.add_argument("--header", action="append", default=[], metavar="LINE")
    args = parser.parse_args(argv)
    asyncio.run(hold(args.port, args.body.read_bytes(), args.streams, args.header))


if __name__ == "__main__":
    main()
