"""Rules of router/tracing/tracer.py, before a real router and a collector that reads what OpenTelemetry's SDK sends."""

import asyncio
import builtins
import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from router import parts
from router.config.schema import Config
from router.errors import ConfigError
from router.simulator.faults import Break
from router.simulator.server import Simulator
from router.simulator.settings import Settings
from tests.front import CHAT, broken, front, run, until

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CANARY = "sk-canary-3141592653"


def posted(backend: Simulator) -> list[dict[str, str]]:
    """The headers of each request that it got, by their names in lower case."""
    seen = [each.headers for each in backend.requests if each.method == "POST"]
    return [{name.decode().lower(): value.decode() for name, value in headers} for headers in seen]


class Collector(http.server.ThreadingHTTPServer):
    """Takes OTLP by HTTP."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[bytes] = []
        self.paths: list[str] = []

    def spans(self) -> list[dict[str, Any]]:
        found = []
        for raw in self.requests:
            for of_resource in ExportTraceServiceRequest.FromString(raw).resource_spans:
                resource = {one.key: one.value.string_value for one in of_resource.resource.attributes}
                for scoped in of_resource.scope_spans:
                    for span in scoped.spans:
                        attributes = {one.key: _value(one.value) for one in span.attributes}
                        found.append({"span": span, "resource": resource, **attributes})
        return found


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Collector = self.server  # type: ignore[assignment]  # it is one
        server.paths.append(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            import gzip

            body = gzip.decompress(body)
        server.requests.append(body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _value(value: Any) -> object:
    kind = value.WhichOneof("value")
    return [_value(one) for one in value.array_value.values] if kind == "array_value" else getattr(value, kind)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def config(collector: Collector, **more: object) -> dict[str, Any]:
    return {"tracing": {"enabled": True, "endpoint": f"http://127.0.0.1:{collector.server_port}", **more}}


def test_an_exchange_is_told_with_all_its_parts_and_the_backend_belongs_to_its_attempt(collector: Collector) -> None:
    told: list[str] = []
    names: list[str] = []

    async def test() -> None:
        async with front(Settings(tokens=6), Settings(tokens=6), config=config(collector)) as cluster:
            broken(cluster.backends[0], status=503)
            headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "Authorization": f"Bearer {CANARY}"}
            for _ in range(4):
                answer = await cluster.ask("/v1/chat/completions", {**CHAT, "stream": True}, headers=headers)
                assert answer.code == 200
            told.extend(headers["traceparent"] for backend in cluster.backends for headers in posted(backend))
            names.extend(backend.spec.name for backend in cluster.app.registry.backends)

    run(test)
    spans = collector.spans()
    assert set(collector.paths) == {"/v1/traces"}
    assert {one["span"].trace_id.hex() for one in spans} == {TRACE}
    assert {one["resource"]["service.name"] for one in spans} == {"devstral-router"}
    by_id = {one["span"].span_id.hex(): one for one in spans}
    assert len(by_id) == len(spans)
    servers = [one for one in spans if one["span"].name == "POST /v1/chat/completions"]
    assert len(servers) == 4
    for one in servers:
        assert one["span"].parent_span_id.hex() == PARENT
        assert one["http.response.status_code"] == 200
        assert one["router.outcome"] == "ok"
    attempts = [one for one in spans if one["span"].name == "chat simulated-model"]
    assert {one["router.outcome"] for one in attempts} == {"ok", "overloaded"}
    assert {f"{one['server.address']}:{one['server.port']}" for one in attempts} == set(names)
    assert set(told) == {f"00-{TRACE}-{one['span'].span_id.hex()}-01" for one in attempts}
    for one in spans:
        span = one["span"]
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
        if one not in servers:
            above = by_id[span.parent_span_id.hex()]["span"]
            assert above.start_time_unix_nano <= span.start_time_unix_nano
            assert span.end_time_unix_nano <= above.end_time_unix_nano
    assert {one["span"].name for one in spans} >= {"first byte", "stream"}
    assert not any(CANARY.encode() in raw or b"Say hello" in raw for raw in collector.requests)


def test_a_broken_stream_is_told_as_two_attempts_of_one_exchange(collector: Collector) -> None:
    async def test() -> None:
        async with front(Settings(tokens=9), Settings(tokens=9), config=config(collector)) as cluster:
            broken(cluster.backends[0], break_as=Break.CUT, break_after=4, count=1)
            for _ in range(2):
                await cluster.chat(stream=True)

    run(test)
    spans = collector.spans()
    (resumed,) = [one for one in spans if one.get("router.resumed")]
    of_one = [one for one in spans if one["span"].trace_id == resumed["span"].trace_id]
    cut, went_on = sorted((one for one in of_one if "router.attempt" in one), key=lambda one: one["router.attempt"])
    assert [cut["router.outcome"], went_on["router.outcome"]] == ["cut", "ok"]
    assert cut["span"].status.code == 2
    parts = {
        (one["span"].parent_span_id, one["span"].name): one
        for one in of_one
        if one["span"].name in ("first byte", "stream")
    }
    assert len(parts) == 4, "each has a first byte and a stream"
    for attempt in (cut, went_on):
        first, stream = parts[attempt["span"].span_id, "first byte"], parts[attempt["span"].span_id, "stream"]
        assert first["span"].start_time_unix_nano == attempt["span"].start_time_unix_nano
        assert first["span"].end_time_unix_nano == stream["span"].start_time_unix_nano
    events = [parts[attempt["span"].span_id, "stream"]["router.events"] for attempt in (cut, went_on)]
    assert events[0] == 4
    assert events[1] > 4


def test_a_wait_after_a_failed_attempt_is_told_where_it_was(collector: Collector) -> None:
    async def test() -> None:
        own = {**config(collector), "breaker": {"enabled": False}, "backend_options": [{}, {"max_connections": 1}]}
        async with front(Settings(), Settings(ttft=0.5), config=own) as cluster:
            broken(cluster.backends[0], reset=True)
            answers = await asyncio.gather(*(cluster.chat() for _ in range(3)))
            assert {answer.code for answer in answers} == {200}

    run(test)
    spans = collector.spans()
    waits = [one for one in spans if one["span"].name == "queue" and one["router.attempts"] == 1]
    assert waits
    for one in waits:
        first, second = (
            each["span"]
            for number in (1, 2)
            for each in spans
            if each["span"].trace_id == one["span"].trace_id and each.get("router.attempt") == number
        )
        assert first.end_time_unix_nano <= one["span"].start_time_unix_nano
        assert one["span"].end_time_unix_nano <= second.start_time_unix_nano
        assert one["span"].end_time_unix_nano - one["span"].start_time_unix_nano > 0.2e9


def test_only_the_attempt_whose_answer_was_taken_has_a_first_byte(collector: Collector) -> None:
    async def test() -> None:
        own = {**config(collector), "hedge": {"after": 0.1}, "retry": {"budget": 1.0}}
        async with front(Settings(), Settings(), config=own) as cluster:
            broken(cluster.backends[0], hang=True)
            for _ in range(2):
                body = {"model": "simulated-model", "input": "a"}
                assert (await cluster.ask("/v1/embeddings", body)).code == 200

    run(test)
    spans = collector.spans()
    outcomes = {one["span"].span_id: one["router.outcome"] for one in spans if "router.attempt" in one}
    assert sorted(outcomes.values()) == ["ok", "ok", "superseded"]
    assert [outcomes[one["span"].parent_span_id] for one in spans if one["span"].name == "first byte"] == ["ok", "ok"]


def test_what_is_no_http_belongs_to_no_trace_and_a_request_that_is_refused_does(collector: Collector) -> None:
    """Whoever tries ports would fill the collector."""

    async def test() -> None:
        async with front(config=config(collector)) as cluster:
            await cluster.exchange(b"\x16\x03\x01\x02\x00\x01\r\n\r\n")
            await cluster.exchange(b"GET /v1/models HTTP/3.0\r\nHost: a\r\n\r\n")
            await until(lambda: collector.spans())
            await asyncio.sleep(0.3)

    run(test)
    assert [one["span"].name for one in collector.spans()] == ["GET /v1/models"]


def test_only_a_share_of_new_traces_is_told_and_the_backend_knows(collector: Collector) -> None:
    async def test() -> None:
        async with front(Settings(tokens=2), config=config(collector, sample=0)) as cluster:
            for _ in range(5):
                await cluster.chat()
            told = [headers["traceparent"] for headers in posted(cluster.backends[0])]
            assert len(told) == 5
            assert all(one.endswith("-00") for one in told)

    run(test)
    assert collector.requests == []


def test_where_tracing_is_off_a_clients_trace_goes_through_untouched() -> None:
    async def test() -> None:
        async with front(Settings(tokens=2)) as cluster:
            for value in (f"00-{TRACE}-{PARENT}-01", "nonsense"):
                headers = {"traceparent": value, "tracestate": "a=1"}
                answer = await cluster.ask("/v1/chat/completions", CHAT, headers=headers)
                assert answer.code == 200
                seen = posted(cluster.backends[0])[-1]
                assert (seen["traceparent"], seen["tracestate"]) == (value, "a=1")
            await cluster.chat()
            assert "traceparent" not in posted(cluster.backends[0])[-1]

    run(test)


def test_a_collector_that_is_away_or_hangs_costs_no_request_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        silent = await asyncio.start_server(lambda reader, writer: asyncio.sleep(60), "127.0.0.1", 0)
        port = silent.sockets[0].getsockname()[1]
        begun = asyncio.get_running_loop().time()
        tracing = {"tracing": {"enabled": True, "endpoint": f"http://127.0.0.1:{port}/v1/traces"}}
        async with front(Settings(tokens=2), config=tracing) as cluster:
            for _ in range(20):
                assert (await cluster.chat()).code == 200
        assert asyncio.get_running_loop().time() - begun < 15, "it did not wait for the collector"
        silent.close()

    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3")  # seconds; more than closing waits for
    before = set(threading.enumerate())
    run(test)
    # The SDK goes on trying, and draws its pauses by chance: in the tests that come next, hypothesis would object.
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(20)
    assert not any(thread.is_alive() for thread in left)


def test_without_the_sdk_the_configuration_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *more: Any) -> object:
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", missing)
    on = Config.model_validate({"tracing": {"enabled": True}})
    with pytest.raises(ConfigError, match="OpenTelemetry"):
        parts.tracer(on, share=lambda: 1.0)
    assert parts.tracer(Config(), share=lambda: 1.0) is None
