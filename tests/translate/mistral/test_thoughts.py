"""Reasoning of earlier turns."""

from typing import Any

import pytest

from router.translate.mistral.message import Assistant, encoded
from router.translate.mistral.parts import Piece, Thought, Words
from router.translate.mistral.thoughts import Place, thought_text, with_thoughts
from router.translate.notes import Notes, Rule

SAID = Words("x")


def read(place: Place, *pieces: Piece, **fields: Any) -> tuple[list[Piece], Notes]:
    message = Assistant()
    for name, value in fields.items():
        setattr(message, name, encoded(value))
    notes = Notes(explain=True)
    return with_thoughts(message, list(pieces), 1, place=place, notes=notes), notes


@pytest.mark.parametrize("place", Place)
def test_what_has_no_reasoning_stays(place: Place) -> None:
    pieces, notes = read(place, SAID)

    assert pieces == [SAID]
    assert not notes.repaired


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"reasoning_content": "t"}, "reasoning_content"),
        ({"reasoning": "t"}, "reasoning"),
        ({"reasoning_details": [{"type": "reasoning.text", "text": "t"}]}, "reasoning_details"),
    ],
)
def test_r10_reasoning_is_lost_where_the_model_has_none(fields: dict[str, Any], where: str) -> None:
    pieces, notes = read(Place.NOWHERE, SAID, **fields)

    assert pieces == [SAID]
    assert notes.steps == [(Rule.R10, f"messages.1.{where}", True)]


def test_r10_so_are_parts_of_it() -> None:
    pieces, notes = read(Place.NOWHERE, Thought("t"), SAID)

    assert pieces == [SAID]
    assert notes.lost == {Rule.R10}


@pytest.mark.parametrize("place", Place)
def test_r1_reasoning_that_is_null_is_no_loss(place: Place) -> None:
    pieces, notes = read(place, SAID, reasoning_content=None, reasoning="")

    assert pieces == [SAID]
    assert notes.repaired == {Rule.R1}
    assert not notes.lost


@pytest.mark.parametrize("place", [Place.CONTENT, Place.FIELD])
@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_r10_a_model_that_reasons_gets_one_thought_in_front(place: Place, key: str) -> None:
    pieces, notes = read(place, SAID, **{key: "t"})

    assert pieces == [Thought("t"), SAID]
    assert not notes.lost


def test_r10_what_stands_where_the_backend_takes_it_needs_no_repair() -> None:
    for place, pieces, fields in (
        (Place.CONTENT, (Thought("t"), SAID), {}),
        (Place.CONTENT, (Thought("t"),), {}),
        (Place.FIELD, (SAID,), {"reasoning": "t"}),
    ):
        assert not read(place, *pieces, **fields)[1].repaired


def test_r10_what_moves_is_noted() -> None:
    for place, pieces, fields in (
        (Place.CONTENT, (SAID, Thought("t")), {}),
        (Place.CONTENT, (Thought("t"), Thought("u"), SAID), {}),
        (Place.CONTENT, (Thought("t"), SAID, SAID), {}),
        (Place.CONTENT, (SAID,), {"reasoning": "t"}),
        (Place.FIELD, (Thought("t"), SAID), {}),
        (Place.FIELD, (SAID,), {"reasoning_content": "t"}),
    ):
        notes = read(place, *pieces, **fields)[1]
        assert notes.repaired == {Rule.R10}
        assert not notes.lost


def test_r10_of_two_that_differ_one_is_lost() -> None:
    """mistral-common refuses them."""
    pieces, notes = read(Place.CONTENT, SAID, reasoning="t", reasoning_content="u")

    assert pieces == [Thought("t"), SAID]
    assert notes.steps is not None
    assert (Rule.R10, "messages.1.reasoning_content", True) in notes.steps


@pytest.mark.parametrize(
    ("value", "text"),
    [("t", "t"), (None, ""), (5, ""), ([{"text": "a"}, {"summary": "b"}, {"data": "x"}, 5, {"text": 5}], "a\nb")],
)
def test_details_are_joined(value: object, text: str) -> None:
    assert thought_text(value) == text
