"""A router and simulated backends in one process, for tests: real sockets, the whole App, nothing replaced."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import uvloop
from tornado.httpclient import HTTPResponse

from bench.processes import free_port
from router.app import App
from router.config import Config
from router.simulator.faults import Faults
from router.simulator.server import Simulator
from router.simulator.settings import Settings
from router.wire.client import PooledHTTPClient, Request, parse_url
from router.wire.server import HTTPServer, bind_sockets

CHAT = {"model": "simulated-model", "messages": [{"role": "user", "content": "Say hello."}]}
# Probes quick enough for a test; everything else as shipped.
QUICK: dict[str, Any] = {
    "health": {"interval": 0.1, "timeout": 1.0},
    "logging": {"file": "/dev/null"},
    "server": {"reveal_backend": True},
}


def run(test: Callable[[], Any], *, timeout: float = 30.0) -> None:
    """Run an async test on uvloop, within a generous deadline."""

    async def bounded() -> None:
        async with asyncio.timeout(timeout):
            await test()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bounded())


class Front:
    """The router under test and its backends."""

    def __init__(self, app: App, server: HTTPServer, port: int, backends: list[Simulator]) -> None:
        """Made by `front`."""
        self.app = app
        self.server = server
        self.port = port
        self.backends = backends
        self.url = f"http://127.0.0.1:{port}"
        self.client = PooledHTTPClient(force_instance=True)

    async def ask(self, path: str, body: object = None, *, method: str | None = None, **more: Any) -> HTTPResponse:
        """Send a request; a dict becomes JSON, bytes go as they are. `more`: headers, streaming_callback ..."""
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = (
            {"Content-Type": "application/json", **more.pop("headers", {})}
            if raw is not None
            else more.pop("headers", {})
        )
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
        origin, target = parse_url(self.url + path)
        verb = method or ("GET" if raw is None else "POST")
        request = Request(method=verb, origin=origin, target=target, header_lines=lines, body=raw, **more)
        return await self.client.fetch(request, raise_error=False)

    async def chat(self, **fields: object) -> HTTPResponse:
        """Ask for a chat completion."""
        return await self.ask("/v1/chat/completions", {**CHAT, **fields})

    async def exchange(self, raw: bytes, *, until: bytes | None = None) -> bytes:
        """Send raw bytes; return what comes until the end of the connection, or until `until` came."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(raw)
        got = b""
        while until is None or until not in got:
            data = await reader.read(65536)
            if not data:
                break
            got += data
        writer.close()
        return got

    async def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that carry these labels."""
        page = self.app.metrics.render("")[1].decode()
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        rows = [line for line in page.splitlines() if line.split("{")[0].split(" ")[0] == name]
        return sum(float(row.rsplit(" ", 1)[1]) for row in rows if all(each in row for each in wanted))


async def until(
    condition: Callable[[], bool],
    *,
    timeout: float = 10.0,
    what: Callable[[], object] = lambda: "it did not come about in time",
) -> None:
    """Wait for a condition, within a generous deadline; `what()` tells how it is where it did not come about."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, what()
        await asyncio.sleep(0.01)


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with what `over` says otherwise, at every depth."""
    result = dict(base)
    for key, value in over.items():
        result[key] = merged(result.get(key, {}), value) if isinstance(value, dict) else value
    return result


@asynccontextmanager
async def front(
    *settings: Settings, config: dict[str, Any] | None = None, urls: list[str] | None = None, ready: bool = True
) -> AsyncIterator[Front]:
    """Start simulated backends (one per `settings`, at least one) or use `urls`, and a router before them.

    Everything passes as it is: backends speak OpenAI's dialect unless `backend_options` says otherwise.

    At the end it checks that nothing is left: no exchange, no attempt, no connection of a client.
    """
    backends = [simulated(each) for each in (settings or (Settings(),))] if urls is None else []
    found = list(urls or [])
    for backend in backends:
        found.append(f"http://127.0.0.1:{await backend.start()}")
    tree = merged(QUICK, config or {})
    tree["backends"] = [
        merged({"url": url, "dialect": "openai"}, dict(more))
        for url, more in zip(found, tree.pop("backend_options", [{}] * len(found)), strict=True)
    ]
    app = App(Config.model_validate(tree))
    await app.start()
    server = HTTPServer(app.delegate, limits=app.limits, render_error=app.render_error)
    sockets = bind_sockets("127.0.0.1", 0)
    server.add_sockets(sockets)
    cluster = Front(app, server, sockets[0].getsockname()[1], backends)
    try:
        if ready:
            await until(lambda: app.registry.usable_count(time.monotonic()) == len(found))
        yield cluster
        cluster.client.close()
        relay = app.relay
        assert relay is not None
        await until(
            lambda: app.in_flight == 0 and server.connections == 0,
            what=lambda: f"left: {app.in_flight} exchanges, connections {server._service.connections}",
        )
        await until(lambda: relay.live == 0)
        assert all(backend.in_flight == 0 for backend in app.registry.backends)
    finally:
        cluster.client.close()
        server.stop()
        await server.close_all_connections()
        await app.stop()
        for backend in backends:
            await backend.stop()


def simulated(settings: Settings) -> Simulator:
    """Make a simulated backend on a port that nobody else takes while it refuses connections."""
    return Simulator(replace(settings, port=settings.port or free_port()))


def broken(backend: Simulator, **faults: Any) -> None:
    """Make a backend misbehave from now on."""
    backend.faults = Faults(**faults)
