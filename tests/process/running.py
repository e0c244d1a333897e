"""Routers as real processes before simulated backends, and clients that notice whatever goes wrong."""

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.front import merged

DEADLINE = 20.0  # seconds: generous, for whatever should be a matter of moments
CHAT = {"model": "simulated-model", "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 1}


def until(condition: Callable[[], Any], what: str, *, seconds: float = DEADLINE) -> Any:
    """Wait for a condition and return what it gave."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"did not come about: {what}"
        time.sleep(0.02)


class Router:
    """One router: its first process and those that succeed it."""

    def __init__(self, folder: Path, config: dict[str, Any], environ: dict[str, str]) -> None:
        self.config_file = folder / "router.yaml"
        base: dict[str, Any] = {
            "server": {"host": "127.0.0.1", "port": 0, "drain_timeout": "15s"},
            "admin": {"port": 0},
            "health": {"interval": "200ms"},
            "logging": {"format": "text", "file": str(folder / "router.log")},
        }
        self.config = merged(base, config)
        self.log_file = Path(self.config["logging"]["file"])
        self.write(self.config)
        self.errors = (folder / "errors").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "router", "serve", "--config", str(self.config_file)],
            env={**os.environ, **environ},
            stderr=self.errors,
            cwd=Path(__file__).resolve().parents[2],
        )
        self.started = [self.process.pid]
        self.trusting: ssl.SSLContext | None = None  # what clients come by TLS with
        self.admin_trusting: ssl.SSLContext | None = None  # what operators do
        try:
            line = until(lambda: self.said(r"router \S+ listens on 127\.0\.0\.1:(\d+)") or self._check(), "listening")
        except AssertionError:
            self.close()  # nobody has it yet who could
            raise
        self.port = int(line)
        self.admin_port = int(self.said(r"admin calls are taken on 127\.0\.0\.1:(\d+)") or 0)

    def write(self, config: dict[str, Any]) -> None:
        new = self.config_file.with_suffix(".new")
        new.write_text(yaml.safe_dump(config))
        new.replace(self.config_file)

    def _check(self) -> None:
        assert self.process.poll() is None, Path(self.errors.name).read_text()

    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""

    def said(self, pattern: str, *, times: int = 1) -> str | None:
        """The last match of a pattern in the log (its group, if it has one), once there are so many of them."""
        found = re.findall(pattern, self.log())
        return str(found[-1]) if len(found) >= times else None

    @property
    def pid(self) -> int:
        return self.started[-1]

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def hand_over(self) -> int:
        """Have a successor take over; return the process id of the old one."""
        old, before = self.pid, len(re.findall(r"process \d+ serves", self.log()))
        self.signal(signal.SIGUSR2)
        self.started.append(int(until(lambda: self.said(r"process (\d+) serves", times=before + 1), "a successor")))
        return old

    def workers(self) -> list[int]:
        return children(self.pid)

    def wait(self) -> int:
        return self.process.wait(DEADLINE)

    def connect(self, port: int | None = None) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", port or self.port), timeout=DEADLINE)
        context = self.trusting if port in (None, self.port) else self.admin_trusting
        return sock if context is None else context.wrap_socket(sock, server_hostname="localhost")

    def ask(
        self, method: str, path: str, body: object = None, *, port: int | None = None, lines: str = ""
    ) -> tuple[int, bytes]:
        """One request on a connection of its own; return status and body."""
        with self.connect(port) as sock:
            return ask(sock, method, path, body, lines=lines)[:2]

    def admin(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        status, raw = self.ask(method, path, body if body is not None else {}, port=self.admin_port)
        return status, json.loads(raw)

    def chat(self) -> int:
        return self.ask("POST", "/v1/chat/completions", CHAT)[0]

    def metric(self, name: str, *labels: str) -> float:
        """The sum of a metric's samples that carry these labels."""
        page = self.ask("GET", "/metrics")[1].decode()
        rows = [row for row in page.splitlines() if row.split("{")[0].split(" ")[0] == name]
        return sum(float(row.rsplit(" ", 1)[1]) for row in rows if all(label in row for label in labels))

    def close(self) -> None:
        """Kill all that is left of it."""
        for pid in [child for parent in self.started for child in [*children(parent), parent]]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.errors.close()


def children(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that stands still: whoever answers meanwhile is another one."""
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T", "standing still")
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def ask(
    sock: socket.socket, method: str, path: str, body: object = None, *, lines: str = ""
) -> tuple[int, bytes, bool]:
    """One request with further header lines; return status, body, and whether the connection stays open."""
    raw = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(raw)}\r\n"
    sock.sendall(f"{head}{lines}Content-Type: application/json\r\n\r\n".encode() + raw)
    data = b""
    while b"\r\n\r\n" not in data:
        data += received(sock, data)
    told, answer = data.split(b"\r\n\r\n", 1)
    length = re.search(rb"content-length: (\d+)", told.lower())
    assert length is not None, told
    while len(answer) < int(length.group(1)):
        answer += received(sock, answer)
    return int(told.split(b" ", 2)[1]), answer, b"connection: close" not in told.lower()


def received(sock: socket.socket, so_far: bytes) -> bytes:
    piece = sock.recv(65536)
    if not piece:
        raise EOFError(f"closed after {so_far!r}")
    return piece


class Stream:
    """A streamed chat, read by a thread of its own."""

    def __init__(self, router: Router, *, tokens: int) -> None:
        self.sock = router.connect()
        raw = json.dumps({**CHAT, "stream": True, "max_tokens": tokens}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(raw)}\r\n"
        self.sock.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + raw)
        self.data = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while not self.data.endswith(b"\r\n0\r\n\r\n"):
                piece = self.sock.recv(65536)
                if not piece:
                    break
                self.data += piece
        self.sock.close()

    def has_begun(self) -> bool:
        return b'"content":"' in self.data.replace(b": ", b":")

    def end(self) -> bytes:
        """Wait for its end and return all of it."""
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), "it goes on"
        return self.data

    @property
    def is_whole(self) -> bool:
        return self.end().endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


class Load:
    """Clients that ask without a pause, on new connections and on kept ones, and note whatever fails."""

    def __init__(self, router: Router) -> None:
        self.failures: list[str] = []
        self.counts = [0, 0]
        self._router = router
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._new, self._new, self._kept)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(DEADLINE)

    def _new(self) -> None:
        while not self._ending.is_set():
            try:
                status, _ = self._router.ask("GET", "/v1/models")
                self._note(0, status)
            except (OSError, EOFError) as error:
                self.failures.append(f"new connection: {error!r}")
            time.sleep(0.001)

    def _kept(self) -> None:
        sock: socket.socket | None = None
        while not self._ending.is_set():
            try:
                sock = sock or self._router.connect()
                status, _, stays = ask(sock, "POST", "/v1/chat/completions", CHAT)
                self._note(1, status)
                if not stays:
                    sock.close()
                    sock = None
            except (OSError, EOFError) as error:
                self.failures.append(f"kept connection: {error!r}")
                sock = None
            time.sleep(0.001)
        if sock is not None:
            sock.close()

    def _note(self, kind: int, status: int) -> None:
        if status == 200:
            self.counts[kind] += 1
        else:
            self.failures.append(f"status {status}")

    def goes_on(self, more: int = 50) -> None:
        """Wait until both kinds of clients have been served anew."""
        before = list(self.counts)
        until(lambda: all(now >= then + more for now, then in zip(self.counts, before, strict=True)), "service")


def two_workers(router: Router) -> list[int]:
    """The process ids of both workers, once both serve."""
    until(lambda: len(router.workers()) == 2 and router.said(r"worker \d \(pid \d+\) serves", times=2), "two workers")
    return router.workers()


def refuses(router: Router) -> bool:
    try:
        router.connect().close()
    except ConnectionRefusedError:
        return True
    return False
