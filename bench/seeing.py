"""`python -m bench.seeing`: what a request and an event cost more because they can be seen.

That is everything of metrics, access lines, the status page's lists, tokens and traces that is on by default. One
router is loaded in turn while it can be seen, as shipped, and while it notes nothing (blind.py); it is started anew for
each round, and the median of the differences between two slices of time counts. Besides, the calls and allocations of
both are counted, which no machine changes, and each part is timed in this process. `--check` exits with 1 over a bar.
"""

import argparse
import http.client
import json
import math
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

from bench import fronts, guard, load
from bench.blind import BLIND, SEE
from bench.bodies import chat_body
from bench.figures import markdown, table
from bench.load import Phase, Plan, Target
from bench.lockstep import ANSWER
from bench.processes import core_plan, free_port, own_cpu, running
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
TOKENS, INTERVAL_MS = 1200, 10.0  # of one stream: as long as the load, so that its events are all that costs
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SLICE = 0.2  # seconds: the machine is faster now, and slower then, for seconds
PAUSE = 0.05  # seconds before each: what has ended is told of then
PAIRS = 20  # of slices, in one load
WARM_UP = 1.0  # seconds
SECONDS = 12  # of a load: more than its slices take
BATCH = MANY  # exchanges that are timed at once: as many as are told of together
Phases = dict[str, tuple[Phase, tuple[str, ...], float]]  # by name: the load, its headers, the bar
Pairs = dict[str, list[tuple[float, float]]]  # by name: microseconds of both in each pair of slices


def server(backend: int) -> fronts.Server:
    """Return the router that can be seen, or not."""
    server = fronts.router(free_port(), backend)
    program, option, *words = server.command
    return fronts.Server(server.name, (program, option, "bench.blind", *words), server.port)


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
def both(work: Path, body: bytes) -> Iterator[tuple[int, Target, Plan]]:
    """Run a backend and the router; yield the backend's port, where loads go, and the plan for them."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise SystemExit("wrk is not installed (Debian: apt-get install wrk)")
    cores, env = core_plan(sorted(os.sched_getaffinity(0))), fronts.environment()
    program = fronts.build_backend(fronts.CACHE)
    backend = fronts.backend(program, [free_port()], model=fronts.MODEL, interval_ms=INTERVAL_MS, tokens=TOKENS)
    with ExitStack() as stack:
        pids = []
        for role, one in (("backend", backend), ("front", front := server(backend.port))):
            block = running(one.command, cores=cores[role], log=work / f"{one.name}.log", env=env, cwd=work)
            pids.append(stack.enter_context(block).pid)
            fronts.wait_ready(one.port, body)
        plan = Plan(wrk, SECONDS, load.STREAMS_AT_ONCE, cores["load"], pids[0])
        yield backend.port, Target(front.name, front.port, pids[1]), plan


def measure(rounds: int) -> tuple[Pairs, float]:
    """Return what both cost in each pair of slices, and how many cores were busy with something else, on average.

    The router is started anew for each round: by chance of where its memory lies, one process takes some microseconds
    more or less than the next of the same program.
    """
    found: Pairs = {}
    others = []
    with tempfile.TemporaryDirectory(prefix="devstral-router-bench-") as folder:
        loads = phases(Path(folder))
        body = next(iter(loads.values()))[0].body.read_bytes()
        for _ in range(rounds):
            with both(Path(folder), body) as (backend, target, plan), ThreadPoolExecutor(1) as pool:
                for name, (phase, headers, _) in loads.items():
                    under_way = pool.submit(load.measure, phase, replace(target, headers=headers), plan, number=0)
                    pairs, is_over = in_turn(phase, target.pid or 0, backend), under_way.done()
                    sample = under_way.result()
                    others.append(sample.others)
                    if is_over or sample.errors:
                        raise RuntimeError(f"{name}: the load ended before its slices, or with {sample.errors} errors")
                    found.setdefault(name, []).extend(pairs)
    return found, statistics.mean(others)


def in_turn(phase: Phase, pid: int, backend: int) -> list[tuple[float, float]]:
    """Return the microseconds of a request, or an event, in pairs of slices of one load: seen, and blind.

    Now the one comes first, now the other. `backend`: the port of who counts them.
    """
    what = "sent" if phase.kind == "streams" else "served"
    with closing(http.client.HTTPConnection("127.0.0.1", backend, timeout=5)) as asked:

        def count() -> tuple[float, int]:
            asked.request("GET", "/stats")
            return own_cpu(pid), json.load(asked.getresponse())[what]

        time.sleep(WARM_UP)
        pairs = []
        for number in range(PAIRS):
            costs = {}
            for is_blind in (False, True) if number % 2 else (True, False):
                os.kill(pid, BLIND if is_blind else SEE)
                time.sleep(PAUSE)
                before = count()
                time.sleep(SLICE)
                spent, counted = (late - early for early, late in zip(before, count(), strict=True))
                costs[is_blind] = spent / max(counted, 1) * 1e6
            pairs.append((costs[False], costs[True]))
        return pairs


def told(found: Pairs, bars: dict[str, float]) -> tuple[list[list[str]], list[str]]:
    """Return the rows of a table, and a line for each bar that is not kept."""
    rows = [["CPU, us", "as shipped", "blind", "more", "quartiles", "at most"]]
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
    rows = [["what no machine changes", "as shipped", "blind", "more"]]
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
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--check", action="store_true", help="exit with 1 over a bar")
    args = parser.parse_args(argv)
    wanted = args.only or ["cpu", "counts", "parts"]
    shown = markdown if args.markdown else table
    faults: list[str] = []
    if "cpu" in wanted:
        found, others = measure(args.rounds)
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
