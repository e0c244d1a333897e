"""`python -m bench.sessions`: what it is worth that conversations stay where their cache is; in this process.

Simulated vLLM servers with a prefix cache each, a router before them, and clients that have conversations of many turns
at once, with sessions off (requests take turns) and on. A token that is not in a server's cache takes its time before
the first token of the answer, as computing it would. Told are the part of all tokens of prompts that caches held, as
vLLM counts it, and the time to the first token of all turns but the first.

`--cost`: what it takes of the router's CPU instead, without sockets, the fastest of some rounds each.

A cache that holds all conversations helps also where requests take turns, once every server has seen each; one that
holds a server's share of them helps only with affinity.
"""

import argparse
import asyncio
import math
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import uvloop

from router.app import App
from router.backends.backend import BackendSpec
from router.backends.health import HealthRules
from router.backends.health import Seen as Probe
from router.backends.registry import Registry
from router.backends.sessions import SessionRules
from router.config import Config
from router.exchange import Attempt, AttemptOutcome, Exchange, Outcome
from router.relay.route import Job, Route
from router.relay.sessions import Sessions
from router.simulator.server import Simulator
from router.simulator.settings import DEFAULT_MODEL, Settings
from router.wire.client import PooledHTTPClient, Request, parse_url
from router.wire.server import HTTPServer, bind_sockets

BACKENDS, CONVERSATIONS, TURNS = 4, 24, 12
WORDS = 100  # of a question; about as many tokens
SYSTEM = 300  # words of the system prompt that all conversations have
PREFILL = 0.0002  # seconds for one token: 5000 tokens a second
ROUTE = Route("/v1/chat/completions", "POST", is_chat=True)
PAUSE = 0.05  # seconds between an answer and the next question
COST_ROUNDS = 2000
LARGE, SMALL = 1 << 20, 16 << 10  # tokens that a cache holds: everything, and somewhat more than a quarter of it


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done."""

    backends: int = BACKENDS
    conversations: int = CONVERSATIONS
    turns: int = TURNS
    words: int = WORDS
    prefill: float = PREFILL
    cache: int = LARGE


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of it."""

    hits: float  # part of all tokens of prompts, 0 to 1
    first: tuple[float, ...]  # seconds to the first token, of turns after the first
    tokens: int  # of a prompt, in the mean

    @property
    def half(self) -> float:
        """Return the time that half of them stayed within."""
        return statistics.median(self.first)

    @property
    def most(self) -> float:
        """Return the time that 95 % of them stayed within."""
        return sorted(self.first)[int(len(self.first) * 0.95)]


def words(dice: random.Random, count: int) -> str:
    """Return so many words that nobody has said before."""
    return " ".join("".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=5)) for _ in range(count))


class Client:
    """One who has conversations."""

    def __init__(self, port: int) -> None:
        """Ask the router on a port of this machine."""
        self._client = PooledHTTPClient(force_instance=True)
        self._origin, self._target = parse_url(f"http://127.0.0.1:{port}/v1/chat/completions")

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    async def talk(self, dice: random.Random, system: str, size: Size) -> list[float]:
        """Have one conversation; return the seconds to the first token of each turn."""
        said = [{"role": "system", "content": system}]
        took = []
        for _ in range(size.turns):
            said.append({"role": "user", "content": words(dice, size.words)})
            answer, first = await self._ask(said)
            took.append(first)
            said.append({"role": "assistant", "content": answer})
            await asyncio.sleep(PAUSE * (0.5 + dice.random()))
        return took

    async def _ask(self, said: Sequence[dict[str, str]]) -> tuple[str, float]:
        body = orjson.dumps({"model": DEFAULT_MODEL, "messages": said, "stream": True})
        began, first, pieces = time.monotonic(), 0.0, [b""]

        def take(data: bytes) -> None:
            nonlocal first
            pieces.append(data)
            if not first and b'"content":"' in data.replace(b'"content":""', b""):
                first = time.monotonic() - began

        lines = b"Content-Type: application/json\r\n"
        to: dict[str, Any] = {"origin": self._origin, "method": "POST", "target": self._target, "header_lines": lines}
        request = Request(**to, body=body, streaming_callback=take)
        response = await self._client.fetch(request, raise_error=False)
        if response.code != 200 or not first:
            raise RuntimeError(f"no answer: {response.code} {b''.join(pieces)[:200]!r}")
        events = [line[6:] for line in b"".join(pieces).split(b"\n") if line.startswith(b"data: {")]
        deltas = [choice["delta"] for event in events for choice in orjson.loads(event)["choices"]]
        return "".join(delta.get("content") or "" for delta in deltas), first


async def measured(size: Size, *, sessions: bool, seed: int = 1) -> Seen:
    """Return what came of conversations with sessions on or off."""
    settings = Settings(tokens=16, prefill=size.prefill, prefix_cache=size.cache)
    backends = [Simulator(settings) for _ in range(size.backends)]
    urls = [f"http://127.0.0.1:{await each.start()}" for each in backends]
    app = App(
        Config.model_validate(
            {
                "backends": [{"url": url, "dialect": "openai"} for url in urls],
                "health": {"interval": 0.2},
                "logging": {"file": "/dev/null"},
                "sessions": {"enabled": sessions},
            }
        )
    )
    await app.start()
    server = HTTPServer(app.delegate, limits=app.limits, render_error=app.render_error)
    sockets = bind_sockets("127.0.0.1", 0)
    server.add_sockets(sockets)
    client = Client(sockets[0].getsockname()[1])
    try:
        while app.registry.usable_count(time.monotonic()) < size.backends or not app.settled:
            await asyncio.sleep(0.02)
        dice = random.Random(seed)
        system = words(dice, SYSTEM)
        talks = [client.talk(random.Random(dice.random()), system, size) for _ in range(size.conversations)]
        took = await asyncio.gather(*talks)
        counters = [each.figures.counters for each in backends]
        asked, held = (sum(each[name] for each in counters) for name in ("prefix_cache_queries", "prefix_cache_hits"))
        mean = asked // size.conversations // size.turns
        return Seen(held / asked, tuple(first for each in took for first in each[1:]), mean)
    finally:
        client.close()
        server.stop()
        await server.close_all_connections()
        await app.stop()
        for each in backends:
            await each.stop()


def cost(backends: int, size: int, *, turns: int = 3, ident: bytes = b"", is_new: bool = False) -> float:
    """Return the microseconds of one request of a session: finding it, placing it, and remembering who answered.

    `size`: bytes of its texts; `ident`: the id that its client gives; `is_new`: it begins a session.
    """
    rules = HealthRules(rise=1, slow_start=0.0)
    specs = [BackendSpec(f"10.0.0.{number}:8000", f"http://b{number}", models=("m",)) for number in range(backends)]
    registry = Registry(specs, health_rules=rules)
    for each in registry.backends:
        registry.probed(each, Probe.PASSED, now=0.0)
    sessions = Sessions(registry, SessionRules(enabled=True, headers=(b"x-session-id",)), clock=time.monotonic)
    said = [{"role": role, "content": "a" * (size // turns // 2)} for role in ("user", "assistant")] * turns
    body = orjson.dumps({"model": "m", "messages": [*said, {"role": "user", "content": "Go on."}]})
    lines = [(b"Host", b"a"), (b"User-Agent", b"a"), (b"Accept", b"*/*"), (b"Content-Type", b"application/json")]
    best = math.inf
    for number in range(COST_ROUNDS):
        headers = [*lines, (b"X-Session-Id", ident)]
        exchange = Exchange("id", ROUTE.path, "POST", 0.0, model="m", known_model=True)
        exchange.credentials = f"Bearer {number if is_new else 0}"
        job = Job(ROUTE, "chat/completions", headers, "", body, model="m")
        began = time.perf_counter()
        sessions.join(exchange, job)
        assert job.visit is not None
        backend = sessions.place(job.visit, job.model)
        took = time.perf_counter() - began
        assert backend is not None
        exchange.attempts.append(Attempt(backend.spec.name, 0.0, AttemptOutcome.OK))
        began = time.perf_counter()
        exchange.close(Outcome.OK, 1.0)
        best = min(best, took + time.perf_counter() - began) if number else best
    return best * 1e6


def print_costs() -> None:
    """Print what requests take."""
    for name, took in (
        ("2 KB, a known session", cost(4, 2 << 10)),
        ("128 KB, a known session", cost(4, 128 << 10, turns=20)),
        ("128 KB, a known session with an id", cost(4, 128 << 10, turns=20, ident=b"a")),
        ("2 KB, a new session, 4 backends", cost(4, 2 << 10, is_new=True)),
        ("2 KB, a new session, 500 backends", cost(500, 2 << 10, is_new=True)),
    ):
        print(f"{name}: {took:.1f} us")


async def compare(size: Size) -> None:
    """Print one table."""
    for name, cache in (("all conversations", LARGE), ("a server's share of them", SMALL)):
        for sessions in (False, True):
            seen = await measured(Size(size.backends, size.conversations, size.turns, cache=cache), sessions=sessions)
            print(
                f"| {name} | {'on' if sessions else 'off'} | {seen.hits:.1%} | {seen.half * 1000:.0f} ms"
                f" | {seen.most * 1000:.0f} ms | {seen.tokens} |"
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.sessions", description=__doc__)
    parser.add_argument("--backends", type=int, default=BACKENDS)
    parser.add_argument("--conversations", type=int, default=CONVERSATIONS)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--cost", action="store_true", help="what a request takes of the router's CPU")
    given = parser.parse_args(arguments)
    if given.cost:
        print_costs()
        return 0
    print("| a cache holds | sessions | hits | first token, half within | 95 % within | tokens of a prompt, mean |")
    print("|---|---|---|---|---|---|")
    uvloop.run(compare(Size(given.backends, given.conversations, given.turns)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
