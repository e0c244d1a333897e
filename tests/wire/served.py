"""A server of ours and raw clients on one uvloop, for the tests of the server's side of the wire."""

import asyncio
import functools
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import tornado.web
import uvloop
from tornado.httputil import HTTPServerConnectionDelegate

from router.wire.server import HTTPServer, bind_sockets

HOST = b"Host: test\r\n"
GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
PATIENCE = 10.0  # seconds after which a test hangs


def on_uvloop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test on a loop of its own; nothing may be left on it at the end."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def bounded() -> None:
            await asyncio.wait_for(test(*args, **kwargs), PATIENCE * 2)

        uvloop.run(bounded())

    return run


@dataclass
class Served:
    """A running server."""

    server: HTTPServer
    port: int
    events: list[Any] = field(default_factory=list)  # what handlers have to tell


@asynccontextmanager
async def serving(
    what: HTTPServerConnectionDelegate | list[Any] | type[tornado.web.RequestHandler], **options: Any
) -> AsyncIterator[Served]:
    """Serve a delegate, a list of routes or one handler for every path; see that no connection is left."""
    served = Served(None, 0)  # type: ignore[arg-type]
    if isinstance(what, type):
        what = [(".*", what)]
    if isinstance(what, list):
        what = tornado.web.Application(what, served=served, log_function=lambda handler: None)
    served.server = HTTPServer(what, **options)
    sockets = bind_sockets("127.0.0.1", 0)
    served.port = sockets[0].getsockname()[1]
    served.server.add_sockets(sockets)
    try:
        yield served
    finally:
        served.server.stop()
        await served.server.close_all_connections()
        assert served.server.connections == 0


class Client:
    """A client that sends bytes as they are and reads answers one by one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, port: int, **options: Any) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", port, **options))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, *, head_only: bool = False) -> "Answer":
        async def read() -> Answer:
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head[:-4].split(b"\r\n")
            answer = Answer(int(first.split(b" ", 2)[1]), {})
            for line in lines:
                name, _, value = line.partition(b":")
                assert name.lower() not in answer.headers or name.lower() == b"set-cookie"
                answer.headers[name.lower()] = value.strip()
            if not head_only and answer.status not in (100, 204, 304):
                answer.body = await self._body(answer.headers)
            return answer

        return await asyncio.wait_for(read(), PATIENCE)

    async def _body(self, headers: dict[bytes, bytes]) -> bytes:
        if b"content-length" in headers:
            return await self.reader.readexactly(int(headers[b"content-length"]))
        if headers.get(b"transfer-encoding") != b"chunked":
            return await self.reader.read()
        body = b""
        while True:
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            data = await self.reader.readexactly(size + 2)
            assert data[-2:] == b"\r\n"
            if not size:
                return body
            body += data[:-2]

    async def is_closed(self) -> bool:
        """Wait for the server's end of the connection; True when nothing came before it."""
        try:
            return await asyncio.wait_for(self.reader.read(), PATIENCE) == b""
        except ConnectionResetError:
            return True

    def reset(self) -> None:
        """Leave with an RST or a FIN, at once."""
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


@dataclass
class Answer:
    """One answer."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes = b""


async def ask(port: int, raw: bytes, *, head_only: bool = False) -> Answer:
    """Send bytes on a connection of their own and return the first answer."""
    client = await Client.to(port)
    await client.send(raw)
    answer = await client.answer(head_only=head_only)
    await client.close()
    return answer


async def until(condition: Callable[[], Any], *, within: float = 5.0) -> float:
    """Wait until a condition holds and return how long it took; fails after `within` seconds."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not condition():
        assert loop.time() - began < within, "it did not happen"
        await asyncio.sleep(0.005)
    return loop.time() - began


def is_collected(reference: Callable[[], Any]) -> bool:
    """Whether the object of a weak reference is gone."""
    gc.collect()
    return reference() is None


def quiet(name: str) -> Callable[[Any], Any]:
    """Silence a logger for one test that provokes it."""

    def decorate(test: Any) -> Any:
        @functools.wraps(test)
        def run(*args: Any, **kwargs: Any) -> Any:
            logger = logging.getLogger(name)
            before = logger.disabled
            logger.disabled = True
            try:
                return test(*args, **kwargs)
            finally:
                logger.disabled = before

        return run

    return decorate
