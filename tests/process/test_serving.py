"""An application at work: what the processes need of it."""

import asyncio

from router.app import App
from router.process.serving import Application


def test_the_router_itself_is_such_an_application() -> None:
    """A name that App lacks would be found only when a signal comes."""
    wanted = {name for name in vars(Application) if not name.startswith("_")}
    assert wanted <= set(dir(App))
    assert asyncio.iscoroutinefunction(App.start)
    assert asyncio.iscoroutinefunction(App.stop)
