"""`devstral-router logs`: lines of the log for people, from a file or standard input, also as they come.

A file is followed over rotations: what was written into the one before is read to its end, and those between are not
left out; one that was cut down is begun anew. A line is shown when it is whole. Exit codes: 0 done, 1 the file cannot
be read, 2 the command line itself is wrong.
"""

import argparse
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, BinaryIO

from router.config.values import parse_seconds
from router.logs_filter import LEVELS, Wanted, parse_since, parse_statuses
from router.observe.reading import for_people, plain

LOOK_EVERY = 0.2  # seconds between two looks at a file that is followed
STRAGGLING = 5.0  # seconds that processes may still write into a file that was moved away
LAST_LINES = 10  # shown first where a file is followed
LONGEST = 1 << 20  # bytes of one line: what has none is no log
BLOCK = 1 << 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("file", nargs="?", metavar="FILE", help="the log (default, and -: standard input)")
    parser.add_argument("-f", "--follow", action="store_true", help="show lines as they come, over rotations")
    parser.add_argument("-n", "--lines", type=_count, metavar="N", help="begin with the last N lines that match")
    parser.add_argument("--status", type=_read(parse_statuses), default=(), help="5xx, 404, 400-499; with commas")
    parser.add_argument("--outcome", help="ok, rejected, backend_error, broken ... (docs/operations.md)")
    parser.add_argument("--failed", action="store_true", help="requests that did not end well, and warnings")
    parser.add_argument("--model")
    parser.add_argument("--backend", help="by its name; of any attempt")
    parser.add_argument("--route", help="/v1/chat/completions ...")
    parser.add_argument("--client", help="its address")
    parser.add_argument("--tenant", help="as lines name it: key:e00e8e034587a4be31cfb51f, cert:CN=..., an address")
    parser.add_argument("--id", help="X-Request-ID, or the id of the trace or of the session")
    parser.add_argument("--since", type=_read(_since), metavar="TIME", help="10m, 2h (ago), 2026-01-31T12:00 (UTC)")
    parser.add_argument("--slower-than", type=_read(parse_seconds), metavar="TIME", help="2s, 500ms")
    parser.add_argument("--level", choices=LEVELS, help="application lines of this level and above, and no others")
    parser.add_argument("--json", action="store_true", help="lines as they are, not for people")


def run(arguments: argparse.Namespace) -> int:
    """Run the command, and return the exit code."""
    path = None if arguments.file in (None, "-") else arguments.file
    if path is None and sys.stdin.isatty():
        return _fail("name a file, or give lines by standard input: journalctl -o cat -u devstral-router | ... logs", 2)
    show = Show(wanted_by(arguments), as_json=arguments.json)
    last = arguments.lines if arguments.lines is not None else LAST_LINES if arguments.follow and path else None
    try:
        if path is None:
            show.all(whole_lines(sys.stdin.buffer), last=last)
            return 0
        tail = Tail(path)
        show.all(tail.lines(), last=last)
        while arguments.follow:
            time.sleep(LOOK_EVERY)
            tail.look(time.monotonic())
            show.all(tail.lines())
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        return _fail(f"{path or 'standard input'} cannot be read: {error.strerror or error}", 1)
    except KeyboardInterrupt:
        return 0
    return 0


def wanted_by(arguments: argparse.Namespace) -> Wanted:
    """Return what the flags ask for."""
    return Wanted(
        statuses=arguments.status,
        outcome=arguments.outcome,
        model=arguments.model,
        backend=arguments.backend,
        route=arguments.route,
        client=arguments.client,
        tenant=arguments.tenant,
        ident=arguments.id,
        slower_than=arguments.slower_than,
        since=arguments.since,
        level=arguments.level,
        failed=arguments.failed,
    )


def _read(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Let argparse say what is wrong in the words of `parse`."""

    def read(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


def _since(text: str) -> str:
    return parse_since(text, datetime.now(UTC))


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError("must be a number of lines")
    return int(text)


class Show:
    """Writes lines that are wanted to standard output."""

    def __init__(self, wanted: Wanted, *, as_json: bool) -> None:
        """`as_json`: as they came."""
        self._wanted = wanted
        self._as_json = as_json
        self._colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def all(self, lines: Iterator[bytes], *, last: int | None = None) -> None:
        """Show all that are wanted, or the last ones of them only."""
        texts = (text for line in lines if (text := self.text(line)) is not None)
        for text in texts if last is None else deque(texts, maxlen=last):
            encoding = sys.stdout.encoding or "utf-8"
            sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")
            if last is None:
                sys.stdout.flush()  # who watches a pipe wants to see it now
        sys.stdout.flush()

    def text(self, line: bytes) -> str | None:
        """Return what is to be shown of a line, None for nothing."""
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):  # of a log in text form, or of another program: shown where nothing is asked
            return plain(line.decode(errors="replace")) if self._wanted.is_everything and not self._as_json else None
        if not self._wanted.has(fields):
            return None
        return line.decode(errors="replace") if self._as_json else for_people(fields, colour=self._colour)


def whole_lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a stream as they come; one that is cut at the end is no line."""
    while line := stream.readline(LONGEST):
        if line.endswith(b"\n"):
            yield line.rstrip(b"\r\n")


class Tail:
    """Reads a file that grows, and those that take its place."""

    def __init__(self, path: str) -> None:
        """Raises OSError."""
        self.path = path
        self._files = [_Open(path)]
        self._until = 0.0  # monotonic seconds: when nobody writes into the earlier ones any more

    def lines(self) -> Iterator[bytes]:
        """Yield the whole lines that have come."""
        for each in self._files:
            yield from each.lines()

    def look(self, now: float) -> None:
        """See whether another file has taken its place, or it was cut down. `now`: monotonic seconds."""
        current = self._files[-1]
        if len(self._files) > 1 and now > self._until:
            for each in self._files[:-1]:
                each.file.close()
            self._files = [current]
        current.begin_anew_if_cut()
        try:
            found = os.stat(self.path)
            if (found.st_dev, found.st_ino) == current.ident:
                return
            self._files += [*self._between(current.ident), _Open(self.path)]
        except FileNotFoundError:  # moved away, and not there yet
            return
        self._until = now + STRAGGLING

    def _between(self, last: tuple[int, int]) -> "list[_Open]":
        """Return the files that were begun and moved away since the last look, the oldest first."""
        found: list[_Open] = []
        for number in range(1, 1001):
            try:
                one = _Open(f"{self.path}.{number}")
            except OSError:
                return []  # ours is not among them: who can tell which of these are new?
            if one.ident == last:
                one.file.close()
                return found[::-1]
            found.append(one)
        return []


class _Open:
    """One file, and the beginning of a line that is not whole yet."""

    def __init__(self, path: str) -> None:
        self.file = open(path, "rb", buffering=0)  # noqa: SIM115  # it stays open while it is followed
        found = os.fstat(self.file.fileno())
        self.ident = found.st_dev, found.st_ino
        self._begun = b""

    def lines(self) -> Iterator[bytes]:
        while data := self.file.read(BLOCK):
            *whole, self._begun = (self._begun + data).split(b"\n")
            if len(self._begun) > LONGEST:
                self._begun = b""
            yield from (line.rstrip(b"\r") for line in whole)

    def begin_anew_if_cut(self) -> None:
        if os.fstat(self.file.fileno()).st_size < self.file.tell():
            self.file.seek(0)
            self._begun = b""


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"devstral-router: {message}\n")
    return code
