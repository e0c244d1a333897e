"""Dialects at work: what backends get, and what clients get back."""

import asyncio
import json
from typing import Any

import orjson
import pytest

from router.errors import InvalidRequest
from router.relay.route import Job, Route
from router.relay.translation import Repair, Translation
from router.simulator.faults import Break
from router.simulator.settings import Settings
from router.translate import asked as forms
from router.translate.mistral.usual import LONGEST
from tests.front import CHAT, Front, broken, front, run
from tests.relay.scripted import DONE, END, HEAD, ROLE, TEXT, Asked, chunk, plain, says, scripted, stream

AUTO: dict[str, Any] = {"backend_options": [{"dialect": "auto"}]}
TOOL = {"type": "function", "function": {"name": "add", "description": "", "parameters": {"type": "object"}}}
USER = {"role": "user", "content": "hi"}
CHAT_ROUTE = Route("/v1/chat/completions", "POST", is_chat=True)
WHOLE: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "simulated-model",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "x"}, "logprobs": None, "finish_reason": "stop"}
    ],
}


def sent(cluster: Front, backend: int = 0) -> list[bytes]:
    """Return the bodies of conversations that a backend got, the oldest first."""
    requests = cluster.backends[backend].requests
    return [each.body for each in requests if each.target.endswith("/chat/completions")]


def events(body: bytes) -> list[Any]:
    """Return the parsed events of a stream, without its end mark."""
    parts = [part.removeprefix(b"data: ") for part in body.split(b"\n\n") if part.startswith(b"data: ")]
    assert parts[-1] == b"[DONE]"
    return [json.loads(part) for part in parts[:-1]]


def test_what_mistral_refuses_is_repaired_on_its_way() -> None:
    async def test() -> None:
        async with front(config=AUTO) as cluster:
            answer = await cluster.chat(messages=[{"role": "developer", "content": "r"}, {**USER, "name": "bob"}])

            assert answer.code == 200
            assert json.loads(sent(cluster)[0])["messages"] == [{"role": "system", "content": "r"}, USER]
            assert answer.headers["X-Router-Translation"] == "R1"
            assert await cluster.metric("router_translations_total", rule="R2") == 1

    run(test)


def test_a_request_that_needs_nothing_arrives_as_the_bytes_it_was() -> None:
    async def test() -> None:
        async with front(config=AUTO) as cluster:
            body = b'{"model":  "simulated-model", "messages": [{"content": "hi",  "role": "user"}], "x_mine": 1.50}'

            answer = await cluster.ask("/v1/chat/completions", body)

            assert answer.code == 200
            assert sent(cluster) == [body]
            assert "X-Router-Translation" not in answer.headers

    run(test)


def test_what_no_backend_could_take_reaches_none() -> None:
    async def test() -> None:
        async with front(config=AUTO) as cluster:
            answer = await cluster.chat(messages=[USER, {"role": "wizard", "content": "x"}])

            assert answer.code == 400
            error = json.loads(answer.body)["error"]
            assert (error["type"], error["code"]) == ("invalid_request_error", "unsupported_value")
            assert error["param"].startswith("messages.1")
            assert sent(cluster) == []
            assert await cluster.metric("router_requests_total", outcome="rejected") == 1

    run(test)


def test_other_dialects_pass_requests_and_answers_as_they_are() -> None:
    async def test() -> None:
        async with front() as cluster:
            body = json.dumps({**CHAT, "messages": [{**USER, "name": "bob"}], "stream": True}).encode()

            answer = await cluster.ask("/v1/chat/completions", body)

            assert sent(cluster) == [body]
            assert b"token_ids" in answer.body

    run(test)


@pytest.mark.parametrize("options", [{"dialect": "auto"}, {"dialect": "mistral"}])
def test_answers_are_strictly_openais(options: dict[str, str]) -> None:
    async def test() -> None:
        async with front(config={"backend_options": [options]}) as cluster:
            whole = json.loads((await cluster.chat()).body)
            streamed = (await cluster.chat(stream=True)).body

            assert "prompt_token_ids" not in whole
            assert "stop_reason" not in whole["choices"][0]
            assert b"token_ids" not in streamed
            assert events(streamed)[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
            assert await cluster.metric("router_translations_total", rule="S1") == 2

    run(test)


def test_answers_of_other_dialects_are_strict_where_that_is_configured() -> None:
    async def test() -> None:
        async with front(config={"translation": {"answers": "strict"}}) as cluster:
            assert b"token_ids" not in (await cluster.chat(stream=True)).body

    run(test)


def test_answers_stay_as_they_are_where_that_is_configured() -> None:
    async def test() -> None:
        async with front(config={**AUTO, "translation": {"answers": "as_is"}}) as cluster:
            assert b"token_ids" in (await cluster.chat(stream=True)).body

    run(test)


def test_names_of_functions_come_back_as_the_client_wrote_them() -> None:
    async def test() -> None:
        async with front(config=AUTO) as cluster:
            tool = {**TOOL, "function": {**TOOL["function"], "name": "mcp.fs/read"}}  # type: ignore[dict-item]
            choice = {"type": "function", "function": {"name": "mcp.fs/read"}}

            whole = json.loads((await cluster.chat(tools=[tool], tool_choice=choice)).body)
            streamed = (await cluster.chat(tools=[tool], tool_choice=choice, stream=True)).body

            assert whole["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "mcp.fs/read"
            names = [
                call["function"].get("name")
                for event in events(streamed)
                for choice in event["choices"]
                for call in choice["delta"].get("tool_calls", ())
            ]
            assert [name for name in names if name] == ["mcp.fs/read"]
            assert b"mcp.fs/read" not in sent(cluster)[0]

    run(test)


def test_a_stream_is_made_from_a_whole_answer_where_the_backend_loses_calls() -> None:
    async def test() -> None:
        config = {"backend_options": [{"dialect": "mistral", "stream_tools": "emulate"}]}
        async with front(config=config) as cluster:
            choice = {"type": "function", "function": {"name": "add"}}
            answer = await cluster.chat(
                tools=[TOOL], tool_choice=choice, stream=True, stream_options={"include_usage": True}
            )

            assert answer.headers["Content-Type"].startswith("text/event-stream")
            calls = [
                call
                for event in events(answer.body)
                for c in event["choices"]
                for call in c["delta"].get("tool_calls", ())
            ]
            assert calls[0]["function"]["name"] == "add"
            assert "usage" in events(answer.body)[-1]
            asked = json.loads(sent(cluster)[0])
            assert asked["stream"] is False
            assert "stream_options" not in asked
            assert await cluster.metric("router_translations_total", rule="S16") == 1

    run(test)


def test_without_tools_nothing_is_emulated() -> None:
    async def test() -> None:
        async with front(config={"backend_options": [{"dialect": "mistral", "stream_tools": "emulate"}]}) as cluster:
            await cluster.chat(stream=True)

            assert json.loads(sent(cluster)[0])["stream"] is True

    run(test)


def test_old_servers_are_found_to_lose_calls_by_their_version() -> None:
    async def test() -> None:
        async with front(Settings(version="0.12.0"), config=AUTO) as cluster:
            await cluster.chat(tools=[TOOL], stream=True)

            assert json.loads(sent(cluster)[0])["stream"] is False

    run(test)


def test_comments_keep_a_client_waiting_for_an_emulated_stream() -> None:
    async def test() -> None:
        config = {
            "backend_options": [{"dialect": "mistral", "stream_tools": "emulate"}],
            "timeouts": {"keepalive_after": 0.1},
        }
        async with front(Settings(ttft=0.5), config=config) as cluster:
            answer = await cluster.chat(tools=[TOOL], stream=True)

            assert answer.body.startswith(b": keepalive\n\n")
            assert events(answer.body)[-1]["choices"][0]["finish_reason"]

    run(test)


def test_each_backend_gets_the_request_in_its_own_dialect() -> None:
    async def test() -> None:
        options = [{"dialect": "mistral", "profile": "strictest", "weight": 100}, {"dialect": "openai"}]
        async with front(Settings(), Settings(), config={"backend_options": options}) as cluster:
            broken(cluster.backends[0], status=500)

            answer = await cluster.chat(messages=[{**USER, "name": "bob"}])

            assert answer.code == 200
            assert b"bob" not in sent(cluster, 0)[0]
            assert b"bob" in sent(cluster, 1)[0]
            assert "X-Router-Translation" not in answer.headers

    run(test)


def test_what_is_held_back_reaches_the_client_before_a_stream_breaks() -> None:
    async def test() -> None:
        async with front(config=AUTO) as cluster:
            broken(cluster.backends[0], break_as=Break.CUT, break_after=4)
            answer = await cluster.chat(stream=True)

            assert b"[DONE]" not in answer.body
            last = answer.body.split(b"\n\n")[-2]
            assert json.loads(last.removeprefix(b"data: "))["error"]["type"] == "server_error"

    run(test)


def test_the_status_page_tells_dialect_and_profile() -> None:
    async def test() -> None:
        async with front(config=AUTO) as cluster:
            [told] = json.loads((await cluster.ask("/health")).body)["backends"]

            assert told["dialect"] == "mistral"
            assert told["profile"].startswith("mistral-common")
            assert told["stream_tools"] == "passthrough"
            assert told["version"] == "0.33.0"

    run(test)


def test_an_answer_that_was_broken_off_is_made_elsewhere() -> None:
    async def test() -> None:
        broken_off = {**WHOLE, "choices": [{**WHOLE["choices"][0], "finish_reason": "abort"}]}
        config = {
            "retry": {"max_attempts": 2},
            "backend_options": [{"models": ["simulated-model"], "dialect": "mistral"}] * 2,
        }
        async with scripted(says(plain(200, broken_off)), says(plain(200, WHOLE)), config=config) as (cluster, _asked):
            for _ in range(2):
                answer = await cluster.chat()
                assert answer.code == 200
                assert json.loads(answer.body)["choices"][0]["finish_reason"] == "stop"
            assert await cluster.metric("router_attempts_total", outcome="stopping") == 1

    run(test)


def test_an_answer_that_nobody_can_make_whole_is_an_error() -> None:
    async def test() -> None:
        broken_off = {**WHOLE, "choices": [{**WHOLE["choices"][0], "finish_reason": "abort"}]}
        config = {"backend_options": [{"models": ["simulated-model"], "dialect": "mistral"}]}
        async with scripted(says(plain(200, broken_off)), config=config) as (cluster, _):
            answer = await cluster.chat()

            assert answer.code == 502
            assert json.loads(answer.body)["error"]["type"] == "server_error"

    run(test)


def test_a_stream_without_a_finish_reason_does_not_look_whole() -> None:
    async def test() -> None:
        config = {"backend_options": [{"models": ["simulated-model"], "dialect": "mistral"}]}
        async with scripted(says(stream(ROLE, TEXT, DONE)), config=config) as (cluster, _):
            answer = await cluster.chat(stream=True)

            assert DONE not in answer.body
            assert b'"error"' in answer.body.split(b"\n\n")[-2]

    run(test)


@pytest.mark.parametrize("escape", [b"\\ud83d", b"\\uDE00 x"])
def test_half_a_surrogate_pair_does_not_keep_a_request_out(escape: bytes) -> None:
    async def test() -> None:
        async with front(config=AUTO) as cluster:
            body = b'{"model":"simulated-model","messages":[{"role":"user","content":"a%bb"}]}' % escape

            answer = await cluster.ask("/v1/chat/completions", body)

            assert answer.code == 200
            assert rb"\ufffd" in sent(cluster)[0]
            assert await cluster.metric("router_translations_total", rule="R36") == 1

    run(test)


@pytest.mark.parametrize("streams", [False, True])
def test_names_come_back_even_where_answers_stay_as_they_are(streams: bool) -> None:
    async def test() -> None:
        async with front(config={**AUTO, "translation": {"answers": "as_is"}}) as cluster:
            tool = {**TOOL, "function": {**TOOL["function"], "name": "mcp.fs/read"}}  # type: ignore[dict-item]

            answer = await cluster.chat(tools=[tool], tool_choice="required", stream=streams)

            assert b'"mcp.fs/read"' in answer.body
            assert b"mcp_fs_read" not in answer.body

    run(test)


@pytest.mark.parametrize(
    "config",
    [
        {"backend_options": [{"dialect": "openai", "stream_tools": "emulate"}]},
        {
            "backend_options": [{"dialect": "mistral", "stream_tools": "emulate"}],
            "translation": {"answers": "as_is"},
        },
    ],
)
def test_streams_are_emulated_whatever_else_is_translated(config: dict[str, Any]) -> None:
    async def test() -> None:
        async with front(config=config) as cluster:
            await cluster.chat(tools=[TOOL], stream=True)

            assert json.loads(sent(cluster)[0])["stream"] is False

    run(test)


def test_a_refusal_tells_its_place_and_counts_as_a_rule() -> None:
    async def test() -> None:
        async with front(config=AUTO) as cluster:
            answer = await cluster.chat(messages=[{"role": "user", "content": [{"type": "file"}]}])

            assert answer.code == 400
            assert json.loads(answer.body)["error"]["param"] == "messages.0.content.0"
            assert await cluster.metric("router_translations_total", rule="R37") == 1

    run(test)


MISTRAL: dict[str, Any] = {"models": ["simulated-model"], "dialect": "mistral"}
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'


def thought(text: str) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"reasoning":"%b"}}]}\n\n' % text.encode()


def test_a_backend_whose_answer_is_left_out_or_held_back_for_long_is_at_work() -> None:
    """What the client has not got is no silence of the backend's."""

    async def test() -> None:
        async def thinks(asked: Asked) -> None:
            asked.writer.write(HEAD + chunk(ROLE))
            for number in range(10):
                asked.writer.write(chunk(thought(str(number))))
                await asyncio.sleep(0.1)
            asked.writer.write(chunk(TEXT) + chunk(FINISH) + chunk(DONE) + END)

        config = {
            "backend_options": [MISTRAL],
            "translation": {"reasoning": "off"},
            "timeouts": {"first_byte": 0.4, "idle": 5, "keepalive_after": 0.25},
        }
        async with scripted(thinks, config=config) as (cluster, asked):
            answer = await cluster.chat(stream=True)

            assert answer.code == 200
            assert len([one for one in asked if b"/chat/completions" in one.head]) == 1
            assert answer.body.endswith(DONE)
            assert b"reasoning" not in answer.body
            assert b": keepalive" in answer.body

    run(test)


def test_comments_come_while_a_call_that_leaked_is_held_back() -> None:
    async def test() -> None:
        async def leaks(asked: Asked) -> None:
            asked.writer.write(HEAD + chunk(ROLE) + chunk(TEXT))
            asked.writer.write(chunk(TEXT.replace(b'"x"', b'"[TOOL_CALLS]add[ARGS]{"')))
            await asyncio.sleep(0.6)
            asked.writer.write(chunk(TEXT.replace(b'"x"', b'"}"')) + chunk(FINISH) + chunk(DONE) + END)

        config = {"backend_options": [MISTRAL], "timeouts": {"keepalive_after": 0.2}}
        async with scripted(leaks, config=config) as (cluster, _):
            answer = await cluster.chat(stream=True, tools=[TOOL])

            text, _, rest = answer.body.partition(b": keepalive")
            assert b'"x"' in text
            assert b'"add"' in rest
            assert b"TOOL_CALLS" not in answer.body

    run(test)


def test_a_request_that_one_backend_cannot_take_goes_to_one_that_can() -> None:
    async def test() -> None:
        options = [{"dialect": "mistral", "profile": "v1"}, {"dialect": "mistral", "profile": "v13"}]
        async with front(Settings(), Settings(), config={"backend_options": options}) as cluster:
            for _ in range(4):
                assert (await cluster.chat(tools=[TOOL])).code == 200
            assert sent(cluster, 0) == []

    run(test)


def test_a_refusal_of_ours_does_not_use_up_the_trial_of_a_backend_that_recovers() -> None:
    async def test() -> None:
        config = {
            "backend_options": [MISTRAL],
            "retry": {"max_attempts": 1},
            "breaker": {"failures": 1, "open_for": 0.2},
        }
        # Two, as counts alone never take out the last one.
        async with scripted(says(plain(500, {}), plain(200, WHOLE)), config=config) as (cluster, _):
            await cluster.chat()
            await asyncio.sleep(0.3)
            assert (await cluster.chat(messages=[{"role": "wizard"}])).code == 400
            assert (await cluster.chat()).code == 200

    run(test)


def test_an_end_mark_without_its_blank_line_is_an_end_mark() -> None:
    async def test() -> None:
        last = json.loads(FINISH.removeprefix(b"data: "))
        last["usage"] = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        events_ = (ROLE, TEXT, b"data: " + json.dumps(last).encode() + b"\n\n", b"data: [DONE]\n")
        async with scripted(says(stream(*events_)), config={"backend_options": [MISTRAL]}) as (cluster, _):
            answer = await cluster.chat(stream=True, stream_options={"include_usage": True})

            assert events(answer.body)[-1]["usage"]["total_tokens"] == 2

    run(test)


def test_no_request_meets_a_backend_before_its_dialect_is_known() -> None:
    async def test() -> None:
        async with front(config=AUTO, ready=False) as cluster:
            while (answer := await cluster.chat(messages=[{**USER, "name": "bob"}])).code != 200:
                assert answer.code == 503
                await asyncio.sleep(0.01)

            assert all(b"bob" not in body for body in sent(cluster))

    run(test)


def test_a_request_is_translated_once_for_backends_of_one_profile() -> None:
    """Also where that is a refusal: hundreds of backends may have the profile."""

    async def test() -> None:
        options = [{"dialect": "mistral", "profile": "v13"}] * 3
        async with front(Settings(), Settings(), Settings(), config={"backend_options": options}) as cluster:
            dialects = cluster.app._dialects
            job = Job(CHAT_ROUTE, "", (), "", json.dumps({"messages": [{"role": "wizard"}]}).encode())
            translation = Translation(job, dialects, new_id=lambda: "abcDEF123")
            for backend in cluster.app.registry.backends:
                with pytest.raises(InvalidRequest, match="wizard") as caught:
                    translation.outgoing(backend.spec.name)
                assert caught.value.param == "messages.0.role"

            assert len(translation._requests) == 1

    run(test)


@pytest.mark.parametrize("rest", [b'data: {"choices":[{"index":0,"delta":{"con', b"data: [DO", TEXT.rstrip()])
def test_an_event_that_is_not_whole_is_not_sent_when_the_framing_ends(rest: bytes) -> None:
    async def test() -> None:
        config = {"backend_options": [MISTRAL]}
        async with scripted(says(stream(ROLE, TEXT, rest)), config=config) as (cluster, _):
            answer = await cluster.chat(stream=True)

            sent_events = [part.removeprefix(b"data: ") for part in answer.body.split(b"\n\n") if part]
            assert "error" in [json.loads(part) for part in sent_events][-1]
            assert answer.body.count(b'"x"') == 1

    run(test)


def test_a_long_answer_of_which_a_stream_is_made_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have 16 MiB, and while it is read nobody else is served."""
    (choice,) = WHOLE["choices"]
    message = {"role": "assistant", "content": "a" * LONGEST, "odd": 1}
    body = orjson.dumps({**WHOLE, "choices": [{**choice, "message": message}]})
    read: list[bytes] = []
    loads = orjson.loads
    monkeypatch.setattr(orjson, "loads", lambda data: read.append(data) or loads(data))

    asked = forms.Asked(tools=frozenset({"add"}))
    made = Repair(asked, forms.AnswerForm(), lambda: "abcDEF123", emulates=True).whole(body)

    assert len(read) == 1
    assert [choice["delta"] for event in events(made) for choice in event["choices"]] == [
        {"role": "assistant", "content": ""},
        {"content": "a" * LONGEST},
        {},
    ]
