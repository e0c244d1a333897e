"""The files of a log: the one that is written, those that were rotated away before it, and what takes its place.

Rotated files are FILE.1, FILE.2 ..., the newest first, as the router and logrotate name them; FILE.2.gz is read too.
All are opened before the first line is read, so a rotation meanwhile takes nothing away and shows nothing twice. A
file that is followed is read to its end after a rotation, and those between are not left out; one that was cut down
is begun anew. Every line is yielded once it is whole, and no file is held in memory.
"""

import gzip
import os
import time
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

STRAGGLING = 5.0  # seconds that processes may still write into a file that was moved away
LONGEST = 1 << 20  # bytes of one line: what has none is no log
BLOCK = 1 << 16
NUMBERS = range(1001)  # of rotated files: `logging.backups` is 1000 at most; logrotate can begin with 0
PACKED = (".gz", ".bz2", ".xz", ".zst")  # behind a number; the first is read, the others are told of
SLACK = 60.0  # seconds that the clock of a file may be behind the times of its lines: it was set, or a disk stalled
MOVING = 0.02  # seconds after which a file that was just moved away is looked for again
MOVES = 10  # times

Ident = tuple[int, int]


def whole_lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a stream as they come; one that is cut at the end is no line."""
    while line := stream.readline(LONGEST):
        if line.endswith(b"\n"):
            yield line.rstrip(b"\r\n")


class Tail:
    """Reads a file that grows, those that were rotated away before it, and those that take its place."""

    def __init__(self, path: str, *, since: float | None = None) -> None:
        """`since`: leave out what was last written before, in seconds since 1970. Raises OSError."""
        self.path = path
        self.left_out: list[str] = []  # rotated files that could not be read, and why
        newest, *rotated = _open_log(path)
        needed = [each for each in rotated if since is None or each.written >= since - SLACK]
        for each in rotated:
            if each not in needed:
                each.close()
        self._files = [*needed[::-1], newest]  # the oldest first
        self._until: float | None = None  # monotonic seconds: when nobody writes into the earlier ones any more

    def lines(self) -> Iterator[bytes]:
        """Yield the whole lines that have come, the oldest first."""
        for each in self._files:
            yield from self._lines_of(each)

    def newest_first(self) -> Iterator[Iterator[bytes]]:
        """Yield the lines of each file, those of the newest file first; files that are not asked for are given up."""
        rest, self._files = self._files, []
        try:
            while rest:
                self._files.insert(0, rest.pop())
                yield self._lines_of(self._files[0])
        finally:
            for each in rest:
                each.close()

    def look(self, now: float) -> None:
        """See whether another file has taken its place, or it was cut down. `now`: monotonic seconds."""
        current = self._files[-1]
        if self._until is None:
            self._keep(2)  # the last rotation may just have been
            self._until = now + STRAGGLING
        elif now > self._until:
            self._keep(1)
        current.begin_anew_if_cut()
        try:
            found = os.stat(self.path)
            if (found.st_dev, found.st_ino) == current.ident:
                return
            self._files += self._after(current.ident)
        except FileNotFoundError:  # moved away, and not there yet
            return
        self._until = now + STRAGGLING

    def _after(self, last: Ident) -> "list[_Open]":
        """Return the files that were begun since, the oldest first; moved away again, some of them."""
        found = _open_log(self.path, last)
        if found[-1].ident == last:
            found.pop().close()
            return found[::-1]
        for each in found[1:]:  # ours is not among them: who can tell which of these are new?
            each.close()
        return found[:1]

    def _keep(self, count: int) -> None:
        for each in self._files[:-count]:
            each.close()
        self._files = self._files[-count:]

    def _lines_of(self, one: "_Open") -> Iterator[bytes]:
        """Yield the lines of one file; where a rotated one cannot be read, the others still are. Raises OSError."""
        try:
            yield from one.lines()
        except (OSError, EOFError, zlib.error) as error:
            if one is self._files[-1]:
                raise
            why = (error.strerror if isinstance(error, OSError) else None) or error
            self.left_out.append(f"{one.path} cannot be read: {why}")
            one.close()


def _open_log(path: str, until: Ident | None = None) -> "list[_Open]":
    """Open a log and what was rotated away of it, the newest first, to the file `until` at most. Raises OSError.

    A rotation moves files on to higher numbers, and to no others. So who goes upwards meets each at least once,
    whatever is moved meanwhile, and where it is met last is its place: what was met in between is newer.
    """
    found = {(newest := _newest(path)).ident: newest}
    for number in NUMBERS:
        if until in found:
            break
        for packed in ("", *PACKED):
            try:
                one = _Open(f"{path}.{number}{packed}", packed=packed)
            except FileNotFoundError:
                continue
            found[one.ident] = found.pop(one.ident, one)
            if found[one.ident] is not one:
                one.close()
            break  # the packed one beside it is the same, and perhaps not whole
    return list(found.values())


def _newest(path: str) -> "_Open":
    """Open the file itself; where it was moved away just now, the next one is there in a moment. Raises OSError."""
    for _ in range(MOVES):
        try:
            return _Open(path)
        except FileNotFoundError:
            if not os.path.exists(f"{path}.1"):
                raise
            time.sleep(MOVING)
    return _Open(path)


class _Open:
    """One file, and the beginning of a line that is not whole yet."""

    def __init__(self, path: str, *, packed: str | None = None) -> None:
        """`packed`: how a rotated file is; None: it is the log itself, and has to be one that can be read."""
        self.path = path
        self._begun = b""
        self._error: OSError | None = None
        self._file: BinaryIO | None = None
        found = os.stat(path)
        try:
            if packed in PACKED[1:]:
                raise OSError("of what is packed, only .gz is")
            file = open(path, "rb", buffering=0)  # noqa: SIM115  # it stays open while it is followed
            found = os.fstat(file.fileno())
            self._raw = file
            self._file = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if packed else file
        except FileNotFoundError:
            raise
        except OSError as error:
            if packed is None:
                raise
            self._error = error  # told when somebody asks for its lines
        self.ident: Ident = (found.st_dev, found.st_ino)
        self.written = found.st_mtime

    def lines(self) -> Iterator[bytes]:
        if self._error is not None:
            raise self._error
        while self._file is not None and (data := self._file.read(BLOCK)):
            *whole, self._begun = (self._begun + data).split(b"\n")
            if len(self._begun) > LONGEST:
                self._begun = b""
            yield from (line.rstrip(b"\r") for line in whole)

    def begin_anew_if_cut(self) -> None:
        if self._file is not None and os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)
            self._begun = b""

    def close(self) -> None:
        """Close it; it has no lines any more."""
        if self._file is not None:
            self._raw.close()
        self._file = self._error = None
