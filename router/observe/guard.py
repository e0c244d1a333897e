"""How much memory and how many file descriptors the process uses, looked at once a second, and what that means for
new work: `access.overload` decides.

Memory is looked at twice before anybody is refused: what was freed and not given back to the system is given back.
"""

import asyncio
import contextlib
import ctypes
import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path

from router.access.overload import REST, Marks, Strain, Usage, Watermarks, refuses

INTERVAL = 1.0  # seconds between two looks
TRIM_INTERVAL = 10.0  # seconds between two times that freed memory is given back: it holds everything up for a moment
NO_LIMIT = 1 << 60  # bytes; cgroup v1 tells such a number where there is none
PROC = Path("/proc/self")
CGROUPS = Path("/sys/fs/cgroup")

log = logging.getLogger(__name__)


class Guard:
    """Looks, and remembers."""

    def __init__(self, marks: Marks, *, at_work: Callable[[], int], usage: Callable[[], Usage] | None = None) -> None:
        """`at_work()`: exchanges under way. `usage()`: what is in use; None: of this process."""
        self._watermarks = Watermarks(marks)
        self._at_work = at_work
        self.usage = usage or usage_of_process
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._trimmed_at: float | None = None
        self.strain: Strain | None = None  # what there is too little of

    @property
    def marks(self) -> Marks:
        """Return how much may be in use."""
        return self._watermarks.marks

    @marks.setter
    def marks(self, marks: Marks) -> None:
        self._watermarks.marks = marks

    def start(self) -> None:
        """Look from now on, in the running loop."""
        self._loop = asyncio.get_running_loop()
        self._look()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def refusal(self) -> Strain | None:
        """Return why a new exchange is refused now, None where it is taken."""
        return refuses(self.strain, at_work=self._at_work())

    def _look(self) -> None:
        assert self._loop is not None
        self._timer = self._loop.call_later(INTERVAL, self._look)
        marks = self.marks
        if marks == Marks():
            self.strain = self._watermarks.strain = None
            return
        usage = self.usage()
        # While it is refused, below the mark too: what is freed and not given back would keep it so for ever.
        mark = None if marks.memory is None else marks.memory * (REST if self.strain is Strain.MEMORY else 1)
        if mark is not None and usage.memory > mark and self._may_trim(self._loop.time()):
            trim()
            usage = self.usage()
        if self._watermarks.observe(usage):
            self.strain = self._watermarks.strain
            if self.strain is None:
                log.info("new requests are taken again")
            else:
                log.warning(
                    "new requests are refused, there is too little %s: %d bytes of memory (at most %s), "
                    "%d file descriptors (at most %s)",
                    *(self.strain.value, usage.memory, marks.memory, usage.descriptors, marks.descriptors),
                )

    def _may_trim(self, now: float) -> bool:
        if self._trimmed_at is not None and now - self._trimmed_at < TRIM_INTERVAL:
            return False
        self._trimmed_at = now
        return True


def usage_of_process() -> Usage:
    """Return what this process uses; with no file descriptor left to look with, that all of them are in use."""
    try:
        resident = int((PROC / "statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        # Linux tells the number as the directory's size since 6.2, and nothing before.
        return Usage(resident, os.stat(PROC / "fd").st_size or len(os.listdir(PROC / "fd")))
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        return Usage(0, NO_LIMIT)


def trim() -> None:
    """Give freed memory back to the system, where the C library can."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def memory_limit(membership: str | None = None, *, root: Path = CGROUPS) -> int | None:
    """Return the bytes of memory that this process's cgroup may use, or one above it; None where there is no limit.

    `membership`: /proc/self/cgroup's text (cgroups(7)), None to read it. In a container the group's own directory is
    often what is mounted, so its path may not be found: then the directories above it tell.
    """
    if membership is None:
        try:
            membership = (PROC / "cgroup").read_text()
        except OSError:
            return None
    limits = []
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            limits += _limits_along(root, path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits_along(root / "memory", path, "memory.limit_in_bytes")
    return min(limits, default=None)


def _limits_along(root: Path, path: str, name: str) -> list[int]:
    found = []
    place = root / path.lstrip("/")
    for folder in (place, *place.parents):
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            limit = int((folder / name).read_text())
            if limit < NO_LIMIT:
                found.append(limit)
        if folder == root:
            break
    return found
