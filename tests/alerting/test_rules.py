"""The shipped alerts: promtool's judgement, their times, a paragraph about each, and their quick form."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.alerting.rules import SHIPPED_INTERVAL, alerts_of, quick, rules_of
from tests.alerting.stages import STAGES

UNIT_TESTS = "tests/alerting/rules_test.yml"
SEVERITIES = {"page", "ticket", "note"}


@pytest.fixture
def text(root: Path) -> str:
    """The rules as shipped."""
    return (root / "conf" / "rules.yml").read_text()


def promtool(tool: Callable[[str], str], *arguments: str) -> str:
    done = subprocess.run([tool("promtool"), *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_promtool_accepts_the_rules(tool: Callable[[str], str], root: Path) -> None:
    assert "SUCCESS" in promtool(tool, "check", "rules", str(root / "conf" / "rules.yml"))


def test_alerts_fire_and_end_in_their_time(tool: Callable[[str], str], root: Path) -> None:
    promtool(tool, "test", "rules", str(root / UNIT_TESTS))


def test_each_alert_of_each_severity_is_seen_firing_in_the_unit_tests(root: Path, text: str) -> None:
    tested = {
        (check["alertname"], each["exp_labels"]["severity"])
        for case in yaml.safe_load((root / UNIT_TESTS).read_text())["tests"]
        for check in case.get("alert_rule_test", ())
        for each in check["exp_alerts"]
    }

    assert tested == {(alert["alert"], alert["labels"]["severity"]) for alert in alerts_of(text)}


def test_each_alert_has_a_runbook_and_each_runbook_an_alert(root: Path, text: str) -> None:
    page = (root / "docs" / "operations.md").read_text()
    headings = re.findall(r"^### (Router\w+)\n\n\S", page, re.MULTILINE)
    alerts = alerts_of(text)

    assert sorted(headings) == sorted({alert["alert"] for alert in alerts})
    for alert in alerts:
        assert alert["annotations"]["runbook_url"] == f"docs/operations.md#{alert['alert'].lower()}"


def test_each_alert_says_how_urgent_it_is_and_what_it_means(text: str) -> None:
    for alert in alerts_of(text):
        assert alert["labels"]["severity"] in SEVERITIES, alert["alert"]
        assert {"summary", "description"} <= alert["annotations"].keys(), alert["alert"]


def test_the_quick_rules_differ_in_times_alone(text: str) -> None:
    one, other = rules_of(text), rules_of(quick(text, 60, interval=0.3))

    assert len(one) == len(other)
    for shipped, short in zip(one, other, strict=True):
        timeless = [re.sub(r"\[\w+\]", "[]", rule["expr"]) for rule in (shipped, short)]
        assert timeless[0] == timeless[1]
        assert {**shipped, "expr": 0, "for": 0} == {**short, "expr": 0, "for": 0}
        assert ("for" in shipped) == ("for" in short)


def test_what_is_remembered_long_is_forgotten_sooner() -> None:
    """Else the alerts on budgets would go on for minutes after the last failure."""
    rule = {"alert": "A", "expr": "sum_over_time(a[6h]) / sum_over_time(a[5m])", "for": "15m"}
    text = yaml.safe_dump({"groups": [{"name": "g", "rules": [rule]}]})
    (short,) = rules_of(quick(text, 150, interval=0.3, long_factor=1500))

    assert short == {"alert": "A", "expr": "sum_over_time(a[14400ms]) / sum_over_time(a[2000ms])", "for": "6000ms"}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("rate(a[5m])", "rate(a[5000ms])"),
        ("rate(a[1m])", "rate(a[1200ms])"),
        ("sum_over_time(a[3d]) / sum_over_time(b[6h])", "sum_over_time(a[4320000ms]) / sum_over_time(b[360000ms])"),
        ('a{le="5.0"} > 14 * 86400', 'a{le="5.0"} > 14 * 86400'),
    ],
)
def test_ranges_shrink_to_a_floor_and_nothing_else_does(expression: str, expected: str) -> None:
    rule = yaml.safe_dump({"groups": [{"name": "g", "rules": [{"alert": "A", "expr": expression, "for": "2m"}]}]})
    (short,) = rules_of(quick(rule, 60, interval=0.3))

    assert short["expr"] == expected
    assert short["for"] == "2000ms"


@pytest.mark.parametrize(
    ("lasts", "expected"), [("15s", "300ms"), ("30s", "600ms"), ("1m", "1200ms"), ("5m", "2000ms")]
)
def test_an_alert_waits_for_as_many_scrapes_as_it_does_where_it_is_shipped_or_for_four(
    root: Path, lasts: str, expected: str
) -> None:
    shipped = yaml.safe_load((root / "conf" / "prometheus.yml").read_text())["global"]["scrape_interval"]
    rule = yaml.safe_dump({"groups": [{"name": "g", "rules": [{"alert": "A", "expr": "a", "for": lasts}]}]})
    (short,) = rules_of(quick(rule, 150, interval=0.3))

    assert shipped == f"{SHIPPED_INTERVAL:g}s"
    assert short["for"] == expected


def test_each_alert_of_each_severity_is_brought_by_a_harm(text: str) -> None:
    """What no harm brings nobody has seen firing before a live router: `make observe` shows them all."""
    brought = set().union(*(stage.brings for stage in STAGES))
    severities: dict[str, set[str]] = {}
    for alert in alerts_of(text):
        severities.setdefault(alert["alert"], set()).add(alert["labels"]["severity"])

    for name, every in severities.items():
        wanted = {name} if len(every) == 1 else {f"{name}={severity}" for severity in every}
        assert wanted <= brought
