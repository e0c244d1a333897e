"""Probes every backend and lists its models; one task per backend. What that means is the registry's to decide.

The first probe goes out at once. A probe starts `interval` after the last one started, varied by `jitter`; many
backends are asked in one turn of the loop (`load.together`). While a backend is down, or one pass away from being up
again, it is asked sooner, so that one that returns is back in use within one interval. Before the probe that brings a
backend up is told, its models are listed: a restarted server may serve others, and no request shall meet the
difference; and, where that is configured, it has to answer one real completion. A probe that fails while answers of
ours come from the backend says that it is busy.

Nothing that one backend is asked ever waits for another.
"""

import asyncio
import json
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse

from router.backends.backend import Backend, BackendSpec, Change, ChangeKind, Listing
from router.backends.health import HealthRules, HealthState, Seen
from router.backends.load import Access, Answers, Load, together
from router.backends.probe import Probed, Trouble, of_fault, of_status
from router.backends.registry import Registry
from router.backends.warmup import ANOTHER_FORM, NOT_FOR_US, Pauses, questions
from router.errors import ConnectionLost
from router.exchange import AttemptOutcome
from router.wire.client import Request

DOWN_PACE = 0.5  # share of the interval between probes of a backend that is down: a refused probe costs nearly nothing
RISING_PACE = 0.25  # ... and of one that passed, but not often enough yet, or that nobody can stand in for
LEAST_PAUSE = 0.05  # seconds: a probe that took longer than its interval is not followed at once by the next
MAX_LISTING = 4 * 2**20  # bytes: a list of models is a few KB; parsing a huge one would hold up every stream

# Share of a probe's time for its connection: less than all, to tell a host that drops packets from one that hangs.
CONNECTING = 0.9
LAST_RESORT = 1.0  # seconds more, then a client is left whose own timers, which tell what was late, did not fire

BUSY_WITHIN = 0.5  # seconds, at least: a byte that came so long before a probe failed shows that the backend lives

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


@dataclass(slots=True)
class _Watched:
    """What is remembered of a backend between its probes."""

    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    listed_at: float = -math.inf
    warm_up: Pauses = field(default_factory=Pauses)


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
        answers: Answers = Answers(),  # noqa: B008  # immutable
    ) -> None:
        """Times are of `time.monotonic`, as those that the registry is told elsewhere. `on_change` must not raise.

        `build_request(spec, path, timeout)`: for clients that need more than a URL; it sends the backend's key.
        `answers`: what is known of answers under way.
        """
        self._registry = registry
        self._client = client
        self._rules = rules
        self._on_change = on_change
        self._access = Access(self._status, build_request, time.monotonic, rng, answers=answers, tell=self._tell)
        self._load = Load(registry, self._access, rules=rules)
        self._inspect: Inspect | None = None
        self._clock = time.monotonic
        self._is_running = False
        self._watched: dict[Backend, _Watched] = {}
        self._ending: set[asyncio.Task[None]] = set()  # of backends that were removed

    def start(self, *, inspect: Inspect | None = None) -> None:
        """Begin to watch, in the running loop; no effect on backends that are watched already.

        `inspect(backend, models, rises)` asks what else there is to know, with each listing; `rises`: it is about to be
        up, and no request shall meet it before this is done.
        """
        self._inspect = inspect
        self._is_running = True
        self.sync()

    def sync(self) -> None:
        """Watch the backends that the registry has now, and no others; no effect before `start`."""
        if not self._is_running:
            return
        for backend in self._watched.keys() - set(self._registry.backends):
            for task in self._watched.pop(backend).tasks:
                task.cancel()
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)
        loop = asyncio.get_running_loop()
        for backend in self._registry.backends:
            watched = self._watched.setdefault(backend, _Watched())
            if not watched.tasks:
                name = backend.spec.name
                watched.tasks.append(loop.create_task(self._watch(backend), name=f"checker {name}"))
                watched.tasks.append(loop.create_task(self._load.watch(backend), name=f"load {name}"))

    def set_rules(self, rules: HealthRules) -> None:
        """Go by other rules from the next probe on; the registry is to be told them too."""
        self._rules = self._load.rules = rules

    async def stop(self) -> None:
        """End every probe and return when no task is left."""
        self._is_running = False
        tasks = [task for watched in self._watched.values() for task in watched.tasks] + list(self._ending)
        self._watched.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def check(self, backend: Backend) -> None:
        """Probe a backend once; list its models where that is due, and warm it up before it rises."""
        watched = self._watched.get(backend) or _Watched()
        if not self._rules.enabled:
            await self._list_if_due(backend, watched)
            return
        probed: Probed | None = await self._probe(backend)
        if probed is not None and probed.seen is Seen.PASSED:
            rises = self._registry.would_rise(backend, now=self._clock())
            is_cold = rises and (self._rules.warm_up or backend.health.must_prove)
            waits = is_cold and not watched.warm_up.is_due(self._clock())
            await self._list_if_due(backend, watched, now_at_latest=rises and not waits)
            if is_cold:
                probed = None if waits else await self._warm_up(backend, watched.warm_up)
        if probed is not None:
            changes = self._registry.probed(backend, probed.seen, now=self._clock(), cause=probed.cause)
            if probed.why:
                fell = any(each.kind is ChangeKind.HEALTH for each in changes)
                level = logging.WARNING if fell else logging.DEBUG
                logger.log(level, "backend %s: its probe failed: %s", backend.spec.name, probed.why)
            self._tell(changes)

    async def _watch(self, backend: Backend) -> None:
        while True:
            started = self._clock()
            try:
                await self.check(backend)
            except Exception:  # the last line of a background loop: a fault of ours must not end all probes
                logger.exception("the check of backend %s failed", backend.spec.name)
            pause = self._pace(backend) * self._access.rng.uniform(1 - self._rules.jitter, 1 + self._rules.jitter)
            now = self._clock()
            await asyncio.sleep(together(max(LEAST_PAUSE, started + pause - now), now))

    def _pace(self, backend: Backend) -> float:
        """Return the seconds between the starts of two probes, before jitter."""
        if backend.health.state is HealthState.UP:
            return self._rules.interval
        is_urgent = backend.health.passes or self._registry.is_missed(backend)
        return self._rules.interval * (RISING_PACE if is_urgent else DOWN_PACE)

    async def _probe(self, backend: Backend) -> Probed:
        rules = self._rules
        late = asyncio.get_running_loop().call_later(rules.interval, self._is_late, backend, rules.timeout)
        try:
            answer = await self._ask(backend, backend.spec.health_path)
        finally:
            late.cancel()
        if isinstance(answer, HTTPResponse):
            return of_status(answer.code)
        if answer.seen is Seen.FAILED and self._makes_progress(backend):
            # It gave none; one that answers "no" says so itself, whatever its streams do.
            return replace(answer, seen=Seen.BUSY, cause=Seen.BUSY.value)
        return answer

    def _is_late(self, backend: Backend, within: float) -> None:
        if not self._makes_progress(backend):
            self._registry.is_late(backend, now=self._clock(), within=within)

    def _makes_progress(self, backend: Backend) -> bool:
        return self._clock() - self._access.answers.last_byte(backend.spec.name) < max(self._rules.timeout, BUSY_WITHIN)

    async def _list_if_due(self, backend: Backend, watched: _Watched, *, now_at_latest: bool = False) -> None:
        due_at = watched.listed_at + self._rules.models_interval
        if not now_at_latest and backend.listing is Listing.LISTED and self._clock() < due_at:
            return
        watched.listed_at = self._clock()
        answer = await self._ask(backend, _below_prefix(backend, "/models"))
        now = self._clock()
        if isinstance(answer, HTTPResponse) and answer.code in (401, 403):
            self._tell(self._registry.report(backend, AttemptOutcome.UNAUTHORIZED, now=now))
        models = _models_of(answer)
        if self._inspect is not None:
            await self._inspect(backend, models or (), now_at_latest or backend.listing is not Listing.LISTED)
        self._tell(self._registry.listed(backend, models, now=self._clock()))

    async def _warm_up(self, backend: Backend, pauses: Pauses) -> Probed:
        """Return what one real completion shows of a backend that would rise.

        Asked where it is configured, and after an engine has hung: one that has nothing to do looks as if it worked.
        A backend that lists no model cannot be asked, and rises.
        """
        model = next(iter(backend.models), None)
        if model is None:
            return of_status(200)
        status = 0
        for path, body in questions(model):
            status = await self._post(backend, _below_prefix(backend, path), body)
            if status not in ANOTHER_FORM:
                break
        if status == 200 or (status in NOT_FOR_US and not self._rules.warm_up):
            pauses.passed()
            return of_status(200)
        pauses.failed(self._clock())
        logger.warning("backend %s passes its probes, but not a completion (%s)", backend.spec.name, status or "none")
        return Probed(Seen.FAILED, Trouble.COMPLETION.value)

    async def _post(self, backend: Backend, path: str, body: bytes) -> int:
        """Return the status of the answer, 0 where there was none. Never raises."""
        try:
            request = self._access.build_request(backend.spec, path, self._rules.warm_up_timeout)
            _make_post(request, body)
            return await self._status(request)
        except Exception as fault:  # whatever a client may raise: there was no answer
            probed = of_fault(fault, within=self._rules.warm_up_timeout)
            logger.debug("backend %s gave no answer to %s: %s", backend.spec.name, path, probed.told)
            return 0

    async def _status(self, request: HTTPRequest) -> int:
        async with asyncio.timeout(request.request_timeout):
            return (await self._client.fetch(request, raise_error=False)).code

    async def _ask(self, backend: Backend, path: str) -> HTTPResponse | Probed:
        """Return the answer, whatever its status; without one, what that means of the backend. Never raises."""
        try:
            try:
                return await self._get(backend, path)
            except ConnectionLost as fault:
                if not fault.reused or fault.received:
                    raise
                return await self._get(backend, path)  # a kept connection had died, which tells nothing of the backend
        except Exception as fault:  # whatever a client may raise: there was no answer
            probed = of_fault(fault, within=self._rules.timeout)
            logger.debug("backend %s gave no answer to %s: %s", backend.spec.name, path, probed.told)
            return probed

    async def _get(self, backend: Backend, path: str) -> HTTPResponse:
        timeout = self._rules.timeout
        request = self._access.build_request(backend.spec, path, timeout)
        request.connect_timeout = CONNECTING * timeout
        async with asyncio.timeout(timeout + LAST_RESORT):
            return await self._client.fetch(request, raise_error=False)

    def _tell(self, changes: Sequence[Change]) -> None:
        if self._on_change is not None:
            for change in changes:
                self._on_change(change)


def _below_prefix(backend: Backend, path: str) -> str:
    return backend.spec.api_prefix.rstrip("/") + path


def _make_post(request: HTTPRequest, body: bytes) -> None:
    """Make a POST of JSON of a GET, on a connection of its own: a kept one that had died would look like a failure."""
    request.method, request.body = "POST", body
    if isinstance(request, Request):
        request.fresh = True
    if isinstance(request, Request) and request.origin is not None:
        request.header_lines += b"Content-Type: application/json\r\n"
    else:
        request.headers["Content-Type"] = "application/json"


def _models_of(answer: HTTPResponse | Probed) -> list[Any] | None:
    """Return the entries of a list of models; None where the answer is none."""
    if not isinstance(answer, HTTPResponse) or answer.code != 200 or len(answer.body) > MAX_LISTING:
        return None
    try:
        listing = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    models = listing.get("data") if isinstance(listing, dict) else None
    return models if isinstance(models, list) else None
