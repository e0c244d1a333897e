"""What seeing costs is told apart from what the router costs: the blind router does its work, and notes nothing."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # bench/ is no part of the distribution

from bench import blind, scrape, seeing
from router.observer import Observer
from router.relay.usage import tokens_of
from router.wire.connection import Connection

MARGIN = 0.9  # of what seeing costs, that a stand-in which is no longer put in place would leave


@pytest.fixture(scope="module")
def counts(tool: Callable[[str], str]) -> dict[str, tuple[float, float]]:
    """What both do, by "case: what"."""
    tool("cc")
    _, *rows = seeing.count()
    return {name: (float(seen), float(less)) for name, seen, less, _ in rows}


@pytest.mark.parametrize(
    ("figure", "least"),
    [("request: calls of Python", 20), ("request: allocations", 60), ("event: calls of C", 0.9)],
)
def test_a_blind_router_answers_and_does_less(
    counts: dict[str, tuple[float, float]], figure: str, least: float
) -> None:
    """Each of metrics, lists, access lines and tokens is more than what is left to the margin."""
    seen, less = counts[figure]

    assert 0 < less <= seen - least * MARGIN


def test_a_router_that_was_blind_is_as_shipped_when_it_sees_again() -> None:
    sight, functions = blind.Sight(), [Observer._exchange_closed, tokens_of, Connection.data_received]
    shipped = [each.__code__ for each in functions]

    try:
        sight.turn(is_blind=True)
        assert not any(each.__code__ is code for each, code in zip(functions, shipped, strict=True))
    finally:
        sight.turn(is_blind=False)
    assert all(each.__code__ is code for each, code in zip(functions, shipped, strict=True))


def numbered(first: int) -> int:
    """Something with lines."""
    while first < 2:
        first += 1
    return first


def test_a_function_is_rewritten_line_by_line_and_only_where_it_has_them() -> None:
    other: Callable[..., object] = blind.rewritten(numbered, {"first += 1": "first += 2"})

    assert (numbered(1), other(1)) == (2, 3)
    with pytest.raises(LookupError, match="third"):
        blind.rewritten(numbered, {"third = 3": ""})


def test_a_difference_is_taken_within_each_round_and_held_against_its_bar() -> None:
    """A round in which the whole machine was slow does not change it."""
    pairs = {"request": [(110.0, 105.0), (220.0, 214.0), (109.0, 102.0)], "event": [(9.0, 8.0)] * 3}

    rows, faults = seeing.told(pairs, {"request": 8.0, "event": 0.5})

    assert rows[1][:4] == ["request", "110.00", "105.00", "6.00"]
    assert rows[1][-1] == "8"
    assert faults == ["event: 1.00 us more, at most 0.5"]


def test_the_page_of_500_backends_with_everything_to_tell_takes_no_100_ms() -> None:
    """In CPU, the least of rounds: wall time is the machine's; it takes a fifth of that."""
    found = scrape.inside(500, rounds=3)

    assert {name: round(cpu, 3) for name, cpu, _, _ in found if cpu > scrape.BAR} == {}
    (text,) = [size for name, _, _, size in found if name == "text"]
    assert text > 2_000_000, "they have everything to tell"
