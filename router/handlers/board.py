"""What the status page shows, as plain data: made of what was seen at one moment, and what of it is new. Pure.

    snapshot, Told, Facts ──> board ──> the whole, for who has just come
                                └─────> changes since the board before, for who has that one
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil

from router import __version__
from router.backends.backend import BackendStatus
from router.recent import MINUTE, SLICES, SPAN, Incident, Slice, Told, Tries, Turn, share_of

Board = dict[str, object]
Row = dict[str, object]
NONE = Tries()


@dataclass(frozen=True, slots=True)
class Facts:
    """What is told of the router itself."""

    now: float  # monotonic seconds
    wall: float  # seconds since 1970
    started: float  # monotonic seconds
    worker: int | None  # whose view of the backends it is, of several
    is_draining: bool
    is_operators: bool  # who looks may drain, and see the configuration


def backend_fields(each: BackendStatus, *, elsewhere: int) -> Row:
    """Return what an operator is told of a backend. `elsewhere`: attempts under way in other processes."""
    return {
        "name": each.name,
        "url": each.url,
        "models": each.models,
        "listing": each.listing.value,
        "usable": each.usable,
        "health": each.health.value,
        "breaker": each.breaker.value,
        "cause": each.cause or None,
        "standing": each.standing.name.lower(),
        "drained": each.drained,
        "busy": each.busy,
        "in_flight": each.in_flight + elsewhere,
        "max_connections": each.max_connections,
        "zone": each.zone,
        "weight": each.weight,
        "share": round(each.share, 3),
        "running": each.running,
        "waiting": each.waiting,
        "kv_usage": each.kv_usage,
        "resting_for": round(each.resting_for, 3),
        "held_for": round(each.held_for, 3),
    }


def row(each: BackendStatus, tries: Tries, *, elsewhere: int, dialect: Mapping[str, str], with_url: bool) -> Row:
    """Return one line of the page's table. `tries`: of the last minute."""
    fields: Row = {**backend_fields(each, elsewhere=elsewhere), **dialect}
    # In steps, so that a row is news when somebody could see it.
    fields["resting_for"], fields["held_for"] = ceil(each.resting_for), ceil(each.held_for)
    fields["share"] = round(each.share, 2)
    if each.kv_usage is not None:
        fields["kv_usage"] = round(each.kv_usage, 2)
    if not with_url:
        del fields["url"]
    fields["tries"], fields["failed"] = tries.count, tries.failed
    fields["first"] = round(tries.first / tries.answered, 4) if tries.answered else None
    return fields


def board(facts: Facts, told: Told, rows: list[Row]) -> Board:
    """Return all that the page shows."""
    newest = int(facts.now / SPAN) - 1  # the last slice that is over
    return {
        "version": __version__,
        "time": round(facts.wall, 1),
        "uptime": int(facts.now - facts.started),
        "worker": facts.worker,
        "workers": told.workers,
        "draining": facts.is_draining,
        "operators": facts.is_operators,
        "in_flight": told.in_flight,
        "usable": sum(bool(each["usable"]) for each in rows),
        "sessions": told.sessions,
        "minute": _last_minute(told.slices, newest),
        "plots": plots(told.slices, newest),
        "incidents": [_incident_fields(each) for each in reversed(told.incidents)],
        "turns": [_turn_fields(each) for each in reversed(told.turns)],
        "backends": rows,
    }


def changes(before: Board, after: Board) -> Board:
    """Return what is new: of backends the rows that differ, and in `gone` the names of those that are no more."""
    news = {key: value for key, value in after.items() if key != "backends" and before.get(key) != value}
    had = {str(each["name"]): each for each in _rows(before)}
    news["backends"] = [each for each in _rows(after) if had.pop(str(each["name"]), None) != each]
    news["gone"] = list(had)
    return news


def plots(slices: Iterable[Slice], newest: int) -> dict[str, object]:
    """Return the numbers of the plots, one for each slice, oldest first; times in seconds, None where nothing ended."""
    by_number = {each.number: each for each in slices}
    shown = [by_number.get(number) for number in range(newest - SLICES + 1, newest + 1)]
    return {
        "span": SPAN,
        "requests": [0 if each is None else each.requests / SPAN for each in shown],  # a second
        "failed": [0 if each is None else each.failed / SPAN for each in shown],
        **{f"first_{part}": [_time(each, "first", part) for each in shown] for part in (50, 95)},
        **{f"whole_{part}": [_time(each, "whole", part) for each in shown] for part in (50, 95)},
    }


def _time(each: Slice | None, what: str, part: int) -> float | None:
    found = None if each is None else share_of(each.first if what == "first" else each.whole, part / 100)
    return None if found is None else float(f"{found:.3g}")


def _last_minute(slices: Iterable[Slice], newest: int) -> dict[str, int]:
    last = [each for each in slices if newest - MINUTE / SPAN < each.number <= newest]
    return {"requests": sum(each.requests for each in last), "failed": sum(each.failed for each in last)}


def _incident_fields(each: Incident) -> Row:
    return {
        "at": round(each.at, 1),
        "id": each.id,
        "route": each.route,
        "model": each.model,
        "status": each.status,
        "outcome": each.outcome,
        "error": each.error,
        "seconds": round(each.seconds, 3),
        "resumed": each.resumed,
        "tries": each.tries,
    }


def _turn_fields(each: Turn) -> Row:
    return {
        "at": round(each.at, 1),
        "backend": each.backend,
        "kind": each.kind,
        "before": each.before,
        "after": each.after,
        "cause": each.cause,
    }


def _rows(of: Board) -> list[Row]:
    found = of["backends"]
    assert isinstance(found, list)
    return found
