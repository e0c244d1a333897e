"""The check itself: it finds what is not given back."""

import asyncio
import socket

import pytest

from router.simulator.settings import Settings
from tests.chaos import released
from tests.chaos.cluster import cluster
from tests.chaos.inside import inside
from tests.chaos.raw import RawClient, chat
from tests.front import CHAT, run


@pytest.mark.row(93)
def test_an_exchange_that_still_runs_in_a_router_process_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(released, "WITHIN", 0.5)

    async def test() -> None:
        async with cluster(1, simulate=["--ttft", "20s"]) as it:
            client = await RawClient.connect(it.router.port)
            client.send(chat())
            await asyncio.sleep(0.3)
            before = it.descriptors()
            with pytest.raises(AssertionError, match="router_requests_in_flight"):
                await released.process_released(it.router.page, it.descriptors, before=before, backends=1)
            client.close()
            monkeypatch.undo()

    run(test, timeout=60)


@pytest.mark.row(93)
def test_an_exchange_a_task_or_a_timer_that_is_left_in_this_process_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(released, "WITHIN", 0.3)

    async def test() -> None:
        async with inside(Settings(ttft=20)) as it:
            before = released.Inside.now()
            client = await RawClient.connect(it.port)
            client.send(chat(CHAT))
            await asyncio.sleep(0.2)
            with pytest.raises(AssertionError, match="1 exchanges"):
                await released.inside_released(it, before=before)
            client.close()
            timers = [asyncio.get_running_loop().call_later(60, print) for _ in range(9)]
            sleepers = [asyncio.ensure_future(asyncio.sleep(60)) for _ in range(9)]
            await asyncio.sleep(0)
            with pytest.raises(AssertionError, match="task sleep"):
                await released.inside_released(it, before=before)
            for each in sleepers:
                each.cancel()
            with pytest.raises(AssertionError, match="timer"):
                await released.inside_released(it, before=before)
            for each in timers:
                each.cancel()
            monkeypatch.undo()

    run(test)


@pytest.mark.row(93)
def test_a_descriptor_of_our_own_is_found() -> None:
    before = released.own_descriptors()
    with socket.socket():
        assert released.own_descriptors() - before
    assert not released.own_descriptors() - before
