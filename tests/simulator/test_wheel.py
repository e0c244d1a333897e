import asyncio

from router.simulator.wheel import TimerWheel
from tests.simulator.asking import run


def test_callbacks_come_in_the_order_of_their_times_and_not_early() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        wheel = TimerWheel(loop)
        called: list[tuple[str, float]] = []
        began = loop.time()
        for name, after in (("c", 0.03), ("a", 0.005), ("b", 0.02), ("a2", 0.005)):
            wheel.at(began + after, lambda name=name: called.append((name, loop.time() - began)))
        while len(called) < 4:
            await asyncio.sleep(0.002)

        assert [name for name, _ in called] == ["a", "a2", "b", "c"]
        assert all(late >= after - 0.002 for (_, late), after in zip(called, (0.005, 0.005, 0.02, 0.03), strict=True))
        assert len(wheel) == 0

    run(test)


def test_a_callback_can_ask_for_the_next() -> None:
    async def test() -> None:
        wheel = TimerWheel(asyncio.get_running_loop())
        ticks: list[float] = []

        def tick() -> None:
            ticks.append(wheel.time())
            if len(ticks) < 5:
                wheel.at(ticks[-1] + 0.003, tick)

        wheel.at(wheel.time(), tick)
        while len(ticks) < 5:
            await asyncio.sleep(0.002)

        assert ticks == sorted(ticks)

    run(test)


def test_asking_for_a_later_one_does_not_delay_what_waits() -> None:
    async def test() -> None:
        wheel = TimerWheel(asyncio.get_running_loop())
        called = asyncio.Event()
        began = wheel.time()
        wheel.at(began + 0.005, lambda: wheel.at(began + 5, lambda: None))
        wheel.at(began + 0.02, called.set)
        await called.wait()

        assert wheel.time() - began < 4

    run(test)


def test_a_stopped_wheel_calls_nobody() -> None:
    async def test() -> None:
        wheel = TimerWheel(asyncio.get_running_loop())
        wheel.at(wheel.time() + 0.005, lambda: None)
        wheel.stop()
        await asyncio.sleep(0.02)

        assert len(wheel) == 0

    run(test)
