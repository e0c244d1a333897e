"""The structure of the dashboard: Grafana's own types, a grid without overlaps, and metrics that exist."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import bargauge, prometheus, stat, statetimeline, text, timeseries, units
from grafana_foundation_sdk.models.dashboard import Dashboard

from router.cli import main
from tests.alerting.dashboard import ANNOTATIONS, VARIABLES, Query, Tree, panels, queries, read, values_of
from tests.alerting.rules import rules_of

ROWS = [
    *("Overview", "Failures that clients hardly notice", "Backends", "Models", "Translation and sessions"),
    *("The router itself", "One request"),
]
# Grafana writes these itself into annotations and variables of a Prometheus, and its types leave them open.
NOT_TYPED = {"titleFormat", "textFormat", "step", "definition"}
KINDS: dict[str, Any] = {
    **{"bargauge": bargauge, "stat": stat, "state-timeline": statetimeline, "text": text, "timeseries": timeseries}
}
UNITS = {value for name, value in vars(units).items() if isinstance(value, str) and not name.startswith("_")}
GROUPED = re.compile(r"\bby \(([\w, ]+)\)")
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


def unknown(kind: Any, given: Tree) -> list[str]:
    """Return what a type of Grafana's does not know of an object."""
    return lost(given, json.loads(JSONEncoder(sort_keys=True).encode(kind.from_json(given))))


def test_grafanas_own_types_know_what_is_set_of_each_kind_of_panel_and_of_its_queries(tree: Tree) -> None:
    """The dashboard's own type leaves these open."""
    for _, panel in panels(tree):
        kind, custom = KINDS[panel["type"]], panel.get("fieldConfig", {}).get("defaults", {}).get("custom", {})
        assert unknown(kind.Options, panel["options"]) == [], panel["title"]
        assert not custom or unknown(kind.FieldConfig, custom) == [], panel["title"]
        for target in panel.get("targets", ()):
            assert unknown(prometheus.Dataquery, target) == [], panel["title"]


def test_what_grafanas_types_do_not_know_is_found() -> None:
    assert unknown(stat.Options, {"colourMode": "none"}) == [".colourMode"]


def test_units_are_those_of_grafana_and_every_figure_has_one(tree: Tree) -> None:
    for _, panel in panels(tree):
        unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit")
        is_state = panel["type"] in ("state-timeline", "text") or "mappings" in panel["fieldConfig"]["defaults"]
        assert unit in UNITS or (unit is None and (is_state or panel["title"] == "Version")), (panel["title"], unit)


def test_a_legend_names_everything_that_its_series_differ_in(tree: Tree) -> None:
    for _, panel in panels(tree):
        targets = panel.get("targets", ())
        legends = [target["legendFormat"] for target in targets]
        assert len(set(legends)) == len(legends), panel["title"]
        for target in targets:
            groups = GROUPED.findall(target["expr"])
            by = {label for label in (groups[0].split(", ") if groups else ()) if label != "le"}
            assert by <= set(re.findall(r"{{(\w+)}}", target["legendFormat"])), panel["title"]


def test_a_click_on_a_series_leads_to_its_lines_in_the_log(
    tree: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command that stands there must exist, with all of its flags, and the label be one that the series has."""
    (place,) = [panel for _, panel in panels(tree) if panel["type"] == "text"]
    declared = {each["name"] for each in tree["templating"]["list"]}
    assert main(["logs", "--help"]) == 0
    told = capsys.readouterr().out
    links = [
        (panel, link["url"])
        for _, panel in panels(tree)
        for link in panel.get("fieldConfig", {}).get("defaults", {}).get("links", ())
    ]
    rows = {row for row, panel in panels(tree) if panel in [each for each, _ in links]}

    assert {"Overview", "Failures that clients hardly notice", "Backends", "Models"} <= rows
    for panel, url in links:
        assert url.startswith(f"/d/{tree['uid']}?")
        assert f"viewPanel={place['id']}&" in url
        (name, wanted) = re.findall(r"&var-(\w+)=(.*)", url)[0]
        assert name in declared
        assert f"${{{name}}}" in place["options"]["content"]
        assert all(flag in told for flag in re.findall(r"--[\w-]+", wanted))
        for label in re.findall(r"__field\.labels\.(\w+)", wanted):
            assert all(f"{{{{{label}}}}}" in target["legendFormat"] for target in panel["targets"]), panel["title"]
    assert all(flag in told for flag in re.findall(r"--[\w-]+", place["options"]["content"]))


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
    targets = [target for _, panel in panels(tree) for target in panel.get("targets", ())]
    variables = [each for each in tree["templating"]["list"] if each["type"] == "query"]
    for asked in (*targets, *variables, *tree["annotations"]["list"]):
        assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for query in queries(tree):
        assert 'job="devstral-router"' in query.expression or "ALERTS" in query.expression, query


def test_the_values_of_variables_and_what_annotations_ask_are_queries_too(tree: Tree) -> None:
    """A variable without values leaves every panel empty, and an annotation without data is missed by nobody."""
    found = {(each.row, each.panel): each.expression for each in queries(tree)}

    assert [name for row, name in found if row == VARIABLES] == ["instance", "backend", "model"]
    assert [name for row, name in found if row == ANNOTATIONS] == ["Alerts", "Reloads"]
    assert found[VARIABLES, "instance"] == 'count by (instance) (router_build_info{job="devstral-router"})'


def test_a_variable_that_cannot_be_asked_of_prometheus_is_refused() -> None:
    assert values_of('label_values(a{b="c, d"}, e)') == 'count by (e) (a{b="c, d"})'
    with pytest.raises(ValueError, match="label_values"):
        values_of("query_result(a)")


def test_times_to_first_token_and_durations_are_shown_with_their_traces(tree: Tree) -> None:
    assert {each.panel for each in queries(tree) if each.wants_exemplars} == {
        "Time to first token",
        "Duration of requests",
    }


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
