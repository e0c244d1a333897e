"""The shipped dashboard, read: its rows, panels and queries, those of its variables and annotations too. Pure."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.processes import ROOT

FILE = ROOT / "conf" / "grafana" / "dashboards" / "devstral-router.json"
ALL = ".*"  # what a variable stands for while all of its values are chosen
VARIABLE = re.compile(r"\$\{?(\w+)\}?")
LABEL_VALUES = re.compile(r"label_values\((.+), *(\w+)\)")
VARIABLES, ANNOTATIONS = "variables", "annotations"  # where those are asked that are no panel's

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """One query of one panel, variable or annotation."""

    row: str
    panel: str
    expression: str  # with variables in it
    wants_exemplars: bool = False

    def filled(self, *, interval: str) -> str:
        """Return it as Grafana would send it, with all values chosen; `interval`: of $__rate_interval."""
        known = {"__rate_interval": interval, "__range": interval}
        return VARIABLE.sub(lambda found: known.get(found[1], ALL), self.expression)


def read(file: Path = FILE) -> Tree:
    """Return the dashboard."""
    tree: Tree = json.loads(file.read_text())
    return tree


def panels(tree: Tree) -> Iterator[tuple[str, Tree]]:
    """Yield (title of its row, panel) for each panel that shows something."""
    row = ""
    for each in tree["panels"]:
        if each["type"] == "row":
            row = each["title"]
            yield from ((row, inner) for inner in each["panels"])
        else:
            yield row, each


def queries(tree: Tree) -> Iterator[Query]:
    """Yield every query of every panel, every variable that is asked for, and every annotation."""
    for row, panel in panels(tree):
        for target in panel.get("targets", ()):
            yield Query(row, panel["title"], target["expr"], target.get("exemplar", False))
    for each in tree["templating"]["list"]:
        if each["type"] == "query":
            yield Query(VARIABLES, each["name"], values_of(each["query"]["query"]))
    for each in tree["annotations"]["list"]:
        yield Query(ANNOTATIONS, each["name"], each["expr"])


def values_of(variable: str) -> str:
    """Return what Prometheus is asked for a variable's values: label_values(metric, label) is Grafana's own word."""
    found = LABEL_VALUES.fullmatch(variable)
    if found is None:
        raise ValueError(f"not of the form label_values(metric, label): {variable}")
    return f"count by ({found[2]}) ({found[1]})"
