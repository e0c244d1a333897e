"""docs/metrics.md and what /metrics tells, held together: name by name, with type, labels and the sum over workers."""

import asyncio
import os
import re
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from router.backends.probe import Trouble
from router.config import Config, Loaded
from router.observe.exposition import Families, Kind, merged
from router.observe.page import render
from router.process.assembly import Assembly
from router.process.counts import Places, Table, new_file
from tests.observe.counted import counted

ROW = re.compile(r"\| `(\w+)` \| (\w+) \| ([\w, -]+) \| ([^|]+) \| (\w+) \| [^|]+\?[^|]* \|")
ACROSS = {Kind.LARGEST: "largest", Kind.SMALLEST: "smallest"}
UNITS = {"seconds": "seconds", "bytes": "bytes", "ratio": "ratio"}


class Row(NamedTuple):
    """What is said of one metric."""

    kind: str
    labels: frozenset[str]
    workers: str


def documented(root: Path) -> dict[str, Row]:
    lines = [line for line in (root / "docs/metrics.md").read_text().splitlines() if re.match(r"\| `\w+_\w+` \|", line)]
    rows = {}
    for line in lines:
        found = ROW.fullmatch(line)
        assert found, f"not a row of five cells and a question: {line}"
        labels = frozenset() if found[3] == "-" else frozenset(found[3].split(", "))
        assert found[1] not in rows, f"{found[1]} is there twice"
        rows[found[1]] = Row(found[2], labels, found[5])
    return rows


def everything() -> Families:
    """What a parent of workers tells that have counted something of everything."""

    async def of_the_parent() -> Families:
        fd = new_file()
        table = Table(fd)
        try:
            return Assembly(Loaded(Config.model_validate({})), Places(table)).counted()
        finally:
            table.close()
            os.close(fd)

    return merged([counted().dump(), asyncio.run(of_the_parent())])


def told() -> dict[str, Row]:
    families = everything()
    rows = {}
    for family in parse_openmetrics(render(families, "application/openmetrics-text")[1].decode()):
        assert family.samples, f"{family.name} has no sample: let tests/observe/counted.py count one"
        labels = {frozenset(sample.labels) - {"le"} for sample in family.samples}
        assert len(labels) == 1, f"{family.name} has samples with different labels"
        name = family.name + "_total" * (family.type == "counter")
        rows[name] = Row(family.type, labels.pop(), ACROSS.get(families[family.name].kind, "sum"))
    return rows


def test_the_documentation_and_the_page_have_the_same_metrics(root: Path) -> None:
    said, seen = documented(root), told()

    assert said.keys() == seen.keys(), f"only on one side: {sorted(said.keys() ^ seen.keys())}"
    assert said == seen


def test_every_unit_stands_in_the_name(root: Path) -> None:
    for line in (root / "docs/metrics.md").read_text().splitlines():
        found = ROW.fullmatch(line)
        if found is not None:
            unit = UNITS.get(found[4].split(" ")[0])
            ending = re.search(r"_(seconds|bytes|ratio)(?:_total)?$", found[1])
            assert (ending and ending[1]) == unit, f"{found[1]}: {found[4]}"


def test_no_name_is_borrowed_and_nothing_tells_of_what_is_not_there(root: Path) -> None:
    assert all(name.startswith(("router_", "process_")) for name in told())
    assert not [name for name in documented(root) if "vllm" in name]


def test_every_cause_of_a_failed_probe_is_told_of(pytestconfig: pytest.Config) -> None:
    lines = (pytestconfig.rootpath / "docs/metrics.md").read_text().splitlines()
    [row] = [line for line in lines if line.startswith("| `router_backend_ejections_total` |")]
    assert [each.value for each in Trouble if f"`{each.value}`" not in row] == []
