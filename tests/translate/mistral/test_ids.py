"""Ids of calls: nine letters or digits, the same for the same id."""

import time
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.translate.mistral.ids import ALL, ALPHABET, LENGTH, Ids, nine_of

NINE = Ids(nine=True, longest=None)


def test_an_id_becomes_the_lowest_nine_digits_of_its_hash() -> None:
    assert nine_of("call_0") == "mupIKT56D"


@given(st.text())
def test_digits_are_those_of_base_62(ident: str) -> None:
    number, digits = int.from_bytes(sha256(ident.encode("utf-8", "surrogatepass")).digest(), "big"), ""
    for place in range(LENGTH):
        digits += ALPHABET[number % ALL // 62**place % 62]

    assert nine_of(ident) == digits


def test_an_id_is_hashed_the_same_whether_it_is_remembered_or_not() -> None:
    long = "call_" + "x" * 500

    assert nine_of(long) == nine_of(long)
    assert NINE.is_taken(nine_of(long))


@pytest.mark.parametrize("ident", ["abcDEF12", "abcDEF1234", "abcDEF_23", "", "abcDEF12é", "abcDEF12٣"])
def test_nothing_but_nine_ascii_letters_or_digits_is_taken(ident: str) -> None:
    assert NINE.is_taken("abcDEF123")
    assert not NINE.is_taken(ident)


def test_where_any_id_is_taken_its_length_may_count() -> None:
    """vLLM cuts an id to its last nine characters before mistral-common sees it, so two may become one."""
    short, free = Ids(nine=False, longest=9), Ids(nine=False, longest=None)

    assert short.is_taken("call_0")
    assert not short.is_taken("call_00000")
    assert free.is_taken("call_00000")
    assert not free.is_taken("")


def test_valid_ids_stay_and_the_second_of_one_id_gets_its_own() -> None:
    assert Ids(nine=True, longest=None).of_block(["abcDEF123", "abcDEF123", "call_0", "call_0", "abcDEF124"]) == [
        "abcDEF123",
        nine_of("abcDEF123#2"),
        nine_of("call_0"),
        nine_of("call_0#2"),
        "abcDEF124",
    ]


def test_an_id_comes_again_in_every_turn_as_the_same() -> None:
    ids = Ids(nine=True, longest=None)

    assert ids.of_block(["call_0"]) == ids.of_block(["call_0"]) == [nine_of("call_0")]


def test_calls_without_id_are_counted_over_the_conversation() -> None:
    """So a growing conversation gives its first calls the ids that they had."""
    ids = Ids(nine=True, longest=None)

    assert ids.of_block(["", ""]) + ids.of_block([""]) == [nine_of(f"#{number}") for number in (1, 2, 3)]


def test_a_hash_never_takes_the_id_of_another_call() -> None:
    given = Ids(nine=True, longest=None).of_block(["call_0", nine_of("call_0")])

    assert given[1] == nine_of("call_0")
    assert len(set(given)) == 2


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["", "call_0", "call_0#2", "abcDEF123", "x", nine_of("x")]), max_size=8))
def test_ids_of_one_message_differ_are_taken_and_stay_when_read_again(idents: list[str]) -> None:
    given = Ids(nine=True, longest=None).of_block(idents)

    assert len(set(given)) == len(idents)
    assert all(map(NINE.is_taken, given))
    assert Ids(nine=True, longest=None).of_block(given) == given


def test_many_calls_of_one_id_take_time_in_proportion() -> None:
    started = time.perf_counter()

    Ids(nine=True, longest=None).of_block(["call_0"] * 20_000)

    assert time.perf_counter() - started < 2
