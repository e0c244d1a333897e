"""Backends that answer in valid JSON with values of any type anywhere, and the whole router before them.

`python -m tests.fuzz.odd_answers [ASKS [SEED]]` asks again and again: for streams and whole answers, on several routes,
with tools and without, where broken streams are continued by their text and by ids, and where two run beside each
other. Nothing may be logged as an error; every answer is whole and in HTTP, and a stream that ends without its end mark
tells of an error; in the end no backend has a request under way.
"""

import argparse
import asyncio
import random
import re
import sys
import time
from functools import partial
from typing import Any

import orjson
import uvloop
from tornado.httpclient import HTTPResponse

from tests.front import Front, front, merged, until
from tests.fuzz.target import no_errors
from tests.relay.scripted import END, HEAD, chunk, plain

MODEL = "simulated-model"
CHATS = "/v1/chat/completions"
PATHS = (*(CHATS,) * 5, "/v1/completions", "/v1/responses", "/v1/messages", "/v1/embeddings")
AT_ONCE = 8  # requests
BACKENDS = 3
SHARES = (0.7, 0.97, 0.99)  # of values that are usual, in one answer after the other
LISTED = {"data": [{"id": MODEL, "object": "model", "owned_by": "vllm", "max_model_len": 4096}]}
KEYS = (
    *("id", "object", "created", "model", "choices", "delta", "content", "role", "finish_reason", "usage", "index"),
    *("prompt_tokens", "completion_tokens", "total_tokens", "logprobs", "text", "error", "message", "type", "code"),
    *("param", "status", "response", "token_ids", "prompt_token_ids", "detail", "tool_calls", "function", "name"),
    *("arguments", "stop_reason", "tokens", "count", "prompt", "reasoning", "reasoning_content", "input_tokens"),
    *("output_tokens", "output", "content_block"),
)
PLAIN = (
    *(None, True, False, 0, 1, -1, 0.5, 1e308, 2**63, 2**63 - 1, -(2**63), [], {}, "", "x", "stop", "length", "abort"),
    *("error", "message", "chat.completion", "\u2028", "a\nb", "[DONE]", "[TOOL_CALLS]", "[TOOL_CALLS]lookup[ARGS]{}"),
    *("[THINK]", "[/THINK]", " <", MODEL, 99, 400, 503, 1000, "503", "response.failed", "vllm"),
)
IDS = (b"[1,2]", b"[1,2]", b"[1,,2]", b"[1 2]", b"[99999999999999999999999999999999]")
CONFIGS: tuple[dict[str, Any], ...] = (
    {"resume": {"mode": "text"}, "backend_options": [{"dialect": "openai"}] * 3},
    {"resume": {"mode": "exact"}, "backend_options": [{"dialect": "mistral", "profile": "v13"}] * 3},
    {
        "resume": {"mode": "exact"},
        "hedge": {"after": "10ms", "chat": True},
        "backend_options": [{"dialect": "openai"}, {"dialect": "mistral", "profile": "v11"}, {"dialect": "openai"}],
    },
)
RESUMED = re.compile(r'router_streams_resumed_total{mode="(.*)",result="(.*)"} ([1-9].*)')
SERVES = {
    "breaker": {"enabled": False},
    "health": {"enabled": True},
    "timeouts": {"first_byte": "5s", "unstreamed": "5s", "idle": "5s"},
}


class Odd:
    """Makes values, and answers of them."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.share = SHARES[0]

    def value(self, depth: int = 0) -> Any:
        """Return anything that JSON can say."""
        dice, kind = self.dice, self.dice.random() if depth < 5 else 1.0
        if kind < 0.4:
            return {dice.choice(KEYS): self.value(depth + 1) for _ in range(dice.randrange(5))}
        if kind < 0.55:
            return [self.value(depth + 1) for _ in range(dice.randrange(4))]
        return dice.choice(PLAIN)

    def often(self, usual: Any) -> Any:
        """Return what is usual, or anything."""
        return usual if self.dice.random() < self.share else self.value(3)

    def chunk(self) -> dict[str, Any]:
        """Return a chunk of a chat in which any value may be odd."""
        function = {"name": self.often("lookup"), "arguments": self.often('{"a":')}
        call = {"index": self.often(0), "id": self.often("abcDEF123"), "type": "function", "function": function}
        deltas = ({"content": "hi"}, {"content": " <"}, {"role": "assistant", "content": ""}, {"tool_calls": [call]})
        choice = {
            "index": self.often(0),
            "delta": self.often(self.dice.choices(deltas, (8, 4, 1, 1))[0]),
            "finish_reason": self.often(self.dice.choice((None, None, None, "stop"))),
            "token_ids": self.often([1, 2]),
        }
        usage = {"prompt_tokens": self.often(3), "completion_tokens": self.often(2)}
        told = {"id": self.often("a"), "object": "chat.completion.chunk", "created": 1, "model": MODEL}
        told["choices"] = self.often([choice])
        if self.dice.random() < 0.5:
            told["usage"] = self.often(usage)
        if self.dice.random() < 0.3:
            told["prompt_token_ids"] = self.often([1, 2])
        return told

    def event(self) -> bytes:
        """Return an event, most often with such a chunk."""
        data = orjson.dumps(self.often(self.chunk()))
        ids = self.dice.choice(IDS) if self.dice.random() < 0.05 else IDS[0]
        name = self.dice.choice((b"", b"", b"", b"", b"event: message_start\n", b": comment\n"))
        return name + b"data: " + data.replace(IDS[0], ids) + b"\n\n"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET "):
                    writer.write(plain(200, LISTED))
                    continue
                await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]))
                await self.answer(head, writer)
        except (asyncio.IncompleteReadError, ConnectionError, RuntimeError):
            pass  # it was hung up on
        finally:
            writer.close()

    async def answer(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        """Answer one request, with a stream or in one piece, and maybe break off."""
        dice = self.dice
        self.share = dice.choice(SHARES)
        if head.startswith((b"POST /tokenize ", b"POST /detokenize ")):
            told = {"tokens": self.often([1, 2]), "count": self.often(2), "prompt": self.often("hi")}
            writer.write(plain(dice.choice((200, 200, 400)), orjson.dumps(self.often(told))))
            return
        if dice.random() < 0.2:
            status = dice.choice((200, 200, 400, 404, 418, 422, 429, 500, 503))
            writer.write(plain(status, orjson.dumps(self.often(self._whole()))))
            return
        writer.write(HEAD)
        for _ in range(dice.randrange(12)):
            event = self.event()
            cut = dice.randrange(len(event)) if dice.random() < 0.2 else 0
            for piece in filter(None, (event[:cut], event[cut:])):
                writer.write(chunk(piece))
                await asyncio.sleep(0.001 if dice.random() < 0.5 else 0)
        ends = dice.random()
        if ends < 0.5:
            writer.write((chunk(b"data: [DONE]\n\n") if ends < 0.4 else b"") + END)
        else:
            writer.close()

    def _whole(self) -> dict[str, Any]:
        told = self.chunk()
        for choice in told["choices"] if isinstance(told["choices"], list) else ():
            if isinstance(choice, dict):
                choice["message"] = choice.pop("delta", None)
        return told

    def request(self) -> dict[str, Any]:
        """Return a request, which is a good one."""
        dice = self.dice
        body = {"model": MODEL, "stream": dice.random() < 0.8, "prompt": "x", "input": "x"}
        body["messages"] = [{"role": "user", "content": "hi"}]
        if dice.random() < 0.4:
            body["stream_options"] = {"include_usage": True}
        if dice.random() < 0.3:
            body["max_tokens"] = dice.choice((3, 5, 100))
        if dice.random() < 0.3:
            body["tools"] = [{"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}}]
        return body


def check(path: str, answer: HTTPResponse) -> None:
    """See that an answer is a whole one, or tells of an error."""
    assert 200 <= answer.code < 600, answer.code
    is_stream = answer.headers.get("Content-Type", "").startswith("text/event-stream")
    if answer.code >= 400:
        assert orjson.loads(answer.body)["error"]["message"], answer.body
    elif is_stream and path == CHATS:
        assert answer.body.endswith(b"data: [DONE]\n\n") != (b'{"error":{' in answer.body.rpartition(b"data: ")[2])


async def ask_all(asks: int, seed: int) -> None:
    """Ask so often under each configuration. Raises AssertionError where a rule does not hold."""
    for number, config in enumerate(CONFIGS):
        began = time.monotonic()
        odd = Odd(random.Random(seed * len(CONFIGS) + number))
        servers = [await asyncio.start_server(odd.serve, "127.0.0.1", 0) for _ in range(BACKENDS)]
        urls = [f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in servers]
        try:
            with no_errors("router", "asyncio"):
                async with front(urls=urls, config=merged(SERVES, config)) as cluster:
                    await asyncio.gather(*(_ask(cluster, odd, asks // AT_ONCE) for _ in range(AT_ONCE)))
                    await until(partial(_is_free, cluster))
                    page = await cluster.ask("/metrics")
        finally:
            for server in servers:
                server.close()
        resumed = RESUMED.findall(page.body.decode())
        told = ", ".join(f"{mode} {result} {count}" for mode, result, count in resumed)
        print(f"odd answers {number}, seed {seed}: {asks:,} in {time.monotonic() - began:.0f} s; continued: {told}")


def _is_free(cluster: Front) -> bool:
    return not any(backend.in_flight for backend in cluster.app.registry.backends)


async def _ask(cluster: Front, odd: Odd, count: int) -> None:
    for _ in range(count):
        path, body = odd.dice.choice(PATHS), odd.request()
        check(path, await cluster.ask(path, body))


def main() -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.odd_answers", description=__doc__.split("\n")[0])
    parser.add_argument("asks", nargs="?", type=int, default=3000, help="under each configuration")
    parser.add_argument("seed", nargs="?", type=int, default=1)
    given = parser.parse_args()
    uvloop.run(ask_all(given.asks, given.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
