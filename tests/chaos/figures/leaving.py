"""Figures `gone-*`: how long a backend goes on working for a client that has left, by the way it left.

Six cases: FIN, RST or half-close, while a stream flows or before the first byte; and the first two after the client has
already sent its next request on the same connection.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.processes import free_ports
from tests.chaos.figures.client import Asking, percentile, request_of
from tests.chaos.figures.fronts import HAPROXY, NGINX, PLAIN, Front, Running
from tests.chaos.figures.hollow import Hollow
from tests.chaos.figures.rows import Numbers
from tests.chaos.figures.scene import Size
from tests.chaos.figures.servers import MODEL

GONE_FRONTS = (Front("nginx", NGINX), Front("haproxy", HAPROXY), PLAIN)
WAYS = ("fin", "rst", "half")
CASES = tuple(
    (f"gone-{way}-{state}{'-pipelined' if pipelined else ''}", way, state, pipelined)
    for pipelined in (False, True)
    for state in ("flow", "wait")
    for way in (WAYS if not pipelined else WAYS[:2])
)
NEVER = 2.0  # seconds; what has not ended then counts as never
ENOUGH = 10  # clients whose leaving was never noticed: no more are tried


def case(way: str, state: str, *, is_pipelined: bool) -> Callable[[Front, Size], Awaitable[Numbers]]:
    """Return the figure of one case."""

    async def measure(front: Front, size: Size) -> Numbers:
        hollow = Hollow()
        with tempfile.TemporaryDirectory(prefix="figures-") as folder:
            Path(folder).chmod(0o755)
            await hollow.start(free_ports(1)[0])
            running = Running(front, [hollow.port], work=Path(folder))
            try:
                await asyncio.to_thread(running.start)
                tries: list[float | None] = []
                while len(tries) < _count(size) and tries.count(None) < ENOUGH:
                    tries.append(await _leave(running.port, hollow, way=way, state=state, is_pipelined=is_pipelined))
            finally:
                await asyncio.to_thread(running.end)
                await hollow.stop()
        times = [took * 1e3 for took in tries if took is not None]
        return {
            "clients": len(tries),
            "p50 ms": percentile(times, 50),
            "p99 ms": percentile(times, 99),
            "never": len(tries) - len(times),
        }

    return measure


def _count(size: Size) -> int:
    return 20 if size.quick else 200


async def _leave(port: int, hollow: Hollow, *, way: str, state: str, is_pipelined: bool) -> float | None:
    """Ask, leave, and return the seconds until the backend's connection was closed; None for never."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": state}], "stream": True}
    request = request_of(port, body, close=False)
    asking = Asking(request + (request if is_pipelined else b""))
    await asyncio.get_running_loop().create_connection(lambda: asking, "127.0.0.1", port)
    ended = await asyncio.wait_for(hollow.arrived.get(), 5)
    if state == "flow":
        await asyncio.wait_for(asking.begun, 5)
    await asyncio.sleep(0.005)
    assert asking.transport is not None
    left = time.monotonic()
    if way == "rst":
        asking.reset()
    elif way == "fin":
        asking.transport.close()
    else:
        asking.transport.write_eof()
    try:
        return await asyncio.wait_for(ended, NEVER) - left
    except TimeoutError:
        return None
    finally:
        asking.leave()
        await asyncio.sleep(0.01)
