"""Figures `failing` and `dead`: what all backends together cannot do, and how little harm the front does beside."""

import asyncio
import http.client
import time

from tests.chaos.figures.client import Flow, percentile, request_of, whole
from tests.chaos.figures.fronts import HAPROXY, NGINX, ONE_TOKEN, PLAIN, Front
from tests.chaos.figures.rows import Numbers
from tests.chaos.figures.scene import Scene, Size, scene
from tests.chaos.figures.servers import ask

FAILING_FRONTS = (
    Front("nginx-http_500", NGINX, settings=(("next_upstream", "error timeout http_500"),)),
    Front("haproxy-careful", HAPROXY, careful=True),
    PLAIN,
)
DEAD_FRONTS = (Front("nginx", NGINX), Front("haproxy", HAPROXY), PLAIN)
RATE = 100.0


async def failing(front: Front, size: Size) -> Numbers:
    """Every backend answers 500."""
    seconds = 5.0 if size.quick else 20.0
    async with scene(front, size=Size.of(quick=True)) as at:
        for backend in at.backends:
            backend.fail({"status": 500})
        flow = Flow(at.front.port, request_of(at.front.port, ONE_TOKEN), RATE)
        await flow.run(seconds)
        attempts = sum(backend.stats()["struck"] for backend in at.backends)
        waits = [answer.seconds for answer in flow.answers]
        return {
            "requests": len(flow.answers),
            "attempts": attempts,
            "per request": attempts / len(flow.answers),
            "p99 ms": (percentile(waits, 99) or 0.0) * 1e3,
        }


async def dead(front: Front, size: Size) -> Numbers:
    """Every backend is killed; later the first one comes back."""
    async with scene(front, size=Size.of(quick=True)) as at:
        for backend in at.backends:
            backend.kill()
        await asyncio.sleep(2)
        request = request_of(at.front.port, ONE_TOKEN)
        answers = [await whole(at.front.port, request) for _ in range(20 if size.quick else 100)]
        refused = [answer.seconds * 1e3 for answer in answers]
        back = await _service_again(at, request)
        return {
            "requests": len(answers),
            "status": max(answer.status for answer in answers),
            "Retry-After": sum(b"retry-after:" in answer.head.lower() for answer in answers),
            "refused p50 ms": percentile(refused, 50),
            "refused p99 ms": percentile(refused, 99),
            "back s": back,
        }


async def _service_again(at: Scene, request: bytes) -> float | None:
    """Start the first backend; return the seconds from its first answer to the front's."""
    backend = at.backends[0]
    backend.start()
    until = time.monotonic() + 30
    while not await asyncio.to_thread(_is_up, backend.port) and time.monotonic() < until:
        await asyncio.sleep(0.01)
    up = time.monotonic()
    while time.monotonic() < until:
        if (await whole(at.front.port, request)).status == 200:
            return time.monotonic() - up
        await asyncio.sleep(0.02)
    return None


def _is_up(port: int) -> bool:
    try:
        return ask(port, "GET", "/health")[0] == 200
    except (OSError, http.client.HTTPException):
        return False
