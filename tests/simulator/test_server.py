import asyncio

import pytest

from router.simulator.faults import Faults
from router.simulator.server import Simulator
from router.simulator.settings import Settings
from tests.simulator.asking import CHAT, HELLO, chat, raw_request, run, send, simulated, until


def test_several_live_in_one_loop() -> None:
    async def test() -> None:
        async with simulated() as one, simulated() as other:
            assert one.port != other.port
            await chat(one)
            assert (one.figures.served, other.figures.served) == (1, 0)
            assert str(one.port) in repr(one)

    run(test)


def test_a_taken_port_is_told() -> None:
    async def test() -> None:
        async with simulated() as simulator:
            with pytest.raises(OSError, match="in use"):
                await Simulator(Settings(port=simulator.port)).start()

    run(test)


def test_a_refusing_server_refuses_and_comes_back_on_the_same_port() -> None:
    async def test() -> None:
        async with simulated() as simulator:
            port = simulator.port
            simulator.faults = Faults(refuse=True)
            await asyncio.sleep(0.01)
            with pytest.raises(ConnectionRefusedError):
                await chat(simulator)
            simulator.faults = Faults()
            await asyncio.sleep(0.01)
            assert (await chat(simulator)).status == 200
            assert simulator.port == port

    run(test)


def test_it_comes_back_by_itself_when_told_when() -> None:
    async def test() -> None:
        async with simulated() as simulator:
            simulator.faults = Faults(refuse=True, refuse_for=0.05)
            await until(lambda: not simulator.faults.refuse)
            await asyncio.sleep(0.01)
            assert (await chat(simulator)).status == 200

    run(test)


def test_a_refusing_server_finishes_what_it_has_begun() -> None:
    async def test() -> None:
        async with simulated(Settings(tokens=5, itl=0.1)) as simulator:
            asked = asyncio.ensure_future(chat(simulator, stream=True))
            await until(lambda: simulator.figures.running == 1)
            simulator.faults = Faults(refuse=True)
            assert (await asked).capture.is_whole

    run(test)


def test_stopping_ends_streams_as_abort_and_closes_the_port() -> None:
    async def test() -> None:
        async with simulated(Settings(itl=5)) as simulator:
            asked = asyncio.ensure_future(chat(simulator, stream=True))
            await until(lambda: simulator.figures.running == 1)
            await simulator.stop()
            reply = await asked
            assert reply.events[-2]["choices"][0]["finish_reason"] == "abort"
            assert reply.capture.is_whole
            with pytest.raises(ConnectionRefusedError):
                await chat(simulator)

    run(test)


def test_stopping_lets_answers_end_within_the_shutdown_timeout() -> None:
    async def test() -> None:
        async with simulated(Settings(tokens=5, itl=0.1, shutdown_timeout=5)) as simulator:
            asked = asyncio.ensure_future(chat(simulator, stream=True))
            await until(lambda: simulator.figures.running == 1)
            await simulator.stop()
            assert (await asked).events[-2]["choices"][0]["finish_reason"] == "stop"

    run(test)


def test_killing_cuts_streams_without_their_end() -> None:
    async def test() -> None:
        async with simulated(Settings(itl=5)) as simulator:
            asked = asyncio.ensure_future(chat(simulator, stream=True))
            await until(lambda: simulator.figures.running == 1)
            await simulator.kill()
            assert not (await asked).capture.is_whole

    run(test)


def test_idle_connections_are_closed_after_the_keepalive() -> None:
    async def test() -> None:
        async with simulated(Settings(keepalive=0.05)) as simulator:
            raw = await send(simulator, raw_request("POST", CHAT, HELLO, {"Connection": "keep-alive"}))
            assert raw.startswith(b"HTTP/1.1 200")

    run(test)
