"""Tornado's own tests of its server and its client, run against ours.

They ship within Tornado and are run as they are, in a process of their own (they set loops, loggers and defaults).
"""

import json
import subprocess
import sys
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import tornado

from tests.conformance.expected import EXPECTED, TORNADO, patterns

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 120.0  # seconds; a run takes some ten
LEAST = {"server": 330, "client": 95}  # tests that pass: we want to know should Tornado's tests not be found or not run

Results = dict[str, tuple[str, str]]


@pytest.fixture(scope="module")
def results() -> dict[str, Results]:
    """What became of each test, by side; both run at the same time."""
    running = {
        side: subprocess.Popen(
            [sys.executable, "-m", "tests.conformance", side],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for side in EXPECTED
    }
    found = {}
    try:
        for side, process in running.items():
            out, err = process.communicate(timeout=LIMIT)
            assert process.returncode == 0, err
            found[side] = json.loads(out)
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    return found


@pytest.fixture
def _of_the_table() -> None:
    """Another Tornado has other tests: the table says nothing of those."""
    if tornado.version != TORNADO:
        pytest.skip(f"the table of differences is for Tornado {TORNADO}, this is {tornado.version}")


@pytest.mark.usefixtures("_of_the_table")
@pytest.mark.parametrize("side", EXPECTED)
def test_what_fails_is_known_and_has_its_reason(results: dict[str, Results], side: str) -> None:
    unknown = {
        name: why for name, (outcome, why) in results[side].items() if outcome == "failed" and not patterns(side, name)
    }

    assert not unknown


@pytest.mark.usefixtures("_of_the_table")
@pytest.mark.parametrize("side", EXPECTED)
def test_what_is_known_to_fail_does(results: dict[str, Results], side: str) -> None:
    """Else the table tells of differences that are none."""
    failed = {name for name, (outcome, _) in results[side].items() if outcome == "failed"}
    passed = {name for name in results[side].keys() - failed if patterns(side, name)}
    unused = {pattern for pattern in EXPECTED[side] if not any(fnmatchcase(name, pattern) for name in failed)}

    assert (passed, unused) == (set(), set())


@pytest.mark.parametrize("side", EXPECTED)
def test_the_rest_passes(results: dict[str, Results], side: str) -> None:
    count = Counter(outcome for outcome, _ in results[side].values())

    assert count["ok"] >= LEAST[side], count


def test_every_difference_has_a_reason_and_the_document_tells_all_reasons() -> None:
    document = (ROOT / "docs" / "conformance.md").read_text()
    reasons = {why for table in EXPECTED.values() for why, _ in table.values()}

    assert not [why.value for why in reasons if why.value not in " ".join(document.split())]
