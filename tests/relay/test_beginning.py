"""Rules of router/relay/beginning.py."""

import json

import pytest

from router.relay.beginning import Sign, find_error, kind_of, sign_of


def event(payload: object, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(payload)}\n\n".encode()


def chunk(delta: object = None, **more: object) -> bytes:
    return event({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta or {}, **more}]})


@pytest.mark.parametrize(
    "raw",
    [
        chunk({"role": "assistant", "content": ""}, finish_reason=None),
        chunk({"role": "assistant", "content": None}),
        event({"object": "chat.completion.chunk", "choices": [], "usage": {"prompt_tokens": 1}}),
        event({"choices": [{"index": 0, "text": "", "finish_reason": None}]}),
        event({"type": "response.created"}, "response.created"),
        event({"type": "message_start", "message": {}}, "message_start"),
        event({"type": "ping"}, "ping"),
        b": keepalive\n\n",
    ],
)
def test_an_event_without_a_part_of_the_answer_is_no_beginning(raw: bytes) -> None:
    assert sign_of(raw) is Sign.NOTHING_YET


@pytest.mark.parametrize(
    "raw",
    [
        chunk({"content": "x"}),
        chunk({"reasoning": "x"}),
        chunk({"reasoning_content": "x"}),
        chunk({"tool_calls": [{"index": 0}]}),
        chunk({"content": ""}, finish_reason="stop"),
        event({"choices": [{"index": 0, "text": "x"}]}),
        event({"type": "response.output_text.delta", "delta": "x"}),
        event({"type": "content_block_delta"}),
        b"data: not json\n\n",
        b"data: [DONE]\n\n",
    ],
)
def test_text_reasoning_calls_and_finish_reasons_begin_the_answer(raw: bytes) -> None:
    assert sign_of(raw) is Sign.BEGINS


def test_vllms_error_event_is_told_in_openais_form_with_its_status() -> None:
    raw = event({"error": {"message": "busy", "type": "ServiceUnavailableError", "param": None, "code": 503}})
    error = find_error(raw)
    assert sign_of(raw) is Sign.ERROR
    assert error is not None
    assert (error.status, error.message) == (503, "busy")
    assert error.envelope()["error"]["code"] == "overloaded"


@pytest.mark.parametrize("name", ["", "error"])
def test_named_error_events_are_errors(name: str) -> None:
    raw = event({"type": "error", "error": {"type": "api_error", "message": "boom"}}, name)
    error = find_error(raw)
    assert error is not None
    assert (error.status, error.message) == (500, "boom")


@pytest.mark.parametrize(
    "payload", ['"x"', "null", "[1]", '{"error": "Unauthorized"}', '{"error": {"code": true}}', "{"]
)
def test_an_error_event_of_any_shape_has_a_message(payload: str) -> None:
    error = find_error(f"event: error\ndata: {payload}\n\n".encode())
    assert error is None or error.message


@pytest.mark.parametrize(
    "raw",
    [chunk({"content": '{"error": "in the text"}'}), chunk({"content": "error"}, error=None), b"data: [DONE]\n\n"],
)
def test_an_answer_that_speaks_of_errors_is_none(raw: bytes) -> None:
    assert find_error(raw) is None


def test_the_flat_error_of_older_servers_is_an_error_too() -> None:
    raw = event({"object": "error", "message": "dead", "type": "InternalServerError", "param": None, "code": 500})
    error = find_error(raw)
    assert sign_of(raw) is Sign.ERROR
    assert error is not None
    assert (error.status, error.message, error.kind) == (500, "dead", "server_error")


def test_an_error_with_a_type_of_its_own_beside_it_is_an_error_too() -> None:
    assert sign_of(event({"type": "server_error", "error": {"message": "boom"}})) is Sign.ERROR
    assert sign_of(event({"type": "response.created", "error": None})) is Sign.NOTHING_YET


@pytest.mark.parametrize("fields", ['"type":["x"]', '"type":{},"error":{"message":"a"}', '"object":[],"type":[]'])
def test_a_type_of_another_type_is_no_fault_of_ours(fields: str) -> None:
    event = b"data: {%b}\n\n" % fields.encode()
    assert sign_of(event) is (Sign.ERROR if "error" in fields else Sign.BEGINS)
    assert (find_error(event) is None) == ("error" not in fields)
    assert kind_of(event) == b""
