"""All workers as one: orders, configurations and counts, with real processes."""

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.running import (
    CHAT,
    Router,
    stopped,
    two_workers,
    until,
)

Start = Callable[..., Router]


def test_an_order_reaches_all_workers_and_those_that_come_later(start: Start, backends: list[str]) -> None:
    router = start(2)
    workers = two_workers(router)
    name = backends[0].removeprefix("http://")
    status, _ = router.admin("POST", f"/admin/backends/{name}/drain")
    assert status == 200
    for worker in workers:
        with stopped(worker):
            assert [router.chat() for _ in range(4)] == [200] * 4
    assert router.metric("router_attempts_total", name) == 0

    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    until(lambda: len(router.workers()) == 2 and not set(workers) & set(router.workers()), "other workers")
    assert [router.chat() for _ in range(8)] == [200] * 8
    assert router.metric("router_attempts_total", name) == 0

    assert router.admin("POST", f"/admin/backends/{name}/undrain")[0] == 200
    assert [router.chat() for _ in range(8)] == [200] * 8
    assert router.metric("router_attempts_total", name) > 0


def test_an_order_reaches_a_worker_that_starts_while_it_is_carried_out(start: Start, backends: list[str]) -> None:
    router = start(2)
    one, other = two_workers(router)
    name = backends[0].removeprefix("http://")
    with stopped(other):
        sock = router.connect(router.admin_port)
        head = f"POST /admin/backends/{name}/drain HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        sock.sendall(f"{head}Content-Length: 2\r\n\r\n{{}}".encode())
        until(lambda: router.said(rf"backend {name}: \w+ \w+ -> drained"), "the first worker's part")
        os.kill(one, signal.SIGKILL)
        until(lambda: router.said(r"worker \d \(pid \d+\) serves", times=3), "another worker")
    sock.close()
    until(lambda: router.said(rf"backend {name}: \w+ \w+ -> drained", times=3), "that all know it")
    with stopped(other):
        assert b'"drained":true' in router.ask("GET", f"/admin/backends/{name}", port=router.admin_port)[1]


def test_a_configuration_is_taken_up_where_no_worker_runs(start: Start, tmp_path: Path) -> None:
    """It may be what lets them live again."""
    folder = tmp_path / "logs"
    folder.mkdir()
    router = start(2, {"logging": {"file": str(folder / "log")}, "server": {"watch_config": False}})
    workers = two_workers(router)
    folder.rename(tmp_path / "moved")
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    moved = tmp_path / "moved" / "log"
    until(lambda: moved.read_text().count("ended: cannot start") >= 2, "workers that cannot live")
    router.write({**router.config, "logging": {"file": str(tmp_path / "good.log"), "format": "text"}})
    router.signal(signal.SIGHUP)
    good = tmp_path / "good.log"
    until(lambda: good.exists() and "worker 1 (pid" in good.read_text(), "the new configuration")

    until(lambda: len(router.workers()) == 2 and router.chat() == 200, "workers that live")


def test_a_new_configuration_reaches_all_workers_and_a_bad_one_none(start: Start, backends: list[str]) -> None:
    router = start(2, {"server": {"watch_config": False}})
    workers = two_workers(router)
    gone = backends[0].removeprefix("http://")
    router.write({**router.config, "backends": [{"url": backends[1], "dialect": "openai"}]})
    router.signal(signal.SIGHUP)
    until(lambda: router.metric("router_config_reloads_total", "ok") == 1, "a reload")
    for worker in workers:
        with stopped(worker):
            assert gone not in router.ask("GET", "/health")[1].decode()
    assert router.workers() == workers

    router.write({**router.config, "backends": "nonsense"})
    status, answer = router.admin("POST", "/admin/reload")
    assert status == 422
    assert "backends" in str(answer)
    assert router.metric("router_config_last_reload_successful") == 0
    assert router.chat() == 200


def test_an_order_on_the_log_reaches_all_processes_and_those_that_start_later(start: Start) -> None:
    router = start(2, {"server": {"watch_config": False}})
    workers = two_workers(router)
    assert router.admin("POST", "/admin/log", {"sample": "50%"})[0] == 200
    status, answer = router.admin("POST", "/admin/log", {"level": "critical"})
    assert (status, answer["changes"]) == (200, ["logging.level: info -> critical"])
    status, answer = router.admin("POST", "/admin/log", {"level": "loud", "file": "/x"})
    assert (status, "file: cannot be changed so" in str(answer)) == (422, True)
    os.kill(workers[0], signal.SIGKILL)
    until(lambda: len(router.workers()) == 2 and set(router.workers()) != set(workers), "another worker")
    with stopped(workers[1]):
        lines = config_of(router)  # once the new one answers
    assert "logging.level = critical  (order)" in lines
    assert "logging.sample = 50%  (order)" in lines
    assert not router.said(r"ERROR router\.process\.parent: worker \d .* ended"), "the parent goes by it too"

    router.signal(signal.SIGHUP)
    until(lambda: router.metric("router_config_reloads_total", "ok") == 1, "a reload")
    assert re.search(r"logging\.level = info  \((?!order)", config_of(router))


def config_of(router: Router) -> str:
    return router.ask("GET", "/admin/config", port=router.admin_port)[1].decode()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_a_log_that_was_moved_away_is_left_by_all_processes(start: Start, tmp_path: Path, number: int) -> None:
    """As logrotate does with `create`: whoever still wrote into the old file would be missed. SIGUSR1 does no more."""
    router = start(2, {"server": {"watch_config": False}, "logging": {"format": "json"}})
    assert router.admin("POST", "/admin/log", {"level": "debug"})[0] == 200
    moved = tmp_path / "router.log.1"
    router.log_file.rename(moved)
    router.log_file.touch(0o600)
    assert router.chat() == 200  # still told in the old one
    until(lambda: "/v1/chat/completions" in moved.read_text(), "a line in the old file")
    router.signal(number)
    if number == signal.SIGHUP:
        until(lambda: "configuration was reloaded" in router.log(), "the parent in the new file")
    else:
        time.sleep(0.5)  # every process looks within a moment
    one, other = router.workers()
    for stands in (one, other):  # so that the other one serves
        with stopped(stands):
            assert router.chat() == 200
    until(lambda: router.log().count("/v1/chat/completions") == 2, "a line of each worker")
    told = [json.loads(line) for line in (moved.read_text() + router.log()).splitlines()]

    assert {line["worker"] for line in told if line["logger"] == "router.access"} == {0, 1}
    assert ("logging.level = debug  (order)" in config_of(router)) == (number == signal.SIGUSR1)
    assert router.log_file.stat().st_mode & 0o777 == 0o600
    assert sum(line.get("route") == "/v1/chat/completions" for line in told) == 3


def test_each_worker_serves_and_their_counts_are_one(start: Start) -> None:
    router = start(2)
    one, other = two_workers(router)
    for each in (one, other):
        with stopped(each):
            assert [router.chat() for _ in range(3)] == [200] * 3
    assert [router.chat() for _ in range(10)] == [200] * 10

    assert router.metric("router_requests_total", "chat/completions") == 16
    assert router.metric("router_attempts_total") == 16
    assert router.metric("router_workers") == 2
    assert router.metric("router_backend_up") == 2, "a state is no sum"
    assert router.metric("process_resident_memory_bytes") > 60 << 20, "all processes"
    assert router.metric("router_answers_with_usage_total") == 16
    assert router.metric("router_tokens_total", 'direction="out"') == 16
    assert router.metric("router_attempt_duration_seconds_count") == 16
    assert router.metric("router_config_info") == 1, "all go by the same"
    assert 0 < router.metric("router_descriptors_used") < router.metric("process_open_fds"), "of one, not a sum"


def test_what_a_worker_has_counted_outlives_it(start: Start) -> None:
    router = start(2)
    workers = two_workers(router)
    traced = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"
    for each in workers:
        with stopped(each):
            for _ in range(3):
                assert router.ask("POST", "/v1/chat/completions", CHAT, lines=traced)[0] == 200
    for each in workers:
        os.kill(each, signal.SIGTERM)
    until(lambda: len(router.workers()) == 2 and not set(workers) & set(router.workers()), "other workers")

    until(lambda: router.metric("router_answers_with_usage_total") == 6, "the last counts of both")
    assert router.metric("router_tokens_total", 'direction="out"') == 6
    assert router.metric("router_attempt_duration_seconds_count") == 6
    assert router.metric("router_streams_in_flight") == 0
    page = router.ask("GET", "/metrics", lines="Accept: application/openmetrics-text\r\n")[1].decode()
    for name in ("router_request_duration_seconds", "router_time_to_first_token_seconds"):
        found = re.findall(rf"^{name}_bucket\{{.*?\}} (\d+)(.*)$", page, re.MULTILINE)
        counts = [int(count) for count, _ in found]
        is_filled = [after > before for before, after in zip([0, *counts], counts, strict=False)]
        has_trace = ['trace_id="4bf92f3577b34da6a3ce929d0e0e4736"' in exemplar for _, exemplar in found]
        assert any(has_trace), name
        assert has_trace == is_filled, "each bucket that has counted has one"


def test_a_scrape_does_not_wait_for_a_worker_that_stands_still(start: Start) -> None:
    router = start(2)
    one, _ = two_workers(router)
    assert router.chat() == 200
    time.sleep(1.5)  # each worker has told its counts by itself
    with stopped(one):
        began = time.monotonic()
        assert router.metric("router_requests_total", "chat/completions") == 1
        assert time.monotonic() - began < 5


def test_a_status_page_tells_of_all_workers(start: Start) -> None:
    router = start(2)
    workers = two_workers(router)
    for worker in workers:
        with stopped(worker):
            assert [router.chat() for _ in range(3)] == [200] * 3

    with router.connect(router.admin_port) as sock:
        sock.sendall(b"GET /status/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        got = b""
        while b'"requests":6,' not in got:  # of the last minute
            data = sock.recv(65536)
            assert data, got
            got += data

    assert b'"workers":2,' in got
    assert b'"worker":0,' in got or b'"worker":1,' in got
