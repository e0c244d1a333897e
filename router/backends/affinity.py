"""Where a session's next request goes: to the backend that has what was said in its cache, unless others wait there.

    where the session was, if that one is as ready as any and has room -> KEPT
    else of those with room, the one that rendezvous hashing gives it  -> remembered from then on
    else nobody: the usual policy decides

Rendezvous hashing gives each session its own order of backends, the same in every worker and every router, without a
table that they share; where a backend goes, only its sessions move. A backend has room while it has not more at work
than so many times the mean of its pool, by weight and share (share.py): so a slow start, failures and unequal weights
hold here too, and one conversation that is asked by a thousand clients spreads out. Readiness is the pool's: who would
be picked last, or not at all, is not picked for the sake of a cache. Pure.
"""

from hashlib import blake2b
from math import log

from router.backends.backend import Backend, Standing
from router.backends.breaker import BreakerState
from router.backends.policy import Pool
from router.backends.registry import Registry
from router.backends.sessions import Verdict

# Up to so many times the mean a backend has room for a session that is nowhere yet, which costs nothing to send to
# another ("consistent hashing with bounded loads"), and for one that it has in its cache, which costs all it has said.
TAKES, KEEPS = 1.25, 1.5
# Requests at a time that overload nobody: of little at work, the mean says little.
TAKES_ALWAYS, KEEPS_ALWAYS = 4, 8
MEAN_FOR = 0.05  # seconds for which a mean is good: with 500 backends it costs more than all else
MAX_MEANS = 1000  # models
_MASK, _HALF = 2**64 - 1, 2.0**-65
_FULL = frozenset({Standing.EASED, Standing.FULL, Standing.RESTING})


class Affinity:
    """Places sessions on the backends of a registry."""

    def __init__(self, registry: Registry) -> None:
        """Nothing is known of anybody's load yet."""
        self._registry = registry
        self._means: dict[str | None, tuple[float, float]] = {}  # by model: good until, load per weight
        self._seeds: dict[str, int] = {}  # by name of a backend

    def place(self, model: str | None, *, was_at: str | None, key: bytes, now: float) -> tuple[Backend | None, Verdict]:
        """Return who takes a session's request, None to leave that to the usual policy; and why.

        `was_at`: the backend that has its cache, None where nobody has. `key`: the session's. As with the registry's
        `pick`, `acquire` at once what is returned.
        """
        pool = self._registry.pool(model, now=now)
        known = None if was_at is None else self._registry.find(was_at)
        verdict = Verdict.NEW if was_at is None else Verdict.UNUSABLE
        best = None if pool is None else pool.best()
        if pool is None or best is None:
            return None, verdict
        mean = self._mean(model, pool, best, now)
        if known is not None and pool.standing(known) is not None and not _is_out(known):
            if pool.standing(known) is best and self._has_room(known, mean, KEEPS, KEEPS_ALWAYS):
                return known, Verdict.KEPT
            verdict = Verdict.OVERLOADED if best is known.placed or known.placed in _FULL else Verdict.UNUSABLE
        number = int.from_bytes(key[:8], "big")
        # The best of all nearly always has room: looking at everybody's load would cost more than all else.
        ranked = sorted(pool.members_at(best), key=lambda each: self._score(each, number), reverse=True)
        free = (
            each
            for each in ranked
            if each is not known and not _is_out(each) and self._has_room(each, mean, TAKES, TAKES_ALWAYS)
        )
        return next(free, None), verdict

    def _mean(self, model: str | None, pool: Pool, best: Standing, now: float) -> float:
        """Return how much each unit of weight would have at work with one request more."""
        until, mean = self._means.get(model, (now, 0.0))
        if until > now:
            return mean
        members = pool.members_at(best)
        mean = (1 + sum(map(self._load, members))) / sum(map(_weight, members))
        if len(self._means) >= MAX_MEANS:
            self._means.clear()
        self._means[model] = (now + MEAN_FOR, mean)
        return mean

    def _load(self, backend: Backend) -> int:
        counts = self._registry.counts
        return backend.in_flight + (0 if counts is None else counts.elsewhere(backend.spec.name))

    def _has_room(self, backend: Backend, mean: float, times: float, always: int) -> bool:
        load = self._load(backend)
        return load < backend.max_in_flight and load < max(always * backend.share, times * mean * _weight(backend))

    def _score(self, backend: Backend, number: int) -> float:
        """Return how much a session is drawn to a backend: the greatest of n wins by its weight's part in theirs."""
        name = backend.spec.name
        seed = self._seeds.get(name)
        if seed is None:
            if len(self._seeds) > 2 * len(self._registry.backends) + 1:  # names of backends that are gone
                self._seeds.clear()
            seed = self._seeds[name] = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")
        mixed = ((number ^ seed) * 0xBF58476D1CE4E5B9) & _MASK  # the finish of SplitMix64
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        mixed ^= mixed >> 31
        return -_weight(backend) / log((2 * mixed + 1) * _HALF)


def _weight(backend: Backend) -> float:
    return backend.spec.weight * backend.share


def _is_out(backend: Backend) -> bool:
    """Return whether it is out, or may be given trials only."""
    return backend.placed is Standing.OUT or backend.breaker.state is not BreakerState.CLOSED
