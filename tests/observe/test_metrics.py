"""What the metrics count, seen as Prometheus sees it."""

import pickle
import subprocess
import timeit
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from router import __version__
from router.backends.backend import Backend as LiveBackend
from router.backends.backend import BackendSpec, BackendStatus, Change, ChangeKind
from router.backends.breaker import BreakerEvent, BreakerRules
from router.backends.health import HealthRules, Seen
from router.ended import sort
from router.exchange import Attempt, AttemptOutcome, Exchange, Outcome
from router.observe.exposition import merged
from router.observe.metrics import Metrics
from router.observe.page import render
from router.observe.states import MAX_MODELS
from router.observe.traffic import MAX_ATTEMPTS, MAX_SERIES, model_label
from tests.observe.counted import TRACE_ID, counted, exchange, trace

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(metrics: Metrics) -> Samples:
    """Everything on the page, by name and labels."""
    _, body = metrics.render()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse_text(body.decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name, frozenset(labels.items())))


def closed(metrics: Metrics, outcome: Outcome = Outcome.OK, now: float = 12.0, **changes: object) -> Exchange:
    one = exchange(**changes)
    one.on_close += (lambda ended: metrics.exchanges_closed(sort([ended])),)
    one.close(outcome, now)
    return one


def test_an_exchange_is_counted_by_how_it_ended() -> None:
    metrics = Metrics()
    closed(metrics, status=200)
    closed(metrics, status=200)
    closed(metrics, Outcome.CLIENT_GONE, status=0)

    labels = {"route": "/v1/chat/completions", "model": "m"}
    assert value(metrics, "router_requests_total", **labels, status="200", outcome="ok") == 2
    assert value(metrics, "router_requests_total", **labels, status="0", outcome="client_gone") == 1


def test_times_are_measured_from_the_request_on() -> None:
    metrics = Metrics()
    closed(metrics, began=10.25, now=13.0)

    labels = {"route": "/v1/chat/completions", "model": "m"}
    assert value(metrics, "router_request_duration_seconds_sum", **labels) == 3.0
    assert value(metrics, "router_time_to_first_token_seconds_sum", **labels) == 0.25
    assert value(metrics, "router_time_to_first_token_seconds_bucket", **labels, le="0.25") == 1
    assert value(metrics, "router_time_to_first_token_seconds_bucket", **labels, le="0.1") == 0


def test_an_answer_that_never_began_has_no_time_to_it() -> None:
    metrics = Metrics()
    closed(metrics, Outcome.NO_BACKEND, status=503)

    labels = {"route": "/v1/chat/completions", "model": "m"}
    assert value(metrics, "router_time_to_first_token_seconds_count", **labels) == 0
    assert value(metrics, "router_request_duration_seconds_count", **labels) == 1


@pytest.mark.row(64)
@pytest.mark.parametrize(
    ("model", "known", "label"),
    [("devstral", True, "devstral"), ("made-up", False, "other"), (None, False, "none"), (None, True, "none")],
)
def test_a_client_cannot_make_up_label_values(model: str | None, known: bool, label: str) -> None:
    assert model_label(exchange(model=model, known_model=known)) == label


def test_the_number_of_series_is_bounded() -> None:
    """A backend that lists models without end must not fill our memory."""
    metrics = Metrics()
    for number in range(MAX_SERIES + 50):
        closed(metrics, model=f"model-{number}", status=200)

    assert len([key for key in samples(metrics) if key[0] == "router_requests_total"]) == MAX_SERIES + 1
    assert value(metrics, "router_requests_total", route="other", model="other", status="200", outcome="ok") == 50


def test_attempts_retries_and_changes_are_counted() -> None:
    metrics = Metrics()
    metrics.attempt_closed(Attempt("a:1", 1.0, AttemptOutcome.REFUSED), "m")
    metrics.attempt_closed(Attempt("b:1", 1.0, AttemptOutcome.OK), "m")
    metrics.retried(AttemptOutcome.REFUSED)
    metrics.changed(Change("a:1", ChangeKind.HEALTH, "up", "down", "refused"))
    metrics.changed(Change("a:1", ChangeKind.MODELS, "x", "x,y", "listed"))

    assert value(metrics, "router_attempts_total", backend="a:1", model="m", outcome="refused") == 1
    assert value(metrics, "router_attempts_total", backend="b:1", model="m", outcome="ok") == 1
    assert value(metrics, "router_retries_total", cause="refused") == 1
    assert value(metrics, "router_backend_changes_total", backend="a:1", change="health", to="down") == 1
    assert value(metrics, "router_backend_changes_total", backend="a:1", change="models", to="") == 1


def test_a_drain_and_an_undrain_are_told_apart() -> None:
    metrics = Metrics()
    for before, after in (("serving", "drained"), ("drained", "serving"), ("serving", "drained")):
        metrics.changed(Change("a:1", ChangeKind.DRAIN, before, after, "asked"))

    assert value(metrics, "router_backend_changes_total", backend="a:1", change="drain", to="drained") == 2
    assert value(metrics, "router_backend_changes_total", backend="a:1", change="drain", to="serving") == 1
    assert not [name for name, _ in samples(metrics) if name == "router_backend_ejections_total"]


def test_times_between_events_wait_for_the_next_beat_of_the_loop_at_most() -> None:
    """Streams only put them down; of some that are many and never end nobody else would count them."""
    metrics = counted()
    gaps = metrics.event_gaps(exchange())
    before = sum(gaps.counts) + len(gaps.waiting)
    gaps.waiting += [0.01] * 1000
    metrics.loop_lagged(0.0)

    assert gaps.waiting == []
    assert sum(gaps.counts) == before + 1000


def test_bytes_events_and_gaps_add_up() -> None:
    metrics = Metrics()
    closed(metrics, bytes_in=100, bytes_out=2000, events=7)
    closed(metrics, bytes_in=1, bytes_out=2, events=3)
    for gap in (0.004, 0.04, 0.4):
        metrics.event_gaps(exchange()).waiting.append(gap)
    metrics.event_gaps(exchange(model="made-up", known_model=False)).waiting.append(0.1)
    metrics.event_gaps(exchange(model="silent"))

    assert value(metrics, "router_body_bytes_total", direction="in") == 101
    assert value(metrics, "router_body_bytes_total", direction="out") == 2002
    assert value(metrics, "router_events_total") == 10
    assert value(metrics, "router_time_between_events_seconds_count", model="m") == 3
    assert value(metrics, "router_time_between_events_seconds_count", model="other") == 1
    assert value(metrics, "router_time_between_events_seconds_count", model="silent") is None
    assert value(metrics, "router_time_between_events_seconds_bucket", model="m", le="0.05") == 2


def live_backend(name: str) -> LiveBackend:
    return LiveBackend(BackendSpec(name, f"http://{name}"), health_rules=HealthRules(), breaker_rules=BreakerRules())


def test_backends_are_shown_as_they_are_at_the_scrape() -> None:
    good, bad = live_backend("good:1"), live_backend("bad:1")
    good.health.observe(Seen.PASSED)
    good.in_flight = 3
    bad.breaker.record(BreakerEvent.LIMIT, now=1.0, jitter=0.0, may_open=lambda: True)

    def snapshot() -> list[BackendStatus]:
        return [good.status(1.0), bad.status(1.0)]

    metrics = Metrics(backends=snapshot)
    assert value(metrics, "router_backend_up", backend="good:1") == 1
    assert value(metrics, "router_backend_usable", backend="good:1") == 1
    assert value(metrics, "router_backend_draining", backend="good:1") == 0
    assert value(metrics, "router_backend_busy", backend="good:1") == 0
    assert value(metrics, "router_backend_hung", backend="good:1") == 0
    good.health.observe(Seen.HUNG)
    assert value(metrics, "router_backend_hung", backend="good:1") == 1
    good.health.observe(Seen.MOVED)
    assert value(metrics, "router_backend_hung", backend="good:1") == 0
    assert value(metrics, "router_backend_in_flight", backend="good:1") == 3
    assert value(metrics, "router_backend_up", backend="bad:1") == 0
    assert value(metrics, "router_breaker_state", backend="bad:1", state="open") == 1
    assert value(metrics, "router_breaker_state", backend="bad:1", state="closed") == 0

    bad.health.observe(Seen.PASSED)
    assert value(metrics, "router_backend_up", backend="bad:1") == 1
    assert value(metrics, "router_backend_usable", backend="bad:1") == 0


def test_the_build_the_process_and_lost_log_lines_are_shown() -> None:
    metrics = Metrics(dropped_log_lines=lambda: 4)

    assert value(metrics, "router_build_info", version=__version__) == 1
    assert value(metrics, "router_log_lines_dropped_total") == 4
    assert value(metrics, "process_resident_memory_bytes")


def test_two_routers_in_one_process_share_nothing() -> None:
    """prometheus_client's global registry would mix them up."""
    before = list(REGISTRY.collect())
    one, other = Metrics(), Metrics()
    closed(one, status=200)

    assert not any(name == "router_requests_total" for name, _ in samples(other))
    assert [family.name for family in REGISTRY.collect()] == [family.name for family in before]


def test_every_name_has_our_prefix_or_is_of_the_process() -> None:
    metrics = Metrics(backends=lambda: [live_backend("a:1").status(0.0)], dropped_log_lines=lambda: 0)
    closed(metrics, status=200)

    assert all(name.startswith(("router_", "process_")) for name, _ in samples(metrics))


def test_openmetrics_is_spoken_to_who_asks_for_it() -> None:
    metrics = Metrics(backends=lambda: [live_backend("a:1").status(0.0)])
    closed(metrics, status=200)
    kind, body = metrics.render("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3")

    assert kind == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert {"router_requests", "router_request_duration_seconds"} <= {f.name for f in parse_openmetrics(body.decode())}
    assert metrics.render("text/html, */*")[0] == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize("traced", [False, True])
def test_promtool_finds_nothing_to_mend(tool: Callable[[str], str], traced: bool) -> None:
    """With an exemplar on it too: promtool reads the older text, where that must not be seen."""
    metrics = counted() if traced else Metrics()
    checked = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=metrics.render()[1], capture_output=True, check=False, timeout=30
    )

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_the_shipped_scrape_config_is_valid(tool: Callable[[str], str], root: Path) -> None:
    command = [tool("promtool"), "check", "config", str(root / "conf" / "prometheus.yml")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_counting_costs_little() -> None:
    """Measured: 2.2 us per exchange and 0.2 us per event; the bounds leave room for a busy machine."""
    metrics = Metrics()
    one = closed(metrics, status=200, began=10.5)
    attempt = Attempt("a:1", 1.0, AttemptOutcome.OK, 200, 2.0)

    def count() -> None:
        metrics.attempt_closed(attempt, model_label(one), began=one.began)
        metrics.exchanges_closed(sort([one]))

    assert min(timeit.repeat(count, number=1000, repeat=20)) / 1000 < 15e-6
    gaps = metrics.event_gaps(one)
    assert min(timeit.repeat(lambda: gaps.observe_all([0.02] * 10), number=100, repeat=20)) / 1000 < 2e-6


def test_ways_out_of_failures_and_of_too_much_are_counted() -> None:
    metrics = Metrics()
    metrics.resumed("text", ok=True)
    metrics.resumed("exact", ok=False)
    metrics.hedged(won=True)
    metrics.queue_rejected("full")
    metrics.queue_waited(0.2)
    metrics.shed("memory")

    assert value(metrics, "router_streams_resumed_total", mode="text", result="ok") == 1
    assert value(metrics, "router_streams_resumed_total", mode="exact", result="failed") == 1
    assert value(metrics, "router_hedges_total", result="won") == 1
    assert value(metrics, "router_queue_rejected_total", reason="full") == 1
    assert value(metrics, "router_queue_wait_seconds_count") == 1
    assert value(metrics, "router_requests_shed_total", reason="memory") == 1


def test_a_reload_is_counted_and_the_last_one_is_known() -> None:
    """A process that serves has begun with a good configuration."""
    metrics = Metrics()
    assert value(metrics, "router_config_last_reload_successful") == 1
    metrics.reloaded(ok=False)
    assert value(metrics, "router_config_last_reload_successful") == 0
    metrics.reloaded(ok=True)

    assert value(metrics, "router_config_last_reload_successful") == 1
    assert value(metrics, "router_config_reloads_total", result="ok") == 1
    assert value(metrics, "router_config_reloads_total", result="failed") == 1


def test_of_several_processes_the_certificate_that_ends_first_is_told_and_failures_are_added_up() -> None:
    one, other, plain = (Metrics(tls=lambda tls=tls: tls) for tls in ((2e9, 2), (1.9e9, 3), (None, 0)))

    assert value(one, "router_tls_certificate_expiry_seconds") == 2e9
    assert value(plain, "router_tls_certificate_expiry_seconds") is None
    _, page = render(merged([one.dump(), other.dump()]))
    assert b"\nrouter_tls_certificate_expiry_seconds 1900000000" in page
    assert b"\nrouter_tls_handshakes_failed_total 5" in page


def test_dumps_of_two_processes_make_one_page() -> None:
    """As the parent of several workers has them: through pickle, merged, and made into text by one of them."""
    one, other = (Metrics(backends=lambda: [live_backend("a:1").status(0.0)]) for _ in range(2))
    for metrics in (one, other):
        closed(metrics, status=200, began=11.0)
    dumps = [pickle.loads(pickle.dumps(metrics.dump())) for metrics in (one, other)]
    kind, page = render(merged(dumps), "application/openmetrics-text")
    families = {family.name: family for family in parse_openmetrics(page.decode())}

    assert kind.startswith("application/openmetrics-text")
    assert [sample.value for sample in families["router_requests"].samples] == [2]
    assert [sample.value for sample in families["router_workers"].samples] == [2]
    assert [sample.value for sample in families["router_build_info"].samples] == [1]
    assert [sample.value for sample in families["router_config_last_reload_successful"].samples] == [1]
    durations = families["router_request_duration_seconds"].samples
    assert [sample.value for sample in durations if sample.name.endswith("_count")] == [2]
    assert families["process_start_time_seconds"].samples[0].value == dumps[0]["process_start_time_seconds"].samples[""]


def test_tokens_are_added_up_by_model_where_an_answer_tells_them() -> None:
    metrics = Metrics()
    closed(metrics, tokens=(9, 12))
    closed(metrics, tokens=(1, 0))
    closed(metrics, tokens=None)
    closed(metrics, tokens=(5, 5), model="made-up", known_model=False)

    assert value(metrics, "router_tokens_total", model="m", direction="in") == 10
    assert value(metrics, "router_tokens_total", model="m", direction="out") == 12
    assert value(metrics, "router_answers_with_usage_total", model="m") == 2
    assert value(metrics, "router_tokens_total", model="other", direction="in") == 5


def test_a_backend_is_judged_by_its_own_time() -> None:
    """Not by that of the attempts before, nor by how quickly it fails."""
    metrics = Metrics()
    metrics.attempt_closed(Attempt("failing:1", 10.0, AttemptOutcome.SERVER_ERROR, 500, 10.1), "m")
    metrics.attempt_closed(Attempt("slow:1", 11.0, AttemptOutcome.OK, 200, 15.0), "m", began=13.0)

    assert value(metrics, "router_attempt_duration_seconds_sum", backend="slow:1") == 4.0
    assert value(metrics, "router_attempt_time_to_first_token_seconds_sum", backend="slow:1") == 2.0
    assert value(metrics, "router_attempt_duration_seconds_count", backend="failing:1") == 0
    assert value(metrics, "router_attempt_time_to_first_token_seconds_count", backend="failing:1") == 0


def test_the_beginning_of_an_answer_is_that_of_one_attempt() -> None:
    """Neither of the one beside it that was slower, nor of the one that went on with a broken stream."""
    metrics = Metrics()
    metrics.attempt_closed(Attempt("slower:1", 10.0, AttemptOutcome.SUPERSEDED, None, 12.0), "m", began=12.0)
    metrics.attempt_closed(Attempt("broke:1", 10.0, AttemptOutcome.CUT, 200, 14.0), "m", began=12.0)
    metrics.attempt_closed(Attempt("went-on:1", 14.0, AttemptOutcome.OK, 200, 15.0), "m", began=12.0)

    began = "router_attempt_time_to_first_token_seconds_count"
    assert [value(metrics, began, backend=name) for name in ("slower:1", "broke:1", "went-on:1")] == [0, 1, 0]


def test_why_a_backend_was_taken_out_is_counted() -> None:
    metrics = Metrics()
    metrics.changed(Change("a:1", ChangeKind.HEALTH, "up", "down", "hung"))
    metrics.changed(Change("a:1", ChangeKind.HEALTH, "down", "up", "passed"))
    metrics.changed(Change("a:1", ChangeKind.BREAKER, "closed", "open", "server_error"))
    metrics.changed(Change("a:1", ChangeKind.MODELS, "down", "down", "listed"))  # a model may have any name

    assert value(metrics, "router_backend_ejections_total", backend="a:1", by="health", cause="hung") == 1
    assert value(metrics, "router_backend_ejections_total", backend="a:1", by="breaker", cause="server_error") == 1
    assert len([name for name, _ in samples(metrics) if name == "router_backend_ejections_total"]) == 2


def test_a_trace_is_the_example_of_its_bucket_in_openmetrics_only() -> None:
    metrics = Metrics(wall_clock=lambda: 1_700_000_000.25)
    closed(metrics, now=10.4, status=200)
    closed(metrics, now=10.45, status=200, trace=trace(TRACE_ID), began=10.2)
    closed(metrics, now=10.46, status=200, began=10.2)
    page = metrics.render("application/openmetrics-text")[1].decode()
    found = [sample for family in parse_openmetrics(page) for sample in family.samples if sample.exemplar]

    assert [(one.name, one.labels["le"], one.exemplar.value) for one in found] == [
        ("router_request_duration_seconds_bucket", "0.5", pytest.approx(0.45)),
        ("router_time_to_first_token_seconds_bucket", "0.25", pytest.approx(0.2)),
    ]
    for one in found:
        assert one.exemplar.labels == {"trace_id": TRACE_ID}
        assert float(one.exemplar.timestamp) == 1_700_000_000.25
    assert TRACE_ID not in metrics.render()[1].decode()


def test_a_trace_whose_answer_never_began_is_no_example_of_a_beginning() -> None:
    metrics = Metrics()
    closed(metrics, now=10.4, status=200, trace=trace("a" * 32), began=10.2)
    closed(metrics, Outcome.BACKEND_ERROR, status=502, trace=trace("b" * 32))
    page = metrics.render("application/openmetrics-text")[1].decode()
    marked = {(line.partition("_bucket{")[0], line.partition('trace_id="')[2][:1]) for line in page.splitlines()}

    assert {pair for pair in marked if pair[1]} == {
        ("router_request_duration_seconds", "a"),
        ("router_request_duration_seconds", "b"),
        ("router_time_to_first_token_seconds", "a"),
    }


@pytest.mark.parametrize(
    ("is_clients", "is_sampled", "is_told"),
    [(True, False, True), (True, True, True), (False, True, True), (False, False, False)],
)
def test_a_trace_that_nobody_knows_of_is_no_example(is_clients: bool, is_sampled: bool, is_told: bool) -> None:
    metrics = Metrics()
    closed(metrics, status=200, began=10.5, trace=trace(TRACE_ID, is_clients=is_clients, is_sampled=is_sampled))

    assert metrics.render("application/openmetrics-text")[1].count(TRACE_ID.encode()) == (2 if is_told else 0)


def test_of_several_processes_the_newest_example_is_told() -> None:
    dumps = []
    for at, trace_id in ((5.0, "a" * 32), (7.0, "b" * 32), (6.0, "c" * 32)):
        metrics = Metrics(wall_clock=lambda at=at: at)
        closed(metrics, status=200, began=10.5, trace=trace(trace_id))
        dumps.append(pickle.loads(pickle.dumps(metrics.dump())))
    page = render(merged(dumps), "application/openmetrics-text")[1]

    assert page.count(b'trace_id="') == page.count(b'trace_id="' + b"b" * 32) == 2  # of its whole and its beginning


def series(metrics: Metrics) -> set[tuple[str, str]]:
    """Every family's labels; quicker than reading the page."""
    return {(name, text) for name, family in metrics.dump().items() for text in (*family.samples, *family.counts)}


def count_one_of(metrics: Metrics, number: int, *, known: bool) -> None:
    """Count an exchange for a model and a path that nobody else asks for, of a client that nobody else is."""
    own: dict[str, object] = {
        **{"client": f"2001:db8::{number:x}", "tenant": f"key:{number:024x}", "client_cert": f"CN=client-{number}"},
        **{"session": f"session-{number}", "headers": {"user-agent": f"agent-{number}"}, "param": f"param-{number}"},
    }
    one = closed(
        metrics,
        **{"model": f"model-{number}", "known_model": known, "status": 200, "began": 10.5, "tokens": (1, 1), **own},
        trace=trace(f"{number:032x}"),
    )
    metrics.attempt_closed(Attempt("a:1", 10.0, AttemptOutcome.OK, 200, 11.0), model_label(one), began=10.5)
    metrics.event_gaps(one).waiting.append(0.01)
    closed(metrics, Outcome.REJECTED, route="other", path=f"/path/{number}", model=None, status=404, **own)


def test_100_000_clients_and_models_and_paths_that_nobody_serves_leave_the_number_of_series_as_it_was() -> None:
    metrics = counted()
    count_one_of(metrics, 0, known=False)
    before = series(metrics)
    for number in range(1, 100_000):
        count_one_of(metrics, number, known=False)

    assert series(metrics) == before
    assert value(metrics, "router_tokens_total", model="other", direction="in") == 100_000
    assert value(metrics, "router_requests_total", route="other", model="none", status="404", outcome="rejected") == 1e5


def test_models_without_end_that_a_backend_lists_are_told_apart_up_to_a_bound() -> None:
    metrics = counted()
    for number in range(MAX_ATTEMPTS + 10):
        count_one_of(metrics, number, known=True)
    before = series(metrics)
    for number in range(MAX_ATTEMPTS + 10, MAX_ATTEMPTS + 1000):
        count_one_of(metrics, number, known=True)

    assert series(metrics) == before
    assert len([name for name, _ in before if name == "router_tokens"]) == 2 * (MAX_MODELS + 1)
    assert len([name for name, _ in before if name == "router_attempts"]) == MAX_ATTEMPTS + 1


def test_what_an_alert_asks_the_increase_of_is_there_before_it_increases() -> None:
    """Prometheus sees no increase in a series that begins with 1: the first alarm would be nobody's."""
    assert value(counted(), "router_backend_changes_total", backend="a:1", change="alarm", to="") == 0
