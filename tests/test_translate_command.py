"""`devstral-router translate`."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from router.cli import DONE, UNUSABLE, USAGE, main
from router.errors import InvalidRequest
from router.relay.envelope import peek_json
from router.translate.asked import AnswerForm, ReasoningField
from router.translate.notes import Rule
from router.translate.profile import PRESETS, parse_profile
from router.translate_command import set_out, show_answer, show_request
from router.wire.sse import event_data, split_events
from tests.captures import capture
from tests.translate.strict import check_answer, check_chunk

ROOT = Path(__file__).resolve().parents[1]
TOOL = {"type": "function", "function": {"name": "mcp.fs/read", "description": "", "parameters": {}}}
CANONICAL = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
NAMED = {"model": "m", "messages": [{"role": "user", "content": "hi", "name": "bob"}]}
DEVELOPER = {"model": "m", "messages": [{"role": "developer", "content": "r"}, {"role": "user", "content": "hi"}]}
WIZARD = {"model": "m", "messages": [{"role": "wizard", "content": "hi"}]}
WITH_TOOL = {**CANONICAL, "tools": [TOOL], "stream_options": {"include_usage": True}, "stream": True}
CALL = {"id": "abcDEF123", "type": "function", "function": {"name": "mcp_fs_read", "arguments": {}}}


def bytes_of(payload: object) -> bytes:
    return json.dumps(payload, separators=(",", ":")).encode()


def answer(message: dict[str, Any], finish_reason: str = "stop") -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "logprobs": None, "finish_reason": finish_reason}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}


class Typed(io.TextIOWrapper):
    """Standard input with something in it."""

    def __init__(self, data: bytes, *, is_terminal: bool = False) -> None:
        super().__init__(io.BytesIO(data))
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put something into standard input."""

    def put(data: bytes, *, is_terminal: bool = False) -> None:
        monkeypatch.setattr(sys, "stdin", Typed(data, is_terminal=is_terminal))

    return put


Output = pytest.CaptureFixture[str]


def test_what_would_be_sent_is_printed(typed: Any, capsys: Output) -> None:
    typed(bytes_of(NAMED))

    assert main(["translate"]) == DONE

    out, err = capsys.readouterr()
    assert json.loads(out) == CANONICAL
    assert err == ""


def test_every_rule_and_place_is_listed_and_losses_are_marked(typed: Any, capsys: Output) -> None:
    typed(bytes_of({**DEVELOPER, "messages": [*DEVELOPER["messages"][:1], *NAMED["messages"]]}))

    assert main(["translate", "--explain", "--profile", "v13"]) == DONE

    out, err = capsys.readouterr()
    assert [message["role"] for message in json.loads(out)["messages"]] == ["system", "user"]
    assert err.startswith("Profile v13: mistral-common v13; ")
    assert "2 rules changed the request, and something of it got lost (!):" in err
    assert f"R1   {Rule.R1.value} (!)" in err
    assert f"R2   {Rule.R2.value}\n" in err
    assert "messages.1" in err


def test_a_request_in_which_nothing_changes_is_the_bytes_it_was() -> None:
    body = json.dumps(CANONICAL).encode()

    shown = show_request(body)

    assert shown.out == body + b"\n"
    assert shown.listing[-1] == "Nothing had to change in the request."


@pytest.mark.parametrize("body", [bytes_of(WIZARD), bytes_of({"model": "m", "messages": []}), b"not json", b"", b"[]"])
def test_a_refusal_is_printed_as_the_client_would_get_it(body: bytes, typed: Any, capsys: Output) -> None:
    typed(body)

    assert main(["translate", "--explain"]) == UNUSABLE

    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["type"] == "invalid_request_error"
    assert "refused" in err


@pytest.mark.parametrize("body", [b"", b"nope", b"[]", b"[1]", b"{", b'"x"', b'{"stream": 1}', b'{"a": "\xff"}'])
def test_what_cannot_be_read_gets_the_routers_own_error(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        peek_json(body)

    shown = show_request(body)

    assert shown.code == UNUSABLE
    assert json.loads(shown.out) == refusal.value.envelope()
    assert shown.listing == ("The request is refused.",), "no rule has refused it"


def test_what_a_rule_refuses_is_told_with_the_rule_and_the_place() -> None:
    listing = show_request(bytes_of(WIZARD)).listing

    assert listing[-1] == f"R37  {Rule.R37.value}: messages.0.role"


def test_halves_of_surrogate_pairs_are_mended_before_anything_is_refused() -> None:
    """R36"""
    shown = show_request(rb'{"messages": [{"role": "user", "content": "\ud800"}]}')

    assert shown.code == DONE
    assert f"R36  {Rule.R36.value}" in shown.listing


@pytest.mark.parametrize("profile", PRESETS)
def test_every_profile_can_be_named(profile: str) -> None:
    assert show_request(bytes_of(CANONICAL), profile=parse_profile(profile)).code == DONE


def test_a_profile_can_be_what_health_tells(typed: Any, capsys: Output) -> None:
    told = "mistral-common v13, vision, free ids, no bridge, strict tools"
    function = {"name": "mcp.fs/read", "description": "", "parameters": {}, "strict": True}
    typed(bytes_of({**CANONICAL, "tools": [{"type": "function", "function": function}]}))

    assert main(["translate", "--explain", "--profile", told]) == DONE

    out, err = capsys.readouterr()
    assert json.loads(out)["tools"][0]["function"]["strict"] is True
    assert err.startswith(f"Profile: {told}.\n")
    assert "mcp.fs/read -> mcp_fs_read" in err


def test_an_unknown_profile_is_a_wrong_command_line(capsys: Output) -> None:
    assert main(["translate", "--profile", "v99"]) == USAGE
    assert "strictest" in capsys.readouterr().err


def test_help_tells_how(capsys: Output) -> None:
    assert main(["translate", "--help"]) == DONE
    out = capsys.readouterr().out
    for word in ("--explain", "--answer", "--request", "v13-think", "devstral-router translate --explain <"):
        assert word in out


def test_an_answer_is_what_the_client_would_get() -> None:
    shown = show_answer(bytes_of(answer({"content": None, "tool_calls": [{"index": 0, **CALL}]})))

    found = json.loads(shown.out)
    check_answer(found)
    assert found["choices"][0]["message"]["tool_calls"] == [
        {"id": "abcDEF123", "type": "function", "function": {"name": "mcp_fs_read", "arguments": "{}"}}
    ]
    assert found["choices"][0]["finish_reason"] == "tool_calls"
    assert f"S2   {Rule.S2.value}" in shown.listing
    assert "       choices.0.message.tool_calls.0.index" in shown.listing


def test_an_answer_to_a_request_has_the_names_of_that_request(tmp_path: Path, typed: Any, capsys: Output) -> None:
    (tmp_path / "request.json").write_bytes(bytes_of(WITH_TOOL))
    typed(bytes_of(answer({"content": None, "tool_calls": [CALL]})))

    assert main(["translate", "--answer", "--request", str(tmp_path / "request.json")]) == DONE

    found = json.loads(capsys.readouterr().out)["choices"][0]
    assert found["message"]["tool_calls"][0]["function"] == {"name": "mcp.fs/read", "arguments": "{}"}


def test_without_tools_in_the_request_the_client_gets_no_calls() -> None:
    shown = show_answer(bytes_of(answer({"content": None, "tool_calls": [CALL]})), bytes_of(CANONICAL))

    assert "tool_calls" not in json.loads(shown.out)["choices"][0]["message"]


def test_a_request_that_is_refused_still_tells_what_it_asked_for() -> None:
    shown = show_answer(bytes_of(answer({"content": "x"})), bytes_of(WIZARD))

    assert json.loads(shown.out)["choices"][0]["message"]["content"] == "x"


@pytest.mark.parametrize("with_head", [False, True])
def test_a_stream_is_told_by_its_first_bytes(with_head: bool) -> None:
    recorded = capture("tekken-v13/tool-required-stream")
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" if with_head else b""

    shown = show_answer(head + recorded.body, recorded.request_body)

    events = split_events(shown.out)
    assert event_data(events[-1]) == b"[DONE]"
    for event in events[:-1]:
        check_chunk(json.loads(event_data(event) or b""))
    assert any(line.startswith("S1 ") for line in shown.listing)
    assert shown.notes == ()


def test_a_stream_without_a_request_keeps_its_calls() -> None:
    shown = show_answer(capture("tekken-v13/tool-required-stream").body)

    assert b'"tool_calls":[' in shown.out
    assert b'"finish_reason":"tool_calls"' in shown.out


def test_a_stream_that_was_cut_is_told_so() -> None:
    body = capture("tekken-v13/tool-required-stream").body
    cut = body[: body.rindex(b"data: [DONE]")]

    assert "no [DONE]" in show_answer(cut).notes[0]
    assert "within an event" in show_answer(cut + b"data: {").notes[0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"error":{"message":"m","type":"BadRequestError","param":null,"code":400}}', "m"),
        (b'{"object":"error","message":"flat","code":400}', "flat"),
        (b'{"detail":"Not Found"}', "Not Found"),
        (b"HTTP/1.1 401 Unauthorized\r\nserver: uvicorn\r\n\r\n" + b'{"error":"Unauthorized"}', "Unauthorized"),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "The backend answered 503 Service Unavailable."),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html><title>502 Bad Gateway</title></html>", "502 Bad Gateway"),
        (bytes_of(answer({"content": "x"}, "abort")), "The backend broke off its answer."),
    ],
)
def test_an_error_takes_openais_form(data: bytes, message: str) -> None:
    error = json.loads(show_answer(data).out)["error"]

    assert error["message"] == message
    assert not isinstance(error["code"], int)


@pytest.mark.parametrize(
    "data", [b"[1]", b'{"object": "list", "data": []}', b'{"foo":1}', b'{"object":"text_completion","choices":[]}']
)
def test_what_is_no_chat_answer_passes_and_is_told_so(data: bytes) -> None:
    shown = show_answer(data)

    assert (shown.out, shown.code) == (data + b"\n", DONE)
    assert "no chat answer" in shown.notes[0]


@pytest.mark.parametrize("data", [b"{", b"nope", b"<html></html>", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_what_is_neither_json_nor_events_is_told_so(data: bytes) -> None:
    shown = show_answer(data)

    assert (shown.out, shown.code) == (b"", UNUSABLE)
    assert "neither JSON nor a stream of events" in shown.notes[0]


@pytest.mark.parametrize("words", [["--answer"], ["--answer", "--explain"]])
@pytest.mark.parametrize("data", [b"", b" \n"])
def test_an_empty_answer_is_a_wrong_command_line(words: list[str], data: bytes, typed: Any, capsys: Output) -> None:
    typed(data)

    assert main(["translate", *words]) == USAGE
    assert "standard input is empty" in capsys.readouterr().err


def test_an_answer_takes_the_form_that_is_configured(typed: Any, capsys: Output) -> None:
    typed(bytes_of(answer({"content": None, "reasoning_content": "r", "tool_calls": [CALL]})))

    assert main(["translate", "--answer", "--reasoning", "reasoning", "--call-index"]) == DONE

    message = json.loads(capsys.readouterr().out)["choices"][0]["message"]
    assert message["reasoning"] == "r"
    assert "reasoning_content" not in message
    assert message["tool_calls"][0]["index"] == 0


def test_a_stream_has_reasoning_in_the_field_that_is_configured() -> None:
    """S17"""
    data = b"data: " + bytes_of({**HELLO, "choices": [{"index": 0, "delta": {"reasoning": "r"}}]}) + b"\n\n"

    shown = show_answer(data, form=AnswerForm(reasoning=ReasoningField.OFF))

    assert b'"r"' in show_answer(data).out
    assert b'"r"' not in shown.out


@pytest.mark.parametrize(
    "data",
    [
        b'{"choices": [7, {"message": {"tool_calls": [7, {"function": 7}, {"function": {"name": 7}}]}}, null]}',
        b'data: {"choices": [{"delta": {"tool_calls": 7}}]}\n\ndata: 7\n\n: comment\n\ndata: {\n\n',
    ],
)
def test_odd_answers_break_nothing(data: bytes) -> None:
    assert show_answer(data).out


HELLO = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ({"error": {"message": "EngineCore", "type": "InternalServerError", "param": None, "code": 500}}, "EngineCore"),
        ({"object": "error", "message": "flat", "code": 500}, "flat"),
        ({**HELLO, "choices": [{"index": 0, "delta": {}, "finish_reason": "abort"}]}, "broke off"),
    ],
)
def test_an_error_in_a_stream_takes_openais_form_and_ends_it(end: dict[str, Any], message: str) -> None:
    """S18"""
    chunk = {**HELLO, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hel"}}]}
    data = b"".join(b"data: " + one + b"\n\n" for one in (bytes_of(chunk), bytes_of(end), b"[DONE]"))

    shown = show_answer(data)

    error = json.loads(event_data(split_events(shown.out)[-1]) or b"")["error"]
    assert message in error["message"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "server_error"
    assert any(line.startswith("S18 ") for line in shown.listing)
    assert shown.notes == ()


def test_a_terminal_gets_lines() -> None:
    assert set_out(b'{"a":[1]}\n') == b'{\n  "a": [\n    1\n  ]\n}\n'
    assert set_out(b"data: x\n\n") == b"data: x\n\n"


def test_who_types_is_told_what_is_awaited(typed: Any, capsys: Output) -> None:
    typed(bytes_of(CANONICAL), is_terminal=True)

    assert main(["translate"]) == DONE
    assert "Ctrl-D" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--answer", "--request", "none.json"], "none.json cannot be read"),
        (["--answer", "--request", "a\0b"], "cannot be read"),
        (["--request", "x"], "--request goes with --answer"),
        (["--reasoning", "off"], "--reasoning goes with --answer"),
        (["--call-index"], "--call-index goes with --answer"),
        (["request.json"], "translate < request.json"),
    ],
)
def test_a_wrong_command_line_is_told(words: list[str], text: str, typed: Any, capsys: Output) -> None:
    typed(b"{}")

    assert main(["translate", *words]) == USAGE
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("request_body", [b"", b"nope", b"[1]"])
def test_a_request_that_is_none_is_told(request_body: bytes, tmp_path: Path, typed: Any, capsys: Output) -> None:
    path = tmp_path / "request.json"
    path.write_bytes(request_body)
    typed(bytes_of(answer({"content": "x"})))

    assert main(["translate", "--answer", "--request", str(path)]) == USAGE
    assert f"{path} is no request: The " in capsys.readouterr().err


def run(*words: str, data: bytes) -> subprocess.CompletedProcess[bytes]:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "router", "translate", *words]
    return subprocess.run(command, input=data, env=environ, capture_output=True, timeout=30, check=False)


def test_a_pipe_gets_the_bytes_whatever_the_terminals_encoding() -> None:
    body = json.dumps({**CANONICAL, "messages": [{"role": "user", "content": "Zürich ✓"}]}, ensure_ascii=False).encode()

    done = run("--explain", data=body)

    assert (done.returncode, done.stdout) == (DONE, body + b"\n")
    assert b"Nothing had to change" in done.stderr


def test_a_refusal_has_an_exit_code() -> None:
    done = run(data=bytes_of(WIZARD))

    assert done.returncode == UNUSABLE
    assert json.loads(done.stdout)["error"]["code"] == "unsupported_value"
    assert done.stderr == b""


def shell(redirection: str) -> subprocess.CompletedProcess[bytes]:
    """Run it with a request and an output or input that is not as usual."""
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    command = f"{sys.executable} -m router translate {redirection}"
    return subprocess.run(
        ["/bin/sh", "-c", command], input=bytes_of(CANONICAL), env=environ, capture_output=True, timeout=30, check=False
    )


@pytest.mark.parametrize(
    ("redirection", "text"), [(">&-", b"it is closed"), ("| true", b""), ("> /dev/full", b"No space left")]
)
def test_an_output_that_takes_nothing_ends_it_with_a_short_error(redirection: str, text: bytes) -> None:
    if "full" in redirection and not Path("/dev/full").exists():
        pytest.skip("no device that is full")

    done = shell(redirection)

    assert text in done.stderr
    assert len(done.stderr.splitlines()) <= 1
    assert done.returncode == (UNUSABLE if text else DONE), "behind a pipe the code is the reader's"


def test_without_standard_error_the_result_is_printed() -> None:
    done = shell("--explain 2>&-")

    assert (done.returncode, done.stdout) == (DONE, bytes_of(CANONICAL) + b"\n")


@pytest.mark.parametrize(
    ("redirection", "text"), [("<&-", b"input is closed"), ("< /proc/self/mem", b"cannot be read: Input/output error")]
)
def test_an_input_that_gives_nothing_is_a_wrong_command_line(redirection: str, text: bytes) -> None:
    if "proc" in redirection and not Path("/proc/self/mem").exists():
        pytest.skip("no file that cannot be read")

    done = shell(redirection)

    assert done.returncode == USAGE
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1
