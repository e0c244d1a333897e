"""Figures `busy` and `hung`: backends that answer probes late but work, and one that answers probes and does not work.

`busy` is ten minutes of probes that come ten seconds late, ten times as fast: all that belongs to a check is a tenth.
"""

import asyncio
import time

from tests.chaos.figures.client import Ending, Flow, ask, judge, request_of
from tests.chaos.figures.fronts import HAPROXY, ONE_TOKEN, OURS, PEERS, PLAIN, Front
from tests.chaos.figures.rows import Numbers
from tests.chaos.figures.scene import Scene, Size, scene

BUSY_FRONTS = (
    Front("haproxy", HAPROXY, settings=(("inter", "200ms"), ("check", "500ms"))),
    Front("ours", OURS, settings=(("health.interval", "200ms"), ("health.timeout", "500ms"))),
)
HUNG_FRONTS = (*PEERS, PLAIN)
LATE = 1.0  # seconds until a probe is answered
BUSY_STREAMS = 60
HUNG_LIMIT = 40.0  # seconds to find a hung engine in


async def busy(front: Front, size: Size) -> Numbers:
    """All backends answer probes late, while streams flow."""
    seconds = 10.0 if size.quick else 60.0
    async with scene(front, size=size) as at:
        for backend in at.backends:
            backend.fail({"health_delay": LATE})
        until = time.monotonic() + seconds
        flow = Flow(at.front.port, request_of(at.front.port, ONE_TOKEN), 50.0)
        runs = [_again_and_again(at, number, until) for number in range(min(BUSY_STREAMS, len(at.streams)))]
        endings, _ = await asyncio.gather(asyncio.gather(*runs), flow.run(seconds))
        flat = [ending for each in endings for ending in each]
        return {
            "requests": len(flow.answers),
            "failed": flow.failed,
            "streams": len(flat),
            "whole": flat.count(Ending.WHOLE),
            "ejections": ejections(at) if front.kind == OURS else None,
        }


async def _again_and_again(at: Scene, number: int, until: float) -> list[Ending]:
    endings = []
    stream = at.streams[number]
    while time.monotonic() < until:
        asking = await ask(at.front.port, request_of(at.front.port, stream.body))
        try:
            await asyncio.wait_for(asking.ended, 30)
        except TimeoutError:
            asking.leave()
        endings.append(judge(asking.answer, stream))
        await asyncio.sleep(0.1)
    return endings


def ejections(at: Scene) -> float:
    """Return how often ours took a backend out: for its probes, or for its answers."""
    gone = ('to="down"', 'to="open"', 'to="hung"')
    rows = at.front.metrics().items()
    return sum(
        value for name, value in rows if name.startswith("router_backend_changes") and any(g in name for g in gone)
    )


async def hung(front: Front, size: Size) -> Numbers:
    """One engine stands still; /health and /metrics of its server go on."""
    async with scene(front, size=size) as at:
        port = at.front.port
        flow = Flow(port, request_of(port, ONE_TOKEN), 10.0)
        flowing = asyncio.create_task(flow.run(HUNG_LIMIT))
        asked = [await ask(port, request_of(port, stream.body), timed=True) for stream in at.streams[:30]]
        await asyncio.wait([each.begun for each in asked], timeout=10)
        await asyncio.sleep(0.5)
        at.backends[1].fail({"freeze": True})
        frozen = time.monotonic()
        found = await _found(at, within=HUNG_LIMIT - 5) if front.kind == OURS else None
        await asyncio.wait([each.ended for each in asked], timeout=HUNG_LIMIT - (time.monotonic() - frozen))
        endings = [judge(each.answer, stream) for each, stream in zip(asked, at.streams, strict=False)]
        await asyncio.wait([flowing], timeout=35)
        failed = flow.failed
        await flow.stop()
        for each in asked:
            each.leave()
        return {
            "found s": found,
            "requests": len(flow.answers),
            "failed": failed,
            "slow": sum(answer.seconds > 2 for answer in flow.answers),
            "streams": len(endings),
            "whole": endings.count(Ending.WHOLE),
            "told": endings.count(Ending.TOLD),
            "open": endings.count(Ending.OPEN),
        }


async def _found(at: Scene, *, within: float) -> float | None:
    """Return the seconds until ours gives that backend no more requests; None if it never does."""
    begun = time.monotonic()
    while time.monotonic() - begun < within:
        told = await asyncio.to_thread(at.front.health)
        if not next(backend["usable"] for backend in told if backend["name"] == "b1"):
            return time.monotonic() - begun
        await asyncio.sleep(0.1)
    return None
