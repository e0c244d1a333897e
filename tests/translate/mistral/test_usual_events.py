"""The fast reader of a stream's events says what the thorough one says, or nothing."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.translate.asked import AnswerForm, Asked, ToolChoice
from router.translate.mistral.stream import StreamTranslator
from router.translate.mistral.usual_events import around_text, read_usual, without_nulls
from router.translate.notes import Rule
from router.wire.sse import event_data, split_events

HEAD: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "devstral"}
CHOICE: dict[str, Any] = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": None, "token_ids": None}
ROLE: dict[str, Any] = {**CHOICE, "delta": {"role": "assistant", "content": ""}}
DONE = b"data: [DONE]\n\n"
TOOLS = Asked(tools=frozenset({"f"}), tool_choice=ToolChoice.AUTO)


def event(choice: dict[str, Any] | None = None, **more: Any) -> bytes:
    chunk = {**HEAD, "choices": [CHOICE if choice is None else choice], **more}
    return b"data: " + json.dumps(chunk, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def saying(text: Any, **more: Any) -> bytes:
    return event({**CHOICE, "delta": {"content": text}, **more})


def ending(reason: str = "stop", **more: Any) -> bytes:
    return event({**CHOICE, "finish_reason": reason, "stop_reason": None, **more})


def translator(asked: Asked, *, is_fast: bool) -> StreamTranslator:
    return StreamTranslator(asked, form=AnswerForm(), new_id=lambda: "abcDEF123", is_fast=is_fast)


def outcome(events: list[bytes], asked: Asked, *, is_fast: bool) -> tuple[Any, ...]:
    """What the client sees of each event, and what the translator knows then."""
    one = translator(asked, is_fast=is_fast)
    seen = [(payloads(one.feed(each)), one.is_holding, one.swallowed, set(one.notes.repaired)) for each in events]
    return seen, payloads(one.finish()), one.notes.repaired


def payloads(block: bytes) -> list[Any]:
    datas = [event_data(each) for each in split_events(block)]
    return [data if data is None or not data.startswith(b"{") else json.loads(data) for data in datas]


@pytest.mark.parametrize("asked", [Asked(), TOOLS])
@pytest.mark.parametrize("reason", ["stop", "length"])
def test_what_every_stream_has_is_cut_to_what_openai_knows(asked: Asked, reason: str) -> None:
    events = [event(ROLE, prompt_token_ids=None, prompt_text=None), saying("Hi"), saying(" you"), ending(reason), DONE]

    assert outcome(events, asked, is_fast=True) == outcome(events, asked, is_fast=False)
    assert outcome(events, asked, is_fast=True)[-1] == {Rule.S1}
    assert all(read_usual(each) is not None for each in events[:-1])


def test_what_needs_nothing_is_the_same_object() -> None:
    one = translator(Asked(), is_fast=True)
    events = [each.replace(b',"token_ids":null', b"") for each in (event(ROLE), saying("Hi"), saying("x"), event())]

    assert all(one.feed(each) is each for each in events[:3])
    assert not one.notes.repaired


def test_the_pattern_of_the_first_text_holds_for_the_next_ones() -> None:
    one = translator(Asked(), is_fast=True)
    for each in (event(ROLE), saying("Hi")):
        one.feed(each)

    assert one.passing is not None
    assert one.feed(saying('" \\ é')) == without_nulls(saying('" \\ é'))


@pytest.mark.parametrize(
    "odd",
    [
        saying(None),
        saying(["x"]),
        saying("x", odd=1),
        saying("x", token_ids=[1]),
        saying("x", logprobs={"content": []}),
        saying("x", index=None),
        event({**CHOICE, "delta": {"role": "user", "content": ""}}),
        event({**CHOICE, "delta": {"reasoning": "x"}}),
        event({**CHOICE, "delta": {"tool_calls": []}}),
        event({**CHOICE, "delta": None}),
        ending("tool_calls"),
        ending("abort"),
        ending(stop_reason=2),
        event(usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}),
        event(odd=1),
        event(id=""),
        event(created="1"),
        event(created=2**64),
        event(created=10**300),
        saying("x", index=-1),
        saying("x", index=2**64),
        event(object="text_completion"),
        event(choices=[]),
        event(choices=[CHOICE, {**CHOICE, "index": 1}]),
        b"event: x\n" + saying("x"),
        saying("x").replace(b"\n\n", b"\r\n\r\n"),
        b'data: {"error":{"message":"x"}}\n\n',
        b"data: [\n\n",
        b": comment\n\n",
        DONE,
    ],
)
def test_what_is_not_usual_is_left_to_the_thorough_reader(odd: bytes) -> None:
    assert read_usual(odd) is None


def test_what_was_asked_for_is_left_to_the_thorough_reader() -> None:
    events = [event(ROLE), saying("x", token_ids=[1]), ending(), DONE]
    asked = Asked(extras=frozenset({"token_ids"}))

    assert outcome(events, asked, is_fast=True) == outcome(events, asked, is_fast=False)


@pytest.mark.parametrize("number", [-1, 2**63, 2**64, 10**300])
def test_numbers_of_any_size_are_no_fault(number: int) -> None:
    events = [event(ROLE, created=number), saying("x"), event({**ROLE, "index": number}), ending(), DONE]

    assert outcome(events, Asked(), is_fast=True) == outcome(events, Asked(), is_fast=False)


def test_the_text_of_an_event_stands_where_it_is_said_to_stand() -> None:
    assert around_text(saying('a"b\\')) == tuple(saying("@").split(b'"@"'))


@pytest.mark.parametrize(
    "odd",
    [
        saying("x").replace(b'"content":"x"', b'"content":"x","content":"y"'),
        saying("x").replace(b'"content":"x"', b'"content":"x","c\\u006fntent":"y"'),
        saying("x").replace(b'"content":"x"', b'"c\\u006fntent":"x"'),
        saying("x").replace(b'"devstral"', b'"a\\"b"'),
        saying("x").replace(b'"content":', b'"content": '),
        saying(""),
    ],
)
def test_nothing_is_learned_where_keys_may_be_written_twice(odd: bytes) -> None:
    assert around_text(odd) is None


TEXTS = ["Hi", "", " ", "<think>", "[THINK]a[/THINK]", "[TOOL_CALLS]f{}", "f{", "TOOL", "[", 'a"b', "\\", "é", "\u2028"]
USUAL = st.one_of(
    st.just(event(ROLE)),
    st.builds(saying, st.sampled_from(TEXTS)),
    st.builds(ending, st.sampled_from(["stop", "length"])),
)
ODD = st.one_of(
    st.builds(saying, st.sampled_from([*TEXTS, None]), index=st.sampled_from([0, 1]), stop_reason=st.none()),
    st.builds(event, st.just(ROLE), id=st.sampled_from(["chatcmpl-1", "other"]), usage=st.none()),
    st.builds(ending, st.sampled_from(["stop", "tool_calls", "abort", "odd"]), index=st.sampled_from([0, 1])),
    st.just(ending(delta={"content": ""})),
    st.just(ending(delta={"content": "x"})),
    st.just(event()),
    st.just(event(choices=[], usage={"prompt_tokens": 1, "completion_tokens": 5, "total_tokens": 6})),
    st.just(event({**CHOICE, "delta": {"reasoning": "x"}})),
    st.just(event({**CHOICE, "delta": {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}]}})),
    st.just(event({**CHOICE, "delta": {"role": "assistant", "content": "x"}})),
    st.just(DONE),
)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.one_of(USUAL, USUAL, ODD), max_size=7), st.booleans(), st.booleans())
def test_fast_and_thorough_say_the_same_of_any_stream(events: list[bytes], tools: bool, together: bool) -> None:
    asked = TOOLS if tools else Asked()
    events = [event(ROLE), *events]
    if together:
        events = [b"".join(events)]

    assert outcome(events, asked, is_fast=True) == outcome(events, asked, is_fast=False)
