"""Prometheus metrics of one process: counted in plain numbers, made into text when somebody scrapes.

Every name begins with `router_` (but prometheus_client's own `process_...`). Label values come from our route table,
the configuration, enums, and models that a backend has listed; another model is "other", no model is "none".
The loop's thread counts; `render` may run in any thread.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, ProcessCollector, exposition
from prometheus_client.openmetrics import exposition as openmetrics_exposition

from router import __version__
from router.backends.backend import BackendStatus, Change, ChangeKind
from router.backends.breaker import BreakerState
from router.backends.health import HealthState
from router.exchange import Attempt, AttemptOutcome, Exchange, Outcome
from router.observe.exposition import OPENMETRICS_TYPE, TEXT_TYPE, Distribution, Page, label_text

# Bounds in seconds. Whole answers of language models take from milliseconds (embeddings, errors) to many minutes.
DURATION_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
FIRST_TOKEN_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
GAP_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
MAX_SERIES = 1000  # pairs of route and model: a bound on what a scrape costs, should a backend list models without end
OTHER = "other"
NO_MODEL = "none"


class _Series:
    """What is counted for one pair of route and model."""

    __slots__ = ("duration", "ended", "first", "labels")

    def __init__(self, labels: str) -> None:
        self.labels = labels
        self.duration = Distribution(DURATION_BOUNDS)
        self.first = Distribution(FIRST_TOKEN_BOUNDS)
        self.ended: defaultdict[tuple[int, Outcome | None], int] = defaultdict(int)


class Metrics:
    """All counts of one process, and their text."""

    event_gaps: Callable[[Iterable[float]], None]  # seconds between events of a stream, many at a time

    def __init__(
        self,
        *,
        backends: Callable[[], list[BackendStatus]] | None = None,
        dropped_log_lines: Callable[[], int] | None = None,
    ) -> None:
        """`backends` and `dropped_log_lines` are asked at each scrape."""
        self.in_flight = 0
        self._backends = backends
        self._dropped = dropped_log_lines
        self._series: dict[tuple[str, str], _Series] = {}
        self._gaps = Distribution(GAP_BOUNDS)
        self.event_gaps = self._gaps.observe_all
        self._bytes_in = 0
        self._bytes_out = 0
        self._events = 0
        self._attempts: defaultdict[tuple[str, str, AttemptOutcome | None], int] = defaultdict(int)
        self._retries: defaultdict[AttemptOutcome, int] = defaultdict(int)
        self._rules: defaultdict[str, int] = defaultdict(int)
        self._changes: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)

    def exchange_opened(self, exchange: Exchange) -> None:
        """Count an exchange in."""
        self.in_flight += 1

    def exchange_closed(self, exchange: Exchange) -> None:
        """Count an exchange out, with all that its record tells."""
        self.in_flight -= 1
        series = self._series_of(exchange.route, model_label(exchange))
        opened, began, closed = exchange.opened, exchange.began, exchange.closed
        series.ended[(exchange.status, exchange.outcome)] += 1
        if closed is not None:
            series.duration.observe(closed - opened)
        if began is not None:
            series.first.observe(began - opened)
        self._bytes_in += exchange.bytes_in
        self._bytes_out += exchange.bytes_out
        self._events += exchange.events
        for rule in exchange.rules:
            self._rules[rule] += 1

    def attempt_closed(self, attempt: Attempt, model: str) -> None:
        """Count an attempt; `model` is what `model_label` returns."""
        self._attempts[(attempt.backend, model, attempt.outcome)] += 1

    def retried(self, cause: AttemptOutcome) -> None:
        """Count one attempt more, made because the one before ended so."""
        self._retries[cause] += 1

    def changed(self, change: Change) -> None:
        """Count a backend's change, with the state it came to where that is an enum's."""
        to = change.after if change.kind in (ChangeKind.HEALTH, ChangeKind.BREAKER) else ""
        self._changes[(change.backend, change.kind.value, to)] += 1

    def render(self, accept: str = "") -> tuple[str, bytes]:
        """Return (content type, body) in the form that an Accept header asks for: OpenMetrics, else Prometheus text."""
        openmetrics = "application/openmetrics-text" in accept
        page = Page(openmetrics=openmetrics)
        self._add_exchanges(page)
        self._add_attempts(page)
        self._add_process(page)
        if self._backends is not None:
            _add_backends(page, self._backends())
        if openmetrics:  # prometheus_client's part ends with the `# EOF` of the whole
            rest: bytes = openmetrics_exposition.generate_latest(self._process)  # type: ignore[no-untyped-call]
            return OPENMETRICS_TYPE, page.encode() + rest
        return TEXT_TYPE, page.encode() + exposition.generate_latest(self._process)

    def _series_of(self, route: str, model: str) -> _Series:
        series = self._series.get((route, model))
        if series is None:
            if len(self._series) >= MAX_SERIES:
                route = model = OTHER
            series = self._series.setdefault((route, model), _Series(label_text(route=route, model=model)))
        return series

    def _add_exchanges(self, page: Page) -> None:
        series = list(self._series.values())
        ended = [
            (f"{one.labels},{label_text(status=str(status), outcome=_text(outcome))}", count)
            for one in series
            for (status, outcome), count in one.ended.copy().items()
        ]
        page.counter("router_requests", "Exchanges, by how they ended.", ended)
        page.histogram(
            "router_request_duration_seconds",
            "From a request's head to the end of its answer.",
            [(one.labels, one.duration) for one in series],
        )
        page.histogram(
            "router_time_to_first_token_seconds",
            "From a request's head to the beginning of its answer.",
            [(one.labels, one.first) for one in series],
        )
        page.histogram("router_time_between_events_seconds", "Between two events of a stream.", [("", self._gaps)])
        traffic = [(label_text(direction="in"), self._bytes_in), (label_text(direction="out"), self._bytes_out)]
        page.counter("router_body_bytes", "Bytes of bodies, from clients (in) and to them (out).", traffic)
        page.counter("router_events", "Events relayed to clients.", [("", self._events)])
        page.gauge("router_requests_in_flight", "Exchanges not yet closed.", [("", self.in_flight)])

    def _add_attempts(self, page: Page) -> None:
        attempts = [
            (label_text(backend=backend, model=model, outcome=_text(outcome)), count)
            for (backend, model, outcome), count in self._attempts.copy().items()
        ]
        page.counter("router_attempts", "Tries at a backend, by how they ended.", attempts)
        retries = [(label_text(cause=cause.value), count) for cause, count in self._retries.copy().items()]
        page.counter("router_retries", "Further tries, by what made them needed.", retries)
        rules = [(label_text(rule=rule), count) for rule, count in sorted(self._rules.copy().items())]
        page.counter("router_translations", "Exchanges that a rule of docs/translation.md has changed.", rules)
        changes = [
            (label_text(backend=backend, change=change, to=to), count)
            for (backend, change, to), count in self._changes.copy().items()
        ]
        page.counter("router_backend_changes", "Changes of a backend, and to which state.", changes)

    def _add_process(self, page: Page) -> None:
        version = label_text(version=__version__)
        page.gauge("router_build_info", "Always 1; the label tells the version.", [(version, 1)])
        if self._dropped is not None:
            page.counter("router_log_lines_dropped", "Log lines that were not written.", [("", self._dropped())])


def model_label(exchange: Exchange) -> str:
    """Return the metrics' label for the model of an exchange: a client cannot make up new values."""
    if exchange.known_model and exchange.model is not None:
        return exchange.model
    return NO_MODEL if exchange.model is None else OTHER


def _text(outcome: Outcome | AttemptOutcome | None) -> str:
    return OTHER if outcome is None else outcome.value


def _add_backends(page: Page, backends: list[BackendStatus]) -> None:
    named = [(label_text(backend=backend.name), backend) for backend in backends]
    up = [(labels, int(backend.health is HealthState.UP)) for labels, backend in named]
    page.gauge("router_backend_up", "1 while its probes pass.", up)
    usable = [(labels, int(backend.usable)) for labels, backend in named]
    page.gauge("router_backend_usable", "1 while requests may go to it.", usable)
    in_flight = [(labels, backend.in_flight) for labels, backend in named]
    page.gauge("router_backend_in_flight", "Attempts running at it.", in_flight)
    states = [
        (f"{labels},{label_text(state=state.value)}", int(backend.breaker is state))
        for labels, backend in named
        for state in BreakerState
    ]
    page.gauge("router_breaker_state", "1 for the state that its breaker is in.", states)
