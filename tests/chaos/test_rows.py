"""Every row of docs/reliability.md and docs/security.md has a test, or stands here with the reason why it has none."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = {  # the rows that each of them documents
    ROOT / "docs" / "reliability.md": {*range(1, 40), *range(72, 94)},
    ROOT / "docs" / "security.md": {*range(40, 72)},
}
ROWS = {row for rows in DOCS.values() for row in rows}

# Rows that are not held, and why.
NOT_MET: dict[int, str] = {
    59: "There are no keys of clients yet.",
    60: "There are no tokens (JWT) of clients yet.",
    61: "Nobody is let in by a check that could fail: there is none yet.",
    72: "There are no rate limits: they need keys and tenants, which the router does not know yet.",
}
HELD_BY_A_FIXTURE = {93: "tests/chaos/conftest.py: _everything_is_given_back, around every test there"}


def marked() -> dict[int, list[str]]:
    """Return the tests that carry each row's mark, as file::name."""
    found: dict[int, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text()
        if "mark.row" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                for row in rows_of(node):
                    found[row].append(f"{path.relative_to(ROOT).as_posix()}::{node.name}")
    return found


def rows_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[int]:
    """Return the numbers in the marks of one test."""
    return [
        argument.value
        for mark in function.decorator_list
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.row"
        for argument in mark.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, int)
    ]


def test_every_row_has_a_test_or_a_reason() -> None:
    without = ROWS - marked().keys() - NOT_MET.keys() - HELD_BY_A_FIXTURE.keys()

    assert not without, f"rows without a test: {sorted(without)}"


def test_no_row_has_both_a_test_and_a_reason_why_not() -> None:
    assert not marked().keys() & NOT_MET.keys()


def test_no_test_names_a_row_that_does_not_exist() -> None:
    assert not marked().keys() - ROWS


def documented(path: Path) -> dict[int, str]:
    """Return the rows of the tables in a document."""
    rows = (line.split("|") for line in path.read_text().splitlines() if re.match(r"\| *\d+ *\|", line))
    return {int(cells[1]): "|".join(cells[2:]) for cells in rows}


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_the_documentation_has_every_row_and_names_tests_that_exist(path: Path) -> None:
    rows = documented(path)
    tests = marked()
    assert rows.keys() == DOCS[path]
    for number, text in rows.items():
        files = {test.partition("::")[0].removeprefix("tests/") for test in tests.get(number, ())}
        if number in NOT_MET:
            assert "not met" in text, number
        elif number not in HELD_BY_A_FIXTURE:
            named = set(re.findall(r"`([\w/]+\.py)`", text))
            assert named, f"row {number} names no test"
            assert named <= files, f"row {number} names {sorted(named - files)}, which has no such mark"
