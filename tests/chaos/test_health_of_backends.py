"""Busy, coming back, flapping: what is told apart from dead."""

import asyncio
import time

import pytest

from router.simulator.settings import Settings
from tests.chaos.inside import inside
from tests.chaos.processes import until
from tests.front import Front, broken, run


def usable(it: Front, number: int = 0) -> bool:
    return it.app.registry.snapshot(time.monotonic())[number].usable


async def asked_for(it: Front, seconds: float) -> list[int]:
    """Ask again and again for some time; return how many each backend has served."""
    before = [backend.figures.served for backend in it.backends]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert (await it.chat()).code == 200
        await asyncio.sleep(0.002)
    return [backend.figures.served - old for backend, old in zip(it.backends, before, strict=True)]


@pytest.mark.row(8)
@pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=pytest.mark.long)])
def test_a_backend_whose_probes_are_late_while_its_streams_go_on_is_busy_and_not_down(seconds: int) -> None:
    async def test() -> None:
        config = {"health": {"interval": 0.1, "timeout": 0.3}}
        async with inside(Settings(itl=0.02), Settings(itl=0.02), config=config) as it:
            end = time.monotonic() + seconds

            async def stream_on() -> list[bytes]:
                bodies = []
                while time.monotonic() < end:
                    bodies.append((await it.chat(stream=True, max_tokens=40, ignore_eos=True)).body)
                return bodies

            clients = [asyncio.ensure_future(stream_on()) for _ in range(8)]
            await asyncio.sleep(0.3)
            broken(it.backends[0], health_delay=10.0)
            bodies = [body for each in await asyncio.gather(*clients) for body in each]
            assert all(body.endswith(b"data: [DONE]\n\n") for body in bodies)
            assert await it.metric("router_backend_changes_total", change="health", to="down") == 0
            assert usable(it)
            served = [backend.figures.served for backend in it.backends]
            assert served[0] < served[1], "its share is smaller"
            broken(it.backends[0])

    run(test, timeout=120)


@pytest.mark.row(16)
def test_a_backend_that_comes_back_gets_its_share_step_by_step() -> None:
    async def test() -> None:
        async with inside(Settings(), Settings(), config={"health": {"slow_start": 3}}) as it:
            broken(it.backends[0], refuse=True)
            await it.chat()
            await until(lambda: not usable(it))
            broken(it.backends[0])
            await until(lambda: usable(it))
            first, other = await asked_for(it, 1.5)
            assert 0 < first <= (first + other) / 4, "half of its fair share, in the first half of the time"
            await asyncio.sleep(2)
            first, other = await asked_for(it, 0.5)
            assert first >= (first + other) / 3

    run(test, timeout=60)


@pytest.mark.row(16)
def test_the_routers_own_start_is_no_slow_start() -> None:
    async def test() -> None:
        async with inside(Settings(), Settings(), config={"health": {"slow_start": 60}}) as it:
            first, other = await asked_for(it, 0.5)
            assert abs(first - other) <= 2

    run(test)


@pytest.mark.row(17)
def test_a_backend_that_goes_up_and_down_stays_out_longer_each_time_and_no_client_notices() -> None:
    async def test() -> None:
        config = {"health": {"interval": 0.1, "rise": 1, "slow_start": 0, "max_down_for": 20}}
        async with inside(Settings(), Settings(), config=config) as it:
            out: list[float] = []
            stop = asyncio.Event()
            codes: list[int] = []

            async def ask_on() -> None:
                while not stop.is_set():
                    codes.append((await it.chat()).code)
                    await asyncio.sleep(0.01)

            asking = asyncio.ensure_future(ask_on())
            for _ in range(3):
                broken(it.backends[0], refuse=True)
                await until(lambda: not usable(it))
                broken(it.backends[0])
                out.append(await until(lambda: usable(it)))
                await asyncio.sleep(0.1)
            stop.set()
            await asking
            assert set(codes) == {200}
            assert out[-1] > out[0], out

    run(test, timeout=90)
