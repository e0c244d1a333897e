"""The processes that handed over to us and still finish what they have at work: nothing here counts it.

Each is known by its number and the time at which it began: the number alone may be another process's later.
"""

from collections.abc import Iterable

from router.process.handover import Predecessor

_STATE, _BEGAN = 0, 19  # places behind the name in /proc/PID/stat, see proc_pid_stat(5)
_ENDED = ("Z", "X")  # before somebody has waited for it


class Earlier:
    """Those of them that live."""

    def __init__(self, pids: Iterable[int] = ()) -> None:
        """`pids`: of processes that live now, or ended a moment ago; the latest first."""
        self._began = {pid: began for pid in pids if (began := _began(pid)) is not None}

    @classmethod
    def than(cls, predecessor: Predecessor | None) -> "Earlier":
        """Return those that were told by who has started us; none where nobody did."""
        return cls(() if predecessor is None else predecessor.earlier)

    def living(self) -> tuple[int, ...]:
        """Return the ids of those that have not ended, the latest first."""
        self._began = {pid: began for pid, began in self._began.items() if _began(pid) == began}
        return tuple(self._began)


def _began(pid: int) -> str | None:
    """Return when a process began, as the kernel counts; None where there is none that lives."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            words = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return words[_BEGAN] if len(words) > _BEGAN and words[_STATE] not in _ENDED else None
