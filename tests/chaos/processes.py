"""Processes that a test of faults starts: each with its own port and id, signalled and ended by that id.

What they say goes to files, so that nobody waits for a pipe that is full.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM, Signals

ROOT = Path(__file__).resolve().parents[2]
PROC = Path("/proc")
START_TIMEOUT = 60.0  # seconds for a process to serve; it takes one, on an idle machine
END_TIMEOUT = 15.0  # seconds from SIGTERM to SIGKILL


async def until(holds: Callable[[], object], *, within: float = 20.0, what: str = "it came about") -> float:
    """Wait until it holds; return the seconds that took. Fails, naming `what`, after `within` seconds."""
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < within, f"not within {within} s: {what}"
        await asyncio.sleep(0.01)
    return time.monotonic() - begun


def marked(mark: str) -> list[int]:
    """Return the ids of the processes that carry a mark in their environment: what we started, and all that it has."""
    wanted = mark.encode()
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile, or is another user's
                if wanted in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return sorted(found)


class Process:
    """One process; `start` may be called again once it has ended."""

    def __init__(self, command: list[str], *, log: Path, environ: Mapping[str, str] | None = None) -> None:
        """`command` follows the interpreter's name; `log` takes what it writes to both outputs."""
        self.command = [sys.executable, *command]
        self.log = log
        self.limits: Callable[[], None] | None = None  # called in the child before it runs
        self._mark = f"CHAOS_MARK={uuid.uuid4().hex}"
        name, _, value = self._mark.partition("=")
        self._environ = {**os.environ, **(environ or {}), name: value}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Return its id; there is one once it was started."""
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def pids(self) -> list[int]:
        """Return its id and those of all that it has started, also of those that have outlived it."""
        return marked(self._mark)

    @property
    def is_running(self) -> bool:
        """Whether it lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def is_alive(self) -> bool:
        """Whether it lives, or anything that it has started: a successor, a worker."""
        return bool(self.pids)

    @property
    def code(self) -> int | None:
        """Return its exit code, None while it runs."""
        assert self._process is not None, "not started"
        return self._process.poll()

    def start(self) -> None:
        """Start it; does not wait."""
        assert not self.is_running
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self._environ,
                cwd=ROOT,
                preexec_fn=self.limits,
            )

    def signal(self, number: Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def told(self, pid: int, number: Signals) -> None:
        """Send a signal to one of the processes that it has started."""
        assert pid in self.pids, "not one of ours"
        os.kill(pid, number)

    def freeze(self) -> None:
        """SIGSTOP: it lives, listens, and does nothing."""
        self.signal(SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.signal(SIGCONT)

    def kill(self) -> None:
        """SIGKILL; it is gone when this returns."""
        with contextlib.suppress(ProcessLookupError):
            self.signal(SIGKILL)
        assert self._process is not None
        self._process.wait()

    async def ended(self, *, within: float = END_TIMEOUT) -> int:
        """Wait for its end; return the exit code."""
        await until(lambda: not self.is_running, within=within, what=f"{self.command[2:5]} has ended")
        code = self.code
        assert code is not None
        return code

    async def end(self) -> None:
        """SIGTERM, and SIGKILL to it and all that it has started, where that does not suffice."""
        if self._process is None:
            return
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, SIGCONT)
                os.kill(pid, SIGTERM)
        with contextlib.suppress(AssertionError):
            await until(lambda: not self.is_running and not self.pids, within=END_TIMEOUT)
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, SIGKILL)
        self._process.wait()

    def said(self) -> str:
        """Return what it wrote."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def memory(pid: int) -> int:
    """Return what a process has taken for itself: RssAnon and VmSwap, in bytes. Pages that were swapped out count."""
    rows = dict(line.split(":", 1) for line in (PROC / str(pid) / "status").read_text().splitlines())
    return sum(int(rows[name].split()[0]) * 1024 for name in ("RssAnon", "VmSwap"))
