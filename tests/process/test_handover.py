"""New code takes over: nobody notices."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.processes import free_port
from router.observe.notify import Notifier
from router.process.handover import MAX_LINE, VARIABLE, Handover, Predecessor, environment, explain, reasons_of
from tests.front import run
from tests.process.running import DEADLINE, Load, Router, Stream, children, is_alive, refuses, until

Start = Callable[..., Router]


@pytest.mark.parametrize("workers", [1, 2])
def test_nobody_notices_that_new_code_takes_over(start: Start, workers: int) -> None:
    router = start(workers)
    until(lambda: router.ask("GET", "/readyz")[0] == 200, "readiness")
    with Load(router) as load:
        load.goes_on()
        streams = [Stream(router, tokens=150) for _ in range(4)]
        until(lambda: all(stream.has_begun() for stream in streams), "streams")
        old = [router.hand_over()]
        load.goes_on()
        assert all(stream.is_whole for stream in streams), "those that the old process still finishes"
        old.append(router.hand_over())
        load.goes_on()
        until(lambda: not any(is_alive(pid) for pid in old), "the end of the old ones")

    assert load.failures == []
    assert router.process.wait(DEADLINE) == 0
    assert router.chat() == 200


def test_the_number_of_workers_may_be_another_one_then(start: Start) -> None:
    router = start(1)
    router.write({**router.config, "server": {**router.config["server"], "workers": 2}})
    router.hand_over()

    until(lambda: len(router.workers()) == 2, "two workers")
    assert router.chat() == 200


@pytest.mark.parametrize("workers", [1, 2])
def test_a_successor_that_cannot_start_changes_nothing(start: Start, workers: int) -> None:
    router = start(workers)
    before = router.workers()
    good = router.config_file.read_text()
    router.config_file.write_text("server: {port: nonsense}\n")
    with Load(router) as load:
        router.signal(signal.SIGUSR2)
        until(lambda: router.said(r"successor does not serve: it ended with exit code 1; we go on"), "a failure")
        load.goes_on()
        assert router.workers() == before
        assert router.said(r"the successor: configuration: server\.port \(line 1\): must be .*, not 'nonsense'")
        assert router.said(r"the successor: configuration: backends: none is configured")

        router.config_file.write_text(good)
        router.hand_over()
        load.goes_on()
    assert load.failures == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_successor_that_cannot_start_leaves_the_socket_file(start: Start, tmp_path: Path, workers: int) -> None:
    path = tmp_path / "s"
    router = start(workers, {"server": {"unix_socket": str(path), "watch_config": False}})
    router.write({**router.config, "logging": {"file": str(tmp_path / "no such folder" / "log")}})
    router.signal(signal.SIGUSR2)
    until(lambda: router.said(r"successor does not serve: it ended with exit code 1; we go on"), "a failure")
    why = r"the successor: cannot start, a file .* cannot be opened: .*/no such folder/log: No such file or directory"
    assert router.said(why), "its own log cannot tell it"

    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_successor_whose_port_is_taken_says_so_in_our_log(start: Start, workers: int) -> None:
    router = start(workers)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        router.write({**router.config, "server": {**router.config["server"], "port": port, "watch_config": False}})
        router.signal(signal.SIGUSR2)
        until(lambda: router.said(r"successor does not serve: it ended with exit code 1; we go on"), "a failure")

    assert router.said(rf"the successor: .*{port}.*in use")
    assert router.chat() == 200


def test_what_a_successor_says_of_why_it_cannot_serve_is_bounded_and_may_be_cut() -> None:
    readable, writable = os.pipe()
    Predecessor((), writable).explain(["x" * 10_000, *["a fault"] * 1000])
    os.close(writable)
    told = os.read(readable, 1 << 20)
    os.close(readable)

    assert reasons_of(told) == ["x" * 500, *["a fault"] * 49]
    assert reasons_of(told[:-1]) == reasons_of(b"") == reasons_of(b"7") == []


@pytest.mark.parametrize("sign", ["é", "\U0001f600", "\x01", "\ud800"])
def test_many_long_reasons_of_any_signs_are_told_as_far_as_there_is_room(sign: str) -> None:
    readable, writable = os.pipe()
    Predecessor((), writable).explain([sign * 500] * 50)
    os.close(writable)
    told = os.read(readable, 1 << 20)
    os.close(readable)

    assert len(told) < MAX_LINE
    assert 20 <= len(reasons_of(told)) <= 50


def test_who_was_started_by_nobody_explains_nothing() -> None:
    explain(environ := {"A": "b"}, ["a fault"])
    assert environ == {"A": "b"}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_successor_that_is_told_to_stop_before_it_serves_does_not_take_over(
    start: Start, backends: list[str], workers: int
) -> None:
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen()  # and does not answer, so that a successor waits to know it
        silent = {"url": f"http://127.0.0.1:{hole.getsockname()[1]}", "dialect": "openai"}
        backend = {"url": backends[0], "dialect": "openai"}
        router = start(workers, {"backends": [backend, silent], "health": {"timeout": "10s"}})
        before = set(children(router.pid))
        router.signal(signal.SIGUSR2)
        successor = until(lambda: set(children(router.pid)) - before, "a successor").pop()
        until(lambda: catches(successor, signal.SIGUSR2), "its looking out for signals")
        os.kill(successor, signal.SIGTERM)
        until(lambda: router.said("successor does not serve: it ended with"), "a failure")

    assert not is_alive(successor)
    assert router.chat() == 200


def catches(pid: int, number: int) -> bool:
    return among("SigCgt", pid, number)


def waits(pid: int, number: int) -> bool:
    """Whether the signal was sent and not yet taken."""
    return among("ShdPnd", pid, number)


def among(signals: str, pid: int, number: int) -> bool:
    found = re.search(rf"{signals}:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    return found is not None and bool(int(found.group(1), 16) >> (number - 1) & 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_who_stops_starts_no_successor(start: Start, workers: int) -> None:
    router = start(workers)
    stream = Stream(router, tokens=60)
    until(stream.has_begun, "a stream")
    router.signal(signal.SIGTERM)
    until(lambda: refuses(router), "listening no more")
    router.signal(signal.SIGUSR2)
    until(lambda: router.said("we are stopping already"), "a word on it")

    assert stream.is_whole
    assert router.wait() == 0
    assert not router.said(": a successor is started")


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_signal_to_one_that_was_succeeded_does_not_hurry_it(start: Start, workers: int) -> None:
    """As scripts do that first start new code and then stop the old one."""
    router = start(workers)
    stream = Stream(router, tokens=100)
    until(stream.has_begun, "a stream")
    old = router.hand_over()
    os.kill(old, signal.SIGTERM)

    assert stream.is_whole
    until(lambda: not is_alive(old), "the end of the old one")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_drained_backend_stays_drained(start: Start, backends: list[str], workers: int) -> None:
    router = start(workers)
    name = backends[0].removeprefix("http://")
    assert router.admin("POST", f"/admin/backends/{name}/drain")[0] == 200
    router.hand_over()
    assert [router.chat() for _ in range(8)] == [200] * 8

    assert router.metric("router_attempts_total", name) == 0
    assert router.metric("router_backend_draining", name) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_operators_are_told_while_an_earlier_process_has_requests(
    start: Start, backends: list[str], workers: int
) -> None:
    router = start(workers, {"admin": {"port": free_port()}})
    assert "predecessor" not in router.admin("GET", "/admin/backends")[1]
    stream = Stream(router, tokens=3000)
    until(stream.has_begun, "a stream")
    first = router.hand_over()
    second = router.hand_over()
    assert router.admin("POST", f"/admin/backends/{backends[0].removeprefix('http://')}/drain")[0] == 200
    told = [router.admin("GET", "/admin/backends")[1].get("predecessor")]
    until(lambda: not is_alive(second), "the end of the one that had nothing at work")
    assert is_alive(first)
    told += [router.admin("GET", "/admin/backends")[1].get("predecessor")]
    assert told in ([second, first], [first, first])
    shown = subprocess.run(
        [sys.executable, "-m", "router", "backends", "--config", str(router.config_file)],
        capture_output=True,
        text=True,
    ).stdout
    assert "drained, but for the earlier process" in shown
    assert f"an earlier process (pid {first}) still finishes its requests" in shown
    os.kill(first, signal.SIGTERM)
    until(lambda: not waits(first, signal.SIGTERM), "its taking of the first signal")  # else both are one
    os.kill(first, signal.SIGTERM)  # twice: now
    until(lambda: not is_alive(first), "the end of the first one")
    until(lambda: "predecessor" not in router.admin("GET", "/admin/backends")[1], "an end of it")
    stream.end()


def test_a_second_order_while_one_is_carried_out_is_passed_over(start: Start) -> None:
    router = start(1)
    router.signal(signal.SIGUSR2)
    until(lambda: router.said("a successor is started"), "a start")
    router.signal(signal.SIGUSR2)
    until(lambda: router.said("a successor is there already, or being started"), "a word on it")
    router.started.append(int(until(lambda: router.said(r"process (\d+) serves"), "a successor")))
    assert router.process.wait(DEADLINE) == 0


@contextlib.contextmanager
def listening(manager: socket.socket) -> Iterator[list[str]]:
    """Take what a service manager is told, as soon as it comes."""
    heard: list[str] = []
    over = threading.Event()
    manager.settimeout(0.1)

    def listen() -> None:
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                heard.append(manager.recv(4096).decode())

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield heard
    finally:
        over.set()
        thread.join(DEADLINE)


def test_the_service_manager_is_told_of_the_new_main_process(start: Start, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        with listening(manager) as heard:
            environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
            router = start(1, **environ)
            old = router.hand_over()
            until(lambda: f"MAINPID={router.pid}\nREADY=1" in heard, "a word on the successor")
            until(lambda: not is_alive(old), "the end of the old one")
            before = len(heard)
            # Of the old one there may be a last one still to be read; WATCHDOG_PID named that one.
            until(lambda: heard[before:].count("WATCHDOG=1") >= 3, "beats of the successor")
            assert not [line for line in heard if "STOPPING" in line], "the service does not stop"


def test_a_service_manager_that_is_busy_is_told_of_the_new_main_process_a_moment_later(
    start: Start, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        router = start(1, NOTIFY_SOCKET=str(tmp_path / "notify"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    other.sendto(b"STATUS=busy", str(tmp_path / "notify"))
        router.signal(signal.SIGUSR2)
        until(lambda: router.said("listens on", times=2), "a successor")
        time.sleep(0.5)  # in which the manager would have been told, but for the queue of others' words
        with listening(manager) as heard:
            router.started.append(int(until(lambda: router.said(r"process (\d+) serves"), "its serving")))
            until(lambda: f"MAINPID={router.pid}\nREADY=1" in heard, "a word on the successor")


def test_a_socket_file_and_a_socket_of_the_service_manager_are_handed_on(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "s"
    router = start(1, {"server": {"unix_socket": str(path)}})
    old = router.hand_over()
    until(lambda: not is_alive(old), "the end of the old one")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 200")

    os.kill(router.pid, signal.SIGTERM)
    until(lambda: not path.exists(), "the removal of the file")


def test_one_that_takes_too_long_is_killed_and_told_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-c", "import time; time.sleep(600)"])

    async def test() -> None:
        handover = Handover([], Notifier(None), done=lambda: pytest.fail("nobody has taken over"))
        handover.start_limit = 0.3
        handover.begin()
        while "we go on" not in caplog.text:
            await asyncio.sleep(0.02)
        assert "it was not ready within" in caplog.text
        handover.begin()  # may be tried again
        await asyncio.sleep(0.1)
        await handover.cancel()

    run(test)
    left = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children(os.getpid())]
    assert not [words for words in left if b"sleep(600)" in words]


def test_a_successor_of_another_word_is_killed_and_may_be_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    talk = f"import json, os, time; os.write(json.loads(os.environ['{VARIABLE}'])['pipe'], b'done\\n'); time.sleep(600)"
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-c", talk])

    async def test() -> None:
        handover = Handover([], Notifier(None), done=lambda: pytest.fail("nobody has taken over"))
        for times in (1, 2):
            handover.begin()
            while caplog.text.count("is not understood") < times:
                await asyncio.sleep(0.02)
        await handover.cancel()

    run(test)
    left = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children(os.getpid())]
    assert not [words for words in left if b"sleep(600)" in words]


def test_process_one_of_a_container_stays(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 1)
    Handover([], Notifier(None), done=lambda: pytest.fail("nobody has taken over")).begin()

    assert "start a new container" in caplog.text


def test_children_do_not_get_what_is_meant_for_us_alone() -> None:
    ours = {"LISTEN_PID": "1", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a", "WATCHDOG_PID": "1", VARIABLE: "x"}

    assert environment({**ours, "A": "b"}) == {"A": "b"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"sockets": [], "pipe": 0, "drained": [], "earlier": 7}',
        '{"sockets": [{}], "pipe": 5, "drained": []}',
        '{"sockets": [], "pipe": "x", "drained": []}',
    ],
)
def test_what_no_predecessor_has_written_is_passed_over(text: str) -> None:
    environ = {VARIABLE: text}

    assert Predecessor.take(environ) is None
    assert environ == {}


def test_the_rest_of_the_package_leaves_no_process(backends: list[str]) -> None:
    """Each test kills what it started; here is seen that a parent's workers are among that."""
    found = subprocess.run(["ps", "-eo", "ppid,args"], capture_output=True, text=True, check=True).stdout
    orphans = [line for line in found.splitlines() if "router.process.worker" in line and line.split()[0] == "1"]

    assert not orphans
