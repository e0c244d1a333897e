"""Rules of router/app.py: the parts fit, over Unix sockets and prefixes too, and the log tells of every exchange."""

import json
from pathlib import Path

from router.exchange import Exchange
from router.simulator.settings import Settings
from tests.front import broken, front, run, until


def test_every_exchange_leaves_one_line_without_body_and_secrets(tmp_path: Path) -> None:
    path = tmp_path / "access.log"

    async def test() -> None:
        async with front(Settings(), Settings(), config={"logging": {"file": str(path)}}) as cluster:
            broken(cluster.backends[0], status=503)
            broken(cluster.backends[1], status=503)
            secret = {"Authorization": "Bearer sk-canary"}
            body = {"model": "simulated-model", "messages": [{"role": "user", "content": "canary-prompt"}]}
            await cluster.ask("/v1/chat/completions", body, headers=secret)
            broken(cluster.backends[0])
            await cluster.ask("/v1/chat/completions", {**body, "model": 'evil"\nmodel'}, headers=secret)

    run(test)
    text = path.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    access = [line for line in lines if line.get("logger") == "router.access"]
    assert "canary" not in text
    assert [(line["status"], line["outcome"]) for line in access] == [(503, "backend_error"), (404, "rejected")]
    assert {attempt["outcome"] for attempt in access[0]["attempts"]} == {"overloaded"}
    assert access[1]["model"] == 'evil"\nmodel'


def test_the_line_tells_the_trace_and_headers_that_were_asked_for_and_masks_secrets(tmp_path: Path) -> None:
    path, trace = tmp_path / "access.log", "4bf92f3577b34da6a3ce929d0e0e4736"
    config = {"logging": {"file": str(path), "headers": ["User-Agent", "authorization", "X-Team"]}}

    async def test() -> None:
        async with front(config=config) as cluster:
            sent = {"User-Agent": "agent/1", "Authorization": "Bearer sk-canary", "X-Other": "canary"}
            await cluster.ask("/v1/models", headers={**sent, "traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
            await cluster.ask("/v1/models", headers={"Traceparent": "00-canary"})

    run(test)
    text = path.read_text()
    told, plain = [line for line in map(json.loads, text.splitlines()) if line["logger"] == "router.access"]
    assert told["trace"] == trace
    assert told["headers"] == {"user-agent": "agent/1", "authorization": "[redacted]"}
    assert not {"trace", "headers"} & set(plain)
    assert "canary" not in text


def test_a_backend_behind_a_path_is_reached_by_its_prefix() -> None:
    async def test() -> None:
        async with front(config={"backend_options": [{"api_prefix": "/v1"}]}) as cluster:
            await cluster.chat()
            assert {seen.target for seen in cluster.backends[0].requests} >= {"/v1/models", "/v1/chat/completions"}

    run(test)


def test_an_error_of_the_wire_has_openais_form() -> None:
    async def test() -> None:
        async with front() as cluster:
            got = await cluster.exchange(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
            head, _, body = got.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 400 ")
            assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}

    run(test)


def test_times_between_events_that_wait_are_counted_by_the_beat_of_the_loop() -> None:
    async def test() -> None:
        async with front() as it:
            gaps = it.app.metrics.event_gaps(Exchange("a", "/", "GET", 0.0, model="m", known_model=True))
            gaps.waiting += [0.01] * 3
            await until(lambda: not gaps.waiting)
            assert sum(gaps.counts) == 3

    run(test)
