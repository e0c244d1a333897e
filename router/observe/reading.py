"""A line of the log as people read it: what came of a request first, then the rest as name=value. Pure.

It is made from the fields of a JSON line, by the router itself (`logging.format: text`) and by `devstral-router logs`,
which reads whatever a file holds: nothing in a line can break out of its own, or speak to the terminal. So it can be
read back, too.
"""

import enum
import json
import re
from collections.abc import Mapping
from typing import Any

from router.exchange import AttemptOutcome

ACCESS = "router.access"  # the logger that lines of exchanges name
BELOW = "    "  # before each line of a traceback
_HEAD = ("status", "method", "route")
# In this order; what is not named here follows them.
_PAIRS = (
    *("outcome", "error", "param", "path", "model", "duration", "first", "queued", "attempts", "hedged", "resumed"),
    *("resume_mode", "rules", "tokens_in", "tokens_out", "events", "bytes_in", "bytes_out", "id", "trace"),
    *("session", "client", "tenant"),
)
_SECONDS = frozenset({"duration", "first", "queued"})
_TOLD = frozenset({*_HEAD, *_PAIRS, "time", "logger", "worker", "level", "stream"})
_NUMBERS = frozenset({"events", "bytes_in", "bytes_out", "tokens_in", "tokens_out", "resumed", "sample"})
_BARE = re.compile(r"[!#-<>-\[\]-~]+")  # printable ASCII without blank, quote, equals sign and backslash

# The same, read back.
_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_WORD = f"(?:{_BARE.pattern}|{_QUOTED})"
_LOGGER = f"(?:{_BARE.pattern}?|{_QUOTED})"  # no more of it than has to be: the worker's number stands behind
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
_OPENED = re.compile(rf"({_TIME}) ({_WORD}) ({_LOGGER})(?:\[(\d{{1,9}})\])?: ", re.ASCII)
_TOLD_HEAD = re.compile(rf"(-|\d{{1,9}}) ({_WORD}) ({_WORD})(?= |$)", re.ASCII)
_TOLD_PAIR = re.compile(rf" ({_WORD})=({_WORD})(?= |$)")
_ATTEMPT = re.compile(rf"(.+?):({'|'.join(each.value for each in AttemptOutcome)}|None)(?:\((\d{{1,9}})\))?(?:,|$)")


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
    return "\n".join([line, *(f"{BELOW}{plain(each)}" for each in below)])


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


def from_people(line: str) -> dict[str, Any] | None:
    """Return what a line tells that `for_people` has made, without colours and traceback; None of any other line.

    Seconds come back as they were rounded, of attempts all but their times; a message as it stands, with its escapes.
    What `for_people` has no form of its own for (a field of another version, say) comes back as text.
    """
    opened = _OPENED.match(line)
    if opened is None or opened[2] != opened[2].upper():
        return None
    try:
        fields: dict[str, Any] = {"time": opened[1], "logger": _told(opened[3])}
        if opened[4] is not None:
            fields["worker"] = int(opened[4])
        if fields["logger"] != ACCESS:
            return {**fields, "level": _told(opened[2]).lower(), "message": line[opened.end() :]}
        return _told_exchange(fields, line[opened.end() :])
    except (ValueError, RecursionError):  # something in quotes is no JSON
        return None


def _told_exchange(fields: dict[str, Any], rest: str) -> dict[str, Any] | None:
    head = _TOLD_HEAD.match(rest)
    if head is None:
        return None
    fields["status"] = 0 if head[1] == "-" else int(head[1])
    fields["method"], fields["route"] = _told(head[2]), _told(head[3])
    at = head.end()
    while at < len(rest):
        pair = _TOLD_PAIR.match(rest, at)
        if pair is None:
            return None
        name = _told(pair[1])
        fields[name] = _told_value(name, _told(pair[2]))
        at = pair.end()
    if fields.get("events") == 0:  # of no other exchange are they told
        fields["stream"] = True
    return fields


def _told(word: str) -> str:
    """Return the text that a word stands for. Raises ValueError."""
    return str(json.loads(word)) if word.startswith('"') else word


def _told_value(name: str, text: str) -> Any:
    """Return the value that a text was made of. Raises ValueError."""
    if name == "attempts":
        return _told_attempts(text)
    if name == "headers":
        return json.loads(text)
    if name in _SECONDS:
        return float(text.removesuffix("s"))
    if name in _NUMBERS:
        return int(text) if text.isdigit() else float(text)
    return text == "True" if name == "hedged" else text


def _told_attempts(text: str) -> list[dict[str, Any]]:
    """Return the attempts. Raises ValueError."""
    found = [] if text == "none" else list(_ATTEMPT.finditer(text))
    if sum(len(each[0]) for each in found) != len(text) and text != "none":
        raise ValueError("these are no attempts")
    return [{"backend": each[1], "outcome": each[2], **({"status": int(each[3])} if each[3] else {})} for each in found]
