"""`python -m bench`: start backend and fronts, load them in turn, print the table and the bars."""

import argparse
import contextlib
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench import fronts, idle, load, peers
from bench.bodies import chat_body
from bench.figures import (
    DIRECT,
    KIB,
    MIB,
    MISTRAL,
    ROUTER,
    Held,
    Sample,
    faults,
    judge,
    lines_of,
    markdown,
    report,
    table,
)
from bench.fronts import Server
from bench.load import Phase, Plan, Target
from bench.processes import core_plan, free_port, running, tree_memory

SMALL, LARGE = 2 * 1024, 128 * 1024  # bytes of the bodies
NOISY = 0.3  # cores that others use: p99 and requests/s are theirs from there on, and CPU begins to move
WARM_UP = 1  # seconds of load before anything is measured: caches fill, connections to the backend open
COLUMNS = [DIRECT, *peers.PEERS, ROUTER, MISTRAL]
PHASES = ["small", "large", "repairs", "paced", "streams"]
IDLE_INTERVAL_MS = 10_000.0  # between the tokens of idle streams: an engine that counted nothing for 15 s would be hung


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of all fronts in turn; medians over them are shown")
    parser.add_argument("--seconds", type=int, default=2, help="of each load of requests")
    parser.add_argument("--streams", type=int, default=300, help="streams in each load of streams")
    parser.add_argument("--tokens", type=token_count, default=load.TOKENS, help="of each stream, an event each")
    parser.add_argument("--only", action="append", metavar="FRONT", choices=COLUMNS)
    parser.add_argument(
        "--peers",
        type=peers.chosen,
        default=list(peers.USUAL),
        metavar="NAMES",
        help=f"all, or some of {','.join(peers.PEERS)} ({','.join(peers.USUAL)})",
    )
    parser.add_argument("--phase", action="append", choices=[*PHASES, "idle"])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write settings, samples and verdicts there")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--no-pin", action="store_true", help="let the system choose the cores")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a bar is not kept or not measured")
    parser.add_argument("--backend", type=int, metavar="PORT", help="of a running backend on 127.0.0.1, for ours")
    parser.add_argument("--model", default=fronts.MODEL, help="model that requests name and the simulator serves")
    parser.add_argument("--profile", type=Path, metavar="DIR", help="let py-spy write folded stacks of the front there")
    return parser.parse_args(argv)


def token_count(text: str) -> int:
    """Return a number of tokens that streams have ended with before their load is cut short."""
    if text.isdecimal() and 0 < int(text) <= load.MAX_TOKENS:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {load.MAX_TOKENS}")


def write_phases(work: Path, model: str, chosen: Sequence[str] | None, tokens: int = load.TOKENS) -> list[Phase]:
    """Write the bodies and return the phases that are asked for."""
    small, large, spoilt, stream = (work / f"{name}.json" for name in ("small", "large", "repairs", "stream"))
    # One token: the simulator takes its time for each of them, streamed or not.
    small.write_bytes(chat_body(SMALL, model=model, stream=False, max_tokens=1))
    large.write_bytes(chat_body(LARGE, model=model, stream=False, max_tokens=1))
    spoilt.write_bytes(chat_body(LARGE, model=model, stream=False, max_tokens=1, repairs=True))
    stream.write_bytes(chat_body(SMALL, model=model, stream=True, max_tokens=tokens))
    phases = [
        Phase("small", "wrk", small, load.CONNECTIONS),
        Phase("large", "wrk", large, load.CONNECTIONS),
        Phase("repairs", "wrk", spoilt, load.CONNECTIONS),
        Phase("paced", "wrk", small, load.PACED_CONNECTIONS, pause_ms=load.PACED_PAUSE_MS),
        Phase("streams", "streams", stream, load.STREAMS_AT_ONCE),
    ]
    return [phase for phase in phases if not chosen or phase.name in chosen]


def chosen_fronts(args: argparse.Namespace, backend: int, work: Path) -> tuple[list[Server], list[str]]:
    """Return the fronts that can be measured, and one line for each that cannot."""
    found, missing = [], []
    for name in args.peers:
        if args.only and name not in args.only:
            continue
        peer = peers.PEERS[name]
        try:
            found.append(peer.serve(peer.find(), free_port(), backend, work))
        except peers.Missing as reason:
            missing.append(f"{name} is skipped: {reason}")
    if not args.only or ROUTER in args.only:
        found.append(fronts.router(free_port(), backend))
    if not args.only or MISTRAL in args.only:
        found.append(fronts.mistral_router(free_port(), backend, work=work))
    return found, missing


def measure_all(targets: Sequence[Target], phases: Sequence[Phase], plan: Plan, *, rounds: int) -> list[Sample]:
    """Run every phase at every target, `rounds` times, each round beginning with another target."""
    samples = []
    for number in range(rounds):
        turn = number % len(targets)
        for phase in phases:
            for target in [*targets[turn:], *targets[:turn]]:
                samples.append(load.measure(phase, target, plan, number=number))
                tell(samples[-1])
    return samples


def tell(sample: Sample) -> None:
    """Say on stderr what was just measured."""
    cost = f"{sample.cost:8.1f} us CPU" if sample.cost is not None else " " * 15
    tell_line(
        f"round {sample.round + 1}  {sample.phase:8}{sample.front:12}{sample.rate:9,.0f}/s{cost}"
        f"  p50 {sample.p50:.2f}  p99 {sample.p99:.2f} ms  others {sample.others:.2f} cores"
    )


def tell_line(text: str) -> None:
    """Say something on stderr at once."""
    print(text, file=sys.stderr, flush=True)


class Stage:
    """Starts servers for the length of a block."""

    def __init__(self, work: Path, cores: dict[str, set[int] | None], stack: contextlib.ExitStack) -> None:
        """Logs go into `work`; what is started ends with `stack`."""
        self.work, self.cores, self.stack = work, cores, stack
        self.body = (work / "small.json").read_bytes()

    def start(self, server: Server, role: str, *, descriptors: int | None = None) -> int:
        """Start a server where its role has its cores, wait until it answers, and return its process id."""
        log, env = self.work / f"{server.name}.log", fronts.environment()
        block = running(
            server.command, cores=self.cores[role], log=log, env=env, cwd=self.work, descriptors=descriptors
        )
        process = self.stack.enter_context(block)
        fronts.wait_ready(server.port, self.body, server.headers)
        return process.pid

    def backend(
        self, model: str, interval_ms: float, *, tokens: int = load.TOKENS, descriptors: int | None = None
    ) -> tuple[int, int]:
        """Start a backend and return its port and process id."""
        program = fronts.build_backend(fronts.CACHE)
        server = fronts.backend(program, [free_port()], model=model, interval_ms=interval_ms, tokens=tokens)
        return server.port, self.start(server, "backend", descriptors=descriptors)


def is_slow(server: Server) -> bool:
    """Return whether a front is given less to do."""
    return server.name in peers.PEERS and peers.PEERS[server.name].is_slow


def measure_idle(args: argparse.Namespace, work: Path, cores: dict[str, set[int] | None]) -> list[Held]:
    """Hold idle streams at each front, which is started for it: what its loads leave behind is no part of them."""
    found = []
    with contextlib.ExitStack() as stack:
        stage = Stage(work, cores, stack)
        port, _ = stage.backend(args.model, IDLE_INTERVAL_MS, descriptors=idle.DESCRIPTORS)
        for server in chosen_fronts(args, port, work)[0]:
            count = idle.FEW if is_slow(server) else idle.possible()
            try:
                with contextlib.ExitStack() as inner:
                    pid = Stage(work, cores, inner).start(server, "front", descriptors=idle.DESCRIPTORS)
                    time.sleep(idle.SETTLE)
                    body = work / "stream.json"
                    one = idle.measure(server, pid, body=body, streams=count, cores=cores["load"])
            except (TimeoutError, RuntimeError) as fault:
                tell_line(f"{server.name} is left out: {fault}")
                continue
            found.append(one)
            each = f"{one.each / KIB:.1f} KiB each, {one.idle / MIB:.1f} MiB without"
            tell_line(f"idle     {one.front:12} {one.open:,} of {one.asked:,} streams open, {each}")
    return found


def measure_loads(
    args: argparse.Namespace, work: Path, cores: dict[str, set[int] | None], phases: Sequence[Phase]
) -> tuple[list[Sample], dict[str, dict[str, int]]]:
    """Run the phases of load at all fronts in turn; return samples, and memory after them."""
    with contextlib.ExitStack() as stack:
        stage = Stage(work, cores, stack)
        port, backend_pid = args.backend, None
        if not port:
            port, backend_pid = stage.backend(args.model, load.INTERVAL_MS, tokens=args.tokens)
        targets = [Target(DIRECT, port, None)] if not args.only or DIRECT in args.only else []
        for server in chosen_fronts(args, port, work)[0]:
            try:
                pid = stage.start(server, "front")
            except TimeoutError as fault:
                tell_line(f"{server.name} is left out: {fault}")
                continue
            targets.append(Target(server.name, server.port, pid, server.headers, is_slow(server)))
        plan = Plan("wrk", args.seconds, args.streams, cores["load"], backend_pid, args.profile)
        warm_up = replace(plan, seconds=WARM_UP, streams=load.STREAMS_AT_ONCE, profile=None)
        for phase in phases:
            for target in targets:
                load.measure(phase, target, warm_up, number=-1)
        samples = measure_all(targets, phases, plan, rounds=args.rounds)
        return samples, {target.front: tree_memory(target.pid) for target in targets if target.pid is not None}


def run(args: argparse.Namespace, work: Path) -> int:
    """Start everything, measure, end everything, print; return the exit status."""
    cores = core_plan(sorted(os.sched_getaffinity(0)))
    if args.no_pin:
        cores = dict.fromkeys(cores)
    phases = write_phases(work, args.model, args.phase, args.tokens)
    held = measure_idle(args, work, cores) if not args.phase or "idle" in args.phase else []
    samples, memory = measure_loads(args, work, cores, phases) if phases else ([], {})
    missing = chosen_fronts(args, 0, work)[1]
    return show(args, samples, memory, held, cores=cores, missing=missing)


def show(
    args: argparse.Namespace,
    samples: list[Sample],
    memory: dict[str, dict[str, int]],
    held: list[Held],
    *,
    cores: dict[str, set[int] | None],
    missing: list[str],
) -> int:
    """Print table, bars and what went wrong; write the JSON; return the exit status."""
    names = sorted({one.front for one in [*samples, *held]}, key=COLUMNS.index)
    places = ", ".join(f"{role} on {'core ' + str(min(at)) if at else 'any core'}" for role, at in cores.items())
    others = sum(sample.others for sample in samples) / max(len(samples), 1)
    print(f"\nmedians of {args.rounds} rounds; {places}; ratios by round")
    noisy = ": too noisy to decide by, see bench/README.md" if others > NOISY else ""
    print(f"{os.cpu_count()} cores; others used {others:.2f} of them meanwhile{noisy}\n")
    print((markdown if args.markdown else table)(lines_of(samples, memory, held, names)), "\n")
    verdicts = judge(samples, held)
    print(*verdicts, *faults(samples), *missing, sep="\n")
    if args.json:
        about = {"python": platform.python_version(), "machine": platform.platform(), "cpus": os.cpu_count()}
        settings = {name: str(value) for name, value in vars(args).items()}
        args.json.write_text(report(samples, memory, held, about={**about, **settings, "others": others}))
    kept = bool(verdicts) and all(verdict.passed for verdict in verdicts) and not faults(samples)
    return 1 if args.check and not kept else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark in a work folder of its own; when something fails, show the ends of the logs."""
    args = arguments(argv)
    if args.profile:
        args.profile.mkdir(parents=True, exist_ok=True)
        if load.find_py_spy() is None:
            print("no py-spy: pip install py-spy", file=sys.stderr)
            return 2
    work = tempfile.TemporaryDirectory(prefix="devstral-router-bench-")
    with work as folder:
        Path(folder).chmod(0o755)  # nginx drops its rights, and must reach its folders
        try:
            return run(args, Path(folder))
        except (TimeoutError, RuntimeError, ValueError) as error:
            print(f"bench: {error}", file=sys.stderr)
            for log in sorted(Path(folder).glob("*.log")):
                print(f"--- end of {log.name}:", log.read_text(errors="replace")[-600:], sep="\n", file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main())
