"""A router within the test's own process, for what needs no signals: quick, and looked at directly at the end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from router.simulator.server import Simulator
from router.simulator.settings import Settings
from tests.chaos.released import LEDGER, Inside, inside_released, pending_timers, tasks
from tests.front import Front, front, merged, simulated
from tests.relay.scripted import Asked, Script, scripted

PATIENT = {"pool": {"keepalive": 1}}


@asynccontextmanager
async def inside(*settings: Settings, config: dict[str, Any] | None = None, **more: Any) -> AsyncIterator[Front]:
    """As tests.front.front, and hold at the end that the router holds what it held when it was ready."""
    async with front(*settings, config=merged(PATIENT, config or {}), **more) as cluster, _looked_at(cluster):
        yield cluster
    _nothing_left()


@asynccontextmanager
async def byte_by_byte(
    *scripts: Script, config: dict[str, Any] | None = None
) -> AsyncIterator[tuple[Front, list[Asked]]]:
    """As tests.relay.scripted.scripted, with the same look at the end."""
    async with scripted(*scripts, config=merged(PATIENT, config or {})) as (cluster, asked), _looked_at(cluster):
        yield cluster, asked
    _nothing_left()


@asynccontextmanager
async def simulators(*settings: Settings) -> AsyncIterator[list[Simulator]]:
    """Start simulated servers without a router before them: there is a proxy between."""
    found = [simulated(each) for each in settings]
    for each in found:
        await each.start()
    try:
        yield found
    finally:
        for each in found:
            await each.stop()


@asynccontextmanager
async def _looked_at(cluster: Front) -> AsyncIterator[None]:
    LEDGER.opened.append(cluster.url)
    before = Inside.now()
    yield
    cluster.client.close()
    await inside_released(cluster, before=before)
    LEDGER.checked.append(cluster.url)


def _nothing_left() -> None:
    """A router that has stopped has no task and no timer any more."""
    left = {name: count for name, count in tasks().items() if name.startswith(("Checker", "Relay", "Pool", "Course"))}
    timers = {name: count for name, count in pending_timers().items() if "router.wire" in name}
    assert not left, f"tasks after the stop: {left}"
    assert not timers, f"timers after the stop: {timers}"
