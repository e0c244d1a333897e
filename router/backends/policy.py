"""Who is next: smooth weighted round robin within the pool of one model.

A Rotation gives every member its turns at equal distances, its stride, which is shorter for greater weights (stride
scheduling): the member whose turn is due first is taken, and its next turn is due one stride later. Equal weights are
served in exact alternation, and who comes back neither catches up on what it missed nor waits a round. A member's
stride may change (share.py): what is left until its next turn shrinks or grows with it.

A Pool keeps its usable members in three rotations and takes from the first that has somebody: ready ones, eased ones
(full a moment ago), ones not probed yet. With nobody usable it hands out trials, one per backend and second. Each pool
has turns of its own, so that what other models are asked for cannot make one model's share uneven.

Taking costs O(log n) in heapq, whoever is out; members that leave are dropped when their turn comes. Where turns were
moved, the next taking sorts once for all of them.
"""

import heapq
import itertools
import math
from collections.abc import Collection

from router.backends.backend import TRIAL_INTERVAL, Backend, Reason, Standing, Unavailable

RETRY_SOON = 1.0  # seconds: what a client is told where nothing better is known


class Turn:
    """A backend's place in one rotation."""

    __slots__ = ("backend", "due", "is_member", "is_queued")

    def __init__(self, backend: Backend) -> None:
        """Not a member yet, nor queued."""
        self.backend = backend
        self.due = -1  # when it is its turn, in the rotation's own time; before its start
        self.is_member = False
        self.is_queued = False  # has an entry in the heap, be it a member or not


class Rotation:
    """Backends that take turns."""

    __slots__ = ("_heap", "_moved", "_now", "_offset", "_turns", "members")

    def __init__(self, offset: int = 0) -> None:
        """`offset`: index of the backend that comes first among equals."""
        self._heap: list[tuple[int, int, Turn]] = []  # (due, order, turn); order is unique, so turns are never compared
        self._turns: dict[Backend, Turn] = {}
        self._moved = 0  # entries of the heap that are not in their place, or nobody's any more
        self._now = 0  # when the turn that was taken last had been due
        self._offset = offset
        self.members = 0

    def join(self, backend: Backend) -> None:
        """Let a backend take turns from now on; no effect on a member."""
        turn = self._turns.get(backend)
        if turn is None:
            turn = self._turns[backend] = Turn(backend)
        if turn.is_member:
            return
        turn.is_member = True
        self.members += 1
        if not turn.is_queued:
            if turn.due < self._now:  # its turns have passed: it comes next, but not twice before others come once
                turn.due = self._now + backend.stride // 2
            self._push(turn)

    def leave(self, backend: Backend) -> None:
        """Take a backend out; no effect on others than members."""
        turn = self._turns.get(backend)
        if turn is not None and turn.is_member:
            turn.is_member = False
            self.members -= 1

    def restride(self, backend: Backend, before: int) -> None:
        """Move a backend's next turn as its stride has changed from `before`; no effect on who has none."""
        turn = self._turns.get(backend)
        if turn is None or not turn.is_queued or turn.due <= self._now:
            return
        turn.due = self._now + (turn.due - self._now) * backend.stride // before
        self._moved += 1

    def drop(self, backend: Backend) -> None:
        """Take a backend out and keep nothing of it; no effect on one that was never a member."""
        self.leave(backend)
        turn = self._turns.pop(backend, None)
        if turn is not None and turn.is_queued:
            self._moved += 1
        if self._moved >= len(self._turns):  # or nothing would be forgotten where nobody takes
            self._sort()

    def take(self, tried: Collection[Backend]) -> Backend | None:
        """Return whose turn it is, leaving out `tried`, who keep their turns; None where nobody is left."""
        if self._moved:
            self._sort()
        heap = self._heap
        passed_over: list[tuple[int, int, Turn]] | None = None
        taken = None
        while heap:
            entry = heap[0]
            due, order, turn = entry
            if not turn.is_member:
                heapq.heappop(heap)
                turn.is_queued = False
            elif tried and turn.backend in tried:
                passed_over = passed_over or []
                passed_over.append(heapq.heappop(heap))
            else:
                taken = turn.backend
                turn.due = due + taken.stride
                heapq.heapreplace(heap, (turn.due, order, turn))
                self._now = max(self._now, due)
                break
        for entry in passed_over or ():
            heapq.heappush(heap, entry)
        return taken

    def _push(self, turn: Turn) -> None:
        # Orders wrap at a number no index reaches, so that the rotation starts at its offset and stays unique.
        order = (turn.backend.index - self._offset) % 2**32
        if self._moved:  # it is to be sorted anyway
            self._heap.append((turn.due, order, turn))
        else:
            heapq.heappush(self._heap, (turn.due, order, turn))
        turn.is_queued = True

    def _sort(self) -> None:
        """Bring the heap in line with turns that were moved or dropped, once for all of them."""
        self._heap = [(turn.due, order, turn) for _, order, turn in self._heap if self._turns.get(turn.backend) is turn]
        heapq.heapify(self._heap)
        self._moved = 0


class Pool:
    """The backends that serve one model."""

    __slots__ = ("_counts", "_next_trial", "_nobody_before", "_rests_until", "_rotations", "_standings")

    def __init__(self, offset: int = 0) -> None:
        """`offset`: index of the backend that comes first, so that rarely used pools do not all start with one."""
        self._rotations = tuple(Rotation(offset) for _ in (Standing.READY, Standing.EASED, Standing.UNPROBED))
        self._standings: dict[Backend, Standing] = {}
        self._counts = [0] * len(Standing)
        self._next_trial = 0  # position among the members
        self._nobody_before = -math.inf  # no trial is due before
        self._rests_until = -math.inf  # nobody's rest ends before

    def members(self) -> Collection[Backend]:
        """Return everybody who serves the model, usable or not."""
        return self._standings.keys()

    def place(self, backend: Backend, standing: Standing) -> None:
        """Add a backend, or move it to another standing."""
        before = self._standings.get(backend)
        if before is standing:
            return
        self._forget(backend, before)
        self._standings[backend] = standing
        self._counts[standing] += 1
        if standing < len(self._rotations):
            self._rotations[standing].join(backend)

    def remove(self, backend: Backend) -> None:
        """Take a backend out that no longer serves the model, and keep nothing of it; no effect on others."""
        self._forget(backend, self._standings.pop(backend, None))
        for rotation in self._rotations:
            rotation.drop(backend)

    def restride(self, backend: Backend, before: int) -> None:
        """Take in that a backend's stride has changed from `before`."""
        for rotation in self._rotations:
            rotation.restride(backend, before)

    @property
    def is_out(self) -> bool:
        """Return whether nobody is to be had, be it later."""
        return self._counts[Standing.OUT] == len(self._standings)

    def count(self, standing: Standing) -> int:
        """Return how many members have a standing."""
        return self._counts[standing]

    def members_at(self, standing: Standing) -> list[Backend]:
        """Return the members that have a standing."""
        return [backend for backend, each in self._standings.items() if each is standing]

    def standing(self, backend: Backend) -> Standing | None:
        """Return the standing of a backend, None of one that is no member."""
        return self._standings.get(backend)

    def best(self) -> Standing | None:
        """Return the standing of those whom `take` would take first, None where nobody is usable."""
        return next((Standing(rank) for rank, each in enumerate(self._rotations) if each.members), None)

    def take(self, tried: Collection[Backend]) -> Backend | None:
        """Return the usable backend whose turn it is; None where there is none but `tried`."""
        for rotation in self._rotations:
            if rotation.members:
                backend = rotation.take(tried)
                if backend is not None:
                    return backend
        return None

    def has_free(self, tried: Collection[Backend]) -> bool:
        """Return whether `take` would find somebody; changes nothing."""
        free = sum(self._counts[: len(self._rotations)])
        return free > sum(self._standings.get(each, Standing.OUT) < len(self._rotations) for each in set(tried))

    def take_trial(self, now: float, *, tried: Collection[Backend]) -> Backend | None:
        """Return a backend that is out but due for a trial, only where every member is out."""
        if now < self._nobody_before or not self.is_out:
            return None
        members = list(self._standings)
        for position in range(len(members)):
            backend = members[(self._next_trial + position) % len(members)]
            if backend.trial_at() <= now and backend not in tried:
                self._next_trial += position + 1
                return backend
        # Remembered, so that being down costs a scan once a trial interval and not once a request.
        self._nobody_before = min(itertools.chain((now + TRIAL_INTERVAL,), (each.trial_at() for each in members)))
        return None

    def refusal(self, now: float) -> Unavailable:
        """Return why `take` and `take_trial` found nobody."""
        if self._counts[Standing.FULL]:
            return Unavailable(Reason.ALL_FULL, RETRY_SOON)
        if self._counts[Standing.RESTING]:
            return Unavailable(Reason.ALL_RESTING, self._rest_left(now))
        if self._counts[Standing.OUT] < len(self._standings):
            return Unavailable(Reason.ALL_TRIED, RETRY_SOON)
        return Unavailable(Reason.NONE_USABLE, RETRY_SOON)

    def _rest_left(self, now: float) -> float:
        if now >= self._rests_until:
            resting = (each for each, standing in self._standings.items() if standing is Standing.RESTING)
            self._rests_until = min(backend.resting_until for backend in resting)
        return max(0.0, round(self._rests_until - now, 3))  # else 60 s may come out as a little more, and be told as 61

    def _forget(self, backend: Backend, standing: Standing | None) -> None:
        self._nobody_before = self._rests_until = -math.inf
        if standing is None:
            return
        self._counts[standing] -= 1
        if standing < len(self._rotations):
            self._rotations[standing].leave(backend)
