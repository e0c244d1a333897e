"""The corpus itself: every listed case is there, and untranslated requests really fail, so the other tests can."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.translate.corpus.case import Raw
from tests.translate.corpus.requests import CASES
from tests.translate.real.workers import Fleet, Job
from tests.translate.targets import combinations

LISTED = (Path(__file__).parent / "corpus" / "listed.txt").read_text().split()
SEEN = ("v3", "v7", "v11", "v13", "v13-think", "v15")


def test_every_listed_case_has_a_payload_and_none_is_unlisted() -> None:
    assert {case.listed for case in CASES} == set(LISTED)


def test_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 190


def test_payloads_of_a_case_differ() -> None:
    bodies = [json.dumps(case.body, sort_keys=True) for case in CASES]

    assert len(set(bodies)) == len(bodies)


@pytest.fixture(scope="session")
def raw(fleet: Fleet) -> dict[tuple[str, str], list[Any]]:
    """What each version says to every request as it came, on each tokenizer."""
    bodies = [{"messages": [], **case.request} for case in CASES]
    pairs = combinations(fleet, SEEN)
    results = fleet.encode(Job(version, name, "openai", "test", bodies, errors_only=True) for version, name in pairs)
    return dict(zip(pairs, results, strict=True))


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case.name for case in CASES])
def test_mistral_common_says_to_the_raw_request_what_the_case_says(
    raw: dict[tuple[str, str], list[Any]], number: int
) -> None:
    errors = [results[number] for results in raw.values() if results[number] is not None]

    seen = Raw.TAKEN if not errors else Raw.REFUSED if len(errors) == len(raw) else Raw.MIXED
    assert seen is CASES[number].raw, errors[:1]


def test_about_half_of_the_raw_requests_are_refused(raw: dict[tuple[str, str], list[Any]]) -> None:
    """By the oldest version two thirds, by the newest a half: without translation the other tests could not pass."""
    shares = {pair: sum(result is not None for result in results) / len(CASES) for pair, results in raw.items()}

    assert min(shares.values()) > 0.4
    assert max(shares.values()) > 0.6
