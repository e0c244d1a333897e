"""What holds for every test of faults: it leaves nothing behind (row 93), and the long ones are asked for."""

import gc
import os
from collections.abc import Iterator

import pytest
import uvloop

from tests.chaos.released import LEDGER, own_descriptors

FAILED = pytest.StashKey[bool]()
LONG = "ROUTER_CHAOS"  # 1: the long tests run too; `make chaos` sets it


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks."""
    config.addinivalue_line("markers", "row(*numbers): the rows of docs/reliability.md that a test holds")
    config.addinivalue_line("markers", f"long: runs only where {LONG}=1 (make chaos)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the long tests out, unless they are asked for."""
    if os.environ.get(LONG) == "1":
        return
    for item in items:
        if item.get_closest_marker("long") is not None:
            item.add_marker(pytest.mark.skip(reason=f"long: {LONG}=1 (make chaos) runs it"))


@pytest.fixture(autouse=True, scope="session")
def _once() -> None:
    """Have libuv open what it keeps for the whole process, and spare the collector what other tests have left."""
    uvloop.new_event_loop().close()
    gc.collect()
    gc.freeze()  # else each look at what lives would go through all that pytest holds


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Note which tests have failed: what those leave is not looked at."""
    outcome = yield
    if outcome.get_result().failed:
        item.stash[FAILED] = True


@pytest.fixture(autouse=True)
def _everything_is_given_back(request: pytest.FixtureRequest) -> Iterator[None]:
    """Row 93: each router that a test has started was looked at and found clean, and no descriptor of ours is left."""
    LEDGER.clear()
    before = own_descriptors()
    yield
    if FAILED in request.node.stash:
        return
    assert LEDGER.opened == LEDGER.checked, "a router was not looked at"
    left = own_descriptors() - before
    assert not left, f"descriptors left: {dict(left)}"
