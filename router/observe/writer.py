"""Lines to a file or to standard error, written by a thread of their own; several processes may share a file.

`put` never waits: it appends to a bounded queue and, at most once per GATHER seconds, wakes the thread. When the
queue is full the newest line is dropped and counted, and the log itself says so once there is room again.
"""

import fcntl
import logging
import os
import select
import stat
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence

GATHER = 0.05  # seconds that lines gather before one write; also the most that a log lags behind
QUEUE_LINES = 20_000  # about 10 MB of access lines: several seconds of a stalled disk at full load
BLOCK = 64 * 1024  # bytes per write: a pipe's capacity; in longer ones other processes' lines could stand
FILE_BLOCK = 1024 * 1024  # ... to a file: each write gives the interpreter away, and has to get it back
MAX_PIECES = 1024  # of memory per write: IOV_MAX of Linux
CLOSE_TIMEOUT = 5.0  # seconds that closing waits for a disk or pipe that has stalled
FILE_MODE = 0o640  # a log names models and addresses: not for everybody

log = logging.getLogger(__name__)


class Sink:
    """Where lines end: a file that is rotated by size, or standard error. Used by one thread."""

    def __init__(self, path: str | None, *, max_size: int | None, backups: int) -> None:
        """`path` None: standard error; `max_size` bytes, None for no rotation. Raises OSError."""
        self.path = path
        self.max_size = max_size if path is not None else None
        self.backups = backups
        self.most = BLOCK  # bytes of one write
        self._fd = -1
        self.reopen()

    def reopen(self) -> None:
        """Open the path anew (it may have been moved away). Raises OSError; the old file is then kept."""
        if self.path is None:
            self._fd = sys.__stderr__.fileno() if sys.__stderr__ is not None else 2
        else:
            fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
            self.close()
            self._fd = fd
        most = FILE_BLOCK if _is_file(self._fd) else BLOCK
        self.most = min(most, self.max_size or most)

    def write(self, *blocks: bytes) -> None:
        """Write whole lines, after a rotation if they would not fit. Raises OSError."""
        size = sum(map(len, blocks))
        if self.max_size is not None and (had := os.fstat(self._fd).st_size) > 0 and had + size > self.max_size:
            self._rotate()
        written = self._written(blocks)
        if written < size:
            view = memoryview(b"".join(blocks))[written:]
            while view:
                view = view[self._written((view,)) :]

    def _written(self, blocks: Sequence[bytes | memoryview]) -> int:
        """Write as much as is taken now, or wait a second for it; return how many bytes. Raises OSError."""
        try:
            return os.writev(self._fd, blocks)
        except BlockingIOError:  # standard error that somebody else made non-blocking
            select.select([], [self._fd], [], 1.0)
            return 0

    def close(self) -> None:
        """Close the file; standard error stays open."""
        if self.path is not None and self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _rotate(self) -> None:
        """Begin a new file, unless another process just has: then go on with that one. Raises OSError."""
        fd = self._fd
        fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            if self._is_current():
                self._shift()
            self.reopen()  # which closes the old one, and so frees it
        except OSError:
            fcntl.flock(fd, fcntl.LOCK_UN)
            raise

    def _shift(self) -> None:
        """Move the files on by one place, the current one included."""
        assert self.path is not None
        for number in range(self.backups - 1, 0, -1):
            if os.path.exists(f"{self.path}.{number}"):
                os.replace(f"{self.path}.{number}", f"{self.path}.{number + 1}")
        if self.backups > 0:
            os.replace(self.path, f"{self.path}.1")
        else:
            os.unlink(self.path)

    def _is_current(self) -> bool:
        """Whether the path still leads to the file that is open."""
        assert self.path is not None
        try:
            found, ours = os.stat(self.path), os.fstat(self._fd)
        except FileNotFoundError:
            return False
        return (found.st_ino, found.st_dev) == (ours.st_ino, ours.st_dev)


def _is_file(fd: int) -> bool:
    """Return whether it is a regular file; standard error may be closed."""
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError:
        return False


def _parted(lines: bytes, most: int) -> Iterator[bytes]:
    """Give lines in parts of at most so many bytes, so that a file stays below its largest size; a line stays whole."""
    start = 0
    while len(lines) - start > most:
        end = lines.rfind(b"\n", start, start + most) + 1 or lines.find(b"\n", start + most) + 1 or len(lines)
        yield lines[start:end]
        start = end
    if start < len(lines):
        yield lines[start:]


class LineWriter:
    """A bounded queue of lines and the thread that empties it."""

    def __init__(self, path: str | None = None, *, max_size: int | None = None, backups: int = 0) -> None:
        """`path` None: standard error; `max_size` in bytes, None or 0 for no rotation. Raises OSError."""
        self.dropped = 0  # lines that were not written: no room, or the disk refused them
        self._told = 0  # of those, how many the log has named
        self._queue: deque[tuple[bytes, int]] = deque()  # lines that were put together, and how many
        self._waiting = 0  # lines in it
        # Of both, held for a moment only: in which the collector may run, and what it finds may log.
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._is_woken = False  # what `_wake` is, without a call; it may be False when that is set, never the reverse
        self._ending = threading.Event()
        self._reopen = False
        self._refused = False  # the last write failed: said once, not per block
        self._sink = Sink(path, max_size=max_size or None, backups=backups)
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def put(self, lines: bytes, count: int = 1) -> None:
        """Queue lines, their line ends included; `count`: how many. May be called from any thread; never waits."""
        with self._lock:
            if self._waiting + count > QUEUE_LINES:
                self.dropped += count
                return
            self._waiting += count
            self._queue.append((lines, count))
        if not self._is_woken:
            self._is_woken = True
            self._wake.set()

    def reopen(self) -> None:
        """Have the file opened anew before the next line: an external rotation has moved it away."""
        self._reopen = True
        self._wake.set()

    def close(self, *, timeout: float = CLOSE_TIMEOUT) -> None:
        """Write what is queued and end the thread; gives up after `timeout` seconds."""
        self._ending.set()
        self._wake.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._ending.wait(GATHER)
            self._wake.clear()
            self._is_woken = False  # before the queue is emptied, so that no line is left without somebody to be woken
            if self._reopen:
                self._reopen = False
                self._try_reopen()
            self._empty()
            if self._ending.is_set() and not self._queue:
                break
        self._sink.close()

    def _try_reopen(self) -> None:
        try:
            self._sink.reopen()
        except OSError as error:
            self._complain(error)

    def _empty(self) -> None:
        while self._queue:
            blocks, count = self._next_lines()
            try:
                self._write(blocks)
            except OSError as error:
                self.dropped += count
                self._complain(error)
                continue
            self._refused = False
            self._tell_dropped()

    def _write(self, blocks: list[bytes]) -> None:
        """Write lines; what was put together is parted where a file would grow over its size. Raises OSError."""
        most = self._sink.max_size
        if most is None or len(blocks[0]) <= most:
            self._sink.write(*blocks)
        else:
            for part in _parted(blocks[0], most):
                self._sink.write(part)

    def _next_lines(self) -> tuple[list[bytes], int]:
        """Take as many lines as one write should have, at least what was put together, and how many they are."""
        most = self._sink.most
        taken: list[bytes] = []
        size = total = 0
        with self._lock:
            while self._queue and (not taken or (size + len(self._queue[0][0]) <= most and len(taken) < MAX_PIECES)):
                lines, count = self._queue.popleft()
                taken.append(lines)
                size += len(lines)
                total += count
            self._waiting -= total
        return taken, total

    def _tell_dropped(self) -> None:
        missing = self.dropped - self._told
        if missing and self._waiting < QUEUE_LINES // 2:
            self._told += missing
            log.warning("%d log lines were not written", missing)

    def _complain(self, error: OSError) -> None:
        """Say on standard error that the log cannot be written, once until it can again."""
        if not self._refused and sys.__stderr__ is not None:
            sys.__stderr__.write(f"devstral-router: cannot write the log: {error}\n")
        self._refused = True
