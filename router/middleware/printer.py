"""`printer`: requests and answers on the console, for people. Written by a thread; nothing of a client can speak to the
terminal, and a console that is gone or stuck holds nobody up."""

import os
import select
import sys
import time
from collections.abc import Mapping
from typing import Protocol

from router.middleware.background import Background
from router.middleware.interface import Call, Ending, Middleware, Request
from router.observe.lines import Clock
from router.observe.reading import RESET, Mood, mood_of, plain

BODY = "body"  # what the state of a call keeps the answer's pieces under
ROOM = "room"
PATIENCE = 1.0  # seconds between two looks at whether a console takes more


class Settings(Protocol):
    """What is configured of it."""

    @property
    def log_requests(self) -> bool: ...
    @property
    def log_responses(self) -> bool: ...
    @property
    def log_body(self) -> bool: ...
    @property
    def max_body_size(self) -> int: ...  # bytes of a body that are shown


class Printer(Middleware):
    """Tells of each request when it comes, and of its answer when it is over."""

    def __init__(
        self, settings: Settings, *, out: int | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        """`out`: a file descriptor, None for standard output. `environ`: None for that of the process."""
        self._settings = settings
        self._out = _standard_output() if out is None else out
        self._colour = has_colour(self._out, os.environ if environ is None else environ)
        self._clock = Clock()
        self.background: Background[bytes] = Background("printer", self._write, merge=b"".join)

    def on_request(self, call: Call, request: Request) -> None:
        """Print the request."""
        settings = self._settings
        if settings.log_body and settings.log_responses:
            call.state[BODY], call.state[ROOM] = [], settings.max_body_size
        if not settings.log_requests:
            return
        path, size, most = _short(request.path), len(request.body), settings.max_body_size
        body = _shown([request.body[:most]], most, size) if settings.log_body else ""
        self._put(call.began, "->", f"{_short(request.method)} {path}", None, f"{size} bytes id={call.id}", body)

    def on_event(self, call: Call, data: bytes) -> None:
        """Keep what is to be shown of the answer."""
        pieces = call.state.get(BODY)
        if pieces is not None:
            room = call.state[ROOM]
            if room > 0:
                pieces.append(data[:room])
            call.state[ROOM] = room - len(data)

    def on_end(self, call: Call, ending: Ending) -> None:
        """Print the answer."""
        settings = self._settings
        if not settings.log_responses:
            return
        facts = [f"{ending.seconds:.3f}s"]
        if ending.first is not None:
            facts.append(f"first={ending.first:.3f}s")
        if call.model is not None:
            facts.append(f"model={_short(call.model)}")
        if ending.tokens is not None:
            facts.append(f"tokens={ending.tokens[0]}+{ending.tokens[1]}")
        facts += [f"error={_short(ending.error)}"] if ending.error else []
        facts += [f"via={_short(backend)}:{outcome}" for backend, outcome in ending.attempts]
        pieces = call.state.get(BODY)
        size = settings.max_body_size - call.state.get(ROOM, settings.max_body_size)
        body = _shown(pieces, settings.max_body_size, size) if pieces else ""
        head = f"{ending.status or '-'} {ending.outcome} {call.route}"
        self._put(time.time(), "<-", head, mood_of(ending.outcome), f"{' '.join(facts)} id={call.id}", body)

    def close(self) -> None:
        """Let the thread write what it has, and end."""
        self.background.end()

    def _put(self, when: float, arrow: str, head: str, mood: Mood | None, rest: str, body: str) -> None:
        time_text = self._clock.text(when)
        if self._colour:
            time_text = f"{Mood.ASIDE.value}{time_text}{RESET}"
            head = head if mood is None else f"{mood.value}{head}{RESET}"
        text = f"{time_text} {arrow} {head} {rest}\n{body}".encode("utf-8", "backslashreplace")
        self.background.put(text, len(text))

    def _write(self, text: bytes) -> None:
        """Write it whole. Raises OSError where nobody reads any more."""
        view = memoryview(text)
        while view:
            try:
                view = view[os.write(self._out, view) :]
            except BlockingIOError:  # a terminal or pipe that somebody made non-blocking
                select.select([], [self._out], [], PATIENCE)


def has_colour(out: int, environ: Mapping[str, str]) -> bool:
    """Return whether to colour what is written there: on a terminal, unless NO_COLOR is set (no-color.org)."""
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb" and os.isatty(out)


def _standard_output() -> int:
    return sys.__stdout__.fileno() if sys.__stdout__ is not None else 1


def _short(text: str) -> str:
    return plain(text[:200])


def _shown(pieces: list[bytes], most: int, size: int) -> str:
    """Return a body's beginning, indented, line by line; `size`: of all of it."""
    text = b"".join(pieces)[:most].decode("utf-8", "backslashreplace")
    lines = [f"    {plain(line)}\n" for line in text.splitlines() if line]
    return "".join(lines) + (f"    ... {size - most} bytes more\n" if size > most else "")
