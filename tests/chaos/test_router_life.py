"""The router's own end, restart and loss of a worker: real processes, real signals."""

import asyncio
import signal
import time
from pathlib import Path

import pytest

from router.errors import WireError
from tests.chaos.cluster import Answer, Cluster, cluster, status_of
from tests.chaos.processes import until
from tests.chaos.raw import RawClient
from tests.front import run

SLOW = ["--itl", "10ms"]
ONE_SECOND = {"max_tokens": 100, "ignore_eos": True}
WORKERS = [pytest.param(1, marks=pytest.mark.long), 2]


async def streams(it: Cluster, count: int) -> "list[asyncio.Future[Answer]]":
    """Begin so many streams, each on a connection of its own, and wait until text has come."""
    begun = [0]

    async def one() -> Answer:
        seen = [False]

        def on_data(data: bytes) -> None:
            if not seen[0] and b'"content":"' in data:
                seen[0] = True
                begun[0] += 1

        return await it.stream(on_data=on_data, **ONE_SECOND)

    asked = [asyncio.ensure_future(one()) for _ in range(count)]
    await until(lambda: begun[0] == count, what="all streams have begun")
    return asked


@pytest.mark.row(79)
@pytest.mark.parametrize("workers", WORKERS)
def test_on_sigterm_nobody_new_comes_in_streams_finish_and_the_exit_is_clean(workers: int) -> None:
    async def test() -> None:
        config = {"server": {"workers": workers, "drain_delay": 0.5}}
        async with cluster(2, simulate=SLOW, config=config) as it:
            running = await streams(it, 20)
            idle = await RawClient.connect(it.router.port)
            it.router.signal(signal.SIGTERM)
            await asyncio.sleep(0.25)
            assert (await status_of(it.router.port, "/readyz"))[0] == 503, "told before the listeners close"
            while (await status_of(it.router.port, "/livez"))[0] != 0:
                await asyncio.sleep(0.02)
            assert all(answer.is_whole for answer in await asyncio.gather(*running))
            it.client.close()
            assert await it.router.ended() == 0
            idle.close()

    run(test, timeout=90)


@pytest.mark.row(79)
@pytest.mark.parametrize("workers", [2])
def test_what_does_not_finish_in_time_gets_an_error_event(workers: int) -> None:
    async def test() -> None:
        config = {"server": {"workers": workers, "drain_timeout": 0.5}}
        async with cluster(2, simulate=["--itl", "200ms"], config=config) as it:
            running = await streams(it, 10)
            it.router.signal(signal.SIGTERM)
            answers = await asyncio.gather(*running)
            assert all(answer.error is not None and not answer.is_whole for answer in answers)
            assert await it.router.ended() == 0

    run(test, timeout=90)


@pytest.mark.row(80)
@pytest.mark.parametrize(("number", "workers"), [(signal.SIGTERM, 1), (signal.SIGINT, 2)])
def test_a_second_signal_ends_it_at_once_and_still_with_error_events(number: signal.Signals, workers: int) -> None:
    async def test() -> None:
        config = {"server": {"workers": workers, "drain_timeout": 600}}
        async with cluster(1, simulate=["--itl", "200ms"], config=config) as it:
            running = await streams(it, 10)
            it.router.signal(number)
            await asyncio.sleep(0.5)
            assert it.router.is_running
            it.router.signal(number)
            answers = await asyncio.gather(*running)
            assert all(answer.error is not None for answer in answers)
            assert await it.router.ended() == 0

    run(test, timeout=90)


@pytest.mark.row(81)
@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.long)])
def test_a_rolling_restart_refuses_no_connection_and_cuts_no_stream(times: int, workers: int) -> None:
    async def test() -> None:
        config = {"server": {"workers": workers, "drain_timeout": 20}}
        async with cluster(2, simulate=SLOW, config=config) as it:
            statuses: list[int] = []
            stop = asyncio.Event()

            async def knock() -> None:
                while not stop.is_set():
                    statuses.append((await status_of(it.router.port, "/livez"))[0])

            knocking = [asyncio.ensure_future(knock()) for _ in range(2)]
            for _ in range(times):
                running = await streams(it, 10)
                old = set(it.router.pids)
                it.router.told(head_of(old), signal.SIGUSR2)
                await until(lambda old=old: not old & set(it.router.pids), within=40, what="the old ones have ended")
                assert len(it.router.pids) == len(old)
                assert all(answer.is_whole for answer in await asyncio.gather(*running))
                assert (await it.chat()).code == 200
            stop.set()
            await asyncio.gather(*knocking)
            assert set(statuses) == {200}
            assert len(statuses) > 50

    run(test, timeout=300)


def head_of(pids: set[int]) -> int:
    """Return the one of these processes that none of the others has started."""
    (head,) = (pid for pid in pids if parent_of(pid) not in pids)
    return head


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.row(84)
def test_a_killed_worker_is_replaced_and_takes_only_its_own_exchanges_with_it() -> None:
    async def test() -> None:
        async with cluster(2, simulate=SLOW, config={"server": {"workers": 2}}) as it:
            for _ in range(10):
                assert (await it.chat(max_tokens=2)).code == 200
            counted = await it.router.metric("router_requests_total", route="/v1/chat/completions")
            assert counted == 10
            running = [asyncio.ensure_future(shielded(it)) for _ in range(20)]
            while await it.router.metric("router_requests_in_flight") < 20:
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.3)
            workers = [pid for pid in it.router.pids if pid != it.router.pid]
            assert len(workers) == 2
            it.router.told(workers[0], signal.SIGKILL)
            killed = time.monotonic()
            await until(lambda: len(it.router.pids) == 3, what="there is another worker")
            while (await status_of(it.router.port, "/readyz"))[0] != 200:
                await asyncio.sleep(0.02)
            assert time.monotonic() - killed < 10
            whole = [answer for answer in await asyncio.gather(*running) if answer is not None and answer.is_whole]
            assert 0 < len(whole) < 20, "one worker's streams are lost, the other one's are not"
            while await it.router.metric("router_requests_in_flight"):
                await asyncio.sleep(0.05)
            now = await it.router.metric("router_requests_total", route="/v1/chat/completions")
            assert now == 10 + len(whole), "what the dead one had counted is kept, and counted once"

    run(test, timeout=90)


async def shielded(it: Cluster) -> Answer | None:
    """Ask for a stream; None where its connection was lost."""
    try:
        return await it.stream(**ONE_SECOND)
    except (OSError, WireError):
        return None


JUMPING = """
import sys, threading, time
real, begun = time.time, time.monotonic()
def jumping():
    return real() + (0, 3600, -3600)[int((time.monotonic() - begun) / 0.3) % 3]
time.time = jumping
import runpy
sys.argv[0] = "devstral-router"
runpy.run_module("router", run_name="__main__", alter_sys=True)
"""


@pytest.mark.row(86)
def test_a_wall_clock_that_jumps_by_hours_ends_nothing_early_and_nothing_late() -> None:
    async def test() -> None:
        config = {"timeouts": {"first_byte": 20, "idle": 20, "total": 60}, "server": {"body_timeout": 20}}
        async with cluster(2, simulate=SLOW, config=config, command=("-c", JUMPING)) as it:
            running = await streams(it, 10)
            # Until answers have ended before, in and after a jump, forwards and back: the test's limit bounds it.
            while len({line["time"][11:13] for line in it.router.access()}) < 3:
                assert (await it.chat(max_tokens=2)).code == 200
            assert all(answer.is_whole for answer in await asyncio.gather(*running))
            assert await it.router.metric("router_backend_usable") == 2
            assert await it.router.metric("router_requests_total", outcome="timeout") == 0

    run(test, timeout=90)
