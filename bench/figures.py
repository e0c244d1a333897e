"""Arithmetic of the benchmark: samples to figures, figures to bars, all to a table. Pure."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

DIRECT = "direct"  # the load straight to the backend
ROUTER = "router"  # the front under test
MISTRAL = "mistral"  # the same, translating for the backend
PEER = "vllm-router"  # the front it is held against


@dataclass(frozen=True, slots=True)
class Sample:
    """What one front did in one phase of one round."""

    front: str
    phase: str
    round: int
    count: int  # requests answered, or events received
    elapsed: float  # seconds
    errors: int  # requests or streams that failed; a sample with any is no sample
    p50: float  # milliseconds: latency of requests, gap between events of streams
    p99: float
    cpu: float | None  # seconds of the front's processes; None for the direct row
    others: float  # cores that were busy with something that is no part of the benchmark

    @property
    def rate(self) -> float:
        """Requests or events per second."""
        return self.count / self.elapsed

    @property
    def cost(self) -> float | None:
        """CPU of the front per request or event, in microseconds."""
        return None if self.cpu is None or not self.count else self.cpu / self.count * 1e6


@dataclass(frozen=True, slots=True)
class Held:
    """What streams that stand idle cost a front: once in a run, as memory hardly varies."""

    front: str
    idle: int  # bytes of RSS before the first of them
    loaded: int  # and with all of them open
    asked: int  # streams
    open: int  # that had begun, and were still there
    elapsed: float  # seconds, until all had begun and ended

    @property
    def each(self) -> float:
        """Bytes per open stream."""
        return (self.loaded - self.idle) / max(self.open, 1)


@dataclass(frozen=True, slots=True)
class Bar:
    """A limit that a front of ours must keep, held against vllm-router in the same run or, of memory, by itself."""

    name: str
    phase: str
    figure: str
    limit: float
    kind: str = "ratio"  # or "difference", in the figure's own unit, or "own": the peer does not matter
    front: str = ROUTER
    unit: str = ""


BARS = (
    Bar("CPU per 2 KB request", "small", "cost", 1.5),
    Bar("CPU per 128 KB request", "large", "cost", 0.5),
    Bar("CPU per 128 KB request with five repairs, Mistral profile", "repairs", "cost", 0.9, front=MISTRAL),
    Bar("CPU per event", "streams", "cost", 0.85),
    Bar("CPU per event, Mistral profile", "streams", "cost", 1.1, front=MISTRAL),
    Bar("p99 between events", "streams", "p99", 1.0, kind="difference"),
)
KIB, MIB = 1024, 1024 * 1024
HELD_BARS = (
    Bar("memory per open idle stream", "idle", "each", 24 * KIB, kind="own", unit="KiB"),
    Bar("RSS when idle", "idle", "idle", 60 * MIB, kind="own", unit="MiB"),
    Bar("idle streams that were not open", "idle", "missing", 0, kind="own"),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar with what was measured; `low` and `high` are the extremes over the rounds."""

    bar: Bar
    value: float
    low: float
    high: float

    @property
    def passed(self) -> bool:
        """Whether the bar is kept."""
        return self.value <= self.bar.limit

    def __str__(self) -> str:
        """Return one line for people."""
        word = "pass" if self.passed else "FAIL"
        if self.bar.kind == "own":
            by = {"KiB": KIB, "MiB": MIB}.get(self.bar.unit, 1)
            value, limit = self.value / by, self.bar.limit / by
            digits = 1 if self.bar.unit else 0
            return f"{word}  {self.bar.name}: {f'{value:,.{digits}f} {self.bar.unit}'.strip()}, at most {limit:.0f}"
        unit = f"x {PEER}" if self.bar.kind == "ratio" else f"ms over {PEER}"
        return (
            f"{word}  {self.bar.name}: {self.value:.2f} {unit} (rounds {self.low:.2f} to {self.high:.2f}),"
            f" at most {self.bar.limit:.2f}"
        )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the value at or below which `percent` of the sorted values lie (nearest rank); 0 for none."""
    if not ordered:
        return 0.0
    rank = -(-len(ordered) * percent // 100)  # ceiling
    return ordered[max(int(rank), 1) - 1]


def figure(samples: Iterable[Sample], *, front: str, phase: str, name: str) -> dict[int, float]:
    """Return one figure by round, of the samples without errors."""
    found = {}
    for sample in samples:
        if sample.front == front and sample.phase == phase and not sample.errors:
            value = getattr(sample, name)
            if value is not None:
                found[sample.round] = value
    return found


def compared(ours: dict[int, float], theirs: dict[int, float], *, kind: str) -> list[float]:
    """Return ratio or difference round by round.

    Within a round the fronts run within seconds of each other: what slows the machine for a minute slows both, and
    is gone from their ratio; it is not gone from a ratio of two medians.
    """
    rounds = sorted(ours.keys() & theirs.keys())
    if kind == "ratio":
        return [ours[number] / theirs[number] for number in rounds if theirs[number]]
    return [ours[number] - theirs[number] for number in rounds]


def judge(samples: Sequence[Sample], held: Sequence[Held] = ()) -> list[Verdict]:
    """Return a verdict on each bar whose figures have been measured; the median of the rounds decides."""
    verdicts = []
    for bar in BARS:
        ours = figure(samples, front=bar.front, phase=bar.phase, name=bar.figure)
        theirs = figure(samples, front=PEER, phase=bar.phase, name=bar.figure)
        values = compared(ours, theirs, kind=bar.kind)
        if values:
            verdicts.append(Verdict(bar, statistics.median(values), min(values), max(values)))
    for one in held:
        if one.front == ROUTER:
            found = {"each": one.each, "idle": float(one.idle), "missing": float(one.asked - one.open)}
            verdicts += [Verdict(bar, *[found[bar.figure]] * 3) for bar in HELD_BARS]
    return verdicts


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a figure of every front, less that of the direct row where it is an added one."""

    title: str
    phase: str
    name: str
    form: str = "{:,.1f}"
    added: bool = False


ROWS = (
    Row("2 KB: CPU per request, us", "small", "cost"),
    Row("2 KB: requests/s", "small", "rate", "{:,.0f}"),
    Row("2 KB: p50 added, ms", "paced", "p50", "{:.2f}", added=True),
    Row("2 KB: p99 added, ms", "paced", "p99", "{:.2f}", added=True),
    Row("128 KB: CPU per request, us", "large", "cost"),
    Row("128 KB: requests/s", "large", "rate", "{:,.0f}"),
    Row("128 KB, five repairs: CPU per request, us", "repairs", "cost"),
    Row("SSE: CPU per event, us", "streams", "cost"),
    Row("SSE: events/s", "streams", "rate", "{:,.0f}"),
    Row("SSE: p50 between events, ms", "streams", "p50", "{:.2f}"),
    Row("SSE: p99 between events, ms", "streams", "p99", "{:.2f}"),
)


def _cell(row: Row, samples: Sequence[Sample], front: str) -> str:
    values = figure(samples, front=front, phase=row.phase, name=row.name)
    if row.added:
        direct = figure(samples, front=DIRECT, phase=row.phase, name=row.name)
        if front == DIRECT:
            return f"({row.form.format(statistics.median(direct.values()))})" if direct else "-"
        found = compared(values, direct, kind="difference")
    else:
        found = list(values.values())
    return row.form.format(statistics.median(found)) if found else "-"


def _ratio(row: Row, samples: Sequence[Sample], front: str) -> str:
    if row.added:
        return ""
    ours = figure(samples, front=front, phase=row.phase, name=row.name)
    theirs = figure(samples, front=PEER, phase=row.phase, name=row.name)
    values = compared(ours, theirs, kind="ratio")
    return f"{statistics.median(values):.2f}" if values else ""


def _held_lines(held: Sequence[Held], fronts: Sequence[str], empty: Sequence[str]) -> list[list[str]]:
    known = {one.front: one for one in held}
    lines = []
    for title, tell in (
        ("idle: RSS, MiB", lambda one: f"{one.idle / MIB:,.1f}"),
        ("idle: open streams", lambda one: f"{one.open:,}"),
        ("idle: RSS per open stream, KiB", lambda one: f"{one.each / KIB:,.1f}" if one.open else "-"),
    ):
        lines.append([title, *(tell(known[front]) if front in known else "-" for front in fronts), *empty])
    return lines


def lines_of(
    samples: Sequence[Sample], memory: dict[str, dict[str, int]], held: Sequence[Held], fronts: Sequence[str]
) -> list[list[str]]:
    """Return the cells of the table of medians; `memory` is that of each front after its load, in bytes."""
    ours = [front for front in fronts if front in (ROUTER, MISTRAL)] if PEER in fronts else []
    empty = [""] * len(ours)
    lines = [["", *fronts, *(f"{front} : {PEER}" for front in ours)]]
    for row in ROWS:
        if any(sample.phase == row.phase for sample in samples):
            cells = [_cell(row, samples, front) for front in fronts]
            lines.append([row.title, *cells, *(_ratio(row, samples, front) for front in ours)])
    if held:
        lines += _held_lines(held, fronts, empty)
    for name in ("rss", "pss"):
        sizes = [memory.get(front, {}).get(name) for front in fronts]
        if any(sizes):
            cells = [f"{size / MIB:,.1f}" if size else "-" for size in sizes]
            lines.append([f"after all loads: {name.upper()}, MiB", *cells, *empty])
    return lines


def table(lines: Sequence[Sequence[str]]) -> str:
    """Return the cells in columns, as people read them in a terminal."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(_line(line, widths) for line in lines)


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Return the cells as a table in Markdown."""
    rule = ["---", *["---:"] * (len(lines[0]) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    numbers = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
    return "  ".join([cells[0].ljust(widths[0]), *numbers])


def faults(samples: Iterable[Sample]) -> list[str]:
    """Return one line for each sample that failed, and is left out of all figures."""
    return [
        f"{sample.front}, {sample.phase}, round {sample.round}: {sample.errors} errors (sample left out)"
        for sample in samples
        if sample.errors
    ]


def report(
    samples: Sequence[Sample],
    memory: dict[str, dict[str, int]],
    held: Sequence[Held] = (),
    *,
    about: dict[str, object],
) -> str:
    """Return everything as JSON: settings, all samples, memory, verdicts."""
    found = {
        "about": about,
        "samples": [{**asdict(sample), "rate": sample.rate, "cost": sample.cost} for sample in samples],
        "memory": memory,
        "idle": [{**asdict(one), "each": one.each} for one in held],
        "bars": [{**asdict(verdict), "passed": verdict.passed} for verdict in judge(samples, held)],
    }
    return json.dumps(found, indent=1)
