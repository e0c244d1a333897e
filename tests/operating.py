"""An operator before a router under test: its admin listener on a real socket, and configurations read anew."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tornado.httpclient import HTTPResponse

from router.config import Config, Loaded
from router.wire.client import PooledHTTPClient, Request, parse_url
from router.wire.server import HTTPServer, bind_sockets
from tests.front import Front, merged

JSON = {"Content-Type": "application/json"}


class Operator:
    """Asks the admin listener."""

    def __init__(self, port: int) -> None:
        """`port`: of the listener."""
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.client = PooledHTTPClient(force_instance=True)
        self.server: HTTPServer | None = None  # the listener itself, where it is of this process

    @property
    def connections(self) -> int:
        """Return how many connections the listener has."""
        assert self.server is not None
        return self.server.connections

    async def ask(
        self, method: str, path: str, body: object = None, *, headers: dict[str, str] | None = None
    ) -> HTTPResponse:
        """Send a request; anything but bytes becomes JSON. `headers`: JSON's unless given."""
        given = JSON if headers is None else headers
        lines = "".join(f"{name}: {value}\r\n" for name, value in given.items()).encode()
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        origin, target = parse_url(self.url + path)
        request = Request(method=method, origin=origin, target=target, header_lines=lines, body=raw)
        return await self.client.fetch(request, raise_error=False)

    async def fields(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Return the object of an answer that must be a success."""
        answer = await self.ask(method, path, body)
        assert answer.code < 300, answer.body
        found: dict[str, Any] = json.loads(answer.body)
        return found

    async def backends(self) -> dict[str, dict[str, Any]]:
        """Return what is told of each backend, by name."""
        listed = await self.fields("GET", "/admin/backends")
        return {each["name"]: each for each in listed["data"]}


@asynccontextmanager
async def operator(cluster: Front) -> AsyncIterator[Operator]:
    """Serve the admin listener of a router under test."""
    app = cluster.app
    server = HTTPServer(app.admin_delegate, limits=app.admin_limits, render_error=app.render_admin_error)
    sockets = bind_sockets("127.0.0.1", 0)
    server.add_sockets(sockets)
    one = Operator(sockets[0].getsockname()[1])
    one.server = server
    try:
        yield one
    finally:
        one.client.close()
        server.stop()
        await server.close_all_connections()


def changed(config: Config, **over: Any) -> Loaded:
    """Return a configuration as if it was read anew, with what `over` says otherwise; lists are replaced."""
    tree = config.model_dump()
    return Loaded(Config.model_validate(merged(tree, over)))


def with_urls(config: Config, *urls: str, **over: Any) -> Loaded:
    """Return it with these backends, which speak OpenAI's dialect."""
    return changed(config, backends=[{"url": url, "dialect": "openai"} for url in urls], **over)
