"""S16: streams made from whole answers."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from router.translate.asked import Asked, ToolChoice
from router.translate.mistral.answer import read_answer, translate_answer
from router.translate.mistral.emulate import DONE, as_stream
from router.translate.mistral.limits import MAX_ANSWER_VALUES, MAX_CHOICES, MAX_REPEATED
from router.wire.sse import event_data, split_events
from tests.captures import Capture, load
from tests.translate.strict import check_chunk

PLAIN = Asked()
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
CALLS = [
    {"id": "abcDEF123", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
    {"id": "abcDEF124", "type": "function", "function": {"name": "g", "arguments": "{}"}},
]


def answer(message: dict[str, Any], finish_reason: str = "stop", **of_choice: object) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason, **of_choice}
    return {
        **{"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "service_tier": None},
        **{"system_fingerprint": "vllm", "choices": [choice], "usage": USAGE},
    }


def chunks_of(payload: object, asked: Asked = PLAIN) -> list[dict[str, Any]]:
    stream = as_stream(payload, asked)
    assert stream.endswith(DONE)
    chunks = [json.loads(event_data(event) or b"") for event in split_events(stream)[:-1]]
    for chunk in chunks:
        check_chunk(chunk, extra=frozenset(("reasoning_content", "token_ids", "stop_reason", "prompt_token_ids")))
    return chunks


def deltas_of(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [choice["delta"] for chunk in chunks for choice in chunk["choices"]]


def test_a_choice_comes_as_role_reasoning_content_calls_and_reason() -> None:
    message = {"content": "Let me look.", "reasoning_content": "Hm.", "tool_calls": CALLS, "refusal": None}

    chunks = chunks_of(answer(message, "tool_calls"))

    assert deltas_of(chunks) == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "Hm."},
        {"content": "Let me look."},
        {"tool_calls": [{**CALLS[0], "index": 0}]},
        {"tool_calls": [{**CALLS[1], "index": 1}]},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * 5 + ["tool_calls"]


def test_every_chunk_names_the_same_answer() -> None:
    for chunk in chunks_of(answer({"content": "x"}), Asked(include_usage=True)):
        assert chunk["object"] == "chat.completion.chunk"
        assert [chunk[key] for key in ("id", "created", "model", "system_fingerprint")] == [
            "chatcmpl-1",
            1,
            "m",
            "vllm",
        ]
        assert "service_tier" not in chunk


def test_usage_comes_where_it_was_asked_for() -> None:
    """S14"""
    assert not any("usage" in chunk for chunk in chunks_of(answer({"content": "x"})))

    last = chunks_of(answer({"content": "x"}), Asked(include_usage=True))[-1]
    assert (last["choices"], last["usage"]) == ([], USAGE)

    continuous = chunks_of(answer({"content": "x"}), Asked(include_usage=True, continuous_usage=True))
    counts = [chunk["usage"]["completion_tokens"] for chunk in continuous]
    assert counts == [0, 0, 2, 2]


def test_a_refusal_is_told() -> None:
    assert {"refusal": "No."} in deltas_of(chunks_of(answer({"content": None, "refusal": "No."})))


LOGPROBS = {"content": [{"token": "x", "logprob": -0.5, "bytes": [120], "top_logprobs": []}], "refusal": None}


@pytest.mark.parametrize(
    ("message", "place"), [({"content": "x"}, 1), ({"content": None, "tool_calls": CALLS}, 1), ({"content": ""}, 1)]
)
def test_what_is_said_of_tokens_stands_with_what_they_say(message: dict[str, Any], place: int) -> None:
    """S24: also beside a first call, or at the end, where there is no text."""
    chunks = chunks_of(answer(message, logprobs=LOGPROBS, token_ids=[7], stop_reason="e"))

    found = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert [number for number, logprobs in enumerate(found) if logprobs] == [place]
    assert chunks[place]["choices"][0]["token_ids"] == [7]
    assert chunks[-1]["choices"][0]["stop_reason"] == "e"


def test_ids_of_the_prompt_stand_in_the_first_chunk() -> None:
    chunks = chunks_of({**answer({"content": "x"}), "prompt_token_ids": [1, 2]})

    assert [chunk.get("prompt_token_ids") for chunk in chunks] == [[1, 2], None, None]


def test_every_choice_is_streamed() -> None:
    """S22"""
    payload = answer({"content": "a"})
    payload["choices"].append({"index": 1, "message": {"role": "assistant", "content": "b"}, "finish_reason": "length"})

    chunks = chunks_of(payload)

    assert [chunk["choices"][0]["index"] for chunk in chunks] == [0, 0, 0, 1, 1, 1]
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (
            b'{"error": {"message": "EngineCore encountered an issue.", "type": "InternalServerError", "code": 500}}',
            "EngineC",
        ),
        (b'{"object": "error", "message": "flat", "code": 400}', "flat"),
        (b"<html>", "cannot be read"),
        (b"[]", "cannot be read"),
        (b'{"choices": {}}', "cannot be read"),
        (b'{"choices": []}', "cannot be read"),
        (b'{"choices": [7, {"message": null}]}', "cannot be read"),
        (b'{"choices": [{"message": {"content": "x"}}], "id": ' + b"[" * 900 + b"]" * 900 + b"}", "cannot be read"),
    ],
)
def test_what_is_no_answer_ends_with_an_error_and_without_done(body: bytes, text: str) -> None:
    stream = as_stream(read_answer(body), Asked())

    events = split_events(stream)
    assert len(events) == 1
    assert text in json.loads(event_data(events[0]) or b"")["error"]["message"]


@pytest.mark.parametrize(
    "payload",
    [
        {"choices": [None, 7, {"message": None}, {"message": {}}, {"message": {"tool_calls": 7, "content": 7}}]},
        {"choices": [{"message": {"tool_calls": [None, {}], "audio": 1}}], "usage": 7},
    ],
)
def test_odd_answers_break_nothing(payload: object) -> None:
    assert as_stream(payload, Asked(include_usage=True, continuous_usage=True)).endswith(DONE)


def recorded() -> Iterator[Capture]:
    for capture in load():
        is_chat = capture.request and "/chat/completions" in capture.target and capture.status == 200
        if is_chat and capture.is_whole and not capture.is_stream:
            yield capture


@pytest.mark.parametrize("capture", list(recorded()), ids=lambda capture: capture.name)
def test_a_client_that_collects_the_stream_has_the_answer(capture: Capture) -> None:
    """openai-python's own accumulator puts the chunks of recorded answers together again."""
    request = json.loads(capture.request_body)
    choice = request.get("tool_choice", "auto")
    asked = Asked(
        tools=frozenset(tool["function"]["name"] for tool in request.get("tools", ())),
        tool_choice=ToolChoice.NAMED if isinstance(choice, dict) else ToolChoice(choice),
        include_usage=True,
    )
    body, _ = translate_answer(capture.body, asked, new_id=lambda: "newID0001")
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for chunk in chunks_of(json.loads(body), asked):
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))

    whole = json.loads(body)
    found = state.current_completion_snapshot
    assert found.usage is not None
    assert found.usage.total_tokens == whole["usage"]["total_tokens"]
    for one, expected in zip(found.choices, whole["choices"], strict=True):
        assert one.finish_reason == expected["finish_reason"]
        assert (one.message.content or "") == (expected["message"]["content"] or "")
        calls = [(call.id, call.function.name, call.function.arguments) for call in one.message.tool_calls or ()]
        assert calls == [
            (call["id"], call["function"]["name"], call["function"]["arguments"])
            for call in expected["message"].get("tool_calls", ())
        ]


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":[%b{"message":{}}]}' % (b'{"message":{}},' * MAX_CHOICES),
        b'{"choices":[{"message":{"content":"a"}}],"x":[%b0]}' % (b"0," * MAX_ANSWER_VALUES),
    ],
    ids=["choices", "values"],
)
def test_what_holds_too_much_to_be_repaired_is_one_error(body: bytes) -> None:
    (event,) = split_events(as_stream(read_answer(body), PLAIN))
    assert json.loads(event_data(event) or b"")["error"]["code"] == "upstream_unavailable"


def test_what_stands_in_every_event_is_bounded() -> None:
    """1 MB in each of a thousand would be 1 GB."""
    long, calls = "x" * 10_000, [{**CALLS[0], "id": f"abcDEF{number:03}"} for number in range(100)]
    payload = answer({"content": None, "tool_calls": calls}, "tool_calls")
    payload |= {"id": long, "model": "\N{SNOWMAN}" * 10_000, "system_fingerprint": [long], "created": {"a": long}}
    payload["choices"][0]["index"] = long
    payload["usage"] = {**USAGE, "prompt_tokens": long, "prompt_tokens_details": {"cached_tokens": long}}

    stream = as_stream(payload, Asked(include_usage=True, continuous_usage=True))

    events = [json.loads(event_data(event) or b"") for event in split_events(stream)[:-1]]
    assert {event["id"] for event in events} == {"x" * MAX_REPEATED}
    assert {event["model"] for event in events} == {"\N{SNOWMAN}" * MAX_REPEATED}
    assert [event.get("system_fingerprint") for event in events[:2]] == [[long], None]
    assert [event.get("created") for event in events[:2]] == [{"a": long}, None]
    assert events[-1]["usage"] == payload["usage"], "which stands there once"
    assert len(stream) < 500_000, "of 100 events"


def test_an_id_as_long_as_the_bound_stays_as_it_is() -> None:
    payload = {**answer({"content": "a"}), "id": "x" * MAX_REPEATED, "model": "m" * MAX_REPEATED}

    assert {(chunk["id"], chunk["model"]) for chunk in chunks_of(payload)} == {(payload["id"], payload["model"])}
