"""The families that are looked up at each dump, as they are at the moment: the process, its limits, the backends.

What is told of the worst of several processes has a limit beside it that each process keeps on its own.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import ProcessCollector

from router.access.overload import Marks, Usage
from router.backends.backend import BackendStatus
from router.backends.breaker import BreakerState
from router.backends.health import HealthState
from router.backends.sessions import SessionFigures
from router.observe.exposition import Kind, Sheet, label_text

MAX_MODELS = 1000  # that are told apart: a bound on what a scrape costs, should a backend list models without end
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Vitals:
    """What a process has at work, what it may have, and what it goes by. Limits: None where there is none."""

    config_hash: str
    is_ready: bool  # requests should be sent here
    streams: int  # exchanges under way that have asked for a stream
    waiting: int  # exchanges that wait for a free backend
    queue_size: int  # that may wait, of one model
    connections: int  # of clients
    max_connections: int | None
    usage: Usage
    marks: Marks  # above which new requests are refused
    sessions: SessionFigures | None = None  # None where they are off


@dataclass(frozen=True, slots=True)
class Hooked:
    """What has become of the calls of one middleware, by hook."""

    name: str  # of the configuration, or "other"
    calls: Mapping[str, int]
    errors: Mapping[str, int]
    slow: Mapping[str, int]
    dropped: int  # records that were never written


class Reloads:
    """How often a new configuration was taken up; counted where configurations are read."""

    def __init__(self) -> None:
        """The one that the process began with is good, or it would not be there."""
        self._counts = {"ok": 0, "failed": 0}
        self._last_ok = True

    def count(self, *, ok: bool) -> None:
        """Count one."""
        self._counts["ok" if ok else "failed"] += 1
        self._last_ok = ok

    def add_to(self, sheet: Sheet) -> None:
        """Add both families."""
        reloads = [(label_text(result=result), count) for result, count in self._counts.items()]
        sheet.counter("router_config_reloads", "New configurations, by whether they could be used.", reloads)
        meaning = "0 while the configuration on disk is one that could not be used."
        last = [("", int(self._last_ok))]
        sheet.gauge("router_config_last_reload_successful", meaning, last, across=Kind.SMALLEST)


def add_process(sheet: Sheet, collector: ProcessCollector) -> None:
    """Add what prometheus_client tells of the process it is in."""
    for metric in collector.collect():
        samples = [("", float(sample.value)) for sample in metric.samples]
        if metric.type == "counter":
            sheet.counter(metric.name, metric.documentation, samples)
        else:
            began = metric.name == "process_start_time_seconds"
            sheet.gauge(metric.name, metric.documentation, samples, across=Kind.SMALLEST if began else Kind.GAUGE)


def add_tls(sheet: Sheet, expires: float | None, failed: int) -> None:
    """Add when our certificate ends (seconds since 1970), and how many clients there was no TLS with."""
    if expires is not None:
        meaning = "When the first certificate of our listeners ends, or one that vouches for it: seconds since 1970."
        sheet.gauge("router_tls_certificate_expiry_seconds", meaning, [("", expires)], across=Kind.SMALLEST)
    meaning = "Clients with whom there was no TLS: no common version, no good certificate, no TLS at all."
    sheet.counter("router_tls_handshakes_failed", meaning, [("", failed)])


def add_vitals(sheet: Sheet, vitals: Vitals, backends: list[BackendStatus]) -> None:
    """Add how a process fares, and how near it is to each of its limits."""
    info = [(label_text(hash=vitals.config_hash), 1)]
    meaning = "Always 1; the label tells the configuration in use apart from others, keys left out."
    sheet.gauge("router_config_info", meaning, info, across=Kind.LARGEST)
    ready = [("", int(vitals.is_ready))]
    sheet.gauge("router_ready", "1 while requests should be sent here.", ready, across=Kind.LARGEST)
    sheet.gauge("router_streams_in_flight", "Streams not yet closed.", [("", vitals.streams)])
    sheet.gauge("router_queue_length", "Exchanges that wait for a free backend.", [("", vitals.waiting)])
    sheet.gauge("router_queue_limit", "Exchanges of one model that may wait.", [("", vitals.queue_size)])
    sheet.gauge("router_connections", "Connections of clients.", [("", vitals.connections)])
    if vitals.max_connections is not None:
        meaning = "Connections of clients that are taken at most."
        sheet.gauge("router_connections_limit", meaning, [("", vitals.max_connections)])
    usage, marks = vitals.usage, vitals.marks
    meaning = "Memory of the process that uses most."
    sheet.gauge("router_memory_used_bytes", meaning, [("", usage.memory)], across=Kind.LARGEST)
    if marks.memory is not None:
        meaning = "Memory of a process above which it refuses new requests."
        sheet.gauge("router_memory_limit_bytes", meaning, [("", marks.memory)], across=Kind.SMALLEST)
    meaning = "File descriptors of the process that uses most."
    sheet.gauge("router_descriptors_used", meaning, [("", usage.descriptors)], across=Kind.LARGEST)
    if marks.descriptors is not None:
        meaning = "File descriptors of a process above which it refuses new requests."
        sheet.gauge("router_descriptors_limit", meaning, [("", marks.descriptors)], across=Kind.SMALLEST)
    ratios = [(label_text(resource=name), ratio) for name, ratio in _saturation(vitals, backends)]
    meaning = "What part of a limit is in use, in the process that is nearest to it."
    sheet.gauge("router_saturation_ratio", meaning, ratios, across=Kind.LARGEST)
    if vitals.sessions is not None:
        _add_sessions(sheet, vitals.sessions)


def _add_sessions(sheet: Sheet, sessions: SessionFigures) -> None:
    """Add what is known of conversations; one that two processes see counts in both."""
    sheet.gauge("router_sessions_active", "Conversations that are known.", [("", sessions.active)])
    sheet.gauge("router_sessions_limit", "Conversations that are known at most.", [("", sessions.max_sessions)])
    meaning = "After how long without a request one is forgotten."
    sheet.gauge("router_session_ttl_seconds", meaning, [("", sessions.ttl)], across=Kind.LARGEST)
    sheet.counter("router_sessions_created", "Conversations that began.", [("", sessions.created)])
    sheet.counter("router_sessions_expired", "Conversations forgotten after their time.", [("", sessions.expired)])
    sheet.counter("router_sessions_evicted", "Conversations forgotten to make room.", [("", sessions.evicted)])
    lookups = [(label_text(result=result), count) for result, count in sessions.lookups.items()]
    meaning = "Requests of conversations, by whether theirs was known: by its history, by the client's id, or not."
    sheet.counter("router_session_lookups", meaning, lookups)
    affinity = [(label_text(result=result), count) for result, count in sessions.affinity.items()]
    meaning = "Requests of conversations, by whether they went to the backend that has theirs in its cache."
    sheet.counter("router_affinity", meaning, affinity)


def _saturation(vitals: Vitals, backends: list[BackendStatus]) -> Iterable[tuple[str, float]]:
    places = [each.max_connections for each in backends if each.usable]
    limited = [limit for limit in places if limit is not None]
    used: tuple[tuple[str, int, int | None], ...] = (
        ("connections", vitals.connections, vitals.max_connections),
        ("queue", vitals.waiting, vitals.queue_size),
        ("memory", vitals.usage.memory, vitals.marks.memory),
        ("descriptors", vitals.usage.descriptors, vitals.marks.descriptors),
        # One without a limit takes whatever comes.
        (
            "backends",
            sum(each.in_flight for each in backends if each.usable),
            sum(limited) if len(limited) == len(places) else None,
        ),
    )
    return [(name, round(count / limit, 4)) for name, count, limit in used if limit]


def add_middlewares(sheet: Sheet, middlewares: Iterable[Hooked]) -> None:
    """Add what has become of the calls of middlewares; nothing where none is configured."""
    hooked = list(middlewares)
    if not hooked:
        return
    failed = "Calls of hooks that failed, or returned what is of no use."
    counted = (
        ("router_middleware_calls", "Calls of hooks.", [each.calls for each in hooked]),
        ("router_middleware_errors", failed, [each.errors for each in hooked]),
        ("router_middleware_slow_calls", "Calls of hooks that held everybody up.", [each.slow for each in hooked]),
    )
    for name, meaning, counts in counted:
        samples = [
            (label_text(middleware=each.name, hook=hook), count)
            for each, by_hook in zip(hooked, counts, strict=True)
            for hook, count in by_hook.items()
        ]
        sheet.counter(name, meaning, samples)
    dropped = [(label_text(middleware=each.name), each.dropped) for each in hooked]
    sheet.counter("router_middleware_records_dropped", "Records of a middleware that were never written.", dropped)


def add_backends(sheet: Sheet, backends: list[BackendStatus]) -> None:
    """Add what is known of each backend now."""
    named = [(label_text(backend=backend.name), backend) for backend in backends]
    up = [(labels, int(backend.health is HealthState.UP)) for labels, backend in named]
    sheet.gauge("router_backend_up", "1 while its probes pass.", up, across=Kind.LARGEST)
    usable = [(labels, int(backend.usable)) for labels, backend in named]
    sheet.gauge("router_backend_usable", "1 while requests may go to it.", usable, across=Kind.LARGEST)
    drained = [(labels, int(backend.drained)) for labels, backend in named]
    meaning = "1 while an operator keeps requests from it."
    sheet.gauge("router_backend_draining", meaning, drained, across=Kind.LARGEST)
    busy = [(labels, int(backend.busy)) for labels, backend in named]
    meaning = "1 while its probes are late and its answers go on."
    sheet.gauge("router_backend_busy", meaning, busy, across=Kind.LARGEST)
    hung = [(labels, int(backend.hung)) for labels, backend in named]
    meaning = "1 while its engine stands still with requests at work."
    sheet.gauge("router_backend_hung", meaning, hung, across=Kind.LARGEST)
    texts = [(state, label_text(state=state.value)) for state in BreakerState]
    states = [
        (f"{labels},{text}", int(backend.breaker is state)) for labels, backend in named for state, text in texts
    ]
    sheet.gauge("router_breaker_state", "1 for the state that its breaker is in.", states, across=Kind.LARGEST)
    _add_load(sheet, named)
    _add_models(sheet, backends)


def _add_load(sheet: Sheet, named: list[tuple[str, BackendStatus]]) -> None:
    """How much each has at work: by our own counts, and by what its server tells."""
    in_flight = [(labels, backend.in_flight) for labels, backend in named]
    sheet.gauge("router_backend_in_flight", "Attempts running at it.", in_flight)
    limits = [(labels, backend.max_connections) for labels, backend in named if backend.max_connections is not None]
    meaning = "Attempts that may run at it, over all processes."
    sheet.gauge("router_backend_in_flight_limit", meaning, limits, across=Kind.LARGEST)
    shares = [(labels, round(backend.share, 4)) for labels, backend in named]
    meaning = "What part of its weight counts: less while it comes back, is busy or fails."
    sheet.gauge("router_backend_share_ratio", meaning, shares, across=Kind.LARGEST)
    running = [(labels, backend.running) for labels, backend in named if backend.running is not None]
    meaning = "Requests at work there, as its server tells, whoever has asked."
    sheet.gauge("router_backend_reported_running", meaning, running, across=Kind.LARGEST)
    waiting = [(labels, backend.waiting) for labels, backend in named if backend.waiting is not None]
    meaning = "Requests that wait there, as its server tells, whoever has asked."
    sheet.gauge("router_backend_reported_waiting", meaning, waiting, across=Kind.LARGEST)
    cache = [(labels, backend.kv_usage) for labels, backend in named if backend.kv_usage is not None]
    meaning = "What part of its KV cache is in use, as its server tells."
    sheet.gauge("router_backend_reported_kv_usage_ratio", meaning, cache, across=Kind.LARGEST)


def _add_models(sheet: Sheet, backends: list[BackendStatus]) -> None:
    usable: defaultdict[str, int] = defaultdict(int)
    for backend in backends:
        for model in backend.models:
            usable[model if model in usable or len(usable) < MAX_MODELS else OTHER] += backend.usable
    samples = [(label_text(model=model), count) for model, count in usable.items()]
    meaning = "Backends that list the model and may get requests."
    sheet.gauge("router_model_backends_usable", meaning, samples, across=Kind.LARGEST)
