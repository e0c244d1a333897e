"""Clients that ask without a pause, of every kind that a metric tells apart."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from router.errors import WireError
from tests.chaos.cluster import Cluster

MODELS = ("small", "large")
PAUSE = 0.02  # seconds between two requests of one client
REST = 0.1  # seconds after one that found nobody
TIMEOUT = 10.0
USERS = 40  # all of them say the same, so each has sessions of his own


def _chat(model: str, **fields: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": "Hello"}], **fields}


# What a Mistral model does not take, so that rules of the translation have something to do.
TRANSLATED = {
    "messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "name": "bob", "content": "Hi"}],
    "tools": [{"type": "function", "function": {"name": "files.read"}}],
}
USUAL = (
    _chat("small", stream=True),
    _chat("large", stream=True),
    _chat("small"),
    _chat("large", **TRANSLATED),
    ("/v1/embeddings", {"model": "small", "input": "Hello"}),
)
KINDS = (*USUAL, *USUAL, _chat("no-such-model"))


class Traffic:
    """As many clients at a time as there are in `clients`."""

    def __init__(self, it: Cluster) -> None:
        """`it`: what is asked."""
        self._it = it
        self._tasks: list[asyncio.Task[None]] = []
        self._asked: dict[asyncio.Task[None], float] = {}  # when each began what it asked last (seconds since 1970)

    def asked_since(self, moment: float) -> bool:
        """Return whether no client waits any more for what it asked before a time (seconds since 1970)."""
        return all(self._asked.get(each, 0.0) >= moment for each in self._tasks)

    async def clients(self, count: int) -> None:
        """Have so many from now on; those that are too many leave in the middle of what they wait for."""
        while len(self._tasks) < count:
            self._tasks.append(asyncio.ensure_future(self._ask_on(len(self._tasks))))
        leaving, self._tasks = self._tasks[count:], self._tasks[:count]
        for each in leaving:
            each.cancel()
        for each in leaving:
            with contextlib.suppress(asyncio.CancelledError):
                await each
            self._asked.pop(each, None)

    async def _ask_on(self, number: int) -> None:
        task = asyncio.current_task()
        assert task is not None
        while True:
            number += 1
            self._asked[task] = time.time()
            path, body = KINDS[number % len(KINDS)]
            body = {**body, "user": str(number % USERS)}
            trace = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
            more: dict[str, Any] = {"headers": {"traceparent": trace}}
            if body.get("stream"):
                more["streaming_callback"] = _ignore
            try:
                answer = await self._it.ask(path, body, timeout=TIMEOUT, **more)
                pause = REST if answer.code == 503 else PAUSE
            except (WireError, OSError):  # broken as it was meant to be, or nobody listens
                pause = REST
            await asyncio.sleep(pause)


def _ignore(data: bytes) -> None:
    pass


@asynccontextmanager
async def traffic(it: Cluster, clients: int) -> AsyncIterator[Traffic]:
    """Ask until the end of the block."""
    one = Traffic(it)
    await one.clients(clients)
    try:
        yield one
    finally:
        await one.clients(0)
