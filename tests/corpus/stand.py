"""A real router process before a recording backend, and all cases of requests played against it once."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.cluster import RouterProcess, status_of
from tests.corpus import RequestCase, ResponseCase, requests
from tests.corpus.notation import Pause, steps, written
from tests.corpus.play import GOOD, HOLDS, PATIENCE, Played, Recorder, play, recorder
from tests.front import merged
from tests.wire.served import Client

# Short times and a small body limit, so that slow and large clients meet their limits soon; all else as shipped.
TREE: dict[str, Any] = {
    "server": {
        "host": "127.0.0.1",
        "max_body": "1MB",
        "headers_timeout": "2.5s",
        "body_timeout": "2.5s",
        "idle_timeout": "4s",
    },
    "health": {"enabled": False},
    "retry": {"max_attempts": 1},
    "breaker": {"enabled": False},
    "admin": {"enabled": False},
    "logging": {"level": "debug"},
}


@dataclass
class Stand:
    """The two of them."""

    router: RouterProcess
    backend: Recorder
    _read: int = 0  # bytes of the log that were looked at

    @property
    def port(self) -> int:
        """Where the router listens."""
        return self.router.port

    async def is_alive(self) -> bool:
        """Whether the router still answers."""
        return self.router.is_running and (await status_of(self.port, "/livez"))[0] == 200

    def complaints(self) -> list[str]:
        """Return the lines since the last look, of both outputs, that tell of a fault of the router's own."""
        text = (self.router.lines.read_text() if self.router.lines.exists() else "") + self.router.said()
        new, self._read = text[self._read :], len(text)
        words = ("Traceback", '"ERROR"', '"CRITICAL"', "Exception", "never retrieved", "never awaited")
        return [line for line in new.splitlines() if any(word in line for word in words)]


@asynccontextmanager
async def stand(config: dict[str, Any] | None = None) -> AsyncIterator[Stand]:
    """Start both; `config` is laid over TREE."""
    async with recorder() as backend:
        tree = merged(TREE, config or {})
        described = {"url": f"http://127.0.0.1:{backend.port}", "dialect": "openai", "models": ["m"]}
        tree["backends"] = [merged(described, tree.pop("backend", {}))]
        with tempfile.TemporaryDirectory(prefix="corpus-") as folder:
            router = RouterProcess(tree, Path(folder))
            router.start()
            try:
                await router.ready()
                yield Stand(router, backend)
            finally:
                await router.end()


@dataclass
class Found:
    """What came of one case."""

    played: Played
    seen: list[bytes] = field(default_factory=list)  # by the backend
    alive: bool = True
    took: float = 0.0  # seconds
    complaints: list[str] = field(default_factory=list)


def is_slow(case: RequestCase) -> bool:
    """Whether it lasts as long as a time limit: then it is played beside others."""
    return case.answers in ((408,), ()) or any(isinstance(step, Pause) for step in case.steps)


async def play_all(it: Stand) -> dict[str, Found]:
    """Play all cases of requests: one after the other, so that each has its own record, and the slow ones at once."""
    found: dict[str, Found] = {}
    quick = [case for case in requests() if not is_slow(case)]
    slow = [case for case in requests() if is_slow(case)]
    for case in quick:
        begun = time.monotonic()
        played = await play(it.port, case.steps, expected=len(case.answers), stays=case.stays)
        took = time.monotonic() - begun
        found[case.name] = Found(played, it.backend.take(), await it.is_alive(), took, it.complaints())
    plays = [play(it.port, case.steps, expected=len(case.answers), stays=case.stays) for case in slow]
    for case, played in zip(slow, await asyncio.gather(*plays), strict=True):
        found[case.name] = Found(played, [], await it.is_alive())
    seen = it.backend.take()
    complaints = it.complaints()
    for case in slow:  # what is seen cannot be told apart by its connection: each takes what it waits for
        found[case.name].seen = [seen.pop(seen.index(each)) for each in case.sees if each in seen]
        found[case.name].complaints = complaints
    if seen:  # what nobody waited for is everybody's
        for case in slow:
            found[case.name].seen += seen
    return found


# ---- cases of answers

ANSWERING: dict[str, Any] = {
    "timeouts": {"first_byte": "1s", "unstreamed": "1s", "idle": "1s"},
    "resume": {"mode": "off"},
}
ASKED = {
    "plain": written(steps("<<request>>")),
    "stream": written(
        steps('<<post>>\nContent-Length: <<length>>\n\n{"model":"m","stream":true,"messages":[{"role":"user"}]}')
    ),
}


@dataclass(frozen=True, slots=True)
class Answered:
    """What a client got of one backend's answer, and what the next client got."""

    status: int
    raw: bytes  # head and body
    whole: bool
    pooled: bool  # the next request came on the same connection of the backend
    clean: bool  # the next client got its own answer, and nothing else
    complaints: list[str]


async def answer_once(it: Stand, case: ResponseCase) -> Answered:
    """Let the backend answer one request as the case says, and the next one well."""
    it.backend.take()
    it.backend.answer = case.steps
    raw, is_framed = await _exchange(it.port, ASKED[case.ask])
    it.backend.answer = GOOD
    first = it.backend.connections
    again, _ = await _exchange(it.port, ASKED["plain"])
    head, _, body = raw.partition(b"\r\n\r\n")
    is_stream = case.ask == "stream" and b"text/event-stream" in head
    expected = written(GOOD).partition(b"\r\n\r\n")[2]
    return Answered(
        status=int(head.split(b" ", 2)[1]) if head else 0,
        raw=raw,
        whole=is_framed and (not is_stream or b'"error"' not in body),
        pooled=len(set(it.backend.connections)) == 1 and len(first) == 2,
        clean=again.startswith(b"HTTP/1.1 200 ") and again.endswith(expected),
        complaints=it.complaints(),
    )


async def _exchange(port: int, asked: bytes) -> tuple[bytes, bool]:
    """Send a request that ends its connection; return head and unframed body, and whether that is whole."""
    client = await Client.to(port, limit=HOLDS)
    await client.send(asked.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
    try:
        async with asyncio.timeout(PATIENCE):
            raw = await client.reader.read()
    except ConnectionError:
        raw = b""
    finally:
        await client.close()
    return unframed(raw)


def unframed(raw: bytes) -> tuple[bytes, bool]:
    """Return an answer with its body out of its framing, and whether it is whole by that."""
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    lengths = [line for line in lines if line.startswith(b"content-length:")]
    if lengths:
        return raw, len(body) == int(lengths[0][15:])
    if b"transfer-encoding: chunked" not in lines:
        return raw, True
    plain = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        plain += rest[:length]
        if not length:
            return head + b"\r\n\r\n" + plain, rest == b"\r\n"
        if rest[length : length + 2] != b"\r\n":
            break
        body = rest[length + 2 :]
    return head + b"\r\n\r\n" + plain, False
