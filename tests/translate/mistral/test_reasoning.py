"""S17: reasoning in fields and in marks."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.translate.asked import ReasoningField
from router.translate.mistral.reasoning import (
    MAX_BLANKS,
    Split,
    ThinkWatcher,
    has_any,
    may_begin,
    put,
    rename,
    split,
)

CONTENT, REASONING = ReasoningField.REASONING_CONTENT, ReasoningField.REASONING


@pytest.mark.parametrize(
    ("text", "parted"),
    [
        ("[THINK]a b[/THINK]c", Split("a b", "c")),
        ("<think>a</think>\n\nc", Split("a", "\n\nc")),
        ("\n <think>a</think>c", Split("a", "c")),
        ("[THINK]never closed", Split("never closed", "")),
        ("[THINK][/THINK]c", Split("", "c")),
        ("[THINK]a</think>b[/THINK]c", Split("a</think>b", "c")),
        ("[THINK]a[/THINK]b[THINK]c[/THINK]", Split("a", "b[THINK]c[/THINK]")),
        ("", None),
        ("plain", None),
        ("about [THINK]marks[/THINK]", None),
        ("[THIN", None),
        ("[/THINK]x", None),
        (" " * (MAX_BLANKS + 1) + "[THINK]a[/THINK]b", None),
    ],
)
def test_marks_count_at_the_beginning_only(text: str, parted: Split | None) -> None:
    assert split(text) == parted


def test_marks_are_worth_a_look_only_where_the_text_may_begin_with_one() -> None:
    assert [may_begin(text) for text in ("", "  ", "[", "\n[THI", "<think>x", "[THINK]")] == [True] * 6
    assert [may_begin(text) for text in ("a", "[T]", "<thing", " x", " " * 40)] == [False] * 5


@pytest.mark.parametrize(
    ("before", "field", "after"),
    [
        ({"reasoning": "t"}, CONTENT, {"reasoning_content": "t"}),
        ({"reasoning": "t"}, REASONING, None),
        ({"reasoning": "t"}, ReasoningField.BOTH, {"reasoning_content": "t", "reasoning": "t"}),
        ({"reasoning": "t"}, ReasoningField.OFF, {}),
        ({"reasoning_content": "t"}, CONTENT, None),
        ({"reasoning_content": "t", "reasoning": "t"}, CONTENT, {"reasoning_content": "t"}),
        ({"reasoning_content": "t", "reasoning": "t"}, ReasoningField.BOTH, None),
        ({"reasoning_content": "t", "reasoning": None}, REASONING, {"reasoning": "t"}),
        ({"reasoning_content": None}, CONTENT, {}),
        ({"reasoning": ""}, CONTENT, {}),
        ({"reasoning": ["t"]}, REASONING, {}),
        ({"content": "x"}, CONTENT, None),
    ],
)
def test_a_field_gets_the_configured_name(
    before: dict[str, object], field: ReasoningField, after: dict[str, object] | None
) -> None:
    """`after`: None where nothing changes."""
    holder = dict(before)

    assert rename(holder, field) is (after is not None)
    assert holder == (before if after is None else after)


def test_what_is_found_in_marks_is_added_to_what_the_field_has() -> None:
    holder = {"reasoning_content": "a"}

    put(holder, "b", ReasoningField.BOTH)

    assert holder == {"reasoning_content": "ab", "reasoning": "b"}


def test_only_text_counts_as_reasoning() -> None:
    assert has_any({"reasoning": "t"})
    assert not has_any({"reasoning": None, "reasoning_content": ""})


PIECES = st.lists(
    st.sampled_from(["[THINK]", "[/THINK]", "<think>", "</think>", "[", "/TH", "INK]", "<", " ", "\n", "a", "][", "é"]),
    max_size=12,
).map("".join)


@settings(max_examples=200, deadline=None)
@given(PIECES, st.lists(st.integers(0, 40), max_size=6))
def test_a_stream_parts_its_text_as_the_whole_is_parted(text: str, cuts: list[int]) -> None:
    watcher = ThinkWatcher()
    ends = [*sorted(min(cut, len(text)) for cut in cuts), len(text)]
    parts = [watcher.feed(text[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
    parts.append(watcher.finish())

    joined = Split("".join(part.reasoning for part in parts), "".join(part.content for part in parts))
    assert joined == (split(text) or Split("", text))


def test_a_stream_holds_back_only_what_may_become_a_mark() -> None:
    watcher = ThinkWatcher()

    assert watcher.feed("[TH") == Split("", "")
    assert watcher.feed("INK]abc[/TH") == Split("abc", "")
    assert watcher.held == "[/TH"
    assert watcher.feed("x") == Split("[/THx", "")
    assert watcher.feed("[/THINK]y") == Split("", "y")
    assert watcher.is_done
    assert watcher.feed("[THINK]z") == Split("", "[THINK]z")


def test_a_stream_that_begins_with_anything_else_is_not_held_at_all() -> None:
    watcher = ThinkWatcher()

    assert watcher.feed("Hello") == Split("", "Hello")
    assert watcher.is_done
