"""Which lines of a log somebody wants to see, by what a JSON line tells. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from router.exchange import AttemptOutcome, Outcome

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)", re.ASCII)
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_STATUS = re.compile(r"([1-5])xx|(\d{1,3})(?:-(\d{1,3}))?", re.ASCII)
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
LEVELS = tuple(_LEVELS)
OUTCOMES = frozenset(each.value for each in Outcome)
OF_ATTEMPTS = frozenset(each.value for each in AttemptOutcome) - OUTCOMES  # that no exchange has


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a line must tell; None of a field: anything. Lines that are of no exchange have no status, model ..."""

    statuses: tuple[range, ...] = ()
    outcome: str | None = None  # of the exchange; one that only attempts have, of any attempt
    model: str | None = None
    backend: str | None = None  # of any attempt
    route: str | None = None
    client: str | None = None
    tenant: str | None = None
    ident: str | None = None  # X-Request-ID, or the trace's, or the session's
    slower_than: float | None = None  # seconds
    since: str | None = None  # as lines write it: they sort as text
    level: str | None = None  # of application lines, and higher ones; lines of exchanges have none
    failed: bool = False  # exchanges that did not end well, and warnings
    retried: bool = False  # exchanges of more than one attempt

    @property
    def is_everything(self) -> bool:
        """Whether every line is wanted."""
        return self == Wanted()

    def has(self, line: Mapping[str, Any]) -> bool:
        """Return whether a line is wanted."""
        if self.since is not None and str(line.get("time") or "") < self.since:
            return False
        return self._has_record(line) if "message" in line else self._has_exchange(line)

    @property
    def _exact(self) -> dict[str, str]:
        """What the line of an exchange must tell to the letter."""
        told = {name: getattr(self, name) for name in ("model", "route", "client", "tenant")}
        return {name: value for name, value in told.items() if value is not None}

    def _has_exchange(self, line: Mapping[str, Any]) -> bool:
        get, status, duration = line.get, line.get("status"), line.get("duration")
        attempts = get("attempts")
        tries = attempts if isinstance(attempts, list) else []
        backends = [each.get("backend") for each in tries if isinstance(each, dict)]
        ends = [each.get("outcome") for each in tries if isinstance(each, dict) and self.outcome in OF_ATTEMPTS]
        return (
            self.level is None
            and (not self.statuses or (isinstance(status, int) and any(status in each for each in self.statuses)))
            and all(get(name) == wanted for name, wanted in self._exact.items())
            and (self.outcome is None or self.outcome in (get("outcome"), *ends))
            and (not self.retried or len(tries) > 1)
            and (self.backend is None or self.backend in backends)
            and (self.ident is None or self.ident in (get("id"), get("trace"), get("session")))
            and (self.slower_than is None or (isinstance(duration, int | float) and duration > self.slower_than))
            and not (self.failed and get("outcome") == "ok")
        )

    def _has_record(self, line: Mapping[str, Any]) -> bool:
        """Return the same of an application line: it may name a backend or a request, and that is all."""
        if self.statuses or self.slower_than is not None or self.outcome is not None or self.retried or self._exact:
            return False
        words = str(line.get("message")).split()
        named = {word.strip(",.;:()'\"") for word in words}
        least = self.level if self.level is not None else "warning" if self.failed else "debug"
        return (
            (self.backend is None or self.backend in named)
            and (self.ident is None or self.ident in named)
            and _LEVELS.get(str(line.get("level")), 20) >= _LEVELS[least]
        )


def parse_outcome(text: str) -> str:
    """Return an outcome of exchanges or attempts. Raises ValueError."""
    word = text.strip().lower()
    if word not in OUTCOMES | OF_ATTEMPTS:
        known, others = ", ".join(sorted(OUTCOMES)), ", ".join(sorted(OF_ATTEMPTS))
        raise ValueError(f"must be an outcome: {known}; or of an attempt: {others}")
    return word


def parse_statuses(text: str) -> tuple[range, ...]:
    """Return what `5xx`, `404`, `400-499` or several with commas mean. Raises ValueError."""
    found = []
    for part in text.lower().split(","):
        match = _STATUS.fullmatch(part.strip())
        if match is None:
            raise ValueError("must be statuses such as 5xx, 404 or 400-499")
        if match[1]:
            found.append(range(int(match[1]) * 100, int(match[1]) * 100 + 100))
        else:
            found.append(range(int(match[2]), int(match[3] or match[2]) + 1))
    return tuple(found)


def parse_since(text: str, now: datetime) -> str:
    """Return the moment that `10m` (ago) or `2026-01-31T12:00` (UTC, if it does not say) means, as lines write it.

    Raises ValueError.
    """
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago is not None:
            moment = now - timedelta(seconds=float(ago[1]) * _UNITS[ago[2]])
        else:
            moment = datetime.fromisoformat(text.strip())
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError("must be a time such as 10m or 2h (ago), or 2026-01-31T12:00") from error
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
