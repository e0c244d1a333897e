"""The one process of a router without workers; with two, the end goes alike."""

import signal
from collections.abc import Callable

import pytest

from tests.process.running import Router, Stream, ask, refuses, until

Start = Callable[..., Router]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_warns_then_listens_no_more_and_finishes_what_is_at_work(start: Start, workers: int) -> None:
    router = start(workers, {"server": {"drain_delay": "1s"}})
    stream = Stream(router, tokens=120)
    until(stream.has_begun, "a stream")
    with router.connect() as sock:
        assert ask(sock, "GET", "/readyz")[0] == 200
        router.signal(signal.SIGTERM)
        until(lambda: router.ask("GET", "/readyz")[0] == 503, "not being ready, on a new connection")
        assert ask(sock, "GET", "/readyz")[0] == 503
        assert router.chat() == 200, "what comes nevertheless is served"
    until(lambda: refuses(router), "listening no more")

    assert stream.is_whole
    assert router.wait() == 0
    assert not [pid for pid in router.started if router.workers()]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_signal_ends_streams_at_once_with_an_error_event(start: Start, workers: int) -> None:
    router = start(workers)
    stream = Stream(router, tokens=4000)
    until(stream.has_begun, "a stream")
    router.signal(signal.SIGTERM)
    until(lambda: refuses(router), "listening no more")
    router.signal(signal.SIGINT)

    assert router.wait() == 0
    assert b'data: {"error":' in stream.end()
    assert stream.data.endswith(b"\r\n0\r\n\r\n"), "the body ends regularly"
    assert b"[DONE]" not in stream.data


def test_a_new_configuration_says_how_long_the_end_may_take(start: Start) -> None:
    router = start(1, {"server": {"drain_timeout": "10m"}})
    stream = Stream(router, tokens=4000)
    until(stream.has_begun, "a stream")
    router.write({**router.config, "server": {**router.config["server"], "drain_timeout": "300ms"}})
    router.signal(signal.SIGHUP)
    until(lambda: router.metric("router_config_reloads_total", "ok") == 1, "a reload")
    router.signal(signal.SIGTERM)

    assert router.wait() == 0
    assert b'data: {"error":' in stream.end()
