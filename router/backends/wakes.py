"""When which backend is to be looked at again, because time alone changes it: the next one is known at no cost.

A backend has one time that counts, the earliest it was given; entries of others stay in the heap until they come up,
or until their backend is forgotten.
"""

import heapq
import math
from collections.abc import Iterator

from router.backends.backend import Backend


class Wakes:
    """A heap of times."""

    __slots__ = ("_heap", "next_at")

    def __init__(self) -> None:
        """Nobody is to be looked at."""
        self._heap: list[tuple[float, int, Backend]] = []  # indexes are unique, so backends are never compared
        self.next_at = math.inf  # nobody is due before

    def __len__(self) -> int:
        """Return how many entries there are, those that no longer count included."""
        return len(self._heap)

    def note(self, backend: Backend, at: float) -> None:
        """Look at a backend at `at`; no effect where it is looked at before anyway."""
        if at < backend.wake_at:
            backend.wake_at = at
            heapq.heappush(self._heap, (at, backend.index, backend))
            self.next_at = self._heap[0][0]

    def due(self, now: float) -> Iterator[Backend]:
        """Give each backend whose time has come, once; `note` may be called meanwhile with later times."""
        while self._heap and self._heap[0][0] <= now:
            at, _, backend = heapq.heappop(self._heap)
            if at == backend.wake_at:  # else an earlier one took its place
                backend.wake_at = math.inf
                yield backend
        self.next_at = self._heap[0][0] if self._heap else math.inf

    def forget(self, backend: Backend) -> None:
        """Never look at a backend again, and keep nothing of it."""
        backend.wake_at = math.inf
        self._heap = [entry for entry in self._heap if entry[2] is not backend]
        heapq.heapify(self._heap)
        self.next_at = self._heap[0][0] if self._heap else math.inf
