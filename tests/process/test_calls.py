"""Questions over a bus."""

import asyncio

import pytest

from router.process.calls import Calls, Lost
from tests.front import run


def test_each_question_gets_its_own_answer() -> None:
    async def test() -> None:
        calls = Calls()
        first, second = calls.begin(), calls.begin()
        waiting = [asyncio.create_task(calls.wait(number, 5)) for number in (first, second)]
        await asyncio.sleep(0)
        calls.answer(second, "two")
        calls.answer(first, "one")

        assert await asyncio.gather(*waiting) == ["one", "two"]
        assert len(calls) == 0

    run(test)


def test_an_answer_that_does_not_come_is_given_up_and_one_that_comes_late_is_dropped() -> None:
    async def test() -> None:
        calls = Calls()
        number = calls.begin()
        with pytest.raises(Lost, match="in time"):
            await calls.wait(number, 0.01)
        calls.answer(number, "late")

        assert len(calls) == 0

    run(test)


def test_nobody_waits_for_one_that_has_ended() -> None:
    async def test() -> None:
        calls = Calls()
        waiting = asyncio.create_task(calls.wait(calls.begin(), 60))
        await asyncio.sleep(0)
        calls.fail()
        with pytest.raises(Lost, match="ended"):
            await waiting

        assert len(calls) == 0

    run(test)
