"""Random answers streamed by servers of random habits: the client sees exactly what the model said."""

import dataclasses
import json
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.translate.asked import AnswerForm, Asked, ReasoningField, ToolChoice
from router.translate.mistral.answer import read_answer, translate_answer
from router.translate.mistral.emulate import as_stream
from router.translate.mistral.stream import StreamTranslator
from router.wire.sse import EventSplitter, split_events
from tests.translate import cases, client, scripts
from tests.translate.scripts import Call, Habits, Said

FORM = AnswerForm()
SDK = client.Sdk()
examples = settings(max_examples=3000 if os.environ.get("ROUTER_NIGHTLY") else 60, deadline=None)
CHOICES = st.lists(scripts.said(), min_size=1, max_size=2).map(tuple)


def translated(pieces: list[bytes], asked: Asked, form: AnswerForm = FORM, *, is_fast: bool = True) -> bytes:
    splitter = EventSplitter()
    translator = StreamTranslator(asked, form=form, new_id=cases.new_ids(), is_fast=is_fast)
    out = [translator.feed(block) for piece in pieces if (block := splitter.feed(piece))]
    assert not splitter.finish()
    return b"".join(out) + translator.finish()


def without_ids(view: dict[str, Any]) -> dict[str, Any]:
    """Ids that were made are told apart from each other only."""
    ids = [call[0] for choice in view["choices"] for call in choice["calls"]]
    assert len(set(ids)) == len(ids)
    assert all(len(made) == 9 and made.isalnum() for made in ids)
    return _each_call(view, lambda call: [None, *call[1:]])


def as_values(view: dict[str, Any]) -> dict[str, Any]:
    """Arguments as values, where their text was made from an object."""
    return _each_call(view, lambda call: [*call[:2], json.loads(call[2])])


def _each_call(view: dict[str, Any], change: Any) -> dict[str, Any]:
    choices = [{**choice, "calls": [change(call) for call in choice["calls"]]} for choice in view["choices"]]
    return {**view, "choices": choices}


def forget_ids(choices: tuple[Said, ...]) -> tuple[Said, ...]:
    return tuple(
        dataclasses.replace(one, calls=tuple(dataclasses.replace(call, id=None) for call in one.calls))
        for one in choices
    )


@given(CHOICES, scripts.habits, scripts.asked, st.integers(0, 2**32))
@examples
def test_the_client_sees_what_the_model_said(
    choices: tuple[Said, ...], habits: Habits, asked: Asked, seed: int
) -> None:
    if habits.id_ == "never":
        choices = forget_ids(choices)
    expected = scripts.view_of(choices, asked)
    stream = b"".join(scripts.events_of(choices, habits))
    out = translated(scripts.cut(stream, seed), asked)
    got = client.view_of_stream(out, asked, FORM)

    client.assert_agrees(got, SDK.view_of_stream(out))
    client.assert_text_before_calls(out)
    usage = got.pop("usage", None)
    assert (usage is not None) == (asked.include_usage and habits.usage != "none")
    if habits.id_ == "never":
        got = without_ids(got)
    if habits.arguments == "object":
        got, expected = as_values(got), as_values(expected)
    assert got == expected
    assert translated([stream], asked) == out, "it depends on where the bytes were cut"
    slowly = translated(split_events(stream), asked, is_fast=False)
    assert list(client.payloads(slowly)) == list(client.payloads(out)), "it depends on what was learned before"


@given(CHOICES, scripts.habits, st.sampled_from(ReasoningField))
@examples
def test_reasoning_stands_where_it_was_wanted(choices: tuple[Said, ...], habits: Habits, field: ReasoningField) -> None:
    asked, form = Asked(tools=frozenset(scripts.TOOLS), names=scripts.NAMES), AnswerForm(reasoning=field)
    out = translated([b"".join(scripts.events_of(choices, habits))], asked, form)
    got = client.view_of_stream(out, asked, form)  # which knows where reasoning may stand

    for choice, one in zip(got["choices"], choices, strict=True):
        assert choice["content"] == (one.text or None)
        assert choice.get("reasoning", "") == ("" if field is ReasoningField.OFF else one.reasoning)


@given(CHOICES, scripts.habits, st.sampled_from([("[THINK]", "[/THINK]"), ("<think>", "</think>")]))
@examples
def test_reasoning_between_markers_in_the_text_is_found(
    choices: tuple[Said, ...], habits: Habits, markers: tuple[str, str]
) -> None:
    asked = Asked(tools=frozenset(scripts.TOOLS), names=scripts.NAMES)
    choices = tuple(dataclasses.replace(one, text=one.text.strip(), reasoning=one.reasoning.strip()) for one in choices)
    written = tuple(
        dataclasses.replace(one, reasoning="", text=f"{markers[0]}{one.reasoning}{markers[1]}{one.text}")
        for one in choices
    )
    out = translated([b"".join(scripts.events_of(written, habits))], asked)
    got = client.view_of_stream(out, asked, FORM)

    for choice, one in zip(got["choices"], choices, strict=True):
        assert (choice["content"] or "").strip() == one.text
        assert choice.get("reasoning", "").strip() == one.reasoning


@given(CHOICES, scripts.habits)
@examples
def test_what_was_translated_needs_no_translation(choices: tuple[Said, ...], habits: Habits) -> None:
    """Text may be held back for a while, as it might become a call; but nothing is repaired."""
    asked = Asked(tools=frozenset(scripts.TOOLS), include_usage=True)
    out = translated([b"".join(scripts.events_of(choices, habits))], asked)
    again = StreamTranslator(asked, form=FORM, new_id=cases.new_ids())
    twice = b"".join(map(again.feed, split_events(out))) + again.finish()

    assert not again.notes.repaired
    assert client.view_of_stream(twice, asked, FORM) == client.view_of_stream(out, asked, FORM)


# --------------------------------------------------------------------------------------------- answers in one piece

ANSWER_HABITS = st.fixed_dictionaries(
    {
        "vllm_keys": st.booleans(),
        "reasoning_keys": st.sampled_from([("reasoning",), ("reasoning_content",), ("reasoning", "reasoning_content")]),
        "empty_text": st.sampled_from(["", None]),
        "index": st.booleans(),
        "type": st.booleans(),
        "object": st.booleans(),
        "parts": st.booleans(),
        "empty_list": st.booleans(),
        "always_stop": st.booleans(),
    }
)


PLAIN_ANSWER = {
    "vllm_keys": True,
    "reasoning_keys": ("reasoning",),
    "empty_text": "",
    "index": False,
    "type": True,
} | dict.fromkeys(("object", "parts", "empty_list", "always_stop"), False)


def answer_of(choices: tuple[Said, ...], habits: dict[str, Any]) -> bytes:
    """The answer in one piece that a server of these habits gives."""
    written = []
    for index, one in enumerate(choices):
        made: list[dict[str, Any]] = []
        for number, call in enumerate(one.calls):
            arguments = json.loads(call.arguments) if habits["object"] else call.arguments
            entry = {"id": call.id, "function": {"name": call.name, "arguments": arguments}}
            made.append(
                entry
                | ({"type": "function"} if habits["type"] else {})
                | ({"index": number} if habits["index"] else {})
            )
        content: Any = one.text or habits["empty_text"]
        if habits["parts"] and one.text:
            content = [{"type": "text", "text": one.text[:3]}, {"type": "text", "text": one.text[3:]}]
        message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None, "annotations": None}
        message |= dict.fromkeys(habits["reasoning_keys"], one.reasoning or None)
        message |= {"tool_calls": made} if made or habits["empty_list"] else {}
        finish = "stop" if habits["always_stop"] and made and not one.is_cut else scripts.finish_of(one)
        choice = {"index": index, "message": message, "logprobs": None, "finish_reason": finish}
        written.append(choice | ({"stop_reason": None, "token_ids": None} if habits["vllm_keys"] else {}))
    usage = {"prompt_tokens": 5, "total_tokens": 12, "completion_tokens": 7}
    head = {"id": scripts.ID, "object": "chat.completion", "created": scripts.CREATED, "model": scripts.MODEL}
    extra = {"prompt_logprobs": None, "kv_transfer_params": None} if habits["vllm_keys"] else {}
    return json.dumps({**head, "choices": written, "usage": usage, **extra}).encode()


@given(CHOICES, ANSWER_HABITS, scripts.asked)
@examples
def test_an_answer_in_one_piece_and_its_stream_say_the_same(
    choices: tuple[Said, ...], habits: dict[str, Any], asked: Asked
) -> None:
    """From the server's answer to the client's, to a stream of it, and through openai-python."""
    expected = scripts.view_of(choices, asked)
    body, _ = translate_answer(answer_of(choices, habits), asked, form=FORM, new_id=cases.new_ids())
    got = client.view_of_answer(body, asked, FORM)
    client.assert_agrees(got, SDK.view_of_answer(body))
    stream = as_stream(read_answer(body), asked)
    streamed = client.view_of_stream(stream, asked, FORM)
    client.assert_agrees(streamed, SDK.view_of_stream(stream))

    assert got.pop("usage") == [5, 7]
    assert streamed.pop("usage", None) == ([5, 7] if asked.include_usage else None)
    assert streamed == got
    if habits["object"]:
        got, expected = as_values(got), as_values(expected)
    assert got == expected


# --------------------------------------------------------------------------------------------------- leaks, as both

LEAKS = {
    "v11": "[TOOL_CALLS]{name}[ARGS]{arguments}",
    "v13, an older form": "[TOOL_CALLS]{name}{arguments}",
    "without brackets": "TOOL_CALLS{name}{arguments}",
}


def both(written: Said, habits: Habits, asked: Asked) -> list[dict[str, Any]]:
    """What the client sees of one choice, streamed and in one piece."""
    out = translated([b"".join(scripts.events_of((written,), habits))], asked)
    body, _ = translate_answer(answer_of((written,), PLAIN_ANSWER), asked, form=FORM, new_id=cases.new_ids())
    views = [client.view_of_stream(out, asked, FORM), client.view_of_answer(body, asked, FORM)]
    return [{**view["choices"][0]} for view in views]


@given(scripts.said(), scripts.habits, st.sampled_from(sorted(LEAKS)), st.booleans())
@examples
def test_calls_that_leaked_into_the_text_are_found(one: Said, habits: Habits, style: str, preface: bool) -> None:
    """However the text is cut."""
    asked = Asked(tools=frozenset(scripts.TOOLS), names=scripts.NAMES, include_usage=True)
    one = dataclasses.replace(one, text=one.text.strip() if preface else "", reasoning="", is_cut=False)
    text = one.text + "".join(LEAKS[style].format(name=call.name, arguments=call.arguments) for call in one.calls)
    expected = scripts.view_of(forget_ids((one,)), asked)
    for got in both(dataclasses.replace(one, text=text, calls=()), habits, asked):
        assert as_values(without_ids({"choices": [got], "ending": "done"})) == as_values(expected)


@given(scripts.said(), scripts.habits, st.sampled_from(["[]", "none", "unknown", "cut"]), st.integers(1, 9))
@examples
def test_what_is_no_whole_call_of_a_known_function_stays_text(
    one: Said, habits: Habits, fault: str, missing: int
) -> None:
    known = frozenset() if fault == "[]" else frozenset({"other"}) if fault == "unknown" else frozenset(scripts.TOOLS)
    choice = ToolChoice.NONE if fault == "none" else ToolChoice.AUTO
    asked = Asked(tools=known, tool_choice=choice, include_usage=True)
    call = next(iter(one.calls), Call("abcDEF123", "add", '{"a": "0123456789"}'))
    text = f"[TOOL_CALLS]{call.name}[ARGS]{call.arguments}"
    text = text[: -min(missing, len(call.arguments))] if fault == "cut" else text
    for got in both(Said("", text, (), is_cut=fault == "cut"), habits, asked):
        assert got == {"content": text, "calls": [], "finish": "length" if fault == "cut" else "stop"}


MARKS = ("[THINK]", "[/THINK]", "<think>", "</think>", "[TOOL_CALLS]", "TOOL_CALLS", "[ARGS]", "[CALL_ID]abcDEF123")
PARTS = (
    "get_weather",
    "add",
    '{"a": 1}',
    "{",
    "}",
    '[{"name": "add", "arguments": {}}]',
    "[",
    "]",
    '"',
    "x",
    " ",
    "\n",
)


@given(st.lists(st.sampled_from(MARKS + PARTS), max_size=8).map("".join), scripts.habits, st.booleans())
@examples
def test_a_text_full_of_marks_means_the_same_streamed_and_in_one_piece(
    text: str, habits: Habits, has_tools: bool
) -> None:
    """Whatever is found in it, nothing else is lost."""
    asked = Asked(tools=frozenset(scripts.TOOLS if has_tools else ()), include_usage=True)
    streamed, whole = both(Said("", text, (), is_cut=False), habits, asked)

    assert without_ids({"choices": [streamed]}) == without_ids({"choices": [whole]})
    if not streamed["calls"] and "reasoning" not in streamed and not any(mark in text for mark in MARKS[:4]):
        assert (streamed["content"] or "") == text


# ------------------------------------------------------------------------------------------------------ odd events

_json = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "delta",
                    "index",
                    "tool_calls",
                    "function",
                    "name",
                    "arguments",
                    "content",
                    "id",
                    "role",
                    "finish_reason",
                    "usage",
                    "error",
                    "message",
                    "type",
                    "reasoning",
                    "logprobs",
                    "object",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(
    st.lists(_json | st.fixed_dictionaries({"choices": st.lists(_json, max_size=3)}), max_size=6),
    scripts.asked,
    st.booleans(),
)
@examples
def test_odd_events_never_raise(events: list[Any], asked: Asked, whole: bool) -> None:
    """What is not understood passes, or is left out; it never ends the exchange."""
    written = [f"data: {json.dumps(event)}\n\n".encode() for event in events]
    translator = StreamTranslator(asked, form=FORM, new_id=cases.new_ids())
    for block in [b"".join(written)] if whole else written:
        if block:
            assert isinstance(translator.feed(block), bytes)
    translator.finish()


@pytest.mark.parametrize(
    "event",
    [
        b"data: \n\n",
        b"data: {\n\n",
        b"data: [\n\n",
        b"\n\n",
        b"event: x\n\n",
        b"data: \xff\n\n",
        b"data: {}\ndata: {}\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
        b'data: {"choices":[' + b'{"a":' * 50_000 + b"\n\n",
        b"id: 1\nretry: 5\ndata: 1\n\n",
    ],
    ids=lambda event: repr(event[:24]),
)
def test_what_is_no_chunk_passes(event: bytes) -> None:
    translator = StreamTranslator(Asked(), form=FORM, new_id=cases.new_ids())

    assert translator.feed(event) == event


@given(
    _json | st.fixed_dictionaries({"choices": st.lists(st.fixed_dictionaries({"message": _json}) | _json, max_size=3)}),
    scripts.asked,
)
@examples
def test_odd_answers_never_raise(payload: Any, asked: Asked) -> None:
    body, _ = translate_answer(json.dumps(payload).encode(), asked, form=FORM, new_id=cases.new_ids())

    assert isinstance(as_stream(read_answer(body), asked), bytes)
