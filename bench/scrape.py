"""`python -m bench.scrape`: what a look at /metrics costs with many backends, all of which have everything to tell.

In this process, the fastest of rounds: CPU (which a busy machine changes least) and wall time of the page in each form,
and of the pages of several workers as one. And of a router that runs, by HTTP, after requests to each backend.
`--check` exits with 1 where a page takes more than 100 ms.
"""

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import growth
from bench.bodies import chat_body
from bench.figures import markdown, table
from router.access.overload import Marks, Usage
from router.backends.backend import Backend, BackendSpec, Change, ChangeKind
from router.backends.breaker import BreakerRules
from router.backends.engine import Figures
from router.backends.health import HealthRules, Seen
from router.ended import sort
from router.exchange import Attempt, AttemptOutcome, Exchange, Outcome, Trace
from router.observe.exposition import OPENMETRICS_TYPE, merged
from router.observe.metrics import Metrics
from router.observe.page import JSON_TYPE, packed, render
from router.observe.states import Vitals

BACKENDS = 500
WORKERS = 4
MODELS = ("small", "large")
ROUTES = ("/v1/chat/completions", "/v1/embeddings")
OUTCOMES = (AttemptOutcome.OK, AttemptOutcome.OVERLOADED, AttemptOutcome.CUT, AttemptOutcome.REFUSED)
CHANGES = (
    (ChangeKind.HEALTH, "down", "refused"),
    (ChangeKind.HEALTH, "up", "passed"),
    (ChangeKind.BREAKER, "open", "failures"),
)
BAR = 0.1  # seconds
TRACE = Trace("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", is_sampled=True)
VITALS = Vitals(
    "0123456789ab",
    is_ready=True,
    streams=100,
    waiting=3,
    queue_size=512,
    connections=200,
    max_connections=10_000,
    usage=Usage(memory=100 << 20, descriptors=900),
    marks=Marks(memory=1 << 30, descriptors=16_000),
)


def everything(count: int) -> Metrics:
    """Return metrics of so many backends, each of which has served, failed, changed, and told of itself."""
    backends = [backend(f"10.0.{number >> 8}.{number & 255}:8000") for number in range(count)]
    metrics = Metrics(
        backends=lambda: [one.status(1.0) for one in backends],
        dropped_log_lines=lambda: 0,
        tls=lambda: (2e9, 1),
        vitals=lambda: VITALS,
    )
    for one in backends:
        for model in MODELS:
            for outcome in OUTCOMES:
                metrics.attempt_closed(Attempt(one.spec.name, 10.0, outcome, 200, 11.0), model, began=10.5)
        for kind, after, cause in CHANGES:
            metrics.changed(Change(one.spec.name, kind, "", after, cause))
    for route in ROUTES:
        for model in MODELS:
            closed = Exchange("a", route, "POST", 10.0, model=model, known_model=True, status=200, trace=TRACE)
            closed.began, closed.closed, closed.outcome, closed.tokens = 10.5, 11.0, Outcome.OK, (500, 12)
            metrics.exchanges_closed(sort([closed]))
            metrics.event_gaps(closed).waiting.extend((0.01, 0.02))
    return metrics


def backend(name: str) -> Backend:
    """Return one that is up, has work, and whose server tells of itself."""
    spec = BackendSpec(name, f"http://{name}", models=MODELS, max_connections=64)
    one = Backend(spec, health_rules=HealthRules(), breaker_rules=BreakerRules())
    one.health.observe(Seen.PASSED)
    one.models = {model: {"id": model} for model in MODELS}
    one.in_flight, one.figures = 2, Figures(running=4, waiting=1, kv_usage=0.25)
    return one


def fastest(act: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Return the seconds of CPU and of wall time that it takes, each the least of rounds."""
    cpu = wall = math.inf
    for _ in range(rounds):
        started, began = time.process_time(), time.perf_counter()
        act()
        cpu, wall = min(cpu, time.process_time() - started), min(wall, time.perf_counter() - began)
    return cpu, wall


def inside(count: int, rounds: int) -> list[tuple[str, float, float, int]]:
    """Return (what, CPU, wall, bytes) of each form."""
    metrics = everything(count)
    dump, text = metrics.dump(), metrics.render()
    acts: dict[str, Callable[[], tuple[str, bytes]]] = {
        "text": metrics.render,
        "OpenMetrics": lambda: metrics.render(OPENMETRICS_TYPE),
        "JSON": lambda: metrics.render(JSON_TYPE),
        f"text of {WORKERS} workers, as one": lambda: render(merged([dump] * WORKERS)),
        "packing it": lambda: (text[0], packed(text[1])),
    }
    return [(name, *fastest(act, rounds), len(act()[1])) for name, act in acts.items()]


def alive(count: int, rounds: int) -> tuple[str, float, float, int]:
    """Return the same of a router that runs, with each of its backends asked."""
    with tempfile.TemporaryDirectory(prefix="devstral-router-bench-") as folder:
        course = growth.Course(Path(folder), seconds=1, rounds=1)
        with course.backends(count) as ports, course.router(ports) as (port, pid):
            body = chat_body(300, model="mock", stream=False, max_tokens=1)
            for _ in range(count):
                growth.ask(port, body)
            spent = growth.tree_cpu(pid)
            taken = []
            for _ in range(rounds):
                started = time.monotonic()
                size = len(growth.ask(port, None))
                taken.append(time.monotonic() - started)
            return "text, by HTTP", (growth.tree_cpu(pid) - spent) / rounds, min(taken), size


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m bench.scrape", description=__doc__)
    parser.add_argument("--backends", type=int, default=BACKENDS)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a page takes more than the bar")
    args = parser.parse_args(argv)
    found = [*inside(args.backends, args.rounds), alive(args.backends, args.rounds)]
    rows = [[f"/metrics of {args.backends} backends", "CPU, ms", "wall, ms", "KB"]]
    rows += [[name, f"{cpu * 1e3:.1f}", f"{wall * 1e3:.1f}", f"{size / 1024:,.0f}"] for name, cpu, wall, size in found]
    print(markdown(rows) if args.markdown else table(rows))
    slow = [name for name, _, wall, _ in found if wall > BAR]
    print(*(f"FAIL  {name}: more than {BAR * 1e3:.0f} ms" for name in slow), sep="\n", end="\n" if slow else "")
    return int(args.check and bool(slow))


if __name__ == "__main__":
    sys.exit(main())
