"""Processes of a figure: started with their log in a file, found by a mark of their own, signalled and ended by id."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.chaos.processes import PROC, marked

ROOT = Path(__file__).resolve().parents[3]
READY_TIMEOUT = 30.0  # seconds for a server to answer; a second is usual
END_TIMEOUT = 5.0  # seconds from SIGTERM to SIGKILL
MODEL = "simulated-model"


class Server:
    """One server on 127.0.0.1, with all that it starts; that may outlive it, as a successor does."""

    def __init__(self, name: str, command: Sequence[str], *, port: int, work: Path) -> None:
        """`work`: the folder that it runs in and writes its log to."""
        self.name = name
        self.port = port
        self.command = list(command)
        self.log = work / f"{name}.log"
        self._work = work
        self._mark = f"CHAOS_MARK={uuid.uuid4().hex}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The id of its first process."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it, or what it has started, lives."""
        return self._process is not None and bool(self.pids)

    @property
    def pids(self) -> list[int]:
        """The ids of it and of all that it has started."""
        return sorted({*marked(self._mark), *session_of(self.pid)})

    def start(self) -> None:
        """Start it, again too; does not wait."""
        name, _, value = self._mark.partition("=")
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**environment(), name: value},
                cwd=self._work,
                start_new_session=True,
            )

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to its first process."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9; it is gone when this returns."""
        self._signal_all(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(END_TIMEOUT)

    def end(self) -> None:
        """SIGTERM to it and to all that it has started, SIGKILL where that does not suffice."""
        if self._process is None:
            return
        self._signal_all(signal.SIGCONT)
        self._signal_all(signal.SIGTERM)
        until = time.monotonic() + END_TIMEOUT
        while (self._process.poll() is None or self.pids) and time.monotonic() < until:
            time.sleep(0.02)
        self._signal_all(signal.SIGKILL)
        self._process.wait(END_TIMEOUT)

    def _signal_all(self, number: signal.Signals) -> None:
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def said(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""


def environment() -> dict[str, str]:
    """Return the servers' environment: nothing that one of them would take for its configuration."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def session_of(leader: int) -> list[int]:
    """Return the ids of the live processes of a session; nginx writes over its environment, so a mark is not enough."""
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == leader and fields[0] != "Z":
                    found.append(int(entry.name))
    return found


def memory_of(pids: Sequence[int]) -> int:
    """Return the bytes that processes hold for themselves: RssAnon and VmSwap. Pages that were swapped out count."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):  # it ended meanwhile
            rows = dict(line.split(":", 1) for line in (PROC / str(pid) / "status").read_text().splitlines())
            total += sum(int(rows[name].split()[0]) * 1024 for name in ("RssAnon", "VmSwap") if name in rows)
    return total


def descriptors_of(pids: Sequence[int]) -> int:
    """Return how many descriptors processes have open."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += len(os.listdir(PROC / str(pid) / "fd"))
    return total


def ask(port: int, method: str, path: str, *, body: Any = None, timeout: float = 5.0) -> tuple[int, bytes]:
    """Make one request; return status and body. Raises OSError or HTTPException."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        raw = None if body is None else json.dumps(body).encode()
        connection.request(method, path, raw, {"Content-Type": "application/json", "Connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def wait_for(server: Server, path: str, *, body: Any = None, within: float = READY_TIMEOUT) -> None:
    """Return once the server answers with 200. Raises TimeoutError with its last answer, or when it ends instead."""
    until = time.monotonic() + within
    seen = "no connection"
    while time.monotonic() < until and server.is_running:
        try:
            status, raw = ask(server.port, "GET" if body is None else "POST", path, body=body)
            if status == 200:
                return
            seen = f"{status} {raw[:200]!r}"
        except (OSError, http.client.HTTPException) as error:
            seen = repr(error)
        time.sleep(0.05)
    raise TimeoutError(f"{server.name} does not answer {path} within {within:.0f} s: {seen}")


class Backend(Server):
    """One simulated vLLM server."""

    def __init__(self, name: str, flags: Mapping[str, object], *, port: int, work: Path) -> None:
        """`flags`: those of `simulate`, without dashes."""
        command = [sys.executable, "-m", "router", "simulate", "--port", str(port), "--model", MODEL]
        for flag, value in flags.items():
            command += [f"--{flag}", str(value)]
        super().__init__(name, command, port=port, work=work)

    def fail(self, faults: Mapping[str, object]) -> None:
        """Set what goes wrong; an empty mapping: nothing."""
        status, raw = ask(self.port, "PUT", "/simulator/faults", body=dict(faults))
        assert status == 200, raw

    def stats(self) -> dict[str, Any]:
        """Return what it has counted."""
        found: dict[str, Any] = json.loads(ask(self.port, "GET", "/simulator/stats?requests=0")[1])
        return found


@contextlib.contextmanager
def running(*servers: Server) -> Iterator[None]:
    """Run servers for the length of the block; backends answer when it begins."""
    try:
        for server in servers:
            server.start()
        for server in servers:
            if isinstance(server, Backend):
                wait_for(server, "/health")
        yield
    finally:
        for server in servers:
            server.end()
