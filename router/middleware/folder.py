"""A folder of files that are kept to a number, a size and an age. Used by one thread of each process.

A file appears whole, under a name that nothing of a client is in, readable by its owner only. A link that lies in its
place is not followed. Several processes may share a folder: each looks at it anew after every tenth of what may lie
there, and takes away the oldest.
"""

import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass

OPEN = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OURS = re.compile(r"trace-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-\d{3}Z-[0-9a-f]{32}\.json")
_HALF = re.compile(r"\.trace-.{1,80}\.tmp")
STALE = 3600.0  # seconds after which a half-written file was left behind by a process that is gone
AGE_INTERVAL = 60.0  # seconds between two looks for files that are too old
DAY = 86400.0  # seconds; more than what a file server's clock is ever ahead of ours
AHEAD = 60.0  # seconds by which a file of another process may be younger than now; beyond, a clock was wrong


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
        try:
            os.makedirs(path, mode=0o700, exist_ok=True)
        except FileExistsError as error:  # a file, or a link to nothing
            raise NotADirectoryError(errno.ENOTDIR, "it is there, and no folder", path) from error
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "its files cannot be listed and written by this user", path)
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
        folder = self._open()
        try:
            try:
                _put(folder, name, content)
                self._fresh_files += 1
                self._fresh_size += len(content)
            finally:  # where the disk is full, it is the more needed
                if self._must_look():
                    self._take_away(folder)
        finally:
            os.close(folder)

    def _open(self) -> int:
        """Open the folder; make it anew where somebody has taken it away, and not only what was in it."""
        try:
            return os.open(self._path, _FOLDER)
        except FileNotFoundError:
            os.makedirs(self._path, mode=0o700, exist_ok=True)
            return os.open(self._path, _FOLDER)

    def _must_look(self) -> bool:
        bounds, looked = self._bounds, self._looked
        if bounds == Bounds(None, None, None):
            return False
        if looked is None or (bounds.files is not None and self._fresh_files >= max(1, bounds.files // 10)):
            return True
        if bounds.size is not None and self._fresh_size >= bounds.size // 10:
            return True
        since = abs(self._wall_clock() - looked)  # a clock that was put back must not stop it
        return bounds.age is not None and since >= min(AGE_INTERVAL, bounds.age)

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
        # Names begin with the time. Those of a clock that was ahead go first, else none that comes now would stay.
        for name, each_size, age in sorted(found, key=lambda each: (each[2] >= -AHEAD, each[0]), reverse=True):
            kept_files, kept_size = kept_files + 1, kept_size + each_size
            is_full = is_full or (most is not None and kept_files > most) or (size is not None and kept_size > size)
            if is_full or (bounds.age is not None and (age > bounds.age or age < -max(bounds.age, DAY))):
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


def _put(folder: int, name: str, content: bytes) -> None:
    """Have a file appear whole in a folder, or not at all. Raises OSError."""
    half = f".{name}.tmp"
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


def _write_all(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
