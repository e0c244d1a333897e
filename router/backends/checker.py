"""Probes every backend and lists its models; one task per backend. What that means is the registry's to decide.

The first probe goes out at once. A probe starts `interval` after the last one started, varied by `jitter`; while a
backend is down, or one pass away from being up again, sooner, so that a backend that returns is back in use within
one interval. Before the probe that brings a backend up is told, its models are listed: a restarted server may
serve others, and no request shall meet the difference.
"""

import asyncio
import json
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse

from router.backends.backend import Backend, BackendSpec, Change, Listing
from router.backends.health import HealthRules, HealthState, Seen
from router.backends.registry import Registry
from router.errors import ConnectError, ConnectionLost
from router.exchange import AttemptOutcome

DOWN_PACE = 0.5  # share of the interval between probes of a backend that is down: a refused probe costs nearly nothing
RISING_PACE = 0.25  # ... and of one that passed, but not often enough yet
# Statuses of a server that lives but has no such path for us (APIs other than vLLM); vLLM itself says 200 or 503.
NO_SUCH_PROBE = frozenset({401, 403, 404, 405})
LEAST_PAUSE = 0.05  # seconds: a probe that took longer than its interval is not followed at once by the next
MAX_LISTING = 4 * 2**20  # bytes: a list of models is a few KB; parsing a huge one would hold up every stream

Inspect = Callable[[Backend, Sequence[Any], bool], Awaitable[None]]

logger = logging.getLogger(__name__)


def plain_request(spec: BackendSpec, path: str, timeout: float) -> HTTPRequest:
    """Return a GET of `path` at a backend that its URL alone is enough to reach (no unix socket, no private CA)."""
    headers = {"Accept": "application/json"}
    if spec.api_key is not None:
        headers["Authorization"] = f"Bearer {spec.api_key}"
    return HTTPRequest(
        spec.url.rstrip("/") + path,
        headers=headers,
        connect_timeout=timeout,
        request_timeout=timeout,
        follow_redirects=False,  # a key must not follow one
    )


class Checker:
    """Watches the backends of a registry from `start` to `stop`."""

    def __init__(
        self,
        registry: Registry,
        client: AsyncHTTPClient,
        *,
        rules: HealthRules,
        rng: random.Random,
        on_change: Callable[[Change], None] | None = None,
        build_request: Callable[[BackendSpec, str, float], HTTPRequest] = plain_request,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` is the one whose times the registry is told elsewhere. `on_change` must not raise.

        `build_request(spec, path, timeout)`: for clients that need more than a URL; it sends the backend's key.
        """
        self._registry = registry
        self._client = client
        self._rules = rules
        self._rng = rng
        self._on_change = on_change
        self._build_request = build_request
        self._inspect: Inspect | None = None
        self._clock = clock
        self._tasks: dict[Backend, asyncio.Task[None]] = {}
        self._listed_at: dict[Backend, float] = {}

    def start(self, *, inspect: Inspect | None = None) -> None:
        """Begin to watch, in the running loop; no effect on backends that are watched already.

        `inspect(backend, models, rises)` asks what else there is to know, with each listing; `rises`: it is about to be
        up, and no request shall meet it before this is done.
        """
        self._inspect = inspect
        for backend in self._registry.backends:
            if backend not in self._tasks:
                name = f"checker {backend.spec.name}"
                self._tasks[backend] = asyncio.get_running_loop().create_task(self._watch(backend), name=name)

    async def stop(self) -> None:
        """End every probe and return when no task is left."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def check(self, backend: Backend) -> None:
        """Probe a backend once, and list its models where that is due."""
        if not self._rules.enabled:
            await self._list_if_due(backend)
            return
        seen = await self._probe(backend)
        if seen is Seen.PASSED:
            rises = backend.health.state is not HealthState.UP and backend.health.after(seen) is HealthState.UP
            await self._list_if_due(backend, now_at_latest=rises)
        self._tell(self._registry.probed(backend, seen, now=self._clock()))

    async def _watch(self, backend: Backend) -> None:
        while True:
            started = self._clock()
            try:
                await self.check(backend)
            except Exception:  # the last line of a background loop: a fault of ours must not end all probes
                logger.exception("the check of backend %s failed", backend.spec.name)
            pause = self._pace(backend) * self._rng.uniform(1 - self._rules.jitter, 1 + self._rules.jitter)
            await asyncio.sleep(max(LEAST_PAUSE, started + pause - self._clock()))

    def _pace(self, backend: Backend) -> float:
        """Return the seconds between the starts of two probes, before jitter."""
        if backend.health.state is HealthState.UP:
            return self._rules.interval
        return self._rules.interval * (RISING_PACE if backend.health.passes else DOWN_PACE)

    async def _probe(self, backend: Backend) -> Seen:
        answer = await self._ask(backend, backend.spec.health_path)
        if isinstance(answer, Seen):
            return answer
        return Seen.PASSED if 200 <= answer.code < 300 or answer.code in NO_SUCH_PROBE else Seen.FAILED

    async def _list_if_due(self, backend: Backend, *, now_at_latest: bool = False) -> None:
        due_at = self._listed_at.get(backend, -math.inf) + self._rules.models_interval
        if not now_at_latest and backend.listing is Listing.LISTED and self._clock() < due_at:
            return
        self._listed_at[backend] = self._clock()
        answer = await self._ask(backend, backend.spec.api_prefix.rstrip("/") + "/models")
        now = self._clock()
        if isinstance(answer, HTTPResponse) and answer.code in (401, 403):
            self._tell(self._registry.report(backend, AttemptOutcome.UNAUTHORIZED, now=now))
        models = _models_of(answer)
        if self._inspect is not None:
            await self._inspect(backend, models or (), now_at_latest or backend.listing is not Listing.LISTED)
        self._tell(self._registry.listed(backend, models, now=self._clock()))

    async def _ask(self, backend: Backend, path: str) -> HTTPResponse | Seen:
        """Return the answer, whatever its status; without one, what that means of the backend. Never raises."""
        try:
            try:
                return await self._get(backend, path)
            except ConnectionLost as fault:
                if not fault.reused or fault.received:
                    raise
                return await self._get(backend, path)  # a kept connection had died, which tells nothing of the backend
        except Exception as fault:  # whatever a client may raise: there was no answer
            logger.debug("backend %s gave no answer to %s: %r", backend.spec.name, path, fault)
            return Seen.REFUSED if _is_refusal(fault) else Seen.FAILED

    async def _get(self, backend: Backend, path: str) -> HTTPResponse:
        request = self._build_request(backend.spec, path, self._rules.timeout)
        async with asyncio.timeout(self._rules.timeout):
            return await self._client.fetch(request, raise_error=False)

    def _tell(self, changes: Sequence[Change]) -> None:
        if self._on_change is not None:
            for change in changes:
                self._on_change(change)


def _is_refusal(fault: Exception) -> bool:
    """Return whether nobody listens there: a port that refuses, a unix socket that does not exist."""
    if isinstance(fault, ConnectError):
        return fault.refused
    return isinstance(fault, ConnectionRefusedError | FileNotFoundError)


def _models_of(answer: HTTPResponse | Seen) -> list[Any] | None:
    """Return the entries of a list of models; None where the answer is none."""
    if not isinstance(answer, HTTPResponse) or answer.code != 200 or len(answer.body) > MAX_LISTING:
        return None
    try:
        listing = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    models = listing.get("data") if isinstance(listing, dict) else None
    return models if isinstance(models, list) else None
