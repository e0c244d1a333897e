"""Where each backend stands in the pools, kept in line with its state and with time.

`settle` after a change that may alter a backend's standing, `weigh` after one that may alter its share too; `wake` does
what time alone changes. Who is full is looked at again only when nobody else is left: other workers may have given
places back, and told nobody.
"""

from collections.abc import Collection

from router.backends.backend import Backend, SharedCounts, Standing
from router.backends.catalogue import Catalogue
from router.backends.policy import Pool
from router.backends.wakes import Wakes


class Places:
    """Keeps the pools of a catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        """`counts` is set by whoever shares them."""
        self.counts: SharedCounts | None = None
        self.wakes = Wakes()
        self._catalogue = catalogue

    def settle(self, backend: Backend, now: float) -> None:
        """Bring the pools in line with a backend's state, and note when to look at it again."""
        if not backend.removed:
            self._catalogue.place(backend, backend.standing(now))
            self.wakes.note(backend, backend.changes_at(now))

    def weigh(self, backend: Backend, now: float) -> None:
        """Bring a backend's share in line with its state, and then the pools."""
        before = backend.stride
        backend.weigh(now)
        if backend.stride != before and not backend.removed:
            self._catalogue.restride(backend, before)
        self.settle(backend, now)

    def wake(self, now: float) -> None:
        """Do what the time that has passed brings."""
        for backend in self.wakes.due(now):
            self.weigh(backend, now)

    def became_full(self, backend: Backend, now: float) -> bool:
        """Return whether other workers have filled a backend up meanwhile."""
        if self.counts is None or backend.spec.max_connections is None:
            return False
        backend.elsewhere = self.counts.elsewhere(backend.spec.name)
        if backend.is_full:
            self.settle(backend, now)
        return backend.is_full

    def take_again(self, pool: Pool, now: float, *, tried: Collection[Backend]) -> Backend | None:
        """Return somebody whom other workers have left room, where `take` found nobody."""
        self.free_up(pool, now)
        while (backend := pool.take(tried)) is not None and self.became_full(backend, now):
            pass  # it is among the full ones now, so each comes once
        return backend

    def free_up(self, pool: Pool, now: float) -> bool:
        """Look again at the full members of a pool; return whether one is not full after all.

        Where everybody who is not out starts slowly, the one who has come furthest is let have all its places: its
        limit is to steer requests elsewhere, not to turn them away.
        """
        full = pool.members_at(Standing.FULL) if pool.count(Standing.FULL) else []
        if not full:
            return False
        starting = [each for each in full if each.is_limited]
        if starting:
            top = max(each.ramp(now) for each in pool.members() if each.placed is not Standing.OUT)
            for backend in starting:
                backend.ramp_top = min(backend.ramp_top, top)
                self.weigh(backend, now)
        if self.counts is not None:
            for backend in full:
                backend.elsewhere = self.counts.elsewhere(backend.spec.name)
                if not backend.is_full:
                    self.settle(backend, now)
        return pool.count(Standing.FULL) < len(full)
