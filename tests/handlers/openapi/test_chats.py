"""Rules of router/handlers/openapi/chats.py: its schemas hold for what a real vLLM was sent, and what it answered."""

import json

import pytest

from tests.captures import Capture, load
from tests.handlers.openapi.fitting import faults, public

# path -> the schemas of a request, of an answer, and of a stream's events
SCHEMAS = {
    "/v1/chat/completions": ("ChatRequest", "ChatCompletion", "ChatChunk"),
    "/v1/completions": ("CompletionRequest", "Completion", "Completion"),
    "/v1/responses": ("ResponseRequest", "Response", "ResponseEvent"),
    "/v1/messages": ("MessageRequest", "Message", "MessageEvent"),
}
RECORDED = [
    one for one in load() if one.request and one.method == "POST" and one.target in SCHEMAS and one.status == 200
]
DOCUMENT = public()


def name(one: Capture) -> str:
    return one.name


def test_there_are_recordings_of_each_api() -> None:
    assert {one.target for one in RECORDED} == set(SCHEMAS)


@pytest.mark.parametrize("one", RECORDED, ids=name)
def test_requests_and_answers_of_a_real_server_fit(one: Capture) -> None:
    request, answer, event = SCHEMAS[one.target]

    assert not faults(request, json.loads(one.request_body), DOCUMENT)
    if not one.is_stream:
        assert not faults(answer, json.loads(one.body), DOCUMENT)
        return
    lines = [line.removeprefix(b"data: ") for line in one.body.splitlines() if line.startswith(b"data: ")]
    events = [json.loads(line) for line in lines[: None if one.is_whole else -1] if line != b"[DONE]"]
    assert events
    for each in events:
        assert not faults("Error" if "error" in each else event, each, DOCUMENT)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ("ChatRequest", {"model": "m"}),
        ("ChatRequest", {"messages": []}),
        ("ChatRequest", {"messages": [{"content": "no role"}]}),
        ("ChatRequest", {"messages": [{"role": "user"}], "stream": "yes"}),
        ("ChatRequest", {"messages": [{"role": "user"}], "model": 7}),
        ("CompletionRequest", {"model": "m"}),
        ("ChatCompletion", {"id": "x", "object": "chat.completion.chunk", "choices": []}),
        ("MessageRequest", {"messages": [{"role": "user", "content": "Hi"}]}),
    ],
)
def test_what_is_wrong_does_not_fit(schema: str, value: object) -> None:
    assert faults(schema, value, DOCUMENT)


@pytest.mark.parametrize("schema", [request for request, _, _ in SCHEMAS.values()])
def test_requests_may_say_more_than_is_named(schema: str) -> None:
    assert DOCUMENT["components"]["schemas"][schema]["additionalProperties"] is True
