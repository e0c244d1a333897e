"""How many attempts each worker has in flight at each backend, and how many connections: a table that all share.

Each worker writes its own cells only, so there is nothing to lock; a sum over the others may be a moment old. The
parent says which backend has which place, and zeroes what a dead worker has left.

    cell (backend, worker)    at place * WORKERS + slot, 4 bytes
    connections (worker)      the same in the last row: one more than there are; 0: it accepts none
"""

import mmap
import os
from collections.abc import Iterable, Mapping

WORKERS = 64  # slots: as many as may be configured
ROWS = 2048  # backends: twice as many as may be configured, so that removed ones can end their work; and connections
PLACES = ROWS - 1
CELL = 4  # bytes of one count
SIZE = WORKERS * ROWS * CELL
LEAD = 1  # connections that a worker may have more than another before it lets that one accept first


class Table:
    """The shared memory."""

    def __init__(self, fd: int) -> None:
        """`fd`: of a file of SIZE bytes; it stays the caller's."""
        self._memory = mmap.mmap(fd, SIZE)
        self.cells = memoryview(self._memory).cast("I")

    def clear(self, slot: int) -> None:
        """Forget what a worker had: it has ended."""
        for at in range(slot, WORKERS * ROWS, WORKERS):
            self.cells[at] = 0

    def total(self, place: int) -> int:
        """Return what all workers have in flight at a backend."""
        return sum(self.cells[place * WORKERS : (place + 1) * WORKERS])

    def close(self) -> None:
        """Give the memory back."""
        self.cells.release()
        self._memory.close()


def new_file() -> int:
    """Return the descriptor of a new table's file, which has no name. Raises OSError."""
    fd = os.memfd_create("devstral-router-counts", os.MFD_CLOEXEC)
    os.ftruncate(fd, SIZE)
    return fd


class Places:
    """Which backend has which place; the parent's."""

    def __init__(self, table: Table) -> None:
        """All are free."""
        self._table = table
        self._of: dict[str, int] = {}

    def assign(self, names: Iterable[str]) -> dict[str, int]:
        """Return the places of `names`. One that finds no place is left out: its counts are not shared.

        A name that is no longer wanted keeps its place while something is in flight there.
        """
        wanted = list(dict.fromkeys(names))
        kept = {name: place for name, place in self._of.items() if name in wanted or self._table.total(place)}
        taken = set(kept.values())
        free = (place for place in range(PLACES) if place not in taken)
        for name in wanted:
            if name not in kept and (place := next(free, None)) is not None:
                kept[name] = place
        self._of = kept
        return {name: kept[name] for name in wanted if name in kept}


class Counts:
    """What a worker's registry asks: own attempts are noted, those of others can be read."""

    def __init__(self, table: Table, slot: int) -> None:
        """No backend has a place until `place`."""
        self._cells = table.cells
        self._slot = slot
        self._at: dict[str, int] = {}  # index of our cell

    def place(self, places: Mapping[str, int]) -> None:
        """Take in which backend has which place. One that has none any more is known while we have work there.

        Longer it must not be: its place may be another one's by now, and it may come back under the same name.
        """
        working = {name: at for name, at in self._at.items() if name not in places and self._cells[at]}
        self._at = working | {name: place * WORKERS + self._slot for name, place in places.items()}

    def take(self, name: str) -> None:
        """Note one attempt more."""
        at = self._at.get(name)
        if at is not None:
            self._cells[at] += 1

    def give(self, name: str) -> None:
        """Note one attempt less; never below none: it may have begun before the backend had a place."""
        at = self._at.get(name)
        if at is not None and self._cells[at]:
            self._cells[at] -= 1

    def elsewhere(self, name: str) -> int:
        """Return how many attempts other workers have in flight."""
        at = self._at.get(name)
        if at is None:
            return 0
        first = at - self._slot
        return sum(self._cells[first : first + WORKERS]) - self._cells[at]


class Connections:
    """How many connections each worker has, for who of them is to accept the next one."""

    def __init__(self, table: Table, slot: int) -> None:
        """Of the worker in this slot, which accepts none so far."""
        self._cells = table.cells[PLACES * WORKERS : ROWS * WORKERS]
        self._slot = slot

    def note(self, count: int) -> None:
        """Let the others know that we accept, and have so many connections."""
        self._cells[self._slot] = count + 1

    def leave(self) -> None:
        """Let the others know that we accept no more."""
        self._cells[self._slot] = 0

    def is_ahead(self, count: int) -> bool:
        """Return whether we, with so many connections, have more than another worker that accepts."""
        own = self._slot
        return any(cell and count + 1 > cell + LEAD for slot, cell in enumerate(self._cells) if slot != own)

    def others(self) -> int:
        """Return a number that changes when another worker accepts, or loses a connection."""
        return sum(self._cells) - self._cells[self._slot]
