"""`python -m tests.chaos.figures`: run the figures that are asked for, print their table, write their JSON."""

import argparse
import asyncio
import os
import platform
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from tests.chaos.figures import ailing, crowding, dying, endurance, failing, leaving, rolling
from tests.chaos.figures.fronts import Front, is_installed
from tests.chaos.figures.rows import Numbers, Row, as_json, table
from tests.chaos.figures.scene import Size

Measure = Callable[[Front, Size], Awaitable[Numbers]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One kind of harm, at which fronts, and how long one run may take."""

    name: str
    measure: Measure
    fronts: tuple[Front, ...]
    limit: float = 120.0  # seconds; past it the run is given up
    once: bool = False  # one run is long enough to stand for several


FIGURES = (
    Figure("kill", dying.kill, dying.KILL_FRONTS),
    Figure("stop", dying.stop, dying.STOP_FRONTS),
    Figure("busy", ailing.busy, ailing.BUSY_FRONTS, once=True),
    Figure("hung", ailing.hung, ailing.HUNG_FRONTS),
    Figure("reload", rolling.reload, rolling.RELOAD_FRONTS, limit=900.0, once=True),
    Figure("restart", rolling.restart, rolling.RESTART_FRONTS, limit=900.0, once=True),
    *(
        Figure(name, leaving.case(way, state, is_pipelined=pipelined), leaving.GONE_FRONTS, limit=500.0, once=True)
        for name, way, state, pipelined in leaving.CASES
    ),
    Figure("failing", failing.failing, failing.FAILING_FRONTS),
    Figure("dead", failing.dead, failing.DEAD_FRONTS),
    Figure("overload", crowding.overload, crowding.OVERLOAD_FRONTS, limit=240.0, once=True),
    Figure("stalled", endurance.stalled, endurance.STALLED_FRONTS, limit=400.0, once=True),
    Figure("soak", endurance.soak, endurance.SOAK_FRONTS, limit=7200.0, once=True),
)


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.figures", description=__doc__)
    parser.add_argument(
        "--only", metavar="FIGURE,...", help="those whose name begins so: " + ", ".join(one.name for one in FIGURES)
    )
    parser.add_argument("--fronts", metavar="FRONT,...", help="those whose name begins so, as nginx,ours")
    parser.add_argument("--runs", type=int, default=3, help="of each figure at each front; medians are shown")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run there")
    return parser.parse_args(argv)


def chosen(args: argparse.Namespace) -> list[tuple[Figure, Front]]:
    """Return what is to be measured; say what is left out. Raises SystemExit for a name that is none."""
    asked = args.only.split(",") if args.only else [""]
    if unknown := [name for name in asked if not any(figure.name.startswith(name) for figure in FIGURES)]:
        raise SystemExit(f"no such figure: {', '.join(unknown)}; there are {', '.join(each.name for each in FIGURES)}")
    wanted = tuple(args.fronts.split(",")) if args.fronts else ("",)
    pairs = [
        (figure, front)
        for figure in FIGURES
        for front in figure.fronts
        if figure.name.startswith(tuple(asked)) and front.name.startswith(wanted)
    ]
    for kind in dict.fromkeys(front.kind for _, front in pairs if not is_installed(front)):
        print(f"{kind} is left out: it is not installed", file=sys.stderr)
    return [(figure, front) for figure, front in pairs if is_installed(front)]


async def measure(figure: Figure, front: Front, *, size: Size) -> tuple[Numbers, str]:
    """Do one run; return its numbers, or none and why."""
    used, begun = time.process_time(), time.monotonic()
    try:
        async with asyncio.timeout(figure.limit):
            numbers = await figure.measure(front, size)
    except (TimeoutError, OSError, AssertionError, RuntimeError, ValueError, KeyError) as error:
        said = "\n    ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])])
        return {}, said[-800:]
    share = (time.process_time() - used) / (time.monotonic() - begun)
    return {**numbers, "load": round(share, 2)}, ""


async def run(args: argparse.Namespace) -> list[Row]:
    """Measure everything, the fronts of a figure in turn, so that a noisy minute strikes them all."""
    size = Size.of(quick=args.quick)
    rows: dict[tuple[str, str], Row] = {}
    pairs = chosen(args)
    for figure in dict.fromkeys(figure for figure, _ in pairs):
        for number in range(1 if figure.once else args.runs):
            for front in (front for each, front in pairs if each is figure):
                row = rows.setdefault((figure.name, front.name), Row(figure.name, front.name))
                numbers, why_not = await measure(figure, front, size=size)
                if numbers:
                    row.runs.append(numbers)
                row.note = why_not or row.note
                tell = why_not or "  ".join(f"{name} {value}" for name, value in numbers.items() if value is not None)
                print(f"{figure.name} {front.name} run {number + 1}: {tell}", file=sys.stderr, flush=True)
    return list(rows.values())


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print; the exit status tells only whether every run gave numbers."""
    args = arguments(argv)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rows = runner.run(run(args))
    print(f"medians (worst) of {args.runs} runs{', quick' if args.quick else ''}; {os.cpu_count()} cores\n")
    print(table(rows))
    if args.json:
        about = {"python": platform.python_version(), "machine": platform.platform(), "cpus": os.cpu_count()}
        args.json.write_text(as_json(rows, {**about, "quick": args.quick, "runs": args.runs}))
    return int(any(not row.runs for row in rows))


if __name__ == "__main__":
    sys.exit(main())
