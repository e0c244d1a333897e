""".env files."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.config.dotenv import parse_dotenv


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A=1", {"A": "1"}),
        ("A=1\nB=2\n", {"A": "1", "B": "2"}),
        ("  export A = 1  ", {"A": "1"}),
        ("# A=1\n\n   # x\nB=2", {"B": "2"}),
        ("A=1 # one", {"A": "1"}),
        ("A=a#b", {"A": "a#b"}),
        ("A=#b", {"A": ""}),
        ("A=", {"A": ""}),
        ("A='x # y'  # z", {"A": "x # y"}),
        ('A="x \\"y\\" \\$ \\n \\\\ \\d"', {"A": 'x "y" $ \n \\ \\d'}),
        ("A='\nkey\n'\nB=1", {"A": "\nkey\n", "B": "1"}),
        ('A="one\ntwo"\nB=1', {"A": "one\ntwo", "B": "1"}),
        ("A=http://h:1/v1?x=y", {"A": "http://h:1/v1?x=y"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("\ufeffA=1", {"A": "1"}),
        ("A=1\nA=2", {"A": "2"}),
        ("A=${B}", {"A": "${B}"}),
        ('A="open', {"A": '"open'}),
        ("A=it's", {"A": "it's"}),
        ("A='x' y", {"A": "'x' y"}),
    ],
)
def test_assignments_are_read(text: str, found: dict[str, str]) -> None:
    assert parse_dotenv(text) == (found, [])


def test_lines_that_are_no_assignment_are_passed_over_and_counted() -> None:
    assert parse_dotenv("A=1\nnonsense\n=3\n1X=2\nB=2") == ({"A": "1", "B": "2"}, [2, 3, 4])


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="AB='\"\\ #\n\rexport$", max_size=40))
def test_any_text_is_read_to_its_end(text: str) -> None:
    found, bad = parse_dotenv(text + "\nLAST=1\n")

    assert found.get("LAST") == "1" or "'" in text or '"' in text
    assert bad == sorted(bad)
