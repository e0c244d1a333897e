"""Rules of router/ended.py."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.ended import sort
from router.exchange import Attempt, AttemptOutcome, Exchange, Outcome
from tests.observe.drawn import exchanges, usual


@settings(max_examples=200, deadline=None)
@given(st.lists(exchanges(), max_size=6))
def test_each_exchange_goes_one_way_or_is_one_of_the_others(made: list[Exchange]) -> None:
    ended = sort(made)
    alike_of = {id(one): alike for one, alike in zip(made, ended.with_alike, strict=True)}

    assert ended.exchanges == made
    sorted_out = [*ended.others, *(one for alike in ended.alike for one in alike.exchanges)]
    assert sorted(map(id, sorted_out)) == sorted(alike_of)
    assert all(alike_of[id(one)] is None for one in ended.others)
    for alike in ended.alike:
        assert all(alike_of[id(one)] is alike for one in alike.exchanges)
        for column in (alike.durations, alike.firsts, alike.tries, alike.first_of_tries):
            assert len(column) == len(alike.exchanges)


def test_what_is_measured_stands_in_columns_in_the_order_of_the_exchanges() -> None:
    (alike,) = sort([usual("a"), usual("b", began=101.001, closed=104.0)]).alike

    assert [one.id for one in alike.exchanges] == ["a", "b"]
    assert alike.durations == [3.0, 4.0]
    assert alike.firsts == pytest.approx([0.25, 1.001])
    assert alike.tries == pytest.approx([2.899] * 2)
    assert alike.first_of_tries == pytest.approx([0.249, 1.0])


def test_what_all_have_in_common_is_told_once() -> None:
    (alike,) = sort([usual(rules={"R3"}, stream=True), usual(rules={"R3"}, stream=True, bytes_in=7)]).alike
    way = alike.way

    assert (way.method, way.route, way.model, way.is_stream) == ("POST", "/v1/chat/completions", "m", True)
    assert (way.status, way.backend_status) == (200, 200)
    assert (way.tells_tokens, way.is_plain, way.rules) == (True, True, ("R3",))


def test_backends_do_not_part_what_went_one_way() -> None:
    """Of hundreds, hardly two exchanges of a batch have the same."""
    at = [Attempt(name, 100.001, AttemptOutcome.OK, 200, 102.9) for name in ("a:1", "b:1", "a:1")]
    (alike,) = sort([usual(attempts=[one]) for one in at]).alike
    (alone,) = sort([usual(attempts=[one]) for one in (at[0], at[2])]).alike

    assert (alike.backends, alike.only_backend) == (["a:1", "b:1", "a:1"], None)
    assert alone.only_backend == "a:1"


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": Outcome.BROKEN}, {"outcome": None}, {"model": None}, {"known_model": False}, {"resumed": 1},
        {"began": None}, {"closed": None}, {"began": 100.0}, {"attempts": []},
        {"attempts": [Attempt("a:1", 100.0, AttemptOutcome.CUT, 200, 101.0)]},
        {"attempts": [Attempt("a:1", 100.0, AttemptOutcome.OK, 200, None)]},
        {"attempts": [Attempt("a:1", 100.0, AttemptOutcome.OK, 200, 101.0)] * 2},
    ],
)  # fmt: skip
def test_what_is_not_answered_well_by_the_first_backend_is_one_of_the_others(change: dict[str, Any]) -> None:
    ended = sort([usual(**change)])

    assert (len(ended.others), ended.alike) == (1, [])


@pytest.mark.parametrize(
    "change",
    [
        {"error": "x"}, {"error": ""}, {"path": "/x"}, {"param": "n"}, {"client_cert": "CN=a"}, {"queued": 0.5},
        {"headers": {"a": "b"}}, {"hedged": True}, {"session": "s"},
    ],
)  # fmt: skip
def test_who_has_something_seldom_to_tell_goes_a_way_that_is_not_plain(change: dict[str, Any]) -> None:
    plain, other = sort([usual(), usual(**change)]).alike

    assert (plain.way.is_plain, other.way.is_plain) == (True, False)
