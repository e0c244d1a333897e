"""Rules of router/observe/watchdog.py: a loop that stands still is told of while it does."""

import asyncio
import logging
import threading
import time

import pytest

from router.observe.watchdog import BEAT, STALL, Watchdog
from tests.chaos.processes import until
from tests.front import front, run

PHASE = 0.1  # seconds, of BEAT, by which beats are moved against the thread's looks
BRIEF = 0.05  # seconds for which a beat stays out longer than STALL: too briefly for most of the thread's looks
MOST = 20  # stalls, half of them brief, within which it has seen one and missed one; two suffice nearly always


def stand_still(seconds: float) -> None:
    stand_still_until(time.monotonic() + seconds)


def stand_still_until(end: float) -> None:
    while time.monotonic() < end:
        time.sleep(0.01)


@pytest.mark.row(78)
def test_where_the_loop_stands_still_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        stalls: list[None] = []
        lags: list[float] = []
        watchdog = Watchdog(on_lag=lags.append, on_stall=lambda: stalls.append(None))
        watchdog.start()
        await asyncio.sleep(BEAT * 1.5)
        stand_still(STALL + BEAT * 5)
        await asyncio.sleep(BEAT * 1.5)
        watchdog.stop()

        assert len(stalls) == 1
        assert max(lags) >= STALL
        told = [record.getMessage() for record in caplog.records]
        assert len(told) == 1
        assert "in stand_still" in told[0]

    caplog.set_level(logging.WARNING)
    run(test)


@pytest.mark.row(78)
def test_each_stall_is_counted_and_logged_once_whether_the_thread_saw_it_or_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The thread looks now and then: what ends before its next look it has missed, and the beat has not."""

    async def test() -> None:
        beats: list[float] = []
        stalls: list[None] = []
        watchdog = Watchdog(
            on_lag=lambda late: beats.append(time.monotonic()), on_stall=lambda: stalls.append(None)
        )
        watchdog.start()
        has_stack: set[bool] = set()
        for number in range(1, MOST + 1):
            stand_still_until(beats[-1] + BEAT + PHASE)
            await asyncio.sleep(BEAT * 1.5)
            longer = BRIEF if number % 2 else BEAT * 2
            stand_still_until(beats[-1] + BEAT + STALL + longer)
            await until(lambda: len(stalls) >= number, what="it is counted")  # noqa: B023
            await until(lambda: len(stalls) == len(caplog.records), what="each is logged")
            await asyncio.sleep(BEAT * 1.5)
            assert len(stalls) == len(caplog.records) == number
            has_stack = {"in stand_still" in record.getMessage() for record in caplog.records}
            if len(has_stack) == 2:
                break
        watchdog.stop()

        assert has_stack == {True, False}

    caplog.set_level(logging.WARNING)
    run(test)


def test_a_loop_that_turns_is_not_told_of(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        lags: list[float] = []
        watchdog = Watchdog(on_lag=lags.append)
        watchdog.start()
        await asyncio.sleep(BEAT * 5)
        watchdog.stop()

        assert 3 <= len(lags) <= 6

    run(test)
    assert caplog.records == []


def test_nothing_runs_once_it_is_stopped() -> None:
    async def test() -> None:
        before = threading.active_count()
        watchdog = Watchdog()
        watchdog.start()
        watchdog.stop()
        async with asyncio.timeout(5):
            while threading.active_count() > before:
                await asyncio.sleep(0.01)

    run(test)


@pytest.mark.row(78)
def test_the_metrics_tell_of_both() -> None:
    async def test() -> None:
        async with front() as cluster:
            await asyncio.sleep(BEAT * 1.5)
            stand_still(STALL + BEAT * 3)
            await asyncio.sleep(BEAT * 1.5)
            assert await cluster.metric("router_loop_stalls_total") == 1
            assert await cluster.metric("router_loop_lag_seconds_count") >= 2
            assert await cluster.metric("router_loop_lag_seconds_sum") >= STALL

    run(test)
