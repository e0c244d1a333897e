import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.translate.mistral.arguments import Arguments, Nesting
from router.translate.mistral.limits import MAX_TEXT

bounded = settings(max_examples=200, deadline=None)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
followed = values.filter(lambda value: isinstance(value, dict | list | str))
signs = st.text('{}[]"\\ :,a\n', max_size=30)


def pieces_of(text: str, cuts: list[int]) -> list[str]:
    places = sorted({cut % (len(text) + 1) for cut in cuts} | {0, len(text)})
    return [text[start:end] for start, end in itertools.pairwise(places)]


def fed(pieces: list[str]) -> str:
    arguments = Arguments()
    return "".join(map(arguments.feed, pieces))


@given(followed, st.booleans(), st.lists(st.integers(0, 200)))
@bounded
def test_a_value_ends_where_its_json_does(value: object, ascii_: bool, cuts: list[int]) -> None:
    text = json.dumps(value, ensure_ascii=ascii_)
    nesting = Nesting()

    ends = [nesting.scan(piece) for piece in pieces_of(text, cuts)]

    assert all(end < 0 for end in ends[:-1])
    assert ends[-1] == len(pieces_of(text, cuts)[-1])


@given(followed, st.text(max_size=10), st.lists(st.integers(0, 200)))
@bounded
def test_what_stands_behind_the_value_is_left_out_however_it_is_cut(value: object, more: str, cuts: list[int]) -> None:
    """S10."""
    text = json.dumps(value)

    assert fed(pieces_of(text + more, cuts)) == text


@given(signs, st.lists(st.integers(0, 40)))
@bounded
def test_no_cut_makes_a_difference_be_the_json_broken(text: str, cuts: list[int]) -> None:
    assert fed(pieces_of(text, cuts)) == fed([text]) == fed(list(text))


@given(signs, signs)
@bounded
def test_what_is_said_to_move_nothing_moves_nothing(before: str, text: str) -> None:
    one, other = Nesting(), Nesting()
    one.scan('{"' + before)
    other.scan('{"' + before)

    if one.is_unmoved_by(text):
        assert one.scan(text) == -1
        assert all(one.scan(sign) == other.scan(sign) for sign in 'a"}]}]}]')


def test_a_fragment_that_belongs_to_the_value_is_the_same_object() -> None:
    arguments = Arguments()
    fragments = ['{"ci', 'ty": "P', 'aris"', ', "n": [1, {}]', "}"]

    assert all(arguments.feed(fragment) is fragment for fragment in fragments)
    assert arguments.is_whole


@pytest.mark.parametrize("blank", ["", " ", "\n\t "])
def test_blanks_are_no_arguments(blank: str) -> None:
    """S9."""
    arguments = Arguments()

    assert arguments.feed(blank) == ""
    assert arguments.is_empty
    assert arguments.feed("{}") == "{}"
    assert not arguments.is_empty


def test_what_begins_like_no_value_that_can_be_followed_passes() -> None:
    assert fed(["tr", "ue} or", " {}"]) == "true} or {}"


def test_depth_has_no_bound() -> None:
    assert fed(["[" * 100_000, "]" * 100_000, "x"]) == "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize("fragments", [[' {"a": 1}'], ["\n", "\t ", '{"a"', ": 1}"], ["", "  {", '"a": 1}']])
def test_blanks_before_the_json_are_dropped_wherever_it_is_cut(fragments: list[str]) -> None:
    """A client that parses what came so far (openai-python's .stream()) fails on blanks alone."""
    arguments = Arguments()

    assert "".join(map(arguments.feed, fragments)) == '{"a": 1}'
    assert arguments.is_whole


def test_a_very_long_fragment_is_not_followed_nor_what_comes_behind_it() -> None:
    long = "{" * (MAX_TEXT + 1)
    for before in ("", "{", '"', " "):
        arguments = Arguments()
        assert arguments.feed(before) == before.strip()
        assert arguments.feed(long) is long
        assert arguments.feed("}" * 10) == "}" * 10
        assert not arguments.is_whole
        assert not arguments.is_empty
    arguments = Arguments()
    assert arguments.feed("{}") == "{}"
    assert arguments.feed(long) == "", "what stands behind whole arguments is left out however long it is"
