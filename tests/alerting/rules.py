"""The shipped rules, read, and the same ones with shorter times. Pure."""

import re
from typing import Any

import yaml

RANGE = re.compile(r"\[(\d+)([smhd])\]")
DURATION = re.compile(r"(\d+)([smhd])")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
SHIPPED_INTERVAL = 15.0  # seconds between two scrapes, in conf/prometheus.yml
LEAST_SCRAPES = 4  # that a range covers

Rule = dict[str, Any]


def rules_of(text: str) -> list[Rule]:
    """Return all rules of a file, in its order."""
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def alerts_of(text: str) -> list[Rule]:
    """Return its alerts; one name may have several, of different severity."""
    return [rule for rule in rules_of(text) if "alert" in rule]


def quick(text: str, factor: float, *, interval: float, long_factor: float | None = None) -> str:
    """Return the rules with each `for` and each range of an expression `factor` times shorter.

    `interval`: seconds between two scrapes. No range gets shorter than some of them: a rate needs that. A `for` lasts
    as many scrapes as in the shipped form, or some: else one late scrape were an alert, which it is for nobody.
    `long_factor`: by which ranges of an hour and more are shorter, None for the same: budgets remember long. Everything
    else is as it was, the names of recorded series included, though they tell the long windows.
    """
    shortest = LEAST_SCRAPES * interval
    tree = yaml.safe_load(text)
    for group in tree["groups"]:
        for rule in group["rules"]:
            rule["expr"] = RANGE.sub(
                lambda found: f"[{_shortened(found, factor, shortest, long_factor)}]", rule["expr"]
            )
            if "for" in rule:
                found = DURATION.fullmatch(rule["for"])
                assert found is not None, rule["for"]
                as_shipped = int(found[1]) * SECONDS[found[2]] / SHIPPED_INTERVAL * interval
                rule["for"] = _shortened(found, factor, min(as_shipped, shortest))
    return yaml.safe_dump(tree, sort_keys=False, width=1000)


def _shortened(found: re.Match[str], factor: float, shortest: float, long_factor: float | None = None) -> str:
    seconds = int(found[1]) * SECONDS[found[2]]
    if long_factor is not None and seconds >= SECONDS["h"]:
        factor = long_factor
    return f"{round(max(shortest, seconds / factor) * 1000)}ms"
