"""`python -m bench.seeing`: what a request and an event cost more because they can be seen.

That is everything of metrics, access lines, the status page's lists, tokens and traces that is on by default. A router
as shipped runs beside one that notes nothing (blind.py), on the same backend and the same core; both are started anew
for each round, and the median of the differences within each round counts. Besides, the calls and allocations of both
are counted, which no machine changes, and each part is timed in this process. `--check` exits with 1 over a bar.
"""

import argparse
import math
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from bench import fronts, guard, load
from bench.bodies import chat_body
from bench.figures import Sample, markdown, table
from bench.load import Phase, Plan, Target
from bench.lockstep import ANSWER
from bench.processes import core_plan, free_port, running
from router.ended import sort
from router.exchange import Attempt, AttemptOutcome, Exchange, Outcome
from router.observe.exposition import ENOUGH
from router.observe.logs import AccessLog
from router.observe.metrics import Metrics
from router.observe.writer import LineWriter
from router.observer import MANY
from router.recent import Recent
from router.relay.usage import note_tokens, tokens_of
from router.tracing.context import note_ids

REQUEST_BAR, EVENT_BAR = 8.0, 0.5  # microseconds
TOKENS, INTERVAL_MS = 256, 10.0  # of one stream: long, so that it is its events that cost
STREAMS = 3 * load.STREAMS_AT_ONCE  # as many as it takes for a tick of the kernel's to be little of an event
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TIMES = 4  # that each is loaded with requests in a round
BATCH = MANY  # exchanges that are timed at once: as many as are told of together
SEEN, BLIND = "as shipped", "blind"
Phases = dict[str, tuple[Phase, tuple[str, ...], float]]  # by name: the load, its headers, the bar
Pairs = dict[str, list[tuple[float, float]]]  # by name: microseconds of both in each round


def servers(backend: int) -> Iterator[fronts.Server]:
    """Yield the router as shipped, and the one that notes nothing."""
    for name, before in ((SEEN, ()), (BLIND, ("bench.blind",))):
        server = fronts.router(free_port(), backend)
        program, option, *words = server.command
        yield fronts.Server(name, (program, option, *before, *words), server.port)


def phases(work: Path) -> Phases:
    """Return the loads."""
    small, stream = work / "small.json", work / "stream.json"
    small.write_bytes(chat_body(2048, model=fronts.MODEL, stream=False, max_tokens=1))
    stream.write_bytes(chat_body(2048, model=fronts.MODEL, stream=True, max_tokens=TOKENS))
    requests = Phase("small", "wrk", small, load.CONNECTIONS)
    return {
        "a request of 2 KB": (requests, (), REQUEST_BAR),
        "the same, with a traceparent": (requests, (f"traceparent: {TRACEPARENT}",), REQUEST_BAR),
        "an event of a stream": (Phase("streams", "streams", stream, load.STREAMS_AT_ONCE), (), EVENT_BAR),
    }


@contextmanager
def both(work: Path, body: bytes) -> Iterator[tuple[list[Target], Plan]]:
    """Run both routers on one backend; yield where loads go, and the plan for them."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise SystemExit("wrk is not installed (Debian: apt-get install wrk)")
    cores, env = core_plan(sorted(os.sched_getaffinity(0))), fronts.environment()
    program = fronts.build_backend(fronts.CACHE)
    backend = fronts.backend(program, [free_port()], model=fronts.MODEL, interval_ms=INTERVAL_MS, tokens=TOKENS)
    with ExitStack() as stack:
        targets = []
        for server in (backend, *servers(backend.port)):
            role, log = "backend" if server is backend else "front", work / f"{server.name}.log"
            block = running(server.command, cores=cores[role], log=log, env=env, cwd=work)
            targets.append(Target(server.name, server.port, stack.enter_context(block).pid))
            fronts.wait_ready(server.port, body)
        yield targets[1:], Plan(wrk, 1, STREAMS, cores["load"], targets[0].pid)


def measure(rounds: int, seconds: int) -> tuple[Pairs, float]:
    """Return what both cost in each round, and how many cores were busy with something else, on average.

    Each is started anew for each round: by chance of where its memory lies, one process takes some microseconds more
    or less than the next of the same program.
    """
    found: Pairs = {}
    others = []
    with tempfile.TemporaryDirectory(prefix="devstral-router-bench-") as folder:
        loads = phases(Path(folder))
        body = next(iter(loads.values()))[0].body.read_bytes()
        for number in range(rounds):
            with both(Path(folder), body) as (targets, plan):
                plan = Plan(plan.wrk, seconds, plan.streams, plan.cores, plan.backend_pid)
                for name, (phase, headers, _) in loads.items():
                    aimed = [Target(one.front, one.port, one.pid, headers) for one in targets]
                    if number % 2:
                        aimed.reverse()
                    samples = at_once(phase, aimed, plan) if phase.kind == "streams" else in_turn(phase, aimed, plan)
                    if not any(one.errors for one in samples):
                        others += [one.others for one in samples]
                        found.setdefault(name, []).append((least(samples, SEEN), least(samples, BLIND)))
    return found, statistics.mean(others)


def in_turn(phase: Phase, targets: Sequence[Target], plan: Plan) -> list[Sample]:
    """Load one after the other, several times, the first time to warm up: requests fill a core, and of two that share
    it each would find the caches full of the other's."""
    samples = [load.measure(phase, target, plan, number=number) for number in range(TIMES + 1) for target in targets]
    return samples[len(targets) :]


def at_once(phase: Phase, targets: Sequence[Target], plan: Plan) -> list[Sample]:
    """Load both at the same time: streams leave most of a core idle, and whatever else is done strikes both alike."""
    warming = Plan(plan.wrk, plan.seconds, load.STREAMS_AT_ONCE, plan.cores, plan.backend_pid)
    with ThreadPoolExecutor() as pool:
        for how in (warming, plan):
            samples = list(pool.map(lambda one, how=how: load.measure(phase, one, how, number=0), targets))
    busiest = max((one.cpu or 0.0) / one.elapsed for one in samples)  # what the other one took is no other work
    return [replace(one, others=max(0.0, one.others - busiest)) for one in samples]


def least(samples: Sequence[Sample], front: str) -> float:
    """Return the microseconds of a request or an event of one of them; what else is done only adds."""
    return min(one.cost or math.nan for one in samples if one.front == front)


def told(found: Pairs, bars: dict[str, float]) -> tuple[list[list[str]], list[str]]:
    """Return the rows of a table, and a line for each bar that is not kept."""
    rows = [["CPU, us", SEEN, BLIND, "more", "quartiles", "at most"]]
    faults = []
    for name, pairs in found.items():
        more = [seen - blind for seen, blind in pairs]
        low, middle, high = statistics.quantiles(more, n=4) if len(more) > 1 else more * 3
        sides = list(zip(*pairs, strict=True))
        rows.append([name, *(f"{statistics.median(side):.2f}" for side in sides), f"{middle:.2f}"])
        rows[-1] += [f"{low:.2f} to {high:.2f}", f"{bars[name]:g}"]
        if middle > bars[name]:
            faults.append(f"{name}: {middle:.2f} us more, at most {bars[name]:g}")
    return rows, faults


def count() -> list[list[str]]:
    """Return the rows of a table of calls and allocations of both. Raises guard.Unmeasurable."""
    kinds = {"calls": ("calls of Python", "calls of C", ""), "allocations": ("", "", "allocations")}
    with ThreadPoolExecutor() as pool:
        asked = [
            [
                pool.submit(guard.count_inside, kind, names, large=False, is_blind=is_blind)
                for kind, names in kinds.items()
            ]
            for is_blind in (False, True)
        ]
        seen, blind = ({key: value for one in side for key, value in one.result().items()} for side in asked)
    rows = [["what no machine changes", SEEN, BLIND, "more"]]
    for name in sorted(seen):
        less = blind.get(name, 0.0)
        rows.append([name, f"{seen[name]:.2f}", f"{less:.2f}", f"{seen[name] - less:.2f}"])
    return rows


def exchange() -> Exchange:
    """Return one that was answered, and is about to be closed."""
    made = Exchange("4bf92f3577b34da6a3ce929d0e0e4736", "/v1/chat/completions", "POST", 100.0, client="127.0.0.1")
    made.model, made.known_model, made.status = fronts.MODEL, True, 200
    made.bytes_in, made.bytes_out, made.tokens, made.began = 2048, len(ANSWER), (500, 12), 100.2
    made.attempts.append(Attempt("127.0.0.1:8000", 100.0001, AttemptOutcome.OK, 200, 100.2))
    made.outcome, made.closed = Outcome.OK, 100.2
    return made


def read_tokens(batch: list[Exchange]) -> None:
    """Do for each as if it was just answered."""
    for one in batch:
        one.tokens = tokens_of(ANSWER)
    note_tokens(batch)


def read_traceparents(batch: list[Exchange]) -> None:
    """Do for each as if it had one."""
    for one in batch:
        one.traceparent = TRACEPARENT
    note_ids(batch)


def times(work: Path, rounds: int = 100) -> list[list[str]]:
    """Return the rows of a table of what each part takes in this process: the fastest of rounds."""
    metrics, writer = Metrics(), LineWriter(str(work / "log"))
    access = AccessLog(writer)
    recent = Recent(time.time)
    gaps = [0.01 + number * 1e-5 for number in range(ENOUGH)]
    parts: dict[str, Callable[[list[Exchange]], object]] = {
        "sorting by the way it went": sort,
        "metrics of the exchange and its attempt": lambda batch: metrics.exchanges_closed(ended),
        "the status page's lists": lambda batch: recent.exchanges_closed(ended),
        "the access line": lambda batch: access.write(ended, 0.0),
        "reading its tokens": read_tokens,
        "reading a traceparent": read_traceparents,
        f"{ENOUGH} times between events": lambda batch: [metrics.event_gaps(one).observe_all(gaps) for one in batch],
    }
    best = dict.fromkeys(parts, math.inf)
    for _ in range(rounds):
        for name, part in parts.items():
            batch = [exchange() for _ in range(BATCH)]
            ended = sort(batch)
            started = time.perf_counter()
            part(batch)
            best[name] = min(best[name], (time.perf_counter() - started) / BATCH * 1e6)
    writer.close()
    return [["by itself, warm, us", "fastest"], *([name, f"{value:.2f}"] for name, value in best.items())]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m bench.seeing", description=__doc__)
    parser.add_argument("--only", action="append", choices=["cpu", "counts", "parts"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=int, default=1, help="of each load of requests")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--check", action="store_true", help="exit with 1 over a bar")
    args = parser.parse_args(argv)
    wanted = args.only or ["cpu", "counts", "parts"]
    shown = markdown if args.markdown else table
    faults: list[str] = []
    if "cpu" in wanted:
        found, others = measure(args.rounds, args.seconds)
        with tempfile.TemporaryDirectory() as folder:
            bars = {name: bar for name, (_, _, bar) in phases(Path(folder)).items()}
        rows, faults = told(found, bars)
        print(f"{shown(rows)}\n{args.rounds} rounds; other work took some {others:.1f} cores meanwhile\n")
    if "counts" in wanted:
        try:
            print(f"{shown(count())}\n")
        except guard.Unmeasurable as fault:
            print(f"not counted: {fault}\n", file=sys.stderr)
    if "parts" in wanted:
        with tempfile.TemporaryDirectory(prefix="devstral-router-bench-") as folder:
            print(f"{shown(times(Path(folder)))}\n")
    print(*(f"FAIL  {line}" for line in faults), sep="\n", end="")
    return int(args.check and bool(faults))


if __name__ == "__main__":
    sys.exit(main())
