"""What a client makes of an answer: by openai-python's own code, and by a few lines of our own that must agree with it.

A view is what a client has at the end: {"choices": [{"content", "calls", "finish", "reasoning"}], "usage", "ending"}.
`content` is None where there is no text; `calls` are [id, name, arguments]; `ending` is "done", "error" or "cut".
"""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import openai
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from router.relay.beginning import find_error
from router.translate.asked import AnswerForm, Asked, ReasoningField, ToolChoice
from router.wire.sse import encode_event, event_data, split_events
from tests.translate import strict

try:
    import httpx2 as httpx  # what newer releases of openai-python stand on
except ImportError:  # pragma: no cover
    import httpx

DONE = "[DONE]"
REASONING_KEYS = {
    ReasoningField.OFF: (),
    ReasoningField.REASONING: ("reasoning",),
    ReasoningField.REASONING_CONTENT: ("reasoning_content",),
    ReasoningField.BOTH: ("reasoning", "reasoning_content"),
}
View = dict[str, Any]


def payloads(stream: bytes) -> Iterator[Any]:
    """Yield each event's JSON value, and DONE for [DONE]; comments are passed over."""
    for event in split_events(stream):
        data = event_data(event)
        if data is not None:
            yield DONE if data == b"[DONE]" else json.loads(data)


def relayed(stream: bytes) -> bytes:
    """Return what the relay sends of a translated stream: an error event ends it, in OpenAI's form (S18)."""
    sent = []
    for event in split_events(stream):
        if b"error" in event and (error := find_error(event)) is not None:
            return b"".join(sent) + encode_event(json.dumps(error.envelope()).encode())
        sent.append(event)
    return stream


# ------------------------------------------------------------------------------------------------ our own reading


class Joined:
    """Joins chunks as the docs of OpenAI tell, and fails where one does not keep to them."""

    def __init__(self, asked: Asked, form: AnswerForm) -> None:
        """`asked`, `form`: what may be there."""
        self._asked = asked
        self._keys = REASONING_KEYS[form.reasoning]
        self._extra = frozenset(self._keys) | asked.extras
        self._choices: dict[int, View] = {}
        self._same: tuple[Any, ...] | None = None
        self._usage: list[int] | None = None
        self._ending = "cut"
        self._error: dict[str, Any] | None = None

    def view(self, stream: bytes) -> View:
        """Return the view of a whole stream."""
        for payload in payloads(stream):
            assert self._ending == "cut", f"something comes behind the end: {payload}"
            if payload == DONE:
                self._ending = "done"
            elif "error" in payload:
                self._take_error(payload)
            else:
                self._take_chunk(payload)
        assert sorted(self._choices) == list(range(len(self._choices))), "a choice is missing"
        view: View = {"choices": [self._choices[index] for index in sorted(self._choices)], "ending": self._ending}
        if self._usage is not None:
            view["usage"] = self._usage
        if self._error is not None:
            view["error"] = self._error
        return view

    def _take_error(self, payload: Any) -> None:
        assert set(payload) == {"error"}, payload
        check_error(payload)
        self._error = payload["error"]
        self._ending = "error"

    def _take_chunk(self, chunk: Any) -> None:
        check_chunk_cached(chunk, self._extra)
        same = (chunk["id"], chunk["created"], chunk["model"])
        assert self._same in (None, same), "id, created or model change"
        self._same = same
        if (usage := chunk.get("usage")) is not None:
            if chunk["choices"]:
                assert self._asked.continuous_usage, "usage beside choices, and it was not asked for"
            else:
                assert self._asked.include_usage, "usage was not asked for"
                assert self._usage is None, "usage comes twice"
                assert all(choice["finish"] for choice in self._choices.values()), "usage comes before the end"
                self._usage = [usage["prompt_tokens"], usage["completion_tokens"]]
        elif not chunk["choices"]:
            raise AssertionError("a chunk that says nothing")
        for choice in chunk["choices"]:
            self._take_choice(choice, has_usage=usage is not None)

    def _take_choice(self, choice: Any, *, has_usage: bool) -> None:
        delta, finish = choice["delta"], choice.get("finish_reason")
        is_first = choice["index"] not in self._choices
        assert ("role" in delta) == is_first, "the role stands in the first chunk, and only there"
        if is_first:
            assert delta["role"] == "assistant"
            self._choices[choice["index"]] = {"content": None, "calls": [], "finish": None}
        view = self._choices[choice["index"]]
        assert view["finish"] is None, "something comes behind finish_reason"
        assert delta or finish or choice.get("logprobs") or has_usage, "a chunk that says nothing"
        self._take_texts(view, delta)
        self._take_calls(view, delta.get("tool_calls"))
        view["finish"] = finish

    def _take_texts(self, view: View, delta: Any) -> None:
        if "content" in delta:
            assert isinstance(delta["content"], str)
            view["content"] = (view["content"] or "") + delta["content"] or None
        told = [delta[key] for key in self._keys if key in delta]
        if told:
            assert len(told) == len(self._keys), "reasoning stands in one of two fields"
            assert all(text == told[0] for text in told)
            assert isinstance(told[0], str), "reasoning is not text"
            view["reasoning"] = view.get("reasoning", "") + told[0]

    def _take_calls(self, view: View, entries: Any) -> None:
        if entries is None:
            return
        assert entries, "an empty list of calls"
        assert self._asked.tools, "a call, and the client sent no tools"
        assert self._asked.tool_choice is not ToolChoice.NONE, "a call, and the client wanted none"
        indexes = [entry["index"] for entry in entries]
        assert len(set(indexes)) == len(indexes), "two entries for one call in one chunk"
        for entry in entries:
            self._take_call(view["calls"], entry)
        assert not self._asked.single_call or len(view["calls"]) == 1, "a second call, and the client wanted one"

    def _take_call(self, calls: list[list[str]], entry: Any) -> None:
        index, function = entry["index"], entry["function"]
        if index < len(calls):
            assert set(entry) == {"index", "function"}, f"a call's beginning comes twice: {entry}"
            assert set(function) == {"arguments"}, f"a call's name comes twice: {entry}"
            calls[index][2] += function["arguments"]
        else:
            assert index == len(calls), "a call is missing"
            assert set(entry) == {"index", "id", "type", "function"}, f"a call's beginning lacks something: {entry}"
            assert set(function) == {"name", "arguments"}, f"a call's beginning lacks something: {entry}"
            assert entry["type"] == "function"
            assert entry["id"]
            assert function["name"]
            calls.append([entry["id"], function["name"], function["arguments"]])


def assert_text_before_calls(stream: bytes) -> None:
    """Assert that no text comes behind a call, for streams of models that wrote it before: nothing is held too long."""
    called = set()
    for payload in payloads(stream):
        for choice in () if payload == DONE else payload.get("choices", ()):
            delta = choice["delta"]
            assert not (delta.get("content") and choice["index"] in called), "text that was held back comes too late"
            if delta.get("tool_calls"):
                called.add(choice["index"])


@cache
def _check_chunk_text(text: str, extra: frozenset[str]) -> None:
    strict.check_chunk(json.loads(text), extra=extra)


def check_chunk_cached(chunk: Any, extra: frozenset[str]) -> None:
    """Assert that a chunk is strictly OpenAI's; chunks that differ in their texts only are looked at once."""
    shape = json.loads(json.dumps(chunk))
    for choice in shape.get("choices") or ():
        delta = choice.get("delta") or {}
        if isinstance(delta.get("content"), str):
            delta["content"] = "x"
    if isinstance(shape.get("id"), str):
        shape["id"] = "x"
    _check_chunk_text(json.dumps(shape), extra)


def check_error(payload: Any) -> None:
    """Assert that it is OpenAI's error object: texts, and `code` never a number."""
    assert set(payload) == {"error"}, payload
    error = payload["error"]
    assert set(error) == {"message", "type", "param", "code"}, error
    assert isinstance(error["message"], str), error
    assert error["message"], error
    assert isinstance(error["type"], str), error
    assert isinstance(error["param"], str | None), error
    assert isinstance(error["code"], str | None), error


def view_of_stream(stream: bytes, asked: Asked, form: AnswerForm) -> View:
    """Return the view of a stream, having checked every chunk and their order."""
    return Joined(asked, form).view(stream)


def view_of_answer(answer: bytes, asked: Asked, form: AnswerForm) -> View:
    """Return the view of an answer in one piece, having checked it."""
    payload = json.loads(answer)
    keys = REASONING_KEYS[form.reasoning]
    extra = frozenset(keys) | asked.extras | ({"index"} if form.call_index else frozenset())
    strict.check_answer(payload, extra=extra)
    choices = []
    for choice in payload["choices"]:
        message = choice["message"]
        functions = [(call["id"], call["function"]) for call in message.get("tool_calls") or ()]
        assert message.get("tool_calls", True), "an empty list of calls"
        view = {
            "content": message["content"] or None,
            "calls": [[call_id, function["name"], function["arguments"]] for call_id, function in functions],
            "finish": choice["finish_reason"],
        }
        assert message["content"] is not None or view["calls"], "neither text nor calls, and content is null"
        told = [message[key] for key in keys if key in message]
        assert len(told) in (0, len(keys))
        assert all(text == told[0] for text in told)
        if told:
            view["reasoning"] = told[0]
        choices.append(view)
    joined: View = {"choices": choices, "ending": "done"}
    if payload.get("usage"):
        joined["usage"] = [payload["usage"]["prompt_tokens"], payload["usage"]["completion_tokens"]]
    return joined


# ---------------------------------------------------------------------------------------------- openai-python's


class Sdk:
    """openai-python, given scripted bytes for an answer."""

    def __init__(self) -> None:
        """Make the client once; it is the slow part."""
        self._body = b""
        self._type = ""
        transport = httpx.MockTransport(self._respond)
        self._client = openai.OpenAI(
            api_key="k",
            base_url="http://router.test/v1",
            max_retries=0,
            http_client=httpx.Client(transport=transport),
        )

    def _respond(self, request: Any) -> Any:
        return httpx.Response(200, headers={"content-type": self._type}, content=self._body)

    def view_of_stream(self, stream: bytes) -> View:
        """Return what `chat.completions.stream` has accumulated at the end."""
        self._body, self._type = stream, "text/event-stream"
        error = None
        with self._client.chat.completions.stream(model="m", messages=[]) as events:
            try:
                for _ in events:
                    pass
            except openai.APIError as failure:
                error = failure
            try:
                snapshot = events.current_completion_snapshot
            except AssertionError:  # nothing came
                return {"choices": [], "error": str(error)}
        view = _view_of_completion(snapshot)
        return view if error is None else {**view, "error": error.message}

    def view_of_chunks(self, stream: bytes) -> list[ChatCompletionChunk]:
        """Return the chunks that `create(stream=True)` gives out."""
        self._body, self._type = stream, "text/event-stream"
        return list(self._client.chat.completions.create(model="m", messages=[], stream=True))

    def view_of_answer(self, answer: bytes) -> View:
        """Return what `chat.completions.create` gives out."""
        self._body, self._type = answer, "application/json"
        return _view_of_completion(self._client.chat.completions.create(model="m", messages=[]))


def _view_of_completion(completion: ChatCompletion) -> View:
    choices = []
    for choice in completion.choices:
        message = choice.message
        calls = [[call.id, call.function.name, call.function.arguments] for call in message.tool_calls or ()]
        view = {"content": message.content or None, "calls": calls, "finish": choice.finish_reason}
        told = [text for key in ("reasoning", "reasoning_content") if (text := getattr(message, key, None)) is not None]
        if told:
            view["reasoning"] = told[0]
        choices.append(view)
    joined: View = {"choices": choices}
    if completion.usage is not None:
        joined["usage"] = [completion.usage.prompt_tokens, completion.usage.completion_tokens]
    return joined


def assert_agrees(view: View, of_sdk: View) -> None:
    """Assert that openai-python saw what we saw; it knows nothing of `ending`, and forgets usage that is not last."""
    assert of_sdk["choices"] == view["choices"]
    assert of_sdk.get("error") == (view["error"]["message"] if "error" in view else None)
    if "usage" in view:
        assert of_sdk.get("usage") == view["usage"]
