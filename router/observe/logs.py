"""The log: one access line per exchange and the application's own lines, through one writer.

A line is made where it arises and handed to the writer's queue; nothing here waits for a disk. Values that a client
chose stand in JSON strings and are shortened; bodies, credentials and query strings never come here.
"""

import json
import logging
import os
import re
import time
from collections.abc import Callable
from typing import Any, Protocol

import orjson

from router.exchange import Attempt, Exchange
from router.observe.writer import LineWriter

MAX_VALUE = 256  # characters of one value that a client chose: longer than any honest model name
MAX_MESSAGE = 16 * 1024  # characters of one application message with its traceback
# What JSON may hold as it is, and a terminal or a reader of lines takes for more than text: further controls, line
# separators, and marks that turn the direction of writing.
_UNSEEN = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


class LoggingSettings(Protocol):
    """What `setup` reads of the configuration."""

    @property
    def level(self) -> str: ...  # a key of LEVELS
    @property
    def format(self) -> str: ...  # "json" or "text"
    @property
    def file(self) -> str | os.PathLike[str] | None: ...  # None: standard error
    @property
    def max_size(self) -> int | None: ...  # bytes; None or 0: no rotation
    @property
    def backups(self) -> int: ...
    @property
    def access(self) -> bool: ...


class Clock:
    """Wall-clock texts in UTC with milliseconds; the part down to the second is made once per second."""

    __slots__ = ("_prefix", "_second")

    def __init__(self) -> None:
        """Start with no second at hand."""
        self._second = -1
        self._prefix = ""

    def text(self, now: float) -> str:
        """Return `now` (seconds since 1970) as 2026-01-31T23:59:59.123Z."""
        second = int(now)
        if second != self._second:
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        return f"{self._prefix}.{int((now - second) * 1000):03d}Z"


class AccessLog:
    """One line per closed exchange."""

    def __init__(self, writer: LineWriter | None, *, text: bool = False, worker: int | None = None) -> None:
        """`writer` None: switched off; `text`: lines for people instead of JSON; `worker`: who writes, of several."""
        self._clock = Clock()
        self._worker = worker
        self.point(writer, text=text)

    def point(self, writer: LineWriter | None, *, text: bool) -> None:
        """Write there, and so, from now on; exchanges under way too."""
        self._writer = writer
        self._line = text_line if text else json_line

    def write(self, exchange: Exchange) -> None:
        """Queue the line of an exchange that has just been closed."""
        if self._writer is not None:
            self._writer.put(self._line(exchange, self._clock.text(time.time()), self._worker))


def json_line(exchange: Exchange, when: str, worker: int | None = None) -> bytes:
    """Return the access line as one JSON object; durations in seconds, `first` is the time to the first token."""
    return _encode(access_fields(exchange, when, worker))


def text_line(exchange: Exchange, when: str, worker: int | None = None) -> bytes:
    """Return the access line for people: the same fields as name=value."""
    fields = access_fields(exchange, when)
    attempts = fields.pop("attempts")
    tries = ",".join(f"{attempt['backend']}:{attempt['outcome']}" for attempt in attempts)
    head = f"{fields.pop('time')} INFO {fields.pop('logger')}{_mark(worker)}:"
    pairs = " ".join(f"{name}={_quoted(value)}" for name, value in fields.items() if value is not None)
    return f"{head} {pairs} attempts={_quoted(tries)}\n".encode()


def _mark(worker: int | None) -> str:
    """Return what stands behind the logger in a text line: [1] for worker 1."""
    return "" if worker is None else f"[{worker}]"


def access_fields(exchange: Exchange, when: str, worker: int | None = None) -> dict[str, Any]:
    """Return everything that an access line tells, in its order."""
    opened, began, closed, outcome = exchange.opened, exchange.began, exchange.closed, exchange.outcome
    model = exchange.model
    return {
        "time": when,
        "logger": "router.access",
        **({} if worker is None else {"worker": worker}),
        "id": exchange.id[:MAX_VALUE],
        "client": exchange.client,
        "method": exchange.method[:MAX_VALUE],
        "route": exchange.route,
        **({"path": exchange.path} if exchange.path else {}),
        "model": model[:MAX_VALUE] if model is not None else None,
        "stream": exchange.stream,
        "status": exchange.status,
        "outcome": outcome._value_ if outcome is not None else None,
        "error": exchange.error,
        **({"param": exchange.param[:MAX_VALUE]} if exchange.param else {}),
        "duration": _micro(closed - opened) if closed is not None else None,
        "first": _micro(began - opened) if began is not None else None,
        "bytes_in": exchange.bytes_in,
        "bytes_out": exchange.bytes_out,
        "events": exchange.events,
        **({"rules": ",".join(sorted(exchange.rules, key=_rule_order))} if exchange.rules else {}),
        **(_rare_fields(exchange) if exchange.resumed or exchange.hedged or exchange.queued else {}),
        "attempts": [_attempt_fields(attempt) for attempt in exchange.attempts],
    }


def _rare_fields(exchange: Exchange) -> dict[str, Any]:
    """Return what is seldom told: of waits, of second attempts beside the first, and of streams that were taken up."""
    return {
        **({"queued": _micro(exchange.queued)} if exchange.queued else {}),
        **({"hedged": True} if exchange.hedged else {}),
        **({"resumed": exchange.resumed, "resume_mode": exchange.resume_mode} if exchange.resumed else {}),
    }


def _rule_order(rule: str) -> tuple[str, int]:
    """R2 comes before R10."""
    return rule[0], int(rule[1:])


def _micro(seconds: float) -> float:
    """Return seconds to the nearest microsecond; half the cost of round()."""
    return int(seconds * 1e6 + 0.5) / 1e6


def _attempt_fields(attempt: Attempt) -> dict[str, Any]:
    outcome, ended = attempt.outcome, attempt.ended
    return {
        "backend": attempt.backend,
        "outcome": outcome._value_ if outcome is not None else None,
        "status": attempt.status,
        "duration": _micro(ended - attempt.started) if ended is not None else None,
    }


def _encode(fields: dict[str, Any]) -> bytes:
    try:
        line = orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a lone surrogate in a client's string: orjson refuses it, ASCII escapes can carry it
        return json.dumps(fields, separators=(",", ":"), default=str).encode() + b"\n"
    if line.isascii() and b"\x7f" not in line:
        return line
    return _UNSEEN.sub(lambda sign: f"\\u{ord(sign[0]):04x}", line.decode()).encode()


def _quoted(value: object) -> str:
    """Return a value for a text line: bare where it is harmless, else as a JSON string in ASCII."""
    text = str(value)
    if text.isascii() and text.isprintable() and text and not any(mark in text for mark in ' "=\\'):
        return text
    return json.dumps(text)


class LineHandler(logging.Handler):
    """Records of the standard logging module, as lines of the same log."""

    def __init__(self, writer: LineWriter, *, text: bool = False, worker: int | None = None) -> None:
        """`text`: lines for people instead of JSON; `worker`: who writes, of several."""
        super().__init__()
        self._clock = Clock()
        self._worker = worker
        self.point(writer, text=text)

    def point(self, writer: LineWriter, *, text: bool) -> None:
        """Write there, and so, from now on."""
        self._writer = writer
        self._format = text_record if text else json_record

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record's line."""
        try:
            self._writer.put(self._format(record, self._clock.text(record.created), self._worker))
        except Exception:
            self.handleError(record)  # the standard module's own way: standard error, never the caller


def json_record(record: logging.LogRecord, when: str, worker: int | None = None) -> bytes:
    """Return an application line as one JSON object."""
    return _encode(
        {
            "time": when,
            "logger": record.name,
            **({} if worker is None else {"worker": worker}),
            "level": record.levelname.lower(),
            "message": record.getMessage()[:MAX_MESSAGE],
            **({"traceback": _traceback(record)} if record.exc_info else {}),
        }
    )


def text_record(record: logging.LogRecord, when: str, worker: int | None = None) -> bytes:
    """Return an application line for people; line ends within the message are escaped, a traceback is indented."""
    message = record.getMessage()[:MAX_MESSAGE]
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
    lines = [f"{when} {record.levelname} {record.name}{_mark(worker)}: {safe}"]
    if record.exc_info:
        lines += [f"    {line}" for line in _traceback(record).splitlines()]
    return ("\n".join(lines) + "\n").encode(errors="backslashreplace")


def _traceback(record: logging.LogRecord) -> str:
    return logging.Formatter().formatException(record.exc_info)[-MAX_MESSAGE:] if record.exc_info else ""


class Logs:
    """The log of one process: its writer, the access log, and the handler of the standard logging module."""

    def __init__(
        self,
        settings: LoggingSettings,
        writer: LineWriter,
        *,
        access: AccessLog,
        handler: LineHandler,
        detach: Callable[[], None],
    ) -> None:
        """`detach` takes the handler off the root logger again."""
        self.access = access
        self._place = _place(settings)
        self._writer = writer
        self._handler = handler
        self._detach = detach
        self._dropped_before = 0  # by writers that are closed

    @property
    def dropped(self) -> int:
        """How many lines were never written."""
        return self._dropped_before + self._writer.dropped

    def change(self, settings: LoggingSettings) -> None:
        """Go by other settings from now on. Raises OSError where the file cannot be opened; nothing is changed then."""
        place, writer = _place(settings), self._writer
        if place != self._place:
            writer = _open(settings)
        text = settings.format == "text"
        self._handler.point(writer, text=text)
        self.access.point(writer if settings.access else None, text=text)
        _set_levels(settings)
        if writer is not self._writer:
            self._dropped_before += self._writer.dropped
            self._writer.close(timeout=0.0)  # its thread writes what is queued, and nobody waits for it
            self._writer, self._place = writer, place

    def reopen(self) -> None:
        """Open the file anew, after an external rotation."""
        self._writer.reopen()

    def close(self) -> None:
        """Write what is queued, and hand the standard logging module back."""
        self._detach()
        self._writer.close()


def setup(settings: LoggingSettings, *, worker: int | None = None) -> Logs:
    """Start the log as configured. Raises OSError when its file cannot be opened.

    `worker`: the number of this process among several that serve, which its lines carry; None: it is the only one.
    Our own loggers follow `level`; those of libraries speak from warnings up, or with it where it is higher.
    """
    writer = _open(settings)
    text = settings.format == "text"
    handler = LineHandler(writer, text=text, worker=worker)
    root, ours = logging.getLogger(), logging.getLogger("router")
    before = root.level, ours.level
    root.addHandler(handler)
    _set_levels(settings)

    def detach() -> None:
        root.removeHandler(handler)
        root.setLevel(before[0])
        ours.setLevel(before[1])

    access = AccessLog(writer if settings.access else None, text=text, worker=worker)
    return Logs(settings, writer, access=access, handler=handler, detach=detach)


def _set_levels(settings: LoggingSettings) -> None:
    level = LEVELS[settings.level.lower()]
    logging.getLogger().setLevel(max(level, logging.WARNING))
    logging.getLogger("router").setLevel(level)


def _place(settings: LoggingSettings) -> tuple[str | None, int | None, int]:
    """Return what a writer is made from; a change of it needs another one."""
    path = os.fspath(settings.file) if settings.file is not None else None
    return path, settings.max_size, settings.backups


def _open(settings: LoggingSettings) -> LineWriter:
    path, max_size, backups = _place(settings)
    return LineWriter(path, max_size=max_size, backups=backups)
