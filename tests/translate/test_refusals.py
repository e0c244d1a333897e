"""Errors of backends, in all forms, as OpenAI's."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.translate.refusals import MAX_MESSAGE, Told, envelope, told, told_of_event
from tests.captures import Capture, load

INVALID, SERVER = "invalid_request_error", "server_error"


def vllm(message: str, kind: str = "BadRequestError", code: int = 400, param: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}}).encode()


def said(status: int, body: bytes, *, we_hold_key: bool = False) -> Told:
    return told(status, body, we_hold_key=we_hold_key)


ORDER = "Unexpected role 'system' after role 'assistant'"
NO_MODEL = "The model `no-such-model` does not exist. Valid aliases: tiny-mistral."
TOO_LONG = "This model's maximum context length is 1024 tokens. However, your prompt contains 3004 input tokens."
TOO_MUCH = "max_tokens=5000 cannot be greater than max_model_len=1024. Please request fewer output tokens."


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (vllm(ORDER), None, "messages"),
        (vllm("Tool call id was call_1 but must be a-z, A-Z, 0-9, with a length of 9."), None, "messages"),
        (vllm("After the optional system message, conversation roles must alternate user/assistant"), None, "messages"),
        (
            vllm("Cannot set `add_generation_prompt` to True when the last message is from the assistant."),
            None,
            "messages",
        ),
        (vllm("tiny-mistral is not a multimodal model"), None, "messages"),
        (vllm("Invalid tool schema: True is not of type 'array'"), None, "tools"),
        (vllm("Function name was a.b but must be a-z, A-Z, 0-9"), None, "tools"),
        (vllm(TOO_LONG, param="input_tokens"), "context_length_exceeded", "messages"),
        (
            vllm("The prompt (length 9) is longer than the maximum model length of 8.", param="input_text"),
            "context_length_exceeded",
            "messages",
        ),
        (vllm(TOO_MUCH, param="max_tokens"), None, "max_tokens"),
        (vllm("Invalid value for tool_choice: any!", param="tool_choice"), None, "tool_choice"),
        (vllm("19 validation errors: ...", "Bad Request", param="body.messages.0.content"), None, "messages.0.content"),
        (vllm("1 validation error: Field required", "Bad Request", param="body"), None, None),
        (vllm("Grammar error: Invalid type: nope"), None, None),
    ],
)
def test_a_400_names_what_it_is_about(body: bytes, code: str | None, param: str | None) -> None:
    message = json.loads(body)["error"]["message"]

    assert said(400, body) == Told(400, INVALID, code, param, message)


@pytest.mark.parametrize(
    ("asked", "used", "code"), [(5000, 20, None), (1024, 20, None), (500, 1000, "context_length_exceeded")]
)
def test_a_shorter_conversation_is_asked_for_only_where_it_helps(asked: int, used: int, code: str | None) -> None:
    """vLLM up to 0.12 says both at once; a limit above the model's length is no matter of the conversation's."""
    text = (
        f"'max_tokens' or 'max_completion_tokens' is too large: {asked}. This model's maximum context length is 1024"
        f" tokens and your request has {used} input tokens ({asked} > 1024 - {used})."
    )

    found = said(400, vllm(text))

    assert (found.code, found.param) == (code, "messages" if code else "max_tokens")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (403, (403, INVALID, None)),
        (404, (404, INVALID, None)),
        (405, (405, INVALID, None)),
        (408, (504, SERVER, "timeout")),
        (413, (413, INVALID, None)),
        (415, (415, INVALID, None)),
        (422, (422, INVALID, None)),
        (429, (429, "rate_limit_error", "rate_limit_exceeded")),
        (500, (500, SERVER, None)),
        (501, (501, INVALID, "unsupported")),
        (502, (502, SERVER, "upstream_unavailable")),
        (503, (503, SERVER, "overloaded")),
        (504, (504, SERVER, "timeout")),
        (529, (529, SERVER, None)),
        (302, (502, SERVER, "upstream_unavailable")),
    ],
)
def test_each_status_has_its_type_and_code(status: int, expected: tuple[int, str, str | None]) -> None:
    found = said(status, b'{"error": {"message": "m", "code": %d}}' % status)

    assert (found.status, found.kind, found.code) == expected
    assert (found.message, found.param) == ("m", None)


def test_a_refused_key_is_the_clients_fault_only_where_it_is_the_clients_key() -> None:
    body = b'{"error":"Unauthorized"}'

    assert said(401, body) == Told(401, INVALID, "invalid_api_key", None, "Unauthorized")
    ours = said(401, body, we_hold_key=True)
    assert (ours.status, ours.kind, ours.code) == (502, SERVER, "upstream_auth")


def test_a_model_that_is_not_there_is_told_as_openai_tells_it() -> None:
    expected = Told(404, INVALID, "model_not_found", "model", NO_MODEL)

    assert said(404, vllm(NO_MODEL, "NotFoundError", 404, "model")) == expected
    assert said(404, json.dumps({"object": "error", "message": NO_MODEL, "code": 404}).encode()) == expected


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (400, b'{"object":"error","message":"flat","type":"BadRequestError","param":null,"code":400}', "flat"),
        (404, b'{"detail":"Not Found"}', "Not Found"),
        (
            422,
            b'{"detail":[{"loc":["body","messages",0],"msg":"Field required","type":"missing"}]}',
            "messages.0: Field required",
        ),
        (502, b"<html>\n<head><title>502 Bad Gateway</title></head><body>...", "502 Bad Gateway"),
        (502, b"<html>no title", "The backend answered 502 Bad Gateway."),
        (500, b"Internal Server Error", "Internal Server Error"),
        (500, b'"a JSON text"', "a JSON text"),
        (503, b"", "The backend answered 503 Service Unavailable."),
        (599, b"{}", "The backend answered 599."),
        (500, b'{"error":{"message":""}}', "The backend answered 500 Internal Server Error."),
        (
            500,
            b'{"error":{"message":null,"type":7,"param":[],"code":{}}}',
            "The backend answered 500 Internal Server Error.",
        ),
        (500, b"[1]", "The backend answered 500 Internal Server Error."),
        (500, b"caf\xe9", "caf\ufffd"),
        (400, b'{"detail":[7,{"msg":1},{"msg":"a","loc":"x"}]}', "a"),
        (400, b'{"detail":[{"msg":"a","loc":["body",null,"x"]}]}', "x: a"),
    ],
)
def test_the_words_are_found_in_any_form(status: int, body: bytes, message: str) -> None:
    assert said(status, body).message == message


def test_the_path_that_pydantic_names_is_the_param() -> None:
    body = b'{"detail":[{"loc":["body","messages",0],"msg":"Field required","type":"missing"}]}'

    assert said(422, body).param == "messages.0"


def test_words_are_bounded() -> None:
    """vLLM 0.12 repeats the whole input."""
    found = said(400, vllm("1 validation error: " + "x" * 1_000_000, param="body." + "y" * 10_000))

    assert len(found.message) == MAX_MESSAGE
    assert found.message.endswith("…")
    assert found.param is not None
    assert len(found.param) <= 200


def test_code_is_a_word_or_null_never_a_number() -> None:
    assert said(400, b'{"error":{"message":"m","code":"400"}}').code is None
    assert said(429, b'{"error":{"message":"m","code":"insufficient_quota"}}').code == "insufficient_quota"
    assert said(400, b'{"error":{"message":"m","code":"x%s"}}' % (b"x" * 100)).code is None


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        ({"error": {"message": "busy", "type": "Service Unavailable", "param": None, "code": 503}}, 503),
        ({"object": "error", "message": "busy", "code": 503}, 503),
        ({"error": {"message": "busy", "code": "503"}}, 503),
        ({"error": {"message": "busy"}}, 500),
        ({"error": {"message": "busy", "code": True}}, 500),
        ({"error": "busy"}, 500),
        ({"message": "busy", "code": 200}, 500),
    ],
)
def test_an_error_inside_of_a_stream_brings_its_status(payload: object, status: int) -> None:
    """S18"""
    found = told_of_event(payload)

    assert (found.status, found.kind, found.message) == (status, SERVER, "busy")


@pytest.mark.parametrize("payload", [None, [], 7, "x", {}, {"error": None}, {"error": {"message": {}}}])
def test_an_odd_error_inside_of_a_stream_is_an_error_all_the_same(payload: object) -> None:
    found = told_of_event(payload)

    assert found.status == 500
    assert found.message


def test_the_envelope_has_openais_four_fields() -> None:
    assert envelope(said(400, vllm(ORDER))) == {
        "error": {"message": ORDER, "type": INVALID, "param": "messages", "code": None}
    }


def refused() -> Iterator[Capture]:
    """Every error that a real vLLM server was seen to give."""
    for capture in load():
        if capture.request and capture.status >= 400 and capture.is_whole:
            yield capture


@pytest.mark.parametrize("capture", list(refused()), ids=lambda capture: capture.name)
def test_every_recorded_error_keeps_its_status_and_its_words(capture: Capture) -> None:
    found = said(capture.status, capture.body)

    assert found.status == capture.status
    assert found.kind == (INVALID if capture.status < 500 else SERVER)
    payload = json.loads(capture.body) if capture.body.startswith(b"{") else {}
    error = payload.get("error")
    words = error.get("message") if isinstance(error, dict) else error or payload.get("detail")
    assert not words or found.message == words.strip()[: len(found.message) - 1] + found.message[-1]
    assert found.code is None or not found.code.isdigit()
    assert not (found.param or "").startswith("body")


@settings(max_examples=200, deadline=None)
@given(
    st.integers(300, 599),
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["error", "message", "detail", "code", "type", "param", "loc", "msg"]), inner
            )
        ),
    ).map(lambda value: json.dumps(value).encode()),
    st.booleans(),
)
def test_any_body_becomes_an_error_that_says_something(status: int, body: bytes, we_hold_key: bool) -> None:
    found = told(status, body, we_hold_key=we_hold_key)

    assert found.status >= 400
    assert 0 < len(found.message) <= MAX_MESSAGE
    assert set(envelope(found)["error"]) == {"message", "type", "param", "code"}
