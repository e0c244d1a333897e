"""Looks at the figures that a backend tells of its load (`/metrics` of vLLM); one task per backend.

Seldom, and never with more than MAX_PAGE bytes: the page is made by the server's own event loop. What the figures mean
is engine.py's to say, what becomes of it the registry's. A server that has no such page, or one without vLLM's
figures, is asked more seldom; nothing is known of it, and nothing is held against it.
"""

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tornado.httpclient import HTTPRequest

from router.backends.backend import Backend, BackendSpec, Change
from router.backends.engine import Engine, Figures, Verdict, read_figures
from router.backends.health import HealthRules, Seen
from router.backends.probe import of_fault
from router.backends.registry import Registry

METRICS_PATH = "/metrics"
SELDOM = 6  # intervals between two looks at a server that tells nothing
FIRST_LOOK = (0.5, 1.0)  # intervals before the first look, so that not all pages are made at one moment
MAX_PAGE = 8 * 2**20  # bytes: vLLM's has 70 to 300 KB

# Seconds. Of many backends, those that are due within one step are asked together: each question takes half as long as
# one for which the loop wakes up alone. A pause from LONG on ends at a step, on average when it would have ended.
STEP, LONG = 0.05, 1.0

logger = logging.getLogger(__name__)


def never(_: str) -> float:
    """Return that no byte ever came: for those who watch no answers."""
    return -math.inf


def nobody(_: str) -> int:
    """Return that no answer is awaited: for those who watch none."""
    return 0


@dataclass(frozen=True, slots=True)
class Answers:
    """What is known of the answers under way at a backend, by its name."""

    last_byte: Callable[[str], float] = never  # when the last byte of one that has begun came, -inf: never
    awaited: Callable[[str], int] = nobody  # streams whose head has come, and nothing else


@dataclass(frozen=True, slots=True)
class Access:
    """How a backend is reached, and what time it is; shared by all that is asked of backends beside requests."""

    fetch: Callable[[HTTPRequest], Awaitable[int]]  # -> status; raises without an answer
    build_request: Callable[[BackendSpec, str, float], HTTPRequest]
    clock: Callable[[], float]
    rng: random.Random
    answers: Answers
    tell: Callable[[Sequence[Change]], None]


def together(pause: float, now: float) -> float:
    """Return a pause, in seconds, that ends when those of other backends do; `now`: of one clock for all of them."""
    return pause if pause < LONG else round((now + pause) / STEP) * STEP - now


AWAITED = 2  # streams with no more than a head: one alone may wait for a grammar or an adapter


class PageTooLong(Exception):
    """A page is longer than any that we would read."""


class Load:
    """Looks at backends for as long as `watch` runs."""

    def __init__(self, registry: Registry, access: Access, *, rules: HealthRules) -> None:
        """`rules` may be set anew at any time."""
        self.rules = rules
        self._registry = registry
        self._access = access

    async def watch(self, backend: Backend) -> None:
        """Look again and again; ends when cancelled."""
        rng, clock, engine = self._access.rng, self._access.clock, Engine()
        tells = True
        await asyncio.sleep(together(self.rules.load_interval * rng.uniform(*FIRST_LOOK), clock()))
        while True:
            try:
                tells = await self.look(backend, engine, told=tells)
            except Exception:  # the last line of a background loop: a fault of ours must not end all looks
                logger.exception("the look at the load of backend %s failed", backend.spec.name)
            pause = self.rules.load_interval * (1 if tells else SELDOM)
            pause *= rng.uniform(1 - self.rules.jitter, 1 + self.rules.jitter)
            await asyncio.sleep(together(pause, clock()))

    async def look(self, backend: Backend, engine: Engine, *, told: bool = True) -> bool:
        """Look once; return whether the backend tells figures. `told`: whether it did so far."""
        if not self.rules.enabled or (backend.is_down and not backend.health.is_hung):
            return told  # there is nobody to look at, or nothing to decide
        page = await self._page(backend)
        now = self._access.clock()
        if page is None:
            self._registry.looked(backend, None, now=now)
            return told
        figures, answers = read_figures(page), self._access.answers
        awaited = answers.awaited(backend.spec.name)
        verdict = engine.observe(
            # An engine that hung while it had nothing to do never comes to say that something runs.
            figures.running or (awaited if awaited >= AWAITED else figures.running),
            figures.iterations,
            now,
            hung_after=self.rules.hung_after,
            progress=answers.last_byte(backend.spec.name),
        )
        self._access.tell(self._registry.looked(backend, figures, now=now, seen=_seen(verdict, backend)))
        return figures != Figures()

    async def _page(self, backend: Backend) -> bytes | None:
        """Return the page, empty where there is none; None where there was no answer."""
        request = self._access.build_request(backend.spec, METRICS_PATH, self.rules.timeout)
        pieces: list[bytes] = []
        length = 0

        def take(piece: bytes) -> None:
            nonlocal length
            length += len(piece)
            if length > MAX_PAGE:
                raise PageTooLong
            pieces.append(piece)

        request.streaming_callback = take
        try:
            status = await self._access.fetch(request)
        except Exception as fault:  # whatever a client may raise: there was no answer
            told = of_fault(fault, within=self.rules.timeout).told
            logger.debug("backend %s tells nothing of its load: %s", backend.spec.name, told)
            return b"" if length > MAX_PAGE else None
        return b"".join(pieces) if status == 200 else b""


def _seen(verdict: Verdict, backend: Backend) -> Seen | None:
    if verdict is Verdict.HUNG:
        return None if backend.health.is_hung else Seen.HUNG
    if verdict is Verdict.STILL:
        return None
    return Seen.MOVED if backend.health.is_hung else None
