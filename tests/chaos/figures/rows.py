"""Numbers of runs to rows of a table: medians, and the worst run where it differs. Pure."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Numbers = Mapping[str, float | None]


@dataclass(slots=True)
class Row:
    """What was counted of one figure at one front, run by run."""

    figure: str
    front: str
    runs: list[Numbers] = field(default_factory=list)
    note: str = ""  # why there is nothing, or what else is to say

    def medians(self) -> dict[str, float | None]:
        """Return the median of each number over the runs that have it."""
        found: dict[str, float | None] = {}
        for name in names_of(self.runs):
            values = [value for run in self.runs if (value := run.get(name)) is not None]
            found[name] = statistics.median(values) if values else None
        return found

    def worst(self) -> dict[str, float | None]:
        """Return the highest of each number; for what is better when it is high (`whole`, `goodput`) the lowest."""
        found: dict[str, float | None] = {}
        for name in names_of(self.runs):
            values = [value for run in self.runs if (value := run.get(name)) is not None]
            best_is_high = name.startswith(("whole", "goodput", "requests", "connections"))
            found[name] = (min if best_is_high else max)(values) if values else None
        return found


def names_of(runs: Iterable[Numbers]) -> list[str]:
    """Return the names of all numbers, in the order of their first sight."""
    return list(dict.fromkeys(name for run in runs for name in run))


def shown(value: float | None) -> str:
    """Return a number as the table has it."""
    if value is None:
        return "-"
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"


def table(rows: Sequence[Row]) -> str:
    """Return the rows as text, one table for each figure."""
    parts = []
    for figure in dict.fromkeys(row.figure for row in rows):
        chosen = [row for row in rows if row.figure == figure]
        names = names_of(run for row in chosen for run in row.runs)
        lines = [[figure, *names]]
        for row in chosen:
            medians, worst = row.medians(), row.worst()
            cells = [
                shown(medians.get(name))
                + (f" ({shown(worst[name])})" if name in worst and worst[name] != medians[name] else "")
                for name in names
            ]
            lines.append([row.front, *cells])
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        parts += ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
        parts += [f"  {row.front}: {row.note}" for row in chosen if row.note]
        parts.append("")
    return "\n".join(parts)


def as_json(rows: Sequence[Row], about: Mapping[str, object]) -> str:
    """Return everything, run by run."""
    listed = [
        {"figure": row.figure, "front": row.front, "medians": row.medians(), "runs": list(row.runs), "note": row.note}
        for row in rows
    ]
    return json.dumps({"about": dict(about), "rows": listed}, indent=1)
