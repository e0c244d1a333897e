"""Metrics that have counted something of everything, so that no family is without a sample."""

from router.access.overload import Marks, Usage
from router.backends.backend import Backend, BackendSpec, Change, ChangeKind
from router.backends.breaker import BreakerRules
from router.backends.engine import Figures
from router.backends.health import HealthRules, Seen
from router.backends.sessions import SessionFigures
from router.ended import sort
from router.exchange import Attempt, AttemptOutcome, Exchange, Outcome, Trace
from router.observe.metrics import Metrics
from router.observe.states import Hooked, Vitals

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
VITALS = Vitals(
    "0123456789ab",
    is_ready=True,
    streams=2,
    waiting=3,
    queue_size=10,
    connections=5,
    max_connections=20,
    usage=Usage(memory=400, descriptors=30),
    marks=Marks(memory=1000, descriptors=120),
    sessions=SessionFigures(
        active=3,
        max_sessions=100,
        ttl=60.0,
        created=9,
        expired=4,
        evicted=2,
        lookups={"hit": 20, "explicit": 1, "miss": 9},
        affinity={"kept": 17, "overloaded": 2, "unusable": 2, "new": 9},
    ),
)


def backend(name: str, *, models: tuple[str, ...] = ("m",), max_connections: int | None = 8) -> Backend:
    """Return one that is up."""
    spec = BackendSpec(name, f"http://{name}", models=models, max_connections=max_connections)
    one = Backend(spec, health_rules=HealthRules(), breaker_rules=BreakerRules())
    one.health.observe(Seen.PASSED)
    one.models = {model: {"id": model} for model in models}
    return one


def busy_backend(name: str) -> Backend:
    """Return one with work, whose server tells of itself."""
    one = backend(name)
    one.in_flight = 2
    one.figures = Figures(running=4, waiting=1, kv_usage=0.25)
    return one


def trace(trace_id: str, *, is_clients: bool = True, is_sampled: bool = False) -> Trace:
    """Return a trace that a client has named, or that begins here."""
    return Trace(trace_id, "00f067aa0ba902b7" if is_clients else None, is_sampled)


def exchange(**changes: object) -> Exchange:
    """Return one that is open, for a model that is known."""
    one = Exchange(id="a", route="/v1/chat/completions", method="POST", opened=10.0, model="m", known_model=True)
    for name, new in changes.items():
        setattr(one, name, new)
    if one.trace is not None:
        one.trace_id = one.trace.trace_id
    return one


def counted(*backends: Backend) -> Metrics:
    """Return metrics that have counted something of everything."""
    metrics = Metrics(
        backends=lambda: [one.status(1.0) for one in backends or (busy_backend("a:1"),)],
        dropped_log_lines=lambda: 1,
        tls=lambda: (2e9, 1),
        vitals=lambda: VITALS,
        middlewares=lambda: [Hooked("trace", {"on_end": 3}, {"on_end": 1}, {"on_end": 1}, dropped=2)],
    )
    one = exchange(status=200, began=10.5, bytes_in=9, bytes_out=99, events=3, tokens=(9, 12), trace=trace(TRACE_ID))
    one.rules |= {"R3"}
    one.on_close += (lambda ended: metrics.exchanges_closed(sort([ended])),)
    one.close(Outcome.OK, 12.0)
    metrics.event_gaps(one).waiting.append(0.02)
    attempt = Attempt("a:1", 10.1, AttemptOutcome.OK, 200, 12.0)
    metrics.attempt_closed(attempt, "m", began=one.began)
    metrics.retried(AttemptOutcome.REFUSED)
    metrics.changed(Change("a:1", ChangeKind.HEALTH, "up", "down", Seen.REFUSED.value))
    metrics.resumed("text", ok=True)
    metrics.hedged(won=True)
    metrics.queue_rejected("full")
    metrics.queue_waited(0.2)
    metrics.shed("memory")
    metrics.loop_lagged(0.001)
    metrics.loop_stalled()
    return metrics
