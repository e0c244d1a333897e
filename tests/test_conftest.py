"""pytest-tornado's fixtures run on our wire and on uvloop."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop
from tornado.httpclient import AsyncHTTPClient
from tornado.ioloop import IOLoop
from tornado.web import Application, RequestHandler

from router.wire.server import HTTPServer


class WhoHandler(RequestHandler):
    def get(self) -> None:
        self.write(type(self.request.connection).__module__)


@pytest.fixture
def app() -> Application:
    return Application([("/", WhoHandler)])


@pytest.mark.gen_test
async def test_a_coroutine_is_a_test_and_speaks_to_our_wire(
    http_client: AsyncHTTPClient, http_server: HTTPServer, base_url: str, io_loop: IOLoop
) -> None:
    answer = await http_client.fetch(base_url)

    assert isinstance(http_server, HTTPServer)
    assert answer.body.startswith(b"router.wire.")
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
    assert IOLoop.current() is io_loop


@pytest.mark.gen_test
def test_a_generator_is_a_test_too(http_client: AsyncHTTPClient, base_url: str) -> object:
    answer = yield http_client.fetch(base_url)

    assert answer.code == 200


@pytest.mark.gen_test
async def test_what_a_test_leaves_open_is_ended_after_it(http_server: HTTPServer, http_port: int) -> None:
    """A connection and a task that nobody ends must not hold up the next test."""
    sock = socket.create_connection(("127.0.0.1", http_port))
    sock.setblocking(False)
    task = asyncio.create_task(asyncio.sleep(3600))
    await asyncio.sleep(0.05)
    del sock

    assert not task.done()


def test_fixtures_without_a_running_loop_work(io_loop: IOLoop) -> None:
    assert io_loop.run_sync(lambda: asyncio.sleep(0, "done")) == "done"


def test_a_missing_tool_skips_here_and_fails_in_ci(tool: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROUTER_CI", raising=False)
    with pytest.raises(pytest.skip.Exception):
        tool("no-such-tool")
    monkeypatch.setenv("ROUTER_CI", "1")
    with pytest.raises(pytest.fail.Exception):
        tool("no-such-tool")


def test_a_tool_is_found(tool: Callable[[str], str]) -> None:
    assert Path(tool("sh")).is_absolute()
