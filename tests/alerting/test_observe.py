"""One round of `make observe`: real processes, real faults, a real Prometheus."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.alerting.__main__ import told_of, wrong
from tests.alerting.prometheus import Firing
from tests.alerting.stages import STAGES
from tests.chaos.processes import PROC

LIMIT = 400.0  # seconds for a round; it took 105 to 145, and 240 on one core beside six busy loops


@pytest.fixture(scope="module")
def report(root: Path, tmp_path_factory: pytest.TempPathFactory, tool: Callable[[str], str]) -> dict[str, Any]:
    """What the command tells of one round."""
    for name in ("prometheus", "openssl"):
        tool(name)
    folder = tmp_path_factory.mktemp("observe")
    done = subprocess.run(
        [sys.executable, "-m", "tests.alerting", "--once", "--json", str(folder / "report.json")],
        cwd=root,
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    print(done.stdout, done.stderr)
    assert (folder / "report.json").exists(), done.stderr
    told: dict[str, Any] = json.loads((folder / "report.json").read_text())
    told.update(code=done.returncode, folder=str(folder), printed=done.stdout)
    return told


@pytest.mark.parametrize("name", [stage.name for stage in STAGES])
def test_a_harm_brings_its_alerts_and_no_others_and_they_end_with_it(report: dict[str, Any], name: str) -> None:
    (stage,) = [each for each in STAGES if each.name == name]
    (told,) = [each for each in report["stages"] if each["stage"] == name]

    assert told["fired"].keys() == stage.brings
    assert (told["missing"], told["wrong"]) == ([], {})
    assert told["gone"] is not None


def test_a_burnt_budget_is_told_until_its_windows_have_passed(report: dict[str, Any]) -> None:
    assert report["budgets_end"]


def test_every_query_of_the_dashboard_has_data_and_every_rule_can_be_evaluated(report: dict[str, Any]) -> None:
    assert report["empty"] == []
    assert report["faulty_rules"] == []


def test_every_query_of_the_dashboard_that_wants_exemplars_has_traces(report: dict[str, Any]) -> None:
    assert report["without_exemplars"] == []


def test_it_says_what_to_look_at_and_leaves_nothing_running(report: dict[str, Any]) -> None:
    assert report["code"] == 0
    assert "/alerts" in report["printed"]
    mark = report["folder"].encode()
    left = [each.name for each in PROC.iterdir() if each.name.isdigit() and mark in _command(each)]
    assert left == []


def firing(name: str, severity: str, since: float) -> tuple[str, list[Firing]]:
    return name, [Firing(severity, since, {"alertname": name, "severity": severity})]


def test_an_alert_that_the_stage_does_not_name_is_wrong_and_so_is_another_severity_of_one_that_it_does() -> None:
    fired = dict([firing("A", "page", 1.0), firing("B", "ticket", 2.0), firing("C", "ticket", 3.0)])

    assert wrong(fired, frozenset({"A", "B=ticket", "C=page"})).keys() == {"C"}
    assert wrong(fired, frozenset({"A", "B", "C"})) == {}


def test_an_alert_is_told_with_the_first_time_that_it_fired_and_each_severity_with_its_own() -> None:
    fired = {"A": [*firing("A", "page", 2.0)[1], *firing("A", "ticket", 1.0)[1]]}

    assert told_of(fired) == {"A": 1.0, "A=page": 2.0, "A=ticket": 1.0}


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:  # it has ended
        return b""
