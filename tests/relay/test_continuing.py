"""Rules of router/relay/continuing.py: a stream that breaks is finished by another backend, and comes whole.

The simulator generates by a fixed rule, and goes on with what another one has begun, so each answer has one right text.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest

from router.backends.breaker import BreakerState
from router.exchange import AttemptOutcome
from router.simulator.faults import Break, Faults
from router.simulator.server import Simulator
from router.simulator.settings import Settings
from router.simulator.tokens import END, encode, packed
from tests.front import CHAT, Front, broken, front, merged, run, until

TOKENS = 12
MODES = ["text", "exact"]
SEAM = b": resumed on another backend\n\n"
_OWN = ("id", "created", "system_fingerprint")
CHATS, TEXTS = "/v1/chat/completions", "/v1/completions"


def settings(count: int = 2) -> list[Settings]:
    return [Settings(tokens=TOKENS) for _ in range(count)]


def config(mode: str, **more: Any) -> dict[str, Any]:
    """Backends may break as often as a test wants."""
    return {"resume": {"mode": mode}, "breaker": {"enabled": False}, **more}


def payloads(body: bytes) -> list[dict[str, Any]]:
    """The JSON of every event but the end mark."""
    datas = [event.removeprefix(b"data: ") for event in body.split(b"\n\n") if event.startswith(b"data: ")]
    return [json.loads(data) for data in datas if data != b"[DONE]"]


def text_of(body: bytes) -> str:
    choices = [choice for payload in payloads(body) for choice in payload.get("choices", [])]
    return "".join(choice.get("text") or choice.get("delta", {}).get("content") or "" for choice in choices)


def events_of(body: bytes) -> list[dict[str, Any]]:
    """Every event without what differs from one answer to the next, and what may stand at the end of one."""
    return [{key: value for key, value in one.items() if key not in _OWN} for one in payloads(body)]


def check_one_stream(body: bytes) -> None:
    """One id, one date, one role, one finish_reason, one end."""
    events = payloads(body)
    assert not [event for event in events if "error" in event], body
    assert len({(event["id"], event["created"], event["model"], event["object"]) for event in events}) == 1
    choices = [choice for event in events for choice in event["choices"]]
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] in (["stop"], ["length"])
    assert len([choice for choice in choices if "role" in choice.get("delta", {})]) <= 1
    assert body.endswith(b"data: [DONE]\n\n")
    assert body.count(b"[DONE]") == 1


async def asked(cluster: Front, path: str, body: dict[str, object], **faults: Any) -> bytes:
    """Ask until the first backend, which has these faults, has been asked; return that answer."""
    first = cluster.backends[0]
    broken(first, **faults)
    before = first.figures.struck
    for _ in range(64):  # it failed before, so it is asked seldom
        answer = bytes((await cluster.ask(path, {**body, "stream": True})).body)
        if first.figures.struck > before:
            broken(first)
            return answer
    raise AssertionError("the first backend is never asked")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", [Break.CUT, Break.RESET, Break.ERROR, Break.GARBAGE])
@pytest.mark.parametrize("path", [CHATS, TEXTS])
def test_a_stream_that_breaks_after_any_event_comes_whole(mode: str, how: Break, path: str) -> None:
    async def test() -> None:
        async with front(*settings(), config=config(mode)) as cluster:
            request: dict[str, object] = {"model": "simulated-model", "stream_options": {"include_usage": True}}
            request |= {"messages": CHAT["messages"]} if path == CHATS else {"prompt": "Say hello."}
            whole = bytes((await cluster.ask(path, {**request, "stream": True})).body)
            events = len(payloads(whole))  # the last one is the usage, before it comes the finish_reason
            for after in range(2 if path == CHATS else 1, events + 1):
                body = await asked(cluster, path, request, break_as=how, break_after=after)
                check_one_stream(body)
                if how is not Break.RESET:  # which may lose what was sent last
                    assert body.count(SEAM) == (after < events - 1), "what is over is not asked for again"
                assert events_of(body) == events_of(whole), after
            resumed = await cluster.metric("router_streams_resumed_total", mode=mode, result="ok")
            assert resumed == TOKENS + 1 or (how is Break.RESET and 0 < resumed <= TOKENS)
            assert await cluster.metric("router_streams_resumed_total", result="failed") == 0

    run(test)


@pytest.mark.parametrize("dialect", ["openai", "mistral"])
def test_text_that_a_backend_held_back_when_it_broke_is_not_lost(dialect: str) -> None:
    """vLLM keeps what may begin a mark until the next token; here every other letter may."""

    async def test() -> None:
        holding = [Settings(tokens=TOKENS, held_back="aeiost ")] * 2
        own = config("exact", backend_options=[{"dialect": dialect}] * 2)
        async with front(*holding, config=own) as cluster:
            request = {**CHAT, "stream_options": {"include_usage": True}}
            whole = bytes((await cluster.ask(CHATS, {**request, "stream": True})).body)
            rest = 0  # texts that a token was told a part of
            for after in range(2, len(payloads(whole)) + 1):
                body = await asked(cluster, CHATS, request, break_as=Break.CUT, break_after=after)
                check_one_stream(body)
                assert text_of(body) == text_of(whole), after
                assert events_of(body)[-1] == events_of(whole)[-1], "the usage"
                rest += len(payloads(body)) > len(payloads(whole))
            assert rest > 3
            assert await cluster.metric("router_streams_resumed_total", mode="text") == 0

    run(test)


def by_ids(text: str, *ids: int, prompt: list[int] | None = None) -> bytes:
    """An event of a chat of which ids were asked for; with `prompt`: the first one."""
    delta = {"content": text} if prompt is None else {"role": "assistant", "content": ""}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None, "token_ids": [*ids]}
    head = {"id": "chatcmpl-a", "object": "chat.completion.chunk", "created": 7, "model": "simulated-model"}
    chunk = {**head, "choices": [choice], "prompt_token_ids": prompt}
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


WORD, NEXT = encode(" lorem ipsum")
HOLDS, HALF = packed(b" <"), packed("\u00e9".encode()[:1])
# Goes on by ids, with servers that have listed what they serve.
LISTS: dict[str, Any] = {"resume": {"mode": "exact"}, "health": {"enabled": True}, "backend_options": [{}, {}]}
TOLD = by_ids("", prompt=[1, 3, 400, 4]) + by_ids(" lorem", WORD)


@pytest.mark.parametrize(
    ("events", "goes_on"),
    [
        (by_ids(" ipsum", NEXT), " lorem ipsum dolor"),
        (by_ids(" ", HOLDS), " lorem <"),
        (by_ids(" ipsum ", NEXT, HOLDS), " lorem ipsum <"),
        (by_ids(" ipsum ", NEXT, HOLDS, HALF), " lorem ipsum <"),
        (by_ids(" ipsum", NEXT, HALF), " lorem ipsum dolor"),
        (by_ids(" ipsum", NEXT, END), " lorem ipsum dolor"),
        (by_ids(" ", HOLDS, END), " lorem <"),
        (by_ids("", END) + by_ids(" ipsum", NEXT) + by_ids(" ", HOLDS), " lorem ipsum <"),
        (by_ids("", END) + by_ids(" ipsum", NEXT), " lorem ipsum dolor"),
    ],
    ids=[
        *("all", "held", "held-beside", "held-and-half", "half", "special"),
        *("held-and-special", "held-behind-special", "behind-special"),
    ],
)
def test_by_ids_nothing_is_lost_or_said_that_is_no_text(events: bytes, goes_on: str) -> None:
    """What the last tokens say is told, what says nothing yet is generated again."""

    async def test() -> None:
        async with half_told(lambda: HEAD + TOLD + events, **LISTS) as cluster:
            body = await resumed_of(cluster, max_tokens=8)
            check_one_stream(body)
            assert text_of(body).startswith(goes_on)
            assert "</s>" not in text_of(body)
            assert "\ufffd" not in text_of(body)
            assert await cluster.metric("router_streams_resumed_total", mode="exact", result="ok") == 1

    run(test)


def ids_of(body: bytes) -> list[int]:
    choices = [choice for payload in payloads(body) for choice in payload["choices"]]
    return [one for choice in choices for one in choice.get("token_ids") or ()]


WORDS = encode(" lorem ipsum dolor amet")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("events", "others"),
    [
        (by_ids("", WORDS[2]), []),
        (by_ids("", WORDS[2]) + by_ids("", WORDS[3]), []),
        (by_ids("", WORDS[2], WORDS[3]), []),
        (by_ids("", WORDS[2]) + by_ids("", HALF), [HALF]),
        (by_ids("", HALF), [HALF]),
    ],
    ids=["one", "two", "two-in-one", "another-behind", "another"],
)
def test_a_client_that_asked_for_ids_gets_each_once(mode: str, events: bytes, others: list[int]) -> None:
    """Those without text are generated again. Where others come in their stead, all are told: none is taken back."""

    async def test() -> None:
        own = {**LISTS, "resume": {"mode": mode}}
        async with half_told(lambda: HEAD + TOLD + by_ids(" ipsum", NEXT) + events, **own) as cluster:
            body = await resumed_of(cluster, max_tokens=8, return_token_ids=True)
            check_one_stream(body)
            assert text_of(body).startswith(" lorem ipsum dolor amet")
            told = ids_of(body)
            for one in others:
                told.remove(one)
            assert told[:4] == WORDS
            assert len(told) == 8
            assert told == encode(text_of(body))
            assert not any(says_nothing(choice) for choice in choices_of(body))

    run(test)


def choices_of(body: bytes) -> list[dict[str, Any]]:
    events = [json.loads(event[6:]) for event in body.split(b"\n\n") if event.startswith(b"data: {")]
    return [choice for event in events for choice in event["choices"]]


def says_nothing(choice: dict[str, Any]) -> bool:
    return not any(choice["delta"].values()) and choice["finish_reason"] is None and choice.get("token_ids") == []


async def resumed_of(cluster: Front, path: str = CHATS, **more: object) -> bytes:
    """Ask until the stream was one that broke; return it."""
    for _ in range(16):
        body = bytes((await cluster.ask(path, {**CHAT, "stream": True, **more})).body)
        if b'"chatcmpl-a"' in body:
            return body
    raise AssertionError("nobody has asked the server that breaks off")


def test_a_chat_goes_on_with_its_text_where_nobody_tells_the_text_of_ids() -> None:
    """What was held back would be lost by ids."""
    rest = by_ids("<ph") + b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET"):
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(LISTED), LISTED)
        elif head.startswith(b"POST /v1/chat/completions "):
            body = await reader.readuntil(b"}")
            while not body.endswith(b"}") or body.count(b"{") > body.count(b"}"):
                body += await reader.readuntil(b"}")
            answer = HEAD + (rest if b"continue_final_message" in body else TOLD + by_ids(" ", HOLDS))
        else:
            answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        writer.write(answer)
        writer.close()

    async def test() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with front(urls=[url], config=config("exact")) as cluster:
            body = bytes((await cluster.chat(stream=True)).body)
            check_one_stream(body)
            assert text_of(body) == " lorem <ph"
            assert await cluster.metric("router_streams_resumed_total", mode="text", result="ok") == 1
        server.close()

    run(test)


def test_a_text_completion_goes_on_by_ids_behind_special_tokens_too() -> None:
    """No parser holds anything back there."""
    head = {"id": "chatcmpl-a", "object": "text_completion", "created": 7, "model": "simulated-model"}

    def said(text: str, *ids: int, prompt: list[int] | None = None) -> bytes:
        choice = {"index": 0, "text": text, "finish_reason": None, "token_ids": [*ids], "prompt_token_ids": prompt}
        return b"data: " + json.dumps({**head, "choices": [choice]}, separators=(",", ":")).encode() + b"\n\n"

    async def test() -> None:
        told = HEAD + said(" lorem", WORD, prompt=[1, 400]) + said("", END) + said(" ipsum", NEXT)
        async with half_told(lambda: told, **LISTS) as cluster:
            body = await resumed_of(cluster, TEXTS, prompt="Go", max_tokens=8)
            check_one_stream(body)
            assert text_of(body).startswith(" lorem ipsum dolor")
            assert await cluster.metric("router_streams_resumed_total", mode="exact", result="ok") == 1

    run(test)


def test_text_that_is_owed_comes_with_the_end_where_the_limit_is_reached() -> None:
    async def test() -> None:
        async with half_told(lambda: HEAD + TOLD + by_ids(" ", HOLDS), **LISTS) as cluster:
            body = await resumed_of(cluster, max_tokens=2, stream_options={"include_usage": True})
            check_one_stream(body)
            assert text_of(body) == " lorem <"
            assert payloads(body)[-1]["usage"]["completion_tokens"] == 2
            assert len([one for one in cluster.backends[0].requests if b'"prompt":[' in one.body]) == 0

    run(test)


@pytest.mark.parametrize("mode", MODES)
def test_a_stream_that_is_over_does_not_use_up_the_trial_of_a_backend_that_recovers(mode: str) -> None:
    """It is asked what the tokens are, or say; the next request tries it."""

    async def test() -> None:
        own = {**LISTS, "resume": {"mode": mode}, "breaker": {"enabled": True, "failures": 1, "open_for": 1.0}}

        def told() -> bytes:
            time.sleep(1.1)  # when the stream breaks, the trial of the other one is due
            return HEAD + TOLD + by_ids(" ipsum", NEXT)

        async with half_told(told, **own) as cluster:
            registry = cluster.app.registry
            other = registry.backends[1]
            breaker = other.breaker
            registry.report(other, AttemptOutcome.SERVER_ERROR, now=time.monotonic(), jitter=0.0)
            assert breaker.state is BreakerState.OPEN
            body = bytes((await cluster.chat(stream=True, max_tokens=2)).body)
            check_one_stream(body)
            assert text_of(body) == " lorem ipsum"
            assert breaker.state is BreakerState.HALF_OPEN, "it was picked"
            assert breaker.allows(time.monotonic())

    run(test)


@pytest.mark.parametrize("mode", MODES)
def test_a_stream_that_nobody_can_go_on_with_has_waited_in_the_queue_once(mode: str) -> None:
    async def test() -> None:
        limits: dict[str, Any] = {**LISTS, "resume": {"mode": mode}, "overload": {"queue_timeout": 1.0}}
        limits["backend_options"] = [{}, {"max_connections": 1}]
        async with half_told(lambda: HEAD + TOLD, **limits) as cluster:
            broken(cluster.backends[0], hang=True)
            waiting = []
            while not cluster.backends[0].figures.struck:
                waiting.append(asyncio.ensure_future(cluster.chat(stream=True)))
                await asyncio.sleep(0.2)
            body = bytes((await cluster.chat(stream=True)).body)
            assert payloads(body)[-1]["error"]["code"] == "upstream_unavailable", body
            await asyncio.gather(*waiting[:-1])
            timeouts = await cluster.metric("router_queue_rejected_total", reason="timeout")
            assert timeouts == len(waiting), "all that broke, but for the one that hangs"
            waiting[-1].cancel()

    run(test)


@pytest.mark.parametrize("mode", MODES)
def test_a_stream_that_breaks_twice_is_finished_by_the_third(mode: str) -> None:
    async def test() -> None:
        async with front(*settings(3), config=config(mode)) as cluster:
            whole = bytes((await cluster.chat(stream=True)).body)
            for backend in cluster.backends[:2]:
                broken(backend, break_as=Break.CUT, break_after=4)
            bodies = [bytes((await cluster.chat(stream=True)).body) for _ in range(6)]
            assert 2 in [body.count(SEAM) for body in bodies]
            for body in bodies:
                check_one_stream(body)
                assert events_of(body) == events_of(whole)

    run(test)


@pytest.mark.parametrize("mode", MODES)
def test_a_backend_that_is_alone_finishes_its_own_stream(mode: str) -> None:
    async def test() -> None:
        async with front(*settings(1), config=config(mode)) as cluster:
            whole = bytes((await cluster.chat(stream=True)).body)
            broken(cluster.backends[0], break_as=Break.CUT, break_after=4, count=1)
            body = bytes((await cluster.chat(stream=True)).body)
            assert body.count(SEAM) == 1
            assert events_of(body) == events_of(whole)

    run(test)


@pytest.mark.parametrize("attempts", [1, 2])
def test_so_many_further_backends_are_asked(attempts: int) -> None:
    async def test() -> None:
        limits = config("text", resume={"mode": "text", "max_attempts": attempts})
        async with front(*settings(4), config=limits) as cluster:
            for backend in cluster.backends:
                broken(backend, break_as=Break.CUT, break_after=4)
            body = bytes((await cluster.chat(stream=True)).body)
            assert body.count(SEAM) == attempts
            assert payloads(body)[-1]["error"]["code"] == "upstream_unavailable"
            assert b"[DONE]" not in body
            assert sum(backend.figures.struck for backend in cluster.backends) == attempts + 1
            assert await cluster.metric("router_streams_resumed_total", result="failed") == 1
            assert await cluster.metric("router_requests_total", outcome="broken") == 1

    run(test)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("path", "more"),
    [
        (CHATS, {"max_tokens": 5}),
        (CHATS, {"max_completion_tokens": 5, "min_tokens": 2}),
        (CHATS, {"max_tokens": 50, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}),
        (CHATS, {"stop": ["nowhere in the text"]}),
        (CHATS, {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "none"}),
        (CHATS, {"return_token_ids": True}),
        (CHATS, {"seed": 7, "temperature": 0}),
        (CHATS, {"messages": [{"role": "user", "content": 'Grüße \U0001f642 " \\ \n data: {'}]}),
        (
            CHATS,
            {
                "messages": [{"role": "user", "content": "Go"}, {"role": "assistant", "content": "on and"}],
                "continue_final_message": True,
                "add_generation_prompt": False,
            },
        ),
        (TEXTS, {"max_tokens": 5}),
        (TEXTS, {"prompt": [400, 500, 600], "max_tokens": 10}),
        (TEXTS, {"prompt": "no limit"}),
        (TEXTS, {"return_token_ids": True}),
    ],
)
def test_every_kind_of_plain_stream_comes_whole(mode: str, path: str, more: dict[str, object]) -> None:
    async def test() -> None:
        async with front(*settings(), config=config(mode)) as cluster:
            request: dict[str, object] = {"model": "simulated-model", **({"prompt": "Go"} if path == TEXTS else CHAT)}
            request |= {"stream_options": {"include_usage": True}, **more}
            whole = bytes((await cluster.ask(path, {**request, "stream": True})).body)
            for after in (3, 4):
                body = await asked(cluster, path, request, break_as=Break.CUT, break_after=after)
                check_one_stream(body)
                assert body.count(SEAM) == 1
                assert events_of(body) == events_of(whole)

    run(test)


UNSAFE: list[dict[str, object]] = [
    {"n": 2},
    {"logprobs": True},
    {"response_format": {"type": "json_object"}},
    {"echo": True, "continue_final_message": False},
    {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"},
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("more", UNSAFE)
def test_what_cannot_be_continued_ends_with_an_error_event_at_once(mode: str, more: dict[str, object]) -> None:
    async def test() -> None:
        async with front(*settings(), config=config(mode)) as cluster:
            request: dict[str, object] = {**CHAT, **more}
            for backend in cluster.backends:
                broken(backend, break_as=Break.CUT, break_after=4 if "n" in more else 2)
            started = time.monotonic()
            body = bytes((await cluster.ask(CHATS, {**request, "stream": True})).body)
            assert time.monotonic() - started < 1
            assert payloads(body)[-1]["error"]["code"] == "upstream_unavailable", body
            assert SEAM not in body
            assert b"[DONE]" not in body
            assert await cluster.metric("router_streams_resumed_total") == 0

    run(test)


def test_it_can_be_switched_off() -> None:
    async def test() -> None:
        async with front(*settings(), config=config("off")) as cluster:
            body = await asked(cluster, CHATS, {**CHAT}, break_as=Break.CUT, break_after=4)
            assert payloads(body)[-1]["error"]["code"] == "upstream_unavailable"
            assert await cluster.metric("router_streams_resumed_total") == 0

    run(test)


def test_a_stream_that_is_too_long_is_not_kept() -> None:
    async def test() -> None:
        limits = config("text", resume={"mode": "text", "max_length": 1024})
        async with front(*[Settings(tokens=2000) for _ in range(2)], config=limits) as cluster:
            body = await asked(cluster, CHATS, {**CHAT}, break_as=Break.CUT, break_after=1500)
            assert payloads(body)[-1]["error"]["code"] == "upstream_unavailable"
            body = await asked(cluster, CHATS, {**CHAT}, break_as=Break.CUT, break_after=50)
            assert SEAM in body
            assert body.endswith(b"data: [DONE]\n\n")

    run(test)


@pytest.mark.parametrize("mode", MODES)
def test_a_backend_that_falls_silent_is_left_for_another(mode: str) -> None:
    async def test() -> None:
        async with front(*settings(), config=config(mode, timeouts={"idle": 0.3})) as cluster:
            whole = bytes((await cluster.chat(stream=True)).body)
            body = await asked(cluster, CHATS, {**CHAT}, break_as=Break.STALL, break_after=5)
            assert events_of(body) == events_of(whole)
            assert await cluster.metric("router_attempts_total", outcome="stalled") == 1

    run(test)


@pytest.mark.parametrize("mode", MODES)
def test_a_server_that_gives_its_answers_up_is_left_for_another(mode: str) -> None:
    """vLLM ends its streams with the finish_reason "abort" when it is told to stop, and means it."""

    async def test() -> None:
        slow = [Settings(tokens=TOKENS, itl=0.05) for _ in range(2)]
        async with front(*slow, config=config(mode)) as cluster:
            whole = bytes((await cluster.chat(stream=True)).body)
            answers = [asyncio.ensure_future(cluster.chat(stream=True)) for _ in range(4)]
            await until(lambda: cluster.backends[0].figures.running == 2)
            await asyncio.sleep(0.2)
            await cluster.backends[0].stop()
            for answer in await asyncio.gather(*answers):
                check_one_stream(answer.body)
                assert events_of(answer.body) == events_of(whole)
            assert await cluster.metric("router_attempts_total", outcome="stopping") == 2

    run(test)


@pytest.mark.parametrize("mode", MODES)
def test_a_translated_stream_is_repaired_across_the_seam(mode: str) -> None:
    async def test() -> None:
        dialects = {"backend_options": [{"dialect": "mistral"}] * 2}
        async with front(*settings(), config=config(mode, **dialects)) as cluster:
            request = {**CHAT, "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}
            request |= {"stream_options": {"include_usage": True}, "tool_choice": "none"}
            whole = bytes((await cluster.ask(CHATS, {**request, "stream": True})).body)
            for after in range(2, TOKENS + 1):
                body = await asked(cluster, CHATS, request, break_as=Break.ERROR, break_after=after)
                check_one_stream(body)
                assert body.count(SEAM) == 1
                assert events_of(body) == events_of(whole), after

    run(test)


def test_backends_of_several_dialects_finish_for_each_other() -> None:
    async def test() -> None:
        dialects = {"backend_options": [{"dialect": "openai"}, {"dialect": "mistral"}]}
        async with front(*settings(), config=config("text", **dialects)) as cluster:
            for backend in cluster.backends:
                whole = bytes((await cluster.chat(stream=True)).body)
                for after in (2, 5):
                    broken(backend, break_as=Break.CUT, break_after=after)
                    for _ in range(6):
                        body = bytes((await cluster.chat(stream=True)).body)
                        check_one_stream(body)
                        assert text_of(body) == text_of(whole)
                    broken(backend)
            assert await cluster.metric("router_streams_resumed_total", result="ok") >= 4

    run(test)


def test_a_client_that_leaves_while_its_stream_is_taken_up_ends_all_of_it() -> None:
    async def test() -> None:
        async with front(*settings(), config=config("text")) as cluster:
            first, second = cluster.backends
            broken(first, break_as=Break.CUT, break_after=4)
            broken(second, hang=True)
            for _ in range(4):
                request = asyncio.ensure_future(cluster.chat(stream=True))
                await asyncio.sleep(0.2)
                request.cancel()
            await until(lambda: second.figures.aborted == 4)
            assert await cluster.metric("router_requests_total", outcome="client_gone") == 4

    run(test)


def test_the_log_tells_of_it(tmp_path: Path) -> None:
    async def test() -> None:
        logged = config("exact", logging={"file": str(tmp_path / "log")})
        async with front(*settings(), config=logged) as cluster:
            await asked(cluster, CHATS, {**CHAT}, break_as=Break.CUT, break_after=4)

    run(test)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    told = [line for line in lines if line.get("resumed")]
    assert [(line["resumed"], line["resume_mode"], line["outcome"]) for line in told] == [(1, "exact", "ok")]
    assert [attempt["outcome"] for attempt in told[0]["attempts"]] == ["cut", "ok"]


@pytest.mark.parametrize("mode", MODES)
def test_the_sdk_reads_a_stream_that_was_taken_up(mode: str) -> None:
    async def test() -> None:
        async with front(*settings(), config=config(mode)) as cluster:
            whole = text_of((await cluster.chat(stream=True)).body)
            broken(cluster.backends[0], break_as=Break.CUT, break_after=4)
            client = openai.AsyncOpenAI(base_url=cluster.url + "/v1", api_key="x", max_retries=0)
            for _ in range(4):
                chunks = [
                    chunk
                    async for chunk in await client.chat.completions.create(
                        model="simulated-model", messages=[{"role": "user", "content": "Say hello."}], stream=True
                    )
                ]
                assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole
                assert len({chunk.id for chunk in chunks}) == 1
            await client.close()
            assert await cluster.metric("router_streams_resumed_total", result="ok") >= 1

    run(test)


@asynccontextmanager
async def half_told(told: Callable[[], bytes], **more: Any) -> AsyncIterator[Front]:
    """A router before a simulator and a server that sends these bytes of an answer and then hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"POST"):
            writer.write(told())
            await writer.drain()
        elif head.startswith((b"GET /health ", b"GET /v1/models ")):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(LISTED), LISTED))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    backend = Simulator(Settings(tokens=TOKENS))
    urls = [f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", f"http://127.0.0.1:{await backend.start()}"]
    own = {"health": {"enabled": False}, "backend_options": [{"models": ["simulated-model"]}] * 2}
    try:
        async with front(urls=urls, config=merged(config("text", **own), more)) as cluster:
            cluster.backends.append(backend)
            yield cluster
    finally:
        server.close()
        await backend.stop()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"  # ends with its connection
LISTED = b'{"object":"list","data":[{"id":"simulated-model","object":"model","owned_by":"vllm","max_model_len":4096}]}'


def piece(text: str | None, *, ends: bytes = b"\n\n") -> bytes:
    delta = {"role": "assistant", "content": ""} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
    payload = {"id": "chatcmpl-a", "object": "chat.completion.chunk", "created": 7, "model": "simulated-model"}
    return b"data: " + json.dumps({**payload, "choices": [choice]}, ensure_ascii=False).encode() + ends


@pytest.mark.parametrize("dialect", ["openai", "mistral"])
def test_a_stream_that_is_cut_at_any_byte_comes_whole(dialect: str) -> None:
    async def test() -> None:
        cut = [0]
        async with front(Settings(tokens=TOKENS)) as direct:
            whole = bytes((await direct.chat(stream=True)).body)
        raw = whole.removesuffix(b"data: [DONE]\n\n")
        options = {"backend_options": [{"models": ["simulated-model"], "dialect": dialect}] * 2}
        async with half_told(lambda: HEAD + raw[: cut[0]], **options) as cluster:
            for cut[0] in range(0, len(raw) + 1, 23):
                body = bytes((await cluster.chat(stream=True)).body)
                check_one_stream(body)
                assert text_of(body) == text_of(whole), cut

    run(test, timeout=60)


@pytest.mark.parametrize("ends", [b"\n\n", b"\r\n\r\n"])
def test_what_the_client_has_is_what_the_next_backend_is_told(ends: bytes) -> None:
    """Whatever the letters and wherever they are cut: a grapheme may come in several events."""
    said = ["Gr", "ü", 'ße \\ " \n\t', "\U0001f469", "\u200d", "\U0001f467", " \u2028 data: {\r\n"]

    async def test() -> None:
        told = HEAD + b"".join(piece(text, ends=ends) for text in [None, *said])
        async with half_told(lambda: told) as cluster:
            bodies = [bytes((await cluster.chat(stream=True)).body) for _ in range(4)]
            resumed = next(body.replace(b"\r\n\r\n", b"\n\n") for body in bodies if SEAM in body)
            assert text_of(resumed).startswith("".join(said))
            check_one_stream(resumed)
            asked = [json.loads(each.body) for each in cluster.backends[0].requests if b"continue_final" in each.body]
            assert asked[0]["messages"] == [*CHAT["messages"], {"role": "assistant", "content": "".join(said)}]

    run(test)


@pytest.mark.parametrize("limit", [3, 5])
def test_no_usage_is_told_above_the_limit_though_the_text_has_more_tokens_when_it_is_read_again(limit: int) -> None:
    async def test() -> None:
        told = HEAD + piece(None) + b"".join(map(piece, ["some wo", "rds that", " take more tokens"]))
        async with half_told(lambda: told) as cluster:
            request = {**CHAT, "stream": True, "max_tokens": limit, "stream_options": {"include_usage": True}}
            bodies = [bytes((await cluster.ask(CHATS, request)).body) for _ in range(4)]
            ended = [body for body in bodies if b"rds that" in body]
            assert ended
            for body in ended:
                check_one_stream(body)
                assert text_of(body) == "some words that take more tokens"
                usage = payloads(body)[-1]["usage"]
                assert usage["completion_tokens"] == limit
                assert usage["total_tokens"] == usage["prompt_tokens"] + limit

    run(test)


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a"}]}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"reasoning":"hm"}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"content":"[TOOL_CALLS]f"}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"content":"<think>"}}]}\n\n',
        b'data: {"choices":[{"index":1,"delta":{"content":"x"}}]}\n\n',
        b"data: what?\n\n",
    ],
)
def test_a_stream_in_which_more_than_text_came_is_not_continued(event: bytes) -> None:
    async def test() -> None:
        told = HEAD + piece(None) + piece("x") + event
        async with half_told(lambda: told) as cluster:
            bodies = [bytes((await cluster.chat(stream=True)).body) for _ in range(4)]
            assert not [body for body in bodies if SEAM in body]
            assert [body for body in bodies if b"upstream_unavailable" in body and b"[DONE]" not in body]

    run(test)


def test_comments_keep_the_client_while_a_backend_is_waited_for() -> None:
    async def test() -> None:
        waits = config("text", timeouts={"keepalive_after": 0.1})
        async with front(Settings(tokens=TOKENS), Settings(tokens=TOKENS, ttft=0.5), config=waits) as cluster:
            body = await asked(cluster, CHATS, {**CHAT}, break_as=Break.CUT, break_after=4)
            before, _, behind = body.partition(SEAM)
            assert before.endswith(b": keepalive\n\n")
            assert b"keepalive" not in behind
            assert body.endswith(b"data: [DONE]\n\n")

    run(test)


def test_the_deadline_holds_while_a_stream_is_taken_up() -> None:
    async def test() -> None:
        async with front(*settings(), config=config("text")) as cluster:
            first, second = cluster.backends
            broken(first, break_as=Break.CUT, break_after=4)
            broken(second, hang=True)
            bodies = [
                bytes((await cluster.ask(CHATS, {**CHAT, "stream": True}, headers={"X-Request-Timeout": "0.5"})).body)
                for _ in range(2)
            ]
            assert all(b"timeout" in body for body in bodies)
            await until(lambda: second.figures.aborted == 2)

    run(test)


def test_who_refuses_to_go_on_is_left_for_another_and_ids_for_text() -> None:
    async def test() -> None:
        async with front(*settings(3), config=config("exact")) as cluster:
            whole = bytes((await cluster.chat(stream=True)).body)
            broken(cluster.backends[1], status=400)
            for _ in range(12):
                broken(cluster.backends[0], break_as=Break.CUT, break_after=4)
                body = bytes((await cluster.chat(stream=True)).body)
                if b'"error"' not in body[:20]:
                    assert text_of(body) == text_of(whole)
            assert await cluster.metric("router_streams_resumed_total", mode="text", result="ok") >= 1

    run(test)


@pytest.mark.parametrize("mode", MODES)
def test_the_death_of_one_of_three_backends_costs_no_stream_a_letter(mode: str) -> None:
    async def test() -> None:
        slow = [Settings(tokens=40, itl=0.02) for _ in range(3)]
        async with front(*slow, config={"resume": {"mode": mode}}) as cluster:
            whole = text_of((await cluster.chat(stream=True)).body)
            told: list[list[bytes]] = [[] for _ in range(60)]
            # All begin before any may end, and those of the first backend stand still where it is to die.
            within = Faults(break_as=Break.STALL, break_after=16)
            for backend in cluster.backends:
                backend.faults = Faults(freeze=True)
            cluster.backends[0].faults = replace(within, freeze=True)
            request = {**CHAT, "stream": True}
            asking = [
                asyncio.ensure_future(cluster.ask(CHATS, request, streaming_callback=pieces.append)) for pieces in told
            ]
            await until(lambda: [backend.figures.running for backend in cluster.backends] == [20] * 3)
            for backend in cluster.backends:
                backend.faults = Faults()
            cluster.backends[0].faults = within
            await until(lambda: all(b"".join(pieces).count(b"data: ") >= 16 for pieces in told))
            await cluster.backends[0].kill()
            await asyncio.gather(*asking)
            for pieces in told:
                check_one_stream(b"".join(pieces))
                assert text_of(b"".join(pieces)) == whole
            assert await cluster.metric("router_streams_resumed_total", mode=mode, result="ok") == 20

    run(test)


def test_a_broken_stream_waits_for_a_backend_that_is_full() -> None:
    async def test() -> None:
        slow = [Settings(tokens=TOKENS, itl=0.05) for _ in range(2)]
        limits = config("text", backend_options=[{"max_connections": 1}] * 2)
        async with front(*slow, config=limits) as cluster:
            whole = text_of((await cluster.chat(stream=True)).body)
            broken(cluster.backends[0], break_as=Break.CUT, break_after=4)
            answers = await asyncio.gather(*[cluster.chat(stream=True) for _ in range(2)])
            assert sum(answer.body.count(SEAM) for answer in answers) == 1
            for answer in answers:
                check_one_stream(answer.body)
                assert text_of(answer.body) == whole

    run(test)
