"""An application at work: what the processes need of it, and what they ask it for."""

import asyncio
import logging
import os
import socket
from collections.abc import Iterator

import pytest
from tornado.httputil import RequestStartLine

from router.access.overload import Marks, Strain
from router.app import App
from router.config import Config
from router.process.counts import Connections, Table, new_file
from router.process.serving import Application, Serving
from router.process.sockets import Listener, Listening, Role
from router.process.telling import Farewell
from router.wire.acceptor import Share
from router.wire.listen import bind_sockets
from router.wire.service import Context, Refused
from tests.front import run, until

PATIENCE = 10.0  # seconds after which a test hangs


def test_the_router_itself_is_such_an_application() -> None:
    """A name that App lacks would be found only when a signal comes."""
    wanted = {name for name in vars(Application) if not name.startswith("_")}
    assert wanted <= set(dir(App))
    assert asyncio.iscoroutinefunction(App.start)
    assert asyncio.iscoroutinefunction(App.stop)


def test_each_listener_knows_what_its_application_knows() -> None:
    """Whether memory is short, and which routes there are for whom."""
    refused = Refused(431, "", Context("10.0.0.9", "http"), b"", RequestStartLine("GET", "/config", "HTTP/1.1"))

    async def test() -> None:
        app = App(Config.model_validate({"backends": [{"url": "http://127.0.0.1:9"}]}))
        await app.start()
        serving = Serving(app, [], Listening())
        clients, operators = (serving._server_of(role)._service for role in (Role.PUBLIC, Role.ADMIN))
        for service in (clients, operators):
            assert not service.is_short()
            service.render_error(refused)
        app._guard.marks = Marks(memory=1 << 20)
        await until(lambda: app._guard.strain is Strain.MEMORY)
        assert clients.is_short()
        assert operators.is_short()
        routes = [labels for labels in app.metrics.dump()["router_requests"].samples if 'status="431"' in labels]
        assert sorted(labels.split(",")[0] for labels in routes) == ['route="/config"', 'route="other"']
        await app.stop()

    run(test)


@pytest.fixture(params=["alone", "beside another"])
def share(request: pytest.FixtureRequest) -> Iterator[Share | None]:
    if request.param == "alone":
        yield None
        return
    fd = new_file()
    yield Connections(Table(fd), 0)
    os.close(fd)


def test_a_client_that_was_accepted_right_before_the_end_is_still_served(share: Share | None) -> None:
    """Whatever turn of the loop the end falls into; who was not accepted waits for a successor."""
    request = b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n"

    async def end_after(turns: int) -> bool:
        """Return whether the client was accepted; it is to be served then."""
        app = App(Config.model_validate({"backends": [{"url": "http://127.0.0.1:9"}]}))
        (sock,) = bind_sockets("127.0.0.1", 0)
        with sock.dup() as successor:
            serving = Serving(app, [Listener(sock, Role.PUBLIC, "")], Listening(), share=share)
            await serving.start()
            with socket.create_connection(sock.getsockname()) as client:
                for _ in range(turns):
                    await asyncio.sleep(0)
                ending = asyncio.create_task(end(serving))
                await asyncio.sleep(0.05)  # it is under way
                is_accepted = not waits(successor)
                if is_accepted:
                    loop = asyncio.get_running_loop()
                    client.setblocking(False)
                    await loop.sock_sendall(client, request)
                    answer = await asyncio.wait_for(loop.sock_recv(client, 65536), PATIENCE)
                    assert answer.startswith(b"HTTP/1.1 "), turns
            await asyncio.wait_for(ending, PATIENCE)
        return is_accepted

    async def test() -> None:
        accepted = [await end_after(turns) for turns in range(8)]
        assert accepted[-1]

    run(test)


async def end(serving: Serving) -> None:
    await serving.drain(Farewell(grace=PATIENCE), unlisten=lambda: None)
    await serving.stop()


def waits(listening: socket.socket) -> bool:
    """Whether a connection waits to be accepted."""
    try:
        listening.accept()[0].close()
    except BlockingIOError:
        return False
    return True


@pytest.mark.parametrize("grace", [0.0, 0.2])
def test_who_is_idle_has_nothing_to_cut_even_without_time_to_drain(
    grace: float, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        app = App(Config.model_validate({"backends": [{"url": "http://127.0.0.1:9"}]}))
        (sock,) = bind_sockets("127.0.0.1", 0)
        serving = Serving(app, [Listener(sock, Role.PUBLIC, "")], Listening(drain_timeout=0.0))
        await serving.start()
        await serving.drain(Farewell(grace=grace), unlisten=lambda: None)
        await serving.stop()

    run(test)
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING] == []
