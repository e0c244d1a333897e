"""Prometheus metrics of one process: counted in plain numbers, dumped as families, made into text for a scrape.

Of several workers' dumps `exposition.merged` makes one; `page.render` makes the text of any. docs/metrics.md has all.

Every name begins with `router_` (but prometheus_client's own `process_...`). Label values come from our route table,
the configuration, enums, and models that a backend has listed; another model is "other", no model is "none".
The loop's thread counts, and dumps.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable

from prometheus_client import ProcessCollector

from router import __version__
from router.backends.backend import BackendStatus, Change, ChangeKind
from router.backends.breaker import BreakerState
from router.backends.health import HealthState
from router.ended import Ended
from router.exchange import Attempt, AttemptOutcome, Exchange
from router.observe.exposition import Distribution, Families, Kind, Sheet, label_text
from router.observe.page import render
from router.observe.states import (
    Hooked,
    Reloads,
    Vitals,
    add_backends,
    add_middlewares,
    add_process,
    add_tls,
    add_vitals,
)
from router.observe.traffic import FIRST_TOKEN_BOUNDS, Traffic

# Bounds in seconds.
LAG_BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
WITH_STATE = frozenset({ChangeKind.HEALTH, ChangeKind.BREAKER, ChangeKind.DRAIN})
EJECTED = frozenset({HealthState.DOWN.value, BreakerState.OPEN.value})


class Metrics:
    """All counts of one process, and their text."""

    def __init__(
        self,
        *,
        backends: Callable[[], list[BackendStatus]] | None = None,
        dropped_log_lines: Callable[[], int] | None = None,
        tls: Callable[[], tuple[float | None, int]] | None = None,
        vitals: Callable[[], Vitals] | None = None,
        middlewares: Callable[[], Iterable[Hooked]] = tuple,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """All but `wall_clock` (seconds since 1970) are asked at each dump.

        `tls`: when our certificate ends, in seconds since 1970, None without one; and the number of clients with whom
        there was no TLS.
        """
        self.in_flight = 0
        self.before_dump: Callable[[], None] = lambda: None  # counts what is still to be counted
        self._backends = backends
        self._dropped = dropped_log_lines
        self._tls = tls
        self._vitals = vitals
        self._middlewares = middlewares
        self._wall_clock = wall_clock
        self._traffic = Traffic(wall_clock)
        self._retries: defaultdict[AttemptOutcome, int] = defaultdict(int)
        self._changes: defaultdict[str, int] = defaultdict(int)  # by their labels' text: they are seldom, but many
        self._ejections: defaultdict[str, int] = defaultdict(int)  # the same
        self._resumed: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._hedged: defaultdict[str, int] = defaultdict(int)
        self._rejected: defaultdict[str, int] = defaultdict(int)
        self._queue_waits = Distribution(FIRST_TOKEN_BOUNDS)
        self._shed: defaultdict[str, int] = defaultdict(int)
        self._lag = Distribution(LAG_BOUNDS)
        self._stalls = 0
        self._reloads = Reloads()
        self._process = ProcessCollector(registry=None)

    def exchanges_closed(self, ended: Ended) -> None:
        """Count exchanges, with all that their records tell, and their tries that went well; others are counted as
        they end. `in_flight` is whose who counts them in and out."""
        self._traffic.exchanges_closed(ended)

    def event_gaps(self, exchange: Exchange) -> Distribution:
        """Return where seconds between events of a stream are counted."""
        return self._traffic.event_gaps(exchange)

    def attempt_closed(self, attempt: Attempt, model: str, *, began: float | None = None) -> None:
        """Count an attempt; `model` is what `model_label` returns, `began` when the exchange's answer began."""
        self._traffic.attempt_closed(attempt, model, began=began)

    def retried(self, cause: AttemptOutcome) -> None:
        """Count one attempt more, made because the one before ended so."""
        self._retries[cause] += 1

    def resumed(self, mode: str, *, ok: bool) -> None:
        """Count a broken answer that was continued on another backend (`ok`), or could not be."""
        self._resumed[(mode, "ok" if ok else "failed")] += 1

    def hedged(self, *, won: bool) -> None:
        """Count a second attempt that ran beside the first; `won`: it was the faster one."""
        self._hedged["won" if won else "lost"] += 1

    def queue_rejected(self, reason: str) -> None:
        """Count an exchange that was turned away; `reason` is one of a few words of our own."""
        self._rejected[reason] += 1

    def queue_waited(self, seconds: float) -> None:
        """Count a wait for a free backend."""
        self._queue_waits.observe(seconds)

    def shed(self, reason: str) -> None:
        """Count a request that was refused because the process has too much; `reason` is a word of our own."""
        self._shed[reason] += 1

    def loop_lagged(self, seconds: float) -> None:
        """Count by how much a timer of the loop came late. It comes four times a second at most: times between events
        that wait are counted then, too."""
        self._lag.observe(seconds)
        self._traffic.settle_gaps()

    def loop_stalled(self) -> None:
        """Count a time for which the loop stood still."""
        self._stalls += 1

    def reloaded(self, *, ok: bool) -> None:
        """Count a new configuration that was taken up (`ok`), or was not."""
        self._reloads.count(ok=ok)

    def changed(self, change: Change) -> None:
        """Count a backend's change, with the state it came to where that is one of a few."""
        to = change.after if change.kind in WITH_STATE else ""
        self._changes[label_text(backend=change.backend, change=change.kind.value, to=to)] += 1
        if to in EJECTED:
            self._ejections[label_text(backend=change.backend, by=change.kind.value, cause=change.cause)] += 1

    def dump(self) -> Families:
        """Return all counts as plain families."""
        self.before_dump()
        sheet = Sheet()
        self._traffic.add_exchanges(sheet)
        sheet.gauge("router_requests_in_flight", "Exchanges not yet closed.", [("", self.in_flight)])
        self._traffic.add_attempts(sheet)
        self._add_changes(sheet)
        self._add_ways_out(sheet)
        add_middlewares(sheet, self._middlewares())
        self._add_process(sheet)
        backends = None if self._backends is None else self._backends()
        if self._vitals is not None:
            add_vitals(sheet, self._vitals(), backends or [])
        if backends is not None:
            add_backends(sheet, backends)
            changes = sheet.families["router_backend_changes"].samples
            for one in backends:  # Prometheus sees no increase of a series that was not there before
                changes.setdefault(label_text(backend=one.name, change=ChangeKind.ALARM.value, to=""), 0)
        return sheet.families

    def render(self, accept: str = "") -> tuple[str, bytes]:
        """Return (content type, body) of this process's own counts, in the form that an Accept header asks for."""
        return render(self.dump(), accept)

    def _add_changes(self, sheet: Sheet) -> None:
        """What made further tries needed, what translation has changed, and what became of backends."""
        retries = [(label_text(cause=cause.value), count) for cause, count in self._retries.copy().items()]
        sheet.counter("router_retries", "Further tries, by what made them needed.", retries)
        self._traffic.add_rules(sheet)
        changes = self._changes.copy().items()
        sheet.counter("router_backend_changes", "Changes of a backend, and to which state.", changes)
        meaning = "Times that a backend was taken out, by its probes (health) or by its breaker, and why."
        sheet.counter("router_backend_ejections", meaning, self._ejections.copy().items())

    def _add_ways_out(self, sheet: Sheet) -> None:
        """What was done so that nobody notices a failure, and what was refused so that others fare well."""
        resumed = [
            (label_text(mode=mode, result=result), count) for (mode, result), count in self._resumed.copy().items()
        ]
        sheet.counter("router_streams_resumed", "Broken answers that another backend was to continue.", resumed)
        hedged = [(label_text(result=result), count) for result, count in self._hedged.copy().items()]
        sheet.counter("router_hedges", "Second attempts beside a slow first one.", hedged)
        rejected = [(label_text(reason=reason), count) for reason, count in self._rejected.copy().items()]
        sheet.counter("router_queue_rejected", "Exchanges turned away from the queue for a free backend.", rejected)
        sheet.histogram("router_queue_wait_seconds", "Waits for a free backend.", [("", self._queue_waits)])
        shed = [(label_text(reason=reason), count) for reason, count in self._shed.copy().items()]
        sheet.counter("router_requests_shed", "Requests refused because the router has too much at work.", shed)

    def _add_process(self, sheet: Sheet) -> None:
        version = label_text(version=__version__)
        meaning = "Always 1; the label tells the version."
        sheet.gauge("router_build_info", meaning, [(version, 1)], across=Kind.LARGEST)
        sheet.gauge("router_workers", "Processes that serve.", [("", 1)])
        sheet.histogram("router_loop_lag_seconds", "How late the loop's timers come.", [("", self._lag)])
        sheet.counter("router_loop_stalls", "Times for which the loop stood still.", [("", self._stalls)])
        self._reloads.add_to(sheet)
        if self._tls is not None:
            add_tls(sheet, *self._tls())
        if self._dropped is not None:
            sheet.counter("router_log_lines_dropped", "Log lines that were not written.", [("", self._dropped())])
        add_process(sheet, self._process)
