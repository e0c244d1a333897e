"""The table of backends that a terminal shows: states in words, columns that fit. Pure.

Where the terminal is narrow, columns give way in the order of DISPENSABLE; a model's name is shortened last.
"""

import enum
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

DISPENSABLE = ("URL", "DIALECT", "VLLM", "WEIGHT", "MODELS", "IN FLIGHT")
GAP = 2  # blanks between two columns
LEAST_MODELS = 12  # characters of models that are worth a column
LEAST = 8  # ... and of a name and a state, which always stay
RESET = "\x1b[0m"


class Mood(enum.Enum):
    """How a state is coloured: the SGR sequence of a terminal."""

    GOOD = "\x1b[32m"
    SO_SO = "\x1b[33m"
    BAD = "\x1b[31m"


@dataclass(frozen=True, slots=True)
class Row:
    """One backend, as texts by column."""

    cells: Mapping[str, str]
    mood: Mood


def table(
    backends: Sequence[Mapping[str, object]], *, width: int | None, colour: bool, predecessor: object = None
) -> list[str]:
    """Return the lines of the table.

    `backends`: as the router lists them; `width`: in characters, None: no limit; `predecessor`: id of the process that
    handed over and still has requests, which nothing here counts, None for none.
    """
    below = _of_predecessor(predecessor, width)
    if not backends:
        return ["There are no backends.", *below]
    rows = [row(backend, has_predecessor=bool(below)) for backend in backends]
    columns = list(rows[0].cells)
    spaces = {name: max(len(name), *(len(each.cells[name]) for each in rows)) for name in columns}
    for name in DISPENSABLE:
        over = _width(spaces, columns) - (width or 0)
        if width is None or over <= 0:
            break
        if name == "MODELS" and spaces[name] - over >= LEAST_MODELS:
            spaces[name] -= over
        else:
            columns.remove(name)
    for name in ("STATE", "NAME"):
        over = _width(spaces, columns) - (width or 0)
        if width is not None and over > 0:
            spaces[name] = max(LEAST, spaces[name] - over)
    lines = [_line({name: name for name in columns}, columns, spaces)]
    for each in rows:
        lines.append(_line(each.cells, columns, spaces, mood=each.mood if colour else None))
    return [*(line.rstrip() for line in lines), *below]


def _of_predecessor(predecessor: object, width: int | None) -> list[str]:
    if not isinstance(predecessor, int):
        return []
    text = f"an earlier process (pid {predecessor}) still finishes its requests; they are not counted here"
    return [text] if width is None else textwrap.wrap(text, max(width, LEAST))


def row(backend: Mapping[str, object], *, has_predecessor: bool = False) -> Row:
    """Return the texts of one backend."""
    state, mood = state_of(backend, has_predecessor=has_predecessor)
    most = backend.get("max_connections")
    running, waiting = backend.get("running"), backend.get("waiting")
    is_known = running is not None and backend.get("health") != "down"  # what it told before it went is no more so
    cells = {
        "NAME": clean(backend.get("name")),
        "STATE": state,
        "IN FLIGHT": f"{backend.get('in_flight', 0)}" if most is None else f"{backend.get('in_flight', 0)}/{most}",
        "VLLM": f"{running} running, {waiting or 0} waiting" if is_known else "-",
        "WEIGHT": f"{backend.get('weight', 1)}",
        "MODELS": _models(backend),
        "DIALECT": " ".join(clean(backend[key]) for key in ("dialect", "version") if backend.get(key)),
        "URL": clean(backend.get("url")),
    }
    return Row(cells, mood)


def state_of(backend: Mapping[str, object], *, has_predecessor: bool = False) -> tuple[str, Mood]:
    """Return the state of a backend in words: what matters most of it."""
    work, standing, health = _number(backend, "in_flight"), backend.get("standing"), backend.get("health")
    if backend.get("drained"):
        drained = "drained, but for the earlier process" if has_predecessor else "drained"
        return f"draining, {work:.0f} at work" if work else drained, Mood.SO_SO
    if health == "down":
        held = f"{_number(backend, 'held_for'):.0f}"
        return f"down, kept out for {held} s" if held != "0" else f"down{_cause(backend)}", Mood.BAD
    if health == "unknown":
        return "not asked yet", Mood.SO_SO
    if backend.get("breaker") == "open":
        return f"left alone: it fails requests{_cause(backend)}", Mood.BAD
    if backend.get("breaker") == "half_open":
        return "on trial", Mood.SO_SO
    if standing == "resting":
        return f"full, asks for {max(1.0, _number(backend, 'resting_for')):.0f} s", Mood.SO_SO
    if standing == "full":
        return "full", Mood.SO_SO
    if standing == "eased":
        return "picked last for a moment", Mood.SO_SO
    if backend.get("busy"):
        return "up, probes are late", Mood.SO_SO
    share = _number(backend, "share", 1.0)
    return (f"up, at {share:.0%}", Mood.SO_SO) if share < 1 else ("up", Mood.GOOD)


def _cause(backend: Mapping[str, object]) -> str:
    cause = backend.get("cause")
    return f" ({clean(cause).replace('_', ' ')})" if cause else ""


def clean(value: object) -> str:
    """Return a text that a terminal shows as it is: names of models come from backends."""
    return "".join(sign if sign.isprintable() else "?" for sign in str(value))


def _models(backend: Mapping[str, object]) -> str:
    models = backend.get("models")
    if not isinstance(models, list) or not models:
        return "no list" if backend.get("listing") == "failed" else "-"
    return ", ".join(clean(model) for model in models)


def _number(backend: Mapping[str, object], key: str, default: float = 0.0) -> float:
    value = backend.get(key)
    return float(value) if isinstance(value, int | float) else default


def _width(spaces: Mapping[str, int], columns: Sequence[str]) -> int:
    return sum(spaces[name] + GAP for name in columns) - GAP


def _line(
    cells: Mapping[str, str], columns: Sequence[str], spaces: Mapping[str, int], *, mood: Mood | None = None
) -> str:
    parts = []
    for name in columns:
        text, space = cells[name], spaces[name]
        if len(text) > space:
            text = text[: space - 3] + "..."
        padded = text.rjust(space) if name in ("IN FLIGHT", "WEIGHT") else text.ljust(space)
        parts.append(f"{mood.value}{padded}{RESET}" if mood is not None and name == "STATE" else padded)
    return (" " * GAP).join(parts)
