"""An application at work: what the processes need of it, and what they ask it for."""

import asyncio

from tornado.httputil import RequestStartLine

from router.access.overload import Marks, Strain
from router.app import App
from router.config import Config
from router.process.serving import Application, Serving
from router.process.sockets import Listening, Role
from router.wire.service import Context, Refused
from tests.front import run, until


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
