"""A stream of real vLLM that breaks is finished by the other server: with token ids exactly, with the text nearly.

Each server stands behind a small proxy, which cuts a stream after so many events. The tiny model has random weights,
and its text is seldom what a tokenizer would cut in the same way, so it is the worst case for going on with the text.
"""

import asyncio
import contextlib
import json
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from vllm_cluster import MODEL, Cluster, Router, Settings, fetch, running_router

pytestmark = pytest.mark.through_router

CHATS = 100
TOKENS = 60
QUESTIONS = ["What is the weather in Paris?", "Write a poem.", "Say hello to the router, please.", "Wie geht es dir?"]
BLOCK, EVENT = 65536, b"data: {"


@dataclass
class Fault:
    """What the proxies have in common: after how many events the next stream is cut."""

    events: int | None = None
    cut: int = 0  # streams that were


class Proxy:
    """Passes bytes on between the router and one server, in a loop of its own thread."""

    def __init__(self, target: str, fault: Fault, loop: asyncio.AbstractEventLoop) -> None:
        """`target`: the server's URL."""
        self._host, port = target.removeprefix("http://").rsplit(":", 1)
        self._port = int(port)
        self._fault = fault
        self._loop = loop
        self._server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), loop).result(
            10
        )
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, outgoing = await asyncio.open_connection(self._host, self._port)
        events = [0]  # of the answer to the latest request
        asks = asyncio.ensure_future(self._pass(reader, outgoing, events))
        with contextlib.suppress(ConnectionError):
            await self._answer(upstream, writer, events)
        asks.cancel()
        outgoing.transport.abort()
        writer.close()  # what was written arrives, and then an end that is none

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, events: list[int]) -> None:
        while data := await reader.read(BLOCK):
            events[0] = 0
            writer.write(data)

    async def _answer(self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter, events: list[int]) -> None:
        fault = self._fault
        while data := await upstream.read(BLOCK):
            parts = data.split(EVENT)
            before, events[0] = events[0], events[0] + len(parts) - 1
            is_cut = fault.events is not None and before < fault.events <= events[0]
            if fault.events is not None and is_cut:
                parts = parts[: fault.events - before + 1]
                parts[-1] = parts[-1].partition(b"\n\n")[0] + b"\n\n"
            writer.write(EVENT.join(parts))
            await writer.drain()
            if is_cut:
                fault.events = None
                fault.cut += 1
                return


@dataclass
class Resuming:
    """Routers in front of the same proxies, by mode."""

    fault: Fault
    routers: dict[str, Router]
    url: str  # of a server itself
    answers: dict[int, tuple[str, object, object]] = field(default_factory=dict)

    def whole(self, number: int) -> tuple[str, object, object]:
        """Return what a chat says that nothing breaks."""
        if number not in self.answers:
            self.answers[number] = story(fetch(self.url + "/v1/chat/completions", request(number)).body)
        return self.answers[number]

    def ask(self, mode: str, path: str, body: dict[str, object], *, break_after: int) -> bytes:
        """Ask for a stream that is cut after so many events; return what the client gets."""
        before = self.fault.cut
        while self.fault.cut == before:  # several tokens in one event, now and then: fewer events, and it was over
            self.fault.events = break_after
            answer = fetch(self.routers[mode].url + path, body)
            self.fault.events, break_after = None, max(2, break_after // 2)
        seams = answer.body.count(b": resumed on another backend\n\n")
        # The same text may have more tokens when it is cut anew, and then nothing is left of max_tokens.
        assert seams == 1 or (mode == "text" and seams == 0), answer.body
        return answer.body


@pytest.fixture(scope="module")
def resuming(started: Cluster) -> Iterator[Resuming]:
    """One router for each mode."""
    loop, fault = asyncio.new_event_loop(), Fault()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    proxies = [Proxy(server.url, fault, loop) for server in started.servers]
    folder = Path(os.environ["ROUTER_VLLM_FOLDER"])
    with contextlib.ExitStack() as stack:
        routers = {}
        for mode in ("exact", "text"):
            settings = Settings(more={"resume": {"mode": mode}, "breaker": {"enabled": False}})
            routers[mode] = stack.enter_context(running_router(proxies, folder=folder, settings=settings))
        yield Resuming(fault, routers, started.servers[0].url)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)


def events_of(body: bytes) -> list[dict[str, object]]:
    """Return every event but the end mark."""
    assert body.endswith(b"data: [DONE]\n\n")
    return [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]


def story(body: bytes) -> tuple[str, object, object]:
    """Return text, finish_reason and usage; check that it is one stream."""
    events = events_of(body)
    assert len({(event["id"], event["created"], event["model"], event["object"]) for event in events}) == 1
    choices = [choice for event in events for choice in event["choices"]]  # type: ignore[attr-defined]  # a list
    said = [choice["delta"] if "delta" in choice else {"content": choice["text"]} for choice in choices]
    assert sum("role" in one for one in said) <= 1
    assert not any(choice.get("token_ids") for choice in choices)
    finishes = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    assert len(finishes) == 1
    return "".join(one.get("content") or "" for one in said), finishes[0], events[-1].get("usage")


def request(number: int) -> dict[str, object]:
    """Return a chat that is like no other."""
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": f"{number}. {QUESTIONS[number % len(QUESTIONS)]}"}],
        "max_tokens": TOKENS,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize("mode", ["exact", "text"])
def test_broken_chats_are_finished(resuming: Resuming, mode: str) -> None:
    """Exact mode: as the unbroken answers are, all of them. Text mode: so many as it is; each comes to its end."""
    same = 0
    for number in range(CHATS):
        whole = resuming.whole(number)
        body = resuming.ask(mode, "/v1/chat/completions", request(number), break_after=2 + number * 7 % 40)
        told = story(body)
        same += told == whole
        assert told[1] == "length"
        assert told[2]["prompt_tokens"] == whole[2]["prompt_tokens"]  # type: ignore[index]  # usage was asked for
        if mode == "exact":
            assert told == whole, number
    print(f"\n{mode}: {same} of {CHATS} broken chats are character for character the unbroken ones")


def test_text_that_a_parser_held_back_is_not_lost(started: Cluster, resuming: Resuming) -> None:
    """Of a token such as " [" vLLM tells the blank at once, and the rest with the next one, where tools are none."""
    url, ids = started.servers[0].url, set[int]()
    for text in (" [", "[", "([", "<", " <", " the", "er", "ing"):
        ask = {"model": MODEL, "prompt": text, "add_special_tokens": False}
        ids.update(fetch(url + "/tokenize", ask).json()["tokens"])
    for number in range(3):
        ask = {**request(number), "max_tokens": 20, "allowed_token_ids": sorted(ids), "repetition_penalty": 3}
        body = fetch(url + "/v1/chat/completions", ask).body
        assert re.search(rb'"content":"[\[<][^"]', body), "a token's text has waited for the next one"
        for after in range(2, 14):
            told = resuming.ask("exact", "/v1/chat/completions", ask, break_after=after)
            assert story(told) == story(body), after


@pytest.mark.parametrize("prompt", ["Once upon a time", [1, 2000, 2001]])
@pytest.mark.parametrize("mode", ["exact", "text"])
def test_broken_completions_are_finished(
    started: Cluster, resuming: Resuming, mode: str, prompt: str | list[int]
) -> None:
    """Of a text, and of token ids."""
    ask = {key: value for key, value in request(0).items() if key != "messages"} | {"prompt": prompt}
    whole = story(fetch(started.servers[0].url + "/v1/completions", ask).body)
    for after in range(1, 20, 3):
        told = story(resuming.ask(mode, "/v1/completions", ask, break_after=after))
        assert told[1] == "length"
        if mode == "exact":
            assert told == whole
