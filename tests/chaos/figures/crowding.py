"""Figure `overload`: twice as many requests as the backends can answer, from clients that do not wait for each other.

Goodput is what is answered with 200, as a share of what the same front does when it is just busy enough.
"""

import asyncio
import time

from tests.chaos.figures.client import Flow, is_good, percentile, request_of, whole
from tests.chaos.figures.fronts import HAPROXY, NGINX, ONE_TOKEN, OURS, Front
from tests.chaos.figures.rows import Numbers
from tests.chaos.figures.scene import Size, scene

AT_ONCE = 8  # requests that one backend works at
CAPACITY = 3 * AT_ONCE / 0.1  # requests a second that three can do: each takes the time to its first token
QUEUE = 240  # that wait: a second's worth, so that a client waits a second and not four
OVERLOAD_FRONTS = (
    Front("nginx", NGINX),
    Front("haproxy-maxconn", HAPROXY, settings=(("maxconn", AT_ONCE), ("queue", "1s"))),
    Front("ours", OURS, settings=(("backends.max_connections", AT_ONCE),)),
    Front(
        "ours-short-queue",
        OURS,
        settings=(("backends.max_connections", AT_ONCE), ("overload.queue_size", QUEUE)),
    ),
)


async def overload(front: Front, size: Size) -> Numbers:
    """Ask for twice the capacity; then see how soon a single client is served as if nothing had been."""
    seconds = 10.0 if size.quick else 60.0
    async with scene(front, size=Size.of(quick=True), flags={"max-num-seqs": AT_ONCE}) as at:
        port = at.front.port
        request = request_of(port, ONE_TOKEN)
        capacity = await _closed_loop(port, request, seconds=4.0)
        flow = Flow(port, request, 2 * CAPACITY, most=8000)
        flowing = asyncio.create_task(flow.run(seconds))
        begun = time.monotonic()
        await asyncio.sleep(seconds)
        again = await _as_before(port, request)
        await flowing
        good = [answer for answer in flow.answers if is_good(answer)]
        in_time = [answer for answer in good if (answer.last_at or 0.0) <= begun + seconds]
        refused = [answer for answer in flow.answers if answer.status in (429, 503)]
        waits = [answer.seconds * 1e3 for answer in refused]
        return {
            "requests": len(flow.answers),
            "capacity /s": capacity,
            "goodput %": len(in_time) / seconds / capacity * 100,
            "served p99 s": percentile([answer.seconds for answer in good], 99),
            "refused": len(refused),
            "refused p50 ms": percentile(waits, 50),
            "refused p99 ms": percentile(waits, 99),
            "Retry-After %": 100 * sum(b"retry-after:" in answer.head.lower() for answer in refused) / len(refused)
            if refused
            else None,
            "otherwise failed": len(flow.answers) - len(good) - len(refused),
            "recovered s": again,
        }


async def _closed_loop(port: int, request: bytes, *, seconds: float) -> float:
    """Return how many a second are served to just as many clients as the backends take."""
    until = time.monotonic() + seconds
    counts = await asyncio.gather(*(_ask_on(port, request, until) for _ in range(3 * AT_ONCE)))
    return sum(counts) / seconds


async def _ask_on(port: int, request: bytes, until: float) -> int:
    count = 0
    while time.monotonic() < until:
        count += is_good(await whole(port, request))
    return count


async def _as_before(port: int, request: bytes) -> float | None:
    """Return the seconds until an answer takes less than three times what it takes on an idle system."""
    begun = time.monotonic()
    while time.monotonic() - begun < 30:
        answer = await whole(port, request, within=5)
        if is_good(answer) and answer.seconds < 0.3:
            return time.monotonic() - begun - answer.seconds
        await asyncio.sleep(0.1)
    return None
