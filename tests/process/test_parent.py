"""A parent and its workers: real processes, real signals, real sockets."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.processes import free_port
from tests.process.running import (
    CHAT,
    DEADLINE,
    Load,
    Router,
    Stream,
    ask,
    stopped,
    two_workers,
    until,
)

Start = Callable[..., Router]


def test_a_killed_worker_is_replaced_and_only_its_own_exchanges_are_lost(start: Start) -> None:
    router = start(2)
    one, other = two_workers(router)
    with stopped(one):
        kept = Stream(router, tokens=60)
        until(kept.has_begun, "a stream of the other worker")
    with stopped(other):
        lost = Stream(router, tokens=500)
        until(lost.has_begun, "a stream of the one worker")
        assert [router.chat() for _ in range(5)] == [200] * 5
        time.sleep(1.2)  # its counts are told once a second
        os.kill(one, signal.SIGKILL)
        until(lambda: len(router.workers()) == 2 and one not in router.workers(), "another worker")
        until(lambda: router.said(r"worker \d \(pid \d+\) serves", times=3), "its service")
        assert router.chat() == 200, "while the other one still stands"

    assert b"[DONE]" not in lost.end()
    assert kept.is_whole
    until(lambda: router.metric("router_requests_total", "chat/completions") == 7, "five, one, and the whole stream")
    assert router.metric("router_worker_restarts_total") == 1
    assert router.metric("router_requests_in_flight") == 0
    assert router.metric("router_backend_in_flight") == 0
    assert router.said(r"ended: signal 9; started again at once")


def test_who_comes_before_the_workers_serve_waits_until_they_know_their_backends(start: Start) -> None:
    """The socket is there before them, and one of them may come later than the others: nobody is told a 503."""
    port, codes = free_port(), list[int]()

    def come_early() -> None:
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)) as sock:
                sock.settimeout(DEADLINE)
                codes.append(ask(sock, "POST", "/v1/chat/completions", CHAT)[0])
                return
            time.sleep(0.005)

    early = [threading.Thread(target=come_early, daemon=True) for _ in range(8)]
    for each in early:
        each.start()
    start(2, {"server": {"port": port}})
    for each in early:
        each.join(DEADLINE)

    assert codes == [200] * len(early)


def test_what_does_not_end_in_time_is_cut_with_an_error_event(start: Start) -> None:
    router = start(2, {"server": {"drain_timeout": "500ms"}})
    streams = [Stream(router, tokens=4000) for _ in range(8)]
    until(lambda: all(stream.has_begun() for stream in streams), "streams")
    router.signal(signal.SIGTERM)

    assert router.wait() == 0
    assert all(b'data: {"error":' in stream.end() for stream in streams)


def test_a_worker_that_cannot_start_at_all_ends_the_start_with_its_reason(start: Start, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="cannot start, a file that the configuration names cannot be opened"):
        start(2, {"logging": {"file": str(tmp_path / "no such folder" / "log")}})


def test_workers_that_end_again_and_again_are_started_ever_later(start: Start) -> None:
    router = start(2)
    two_workers(router)
    with Load(router) as load:
        for number in range(4):
            victim = until(lambda: router.workers() if len(router.workers()) == 2 else None, "two workers")[-1]
            os.kill(victim, signal.SIGKILL)
            until(lambda number=number: router.metric("router_worker_restarts_total") == number + 1, "a restart")
        load.goes_on()
    assert router.said(r"started again in 0\.[1-9] s")


def test_a_worker_that_cannot_start_again_is_tried_until_it_can_and_why_is_told(start: Start, tmp_path: Path) -> None:
    """Here its log has no folder any more; the parent's own log is still open."""
    folder, moved = tmp_path / "logs", tmp_path / "moved"
    folder.mkdir()
    router = start(2, {"logging": {"file": str(folder / "log")}})
    one, _ = two_workers(router)
    folder.rename(moved)
    os.kill(one, signal.SIGKILL)
    why = "ended: cannot start, a file that the configuration names cannot be opened"
    until(lambda: why in (moved / "log").read_text(), "the reason")
    assert router.chat() == 200, "by the other worker"

    moved.rename(folder)
    until(lambda: router.said(r"worker \d \(pid \d+\) serves", times=3), "another worker")
    assert router.chat() == 200
