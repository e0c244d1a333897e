"""A line of the log as people read it: what came of a request first, then the rest as name=value. Pure.

It is made from the fields of a JSON line, by the router itself (`logging.format: text`) and by `devstral-router logs`,
which reads whatever a file holds: nothing in a line can break out of its own, or speak to the terminal.
"""

import enum
import json
import re
from collections.abc import Mapping
from typing import Any

_HEAD = ("status", "method", "route")
# In this order; what is not named here follows them.
_PAIRS = (
    *("outcome", "error", "param", "path", "model", "duration", "first", "queued", "attempts", "hedged", "resumed"),
    *("resume_mode", "rules", "tokens_in", "tokens_out", "events", "bytes_in", "bytes_out", "id", "trace"),
    *("session", "client", "tenant"),
)
_SECONDS = frozenset({"duration", "first", "queued"})
_TOLD = frozenset({*_HEAD, *_PAIRS, "time", "logger", "worker", "level", "stream"})
_BARE = re.compile(r"[!#-<>-\[\]-~]+")  # printable ASCII without blank, quote, equals sign and backslash


class Mood(enum.Enum):
    """How something is coloured: the SGR sequence of a terminal."""

    GOOD = "\x1b[32m"
    SO_SO = "\x1b[33m"
    BAD = "\x1b[31m"
    ASIDE = "\x1b[2m"


RESET = "\x1b[0m"
_OURS_OR_THEIRS = frozenset({"rejected", "client_error", "client_gone"})  # no fault of ours or of a backend
_LEVELS = {"debug": Mood.ASIDE, "warning": Mood.SO_SO, "error": Mood.BAD, "critical": Mood.BAD}


def for_people(fields: Mapping[str, Any], *, colour: bool = False) -> str:
    """Return the line for people, without a line end; a traceback stands below it, indented."""
    return _of_record(fields, colour) if "message" in fields else _of_exchange(fields, colour)


def mood_of(outcome: object) -> Mood:
    """Return how an exchange's outcome is to be looked at."""
    return Mood.GOOD if outcome == "ok" else Mood.SO_SO if outcome in _OURS_OR_THEIRS else Mood.BAD


def _of_exchange(fields: Mapping[str, Any], colour: bool) -> str:
    get = fields.get
    status, method, route = get("status"), get("method"), get("route")
    head = f"{_value(status) if status else '-'} {_value(method)} {_value(route)}"
    if colour:
        head = f"{mood_of(get('outcome')).value}{head}{RESET}"
    parts = [_opening(fields, "INFO", colour), head]
    for name in _PAIRS:
        value = get(name)
        if value is None or value is False:
            continue
        if name in _SECONDS:
            parts.append(f"{name}={_seconds(value)}")
        elif name == "attempts":
            parts.append(f"attempts={_attempts(value)}")
        elif name != "events" or value or get("stream"):
            parts.append(f"{name}={_value(value)}")
    if len(fields) > len(_HEAD) + len(_PAIRS) or not _TOLD.issuperset(fields):
        parts += [f"{_value(name)}={_value(value)}" for name, value in fields.items() if name not in _TOLD]
    return " ".join(parts)


def _of_record(fields: Mapping[str, Any], colour: bool) -> str:
    level = str(fields.get("level", "info"))
    mark = _value(level.upper())
    mood = _LEVELS.get(level)
    line = f"{_opening(fields, mark, colour, mood)} {plain(str(fields['message']))}"
    below = str(fields.get("traceback") or "").splitlines()
    return "\n".join([line, *(f"    {plain(each)}" for each in below)])


def _opening(fields: Mapping[str, Any], level: str, colour: bool, mood: Mood | None = None) -> str:
    worker = fields.get("worker")
    who = f"{_value(fields.get('logger'))}{'' if worker is None else f'[{_value(worker)}]'}:"
    if not colour:
        return f"{_value(fields.get('time'))} {level} {who}"
    told = level if mood is None else f"{mood.value}{level}{RESET}"
    return f"{Mood.ASIDE.value}{_value(fields.get('time'))}{RESET} {told} {Mood.ASIDE.value}{who}{RESET}"


def plain(text: str) -> str:
    """Return a text with all that is not printable escaped: no line end, no word to the terminal."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def _seconds(value: object) -> str:
    return f"{value:.3f}s" if isinstance(value, float | int) else _value(value)


def _attempts(value: object) -> str:
    """Return each attempt as backend:outcome, with the status that it got, where it was not a good one."""
    if not isinstance(value, list):
        return _value(value)
    if not value:
        return "none"
    told = []
    for each in value:
        if not isinstance(each, dict):
            return _value(value)
        status = each.get("status")
        tail = f"({status})" if status is not None and status != 200 else ""
        told.append(f"{each.get('backend')}:{each.get('outcome')}{tail}")
    return _value(",".join(told))


def _value(value: object) -> str:
    """Return a value: bare where it is harmless, else as JSON in ASCII."""
    if value.__class__ is int:
        return str(value)
    text = value if isinstance(value, str) else str(value) if isinstance(value, int | float) else json.dumps(value)
    return text if _BARE.fullmatch(text) else json.dumps(text)
