"""All backends: who is next for a model, and what became of it.

    pick(model) -> Backend | Unavailable, acquire and release around an attempt, report(outcome) at its end
    probed(seen), listed(models) and looked(figures) from the checker, snapshot() for /health and metrics
    update(specs), drain(name), undrain(name) from operators; who was removed finishes out of sight

Pure: `now` comes in (one monotonic clock for all calls, seconds), changes of state come out as `Change`s. What changes
by time alone (a rest that ends, a trial that is due, a step of a slow start) is noted in a heap of wake-ups and done by
the next pick, so that no call looks at every backend.

What a rule of one backend cannot know is decided here: a breaker's counts never take out the last usable backend of
any of its pools, and nobody is held down there.
"""

import math
from collections.abc import Callable, Collection, Iterable, Sequence

from router.backends.backend import (
    ALARM_INTERVAL,
    Backend,
    BackendSpec,
    BackendStatus,
    Change,
    ChangeKind,
    ModelObject,
    SharedCounts,
    Standing,
    Unavailable,
)
from router.backends.breaker import BreakerEvent, BreakerRules, BreakerState
from router.backends.catalogue import Catalogue, union_of
from router.backends.effects import EFFECTS
from router.backends.engine import NOTHING_KNOWN, Figures
from router.backends.health import HealthRules, HealthState, Seen
from router.backends.places import Places
from router.backends.policy import Pool
from router.backends.roster import Updated, compare
from router.backends.verdicts import is_held, observe, record
from router.exchange import AttemptOutcome

OnReport = Callable[[str, AttemptOutcome, float | None], None]  # (backend, outcome, Retry-After in seconds)
# Bound once: finding a member of an enum takes as long as eight attributes (Python 3.11).
_FULL, _CLOSED, _SUCCESS = Standing.FULL, BreakerState.CLOSED, BreakerEvent.SUCCESS


class Registry:
    """Every backend and the pools they form."""

    def __init__(
        self,
        specs: Iterable[BackendSpec],
        *,
        health_rules: HealthRules | None = None,
        breaker_rules: BreakerRules | None = None,
        counts: SharedCounts | None = None,
        on_report: OnReport | None = None,
    ) -> None:
        """Raise ValueError where two backends share a name. Rules default to their own defaults.

        `counts`: attempts of other workers; `on_report` is told every outcome of ours, and must not raise. Both may be
        set later, before the first pick.
        """
        self.on_report = on_report
        self.backends: tuple[Backend, ...] = ()  # current ones only
        self._health_rules = health_rules or HealthRules()
        self._breaker_rules = breaker_rules or BreakerRules()
        self._by_name: dict[str, Backend] = {}
        self._made = 0  # backends ever: the next one's index
        self._catalogue = Catalogue()
        self._pools = self._catalogue.pools  # for the way of every pick
        self._places = Places(self._catalogue)
        self._wakes = self._places.wakes
        self._now = -math.inf  # the latest that was told
        self._unsaid: list[Change] = []  # made by a pick, told by the next report or probe
        self.counts = counts
        self.update(specs)

    @property
    def counts(self) -> SharedCounts | None:
        """Attempts of other workers; None where there are none."""
        return self._counts

    @counts.setter
    def counts(self, counts: SharedCounts | None) -> None:
        self._counts = self._places.counts = counts

    # Picking

    def pick(self, model: str | None, *, now: float, tried: Collection[Backend] = ()) -> Backend | Unavailable:
        """Return the backend to try next for `model` (None: any), never one of `tried`.

        Where nobody is usable, one trial per backend and second is handed out. `acquire` what is returned at once:
        a turn, and maybe a trial, was spent on it. To only ask, use `has_free`.
        """
        self._now = now
        if self._wakes.next_at <= now:
            self._places.wake(now)
        pool = self._pools.get(model)
        if pool is None:
            return self._catalogue.unknown()
        backend = pool.take(tried)
        if backend is None or (self._counts is not None and self._places.became_full(backend, now)):
            backend = self._places.take_again(pool, now, tried=tried) or pool.take_trial(now, tried=tried)
            if backend is None:
                return pool.refusal(now)
            if backend.placed is Standing.OUT:
                self._try_out(backend)
                return backend
        if backend.breaker.state is not _CLOSED:
            self._try_out(backend)
        return backend

    def pool(self, model: str | None, *, now: float) -> Pool | None:
        """Return the backends of a model as they stand at `now`, None where nobody has ever listed it."""
        self._now = now
        self._places.wake(now)
        return self._pools.get(model)

    def has_free(self, model: str | None, *, now: float, tried: Collection[Backend] = ()) -> bool:
        """Return whether `pick` would find a usable backend, trials apart. Spends no turn and no trial."""
        self._now = now
        self._places.wake(now)
        pool = self._pools.get(model)
        if pool is None:
            return False
        return pool.has_free(tried) or (self._places.free_up(pool, now) and pool.has_free(tried))

    def is_out(self, model: str | None, *, now: float) -> bool:
        """Return whether nobody serves `model` who is to be had, be it later: then waiting for one is in vain."""
        self._now = now
        self._places.wake(now)
        pool = self._pools.get(model)
        return pool is None or pool.is_out

    def acquire(self, backend: Backend) -> None:
        """Count an attempt as begun."""
        backend.in_flight += 1
        if self._counts is not None:
            self._counts.take(backend.spec.name)
        if backend.in_flight + backend.elsewhere >= backend.max_in_flight:
            self._places.settle(backend, self._now)

    def release(self, backend: Backend) -> None:
        """Count an attempt as ended. Raise ValueError where none had begun."""
        if backend.in_flight <= 0:
            raise ValueError(f"release of {backend!r}, which has nothing in flight")
        backend.in_flight -= 1
        if self._counts is not None:
            self._counts.give(backend.spec.name)
        if backend.placed is _FULL:
            self._places.settle(backend, self._now)

    # What became of it

    def report(
        self,
        backend: Backend,
        outcome: AttemptOutcome,
        *,
        now: float,
        retry_after: float | None = None,
        jitter: float = 0.5,
        told_by_other: bool = False,
    ) -> list[Change]:
        """Take in how an attempt ended, by EFFECTS; return what changed.

        `retry_after`: seconds, where the answer gave them. `jitter`: a random number in [0, 1). `told_by_other`: it
        was an attempt of another worker, who has told of it; a trial of ours goes on.
        """
        self._now = now
        if backend.removed:
            return []
        if self.on_report is not None and not told_by_other:
            self.on_report(backend.spec.name, outcome, retry_after)
        effect = EFFECTS[outcome]
        changes = self._say_unsaid() if self._unsaid else []
        event, was_failing = effect.breaker, backend.failing
        if event is _SUCCESS and not was_failing and backend.breaker.state is _CLOSED:
            backend.breaker.record(event, now=now, jitter=jitter, may_open=_never)
            return changes  # the way of nearly every attempt: all is as it was
        changed = None
        if effect.seen is Seen.REFUSED and not self._health_rules.enabled:
            event = BreakerEvent.LIMIT  # no probe would ever bring it back from being down: its breaker's trials do
        elif effect.seen is not None and self._health_rules.enabled:
            changed = observe(backend, effect.seen, self._catalogue, now=now, cause=outcome.value)
        changes += [changed] if changed is not None else ()
        if effect.rests:
            backend.rest(now, retry_after=retry_after)
        if effect.alarms and now >= backend.alarm_until:
            backend.alarm_until = now + ALARM_INTERVAL
            if not told_by_other:
                changes.append(Change(backend.spec.name, ChangeKind.ALARM, "", outcome.value, outcome.value))
        if not (told_by_other and event is BreakerEvent.UNDECIDED):
            changed = record(backend, event, self._catalogue, now=now, jitter=jitter, cause=outcome.value)
            changes += [changed] if changed is not None else ()
        is_quiet = backend.failing == was_failing and backend.breaker.state is BreakerState.CLOSED
        if changes or effect.rests or not is_quiet:
            self._places.weigh(backend, now)
        return changes

    def probed(self, backend: Backend, seen: Seen, *, now: float, cause: str | None = None) -> list[Change]:
        """Take in what a probe saw; return what changed. `cause`: a word that says more than `seen`."""
        self._now = now
        changes = self._say_unsaid()
        if backend.removed:
            return changes
        was_busy = backend.health.is_busy
        changed = observe(backend, seen, self._catalogue, now=now, cause=cause or seen.value)
        changes += [changed] if changed is not None else ()
        if changed is not None or backend.health.is_busy is not was_busy:
            self._places.weigh(backend, now)
        elif self._wakes.next_at <= now:  # nearly every probe finds all as it was, but for what time has brought
            self._places.wake(now)
        return changes

    def is_late(self, backend: Backend, *, now: float, within: float) -> None:
        """Take in that a probe waits for its answer longer than usual: it is picked last for `within` seconds.

        Late is not dead, but where others are ready, requests need not find out which of the two it is.
        """
        if not backend.removed:
            self._now = now
            backend.eased_until = max(backend.eased_until, now + within)
            self._places.weigh(backend, now)

    def would_rise(self, backend: Backend, *, now: float) -> bool:
        """Return whether a passed probe would bring a backend up at `now`."""
        if backend.health.state is HealthState.UP:
            return False
        held = is_held(backend, self._catalogue, now=now)
        return backend.health.after(Seen.PASSED, held=held) is HealthState.UP

    def is_missed(self, backend: Backend) -> bool:
        """Return whether some model of a backend can be had from nobody at the moment."""
        return any(self._pools[model].is_out for model in (None, *backend.models))

    def looked(
        self, backend: Backend, figures: Figures | None, *, now: float, seen: Seen | None = None
    ) -> list[Change]:
        """Take in what a backend tells of its load, None where it could not be had; return what changed.

        `seen`: HUNG or MOVED, where the figures say so.
        """
        backend.figures = figures or NOTHING_KNOWN
        return [] if seen is None else self.probed(backend, seen, now=now)

    def listed(self, backend: Backend, models: Sequence[object] | None, *, now: float) -> list[Change]:
        """Take in the objects of a backend's /v1/models; None where it could not be had: the last list stays good."""
        self._now = now
        return [] if backend.removed else self._catalogue.listed(backend, models)

    # What operators ask for

    def update(self, specs: Iterable[BackendSpec]) -> Updated:
        """Make `specs` the backends; return what that changed. Raises ValueError where two of them share a name.

        What is known of a backend is kept while its name and its URL stay the same. One that is no longer there is
        picked no more; its attempts under way end as they would, and are released as ever.
        """
        plan = compare(self._by_name, specs)
        told = plan.told()
        for backend in plan.removed:
            backend.removed = True
            self._catalogue.remove(backend)
            self._wakes.forget(backend)
        backends = [self._add(spec) if known is None else known for spec, known in plan.order]
        self.backends = tuple(backends)
        self._by_name = {backend.spec.name: backend for backend in backends}
        for backend, (spec, _) in zip(backends, plan.order, strict=True):
            if backend.spec != spec:
                before, backend.spec = backend.spec, spec
                if before.models != spec.models:
                    self._catalogue.reconfigured(backend)
                self._places.weigh(backend, self._now)
        return told

    def set_rules(self, *, health_rules: HealthRules, breaker_rules: BreakerRules) -> None:
        """Go by other rules from now on."""
        self._health_rules, self._breaker_rules = health_rules, breaker_rules
        for backend in self.backends:
            backend.health.set_rules(health_rules)
            backend.breaker.set_rules(breaker_rules)
            self._places.weigh(backend, self._now)

    def find(self, name: str) -> Backend | None:
        """Return the backend of a name, None where there is none."""
        return self._by_name.get(name)

    def drain(self, name: str) -> list[Change]:
        """Give a backend no more requests, trials neither. Raises KeyError where there is none of that name."""
        return self._set_drained(name, True)

    def undrain(self, name: str) -> list[Change]:
        """Give a backend requests again. Raises KeyError where there is none of that name."""
        return self._set_drained(name, False)

    # What is served

    def is_known(self, model: str) -> bool:
        """Return whether some backend has ever listed it, or has it configured."""
        return model in self._pools

    def known_models(self) -> list[str]:
        """Return the names of all models ever listed or configured, in the order in which they came."""
        return self._catalogue.known_models()

    def sole_model(self) -> str | None:
        """Return the name of the one model that backends serve, None where there is not exactly one."""
        return self._catalogue.sole_model()

    def models(self, *, now: float) -> list[ModelObject]:
        """Return the objects of all models that backends have listed last, those of usable backends first.

        A model whose backends are down is still one that exists: asking for it is told 503, not 404.
        """
        return union_of(self.backends, now)

    def usable_count(self, now: float) -> int:
        """Return to how many backends requests go, be they full or resting at the moment."""
        return sum(backend.is_usable(now) for backend in self.backends)

    def snapshot(self, now: float) -> list[BackendStatus]:
        """Return what every backend is like."""
        return [backend.status(now) for backend in self.backends]

    # Beneath

    def _add(self, spec: BackendSpec) -> Backend:
        backend = Backend(spec, self._made, health_rules=self._health_rules, breaker_rules=self._breaker_rules)
        self._made += 1
        self._catalogue.add(backend, backend.standing(self._now))
        return backend

    def _set_drained(self, name: str, drained: bool) -> list[Change]:
        backend = self._by_name[name]
        if backend.drained is drained:
            return []
        backend.drained = drained
        self._places.settle(backend, self._now)
        before, after = ("serving", "drained") if drained else ("drained", "serving")
        return [Change(name, ChangeKind.DRAIN, before, after, "asked")]

    def _try_out(self, backend: Backend) -> None:
        event, now = BreakerEvent.TRIAL, self._now
        backend.last_trial = now
        change = record(backend, event, self._catalogue, now=now, jitter=0.0, cause=event.value)
        if change is not None:
            self._unsaid.append(change)
        self._places.settle(backend, now)

    def _say_unsaid(self) -> list[Change]:
        said, self._unsaid = self._unsaid, []
        return said


def _never() -> bool:
    return False
