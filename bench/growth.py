"""`python -m bench.growth`: how the router's cost grows with bodies, open streams, backends, and keys in its metrics.

Each table ends with its exponent: the slope of the cost over the size, both as logarithms, between each two neighbours.
1 is linear, 0 is no growth. `--check` exits with 1 where a cost grows faster than linear, or with the backends by more
than a microsecond per request.
"""

import argparse
import http.client
import json
import math
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import fronts, idle, load, peers
from bench.bodies import chat_body
from bench.figures import markdown, table
from bench.load import Phase, Plan, Target
from bench.processes import core_plan, free_ports, running, tree_cpu
from router.backends.backend import Backend, BackendSpec
from router.backends.health import Seen
from router.backends.registry import Registry
from router.exchange import AttemptOutcome

BODIES = [1 << size for size in range(10, 23, 2)]  # bytes
STREAMS = [1, 10, 100, 1000, 10_000]
BACKENDS = [1, 10, 100, 500]
MODELS = [1, 10, 100, 1000]
BESIDE = {"nginx": fronts.nginx, "haproxy": peers.haproxy}  # what is shown beside, where it is installed
DESCRIPTORS = 24_000  # the limit of files that servers get where it is allowed: 10,000 streams fit into one process
SHARE, ROOM = 0.9, 100  # of it that the router gives to work, and how many of these are no stream's
EVENTS = 2000  # per second, of all streams together, whatever their number
STEEP = 1.15  # an exponent over this is more than noise around 1
PER_REQUEST = 1.0  # microseconds that 500 backends may add to a request
PICKS = 500  # in one round: all backends once
CONFIG = """\
server: {{host: 127.0.0.1, port: {port}, workers: {workers}}}
admin: {{enabled: false}}
logging: {{file: '{log}'}}
backends:
"""


@dataclass
class Grown:
    """One table."""

    title: str
    columns: list[str]  # of rows: the size, the cost that is judged, what else is told
    rows: list[list[float]] = field(default_factory=list)
    is_judged: bool = True

    @property
    def exponents(self) -> list[float]:
        """Return the slopes between neighbours."""
        pairs = zip(self.rows, self.rows[1:], strict=False)
        return [exponent(low[0], low[1], high[0], high[1]) for low, high in pairs]

    @property
    def is_steep(self) -> bool:
        """Return whether the cost grows faster than its size, over the upper half of the table as a whole."""
        half = self.rows[len(self.rows) // 2 - 1 :]
        return self.is_judged and exponent(half[0][0], half[0][1], half[-1][0], half[-1][1]) > STEEP

    def lines(self) -> list[list[str]]:
        """Return the cells, for people."""
        slopes = ["", *(f"{one:.2f}" for one in self.exponents)]
        cells = [[f"{row[0]:,.0f}", *(f"{value:,.1f}" for value in row[1:])] for row in self.rows]
        body = [[*row, slope] for row, slope in zip(cells, slopes, strict=True)]
        return [[*self.columns, "exponent"], *body]


def exponent(size: float, cost: float, larger: float, costlier: float) -> float:
    """Return the slope between two points, both axes as logarithms; costs below a hundredth count as that."""
    return math.log(max(costlier, 0.01) / max(cost, 0.01)) / math.log(larger / size)


class Course:
    """What all tables need: where things run, and for how long."""

    def __init__(self, work: Path, *, seconds: int, rounds: int) -> None:
        """`seconds`: of each load; `rounds`: medians over them."""
        self.work = work
        self.rounds = rounds
        self.cores = core_plan(sorted(os.sched_getaffinity(0)))
        self.plan = Plan("wrk", seconds, 0, self.cores["load"], None)
        self.program = fronts.build_backend(fronts.CACHE)

    @contextmanager
    def backends(self, count: int, *, interval_ms: float = 10.0, tokens: int = 64) -> Iterator[list[int]]:
        """Run one process that listens on so many ports, and yield them."""
        ports = free_ports(count)
        server = fronts.backend(self.program, ports, model="mock", interval_ms=interval_ms, tokens=tokens)
        with self._running(server, "backend"):
            yield ports

    @contextmanager
    def router(
        self, backends: Sequence[int], *, models: Sequence[str] = (), workers: int = 1
    ) -> Iterator[tuple[int, int]]:
        """Run the router in front of these ports; yield its port and process id."""
        (port,) = free_ports(1)
        lines = [CONFIG.format(port=port, workers=workers, log=self.work / "access")]
        for backend in backends:
            names = f", models: [{', '.join(models)}]" if models else ""
            lines.append(f"  - {{url: 'http://127.0.0.1:{backend}', dialect: openai{names}}}\n")
        config = self.work / "router.yaml"
        config.write_text("".join(lines))
        command = (sys.executable, "-m", "router", "serve", "--config", str(config))
        with self._running(fronts.Server("router", command, port), "front") as pid:
            yield port, pid

    @contextmanager
    def peer(self, name: str, program: str, backends: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Run a plain proxy in front of these ports; yield its port and process id."""
        (port,) = free_ports(1)
        server = BESIDE[name](program, port, backends[0], self.work, others=backends[1:])
        with self._running(server, "front") as pid:
            yield port, pid

    @contextmanager
    def _running(self, server: fronts.Server, role: str) -> Iterator[int]:
        log, env = self.work / f"{server.name}.log", fronts.environment()
        block = running(
            server.command, cores=self.cores[role], log=log, env=env, cwd=self.work, descriptors=DESCRIPTORS
        )
        with block as process:
            fronts.wait_ready(server.port, chat_body(300, model="mock", stream=False, max_tokens=1))
            yield process.pid

    def cost(self, port: int, pid: int, body: bytes, *, beside: float = 0.0, connections: int = 64) -> float:
        """Return the microseconds of CPU per request; `beside`: CPU per second of what goes on without any."""
        path = self.work / "body.json"
        path.write_bytes(body)
        phase, target = Phase("load", "wrk", path, connections), Target("router", port, pid)
        load.measure(phase, target, self.plan, number=-1)
        found = [load.measure(phase, target, self.plan, number=number) for number in range(self.rounds)]
        if any(one.errors for one in found):
            raise RuntimeError(f"{sum(one.errors for one in found)} requests failed")
        return statistics.median(((one.cpu or 0.0) - beside * one.elapsed) / one.count * 1e6 for one in found)


def by_body(course: Course) -> Grown:
    """Over the size of the request's body."""
    grown = Grown("CPU over the body of a request", ["bytes", "us per request"])
    with course.backends(1) as ports, course.router(ports) as (port, pid):
        for size in BODIES:
            body = chat_body(size, model="mock", stream=False, max_tokens=1)
            grown.rows.append([size, course.cost(port, pid, body, connections=16)])
    return grown


def by_streams(course: Course) -> Grown:
    """Over the number of streams that are open, which have as many events together whatever their number."""
    columns = ["streams", "us per event", "events/s", "workers"]
    grown = Grown(f"CPU over open streams, {EVENTS:,} events/s of all together", columns)
    body = course.work / "stream.json"
    body.write_bytes(chat_body(2048, model="mock", stream=True, max_tokens=64))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for wanted in STREAMS:
        streams, workers = holders(wanted, hard)
        interval = max(1.0, streams / EVENTS * 1e3)
        with ExitStack() as stack:
            ports = stack.enter_context(course.backends(1, interval_ms=interval, tokens=1_000_000))
            port, pid = stack.enter_context(course.router(ports, workers=workers))
            held = idle.Streams(port, body=body, streams=streams, cores=course.cores["load"])
            stack.callback(held.close)
            if held.told["open"] != streams:
                raise RuntimeError(f"of {streams} streams {held.told['open']} are open")
            costs, rates = zip(*(_events(held, pid, course.plan.seconds) for _ in range(course.rounds)), strict=True)
        grown.rows.append([streams, statistics.median(costs), statistics.median(rates), workers])
    return grown


def holders(wanted: int, limit: int) -> tuple[int, int]:
    """Return how many of so many streams can be open where a process may have `limit` files, and by how many workers.

    A stream is one file to the load and to the backend, and two to the router.
    """
    limit = DESCRIPTORS if limit == resource.RLIM_INFINITY else min(limit, DESCRIPTORS)
    streams = min(wanted, limit - ROOM)
    return streams, math.ceil(streams / (int(limit * SHARE - ROOM) // 2))


def _events(held: idle.Streams, pid: int, seconds: float) -> tuple[float, float]:
    """Return microseconds of CPU per event, and events per second, of a while."""
    before, spent, started = held.ask()["events"], tree_cpu(pid), time.monotonic()
    time.sleep(seconds)
    spent = tree_cpu(pid) - spent
    events = held.ask()["events"] - before
    return spent / max(events, 1) * 1e6, events / (time.monotonic() - started)


def by_backends(course: Course) -> Grown:
    """Over the number of backends: a request, and what goes on without any: probes, and looks at metrics."""
    columns = ["backends", "us per request", "ms per second without requests", "/metrics, ms", "/metrics, KB"]
    found = {name: program for name in BESIDE if (program := _installed(name)) is not None}
    grown = Grown("CPU over backends", [*columns, *(f"{name}: {what}" for name in found for what in ("us", "ms"))])
    body = chat_body(2048, model="mock", stream=False, max_tokens=1)
    for count in BACKENDS:
        with course.backends(count) as ports:
            with course.router(ports) as (port, pid):
                costs = [*_with_rest(course, port, pid, body), *scrape(port)]
            for name, program in found.items():
                with course.peer(name, program, ports) as (port, pid):
                    costs += _with_rest(course, port, pid, body)
            grown.rows.append([count, *costs])
    return grown


def _installed(name: str) -> str | None:
    try:
        return peers.PEERS[name].find()
    except peers.Missing:
        return None


def _with_rest(course: Course, port: int, pid: int, body: bytes) -> list[float]:
    """Return the microseconds of CPU per request, and the milliseconds per second of what goes on without any."""
    time.sleep(2.0)  # all backends are asked once
    beside = _rest(pid, seconds=4 * course.plan.seconds)
    return [course.cost(port, pid, body, beside=beside), beside * 1e3]


def _rest(pid: int, *, seconds: float) -> float:
    """Return the CPU seconds per second of a router that nobody asks anything."""
    spent = tree_cpu(pid)
    time.sleep(seconds)
    return (tree_cpu(pid) - spent) / seconds


def by_models(course: Course) -> Grown:
    """Over the keys in the metrics: models, each of which has been asked for."""
    columns = ["models", "us per request", "/metrics, ms", "/metrics, KB"]
    grown = Grown("CPU over models that the metrics know", columns)
    for count in MODELS:
        names = ["mock", *(f"mock-{number}" for number in range(1, count))]
        with course.backends(1) as ports, course.router(ports, models=names) as (port, pid):
            for name in names:
                ask(port, chat_body(300, model=name, stream=False, max_tokens=1))
            cost = course.cost(port, pid, chat_body(2048, model=names[-1], stream=False, max_tokens=1))
            grown.rows.append([count, cost, *scrape(port)])
    return grown


def scrape(port: int, *, times: int = 5) -> tuple[float, float]:
    """Return the milliseconds that /metrics takes, the fastest of some, and its size in KB."""
    taken, size = [], 0
    for _ in range(times):
        started = time.monotonic()
        size = len(ask(port, None))
        taken.append(time.monotonic() - started)
    return min(taken) * 1e3, size / 1024


def ask(port: int, body: bytes | None) -> bytes:
    """Ask for a completion or, without a body, for the metrics."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        path = "/metrics" if body is None else "/v1/chat/completions"
        connection.request("GET" if body is None else "POST", path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {text[:300]!r}")
    return text


def choosing(count: int) -> Callable[[], None]:
    """Return what chooses one of so many backends, as for a request, and counts its beginning and its end."""
    registry = Registry([BackendSpec(f"b{number}", f"http://b{number}:1") for number in range(count)])
    for backend in registry.backends:
        registry.listed(backend, [{"id": "m"}], now=0.0)
        registry.probed(backend, Seen.PASSED, now=0.0)

    def act() -> None:
        chosen = registry.pick("m", now=100.0)
        assert isinstance(chosen, Backend)
        registry.acquire(chosen)
        registry.report(chosen, AttemptOutcome.OK, now=100.0)
        registry.release(chosen)

    return act


def by_choices(rounds: int = 100) -> Grown:
    """Over the number of backends, the part of a request that knows them, in this process: the fastest of rounds."""
    acts = {count: choosing(count) for count in BACKENDS}
    best = dict.fromkeys(acts, math.inf)
    for _ in range(rounds):
        for count, act in acts.items():
            started = time.perf_counter()
            for _ in range(PICKS):
                act()
            best[count] = min(best[count], (time.perf_counter() - started) / PICKS * 1e6)
    return Grown("Choosing a backend", ["backends", "us per request"], [[count, best[count]] for count in acts])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, judge."""
    tables = {"bodies": by_body, "streams": by_streams, "backends": by_backends, "models": by_models}
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--only", action="append", choices=[*tables, "choices"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2, help="of each load")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a cost grows too fast")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="devstral-router-bench-") as folder:
        course = Course(Path(folder), seconds=args.seconds, rounds=args.rounds)
        found = []
        for name, measure in tables.items():
            if not args.only or name in args.only:
                found.append(measure(course))
                print(show(found[-1], args.markdown), flush=True)
    faults = [f"FAIL  {one.title}: steeper than linear" for one in found if one.is_steep]
    if not args.only or "choices" in args.only:
        found.append(by_choices())
        print(show(found[-1], args.markdown))
        added = found[-1].rows[-1][1] - found[-1].rows[0][1]
        line = f"{BACKENDS[-1]} backends add {added:.2f} us to a request, at most {PER_REQUEST:.0f}"
        print(f"{'pass' if added <= PER_REQUEST else 'FAIL'}  {line}")
        faults += [line] if added > PER_REQUEST else []
    print(*(faults or ["pass  no cost grows faster than linear"]), sep="\n")
    if args.json:
        args.json.write_text(json.dumps([vars(one) for one in found], indent=1))
    return int(args.check and bool(faults))


def show(grown: Grown, as_markdown: bool) -> str:
    """Return a table with its title."""
    lines = grown.lines()
    return f"### {grown.title}\n\n{markdown(lines)}\n" if as_markdown else f"{grown.title}\n{table(lines)}\n"


if __name__ == "__main__":
    sys.exit(main())
