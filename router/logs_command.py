"""`devstral-router logs`: lines of the log for people, from its files or standard input, also as they come.

What was rotated away is read before the file itself, and rotations are followed. Lines in text form are asked like
JSON, and shown as they are, with the traceback that stands below. What cannot be asked is counted, and told of at the
end. Exit codes: 0 done, 1 a file cannot be read, 2 the command line itself is wrong.
"""

import argparse
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from router.config.values import parse_seconds
from router.logs_files import LONGEST, Tail, whole_lines
from router.logs_filter import LEVELS, Wanted, parse_outcome, parse_since, parse_statuses
from router.observe.reading import BELOW, for_people, from_people, plain

LOOK_EVERY = 0.2  # seconds between two looks at a file that is followed
LAST_LINES = 10  # shown first where a file is followed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    told = "the log, with what was rotated away of it: FILE.1, FILE.2.gz ... (default, and -: standard input)"
    parser.add_argument("file", nargs="?", metavar="FILE", help=told)
    parser.add_argument("-f", "--follow", action="store_true", help="show lines as they come, over rotations")
    parser.add_argument("-n", "--lines", type=_count, metavar="N", help="begin with the last N lines that match")
    parser.add_argument("--status", type=_read(parse_statuses), default=(), help="5xx, 404, 400-499; with commas")
    told = "ok, rejected, broken ...; of an attempt: cut, stalled, refused ... (docs/operations.md)"
    parser.add_argument("--outcome", type=_read(parse_outcome), help=told)
    parser.add_argument("--failed", action="store_true", help="requests that did not end well, and warnings")
    parser.add_argument("--retried", action="store_true", help="requests of more than one attempt: streams resumed too")
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
    code = 0
    try:
        if path is not None:
            code = _of_files(path, arguments, show)
        elif arguments.lines is None:
            show.all(whole_lines(sys.stdin.buffer))
        else:
            show.last([whole_lines(sys.stdin.buffer)], arguments.lines)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        code = _fail(f"{path or 'standard input'} cannot be read: {error.strerror or error}", 1)
    except KeyboardInterrupt:
        code = 0
    if show.left_out:
        _tell_left_out(show.left_out, "no JSON" if arguments.json else "neither JSON nor the router's own text")
    return code


def _of_files(path: str, arguments: argparse.Namespace, show: "Show") -> int:
    """Show what the files of a log hold, and go on with what comes if that is asked for. Raises OSError."""
    since = None if arguments.since is None else datetime.fromisoformat(arguments.since).timestamp()
    last = arguments.lines if arguments.lines is not None else LAST_LINES if arguments.follow else None
    tail = Tail(path, since=since)
    if last is None:
        show.all(tail.lines())
    else:
        show.last(tail.newest_first(), last)
    for message in tail.left_out:
        _fail(message, 1)
    while arguments.follow:
        time.sleep(LOOK_EVERY)
        tail.look(time.monotonic())
        show.all(tail.lines())
    return 1 if tail.left_out else 0


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
        retried=arguments.retried,
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
        self.left_out = 0  # lines that could not be asked
        self._wanted = wanted
        self._as_json = as_json
        self._colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._above: bool | None = None  # whether the last line of the text form is wanted, which may go on below
        self._goes_on = False  # whether the line that was read last did

    def all(self, lines: Iterable[bytes]) -> None:
        """Show all that are wanted, each as it comes."""
        for line in lines:
            if (text := self.text(line)) is not None:
                self._write(text)
                sys.stdout.flush()  # who watches a pipe wants to see it now

    def last(self, parts: Iterable[Iterable[bytes]], most: int) -> None:
        """Show the last ones that are wanted; `parts`: of the log, the newest first, of which no more than needed."""
        kept: deque[str] = deque()
        newest = None
        for at, lines in enumerate(parts):
            self._above = None
            kept.extendleft(reversed(self._last(lines, most - len(kept))))
            newest = self._above if at == 0 else newest
            if len(kept) >= most:
                break
        self._above = newest  # what comes next stands below it
        for text in kept:
            self._write(text)
        sys.stdout.flush()

    def _last(self, lines: Iterable[bytes], most: int) -> deque[str]:
        kept: deque[str] = deque(maxlen=most)
        for line in lines:
            if (text := self.text(line)) is None:
                continue
            if self._goes_on and kept and len(kept[-1]) < LONGEST:
                kept[-1] += f"\n{text}"
            else:
                kept.append(text)
        return kept

    def _write(self, text: str) -> None:
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")

    def text(self, line: bytes) -> str | None:
        """Return what is to be shown of a line, None for nothing."""
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            return self._no_json(line.decode(errors="replace"))
        self._above, self._goes_on = None, False
        if not self._wanted.has(fields):
            return None
        return line.decode(errors="replace") if self._as_json else for_people(fields, colour=self._colour)

    def _no_json(self, line: str) -> str | None:
        """Return the same of a line in text form, or of another program: that is shown where nothing is asked."""
        if self._as_json:
            self.left_out += 1
            return None
        self._goes_on = self._above is not None and line.startswith(BELOW)
        if self._goes_on:
            return plain(line) if self._above else None
        fields = from_people(line)
        is_wanted = self._wanted.is_everything if fields is None else self._wanted.has(fields)
        self._above = is_wanted if fields is not None and "message" in fields else None
        self.left_out += fields is None and not is_wanted
        return plain(line) if is_wanted else None


def _tell_left_out(count: int, what: str) -> None:
    lines = "1 line is" if count == 1 else f"{count} lines are"
    _fail(f"{lines} {what}, and {'was' if count == 1 else 'were'} left out", 0)


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"devstral-router: {message}\n")
    return code
