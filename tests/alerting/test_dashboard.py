"""The structure of the dashboard: Grafana's own types, a grid without overlaps, and metrics that exist."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.alerting.dashboard import Query, Tree, panels, queries, read
from tests.alerting.rules import rules_of

ROWS = [
    *("Overview", "Failures that clients hardly notice", "Backends", "Models", "Translation and sessions"),
    *("The router itself", "One request"),
]
# Grafana writes these itself into annotations and variables of a Prometheus, and its types leave them open.
NOT_TYPED = {"titleFormat", "textFormat", "step", "definition"}
METRIC = re.compile(r"\b(router_\w+?)(?:_bucket|_count|_sum)?(?=[{\s)\[])")


@pytest.fixture
def tree() -> Tree:
    """The dashboard."""
    return read()


def lost(given: Any, kept: Any, path: str = "") -> list[str]:
    """Return the paths of what Grafana's types do not know."""
    if isinstance(given, dict):
        return [
            each
            for key, value in given.items()
            for each in (lost(value, kept[key], f"{path}.{key}") if key in kept else [f"{path}.{key}"])
        ]
    if isinstance(given, list):
        return [each for n, value in enumerate(given) for each in lost(value, kept[n], f"{path}[{n}]")]
    return []


def test_grafanas_own_types_know_all_of_it(tree: Tree) -> None:
    kept = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(tree)))

    unknown = {path.rpartition(".")[2] for path in lost(tree, kept)}
    assert unknown == NOT_TYPED


def test_its_rows_are_those_that_an_operator_looks_for(tree: Tree) -> None:
    assert [panel["title"] for panel in tree["panels"] if panel["type"] == "row"] == ROWS
    assert [row for row, _ in panels(tree) if row not in ROWS] == []


def test_no_two_panels_overlap_and_none_leaves_the_grid(tree: Tree) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in tree["panels"]:
        grid = panel["gridPos"]
        cells = {(grid["x"] + i, grid["y"] + j) for i in range(grid["w"]) for j in range(grid["h"])}
        assert grid["x"] + grid["w"] <= 24, panel["title"]
        assert not taken & cells, panel["title"]
        taken |= cells


def test_panels_have_ids_and_titles_of_their_own_and_say_what_they_show(tree: Tree) -> None:
    ids = [panel["id"] for panel in tree["panels"]]
    assert len(ids) == len(set(ids))
    titles = [panel["title"] for _, panel in panels(tree)]
    assert len(titles) == len(set(titles))
    for _, panel in panels(tree):
        assert panel["type"] == "text" or panel["description"].endswith("."), panel["title"]


def test_every_query_asks_the_chosen_source_and_names_the_job(tree: Tree) -> None:
    for _, panel in panels(tree):
        for target in panel.get("targets", ()):
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert 'job="devstral-router"' in target["expr"] or "ALERTS" in target["expr"], target["expr"]


def test_every_variable_that_is_used_is_declared_and_the_other_way_round(tree: Tree) -> None:
    declared = {each["name"] for each in tree["templating"]["list"]}
    text = str(tree)
    used = {name for name in re.findall(r"\$\{?([a-z]\w*)\}?", text) if not name.startswith("__")}

    assert used == declared


def test_every_series_is_documented_or_recorded(root: Path, tree: Tree) -> None:
    """A metric that was renamed must be missed here, not by an operator."""
    page = "".join(file.read_text() for file in sorted((root / "docs").glob("*.md")))
    recorded = {rule["record"] for rule in rules_of((root / "conf" / "rules.yml").read_text()) if "record" in rule}
    for query in queries(tree):
        for name in METRIC.findall(query.expression):
            assert f"`{name}`" in page, f"{query.panel}: {name}"
        for name in re.findall(r"job:\w+:\w+", query.expression):
            assert name in recorded, f"{query.panel}: {name}"


def test_filling_a_query_leaves_no_variable() -> None:
    query = Query("r", "p", 'rate(a{i=~"$instance", b=~"${backend}"}[$__rate_interval])')

    assert query.filled(interval="3s") == 'rate(a{i=~".*", b=~".*"}[3s])'
