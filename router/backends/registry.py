"""All backends: who serves which model, who is next, and what became of it.

    pick(model) -> Backend | Unavailable, acquire and release around an attempt, report(outcome) at its end
    probed(seen) and listed(models) from the checker, snapshot() for /health and metrics

Pure: `now` comes in (one monotonic clock for all calls, seconds), changes of state come out as `Change`s. What changes
by time alone (a rest that ends, a trial that is due) is noted in a heap of wake-ups and done by the next pick, so that
no call looks at every backend.

What a rule of one backend cannot know is decided here: a breaker's counts never take out the last usable backend of
any of its pools.
"""

import heapq
import math
from collections.abc import Collection, Iterable, Sequence
from typing import TypeGuard

from router.backends.backend import (
    ALARM_INTERVAL,
    EFFECTS,
    Backend,
    BackendSpec,
    BackendStatus,
    Change,
    ChangeKind,
    Listing,
    ModelObject,
    Reason,
    Unavailable,
)
from router.backends.breaker import BreakerEvent, BreakerRules, BreakerState
from router.backends.health import HealthRules, HealthState, Seen
from router.backends.policy import RETRY_SOON, Pool
from router.exchange import AttemptOutcome

MAX_MODELS = 1000  # of one backend's list: vLLM lists its names and adapters, a few
MAX_KNOWN_MODELS = 10_000  # ever seen: a backend that lists other names each time must not fill memory
MAX_MODEL_NAME = 512  # characters: a path of a checkpoint fits


class Registry:
    """Every backend and the pools they form."""

    def __init__(
        self,
        specs: Iterable[BackendSpec],
        *,
        health_rules: HealthRules | None = None,
        breaker_rules: BreakerRules | None = None,
    ) -> None:
        """Raise ValueError where two backends share a name. Rules default to their own defaults."""
        health_rules = health_rules or HealthRules()
        breaker_rules = breaker_rules or BreakerRules()
        self.backends: tuple[Backend, ...] = tuple(
            Backend(spec, index, health_rules=health_rules, breaker_rules=breaker_rules)
            for index, spec in enumerate(specs)
        )
        if len({backend.spec.name for backend in self.backends}) < len(self.backends):
            raise ValueError("two backends share a name")
        self._pools: dict[str | None, Pool] = {None: Pool()}  # by model; None: any backend
        self._wakes: list[tuple[float, int, Backend]] = []
        self._now = -math.inf  # the latest that was told
        self._unsaid: list[Change] = []  # made by a pick, told by the next report or probe
        self._checks = health_rules.enabled
        self._unlisted = {backend for backend in self.backends if not backend.spec.models}
        for backend in self.backends:
            self._settle(backend)
            if backend.spec.models:
                self._serve(backend, {name: _plain_model(name) for name in backend.spec.models})
                backend.listing = Listing.LISTED

    # Picking

    def pick(self, model: str | None, *, now: float, tried: Collection[Backend] = ()) -> Backend | Unavailable:
        """Return the backend to try next for `model` (None: any), never one of `tried`.

        Where nobody is usable, one trial per backend and second is handed out. `acquire` what is returned at once:
        a turn, and maybe a trial, was spent on it. To only ask, use `has_free`.
        """
        self._now = now
        if self._wakes and self._wakes[0][0] <= now:
            self._wake()
        pool = self._pools.get(model)
        if pool is None:
            return self._unknown()
        backend = pool.take(tried)
        if backend is None:
            backend = pool.take_trial(now, tried=tried)
            if backend is None:
                return pool.refusal(now)
            self._try_out(backend)
        elif backend.breaker.state is not BreakerState.CLOSED:
            self._try_out(backend)
        return backend

    def has_free(self, model: str | None, *, now: float, tried: Collection[Backend] = ()) -> bool:
        """Return whether `pick` would find a usable backend, trials apart. Spends no turn and no trial."""
        self._now = now
        self._wake()
        pool = self._pools.get(model)
        return pool is not None and pool.has_free(tried)

    def acquire(self, backend: Backend) -> None:
        """Count an attempt as begun."""
        backend.in_flight += 1
        if backend.in_flight >= backend.max_in_flight:
            self._settle(backend)

    def release(self, backend: Backend) -> None:
        """Count an attempt as ended. Raise ValueError where none had begun."""
        if backend.in_flight <= 0:
            raise ValueError(f"release of {backend!r}, which has nothing in flight")
        was_full = backend.in_flight >= backend.max_in_flight
        backend.in_flight -= 1
        if was_full:
            self._settle(backend)

    # What became of it

    def report(
        self,
        backend: Backend,
        outcome: AttemptOutcome,
        *,
        now: float,
        retry_after: float | None = None,
        jitter: float = 0.5,
    ) -> list[Change]:
        """Take in how an attempt ended, by EFFECTS; return what changed.

        `retry_after`: seconds, where the answer gave them. `jitter`: a random number in [0, 1).
        """
        self._now = now
        effect = EFFECTS[outcome]
        changes = self._say_unsaid()
        event = effect.breaker
        if effect.seen is Seen.REFUSED and not self._checks:
            event = BreakerEvent.LIMIT  # no probe would ever bring it back from being down: its breaker's trials do
        elif effect.seen is not None and self._checks:
            self._observe(backend, effect.seen, cause=outcome.value, changes=changes)
        if effect.rests:
            backend.rest(now, retry_after=retry_after)
        if effect.alarms and now >= backend.alarm_until:
            backend.alarm_until = now + ALARM_INTERVAL
            changes.append(Change(backend.spec.name, ChangeKind.ALARM, "", outcome.value, outcome.value))
        before = backend.breaker.state
        if backend.breaker.record(event, now=now, jitter=jitter, may_open=lambda: self._has_others(backend)):
            after = backend.breaker.state
            changes.append(Change(backend.spec.name, ChangeKind.BREAKER, before.value, after.value, outcome.value))
        if changes or effect.rests or backend.breaker.state is not BreakerState.CLOSED:  # else all is as it was
            self._settle(backend)
        return changes

    def probed(self, backend: Backend, seen: Seen, *, now: float) -> list[Change]:
        """Take in what a probe saw; return what changed."""
        self._now = now
        changes = self._say_unsaid()
        self._observe(backend, seen, cause=seen.value, changes=changes)
        self._settle(backend)
        return changes

    def listed(self, backend: Backend, models: Sequence[object] | None, *, now: float) -> list[Change]:
        """Take in the objects of a backend's /v1/models; None where it could not be had: the last list stays good."""
        self._now = now
        before, was = ",".join(backend.models), backend.listing
        self._unlisted.discard(backend)
        if models is not None:
            backend.listing = Listing.LISTED
            found = {each["id"]: each for each in models[:MAX_MODELS] if _is_model(each)}
            if backend.spec.models:
                found = {name: found.get(name, _plain_model(name)) for name in backend.spec.models}
            self._serve(backend, found)
        elif was is Listing.PENDING:
            backend.listing = Listing.FAILED
        after = ",".join(backend.models)
        if after == before and backend.listing is was:
            return []
        return [Change(backend.spec.name, ChangeKind.MODELS, before, after, backend.listing.value)]

    # What is served

    def is_known(self, model: str) -> bool:
        """Return whether some backend has ever listed it, or has it configured."""
        return model in self._pools

    def known_models(self) -> list[str]:
        """Return the names of all models ever listed or configured, in the order in which they came."""
        return [model for model in self._pools if model is not None]

    def sole_model(self) -> str | None:
        """Return the name of the one model that backends serve, None where there is not exactly one."""
        served = [name for name, pool in self._pools.items() if name is not None and pool.members()]
        return served[0] if len(served) == 1 else None

    def models(self, *, now: float) -> list[ModelObject]:
        """Return the objects of all models that backends have listed last, those of usable backends first.

        A model whose backends are down is still one that exists: asking for it is told 503, not 404.
        """
        union: dict[str, ModelObject] = {}
        for backend in sorted(self.backends, key=lambda backend: not backend.is_usable(now)):
            for name, each in backend.models.items():
                union.setdefault(name, each)
        return list(union.values())

    def usable_count(self, now: float) -> int:
        """Return to how many backends requests go, be they full or resting at the moment."""
        return sum(backend.is_usable(now) for backend in self.backends)

    def snapshot(self, now: float) -> list[BackendStatus]:
        """Return what every backend is like."""
        return [backend.status(now) for backend in self.backends]

    # Beneath

    def _unknown(self) -> Unavailable:
        # One that is down does not keep a mistyped name from being told as one, unless nobody has told anything.
        if len(self._pools) == 1 or any(not backend.is_down for backend in self._unlisted):
            return Unavailable(Reason.NOT_LISTED_YET, RETRY_SOON)
        return Unavailable(Reason.UNKNOWN_MODEL, 0.0)

    def _try_out(self, backend: Backend) -> None:
        backend.last_trial = self._now
        before, event = backend.breaker.state, BreakerEvent.TRIAL
        if backend.breaker.record(event, now=self._now, jitter=0.0, may_open=lambda: False):
            after = backend.breaker.state
            self._unsaid.append(Change(backend.spec.name, ChangeKind.BREAKER, before.value, after.value, event.value))
        self._settle(backend)

    def _observe(self, backend: Backend, seen: Seen, *, cause: str, changes: list[Change]) -> None:
        before = backend.health.state
        if not backend.health.observe(seen):
            return
        after = backend.health.state
        if before is HealthState.DOWN:
            backend.breaker.hasten(self._now)
        changes.append(Change(backend.spec.name, ChangeKind.HEALTH, before.value, after.value, cause))

    def _has_others(self, backend: Backend) -> bool:
        """Return whether each pool of a backend has another one that works and does not rest."""
        return all(
            any(
                other.is_working and other.resting_until <= self._now
                for other in self._pools[model].members()
                if other is not backend
            )
            for model in (None, *backend.models)
        )

    def _serve(self, backend: Backend, models: dict[str, ModelObject]) -> None:
        """Make `models` what a backend serves."""
        for name in backend.models.keys() - models.keys():
            self._pools[name].remove(backend)  # the pool stays, maybe empty: the model is known
        backend.models = {}
        for name, each in models.items():
            if name not in self._pools:
                if len(self._pools) > MAX_KNOWN_MODELS:
                    continue
                self._pools[name] = Pool(offset=len(self._pools) % len(self.backends))
            backend.models[name] = each
            self._pools[name].place(backend, backend.standing(self._now))

    def _settle(self, backend: Backend) -> None:
        """Bring the pools in line with a backend's state, and note when to look at it again."""
        standing = backend.standing(self._now)
        if standing is not backend.placed:
            backend.placed = standing
            for model in (None, *backend.models):
                self._pools[model].place(backend, standing)
        wake_at = backend.changes_at(self._now)
        if wake_at < backend.wake_at:
            backend.wake_at = wake_at
            heapq.heappush(self._wakes, (wake_at, backend.index, backend))

    def _wake(self) -> None:
        while self._wakes and self._wakes[0][0] <= self._now:
            at, _, backend = heapq.heappop(self._wakes)
            if at == backend.wake_at:  # else an earlier one took its place
                backend.wake_at = math.inf
                self._settle(backend)

    def _say_unsaid(self) -> list[Change]:
        said, self._unsaid = self._unsaid, []
        return said


def _is_model(candidate: object) -> TypeGuard[ModelObject]:
    """Return whether an entry of a list of models is one."""
    name = candidate.get("id") if isinstance(candidate, dict) else None
    return isinstance(name, str) and 0 < len(name) <= MAX_MODEL_NAME


def _plain_model(name: str) -> ModelObject:
    """Return the object of a configured model that its backend has not listed."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "router"}
