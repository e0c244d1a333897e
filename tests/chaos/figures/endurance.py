"""Figures `stalled` and `soak`: what is left after minutes of clients that read nothing, or millions of requests.

Memory is what the front's processes hold for themselves (RssAnon and VmSwap). The first fifth of a soak is warm-up.
"""

import asyncio
import contextlib
import json
import random
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.load import parse_load
from bench.processes import free_ports
from tests.chaos.figures.client import Flow, percentile, request_of
from tests.chaos.figures.fronts import HAPROXY, NGINX, ONE_TOKEN, OURS, PLAIN, Front, Running
from tests.chaos.figures.rows import Numbers
from tests.chaos.figures.scene import Scene, Size, scene
from tests.chaos.figures.servers import MODEL, ROOT, Server, descriptors_of, memory_of, wait_for

STALLED_FRONTS = (Front("nginx", NGINX), Front("haproxy", HAPROXY), PLAIN)
SOAK_FRONTS = (PLAIN,)
READERS = 200
HOLLOW = "tests.chaos.figures.hollow"
STEADY = 0.8  # the last share of the time: before, the flood fills the kernel's buffers
SMALL_BUFFER = 4096  # bytes that the kernel may hold for a stalled client
MIB = 1024 * 1024
FAULTS: tuple[dict[str, object], ...] = (
    {},
    {"status": 500, "rate": 0.01},
    {"break_as": "cut", "break_after": 10, "rate": 0.05},
    {"reset": True, "rate": 0.01},
    {"break_as": "error", "break_after": 5, "rate": 0.05},
    {"status": 503, "retry_after": "1", "rate": 0.05},
)


async def stalled(front: Front, size: Size) -> Numbers:
    """Clients ask for a flood and read nothing; one that is cut comes again."""
    seconds = 10.0 if size.quick else 300.0
    with tempfile.TemporaryDirectory(prefix="figures-") as folder:
        Path(folder).chmod(0o755)
        port = free_ports(1)[0]
        flooding = Server("hollow", [sys.executable, "-m", HOLLOW, str(port)], port=port, work=Path(folder))
        running = Running(front, [port], work=Path(folder))
        try:
            flooding.start()
            await asyncio.to_thread(wait_for, flooding, "/health")
            await asyncio.to_thread(running.start)
            alone = Flow(running.port, request_of(running.port, ONE_TOKEN), 50.0)
            await alone.run(3.0)
            before = memory_of(running.server.pids)
            until = time.monotonic() + seconds
            readers = [asyncio.create_task(_read_nothing(running.port, until)) for _ in range(READERS)]
            flow = Flow(running.port, alone.request, 50.0)
            highest, _ = await asyncio.gather(_highest(running, until), flow.run(seconds))
            asked = sum(await asyncio.gather(*readers))
            last = memory_of(running.server.pids)
        finally:
            await asyncio.to_thread(running.end)
            await asyncio.to_thread(flooding.end)
    late = [answer for answer in flow.answers if answer.asked_at > until - seconds * STEADY]
    return {
        "seconds": seconds,
        "readers": READERS,
        "asked": asked,
        "growth MiB": (highest - before) / MIB,
        "at the end MiB": (last - before) / MIB,
        "requests": len(flow.answers),
        "failed": flow.failed,
        "alone p99 ms": (percentile([answer.seconds for answer in alone.answers], 99) or 0.0) * 1e3,
        "others p99 ms": (percentile([answer.seconds for answer in late], 99) or 0.0) * 1e3,
        "others max ms": max((answer.seconds for answer in flow.answers), default=0.0) * 1e3,
    }


async def _read_nothing(port: int, until: float) -> int:
    """Ask for a flood and leave it lying, again whenever the connection is cut; return how often."""
    loop = asyncio.get_running_loop()
    request = request_of(port, {"model": MODEL, "messages": [{"role": "user", "content": "flood"}], "stream": True})
    asked = 0
    while time.monotonic() < until:
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", port))
            await loop.sock_sendall(sock, request)
            asked += 1
            while time.monotonic() < until and not _is_cut(sock):
                await asyncio.sleep(1.0)
        await asyncio.sleep(0.01)
    return asked


def _is_cut(sock: socket.socket) -> bool:
    """Whether the other side has ended the connection, without reading a byte of it (see tcp(7), TCP_INFO)."""
    state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    return state != 1  # ESTABLISHED


async def _highest(running: Running, until: float) -> int:
    highest = 0
    while time.monotonic() < until:
        highest = max(highest, memory_of(running.server.pids))
        await asyncio.sleep(0.5)
    return highest


# ---- soak


async def soak(front: Front, size: Size) -> Numbers:
    """Short requests and streams by turns, each turn with other faults at the backends."""
    rounds = 5 if size.quick else 20
    short, streams = (20_000, 500) if size.quick else (2_000_000, 20_000)
    flags: dict[str, object] = {"ttft": 0, "itl": "5ms", "tokens": 4096}
    rng = random.Random(7)
    done = {"requests": 0.0, "failed": 0.0, "streams": 0.0, "broken": 0.0}
    looks: list[tuple[int, int]] = []
    async with scene(front, size=Size.of(quick=True), flags=flags) as at:
        for number in range(rounds):
            for backend in at.backends:
                backend.fail(rng.choice(FAULTS))
            if number % 4 == 3:
                at.backends[number % 3].kill()
            await _add(done, ("requests", "failed"), lambda: _short(at, short // rounds))
            await _add(done, ("streams", "broken"), lambda: _streams(at, streams // rounds))
            await asyncio.to_thread(_revive, at)
            looks.append(await _look(at))
        warm, last = looks[max(0, rounds // 5 - 1)], looks[-1]
        return {
            **done,
            "warm MiB": warm[0] / MIB,
            "growth MiB": (last[0] - warm[0]) / MIB,
            "growth %": (last[0] - warm[0]) / warm[0] * 100,
            "highest %": (max(look[0] for look in looks) - warm[0]) / warm[0] * 100,
            "descriptors": last[1] - warm[1],
            **_left_behind(at),
        }


async def _add(
    done: dict[str, float], names: tuple[str, str], load: Callable[[], Awaitable[tuple[float, float]]]
) -> None:
    for name, value in zip(names, await load(), strict=True):
        done[name] += value


async def _short(at: Scene, count: int) -> tuple[float, float]:
    """Ask for so many short answers with wrk, or from here without it; return how many came, and how many failed."""
    program = shutil.which("wrk")
    if program is None:
        flow = Flow(at.front.port, request_of(at.front.port, ONE_TOKEN), 1000.0)
        await flow.run(count / 1000.0)
        return len(flow.answers), flow.failed
    body = at.front.config.parent / "short.json"
    body.write_text(json.dumps(ONE_TOKEN))
    url = f"http://127.0.0.1:{at.front.port}/v1/chat/completions"
    sent = failed = 0.0
    while sent < count:
        line = [program, "--threads", "1", "--connections", "64", "--duration", "2s" if count < 20_000 else "10s"]
        found = await _figures_of(
            [*line, "--timeout", "10s", "--script", str(ROOT / "bench/post.lua"), url, "--", str(body)]
        )
        sent += found["count"]
        failed += found["errors"]
    return sent, failed


async def _streams(at: Scene, count: int) -> tuple[float, float]:
    body = at.front.config.parent / "stream.json"
    body.write_text(json.dumps({**at.streams[0].body, "max_tokens": 32}))
    line = [sys.executable, "-m", "bench.streams", "--port", str(at.front.port), "--body", str(body)]
    found = await _figures_of([*line, "--concurrency", "100", "--total", str(count), "--timeout", "120"])
    return found["streams"], found["errors"]


async def _figures_of(command: list[str]) -> dict[str, float]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=ROOT
    )
    said, _ = await asyncio.wait_for(process.communicate(), 180)
    return parse_load(said.decode(errors="replace"))


def _revive(at: Scene) -> None:
    """Have every backend work again, and let ours see it."""
    for backend in at.backends:
        if not backend.is_running:
            backend.start()
    until = time.monotonic() + 10
    for backend in at.backends:
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                backend.fail({})
                break
            time.sleep(0.05)
    if at.front.front.kind == OURS:
        at.front.wait_usable(len(at.backends), within=60)


async def _look(at: Scene) -> tuple[int, int]:
    """Wait until kept connections have ended; return memory and descriptors of the front."""
    await asyncio.sleep(6)
    return memory_of(at.front.server.pids), descriptors_of(at.front.server.pids)


def _left_behind(at: Scene) -> Numbers:
    """Return what ours says is still at work, which is nothing, but for the request that asks."""
    if at.front.front.kind != OURS:
        return {}
    counts = at.front.metrics()
    return {
        "in flight": counts.get("router_requests_in_flight"),
        "at backends": sum(value for name, value in counts.items() if name.startswith("router_backend_in_flight")),
    }
