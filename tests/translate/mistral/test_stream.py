import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.translate.asked import AnswerForm, Asked, ReasoningField, ToolChoice
from router.translate.mistral.limits import MAX_ANSWER_VALUES, MAX_CALLS, MAX_CHOICES, MAX_TEXT
from router.translate.mistral.stream import StreamTranslator
from router.translate.notes import Rule
from router.wire.sse import event_data, split_events
from tests import captures

DONE = b"data: [DONE]\n\n"
TOOLS = frozenset(("add", "get_weather"))
HEAD = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
ROLE = {"role": "assistant", "content": ""}
ARGUMENTS = {"tool_calls": [{"index": 0, "function": {"arguments": ""}}]}
CALL = {
    "tool_calls": [{"index": 0, "id": "abcDEF123", "type": "function", "function": {"name": "add", "arguments": ""}}]
}


def new_ids() -> Callable[[], str]:
    numbers = itertools.count()
    return lambda: f"new{next(numbers):06d}"


def translator(*, form: AnswerForm | None = None, is_fast: bool = True, **asked: Any) -> StreamTranslator:
    return StreamTranslator(Asked(**asked), form=form or AnswerForm(), new_id=new_ids(), is_fast=is_fast)


def event(delta: Any, reason: Any = None, *, index: int = 0, head: Any = HEAD, **more: Any) -> bytes:
    """An event as vLLM writes it; `more`: further keys of the choice."""
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason, **more}
    return b"data: " + json.dumps({**head, "choices": [choice]}, separators=(",", ":")).encode() + b"\n\n"


def usage_event(tokens: Any = 7) -> bytes:
    usage = {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 12}
    return b"data: " + json.dumps({**HEAD, "choices": [], "usage": usage}).encode() + b"\n\n"


def payloads(stream: bytes) -> list[Any]:
    datas = [event_data(one) for one in split_events(stream)]
    return [data if data == b"[DONE]" else json.loads(data) for data in datas if data is not None]


def run(stream: StreamTranslator, *events: bytes) -> list[Any]:
    return payloads(b"".join(map(stream.feed, events)) + stream.finish())


# ------------------------------------------------------------------------------------------------- passing unchanged


def test_events_that_need_no_repair_are_the_same_objects() -> None:
    events = [event(ROLE), *(event({"content": text}) for text in ("Hi", " \\", "é\n", "")), event({}, "stop"), DONE]
    stream = translator()

    assert all(stream.feed(one) is one for one in events)
    assert stream.finish() == b""
    assert not stream.notes.repaired


@pytest.mark.parametrize("size", [2, 3, 10])
def test_blocks_in_which_nothing_changes_are_the_same_objects(size: int) -> None:
    events = [event(ROLE), *(event({"content": str(number)}) for number in range(30)), event({}, "stop"), DONE]
    blocks = [b"".join(events[at : at + size]) for at in range(0, len(events), size)]
    stream = translator(tools=TOOLS)

    assert all(stream.feed(block) is block for block in blocks)


@pytest.mark.parametrize(
    "odd",
    [
        *(
            b": keep-alive\n\n",
            b"\n\n",
            b"data\n\n",
            b"data: not json\n\n",
            b"data: 7\n\n",
            b"data: []\n\n",
            b"retry: 5\n\n",
        ),
        *(b'data: {"choices": 7}\n\n', b'data: {"choices": [7]}\n\n', b'data: {"x": "\xff"}\n\n', b"data: \n\n"),
        b'data: {"object":"text_completion","choices":[{"index":0,"text":"x"}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":[]}]}\n\n',
        b'data: {"object":"chat.completion","choices":[{"index":0,"message":{"content":"x"}}]}\n\n',
        b"data: " + b'{"choices":' * 300 + b"[]" + b"}" * 300 + b"\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
    ],
)
def test_what_is_not_understood_passes(odd: bytes) -> None:
    stream = translator(tools=TOOLS)
    stream.feed(event(ROLE))

    assert stream.feed(odd) is odd


def test_further_choices_than_the_bound_pass() -> None:
    stream = translator()
    for index in range(MAX_CHOICES):
        stream.feed(event(ROLE, index=index))
    more = event({"content": "x"}, index=MAX_CHOICES, token_ids=None)

    assert stream.feed(more) is more
    assert stream.feed(event({"content": "x"}, index=1, token_ids=None)) == event({"content": "x"}, index=1)


def test_one_chunk_of_more_choices_than_the_bound_passes_also_where_they_are_one() -> None:
    stream = translator()
    stream.feed(event(ROLE))
    choice = {"index": 0, "delta": {"content": "x"}, "token_ids": None}
    many = b"data: " + json.dumps({**HEAD, "choices": [choice] * (MAX_CHOICES + 1)}).encode() + b"\n\n"

    assert stream.feed(many) is many


def test_an_event_that_holds_too_much_to_be_read_passes() -> None:
    stream = translator(tools=TOOLS)
    stream.feed(event(ROLE))
    big = b'data: {"choices":[{"index":0,"delta":{"content":[%b0]}}]}\n\n' % (b"0," * MAX_ANSWER_VALUES)

    assert stream.feed(big) is big


@pytest.mark.parametrize("index", [[], {}, None, "0", 1.0, True])
def test_odd_indexes_behind_the_bound_pass(index: Any) -> None:
    stream = translator()
    for number in range(MAX_CHOICES):
        stream.feed(event(ROLE, index=number))
    more = event({"content": "x"}, index=index)

    assert stream.feed(more) is more


def test_what_is_held_back_comes_before_the_error_of_too_many_calls() -> None:
    stream = translator(tools=TOOLS)
    stream.feed(event(ROLE))
    stream.feed(event({"content": "a [TOOL_"}))
    calls = [{"index": index, "function": {"name": "add"}} for index in range(MAX_CALLS + 1)]

    told = payloads(stream.feed(event({"tool_calls": calls})))

    assert told[0]["choices"][0]["delta"] == {"content": "[TOOL_"}
    assert "error" in told[1]


def test_calls_without_marks_are_not_looked_for_behind_a_very_long_first_text() -> None:
    stream = translator(tools=TOOLS)
    stream.feed(event(ROLE))
    stream.feed(event({"content": "x" * (MAX_TEXT + 1)}))
    like_a_call = event({"content": 'add{"a":1}'})

    assert stream.feed(like_a_call) == like_a_call
    assert stream.feed(event({}, "stop")) == event({}, "stop")


def _many(reason: Any, count: int) -> bytes:
    choices = [{"index": index, "delta": {"content": "x"}, "finish_reason": reason} for index in range(count)]
    return b"data: " + json.dumps({**HEAD, "choices": choices}).encode() + b"\n\n"


@pytest.mark.parametrize(
    "odd",
    [
        b'data: {"choices":[{"index":0,"delta":{"content":[%b0]},"finish_reason":"error"}]}\n\n'
        % (b"0," * MAX_ANSWER_VALUES),
        b'data: {"choices":[7,{"index":0,"delta":{},"finish_reason":"abort"}]}\n\n',
        b'data: {"x":%b,"choices":[{"finish_reason":"error"}]}\n\n' % (b"[" * 300 + b"]" * 300),
        _many("error", MAX_CHOICES + 1),
    ],
    ids=["values", "no choice", "depth", "choices"],
)
def test_what_says_that_it_is_broken_ends_with_an_error_though_it_is_not_understood(odd: bytes) -> None:
    stream = translator(tools=TOOLS)
    stream.feed(event(ROLE))
    stream.feed(event({"content": "a [TOOL_"}))

    told = stream.feed(odd)

    assert odd in told, "it passes as it is"
    assert told.index(b"[TOOL_") < told.index(odd), "behind what was held back"
    assert b'"upstream_unavailable"' in split_events(told)[-1]
    assert stream.feed(DONE) == b""
    assert Rule.S18 in stream.notes.repaired


def test_a_choice_behind_the_bound_that_is_broken_ends_the_stream_with_an_error() -> None:
    stream = translator()
    for index in range(MAX_CHOICES):
        stream.feed(event(ROLE, index=index))
        stream.feed(event({}, "stop", index=index))

    assert b'"upstream_unavailable"' in stream.feed(event({}, "error", index=MAX_CHOICES))
    assert stream.feed(DONE) == b""


@pytest.mark.parametrize("at_once", [True, False])
def test_a_stream_of_more_calls_than_anybody_can_read_is_broken_off(at_once: bool) -> None:
    stream = translator(tools=TOOLS)
    stream.feed(event(ROLE))
    calls = [{"index": index, "function": {"name": "add"}} for index in range(MAX_CALLS + 2)]
    told = [stream.feed(event({"tool_calls": some})) for some in ([calls] if at_once else [[one] for one in calls])]

    assert b'"error"' in told[-1]
    assert b"error" not in b"".join(told[:-1])
    assert stream.feed(event({"content": "x"})) == b""


def test_a_very_long_text_is_not_searched_for_calls_and_comes_behind_what_was_held_back() -> None:
    stream = translator(tools=TOOLS)
    stream.feed(event(ROLE))
    assert stream.feed(event({"content": "a [TOOL_"})) == event({"content": "a "})
    long = "CALLS]add{" + "x" * MAX_TEXT

    assert json.loads(event_data(stream.feed(event({"content": long}))) or b"")["choices"][0]["delta"] == {
        "content": "[TOOL_" + long
    }
    assert stream.feed(event({}, "stop")) == event({}, "stop")


# ------------------------------------------------------------------------------------- the fast path and the slow one

_texts = st.text(max_size=6) | st.sampled_from(
    [
        *(
            "[TOOL_CALLS]",
            "[TOOL",
            "_CALLS]",
            "T",
            "TO",
            "The",
            "[",
            "add",
            "{}",
            '{"a": "',
            '"}',
            "\\",
            '"',
            "\\u0041",
        ),
        *("[THINK]", "[/THINK]", "<think>", "</think>", "{", "}", "[ARGS]", "é\n", "\x00", '"content":"', " "),
    ]
)
_asked = st.sampled_from(
    [
        {},
        {"tools": TOOLS},
        {"tools": TOOLS, "single_call": True, "include_usage": True},
        {"tools": TOOLS, "tool_choice": ToolChoice.NONE},
        {"tools": TOOLS, "names": {"add": "a.dd"}, "continuous_usage": True},
    ]
)


# Deltas with a place for the text: those that come in rows, and those that come alone.
_rows: list[Callable[[str], Any]] = [
    lambda text: {"content": text},
    lambda text: {"content": text, "reasoning_content": None, "tool_calls": None},
    lambda text: {"reasoning": text},
    lambda text: {"reasoning_content": text},
    lambda text: {"role": "assistant", "content": text},
    lambda text: {"tool_calls": [{"index": 0, "function": {"arguments": text}}]},
    lambda text: {"tool_calls": [{"index": 1, "type": "function", "function": {"arguments": text}}]},
]
_alone: list[Callable[[str], Any]] = [
    lambda text: {"tool_calls": [{"index": 0, "id": "abcDEF123", "function": {"name": "add", "arguments": text}}]},
    lambda text: {"tool_calls": [{"index": 0, "id": "xyz", "function": {"name": "get_weather", "arguments": "{}"}}]},
    lambda text: {"tool_calls": [{"index": 1, "function": {"name": "add", "arguments": text}}]},
    lambda text: {"reasoning": text, "content": text},
]
_others = st.sampled_from([b": ping\n\n", usage_event(), DONE, b"data: x\n\n", b'data: {"error": {"m": 1}}\n\n'])
_breaks = st.sampled_from([b'"', b"\\", b"\x01", b"\xff", b'","content":"', b"\\ud800", b"\n", b"\n\n"])


@st.composite
def rows(draw: st.DrawFn) -> list[bytes]:
    """Events of one form in a row, their strings written in any way; sometimes one that cannot be understood."""
    if not draw(st.integers(0, 9)):
        return [draw(_others)]
    is_alone = not draw(st.integers(0, 3))
    form = draw(st.sampled_from(_alone if is_alone else _rows))
    extra = draw(st.sampled_from([{}, {"token_ids": None}]))
    reason = draw(st.sampled_from(["stop", "length", "abort", *[None] * 8])) if is_alone else None
    index = draw(st.sampled_from([0, 0, 0, 1]))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    ascii_ = draw(st.booleans())
    start, end = draw(st.sampled_from([(b"data: ", b"\n\n")] * 4 + [(b"data:", b"\n\n"), (b"data: ", b"\r\n\r\n")]))
    events = []
    for text in draw(st.lists(_texts, min_size=1, max_size=1 if is_alone else 6)):
        choice = {"index": index, "delta": form(text), "logprobs": None, "finish_reason": reason, **extra}
        data = json.dumps({**HEAD, "choices": [choice]}, separators=separators, ensure_ascii=ascii_).encode()
        if not draw(st.integers(0, 15)):
            place = data.find(b'"', data.find(b'"content"') + 9) + 1
            data = data[:place] + draw(_breaks) + data[place:]
        events.append(start + data + end)
    return events


@given(st.lists(rows(), max_size=10), _asked, st.sampled_from(ReasoningField), st.lists(st.integers(1, 5)))
@settings(max_examples=200, deadline=None)
def test_what_was_learned_changes_nothing_but_the_time(
    runs: list[list[bytes]], asked: Any, reasoning: ReasoningField, sizes: list[int]
) -> None:
    """The fast path is exact, for any texts, any order and any grouping of events."""
    form = AnswerForm(reasoning=reasoning)
    events = [event(ROLE), event(ROLE, index=1), event(CALL), *itertools.chain(*runs)]
    slow = translator(form=form, is_fast=False, **asked)
    expected = split_events(b"".join(map(slow.feed, events)) + slow.finish())
    fast = translator(form=form, **asked)
    outs, at = [], 0
    for size in [*sizes, *[1] * len(events)]:
        outs.append(fast.feed(b"".join(events[at : at + size])) if events[at : at + size] else b"")
        at += size

    got = split_events(b"".join(outs) + fast.finish())

    assert list(map(meaning, got)) == list(map(meaning, expected))
    assert fast.swallowed == slow.swallowed
    assert fast.notes.repaired == slow.notes.repaired


def _texts_of(*texts: str) -> list[bytes]:
    return [event({"content": text}, token_ids=None) for text in texts]


def _entry(arguments: str, **more: Any) -> bytes:
    return event({"tool_calls": [{"index": 0, "function": {"arguments": arguments}, **more}]})


@pytest.mark.parametrize(
    "events",
    [
        [*_texts_of("x", "[TOOL_CALLS]"), _entry("{", type="function"), _entry('"', type="function")],
        _texts_of("[THINK]", "v", "w", "[/THINK]", "x", "y", "[/THINK]", "z"),
        _texts_of("<think>", "v", "w", "</think>", "</think>", "x", "<think>", "y"),
        [_entry("{}"), event({"tool_calls": [{**CALL["tool_calls"][0], "id": "other"}]}), _entry("{"), _entry("}")],
        [*_texts_of("v", "w"), event({"content": "x"}, "abort", index=1), *_texts_of("y", "z")],
        [*_texts_of("v", "w"), DONE, *_texts_of("x", "y"), DONE],
        [*_texts_of("v", "w"), event({}, "stop"), *_texts_of("x", "y"), DONE],
        [*_texts_of("v", "[TOOL_", "w", "x", " [TOOL_CALLS]add", '{"v": ', "1}", " ", "x", "y")],
        [*_texts_of("v", "w"), b'data: {"error": {"message": "m"}}\n\n', *_texts_of("x", "y")],
        [_entry("{"), _entry('"a'), _entry('": 1}'), _entry(" more"), _entry(" and more"), event({}, "stop"), DONE],
    ],
)
@pytest.mark.parametrize("asked", [{}, {"tools": TOOLS}])
def test_what_was_learned_does_not_outlive_what_it_was_learned_of(events: list[bytes], asked: Any) -> None:
    outs = []
    for is_fast in (True, False):
        stream = translator(is_fast=is_fast, **asked)
        out = b"".join(map(stream.feed, [event(ROLE), event(ROLE, index=1), event(CALL), *events])) + stream.finish()
        outs.append(list(map(meaning, split_events(out))))

    assert outs[0] == outs[1]


def meaning(one: bytes) -> Any:
    """What an event says, however its strings are written; one that says nothing is its bytes."""
    data = event_data(one)
    try:
        return json.loads(data or b"")
    except ValueError:
        return one


@pytest.mark.parametrize(
    ("delta", "key", "asked"),
    [
        ({"content": ""}, "content", {}),
        ({"content": ""}, "content", {"tools": TOOLS}),
        ({"reasoning": ""}, "reasoning", {}),
        (ARGUMENTS, "arguments", {"tools": TOOLS}),
    ],
)
def test_most_events_take_the_fast_path(delta: Any, key: str, asked: Any) -> None:
    def with_text(text: str) -> bytes:
        return event(
            json.loads(json.dumps(delta).replace(f'"{key}": ""', f'"{key}": {json.dumps(text)}')), token_ids=None
        )

    stream = Watched(Asked(**asked), new_id=new_ids())
    for one in (event(ROLE), event(CALL) if "tool_calls" in delta else b": x\n\n", with_text('{"x')):
        stream.feed(one)
    stream.slow = 0

    texts = ["The ", "é\n", '": [{', "a", '"b": 1}', "]"]
    assert len(payloads(b"".join(stream.feed(with_text(text)) for text in texts))) == len(texts)
    assert len(payloads(stream.feed(b"".join(map(with_text, texts[:2]))))) == 2
    assert stream.slow == 0


class Watched(StreamTranslator):
    """Counts the events that are parsed."""

    slow = 0

    def _take(self, event: bytes) -> bytes:
        self.slow += 1
        return super()._take(event)


def test_text_behind_the_arguments_is_cut_on_the_fast_path_too() -> None:
    """S10."""
    stream = translator(tools=TOOLS)
    fragments = ['{"a', '": 1', "} and", " more"]
    events = [event({"tool_calls": [{"index": 0, "function": {"arguments": text}}]}) for text in fragments]

    got = run(stream, event(ROLE), event(CALL), *events, event({}, "stop"), DONE)

    entries = [entry for chunk in got[:-1] for entry in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert "".join(entry["function"]["arguments"] for entry in entries) == '{"a": 1}'
    assert Rule.S10 in stream.notes.repaired


# ----------------------------------------------------------------------------------------------------- the whole stream


def test_all_chunks_have_the_head_of_the_first() -> None:
    """S20, S23."""
    heads = [HEAD, {**HEAD, "id": "c2", "created": 2, "model": "n"}, {}]

    got = run(
        translator(), event(ROLE), *(event({"content": "x"}, head=head) for head in heads), event({}, "stop"), DONE
    )

    assert all({key: chunk[key] for key in HEAD} == HEAD for chunk in got[:-1])


def test_a_head_that_is_missing_is_made() -> None:
    (chunk,) = run(translator(), event(ROLE, head={}))

    assert {key: chunk[key] for key in HEAD} == {**HEAD, "id": "chatcmpl-new000000", "created": 0, "model": ""}


def test_done_comes_once_and_last() -> None:
    """S20."""
    got = run(translator(), event(ROLE), event({}, "stop"), DONE, DONE, event({"content": "x"}), DONE)

    assert got[-1] == b"[DONE]"
    assert len(got) == 3


def test_done_without_a_finish_reason_is_an_error() -> None:
    """S19."""
    stream = translator(tools=TOOLS)
    got = run(stream, event(ROLE), event({"content": "x [TOOL"}), DONE)

    assert [chunk["choices"][0]["delta"] for chunk in got[:-1]] == [ROLE, {"content": "x "}, {"content": "[TOOL"}]
    assert got[-1]["error"]["code"] == "upstream_unavailable"
    assert Rule.S19 in stream.notes.repaired


def test_done_is_believed_where_an_event_was_not_understood() -> None:
    """It may have had the finish_reason."""
    stream = translator()
    for one in (event(ROLE), event({"content": "x"}), b"data: {\n\n"):
        stream.feed(one)

    assert stream.feed(DONE) is DONE


def test_done_alone_is_an_error() -> None:
    """S19."""
    assert payloads(translator().feed(DONE))[0]["error"]["code"] == "upstream_unavailable"


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_a_choice_that_was_broken_off_ends_the_stream_with_an_error(reason: str) -> None:
    """S18."""
    events = [event(ROLE), event(ROLE, index=1), event({"content": "a"}, index=1), event({"content": "x"}, reason)]

    got = run(translator(), *events, event({"content": "b"}, index=1), DONE)

    assert [one.get("error", {}).get("type") for one in got] == [None, None, None, None, "server_error"]
    assert got[3]["choices"][0] == {"index": 0, "delta": {"content": "x"}, "logprobs": None, "finish_reason": None}


@pytest.mark.parametrize(
    "error",
    [
        *(b'data: {"error": {"message": "m"}}\n\n', b'data: {"error": "m"}\n\n', b'data: {"object": "error"}\n\n'),
        b'event: error\ndata: {"message": "m"}\n\n',
    ],
)
def test_an_error_of_the_backend_passes_and_all_behind_it(error: bytes) -> None:
    """S18: the relay tells the client."""
    stream = translator(tools=TOOLS)
    stream.feed(event(ROLE))
    stream.feed(event({"content": "x"}))

    assert stream.feed(error) is error
    assert stream.feed(DONE) is DONE
    assert stream.finish() == b""


def test_what_was_held_back_comes_before_an_error() -> None:
    error = b'data: {"error": {"message": "m"}}\n\n'
    stream = translator(tools=TOOLS)
    stream.feed(event(ROLE))
    stream.feed(event({"content": "[TOOL"}))

    assert stream.feed(error) == event({"content": "[TOOL"}) + error


def test_a_cut_stream_gives_out_what_was_held_back_as_text() -> None:
    stream = translator(tools=TOOLS)
    stream.feed(event(ROLE))
    stream.feed(event({"content": "[TOOL_CALLS]add{}"}))

    assert stream.finish() == event({"content": "[TOOL_CALLS]add{}"})
    assert stream.finish() == b""


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("where", ["last", "beside", "early", "twice"])
def test_usage_comes_where_it_was_asked_for(include: bool, where: str) -> None:
    """S14: in a chunk of its own, once, between the end of the choices and [DONE]."""
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    beside = b"data: " + json.dumps({**json.loads(event({}, "stop")[6:]), "usage": usage}).encode() + b"\n\n"
    events = {
        "last": [event({}, "stop"), usage_event()],
        "beside": [beside],
        "early": [usage_event(), event({}, "stop")],
        "twice": [event({}, "stop"), usage_event(), usage_event()],
    }[where]

    got = run(translator(include_usage=include), event(ROLE), *events, DONE)

    assert [chunk.get("usage") for chunk in got[:-1]] == [None, None, usage][: 3 if include else 2]
    assert got[-1] == b"[DONE]"


def test_usage_stays_in_every_chunk_where_it_was_asked_for() -> None:
    """S14."""
    chunk = {**json.loads(event({"content": "x"})[6:]), "usage": {"prompt_tokens": 5, "completion_tokens": None}}

    (got,) = run(translator(continuous_usage=True), b"data: " + json.dumps(chunk).encode() + b"\n\n")[1:]

    assert got["usage"] == {"prompt_tokens": 5, "completion_tokens": 0, "total_tokens": 5}


@pytest.mark.parametrize(
    ("deltas", "tokens", "asked", "expected"),
    [
        ([], 7, {"tools": TOOLS}, True),
        ([], 1, {"tools": TOOLS}, False),
        ([], 7, {}, False),
        ([{"content": "x"}], 7, {"tools": TOOLS}, False),
        ([{"reasoning": "x"}], 7, {"tools": TOOLS}, False),
        ([CALL], 7, {"tools": TOOLS}, False),
    ],
)
def test_a_swallowed_call_shows(deltas: list[Any], tokens: int, asked: Any, expected: bool) -> None:
    """S16: tokens were counted and nothing came; the usage need not have been asked for."""
    stream = translator(**asked)
    run(stream, event(ROLE), *map(event, deltas), event({}, "stop"), usage_event(tokens), DONE)

    assert stream.swallowed is expected


def test_choices_are_kept_apart() -> None:
    """S22: also where several come in one chunk, or without an index."""
    choices = [{"delta": {"content": text}, "finish_reason": reason} for text, reason in (("a", "stop"), ("b", None))]
    chunk = b"data: " + json.dumps({**HEAD, "choices": choices}).encode() + b"\n\n"

    got = run(translator(), chunk, event({}, "length", index=1), DONE)

    assert [
        (choice["index"], choice["delta"], choice["finish_reason"]) for one in got[:-1] for choice in one["choices"]
    ] == [
        *((0, ROLE, None), (1, ROLE, None), (0, {"content": "a"}, "stop"), (1, {"content": "b"}, None)),
        (1, {}, "length"),
    ]


def test_named_events_keep_their_name() -> None:
    named = b"event: message\n" + event({"content": "x"}, token_ids=None)

    assert translator().feed(event(ROLE) + named).endswith(b"event: message\n" + event({"content": "x"}))


def test_data_of_several_lines_is_understood() -> None:
    lines = event({"content": "x"}, token_ids=None).replace(b',"choices"', b',\ndata: "choices"')

    assert payloads(translator().feed(event(ROLE) + lines)) == payloads(event(ROLE) + event({"content": "x"}))


@pytest.mark.parametrize("one", [one for one in captures.load() if one.is_stream], ids=lambda one: one.name)
def test_recorded_streams_are_the_same_by_either_path_and_in_one_block(one: captures.Capture) -> None:
    fast, slow, whole = translator(tools=TOOLS), translator(tools=TOOLS, is_fast=False), translator(tools=TOOLS)

    outs = [b"".join(map(stream.feed, split_events(one.body))) + stream.finish() for stream in (fast, slow)]
    outs.append(whole.feed(one.body) + whole.finish())

    meant = [list(map(meaning, split_events(out))) for out in outs]
    assert meant[0] == meant[1] == meant[2]
