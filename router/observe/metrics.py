"""Prometheus metrics of one process: counted in plain numbers, dumped as families, made into text for a scrape.

Of several workers' dumps `exposition.merged` makes one; `page.render` makes the text of any. docs/metrics.md has all.

Every name begins with `router_` (but prometheus_client's own `process_...`). Label values come from our route table,
the configuration, enums, and models that a backend has listed; another model is "other", no model is "none".
The loop's thread counts, and dumps.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from prometheus_client import ProcessCollector

from router import __version__
from router.backends.backend import BackendStatus, Change, ChangeKind
from router.backends.breaker import BreakerState
from router.backends.health import HealthState
from router.exchange import Attempt, AttemptOutcome, Exchange, Outcome
from router.observe.exposition import Distribution, Families, Kind, Sheet, label_text
from router.observe.page import render
from router.observe.states import (
    MAX_MODELS,
    OTHER,
    Hooked,
    Reloads,
    Vitals,
    add_backends,
    add_middlewares,
    add_process,
    add_tls,
    add_vitals,
)

# Bounds in seconds. Whole answers of language models take from milliseconds (embeddings, errors) to many minutes.
DURATION_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
FIRST_TOKEN_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
GAP_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
LAG_BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
BACKEND_BOUNDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)  # of each backend
MAX_SERIES = 1000  # pairs of route and model: a bound on what a scrape costs, should a backend list models without end
MAX_ATTEMPTS = 10_000  # triples of backend, model and outcome; the same
NO_MODEL = "none"
EJECTED = frozenset({HealthState.DOWN.value, BreakerState.OPEN.value})

_OK, _SUPERSEDED = AttemptOutcome.OK, AttemptOutcome.SUPERSEDED
Counted = TypeVar("Counted")


class _Series:
    """What is counted for one pair of route and model."""

    __slots__ = ("duration", "ended", "first", "labels")

    def __init__(self, labels: str) -> None:
        self.labels = labels
        self.duration = Distribution(DURATION_BOUNDS)
        self.first = Distribution(FIRST_TOKEN_BOUNDS)
        self.ended: dict[tuple[int, Outcome | None], _Ended] = {}


@dataclass(slots=True)
class _Ended:
    """How many exchanges of a series ended in one way."""

    series: _Series
    count: int = 0


@dataclass(slots=True)
class _Tokens:
    """What the answers of one model have told of tokens."""

    answers: int = 0
    read: int = 0
    written: int = 0


class _Times:
    """How long one backend takes."""

    __slots__ = ("duration", "first", "labels")

    def __init__(self, labels: str) -> None:
        self.labels = labels
        self.duration = Distribution(BACKEND_BOUNDS)
        self.first = Distribution(BACKEND_BOUNDS)


@dataclass(slots=True)
class _Tried:
    """How many tries at a backend, for a model, ended in one way."""

    times: _Times
    labels: str
    count: int = 0


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
        self._series: dict[tuple[str, str], _Series] = {}
        # By route, model, status and outcome: one look for all that is counted of an exchange.
        self._ended: dict[tuple[str, str, int, Outcome | None], _Ended] = {}
        self._gaps: dict[str, Distribution] = {}  # by model
        self._tokens: dict[str, _Tokens] = {}  # by model
        self._times: dict[str, _Times] = {}  # by backend
        self._bytes_in = self._bytes_out = self._events = 0
        self._attempts: dict[tuple[str, str, AttemptOutcome | None], _Tried] = {}  # by backend, model and outcome
        self._retries: defaultdict[AttemptOutcome, int] = defaultdict(int)
        self._rules: defaultdict[str, int] = defaultdict(int)
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

    def exchanges_closed(self, exchanges: Iterable[Exchange]) -> None:
        """Count exchanges, with all that their records tell, and their tries that went well; others are counted as
        they end. `in_flight` is whose who counts them in and out."""
        known, bytes_in, bytes_out, events, now = self._ended, 0, 0, 0, 0.0
        for one in exchanges:
            model = (one.model if one.known_model else None) or model_label(one)
            opened, began, closed, trace, tokens = one.opened, one.began, one.closed, one.trace, one.tokens
            ended = known.get((one.route, model, one.status, one.outcome)) or self._ended_of(one, model)
            ended.count += 1
            series = ended.series
            if closed is not None:
                series.duration.observe(closed - opened)
                if trace is not None and (trace.is_sampled or trace.parent_id is not None):  # else nobody knows of it
                    now = now or self._wall_clock()
                    series.duration.mark(closed - opened, trace.trace_id, now)
            if began is not None:
                series.first.observe(began - opened)
            bytes_in += one.bytes_in
            bytes_out += one.bytes_out
            events += one.events
            if tokens is not None:
                told = self._tokens.get(model) or _of_model(self._tokens, model, _Tokens)
                told.answers += 1
                told.read += tokens[0]
                told.written += tokens[1]
            for rule in one.rules:
                self._rules[rule] += 1
            for attempt in one.attempts:
                if attempt.outcome is _OK:
                    self.attempt_closed(attempt, model, began=began)
        self._bytes_in += bytes_in
        self._bytes_out += bytes_out
        self._events += events

    def event_gaps(self, exchange: Exchange) -> Distribution:
        """Return where seconds between events of a stream are counted."""
        return _of_model(self._gaps, model_label(exchange), partial(Distribution, GAP_BOUNDS))

    def attempt_closed(self, attempt: Attempt, model: str, *, began: float | None = None) -> None:
        """Count an attempt; `model` is what `model_label` returns, `began` when the exchange's answer began."""
        key = (attempt.backend, model, attempt.outcome)
        tried = self._attempts.get(key) or self._tried_of(*key)
        tried.count += 1
        times = tried.times
        outcome = attempt.outcome
        if outcome is _OK and attempt.ended is not None:
            times.duration.observe(attempt.ended - attempt.started)
        # Else it was another attempt's answer: that of the one before, or of the one beside.
        if began is not None and began >= attempt.started and outcome is not _SUPERSEDED:
            times.first.observe(began - attempt.started)

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
        """Count by how much a timer of the loop came late."""
        self._lag.observe(seconds)

    def loop_stalled(self) -> None:
        """Count a time for which the loop stood still."""
        self._stalls += 1

    def reloaded(self, *, ok: bool) -> None:
        """Count a new configuration that was taken up (`ok`), or was not."""
        self._reloads.count(ok=ok)

    def changed(self, change: Change) -> None:
        """Count a backend's change, with the state it came to where that is an enum's."""
        to = change.after if change.kind in (ChangeKind.HEALTH, ChangeKind.BREAKER) else ""
        self._changes[label_text(backend=change.backend, change=change.kind.value, to=to)] += 1
        if to in EJECTED:
            self._ejections[label_text(backend=change.backend, by=change.kind.value, cause=change.cause)] += 1

    def dump(self) -> Families:
        """Return all counts as plain families."""
        self.before_dump()
        sheet = Sheet()
        self._add_exchanges(sheet)
        self._add_attempts(sheet)
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

    def _ended_of(self, one: Exchange, model: str) -> _Ended:
        series, how = self._series_of(one.route, model), (one.status, one.outcome)
        ended = series.ended.get(how)
        if ended is None:
            ended = series.ended[how] = _Ended(series)
        if series is self._series.get((one.route, model)):  # else it is that of many others too
            self._ended[(one.route, model, *how)] = ended
        return ended

    def _series_of(self, route: str, model: str) -> _Series:
        series = self._series.get((route, model))
        if series is None:
            if len(self._series) >= MAX_SERIES:
                route = model = OTHER
            series = self._series.setdefault((route, model), _Series(label_text(route=route, model=model)))
        return series

    def _tried_of(self, backend: str, model: str, outcome: AttemptOutcome | None) -> _Tried:
        if len(self._attempts) >= MAX_ATTEMPTS:
            model = OTHER
        times = self._times.get(backend) or self._times.setdefault(backend, _Times(label_text(backend=backend)))
        labels = label_text(backend=backend, model=model, outcome=_text(outcome))
        return self._attempts.setdefault((backend, model, outcome), _Tried(times, labels))

    def _add_exchanges(self, sheet: Sheet) -> None:
        series = list(self._series.values())
        ended = [
            (f"{one.labels},{label_text(status=str(status), outcome=_text(outcome))}", ended.count)
            for one in series
            for (status, outcome), ended in one.ended.copy().items()
        ]
        sheet.counter("router_requests", "Exchanges, by how they ended.", ended)
        sheet.histogram(
            "router_request_duration_seconds",
            "From a request's head to the end of its answer.",
            [(one.labels, one.duration) for one in series],
        )
        sheet.histogram(
            "router_time_to_first_token_seconds",
            "From a request's head to the beginning of its answer.",
            [(one.labels, one.first) for one in series],
        )
        for one in self._gaps.values():
            one.settle()
        gaps = [(label_text(model=model), one) for model, one in self._gaps.copy().items() if any(one.counts)]
        sheet.histogram("router_time_between_events_seconds", "Between two events of a stream.", gaps)
        self._add_tokens(sheet)
        traffic = [(label_text(direction="in"), self._bytes_in), (label_text(direction="out"), self._bytes_out)]
        sheet.counter("router_body_bytes", "Bytes of bodies, from clients (in) and to them (out).", traffic)
        sheet.counter("router_events", "Events relayed to clients.", [("", self._events)])
        sheet.gauge("router_requests_in_flight", "Exchanges not yet closed.", [("", self.in_flight)])

    def _add_tokens(self, sheet: Sheet) -> None:
        tokens = [(model, one.answers, one.read, one.written) for model, one in self._tokens.copy().items()]
        told = [
            (label_text(model=model, direction=direction), count)
            for model, _, read, written in tokens
            for direction, count in (("in", read), ("out", written))
        ]
        meaning = "Tokens of prompts (in) and of answers (out), as the answers tell."
        sheet.counter("router_tokens", meaning, told)
        answers = [(label_text(model=model), count) for model, count, _, _ in tokens]
        sheet.counter("router_answers_with_usage", "Answers that have told their tokens.", answers)

    def _add_attempts(self, sheet: Sheet) -> None:
        attempts = [(one.labels, one.count) for one in self._attempts.copy().values()]
        sheet.counter("router_attempts", "Tries at a backend, by how they ended.", attempts)
        times = list(self._times.values())
        sheet.histogram(
            "router_attempt_duration_seconds",
            "Tries that ended well, from their beginning to the end of the answer.",
            [(one.labels, one.duration) for one in times],
        )
        sheet.histogram(
            "router_attempt_time_to_first_token_seconds",
            "Tries, from their beginning to that of the answer.",
            [(one.labels, one.first) for one in times],
        )
        retries = [(label_text(cause=cause.value), count) for cause, count in self._retries.copy().items()]
        sheet.counter("router_retries", "Further tries, by what made them needed.", retries)
        rules = [(label_text(rule=rule), count) for rule, count in sorted(self._rules.copy().items())]
        sheet.counter("router_translations", "Exchanges that a rule of docs/translation.md has changed.", rules)
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


def model_label(exchange: Exchange) -> str:
    """Return the metrics' label for the model of an exchange: a client cannot make up new values."""
    if exchange.known_model and exchange.model is not None:
        return exchange.model
    return NO_MODEL if exchange.model is None else OTHER


def _text(outcome: Outcome | AttemptOutcome | None) -> str:
    return OTHER if outcome is None else outcome.value


def _of_model(counts: dict[str, Counted], model: str, new: Callable[[], Counted]) -> Counted:
    """Return what is counted for a model; what comes behind the last one that is told apart is "other"."""
    found = counts.get(model)
    if found is None:
        found = counts.setdefault(model if len(counts) < MAX_MODELS else OTHER, new())
    return found
