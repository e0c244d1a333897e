"""Patterns: Python's own answer, at a bounded cost."""

import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from router.translate.mistral.regexes import GROUPS, compiles

PIECES = st.sampled_from(
    [
        *"ab[]()|*+?{}^$.-\\",
        *(
            "\u4e00",
            "\u9fa5",
            "\U0001f600",
            "\xe9",
            "\u0100",
            "[a-z]",
            "{1,2}",
            "(?:",
            "(?i)",
            "(?P<n>",
            "(?<=",
            "(?=",
            "\\1",
        ),
        *(
            "\\d",
            "\\p",
            "\\u4e00",
            "\\u9fa5",
            "\\u00ff",
            "\\u12",
            "\\U0001F600",
            "\\U00110000",
            "\\x41",
            "\\777",
            "\\\\",
        ),
    ]
)


def python_takes(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except (re.error, OverflowError):
        return False
    return True


@pytest.mark.filterwarnings("ignore::FutureWarning")
@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES, max_size=9).map("".join))
@example("[\u9fa5-\u4e00]")
@example("[\\u9fa5-\\u4e00]")
@example("\\\\u9fa5[\u9fa6-\\u9fa6]")
@example("[\\u4e00-\\u9fa5A-Za-z]{1,20}")
@example("(?P<\u4e00>a)(?P<\u4e01>b)")
@example("[a-\u0100]")
@example("[\u0100-a]")
@example("[\xff-\u0100]")
def test_the_answer_is_pythons(pattern: str) -> None:
    """Differential; wide characters are moved before, which must not change the answer."""
    assert compiles(pattern) == python_takes(pattern)


@pytest.mark.row(71)
@pytest.mark.parametrize("pattern", ["(?:" * (GROUPS + 1) + ")" * (GROUPS + 1), "(" * 5_000, "a{99999999999999999999}"])
def test_what_would_exhaust_pythons_parser_is_no_pattern(pattern: str) -> None:
    assert not compiles(pattern)


@pytest.mark.row(71)
@pytest.mark.parametrize(
    "piece", ["[\0-\uffff]", "[\0-\\uffff]", "[\0-\U0010ffff]", "(?:a|\u4e00)", "[\\u0100-\\uffff]"]
)
def test_wide_sets_are_not_paid_for(piece: str) -> None:
    """Python takes ten milliseconds for each of these sets when case is ignored."""
    pattern = "(?i)" + piece * (2_000 // len(piece) // (1 + 20 * ("(" in piece)))
    began = time.process_time()
    compiles(pattern)

    assert time.process_time() - began < 0.25
