"""The load of each phase, and what one run of it costs a front."""

import contextlib
import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Sample
from bench.processes import machine_busy, pin, tree_cpu

HERE = Path(__file__).resolve().parent
CONNECTIONS = 64  # of the phases that load the front fully
PACED_CONNECTIONS, PACED_PAUSE_MS = 16, 20  # about 800 requests/s: no front queues, so what is added is its own
STREAMS_AT_ONCE = 100
MAX_TOKENS = 1000  # of a stream: three of them after another end within the 60 s that bench.streams gives a load
TOKENS, INTERVAL_MS = 64, 10.0  # of one stream; the backend is started with these, or with other TOKENS
TIMEOUT = 120.0  # seconds, of any one run of a load
SLOW_FACTOR = 5  # times as long for a front whose 64 first answers may take a second
SETTLE = 0.3  # seconds between the end of one load and the next: connections close, logs are written


@dataclass(frozen=True, slots=True)
class Phase:
    """One kind of load."""

    name: str
    kind: str  # "wrk" or "streams"
    body: Path
    connections: int
    pause_ms: int = 0


@dataclass(frozen=True, slots=True)
class Target:
    """Where a load goes, and whose CPU it costs: `pid` is None for the backend itself."""

    front: str
    port: int
    pid: int | None
    headers: tuple[str, ...] = ()  # that only this front needs
    is_slow: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """How long each load is, where it runs, and what else is part of the benchmark."""

    wrk: str
    seconds: int
    streams: int
    cores: set[int] | None
    backend_pid: int | None  # None for a backend that the benchmark did not start
    profile: Path | None = None


def command(phase: Phase, target: Target, plan: Plan) -> list[str]:
    """Return the command line of the load."""
    if phase.kind == "streams":
        line = [sys.executable, "-m", "bench.streams", "--port", str(target.port), "--body", str(phase.body)]
        line += ["--concurrency", str(phase.connections), *(f"--header={one}" for one in target.headers)]
        return [*line, "--total", str(STREAMS_AT_ONCE if target.is_slow else plan.streams)]
    line = [plan.wrk, "--threads", "1", "--connections", str(phase.connections), "--duration"]
    line += [f"{plan.seconds * (SLOW_FACTOR if target.is_slow else 1)}s"]
    line += ["--timeout", "10s", "--script", str(HERE / "post.lua")]
    url = f"http://127.0.0.1:{target.port}/v1/chat/completions"
    return [*line, url, "--", str(phase.body), str(phase.pause_ms), *target.headers]


def parse_load(text: str) -> dict[str, float]:
    """Return the figures that a load printed: the last line that ends in a JSON object."""
    for line in reversed(text.splitlines()):
        start = line.find("{")
        if start >= 0 and line.endswith("}"):
            found = json.loads(line[start:])
            return {name: float(value) for name, value in found.items()}
    raise ValueError(f"the load printed no figures: {text[-500:]!r}")


def measure(phase: Phase, target: Target, plan: Plan, *, number: int) -> Sample:
    """Run one load and return what it cost. Raises RuntimeError when the load itself fails."""
    ours = [pid for pid in (target.pid, plan.backend_pid) if pid is not None]
    time.sleep(SETTLE)
    with _profile(plan, phase, target):
        spent = _children_cpu()
        before, busy, start = [tree_cpu(pid) for pid in ours], machine_busy(), time.monotonic()
        found = _run(phase, target, plan)
        after, elapsed = [tree_cpu(pid) for pid in ours], time.monotonic() - start
        busy = machine_busy() - busy
        spent = _children_cpu() - spent
    costs = [late - early for early, late in zip(before, after, strict=True)]
    return Sample(
        front=target.front,
        phase=phase.name,
        round=number,
        count=int(found["count"]),
        elapsed=found["elapsed"],
        errors=int(found["errors"]),
        p50=found["p50"],
        p99=found["p99"],
        cpu=costs[0] if target.pid is not None else None,
        others=max(busy - sum(costs) - spent, 0.0) / elapsed,
    )


def _run(phase: Phase, target: Target, plan: Plan) -> dict[str, float]:
    try:
        ended = subprocess.run(
            command(phase, target, plan),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            cwd=HERE.parent,
            preexec_fn=pin(plan.cores),
            check=True,
        )
    except subprocess.SubprocessError as error:
        said = getattr(error, "stderr", None) or ""
        raise RuntimeError(f"{phase.name} at {target.front}: {error} {str(said)[-500:]}") from error
    return parse_load(ended.stdout)


def _children_cpu() -> float:
    """Return the CPU seconds of all children that have ended: the loads so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def find_py_spy() -> str | None:
    """Return the path of py-spy beside this Python, or in PATH."""
    own = Path(sys.executable).with_name("py-spy")
    return str(own) if own.exists() else shutil.which("py-spy")


@contextlib.contextmanager
def _profile(plan: Plan, phase: Phase, target: Target) -> Iterator[None]:
    """Let py-spy watch the front for the length of the block, where a profile is asked for.

    It writes folded stacks with their samples ("a;b;c 12"), one file per front and phase. It also slows the front:
    figures of such a run are worth nothing.
    """
    program = find_py_spy()
    if plan.profile is None or target.pid is None or program is None:
        yield
        return
    out = plan.profile / f"{target.front}-{phase.name}.folded"
    line = [program, "record", "--pid", str(target.pid), "--duration", str(int(TIMEOUT)), "--rate", "400"]
    line += ["--format", "raw", "--output", str(out)]
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as watcher:
        try:
            yield
        finally:
            watcher.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                watcher.wait(10)
            watcher.kill()
