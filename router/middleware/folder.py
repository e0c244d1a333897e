"""A folder of files that are kept to a number, a size and an age. Used by one thread of each process.

A file appears whole, under a name that nothing of a client is in, readable by its owner only. A link that lies in its
place is not followed. Several processes may share a folder: each looks at it anew after every tenth of what may lie
there, and takes away the oldest.
"""

import contextlib
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass

OPEN = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OURS = re.compile(r"trace-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-\d{3}Z-[0-9a-f]{32}\.json")
_HALF = re.compile(r"\.trace-.{1,80}\.tmp")
STALE = 3600.0  # seconds after which a half-written file was left behind by a process that is gone
AGE_INTERVAL = 60.0  # seconds between two looks for files that are too old


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may lie in the folder; None: as much as comes."""

    files: int | None
    size: int | None  # bytes
    age: float | None  # seconds


class Folder:
    """Puts files into the folder, and takes old ones away."""

    def __init__(self, path: str, bounds: Bounds, *, wall_clock: Callable[[], float]) -> None:
        """Make the folder if it is not there. Raises OSError. `wall_clock`: seconds since 1970."""
        os.makedirs(path, mode=0o700, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied", path)
        self._path = path
        self._bounds = bounds
        self._wall_clock = wall_clock
        self._fresh_files = 0  # since the last look
        self._fresh_size = 0
        self._looked: float | None = None

    @property
    def is_open_to_others(self) -> bool:
        """Return whether others than its owner may look into the folder: it was there before, and is left so."""
        return bool(stat.S_IMODE(os.stat(self._path).st_mode) & 0o077)

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole, or not at all. Raises OSError."""
        folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        half = f".{name}.tmp"
        try:
            fd = os.open(half, OPEN, 0o600, dir_fd=folder)
            try:
                try:
                    _write_all(fd, content)
                finally:
                    os.close(fd)
                os.rename(half, name, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(half, dir_fd=folder)
                raise
            self._fresh_files += 1
            self._fresh_size += len(content)
            if self._must_look():
                self._take_away(folder)
        finally:
            os.close(folder)

    def _must_look(self) -> bool:
        bounds, looked = self._bounds, self._looked
        if bounds == Bounds(None, None, None):
            return False
        if looked is None or (bounds.files is not None and self._fresh_files >= max(1, bounds.files // 10)):
            return True
        if bounds.size is not None and self._fresh_size >= bounds.size // 10:
            return True
        return bounds.age is not None and self._wall_clock() - looked >= min(AGE_INTERVAL, bounds.age)

    def _take_away(self, folder: int) -> None:
        """Take away what is too old, and the oldest of what is too much: a tenth more, for those that come next."""
        now = self._looked = self._wall_clock()
        self._fresh_files = self._fresh_size = 0
        found = self._look(folder, now)
        bounds = self._bounds
        most = None if bounds.files is None else max(1, bounds.files - bounds.files // 10)
        size = None if bounds.size is None else bounds.size - bounds.size // 10
        kept_files = kept_size = 0
        is_full = False
        for name, each_size, age in sorted(found, reverse=True):  # names begin with the time
            kept_files, kept_size = kept_files + 1, kept_size + each_size
            is_full = is_full or (most is not None and kept_files > most) or (size is not None and kept_size > size)
            if is_full or (bounds.age is not None and age > bounds.age):
                with contextlib.suppress(FileNotFoundError):  # another process was faster
                    os.unlink(name, dir_fd=folder)

    def _look(self, folder: int, now: float) -> list[tuple[str, int, float]]:
        """Return name, size and age of each file of ours; half ones that were left behind are taken away."""
        found = []
        with os.scandir(folder) as entries:
            for entry in entries:
                is_half = _HALF.fullmatch(entry.name) is not None
                if not is_half and _OURS.fullmatch(entry.name) is None:
                    continue
                with contextlib.suppress(FileNotFoundError):
                    told = os.stat(entry.name, dir_fd=folder, follow_symlinks=False)
                    if not stat.S_ISREG(told.st_mode):
                        continue
                    age = now - told.st_mtime
                    if not is_half:
                        found.append((entry.name, told.st_size, age))
                    elif age > STALE:
                        os.unlink(entry.name, dir_fd=folder)
        return found


def _write_all(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
