"""The processes that handed over to us and still finish what they have at work: nothing here counts it.

Each is held by a descriptor (pidfd), so that its number, once another process has it, is not taken for it.
"""

import os
import select
from collections.abc import Iterable

from router.process.handover import Predecessor


class Earlier:
    """Those of them that live."""

    def __init__(self, pids: Iterable[int] = ()) -> None:
        """`pids`: of processes that live now, or ended a moment ago; the latest first."""
        self._held: dict[int, int] = {}  # descriptors
        for pid in pids:
            try:
                self._held[pid] = os.pidfd_open(pid)
            except (OSError, OverflowError):  # it has ended
                continue

    @classmethod
    def than(cls, predecessor: Predecessor | None) -> "Earlier":
        """Return those that were told by who has started us; none where nobody did."""
        return cls(() if predecessor is None else predecessor.earlier)

    def living(self) -> tuple[int, ...]:
        """Return the ids of those that have not ended, the latest first."""
        for pid, held in list(self._held.items()):
            poll = select.poll()
            poll.register(held, select.POLLIN)  # readable from its end on, before it is waited for
            if poll.poll(0):
                os.close(self._held.pop(pid))
        return tuple(self._held)
