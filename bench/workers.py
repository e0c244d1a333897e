"""`python -m bench.workers`: what two workers cost against one, and how clients' connections are split among them.

CPU per request is that of all the router's processes under the same load, for one worker and for two, in turn. On two
cores the load and the backend take their share, so nothing is bound to a core, and requests per second say little.
A split is read from the kernel: which process holds which open connection. `--check` exits with 1 over a bar.
"""

import argparse
import contextlib
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import fronts, load
from bench.bodies import chat_body
from bench.figures import Sample
from bench.load import Phase, Plan, Target
from bench.processes import PROC, descendants, free_port, parents, running
from bench.streams import request_bytes

CONNECTIONS = 200
PACE = 0.005  # seconds between two connections that do not come in a burst
SPLIT_BAR = 0.4  # of all connections, at least, for the worker that has fewer
COST_BAR = 1.1  # of the CPU per request of one worker
SETTLE = 0.2  # seconds until what was opened or closed is so in the kernel's tables
CONFIG = """\
server: {{host: 127.0.0.1, port: {port}, workers: {workers}}}
admin: {{enabled: false}}
logging: {{file: '{log}'}}
backends: [{{url: 'http://127.0.0.1:{backend}', dialect: openai}}]
"""
ESTABLISHED = "01"


def held(root: int, port: int) -> dict[int, int]:
    """Return how many open connections to a port of 127.0.0.1 each process below `root` has, itself left out."""
    inodes = set()
    for line in (PROC / "net" / "tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == ESTABLISHED and int(fields[1].rpartition(":")[2], 16) == port:
            inodes.add(fields[9])
    found = {}
    for pid in descendants(root, parents()) - {root}:
        found[pid] = sum(link[8:-1] in inodes for link in open_files(pid) if link.startswith("socket:["))
    return found


def open_files(pid: int) -> Iterator[str]:
    """Yield what each descriptor of a process stands for."""
    for entry in (PROC / str(pid) / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            yield os.readlink(entry)


def connect_all(port: int, request: bytes, *, pace: float) -> list[socket.socket]:
    """Open the connections, all at once or one by one, and have an answer on each: they are served, and kept open."""
    opened = []
    for _ in range(CONNECTIONS):
        opened.append(socket.create_connection(("127.0.0.1", port), 30))
        if pace:
            opened[-1].sendall(request)
            time.sleep(pace)
    for one in opened:
        if not pace:
            one.sendall(request)
    for one in opened:
        if not one.recv(65536).startswith(b"HTTP/1.1 200 "):
            raise RuntimeError("a connection was not served")
    return opened


def split(root: int, port: int, request: bytes, *, pace: float) -> list[int]:
    """Return how many of the connections each worker has got, fewest first."""
    opened = connect_all(port, request, pace=pace)
    time.sleep(SETTLE)
    found = sorted(held(root, port).values())
    for one in opened:
        one.close()
    time.sleep(SETTLE)
    return found


@dataclass(frozen=True, slots=True)
class Stage:
    """Where everything runs."""

    work: Path
    backend: int  # port
    body: Path

    def router(self, workers: int) -> fronts.Server:
        """Return the router with so many workers."""
        port, name = free_port(), f"{workers} worker{'s' if workers > 1 else ''}"
        config = self.work / f"{workers}.yaml"
        log = self.work / f"{workers}.access"
        config.write_text(CONFIG.format(port=port, workers=workers, log=log, backend=self.backend))
        return fronts.Server(name, (sys.executable, "-m", "router", "serve", "--config", str(config)), port)

    def during(self, workers: int, act: Callable[[fronts.Server, int], None]) -> None:
        """Run a router and `act` with it and its process id."""
        server = self.router(workers)
        log, env = self.work / f"{server.name}.log", fronts.environment()
        with running(server.command, cores=None, log=log, env=env, cwd=self.work) as process:
            fronts.wait_ready(server.port, self.body.read_bytes())
            act(server, process.pid)


def costs(stage: Stage, *, rounds: int, seconds: int) -> dict[str, list[Sample]]:
    """Return samples of one worker and of two."""
    plan = Plan("wrk", seconds, 0, None, None)
    phase = Phase("small", "wrk", stage.body, load.CONNECTIONS)
    found: dict[str, list[Sample]] = {}

    def measure(server: fronts.Server, pid: int) -> None:
        target = Target(server.name, server.port, pid)
        load.measure(phase, target, plan, number=-1)
        found.setdefault(server.name, []).append(load.measure(phase, target, plan, number=0))

    for number in range(rounds):
        for workers in (1, 2) if number % 2 else (2, 1):
            stage.during(workers, measure)
    return found


def splits(stage: Stage, *, rounds: int) -> list[tuple[str, list[int]]]:
    """Return the splits among two workers, by the way in which the connections came."""
    found: list[tuple[str, list[int]]] = []

    def measure(server: fronts.Server, pid: int) -> None:
        request = request_bytes(server.port, stage.body.read_bytes())
        for _ in range(rounds):
            found.append(("in a burst", split(pid, server.port, request, pace=0)))
            found.append((f"one each {PACE * 1e3:.0f} ms", split(pid, server.port, request, pace=PACE)))

    stage.during(2, measure)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m bench.workers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of each load")
    parser.add_argument("--check", action="store_true", help="exit with 1 over a bar")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="devstral-router-bench-") as folder:
        work = Path(folder)
        body = work / "small.json"
        body.write_bytes(chat_body(2048, model="mock", stream=False, max_tokens=1))
        program = fronts.build_backend(fronts.CACHE)
        server = fronts.backend(program, [free_port()], model="mock", interval_ms=10, tokens=4)
        with running(server.command, cores=None, log=work / "backend", env=fronts.environment(), cwd=work):
            fronts.wait_ready(server.port, body.read_bytes())
            stage = Stage(work, server.port, body)
            found = splits(stage, rounds=args.rounds)
            samples = costs(stage, rounds=args.rounds, seconds=args.seconds)
    return show(found, samples, check=args.check)


def show(found: Sequence[tuple[str, list[int]]], samples: dict[str, list[Sample]], *, check: bool) -> int:
    """Print what was found and the bars; return the exit status."""
    for how, counts in found:
        print(f"{CONNECTIONS} connections {how:16} {' : '.join(map(str, counts))}")
    for name, ones in samples.items():
        cost = statistics.median(one.cost or 0.0 for one in ones)
        rate = statistics.median(one.rate for one in ones)
        print(f"{name:10} {cost:8.1f} us CPU per request, {rate:,.0f} requests/s")
    least = min(counts[0] for _, counts in found) / CONNECTIONS
    one, two = ([sample.cost or 0.0 for sample in samples[name]] for name in ("1 worker", "2 workers"))
    ratio = statistics.median(late / early for early, late in zip(one, two, strict=True))
    print(f"{word(least >= SPLIT_BAR)}  least share of connections: {least:.2f}, at least {SPLIT_BAR}")
    print(f"{word(ratio <= COST_BAR)}  CPU per request, two workers to one: {ratio:.2f}, at most {COST_BAR}")
    return int(check and not (least >= SPLIT_BAR and ratio <= COST_BAR))


def word(kept: bool) -> str:
    """Return how a bar is told."""
    return "pass" if kept else "FAIL"


if __name__ == "__main__":
    sys.exit(main())
