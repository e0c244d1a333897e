"""What the lines of the log tell: one of an exchange that was closed, one of a record of the logging module. Pure.

Values that a client chose stand in JSON strings and are shortened; bodies, credentials and query strings never come
here.
"""

import json
import logging
import re
import time
from collections.abc import Sequence
from typing import Any

import orjson

from router.exchange import Attempt, Exchange, Outcome
from router.observe.reading import ACCESS, for_people

MAX_VALUE = 256  # characters of one value that a client chose: longer than any honest model name
MAX_MESSAGE = 16 * 1024  # characters of one application message with its traceback
# What JSON may hold as it is, and a terminal or a reader of lines takes for more than text: further controls, line
# separators, and marks that turn the direction of writing.
_UNSEEN = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


# Added to a float below 2**51 and taken away again, it leaves what round() does: no call, and each line rounds thrice.
TO_WHOLE = 1.5 * 2**52

_MILLIS = tuple(f".{milli:03d}Z" for milli in range(1000))  # a number with zeros before it is dear to write


class Clock:
    """Wall-clock texts in UTC with milliseconds; the part down to the second is made once per second, if that."""

    __slots__ = ("_prefix", "_second", "_since", "_text", "_until")

    def __init__(self) -> None:
        """Start with no second at hand."""
        self._second = -1
        self._since = self._until = 0.0  # what the last text holds for
        self._prefix = self._text = ""

    def text(self, now: float) -> str:
        """Return `now` (seconds since 1970) as 2026-01-31T23:59:59.123Z."""
        if self._since <= now < self._until:
            return self._text
        second = int(now)
        milli = int((now - second) * 1000)
        self._since, self._until = now, second + (milli + 1) / 1000
        self._text = self._prefix_of(second) + _MILLIS[milli]
        return self._text

    def texts(self, times: Sequence[float]) -> tuple[str, list[str]]:
        """Return what some times, at least one, have in common, and the rest of each: together it is what `text` tells.

        Nearly always all are of one second.
        """
        second = int(min(times))
        if max(times) >= second + 1:
            return "", [self.text(now) for now in times]
        begun = float(second)  # once: from so large an integer that takes longer than all the rest
        return self._prefix_of(second), [_MILLIS[int((now - begun) * 1000)] for now in times]

    def _prefix_of(self, second: int) -> str:
        if second != self._second:
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        return self._prefix


def json_line(exchange: Exchange, when: str, worker: int | None = None, sample: float | None = None) -> bytes:
    """Return the access line as one JSON object. `sample`: the share of such exchanges that have one; None: all."""
    return encode(access_fields(exchange, when, worker, sample))


def went_well(exchange: Exchange) -> bool:
    """Return whether there is nothing to tell of it: no error, no second attempt, no stream that broke."""
    return exchange.outcome is Outcome.OK and len(exchange.attempts) <= 1 and not exchange.resumed


def text_line(exchange: Exchange, when: str, worker: int | None = None, sample: float | None = None) -> bytes:
    """Return the access line for people."""
    return f"{for_people(access_fields(exchange, when, worker, sample))}\n".encode(errors="backslashreplace")


def access_fields(
    exchange: Exchange, when: str, worker: int | None = None, sample: float | None = None
) -> dict[str, Any]:
    """Return everything that an access line tells, in its order; durations in seconds."""
    fields: dict[str, Any] = {"time": when, "logger": ACCESS}
    if worker is not None:
        fields["worker"] = worker
    fields["id"] = exchange.id[:MAX_VALUE]
    if exchange.trace_id is not None:
        fields["trace"] = exchange.trace_id
    fields["client"] = exchange.client
    fields["tenant"] = exchange.tenant[:MAX_VALUE]
    if exchange.client_cert:
        fields["client_cert"] = exchange.client_cert[:MAX_VALUE]
    fields["method"], fields["route"] = exchange.method[:MAX_VALUE], exchange.route
    if exchange.path:
        fields["path"] = exchange.path
    model, outcome = exchange.model, exchange.outcome
    fields["model"] = None if model is None else model[:MAX_VALUE]
    fields["stream"], fields["status"] = exchange.stream, exchange.status
    fields["outcome"] = None if outcome is None else outcome._value_
    fields["error"] = exchange.error
    if exchange.param:
        fields["param"] = exchange.param[:MAX_VALUE]
    opened, began, closed = exchange.opened, exchange.began, exchange.closed
    fields["duration"] = None if closed is None else micro(closed - opened)
    fields["first"] = None if began is None else micro(began - opened)
    fields["bytes_in"], fields["bytes_out"] = exchange.bytes_in, exchange.bytes_out
    fields["events"] = exchange.events
    if isinstance(exchange.tokens, tuple):
        fields["tokens_in"], fields["tokens_out"] = exchange.tokens
    if exchange.rules:
        fields["rules"] = ",".join(sorted(exchange.rules, key=_rule_order))
    if exchange.resumed or exchange.hedged or exchange.queued or exchange.session is not None:
        fields.update(_rare_fields(exchange))
    fields["attempts"] = [_attempt_fields(attempt) for attempt in exchange.attempts]
    if exchange.headers:
        fields["headers"] = exchange.headers
    if sample is not None:
        fields["sample"] = sample
    return fields


def _rare_fields(exchange: Exchange) -> dict[str, Any]:
    """Return what is seldom told: of sessions, waits, second attempts beside the first, streams that were taken up."""
    return {
        **({"session": exchange.session} if exchange.session is not None else {}),
        **({"queued": micro(exchange.queued)} if exchange.queued else {}),
        **({"hedged": True} if exchange.hedged else {}),
        **({"resumed": exchange.resumed, "resume_mode": exchange.resume_mode} if exchange.resumed else {}),
    }


def _rule_order(rule: str) -> tuple[str, int]:
    """R2 comes before R10."""
    return rule[0], int(rule[1:])


def micro(seconds: float) -> float:
    """Return seconds to the nearest microsecond."""
    return (seconds * 1e6 + TO_WHOLE - TO_WHOLE) / 1e6


def _attempt_fields(attempt: Attempt) -> dict[str, Any]:
    outcome, ended = attempt.outcome, attempt.ended
    return {
        "backend": attempt.backend,
        "outcome": None if outcome is None else outcome._value_,
        "status": attempt.status,
        "duration": None if ended is None else micro(ended - attempt.started),
    }


def encode(fields: dict[str, Any]) -> bytes:
    """Return fields as a line of JSON."""
    try:
        line = orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a lone surrogate in a client's string: orjson refuses it, ASCII escapes can carry it
        return json.dumps(fields, separators=(",", ":"), default=str).encode() + b"\n"
    if line.isascii() and b"\x7f" not in line:
        return line
    return _UNSEEN.sub(lambda sign: f"\\u{ord(sign[0]):04x}", line.decode()).encode()


def json_record(record: logging.LogRecord, when: str, worker: int | None = None) -> bytes:
    """Return an application line as one JSON object."""
    return encode(record_fields(record, when, worker))


def text_record(record: logging.LogRecord, when: str, worker: int | None = None) -> bytes:
    """Return an application line for people; line ends within the message are escaped, a traceback is indented."""
    return f"{for_people(record_fields(record, when, worker))}\n".encode(errors="backslashreplace")


def record_fields(record: logging.LogRecord, when: str, worker: int | None = None) -> dict[str, Any]:
    """Return everything that an application line tells, in its order."""
    return {
        "time": when,
        "logger": record.name,
        **({} if worker is None else {"worker": worker}),
        "level": record.levelname.lower(),
        "message": record.getMessage()[:MAX_MESSAGE],
        **({"traceback": _traceback(record)} if record.exc_info else {}),
    }


def _traceback(record: logging.LogRecord) -> str:
    return logging.Formatter().formatException(record.exc_info)[-MAX_MESSAGE:] if record.exc_info else ""
