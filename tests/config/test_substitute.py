"""${VAR} in texts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.config.substitute import expand

ENVIRON = {"A": "1", "EMPTY": "", "DOLLAR": "${A}$$"}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("${A}", "1"),
        ("x${A}y${A}", "x1y1"),
        ("${EMPTY}", ""),
        ("${NONE:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${A:-d}", "1"),
        ("${NONE:-}", ""),
        ("${NONE:-http://x:1/v1}", "http://x:1/v1"),
        ("${A:?needed}", "1"),
        ("$$", "$"),
        ("$${A}", "${A}"),
        ("$A costs 5$", "$A costs 5$"),
        ("${DOLLAR}", "${A}$$"),
        ("plain", "plain"),
    ],
)
def test_variables_are_filled_in(text: str, result: str) -> None:
    expansion = expand(text, ENVIRON)

    assert expansion.text == result
    assert not expansion.problems


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NONE}", "NONE is not set"),
        ("${NONE:?ask the operator}", "NONE is not set: ask the operator"),
        ("${EMPTY:?}", "EMPTY is not set: it is needed"),
        ("${A", "not closed"),
        ("${A:-${B}}", "another one inside"),
        ("${}", "does not understand"),
        ("${A-b}", "does not understand"),
        ("${1A}", "does not understand"),
        ("${Ä}", "does not understand"),
    ],
)
def test_what_cannot_be_filled_in_is_told(text: str, message: str) -> None:
    ((told, _),) = expand(text, ENVIRON).problems

    assert message in told


def test_all_problems_of_a_text_come_at_once() -> None:
    assert len(expand("${X} ${Y} ${A}", ENVIRON).problems) == 2


def test_the_names_that_gave_a_value_are_known() -> None:
    assert expand("${A}${NONE:-x}", ENVIRON).names == ["A"]


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="${}:-?AB \n", max_size=30))
def test_any_text_can_be_expanded(text: str) -> None:
    expand(text, ENVIRON)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30))
def test_doubled_dollars_keep_any_text(text: str) -> None:
    assert expand(text.replace("$", "$$"), {}).text == text
