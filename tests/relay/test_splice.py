"""Rules of router/relay/splice.py: a continuation's events are the original stream's, wherever it broke."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.relay.splice import SEAM, Splice, ending, told_once, usage_of
from router.translate.mistral.limits import MAX_ANSWER_VALUES

ORIGINAL = {"id": "chatcmpl-a", "object": "chat.completion.chunk", "created": 1, "model": "m"}
OTHER = {"id": "chatcmpl-b", "object": "chat.completion.chunk", "created": 2, "model": "m"}
COMPLETION = {"id": "cmpl-b", "object": "text_completion", "created": 2, "model": "m"}
DONE = b"data: [DONE]\n\n"


def encoded(payload: object) -> bytes:
    return b"data: " + json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def delta(text: str, *, head: dict[str, object] = OTHER, finish: str | None = None, **more: object) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": finish, "token_ids": None}
    return encoded({**head, "choices": [choice], **more})


def completed(text: str, *, ids: list[int] | None = None, finish: str | None = None, **more: object) -> bytes:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish, "stop_reason": None}
    return encoded({**COMPLETION, "choices": [{**choice, "prompt_token_ids": None, "token_ids": ids}], **more})


def parsed(block: bytes) -> list[dict[str, Any]]:
    return [json.loads(event[6:]) for event in block.split(b"\n\n") if event.startswith(b"data: {")]


ROLE = encoded({**OTHER, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}], "usage": None})


def test_a_chat_goes_on_under_its_own_head_and_without_a_second_role() -> None:
    splice = Splice(ORIGINAL, is_chat=True)
    assert splice.feed(ROLE) == b""
    assert not splice.has_begun
    assert splice.feed(delta("x")) == delta("x", head=ORIGINAL)
    assert splice.has_begun
    assert splice.feed(delta("", finish="stop") + DONE) == delta("", head=ORIGINAL, finish="stop") + DONE


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), max_size=12), st.integers(1, 5))
def test_every_way_of_reading_gives_the_same_events(texts: list[str], size: int) -> None:
    """Events are changed by a learned pattern where that is known to do; one by one or many at a time."""
    events = [delta(text) for text in texts] + [delta("", finish="stop"), DONE]
    blocks = [b"".join(events[at : at + size]) for at in range(0, len(events), size)]
    splice = Splice(ORIGINAL, is_chat=True)
    told = b"".join(map(splice.feed, blocks))
    assert parsed(told) == parsed(b"".join(delta(text, head=ORIGINAL) for text in texts)) + parsed(
        delta("", head=ORIGINAL, finish="stop")
    )
    assert told.endswith(DONE)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), max_size=12))
def test_a_text_completion_goes_on_with_a_chat(texts: list[str]) -> None:
    splice = Splice(ORIGINAL, is_chat=True, prompt=3, generated=2)
    told = b"".join(splice.feed(completed(text, ids=[at])) for at, text in enumerate(texts))
    told += splice.feed(completed("", ids=[2], finish="stop") + DONE)
    events = parsed(told)
    assert [event["choices"][0]["delta"].get("content", "") for event in events] == [*texts, ""]
    assert [event["choices"][0]["token_ids"] for event in events] == [*[[at] for at in range(len(texts))], [2]]
    assert all({key: event[key] for key in ORIGINAL} == ORIGINAL for event in events)
    assert all("text" not in event["choices"][0] for event in events)


def test_usage_is_summed() -> None:
    usage = {"prompt_tokens": 12, "total_tokens": 15, "completion_tokens": 3}
    event = encoded({**OTHER, "choices": [], "usage": usage})
    known = Splice(ORIGINAL, is_chat=True, prompt=5, generated=7).feed(event)
    assert parsed(known)[0]["usage"] == {"prompt_tokens": 5, "total_tokens": 15, "completion_tokens": 10}
    counted = Splice(ORIGINAL, is_chat=True, generated=7, counted=6).feed(event)
    assert parsed(counted)[0]["usage"] == {"prompt_tokens": 6, "total_tokens": 16, "completion_tokens": 10}
    running = Splice(ORIGINAL, is_chat=True, prompt=5, generated=7).feed(delta("x", usage=usage))
    assert parsed(running)[0]["usage"]["completion_tokens"] == 10


def test_usage_is_summed_in_every_event_that_has_one() -> None:
    splice = Splice(ORIGINAL, is_chat=True, prompt=5, generated=7)
    told = b""
    for made in range(1, 5):
        usage = {"prompt_tokens": 12, "total_tokens": 12 + made, "completion_tokens": made}
        told += splice.feed(delta("x", usage=usage))
    assert [event["usage"]["completion_tokens"] for event in parsed(told)] == [8, 9, 10, 11]


def test_an_end_mark_without_a_finish_reason_is_no_end() -> None:
    splice = Splice(ORIGINAL, is_chat=True)
    assert splice.feed(delta("x") + DONE) == delta("x", head=ORIGINAL)
    assert not splice.has_finished


def test_the_ids_of_the_longer_prompt_are_not_the_clients() -> None:
    event = completed("x", ids=[1]).replace(b'"prompt_token_ids":null', b'"prompt_token_ids":[1,2,3]')
    head = {**COMPLETION, "id": "cmpl-a"}
    told = parsed(Splice(head, is_chat=False).feed(event))[0]
    assert told["choices"][0]["prompt_token_ids"] is None
    assert told["id"] == "cmpl-a"


def test_comments_pass_and_do_not_begin() -> None:
    splice = Splice(ORIGINAL, is_chat=True)
    assert splice.feed(b": keepalive\n\n") == b": keepalive\n\n"
    assert not splice.has_begun


@pytest.mark.parametrize("event", [b"data: {\n\n", b"data: []\n\n", b'data: {"choices":7}\n\n'])
def test_what_is_not_understood_passes(event: bytes) -> None:
    assert Splice(ORIGINAL, is_chat=True).feed(event) == event


@pytest.mark.parametrize("is_chat", [True, False])
def test_text_that_is_owed_comes_once_and_first(is_chat: bool) -> None:
    head = ORIGINAL if is_chat else {**COMPLETION, "id": "cmpl-a"}
    splice = Splice(head, is_chat=is_chat, owed="[")
    assert splice.feed(b": keepalive\n\n") == b": keepalive\n\n"
    events = parsed(splice.feed(completed("x", ids=[1])) + splice.feed(completed("y", ids=[2])))
    choices = [event["choices"][0] for event in events]
    assert [choice["delta"]["content"] if is_chat else choice["text"] for choice in choices] == ["[", "x", "y"]
    assert all({key: event[key] for key in head} == head for event in events)
    assert all(choice["finish_reason"] is None for choice in choices)


def test_text_that_is_owed_waits_for_what_goes_on_with_it() -> None:
    assert Splice(ORIGINAL, is_chat=True, owed="[").feed(ROLE) == b""


@pytest.mark.parametrize("is_chat", [True, False])
def test_text_that_is_owed_comes_with_the_end_where_nothing_goes_on(is_chat: bool) -> None:
    told = parsed(b"".join(ending(ORIGINAL, is_chat=is_chat, finish="length", usage=None, owed="[")))
    choice = told[0]["choices"][0]
    assert (choice["delta"]["content"] if is_chat else choice["text"]) == "["
    assert choice["finish_reason"] == "length"


@pytest.mark.parametrize("is_chat", [True, False])
def test_a_stream_of_which_nothing_is_left_gets_its_end(is_chat: bool) -> None:
    events = ending(ORIGINAL, is_chat=is_chat, finish="length", usage=usage_of(3, 4))
    told = parsed(b"".join(events))
    assert told[0]["choices"][0]["finish_reason"] == "length"
    assert ("delta" in told[0]["choices"][0]) is is_chat
    assert told[1]["usage"] == {"prompt_tokens": 3, "total_tokens": 7, "completion_tokens": 4}
    assert events[-1] == DONE
    assert ending(ORIGINAL, is_chat=is_chat, finish=None, usage=None) == [DONE]


def test_the_seam_is_a_comment() -> None:
    assert SEAM == b": resumed on another backend\n\n"


def test_a_learned_pattern_does_what_reading_does() -> None:
    """Else the second event of a kind would not be what the first one was."""
    evil = '"},"logprobs":null,"finish_reason":null,"token_ids":null}]}\\'
    first = Splice(ORIGINAL, is_chat=True)
    for text in ("a", evil, "", "é\U0001f642", '"', "b"):
        fresh = Splice(ORIGINAL, is_chat=True)
        assert first.feed(delta(text)) == fresh.feed(delta(text)) == delta(text, head=ORIGINAL)
    first = Splice(ORIGINAL, is_chat=True)
    for at, text in enumerate(("a", evil, "é\U0001f642", '"', "b")):
        fresh = Splice(ORIGINAL, is_chat=True)
        assert first.feed(completed(text, ids=[at, 7])) == fresh.feed(completed(text, ids=[at, 7]))
    usage = {"prompt_tokens": 1, "total_tokens": 2, "completion_tokens": 1}
    assert parsed(first.feed(completed("x", ids=[1], usage=usage)))[0]["usage"]["completion_tokens"] == 1
    assert parsed(first.feed(completed("x", ids=[1], finish="stop")))[0]["choices"][0]["finish_reason"] == "stop"
    assert first.has_finished


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": [{"index": 0, "delta": 0.5, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": ["content"], "text": "a"}]},
        {"choices": [{"delta": {"content": {"a": 1}}}]},
        {"choices": [], "usage": {"prompt_tokens": (1 << 63) - 1, "completion_tokens": (1 << 63) - 1}},
    ],
)
@pytest.mark.parametrize("is_chat", [True, False])
def test_values_of_another_type_are_passed_on_or_made_the_streams_own(chunk: dict[str, Any], is_chat: bool) -> None:
    splice = Splice({"id": "a"}, is_chat=is_chat, prompt=(1 << 63) - 1, generated=7)
    event = b"data: " + orjson.dumps(chunk) + b"\n\n"
    told = splice.feed(event)
    assert told == event or json.loads(told[6:])["id"] == "a"
    assert splice.has_begun


def test_an_event_that_holds_too_much_to_be_read_is_passed_on() -> None:
    splice = Splice({"id": "a"}, is_chat=True)
    event = b'data: {"choices":[],"x":[%b0]}\n\n' % (b"0," * MAX_ANSWER_VALUES)
    assert splice.feed(event) == event
    assert splice.has_begun


ODD: list[Any] = [5, "6", True, {"6": 6}, ["6"], [6.0], [None], [[6]], [{}], 10**30, [10**30]]


@pytest.mark.parametrize("odd", ODD)
def test_ids_that_are_none_are_told_as_they_came(odd: Any) -> None:
    """A backend may send anything."""
    choice = {"index": 0, "delta": {"content": ""}, "finish_reason": None, "token_ids": odd}
    for payload in ({"choices": [choice]}, {"choices": {"0": choice}}, {"choices": [odd]}, [odd], odd):
        event = encoded({"token_ids": 1, "x": payload} if payload is odd else payload)
        again = [b"6", b"7"]
        assert told_once(again, event) == event
        assert again in ([b"6", b"7"], [])


def test_an_event_of_more_than_is_read_is_told_as_it_came() -> None:
    ids = b"6," * 64 * 1024 + b"6"
    event = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"token_ids":[%b]}]}\n\n' % ids
    assert told_once([b"6"], event) == event


def test_an_event_that_nests_too_deep_to_be_written_is_told_as_it_came() -> None:
    nested = b"[" * 300 + b"]" * 300
    event = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"token_ids":[6]}],"x":%b}\n\n' % nested
    again = [b"6", b"7"]

    assert told_once(again, event) == event
    assert again == [b"6", b"7"]


@pytest.mark.parametrize("delta", [None, {}, {"content": None}])
def test_an_event_without_a_delta_is_the_streams_own_too(delta: dict[str, Any] | None) -> None:
    splice = Splice(ORIGINAL, is_chat=True)
    told = splice.feed(encoded({**OTHER, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}))
    assert json.loads(told[6:])["id"] == ORIGINAL["id"]


@pytest.mark.parametrize("values", [0, MAX_ANSWER_VALUES])
def test_text_that_is_missing_comes_before_whatever_else_comes(values: int) -> None:
    splice = Splice(ORIGINAL, is_chat=True, owed=" lorem")
    event = b'data: {"choices":5,"x":[%b0]}\n\n' % (b"0," * values)
    told = splice.feed(event)

    assert told.endswith(event)
    assert b" lorem" in told.removesuffix(event)
    assert splice._owed == ""
