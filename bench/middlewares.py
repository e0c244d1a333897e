"""`python -m bench.middlewares`: what middlewares cost, beside a router without any.

CPU is that of the router's process, the threads that write for `trace` and `printer` included, per request of 2 KB
(wrk, 64 connections, as fast as it goes) and per event of streams (100 at once). What such a load lets them drop is not
written, and costs less: how much that is stands beside. Rounds are taken in turn; figures are medians.
"""

import argparse
import http.client
import re
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import fronts, load
from bench.bodies import chat_body
from bench.figures import Sample
from bench.load import Phase, Plan, Target
from bench.processes import free_port, running
from router.middleware import Call, Ending, Failure, Head, Middleware, Request

CONFIG = """\
server: {{host: 127.0.0.1, port: {port}}}
admin: {{enabled: false}}
logging: {{file: '{work}/access'}}
backends: [{{url: 'http://127.0.0.1:{backend}', dialect: openai}}]
middlewares: {middlewares}
"""
KINDS = {
    "none": "[]",
    "hooks that do nothing": "[{{type: 'bench.middlewares:Idle'}}]",
    "trace": "[{{type: trace, config: {{directory: '{work}/traces'}}}}]",
    "trace without bodies": "[{{type: trace, config: {{directory: '{work}/bare', include_body: false}}}}]",
    "printer": "[{{type: printer}}]",
}
STREAMS, TOKENS, INTERVAL_MS = 300, 64, 10


class Idle(Middleware):
    """Has every hook, and does nothing in it."""

    def on_request(self, call: Call, request: Request) -> Request | None:
        return None

    def on_response(self, call: Call, head: Head) -> None:
        """Nothing."""

    def on_event(self, call: Call, data: bytes) -> bytes | None:
        return None

    def on_error(self, call: Call, failure: Failure) -> None:
        """Nothing."""

    def on_end(self, call: Call, ending: Ending) -> None:
        """Nothing."""


def dropped(port: int) -> int:
    """Return how many records the router has dropped."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics")
    page = connection.getresponse().read().decode()
    connection.close()
    return sum(int(each) for each in re.findall(r"^router_middleware_records_dropped_total\{.*\} (\d+)$", page, re.M))


def measure(kind: str, backend: int, phases: Sequence[Phase], plan: Plan, *, work: Path) -> tuple[list[Sample], int]:
    """Return a sample of each phase with one kind of middleware, and how many records it dropped."""
    port, config = free_port(), work / "router.yaml"
    middlewares = KINDS[kind].format(work=work)
    config.write_text(CONFIG.format(port=port, work=work, backend=backend, middlewares=middlewares))
    command = [sys.executable, "-m", "router", "serve", "--config", str(config)]
    with running(command, cores=None, log=work / "output", env=fronts.environment(), cwd=work) as process:
        fronts.wait_ready(port, phases[0].body.read_bytes())
        target = Target(kind, port, process.pid)
        load.measure(phases[0], target, plan, number=-1)
        return [load.measure(phase, target, plan, number=0) for phase in phases], dropped(port)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.middlewares", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of each load of requests")
    args = parser.parse_args(argv)
    costs: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    lost = dict.fromkeys(KINDS, 0)
    with tempfile.TemporaryDirectory(prefix="devstral-router-bench-") as folder:
        work = Path(folder)
        phases = []
        for name, kind, connections in (("small", "wrk", load.CONNECTIONS), ("streams", "streams", 100)):
            body = work / f"{name}.json"
            body.write_bytes(chat_body(2048, model="mock", stream=kind == "streams", max_tokens=TOKENS))
            phases.append(Phase(name, kind, body, connections))
        plan = Plan("wrk", args.seconds, STREAMS, None, None)
        program = fronts.build_backend(fronts.CACHE)
        server = fronts.backend(program, [free_port()], model="mock", interval_ms=INTERVAL_MS, tokens=TOKENS)
        with running(server.command, cores=None, log=work / "backend", env=fronts.environment(), cwd=work):
            fronts.wait_ready(server.port, phases[0].body.read_bytes())
            for _ in range(args.rounds):
                for kind in KINDS:
                    found, count = measure(kind, server.port, phases, plan, work=work)
                    costs[kind].append((found[0].cost or 0.0, found[1].cost or 0.0))
                    lost[kind] += count
    print(f"{'CPU in us':25} {'per request':>12} {'per event':>12} {'records dropped':>16}")
    for kind, ones in costs.items():
        request, event = (statistics.median(each[place] for each in ones) for place in (0, 1))
        print(f"{kind:25} {request:12.1f} {event:12.2f} {lost[kind]:16}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
