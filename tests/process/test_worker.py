"""One worker among others: what it shares with them, and what it does alone."""

import os
import signal
import socket
from collections.abc import Callable

from tests.process.running import (
    CHAT,
    Router,
    Stream,
    is_alive,
    refuses,
    stopped,
    two_workers,
    until,
)

Start = Callable[..., Router]


def test_workers_whose_parent_is_killed_finish_their_work_and_end(start: Start) -> None:
    router = start(2)
    workers = two_workers(router)
    stream = Stream(router, tokens=60)
    until(stream.has_begun, "a stream")
    os.kill(router.pid, signal.SIGKILL)
    router.process.wait()

    until(lambda: refuses(router), "listening no more")
    assert stream.is_whole
    until(lambda: not any(is_alive(pid) for pid in workers), "the end of both")


def test_what_one_worker_sees_of_a_backend_the_other_one_knows(start: Start) -> None:
    """Without probes, so that only the exchange of facts can tell it."""
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        url = f"http://127.0.0.1:{dead.getsockname()[1]}"
        model = {"models": ["simulated-model"], "dialect": "openai"}
        router = start(
            2,
            {
                "backends": [{"url": url, **model}, {"url": "http://127.0.0.1:1", **model}],
                "health": {"enabled": False},
            },
        )
        one, other = two_workers(router)
        with stopped(other):
            for _ in range(3):
                router.chat()
        with stopped(one):
            until(lambda: router.ask("GET", "/health")[1].count(b'"breaker":"open"') == 2, "open breakers")


def test_the_limit_of_a_backend_holds_for_all_workers_together(start: Start, backends: list[str]) -> None:
    limited = {"url": backends[0], "dialect": "openai", "max_connections": 1}
    router = start(2, {"backends": [limited], "overload": {"queue_size": 0}})
    one, other = two_workers(router)
    until(lambda: router.ask("GET", "/readyz")[0] == 200, "readiness")
    with stopped(one):
        stream = Stream(router, tokens=100)
        until(stream.has_begun, "a stream through the other worker")
    with stopped(other):
        assert router.ask("POST", "/v1/chat/completions", CHAT)[0] in (429, 503)
    assert stream.is_whole
    assert until(lambda: router.chat() == 200, "room again")


def test_a_worker_that_is_told_to_end_finishes_its_work_and_is_replaced(start: Start) -> None:
    router = start(2)
    one, other = two_workers(router)
    with stopped(other):
        stream = Stream(router, tokens=40)
        until(stream.has_begun, "a stream")
    os.kill(one, signal.SIGTERM)

    assert stream.is_whole
    until(lambda: one not in router.workers() and len(router.workers()) == 2, "another worker")
    assert router.chat() == 200
