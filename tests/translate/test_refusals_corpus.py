"""The error table of docs/translation.md, row by row: bodies as real servers send them, and what the client is told.

`SAME` as a message: the backend's own words.
"""

import json
from typing import Any

import pytest

from router.translate.refusals import Told, envelope, told, told_of_event
from tests import captures
from tests.translate import client

SAME = "*"
INVALID, SERVER = "invalid_request_error", "server_error"


def vllm(message: str, kind: str = "BadRequestError", *, param: str | None = None, code: int = 400) -> bytes:
    """vLLM 0.10.1 and later."""
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}}).encode()


def flat(message: str, kind: str = "BadRequestError", *, param: str | None = None, code: int = 400) -> bytes:
    """vLLM up to 0.10.0."""
    return json.dumps({"object": "error", "message": message, "type": kind, "param": param, "code": code}).encode()


def nginx(title: str) -> bytes:
    return f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n".encode()


def text_in(body: bytes) -> str:
    fields = json.loads(body)
    error = fields.get("error", fields)
    return str(error["message"] if isinstance(error, dict) else error)


# ---------------------------------------------------------------------- 400: what mistral_common says of messages

ABOUT_MESSAGES = [
    "Unexpected role 'user' after role 'tool'",
    "Unexpected role 'system' after role 'assistant'",
    "Unexpected role 'tool' after role 'user'",
    "Unknown message role: developer",
    "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant",
    "Tool call id was call_1 but must be a-z, A-Z, 0-9, with a length of 9.",
    "Tool call id was _49c89af0 but must be a-z, A-Z, 0-9, with a length of 9.",
    "Tool call IDs should be alphanumeric strings with length 9!",
    "Unexpected tool call id zzzzzzzz9 in tool results",
    "Duplicate tool call id 000000001 in assistant message",
    "Duplicate tool call id abcDEF123 in tool results",
    "Not the same number of function calls and responses",
    "Assistant message must have either content or tool_calls, but not both.",
    "Invalid assistant message: role='assistant' content='' tool_calls=None prefix=False",
    "Cannot set `add_generation_prompt` to True when the last message is from the assistant. Consider using "
    "`continue_final_message` instead.",
    "After the optional system message, conversation roles must alternate user and assistant roles except for tool "
    "calls and results.",
    "Only user, system, assistant and tool roles are supported",
]
ABOUT_TOOLS = [
    "Invalid tool schema: True is not of type 'array'",
    "Function name was get weather! but must be a-z, A-Z, 0-9, or contain underscores and dashes, with a maximum "
    "length of 64.",
]


@pytest.mark.parametrize("form", [vllm, flat])
@pytest.mark.parametrize("message", ABOUT_MESSAGES)
def test_what_is_wrong_with_the_messages_is_told_of_them(message: str, form: Any) -> None:
    assert told(400, form(message), we_hold_key=True) == Told(400, INVALID, None, "messages", message)


@pytest.mark.parametrize("form", [vllm, flat])
@pytest.mark.parametrize("message", ABOUT_TOOLS)
def test_what_is_wrong_with_the_tools_is_told_of_them(message: str, form: Any) -> None:
    assert told(400, form(message), we_hold_key=True) == Told(400, INVALID, None, "tools", message)


# ------------------------------------------------------------------------------- 400: the length of the context

TOO_LONG = [
    "This model's maximum context length is 1024 tokens. However, your prompt contains 3004 input tokens, which "
    "exceeds this limit even without any output tokens. Please reduce the length of the input prompt. "
    "(parameter=input_tokens, value=3004)",
    "This model's maximum context length is 32768 tokens. However, you requested 40000 tokens (39000 in the messages, "
    "1000 in the completion). Please reduce the length of the messages or completion.",
    "The prompt (total length 3004) is longer than the maximum model length of 1024.",
    "The decoder prompt (length 3004) is longer than the maximum model length of 1024. Make sure that "
    "`max_model_len` is no smaller than the number of text tokens.",
]


@pytest.mark.parametrize("param", ["input_tokens", "input_text", None])
@pytest.mark.parametrize("form", [vllm, flat])
@pytest.mark.parametrize("message", TOO_LONG)
def test_a_conversation_that_is_too_long_has_the_code_that_agents_wait_for(
    message: str, form: Any, param: str | None
) -> None:
    expected = Told(400, INVALID, "context_length_exceeded", "messages", message)

    assert told(400, form(message, param=param), we_hold_key=True) == expected


@pytest.mark.parametrize("param", ["max_tokens", None])
def test_a_limit_that_is_too_high_is_no_matter_of_the_conversation(param: str | None) -> None:
    """An agent that compacts its history here would do so for ever."""
    message = (
        "max_tokens=5000 cannot be greater than max_model_len=1024. Please request fewer output tokens. "
        "(parameter=max_tokens, value=5000)"
    )

    assert told(400, vllm(message, param=param), we_hold_key=True) == Told(400, INVALID, None, "max_tokens", message)


# ------------------------------------------------------------------------------------------ 400: what pydantic says


def test_the_path_of_a_field_is_the_clients_own() -> None:
    message = (
        "1 validation error:\n  {'type': 'float_parsing', 'loc': 'body.temperature', 'msg': 'Input should be a valid "
        "number, unable to parse string as a number', 'input': 'warm'}"
    )
    body = vllm(message, "Bad Request", param="body.temperature")

    assert told(400, body, we_hold_key=True) == Told(400, INVALID, None, "temperature", message)


def test_a_text_that_repeats_the_whole_input_is_cut() -> None:
    message = "19 validation errors:\n" + "  {'type': 'string_type', 'input': '" + "x" * 1_000_000 + "'}"
    one = told(400, vllm(message, "Bad Request", param="body.messages.0.content"), we_hold_key=True)

    assert (one.status, one.kind, one.code, one.param) == (400, INVALID, None, "messages.0.content")
    assert len(one.message) <= 2000
    assert one.message.startswith(message[:1900])


# ------------------------------------------------------------------------------------------------ the other rows

ROWS: dict[str, tuple[int, bytes, tuple[int, str, str | None, str | None], str]] = {
    "403": (403, nginx("403 Forbidden"), (403, INVALID, None, None), SAME),
    "403 as JSON": (403, vllm("No.", "PermissionDeniedError", code=403), (403, INVALID, None, None), "No."),
    "404 model": (
        404,
        vllm("The model `x` does not exist. Valid aliases: devstral.", "NotFoundError", param="model", code=404),
        (404, INVALID, "model_not_found", "model"),
        "The model `x` does not exist. Valid aliases: devstral.",
    ),
    "404 model, flat": (
        404,
        flat("The model `x` does not exist.", "NotFoundError", code=404),
        (404, INVALID, "model_not_found", "model"),
        "The model `x` does not exist.",
    ),
    "404 path": (404, b'{"detail":"Not Found"}', (404, INVALID, None, None), "Not Found"),
    "405": (405, b'{"detail":"Method Not Allowed"}', (405, INVALID, None, None), "Method Not Allowed"),
    "405 empty": (405, b"", (405, INVALID, None, None), SAME),
    "408": (408, b"", (504, SERVER, "timeout", None), SAME),
    "413": (413, nginx("413 Request Entity Too Large"), (413, INVALID, None, None), SAME),
    "422": (
        422,
        vllm("Cannot process.", "UnprocessableEntityError", param="messages", code=422),
        (422, INVALID, None, "messages"),
        "Cannot process.",
    ),
    "422 of FastAPI": (
        422,
        b'{"detail":[{"type":"missing","loc":["body","messages"],"msg":"Field required","input":{}}]}',
        (422, INVALID, None, "messages"),
        SAME,
    ),
    "429": (429, b'{"error":{"message":"Slow down."}}', (429, "rate_limit_error", "rate_limit_exceeded", None), SAME),
    "500": (
        500,
        vllm("EngineCore encountered an issue.", "InternalServerError", code=500),
        (500, SERVER, None, None),
        "EngineCore encountered an issue.",
    ),
    "500 empty message": (500, vllm("", "InternalServerError", code=500), (500, SERVER, None, None), SAME),
    "500 as text": (500, b"Internal Server Error", (500, SERVER, None, None), "Internal Server Error"),
    "501": (
        501,
        vllm("Not supported by this model.", "NotImplementedError", code=501),
        (501, INVALID, "unsupported", None),
        "Not supported by this model.",
    ),
    "502": (502, nginx("502 Bad Gateway"), (502, SERVER, "upstream_unavailable", None), SAME),
    "503 QueueOverflow": (
        503,
        vllm("The engine is currently busy and cannot accept new requests.", "Service Unavailable", code=503),
        (503, SERVER, "overloaded", None),
        "The engine is currently busy and cannot accept new requests.",
    ),
    "503 KV load failure": (
        503,
        vllm("KV cache load failed.", "ServiceUnavailableError", code=503),
        (503, SERVER, "overloaded", None),
        "KV cache load failed.",
    ),
    "503 of a proxy": (503, nginx("503 Service Temporarily Unavailable"), (503, SERVER, "overloaded", None), SAME),
    "504": (504, nginx("504 Gateway Time-out"), (504, SERVER, "timeout", None), SAME),
}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_the_table(row: str) -> None:
    status, body, expected, message = ROWS[row]
    one = told(status, body, we_hold_key=True)

    assert (one.status, one.kind, one.code, one.param) == expected
    assert message in (SAME, one.message)
    client.check_error(envelope(one))


# One of each form that was seen.
FORMS: dict[str, tuple[int, bytes, Told]] = {
    "e_vllm_400": (
        400,
        vllm("Unexpected role 'user' after role 'tool'"),
        Told(400, INVALID, None, "messages", "Unexpected role 'user' after role 'tool'"),
    ),
    "e_flat_400": (
        400,
        flat("Unknown message role: developer"),
        Told(400, INVALID, None, "messages", "Unknown message role: developer"),
    ),
    "e_str_401": (401, b'{"error":"Unauthorized"}', Told(401, INVALID, "invalid_api_key", None, "Unauthorized")),
    "e_detail_404": (404, b'{"detail":"Not Found"}', Told(404, INVALID, None, None, "Not Found")),
    "e_html_502": (502, nginx("502 Bad Gateway"), Told(502, SERVER, "upstream_unavailable", None, "502 Bad Gateway")),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_an_error_becomes_openais(form: str) -> None:
    status, body, expected = FORMS[form]

    assert told(status, body, we_hold_key=False) == expected


def test_a_key_that_the_router_holds_is_not_the_clients_fault() -> None:
    one = told(401, b'{"error":"Unauthorized"}', we_hold_key=True)

    assert (one.status, one.kind, one.code, one.param) == (502, SERVER, "upstream_auth", None)
    client.check_error(envelope(one))


def test_a_key_that_the_client_holds_is() -> None:
    one = told(401, b'{"error":"Unauthorized"}', we_hold_key=False)

    assert one == Told(401, INVALID, "invalid_api_key", None, "Unauthorized")


ODD_BODIES = [
    *(b"", b"\xff\xfe\x00", b"null", b"[]", b"0", b'"boom"', b"{}", b'{"error":null}', b'{"error":[]}', b'{"error":7}'),
    *(
        b'{"error":{}}',
        b'{"error":{"message":null,"code":{},"param":[],"type":3}}',
        b'{"detail":{}}',
        b'{"detail":[[]]}',
    ),
    *(b'{"detail":[{"loc":7,"msg":[]}]}', b"<html>", b"<!doctype html><title>\xc3", b'{"message":"', b"[" * 100_000),
    *(b'{"error":{"message":"\\ud800"}}', b'{"error":{"message":"x","param":"' + b"p" * 100_000 + b'"}}'),
]


@pytest.mark.parametrize(
    "status", [400, 401, 403, 404, 405, 408, 409, 413, 418, 422, 429, 500, 501, 502, 503, 504, 599]
)
@pytest.mark.parametrize("body", ODD_BODIES, ids=lambda body: repr(body[:30]))
def test_whatever_the_body_is_the_client_gets_an_error_of_openais_form(status: int, body: bytes) -> None:
    one = told(status, body, we_hold_key=False)
    payload = envelope(one)

    client.check_error(payload)
    json.dumps(payload, ensure_ascii=False).encode()
    assert 400 <= one.status <= 599
    assert len(json.dumps(payload)) < 20_000


# ------------------------------------------------------------------------------------------------- recorded errors

MESSAGES = (None, "messages")
# Name of the recording -> code and param. What is not here is judged by its form only.
RECORDED: dict[str, tuple[str | None, str | None]] = {
    **dict.fromkeys(("assistant-last-no-continue", "assistant-prefix-true", "err-assistant-empty"), MESSAGES),
    **dict.fromkeys(
        ("err-role-unknown", "err-system-middle", "err-tool-call-id-bad", "err-tool-id-unmatched"), MESSAGES
    ),
    **dict.fromkeys(("err-tool-without-call", "role-developer", "err-roles-assistant-assistant"), MESSAGES),
    **dict.fromkeys(("err-prompt-too-long", "err-prompt-too-long-stream"), ("context_length_exceeded", "messages")),
    **dict.fromkeys(
        ("err-wrong-model", "err-wrong-model-stream", "err-tokenize-wrong-model"), ("model_not_found", "model")
    ),
    **dict.fromkeys(
        ("err-prompt-plus-max-too-long", "err-max-tokens-zero", "err-max-tokens-negative"), (None, "max_tokens")
    ),
    **dict.fromkeys(("err-tool-choice-any", "err-tool-choice-bad", "err-tool-choice-no-tools"), (None, "tool_choice")),
    "err-tool-choice-unknown-name": (None, "tool_choice"),
    "err-tools-empty": (None, "tools"),
    "err-messages-missing": (None, "messages"),
    "err-temperature-string": (None, "temperature"),
    "err-temperature-negative": (None, "temperature"),
    "err-top-p": (None, "top_p"),
    "err-logprobs-too-many": (None, "logprobs"),
    "err-stream-options-no-stream": (None, "stream_options"),
    **dict.fromkeys(
        ("err-404-path", "err-405-method", "err-invalid-utf8", "err-n-zero", "err-bad-schema"), (None, None)
    ),
    "err-content-type-text": (None, None),
}
ERRORS = [one for one in captures.load() if one.status >= 400 and one.body.startswith(b"{")]


@pytest.mark.parametrize("one", ERRORS, ids=lambda one: one.name)
def test_recorded_errors_are_told_by_the_table(one: captures.Capture) -> None:
    answer = told(one.status, one.body, we_hold_key=False)
    fields = json.loads(one.body)

    client.check_error(envelope(answer))
    assert answer.status == one.status
    assert answer.kind == (INVALID if one.status < 500 else SERVER)
    if expected := RECORDED.get(one.name.partition("/")[2]):
        assert (answer.code, answer.param) == expected
    if "error" in fields and len(text_in(one.body)) <= 1900:
        assert answer.message == text_in(one.body) or not text_in(one.body)


def test_every_error_that_is_named_here_was_recorded() -> None:
    recorded = {one.name.partition("/")[2] for one in ERRORS}

    assert set(RECORDED) <= recorded


# ------------------------------------------------------------------------------------------ errors inside of streams

EVENTS: dict[str, tuple[Any, tuple[int, str, str | None, str | None]]] = {
    "engine dead": (json.loads(vllm("Dead.", "InternalServerError", code=500)), (500, SERVER, None, None)),
    "busy": (json.loads(vllm("Busy.", "Service Unavailable", code=503)), (503, SERVER, "overloaded", None)),
    "flat": (json.loads(flat("Dead.", "InternalServerError", code=500)), (500, SERVER, None, None)),
    "too long": (json.loads(vllm(TOO_LONG[0])), (400, INVALID, "context_length_exceeded", "messages")),
    "text": ({"error": "boom"}, (500, SERVER, None, None)),
    "code as text": (
        {"error": {"message": "Slow.", "code": "429"}},
        (429, "rate_limit_error", "rate_limit_exceeded", None),
    ),
    "no status": ({"error": {"message": "Odd.", "code": 7}}, (500, SERVER, None, None)),
}


@pytest.mark.parametrize("name", EVENTS)
def test_an_error_inside_of_a_stream_is_told_by_the_same_table(name: str) -> None:
    payload, expected = EVENTS[name]
    one = told_of_event(payload)

    assert (one.status, one.kind, one.code, one.param) == expected
    client.check_error(envelope(one))


@pytest.mark.parametrize(
    "payload", [None, 1, "x", [], {}, {"error": None}, {"error": {"code": True}}, {"error": {"code": 1e400}}]
)
def test_whatever_an_error_event_says_the_client_gets_openais_form(payload: Any) -> None:
    client.check_error(envelope(told_of_event(payload)))
