"""The process: real children, real signals, real sockets."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.processes import free_port

STANDIN = Path(__file__).parent / "standin.py"
TIMEOUT = 15  # seconds for anything that a child should do at once


class Child:
    """One process that runs router.server, and what it says."""

    def __init__(self, *args: str, environ: dict[str, str] | None = None, **options: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(STANDIN), *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environ or {})},
            **options,  # type: ignore[call-overload]
        )

    def wait_for(self, line: str) -> list[str]:
        """Read its output up to a line."""
        seen: list[str] = []
        while not seen or seen[-1] != line:
            text = self.process.stdout.readline()
            assert text, f"ended after {seen}: {self.process.stderr.read()}"
            seen.append(text.strip())
        return seen

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        """Wait for its end; return exit code, output and errors."""
        out, err = self.process.communicate(timeout=TIMEOUT)
        return self.process.returncode, out, err


@pytest.fixture
def start() -> Iterator[Callable[..., Child]]:
    """Start children that do not outlive the test."""
    children: list[Child] = []

    def start(*args: str, environ: dict[str, str] | None = None, **options: object) -> Child:
        children.append(Child(*args, environ=environ, **options))
        return children[-1]

    yield start
    for child in children:
        if child.process.poll() is None:
            child.process.kill()
        child.process.communicate()


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A service manager's notification socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(TIMEOUT)
        yield sock


def connect(address: int | str) -> socket.socket:
    """Connect to a port or a unix socket, waiting until somebody listens."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            if isinstance(address, int):
                return socket.create_connection(("127.0.0.1", address), timeout=TIMEOUT)
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(TIMEOUT)
            sock.connect(address)
            return sock
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def ask(sock: socket.socket, path: str) -> None:
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


def read_until(sock: socket.socket, mark: bytes) -> bytes:
    data = b""
    while mark not in data:
        piece = sock.recv(65536)
        assert piece, f"closed after {data!r}"
        data += piece
    return data


def read_all(sock: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := sock.recv(65536):
            data += piece
    return data


def test_it_serves_until_a_signal_and_ends_with_zero(start: Callable[..., Child], port: int) -> None:
    child = start(str(port))
    with connect(port) as sock:
        ask(sock, "/pid")
        assert read_until(sock, b"\r\n\r\n" + str(child.process.pid).encode()).startswith(b"HTTP/1.1 200")
        child.signal(signal.SIGTERM)
        assert read_all(sock) == b"", "an idle connection is closed without a word"
    code, out, err = child.end()

    assert (code, out.split()) == (0, ["started", "draining", "stopped"])
    assert err == ""


def test_work_is_finished_and_nobody_new_comes_in(start: Callable[..., Child], port: int) -> None:
    child = start(str(port))
    with connect(port) as sock:
        ask(sock, "/slow?for=1")
        child.wait_for("started")
        time.sleep(0.2)
        child.signal(signal.SIGINT)
        child.wait_for("draining")
        time.sleep(0.1)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        answer = read_all(sock)
    code, out, _ = child.end()

    assert answer.endswith(b"done")
    assert b"connection: close" in answer.lower()
    assert (code, out.split()) == (0, ["stopped"])


def test_what_does_not_end_in_time_is_cut_in_order(start: Callable[..., Child], port: int) -> None:
    """The application ends its streams itself, before their connections are closed."""
    child = start(str(port), "--drain", "0.3")
    with connect(port) as sock:
        ask(sock, "/stream")
        read_until(sock, b"tick")
        child.signal(signal.SIGTERM)
        answer = read_all(sock)
    code, _, _ = child.end()

    assert answer.endswith(b"data: cut\n\n\r\n0\r\n\r\n")
    assert code == 0


def test_a_second_signal_ends_the_waiting(start: Callable[..., Child], port: int) -> None:
    child = start(str(port), "--drain", "600")
    with connect(port) as sock:
        ask(sock, "/stream")
        read_until(sock, b"tick")
        child.signal(signal.SIGTERM)
        child.wait_for("draining")
        child.signal(signal.SIGTERM)
        code, _, _ = child.end()

    assert code == 0


def test_a_port_in_use_is_named_and_the_exit_code_is_one(start: Callable[..., Child]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, out, err = start(str(port)).end()

    assert code == 1
    assert out == ""
    assert err == (
        f"devstral-router: cannot listen on 127.0.0.1:{port}: already in use; "
        "stop the other process, or set another server.port (--port)\n"
    )


def test_what_the_application_cannot_open_is_told_without_a_traceback(start: Callable[..., Child], port: int) -> None:
    code, _, err = start(str(port), "--no-start", "no such log").end()

    assert (code, err) == (
        1,
        "devstral-router: cannot start, a file that the configuration names cannot be opened: [Errno 2] no such log\n",
    )


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_reopens_the_logs_and_stops_nothing(start: Callable[..., Child], port: int, number: int) -> None:
    child = start(str(port))
    child.wait_for("started")
    with connect(port) as sock:
        ask(sock, "/pid")
        read_until(sock, b"\r\n\r\n")
        child.signal(number)
        child.wait_for("reopened")
        ask(sock, "/pid")
        assert read_until(sock, b"\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_a_unix_socket_serves_beside_the_port_and_is_removed(
    start: Callable[..., Child], port: int, tmp_path: Path
) -> None:
    path = tmp_path / "router.sock"
    child = start(str(port), "--unix", str(path))
    for address in (port, str(path)):
        with connect(address) as sock:
            ask(sock, "/pid")
            assert str(child.process.pid).encode() in read_until(sock, str(child.process.pid).encode())
    child.signal(signal.SIGTERM)

    assert child.end()[0] == 0
    assert not path.exists()


def test_a_unix_socket_of_a_living_process_is_not_taken(start: Callable[..., Child], port: int, tmp_path: Path) -> None:
    path = tmp_path / "router.sock"
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(path))
        taken.listen()
        code, _, err = start(str(port), "--unix", str(path)).end()

    assert code == 1
    assert f"cannot listen on {path}: already in use" in err
    assert path.exists()


def test_the_successors_socket_file_survives_our_end(start: Callable[..., Child], port: int, tmp_path: Path) -> None:
    """A new process may take the path while the old one still drains."""
    path = tmp_path / "router.sock"
    old = start(str(port), "--unix", str(path))
    with connect(str(path)) as sock:
        ask(sock, "/slow?for=2")
        time.sleep(0.2)
        old.signal(signal.SIGTERM)
        old.wait_for("draining")
        new = start("0", "--unix", str(path))
        new.wait_for("started")
        assert read_all(sock).endswith(b"done")
        assert old.end()[0] == 0

    with connect(str(path)) as sock:
        ask(sock, "/pid")
        assert read_until(sock, str(new.process.pid).encode())


def test_the_service_manager_hears_of_ready_watchdog_and_stopping(
    start: Callable[..., Child], port: int, manager: socket.socket
) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "200000"}
    child = start(str(port), "--drain", "7", environ=environ)
    heard = [manager.recv(4096).decode()]
    while not heard[-1].startswith("READY=1"):
        heard.append(manager.recv(4096).decode())
    assert heard[-1] == f"READY=1\nSTATUS=listens on 127.0.0.1:{port}"

    started = time.monotonic()
    beats = [manager.recv(4096) for _ in range(5)]
    assert beats == [b"WATCHDOG=1"] * 5
    assert time.monotonic() - started < 5

    child.signal(signal.SIGTERM)
    while not heard[-1].startswith("STOPPING=1"):
        heard.append(manager.recv(4096).decode())
    assert heard[-1] == "STOPPING=1\nSTATUS=finishing what is at work\nEXTEND_TIMEOUT_USEC=37000000"
    assert child.end()[0] == 0


@pytest.mark.row(85)
def test_a_loop_that_stands_still_sends_no_watchdog(
    start: Callable[..., Child], port: int, manager: socket.socket
) -> None:
    """The beat comes from the loop itself, so the manager notices and starts the router anew."""
    child = start(str(port), environ={"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "100000"})
    with connect(port) as sock:
        ask(sock, "/block")
        child.wait_for("blocked")
        manager.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while manager.recv(4096):
                pass
        manager.settimeout(0.5)
        with pytest.raises(TimeoutError):
            manager.recv(4096)


@pytest.mark.row(85)
def test_sockets_of_the_service_manager_are_served_instead_of_our_own(start: Callable[..., Child]) -> None:
    """Socket activation: the listening socket outlives the process, so a restart refuses nobody."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]

        def pass_socket() -> None:
            os.dup2(held.fileno(), 3)

        for _ in range(2):
            # The port of its own is not bindable: it must not even try.
            child = start(str(port), "--activated", environ={"LISTEN_FDS": "1"}, preexec_fn=pass_socket, pass_fds=(3,))
            with connect(port) as sock:
                ask(sock, "/pid")
                assert read_until(sock, str(child.process.pid).encode())
            child.signal(signal.SIGTERM)
            assert child.end()[0] == 0
