"""Names of functions, there and back."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.translate.mistral.names import Names, is_valid_name, safe_name

NAMES = st.one_of(
    st.text(max_size=80),
    st.text(alphabet="ab._/-", max_size=4),  # such as collide
    st.text(alphabet="ab_", min_size=60, max_size=70),
)


def declared(*names: str) -> Names:
    known = Names()
    known.declare(names)
    return known


@settings(max_examples=200, deadline=None)
@given(NAMES)
def test_every_name_becomes_valid_once_and_for_all(name: str) -> None:
    safe = safe_name(name)

    assert re.fullmatch("[a-zA-Z0-9_-]{1,64}", safe)
    assert safe_name(safe) == safe
    if is_valid_name(name):
        assert safe == name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("get_weather", "get_weather"),
        ("mcp.fs/read", "mcp_fs_read"),
        ("get weather", "get_weather"),
        ("wetter_für", "wetter_f_r"),
        ("newline\n", "newline_"),
        ("", "function_e3b0c442"),
        ("天気", "function_bc79d84d"),
        ("n" * 65, f"{'n' * 55}_1e3fb6d5"),
    ],
)
def test_a_name_keeps_what_it_can(name: str, expected: str) -> None:
    """What says nothing any more, or is shortened, tells itself from others by a hash."""
    assert safe_name(name) == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(NAMES, max_size=8, unique=True))
def test_no_two_tools_get_one_name_and_all_come_back(names: list[str]) -> None:
    known = declared(*names)
    sent = [known.to_backend(name) for name in names]

    assert len(set(sent)) == len(names)
    assert all(map(is_valid_name, sent))
    assert [known.back.get(name, name) for name in sent] == names
    assert not any(is_valid_name(name) for name in known.back.values())


@settings(max_examples=200, deadline=None)
@given(st.lists(NAMES, max_size=8, unique=True))
def test_the_order_of_tools_does_not_matter(names: list[str]) -> None:
    """The prompt of a conversation must not change because its tools were listed in another order."""
    shuffled = sorted(names, reverse=True)

    assert list(map(declared(*names).to_backend, names)) == list(map(declared(*shuffled).to_backend, names))


def test_a_valid_name_is_never_taken_by_another() -> None:
    known = declared("a.b", "a_b", "a/b")

    assert known.to_backend("a_b") == "a_b"
    assert known.to_backend("a.b") != known.to_backend("a/b")
    assert known.back == {known.to_backend(name): name for name in ("a.b", "a/b")}


def test_a_call_in_the_history_has_its_tools_name() -> None:
    assert declared("a.b").to_backend("a.b") == "a_b"


def test_a_call_of_what_is_no_tool_does_not_look_like_a_call_of_a_tool() -> None:
    known = declared("a_b")

    assert known.to_backend("a.b").startswith("a_b_")
    assert known.to_backend("c.d") == "c_d"
    assert known.back == {}  # it cannot be called


def test_a_name_with_half_a_surrogate_pair_has_a_name() -> None:
    assert is_valid_name(safe_name("\ud800"))
    assert is_valid_name(declared("\ud800", "a").to_backend("\ud800"))
