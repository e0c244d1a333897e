"""The recorded streams and answers of a real vLLM: the client has their text, calls and end, in OpenAI's form."""

import json
from typing import Any

import pytest

from router.translate.asked import AnswerForm, Asked, ToolChoice
from router.translate.mistral.answer import read_answer, translate_answer
from router.translate.mistral.emulate import as_stream
from router.translate.mistral.stream import StreamTranslator
from router.wire.sse import EventSplitter, split_events
from tests import captures
from tests.captures import Capture
from tests.translate import cases, client

FORM = AnswerForm()
SDK = client.Sdk()


def asked_of(request: bytes) -> Asked:
    """What the recorded request asked for; those of `lifecycle` were not kept, and asked for a plain stream."""
    if not request:
        return Asked(stream=True)
    fields = json.loads(request)
    choice = fields.get("tool_choice", "auto")
    options = fields.get("stream_options") or {}
    return Asked(
        tools=frozenset(tool["function"]["name"] for tool in fields.get("tools", ())),
        tool_choice=ToolChoice.NAMED if isinstance(choice, dict) else ToolChoice(choice),
        single_call=fields.get("parallel_tool_calls") is False,
        stream=bool(fields.get("stream")),
        include_usage=options.get("include_usage", False),
        continuous_usage=options.get("continuous_usage_stats", False),
        extras=frozenset(("prompt_token_ids", "token_ids")) if fields.get("return_token_ids") else frozenset(),
    )


def is_chat(one: Capture) -> bool:
    return not one.request or one.target == "/v1/chat/completions"


def raw_view(body: bytes) -> dict[int, dict[str, Any]]:
    """What the recording says, choice by choice, without judging its form."""
    choices: dict[int, dict[str, Any]] = {}
    for payload in client.payloads(body):
        for choice in () if payload == client.DONE else payload.get("choices", ()):
            view = choices.setdefault(choice["index"], {"content": "", "calls": {}, "finish": None})
            view["content"] += choice["delta"].get("content") or ""
            view["finish"] = choice["finish_reason"] or view["finish"]
            for entry in choice["delta"].get("tool_calls") or ():
                call = view["calls"].setdefault(entry["index"], ["", "", ""])
                call[0] += entry.get("id") or ""
                call[1] += entry["function"].get("name") or ""
                call[2] += entry["function"].get("arguments") or ""
    return choices


def expected_view(body: bytes, asked: Asked) -> list[dict[str, Any]]:
    choices = []
    for _, view in sorted(raw_view(body).items()):
        calls = [[call[0], call[1].strip(), call[2] or "{}"] for _, call in sorted(view["calls"].items())]
        finish = view["finish"]
        if finish == "stop" and calls and asked.tool_choice is not ToolChoice.NAMED:
            finish = "tool_calls"
        if finish == "abort":
            finish = None  # and an error follows
        choices.append({"content": view["content"] or None, "calls": calls, "finish": finish})
    return choices


STREAMS = [one for one in captures.load() if one.is_stream and is_chat(one)]
ANSWERS = [
    one
    for one in captures.load()
    if not one.is_stream and is_chat(one) and one.status == 200 and b'"chat.completion"' in one.body
]


def whole_events(body: bytes) -> bytes:
    return EventSplitter().feed(body)


def translated(body: bytes, asked: Asked) -> bytes:
    translator = StreamTranslator(asked, form=FORM, new_id=cases.new_ids())
    return client.relayed(b"".join(map(translator.feed, split_events(body))) + translator.finish())


@pytest.mark.parametrize("one", STREAMS, ids=lambda one: one.name)
def test_a_recorded_stream_keeps_its_text_its_calls_and_its_end(one: Capture) -> None:
    asked, body = asked_of(one.request_body), whole_events(one.body)
    out = translated(body, asked)
    view = client.view_of_stream(out, asked, FORM)

    assert view["choices"] == expected_view(body, asked)
    is_broken = b'"error":' in body or b'"abort"' in body
    assert view["ending"] == ("error" if is_broken else "done" if body.endswith(b"data: [DONE]\n\n") else "cut")
    assert ("usage" in view) == (asked.include_usage and b'"choices":[],"usage"' in body)
    client.assert_agrees(view, SDK.view_of_stream(out))


@pytest.mark.parametrize("one", STREAMS, ids=lambda one: one.name)
def test_a_recorded_stream_is_the_same_however_it_is_cut(one: Capture) -> None:
    """And whether the translator learns from its events or not."""
    asked, body = asked_of(one.request_body), whole_events(one.body)
    splitter = EventSplitter()
    translator = StreamTranslator(asked, form=FORM, new_id=cases.new_ids(), is_fast=False)
    pieces = [body[start : start + 97] for start in range(0, len(body), 97)]
    out = b"".join(translator.feed(block) for piece in pieces if (block := splitter.feed(piece))) + translator.finish()

    assert list(client.payloads(client.relayed(out))) == list(client.payloads(translated(body, asked)))


@pytest.mark.parametrize("one", ANSWERS, ids=lambda one: one.name)
def test_a_recorded_answer_keeps_its_text_its_calls_and_its_end(one: Capture) -> None:
    """And the stream that is made of it says the same."""
    asked = asked_of(one.request_body)
    answers = [line for line in one.body.split(b"HTTP/1.1") if line.endswith(b"}")]
    for answer in answers:
        raw = json.loads(answer[answer.index(b"{") :])
        body, _ = translate_answer(answer[answer.index(b"{") :], asked, form=FORM, new_id=cases.new_ids())
        view = client.view_of_answer(body, asked, FORM)
        for choice, of_raw in zip(view["choices"], raw["choices"], strict=True):
            message = of_raw["message"]
            calls = message.get("tool_calls") or ()
            assert choice["content"] == (message["content"] or None)
            assert choice["calls"] == [[call["id"], *call["function"].values()] for call in calls]
            assert choice["finish"] == of_raw["finish_reason"]
        client.assert_agrees(view, SDK.view_of_answer(body))
        streamed = client.view_of_stream(as_stream(read_answer(body), asked), asked, FORM)
        assert streamed["choices"] == view["choices"]


def test_there_are_recordings() -> None:
    assert len(STREAMS) > 40
    assert len(ANSWERS) > 20
