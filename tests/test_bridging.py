"""Rules of router/bridging.py: replacing all backends at once loses no request."""

import asyncio
import time

import pytest

from router.simulator.server import Simulator
from router.simulator.settings import Settings
from tests.front import Front, broken, front, run, until
from tests.operating import changed, with_urls

SLOW_TO_ANSWER = 0.3  # seconds until a new backend answers its first probe


async def replacement(cluster: Front, *, models: tuple[str, ...] = ("simulated-model",)) -> Simulator:
    """Start a backend that takes its time to be known."""
    one = Simulator(Settings(models=models))
    await one.start()
    broken(one, health_delay=SLOW_TO_ANSWER)
    return one


def urls(cluster: Front) -> list[str]:
    return [backend.spec.url for backend in cluster.app.registry.backends]


@pytest.mark.row(82)
def test_all_backends_are_replaced_at_once_and_no_request_finds_nobody() -> None:
    async def test() -> None:
        async with front(Settings()) as cluster:
            app, config = cluster.app, cluster.app.config
            other = await replacement(cluster)
            codes: list[int] = []
            stopping = asyncio.Event()

            async def ask() -> None:
                while not stopping.is_set():
                    codes.append((await cluster.chat()).code)

            asking = asyncio.create_task(ask())
            lines = app.apply(with_urls(config, other.url))
            assert len(lines) == 2
            assert [backend.url for backend in app.config.backends] == [other.url]
            assert urls(cluster) == [other.url, cluster.backends[0].url], "the old one stays until the new one is known"
            await until(lambda: urls(cluster) == [other.url])
            await asyncio.sleep(0.2)
            stopping.set()
            await asking
            assert set(codes) == {200}
            app.apply(with_urls(config, cluster.backends[0].url))
            await until(lambda: urls(cluster) == [cluster.backends[0].url])
            await other.stop()

    run(test)


def test_the_only_one_of_a_model_stays_though_others_work() -> None:
    async def test() -> None:
        async with front(Settings(models=("a",)), Settings(models=("b",))) as cluster:
            app, config = cluster.app, cluster.app.config
            first, second = (backend.url for backend in cluster.backends)
            other = await replacement(cluster, models=("b",))
            app.apply(with_urls(config, first, other.url))
            assert second in urls(cluster)
            assert (await cluster.chat(model="b")).code == 200
            await until(lambda: second not in urls(cluster))
            assert (await cluster.chat(model="b")).code == 200
            app.apply(with_urls(config, first, second))
            await until(lambda: other.url not in urls(cluster))
            await until(lambda: app.registry.usable_count(time.monotonic()) == 2)
            await other.stop()

    run(test)


def test_where_others_can_do_the_work_a_backend_goes_at_once() -> None:
    async def test() -> None:
        async with front(Settings(), Settings()) as cluster:
            app, config = cluster.app, cluster.app.config
            first = cluster.backends[0].url
            app.apply(with_urls(config, first, "http://127.0.0.1:9"))
            assert urls(cluster) == [first, "http://127.0.0.1:9"]
            app.apply(with_urls(config, first))
            await until(lambda: app.settled)

    run(test)


def test_one_that_comes_and_is_down_keeps_nobody_longer() -> None:
    async def test() -> None:
        async with front(Settings()) as cluster:
            app, config = cluster.app, cluster.app.config
            app.apply(with_urls(config, "http://127.0.0.1:9"))
            assert len(urls(cluster)) == 2
            await until(lambda: urls(cluster) == ["http://127.0.0.1:9"])
            assert (await cluster.chat()).code == 503
            app.apply(with_urls(config, cluster.backends[0].url))
            await until(lambda: app.registry.usable_count(time.monotonic()) == 1)

    run(test)


def test_a_second_change_meanwhile_takes_up_from_there() -> None:
    async def test() -> None:
        async with front(Settings()) as cluster:
            app, config = cluster.app, cluster.app.config
            other = await replacement(cluster)
            app.apply(with_urls(config, other.url))
            assert app.apply(with_urls(config, other.url, retry={"max_attempts": 9})) == ["retry.max_attempts: 3 -> 9"]
            assert len(urls(cluster)) == 2
            assert app.apply(changed(config))[-1].endswith("-> 3")
            assert urls(cluster) == [cluster.backends[0].url]
            assert (await cluster.chat()).code == 200
            await other.stop()

    run(test)
