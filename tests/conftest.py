"""What all tests share: pytest-tornado's fixtures on our wire, and tools that a test needs from the system.

pytest-tornado finds `io_loop` and `http_server` by name, so its other fixtures (`http_client`, `base_url`, `http_port`)
and its `gen_test` marker work on what these two return.
"""

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import settings
from tornado.ioloop import IOLoop

from tests.authority import Authority

# Tests start hundreds of processes: each would compile all modules anew where somebody has switched this on.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Whatever else runs on the machine may make an example wait.
settings.register_profile("tests", settings(deadline=None))
settings.load_profile("tests")

TEST_TIMEOUT = 10  # seconds for a server to end what a test has left open


@pytest.fixture
def io_loop() -> Iterator[IOLoop]:
    """A Tornado loop on uvloop, made without asyncio's event loop policy, which is on its way out."""
    loop = uvloop.new_event_loop()
    tornado_loop = IOLoop(asyncio_loop=loop, make_current=True)
    yield tornado_loop
    loop.run_until_complete(_end_tasks())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    tornado_loop.close(all_fds=True)
    asyncio.set_event_loop(None)


async def _end_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def http_server(request: pytest.FixtureRequest, io_loop: IOLoop, _unused_port: tuple[Any, int]) -> Iterator[Any]:
    """Our own server in front of the `app` fixture, on the port that pytest-tornado has chosen."""
    from router.wire.server import HTTPServer

    server = HTTPServer(request.getfixturevalue(request.config.option.app_fixture))
    server.add_socket(_unused_port[0])
    yield server
    server.stop()
    io_loop.run_sync(server.close_all_connections, timeout=TEST_TIMEOUT)


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """Find a command: `tool("openssl")` returns its path, or skips the test (fails it where ROUTER_CI is 1)."""
    return _find


def _find(name: str) -> str:
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        if os.environ.get("ROUTER_CI") == "1":
            pytest.fail(f"{name} is not installed, and ROUTER_CI=1 allows no skipping")
        pytest.skip(f"{name} is not installed")
    return path


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority for certificates of all tests."""
    return Authority(tmp_path_factory.mktemp("tls"), _find("openssl"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody trusts."""
    return Authority(tmp_path_factory.mktemp("tls"), _find("openssl"), "stranger")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's top."""
    return Path(__file__).resolve().parent.parent
