import itertools
import json
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.translate.mistral.heads import MARKERS
from router.translate.mistral.leaked import MARK_ENDS, MARK_PART, LeakWatcher, find_calls, mark_at

TOOLS = frozenset(("add", "get_weather", "The"))
CALL = '{"city": "P\\"}aris"}'
bounded = settings(max_examples=200, deadline=None)
words = st.sampled_from(
    [
        *("[TOOL_CALLS]", "TOOL_CALLS", "[TOOL_", "T", "[", "]", "add", "get_weather", "The", "[ARGS]", "[CALL_ID]"),
        *(
            "abcDEF123",
            '{"a": 1}',
            "{}",
            '{"a": "',
            '"}',
            '[{"name": "add", "arguments": {}}]',
            '[{"name": "',
            "{",
            "}",
        ),
        *(" ", "\n", "x", '"', "\\", "é", "[{", '"name"'),
    ]
)
texts = st.lists(words | st.text(max_size=3), max_size=10).map("".join)


def watched(pieces: list[str]) -> tuple[str, list[tuple[str, str]]]:
    watcher = LeakWatcher(TOOLS)
    text = "".join(map(watcher.feed, pieces))
    rest, calls = watcher.finish()
    return text + rest, calls


@pytest.mark.parametrize(
    ("text", "before", "calls"),
    [
        (f"[TOOL_CALLS]add[ARGS]{CALL}", "", [("add", CALL)]),
        (f"Let me see. [TOOL_CALLS]add{CALL}\n", "Let me see. ", [("add", CALL)]),
        (f"TOOL_CALLSadd{CALL}", "", [("add", CALL)]),
        (f"[TOOL_CALLS]add[CALL_ID]abcDEF123[ARGS]{CALL}", "", [("add", CALL)]),
        (f"[TOOL_CALLS]addabcDEF123[ARGS]{CALL}", "", [("add", CALL)]),
        (f"[TOOL_CALLS]add{CALL}[TOOL_CALLS]get_weather{{}}", "", [("add", CALL), ("get_weather", "{}")]),
        (f"add{CALL}", "", [("add", CALL)]),
        ('[{"name": "add", "arguments": {"a":1}, "id": "x"}]', "", [("add", '{"a":1}')]),
        ('[TOOL_CALLS][{"name":"add","arguments":{}},{"name":"The","arguments":"{\\"b\\": 1}"}]', "", None),
        (f"[TOOL_CALLS] or [TOOL_CALLS]add{CALL}", "[TOOL_CALLS] or ", [("add", CALL)]),
        (
            '[TOOL_CALLS]add{"n": 123456789012345678901234567890}',
            "",
            [("add", '{"n": 123456789012345678901234567890}')],
        ),
    ],
)
def test_leaked_calls_are_found(text: str, before: str, calls: list[tuple[str, str]] | None) -> None:
    """S15."""
    calls = calls or [("add", "{}"), ("The", '{"b": 1}')]

    assert find_calls(text, TOOLS) == (before, calls)
    assert watched(list(text)) == (before, calls)


@pytest.mark.parametrize(
    "text",
    [
        "Use [TOOL_CALLS] to call.",
        f"[TOOL_CALLS]unknown{CALL}",
        '[TOOL_CALLS]add{"city": "P',
        f"[TOOL_CALLS]add{CALL} calls add.",
        f"It is like add{CALL}",
        'See [{"name": "add", "arguments": {}}]',
        '[{"name": "unknown", "arguments": {}}]',
        '[{"name": "add", "arguments": 1}]',
        '[{"name": "add"}]',
        '[{"id": 1}]',
        "[TOOL_CALLS]add{'city': 'Paris'}",
        '[TOOL_CALLS]add{"a": nope}',
        f'[TOOL_CALLS]add{CALL}[TOOL_CALLS]get_weather{{"a',
        "The weather",
        "",
    ],
)
def test_all_else_stays_text(text: str) -> None:
    assert find_calls(text, TOOLS) is None
    assert watched(list(text)) == (text, [])


@given(texts, st.lists(st.integers(0, 100)))
@bounded
def test_no_cut_makes_a_difference(text: str, cuts: list[int]) -> None:
    places = sorted({cut % (len(text) + 1) for cut in cuts} | {0, len(text)})
    pieces = [text[start:end] for start, end in itertools.pairwise(places)]
    whole = find_calls(text, TOOLS) or (text, [])

    assert watched(pieces) == whole
    assert watched(list(text)) == whole
    assert all(name in TOOLS and isinstance(json.loads(arguments), dict) for name, arguments in whole[1])
    assert text.startswith(whole[0])


@given(texts)
@bounded
def test_a_text_without_marks_leaves_no_trace(text: str) -> None:
    """What a fast path may pass on without asking; see MARK_ENDS."""
    watcher = LeakWatcher(TOOLS)
    watcher.feed("x")
    assert watcher.is_idle

    if not text or (text[-1] not in MARK_ENDS and MARK_PART not in text):
        assert not watcher.may_begin_in(text)
    if not watcher.may_begin_in(text):
        assert watcher.feed(text) == text
        assert watcher.is_idle


@pytest.mark.parametrize("text", ["The tools", "a [link](x)", "[1, 2]", "TOOLS", "[THINK]", "add more", "T[TO[TOOL_"])
def test_text_is_held_back_only_while_it_may_be_a_call(text: str) -> None:
    """Never more than a mark's size of prose, and nothing once it is told apart."""
    watcher = LeakWatcher(TOOLS)
    behind = 0
    for sign in text:
        behind += 1 - len(watcher.feed(sign))
        assert behind < len("[TOOL_CALLS]")

    watcher.feed(". ")
    assert not watcher.is_holding


def test_what_is_held_back_has_a_bound() -> None:
    watcher = LeakWatcher(TOOLS, limit=1000)
    pieces = ['[TOOL_CALLS]add{"a": "', *["x" * 100] * 20, '"}']

    passed = [watcher.feed(piece) for piece in pieces]

    assert "".join(passed) == "".join(pieces)
    assert not any(passed[:10])
    assert not watcher.is_holding


def test_what_is_released_is_what_was_held() -> None:
    watcher = LeakWatcher(TOOLS)

    assert watcher.feed("Hi [TOOL_CALLS]add{} [TOOL_CALLS]add{") == "Hi "
    assert watcher.release() == "[TOOL_CALLS]add{} [TOOL_CALLS]add{"
    assert watcher.finish() == ("", [])


@pytest.mark.parametrize(
    "unit",
    ["[TOOL_CALLS]", "TOOL_CALLS", "[", "[TOOL_CALLS]add{", '[TOOL_CALLS]add{"', "[TOOL_CALLS]add{}x", " ", "add{}"],
)
def test_hostile_texts_take_no_longer_than_others(unit: str) -> None:
    text = unit * (300_000 // len(unit))
    start = time.process_time()

    find_calls(text, TOOLS)
    watcher = LeakWatcher(TOOLS)
    for at in range(0, 50_000, 10):
        watcher.feed(text[at : at + 10])

    assert time.process_time() - start < 3


PREFIXES = "|".join(re.escape(mark[:size]) for mark in MARKERS for size in range(len(mark), 0, -1))
SEARCH = re.compile(rf"\[TOOL_CALLS\]|TOOL_CALLS|(?:{PREFIXES})\Z")


@bounded
@given(
    st.lists(st.sampled_from([*"[]TOL_CAS", "TOOL", "_CALLS", "[TOOL_CALLS", "]", "x", "\n"]), max_size=12).map("".join)
)
def test_a_mark_is_found_where_a_search_for_all_its_forms_finds_it(text: str) -> None:
    """The search by one expression is thirty times slower on long texts."""
    for start in range(len(text) + 1):
        found = SEARCH.search(text, start)

        assert mark_at(text, start) == (len(text) if found is None else found.start())
