"""A configuration that changes while requests run; one that is broken, gone, or new a hundred times a second."""

import asyncio
import signal

import pytest

from bench.processes import free_ports
from tests.chaos.cluster import Backend, Cluster, cluster, described
from tests.chaos.processes import until
from tests.chaos.test_overload import cpu
from tests.front import run

SLOW = ["--itl", "10ms"]
ONE_SECOND = {"max_tokens": 100, "ignore_eos": True}


def with_backends(it: Cluster, *backends: Backend) -> None:
    """Write a configuration with these backends."""
    it.router.write({**it.router.config, "backends": described([each.url for each in backends])})


async def names(it: Cluster) -> set[str]:
    """Return the backends that the router shows."""
    page = await it.router.page()
    rows = [line for line in page.splitlines() if line.startswith("router_backend_usable{")]
    return {row.partition('backend="')[2].partition('"')[0] for row in rows if row.endswith(" 1")}


async def has(it: Cluster, *backends: Backend) -> None:
    """Wait until the router uses these backends and no others."""
    wanted = {each.name for each in backends}
    while await names(it) != wanted:
        await asyncio.sleep(0.02)


@pytest.mark.row(82)
@pytest.mark.parametrize(
    ("workers", "by", "times"),
    [
        pytest.param(1, "file", 2, marks=pytest.mark.long),
        (2, "signal", 1),
        pytest.param(1, "signal", 100, marks=pytest.mark.long),
        pytest.param(2, "file", 20, marks=pytest.mark.long),
    ],
)
def test_backends_come_and_go_under_load_and_nothing_is_lost(workers: int, by: str, times: int) -> None:
    async def test() -> None:
        config = {"server": {"workers": workers, "watch_config": by == "file"}}
        async with cluster(2, simulate=SLOW, config=config) as it:
            one, two = it.backends
            added = Backend(free_ports(1)[0], SLOW, it.folder)
            it.backends.append(added)
            added.start()
            await added.listens()
            codes: list[int] = []
            stop = asyncio.Event()

            async def ask_on() -> None:
                while not stop.is_set():
                    codes.append((await it.chat()).code)
                    await asyncio.sleep(0.01)

            asking = asyncio.ensure_future(ask_on())
            running = [asyncio.ensure_future(it.stream(**ONE_SECOND)) for _ in range(10)]
            await asyncio.sleep(0.5)
            for number in range(times):
                wanted = (two, added) if number % 2 == 0 else (one, two)
                with_backends(it, *wanted)
                if by == "signal":
                    it.router.signal(signal.SIGHUP)
                await has(it, *wanted)
            assert all(answer.is_whole for answer in await asyncio.gather(*running))
            stop.set()
            await asking
            assert set(codes) == {200}
            if set(wanted) != {two, added}:
                with_backends(it, two, added)
                if by == "signal":
                    it.router.signal(signal.SIGHUP)
                await has(it, two, added)
            counted = await it.router.metric("router_requests_total", route="/v1/chat/completions", outcome="ok")
            assert counted == len(codes) + 10, "counters are kept"
            await asyncio.sleep(0.5)
            before = len((await one.stats(requests=64))["requests"])
            last = (await one.stats(requests=1))["requests"]
            await asyncio.sleep(1.0)
            assert len((await one.stats(requests=64))["requests"]) == before
            assert (await one.stats(requests=1))["requests"] == last, "nobody probes it any more"

    run(test, timeout=300)


BROKEN = ("backends: [", "backends:\n  - url: ftp://a\n", "no_such_key: 1\n", None)  # None: the file is gone


@pytest.mark.row(83)
def test_a_broken_or_vanished_file_changes_nothing_and_is_told() -> None:
    async def test() -> None:
        async with cluster(2, config={"server": {"watch_config": False}}) as it:
            for number, broken in enumerate(BROKEN, 1):
                if broken is None:
                    it.router.file.unlink()
                else:
                    it.router.write_text(broken)
                it.router.signal(signal.SIGHUP)
                while await it.router.metric("router_config_reloads_total", result="failed") < number:
                    await asyncio.sleep(0.02)
                assert await names(it) == {each.name for each in it.backends}
                assert [(await it.chat()).code for _ in range(4)] == [200] * 4
            it.router.write(it.router.config)
            it.router.signal(signal.SIGHUP)
            while await it.router.metric("router_config_reloads_total", result="ok") < 1:
                await asyncio.sleep(0.02)

    run(test, timeout=60)


@pytest.mark.long
@pytest.mark.row(83)
def test_a_hundred_reloads_a_second_cost_neither_requests_nor_the_processor() -> None:
    async def test() -> None:
        async with cluster(2) as it:
            it.router.signal(signal.SIGHUP)
            await asyncio.sleep(1.5)
            used = cpu(it.router.pid)
            codes = []
            for number in range(200):
                if number % 2:
                    it.router.write_text("backends: [")
                else:
                    it.router.write(it.router.config)
                it.router.signal(signal.SIGHUP)
                if number % 10 == 0:
                    codes.append((await it.chat()).code)
                await asyncio.sleep(0.01)
            assert cpu(it.router.pid) - used < 2.0
            assert set(codes) == {200}
            it.router.write(it.router.config)
            it.router.signal(signal.SIGHUP)
            await until(lambda: it.router.is_running)
            await has(it, *it.backends)

    run(test, timeout=60)
