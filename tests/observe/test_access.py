"""Rules of router/observe/access.py."""

from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.ended import sort
from router.exchange import Exchange, Outcome
from router.observe import access
from router.observe.access import AccessLines
from router.observe.lines import Clock, json_line, text_line, went_well
from tests.observe.drawn import SELDOM, exchanges, usual

AHEAD = 1_790_000_000.0
def one_by_one(exchanges: list[Exchange], worker: int | None, sample: float | None) -> bytes:
    """The lines as lines.py makes them."""
    clock = Clock()
    return b"".join(
        json_line(one, clock.text((one.closed or 0.0) + AHEAD), worker, sample if went_well(one) else None)
        for one in exchanges
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(exchanges(), max_size=6), st.sampled_from([None, 3]), st.sampled_from([None, 0.25]))
def test_lines_made_together_are_those_that_are_made_one_by_one(
    made: list[Exchange], worker: int | None, sample: float | None
) -> None:
    lines = AccessLines(worker, sample)

    assert lines.json(sort(made), AHEAD) == one_by_one(made, worker, sample)
    assert lines.json(sort(made), AHEAD) == one_by_one(made, worker, sample), "with what was kept of the first time"


def test_every_field_of_an_exchange_is_tried() -> None:
    """A new one may have a place in the line."""
    fixed = {"id", "route", "method", "opened", "attempts", "on_close"}

    assert {each.name for each in fields(Exchange)} == fixed | set(SELDOM)


def test_the_usual_exchanges_share_what_is_kept_and_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "MAX_KEPT", 8)
    lines = AccessLines()
    lines.json(sort([usual(f"req-{number}", bytes_in=number, closed=103.0 + number) for number in range(100)]), AHEAD)
    assert len(lines._templates) == 1

    made = [usual(model=f"m-{number}") for number in range(100)]
    assert lines.json(sort(made), AHEAD) == one_by_one(made, None, None)
    assert 1 <= len(lines._templates) <= 8


def test_what_is_not_usual_keeps_nothing() -> None:
    """Else clients could fill the memory with models that nobody has."""
    lines = AccessLines()
    lines.json(sort([usual(known_model=False), usual(outcome=Outcome.BROKEN), usual(attempts=[])]), AHEAD)

    assert lines._templates == {}


def test_lines_for_people_are_made_one_by_one() -> None:
    one = usual()
    time = Clock().text(103.0 + AHEAD)

    assert AccessLines(3, 0.25).text(sort([one, one]), AHEAD) == text_line(one, time, 3, 0.25) * 2
