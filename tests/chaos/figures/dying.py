"""Figures `kill` and `stop`: one of three backends dies, or stands still, under live streams and new requests."""

import signal

from tests.chaos.figures.client import Ending
from tests.chaos.figures.fronts import EXACT, HAPROXY, NGINX, OFF, PEERS, TEXT, Front
from tests.chaos.figures.rows import Numbers
from tests.chaos.figures.scene import Size, largest_gap, scene, under_load

KILL_FRONTS = (*PEERS, OFF, TEXT, EXACT)
STOP_FRONTS = (
    Front("nginx", NGINX),
    Front("nginx-strict", NGINX, strict=True),
    Front("haproxy", HAPROXY),
    Front("haproxy-strict", HAPROXY, strict=True),
    TEXT,
    Front("ours-off-strict", "ours", strict=True, settings=OFF.settings),
    Front("ours-text-strict", "ours", strict=True, settings=TEXT.settings),
    Front("ours-exact-strict", "ours", strict=True, settings=EXACT.settings),
)
STOPPED_FOR = 30.0  # seconds that the stopped backend stands; what is open then counts as open
MOVED = 0.5  # seconds without an event, where one comes every 25 ms: that stream was at the harmed backend


async def kill(front: Front, size: Size) -> Numbers:
    """kill -9 of one of three."""
    async with scene(front, size=size) as at:

        async def harm() -> None:
            at.backends[1].kill()

        seen = await under_load(at, harm, size=size, after=0.5, within=20.0)
        return {**seen.numbers(), "resumed": at.front.resumed}


async def stop(front: Front, size: Size) -> Numbers:
    """SIGSTOP of one of three; it goes on only after the run."""

    async with scene(front, size=size) as at:

        async def harm() -> None:
            at.backends[1].tell(signal.SIGSTOP)

        seen = await under_load(at, harm, size=size, after=0.5, within=STOPPED_FOR)
        ended = [
            (answer.closed_at or answer.last_at or 0.0) - seen.harmed_at
            for answer, ending in zip(seen.answers, seen.endings, strict=True)
            if ending in (Ending.SILENT, Ending.TOLD)
        ]
        gaps = [largest_gap(answer, seen.harmed_at) for answer in seen.answers]
        moved = [
            gap
            for gap, ending in zip(gaps, seen.endings, strict=True)
            if ending in (Ending.WHOLE, Ending.WRONG) and gap > MOVED
        ]
        return {
            **seen.numbers(),
            "ended max s": max(ended, default=None),
            "resumed": at.front.resumed,
            "moved": len(moved),
            "moved max s": max(moved, default=None),
        }
