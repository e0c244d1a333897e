"""Several deadlines on one timer."""

import asyncio

from router.wire.alarms import NEVER, TIMER_SLACK, Alarm, Alarms
from tests.wire.served import on_uvloop, until


class Counting:
    """The loop, counting the timers that are asked of it."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.time = self.loop.time
        self.timers = 0

    def call_at(self, when, callback):
        self.timers += 1
        return self.loop.call_at(when, callback)


@on_uvloop
async def test_alarms_ring_when_they_are_due_and_only_then() -> None:
    loop = asyncio.get_running_loop()
    rung: dict[Alarm, float] = {}
    alarms = Alarms(loop, lambda alarm: rung.update({alarm: loop.time()}))
    due = {Alarm.PHASE: loop.time() + 0.04, Alarm.STALL: loop.time() + 0.02}
    for alarm, when in due.items():
        alarms.set(alarm, when)
    alarms.set(Alarm.LEFT, loop.time() + 0.01)
    alarms.set(Alarm.LEFT, NEVER)

    await until(lambda: len(rung) == 2)
    assert rung.keys() == due.keys()
    assert all(rung[alarm] >= when - TIMER_SLACK for alarm, when in due.items())
    await asyncio.sleep(0.03)
    assert len(rung) == 2
    assert alarms[Alarm.PHASE] == NEVER


@on_uvloop
async def test_a_deadline_that_moves_away_needs_no_new_timer() -> None:
    loop = Counting()
    rung = []
    alarms = Alarms(loop, rung.append)  # type: ignore[arg-type]
    for _ in range(1000):
        alarms.set(Alarm.PHASE, NEVER)
        alarms.set(Alarm.PHASE, loop.time() + 0.05)
    assert loop.timers == 1

    await until(lambda: rung)
    assert loop.timers <= 3


@on_uvloop
async def test_an_alarm_may_be_set_again_while_it_rings() -> None:
    loop = asyncio.get_running_loop()
    rung = []

    def ring(alarm: Alarm) -> None:
        rung.append(alarm)
        if len(rung) < 3:
            alarms.set(alarm, loop.time() + 0.01)

    alarms = Alarms(loop, ring)
    alarms.set(Alarm.LEFT, loop.time())
    await until(lambda: len(rung) == 3)


@on_uvloop
async def test_closed_alarms_never_ring() -> None:
    loop = asyncio.get_running_loop()
    rung = []
    alarms = Alarms(loop, rung.append)
    alarms.set(Alarm.PHASE, loop.time() + 0.01)
    alarms.close()
    await asyncio.sleep(0.03)

    assert rung == []


@on_uvloop
async def test_closing_while_ringing_ends_it() -> None:
    loop = asyncio.get_running_loop()
    rung = []

    def ring(alarm: Alarm) -> None:
        rung.append(alarm)
        alarms.close()

    alarms = Alarms(loop, ring)
    alarms.set(Alarm.PHASE, loop.time())
    alarms.set(Alarm.STALL, loop.time())
    await asyncio.sleep(0.02)
    assert rung == [Alarm.PHASE]
