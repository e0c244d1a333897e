"""Tornado's semantics, without Tornado's second look at every character."""

import copy

from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders

from router.wire.headers import KNOWN_NAMES, RequestHeaders, normalised, spellings

RAW = [
    (b"hOST", b"a"),
    (b"X-One", b"1"),
    (b"accept", b"x"),
    (b"x-ONE", b"2 \t"),
    (b"X-Latin", b"\xe9"),
    (b"X-Empty", b""),
]


def reference() -> HTTPHeaders:
    headers = HTTPHeaders()
    for name, value in RAW:
        headers.add(name.decode("latin-1"), value.decode("latin-1").strip())
    return headers


def test_they_read_like_tornados() -> None:
    ours, theirs = RequestHeaders(RAW), reference()

    assert list(ours.get_all()) == list(theirs.get_all())
    assert dict(ours) == dict(theirs)
    assert str(ours) == str(theirs)
    assert list(ours) == list(theirs)
    assert len(ours) == 5
    for name in ("host", "x-one", "X-Latin", "x-empty"):
        assert ours[name] == theirs[name]
        assert name in ours
        assert ours.get_list(name) == theirs.get_list(name)
    assert "x-none" not in ours
    assert ours.get("x-none") is None
    assert ours.get_list("x-none") == []


def test_they_change_like_tornados() -> None:
    ours, theirs = RequestHeaders(RAW), reference()
    for headers in (ours, theirs):
        assert headers["X-One"] == "1,2"
        headers.add("x-one", "3")
        headers["Host"] = "b"
        del headers["accept"]

    assert ours == theirs
    assert ours["X-One"] == "1,2,3"


def test_a_copy_stands_alone() -> None:
    ours = RequestHeaders(RAW)
    other = copy.copy(ours)
    other["Host"] = "b"

    assert isinstance(other, HTTPHeaders)
    assert ours["Host"] == "a"


def test_order_and_spelling_are_kept_for_forwarding() -> None:
    assert RequestHeaders(RAW).raw == RAW


def test_names_are_normalised_as_tornado_does() -> None:
    assert normalised(b"x-sTainless--os") == "X-Stainless--Os"


def test_long_names_are_read_and_not_remembered() -> None:
    """A thousand names of 30 KB would be 30 MB that stay."""
    name = b"x-" + b"a" * 30_000
    headers = RequestHeaders([(name, b"1")])
    assert headers["X-" + "A" + "a" * 29_999] == "1"
    assert name not in spellings


def test_names_without_end_are_not_all_remembered() -> None:
    for number in range(2 * KNOWN_NAMES):
        name = f"x-a{number}"
        assert RequestHeaders([(name.encode(), b"1")]).first(f"X-A{number}") == "1"
        assert len(spellings) <= KNOWN_NAMES


@given(st.lists(st.integers(0x21, 0x7E) | st.integers(0x80, 0xFF) | st.sampled_from(b" \t"), max_size=8).map(bytes))
def test_a_value_is_read_as_latin_1_without_the_blanks_behind_it(value: bytes) -> None:
    assert RequestHeaders([(b"x-a", value)]).fields == {"X-A": [value.decode("latin-1").rstrip(" \t")]}


def test_headers_that_were_forgotten_read_the_same_and_can_be_copied() -> None:
    ours, theirs = RequestHeaders(RAW), reference()
    assert ours["x-one"] == theirs["x-one"]
    ours.forget()

    assert list(ours.get_all()) == list(theirs.get_all())
    ours.forget()
    assert ours["x-one"] == theirs["x-one"]
    ours.forget()
    assert str(ours.copy()) == str(theirs)
    ours.forget()
    assert ours.first("X-Latin") == "\xe9"
