"""Figures `reload` and `restart`: the front itself changes, ten times, under connections without end.

HAProxy's master starts a new worker with the listening sockets either way, so that its reload stands for both. What is
changed for ours is a backend's weight and a retry rule, to and fro; the peers start new workers whatever has changed.
"""

import asyncio
import dataclasses
import time
from collections import Counter
from collections.abc import Awaitable, Callable

from tests.chaos.figures.client import Ending
from tests.chaos.figures.fronts import HAPROXY, NGINX, OURS, PLAIN, Front
from tests.chaos.figures.rows import Numbers
from tests.chaos.figures.scene import Scene, Size, scene, under_load

WORKERS = PLAIN.tuned(("server.workers", 2), name="ours-2-workers")
RELOAD_FRONTS = (Front("nginx", NGINX), Front("haproxy", HAPROXY), PLAIN, WORKERS)
RESTART_FRONTS = (Front("nginx", NGINX), PLAIN, WORKERS)
ROUNDS, QUICK_ROUNDS = 10, 2
RATE, TOKENS = 1200.0, 240  # connections a second, and tokens of a stream (6 s): 10,000 connections in a round


async def reload(front: Front, size: Size) -> Numbers:
    """Take up a changed configuration, again and again."""
    return await _rounds(front, size, lambda at: asyncio.to_thread(at.front.reload))


async def restart(front: Front, size: Size) -> Numbers:
    """Hand over to new processes, again and again."""
    return await _rounds(front, size, lambda at: asyncio.to_thread(at.front.replace))


async def _rounds(front: Front, size: Size, change: Callable[[Scene], Awaitable[None]]) -> Numbers:
    size = size if size.quick else dataclasses.replace(size, rate=RATE, tokens=TOKENS)
    connections = failed = streams = skipped = 0
    endings: Counter[Ending] = Counter()
    statuses: dict[int, int] = {}
    took: list[float] = []
    async with scene(front, size=size) as at:
        for _ in range(QUICK_ROUNDS if size.quick else ROUNDS):

            async def harm() -> None:
                begun = time.monotonic()
                await change(at)
                took.append(time.monotonic() - begun)

            seen = await under_load(at, harm, size=size, after=0.5, within=40.0)
            connections += len(seen.flow.answers)
            failed += seen.flow.failed
            skipped += seen.flow.skipped
            streams += len(seen.endings)
            endings.update(seen.endings)
            for status, count in seen.flow.statuses().items():
                statuses[status] = statuses.get(status, 0) + count
        taken_up = at.front.taken_up if front.kind == OURS else None
    return {
        "rounds": len(took),
        "connections": connections,
        "failed": failed,
        "never answered": statuses.get(0, 0),
        "not sent": skipped,
        "streams": streams,
        "cut": streams - endings[Ending.WHOLE],
        **{f"cut: {kind.value}": endings[kind] for kind in Ending if kind is not Ending.WHOLE and endings[kind]},
        "reloads taken up": taken_up,
        "hand-over max s": max(took, default=None),
    }
