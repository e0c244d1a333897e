"""Rules of router/relay/queue.py: how one waits for a free backend, and how the wait ends."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.errors import NoBackend
from router.relay.queue import FULL, LOOK_INTERVAL, TIMEOUT, Queue, QueueRules
from tests.front import run, until


class Places:
    """One backend with so many places, for every model."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.works = True

    def has_free(self, model: str | None) -> bool:
        return self.free > 0 and self.works

    def has_usable(self, model: str | None) -> bool:
        return self.works

    def take(self) -> str | None:
        if not self.works:
            raise NoBackend("gone")
        if not self.free:
            return None
        self.free -= 1
        return "backend"


class Waiting:
    """A queue in front of `Places`."""

    def __init__(self, *, free: int = 0, size: int = 100, timeout: float = 30.0) -> None:
        self.places = Places(free)
        self.rejected: list[str] = []
        self.queue = Queue(
            QueueRules(size, timeout),
            self.places,
            loop=asyncio.get_running_loop(),
            clock=time.monotonic,
            rejected=self.rejected.append,
        )
        self.served: list[object] = []

    def join(
        self, key: str, *, is_retry: bool = False, model: str = "m", choose: Callable[[], str | None] | None = None
    ) -> "asyncio.Task[None]":
        async def wait() -> None:
            await self.queue.wait(model, key, choose=choose or self.places.take, is_retry=is_retry)
            self.served.append(key)

        return asyncio.get_running_loop().create_task(wait())

    def release(self, count: int = 1) -> None:
        self.places.free += count
        self.queue.freed()

    def check_empty(self) -> None:
        assert len(self.queue) == 0
        assert not self.queue.must_wait("m")
        assert self.queue._lines == {}
        assert self.queue._timer is None


async def rest() -> None:
    """Let everything happen that is due now."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_place_that_becomes_free_goes_to_who_waits_longest_at_once() -> None:
    async def test() -> None:
        waiting = Waiting()
        tasks = [waiting.join(f"{number}") for number in range(3)]
        await rest()
        assert waiting.served == []
        for count in range(1, 4):
            waiting.release()
            await rest()
            assert waiting.served == [f"{number}" for number in range(count)]
        await asyncio.gather(*tasks)
        waiting.check_empty()

    run(test)


def test_many_places_that_become_free_at_once_are_all_taken() -> None:
    async def test() -> None:
        waiting = Waiting()
        tasks = [waiting.join("a") for _ in range(50)]
        await rest()
        waiting.release(30)
        await until(lambda: len(waiting.served) == 30)
        assert waiting.places.free == 0
        waiting.release(20)
        await asyncio.gather(*tasks)
        waiting.check_empty()

    run(test)


def test_a_place_that_becomes_free_without_a_word_is_found() -> None:
    """A rest ends, a backend comes up, another process gives its place back."""

    async def test() -> None:
        waiting = Waiting()
        task = waiting.join("a")
        await rest()
        waiting.places.free = 1
        await asyncio.sleep(LOOK_INTERVAL * 3)
        assert waiting.served == ["a"]
        await task

    run(test)


def test_a_newcomer_stands_behind_those_who_wait() -> None:
    async def test() -> None:
        waiting = Waiting()
        task = waiting.join("a")
        await rest()
        assert waiting.queue.must_wait("m")
        assert not waiting.queue.must_wait("another")
        waiting.release()
        assert waiting.queue.must_wait("m")
        await task
        assert not waiting.queue.must_wait("m")

    run(test)


@pytest.mark.row(73)
def test_a_full_queue_turns_newcomers_away_at_once_and_tells_when_to_come_back() -> None:
    async def test() -> None:
        waiting = Waiting(size=2)
        tasks = [waiting.join("a") for _ in range(2)]
        await rest()
        with pytest.raises(NoBackend) as caught:
            await waiting.join("b")
        assert caught.value.status == 503
        assert caught.value.retry_after is not None
        assert 1 <= caught.value.retry_after <= 60
        assert waiting.rejected == [FULL]
        waiting.release(2)
        await asyncio.gather(*tasks)

    run(test)


def test_a_retry_is_taken_into_a_full_queue_and_goes_first() -> None:
    async def test() -> None:
        waiting = Waiting(size=1)
        tasks = [waiting.join("newcomer")]
        await rest()
        tasks.append(waiting.join("retry", is_retry=True))
        await rest()
        waiting.release(2)
        await asyncio.gather(*tasks)
        assert waiting.served == ["retry", "newcomer"]

    run(test)


@pytest.mark.row(73)
def test_who_waits_too_long_is_turned_away() -> None:
    async def test() -> None:
        waiting = Waiting(timeout=0.1)
        with pytest.raises(NoBackend):
            await waiting.join("a")
        assert waiting.rejected == [TIMEOUT]
        waiting.check_empty()

    run(test)


def test_where_nobody_works_any_more_all_who_wait_are_told() -> None:
    async def test() -> None:
        waiting = Waiting()
        tasks = [waiting.join(f"{number}") for number in range(10)]
        await rest()
        waiting.places.works = False
        waiting.queue.freed()
        told = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(each) for each in told] == ["gone"] * 10
        waiting.check_empty()

    run(test)


def test_one_for_whom_nothing_is_free_does_not_hold_up_the_others() -> None:
    async def test() -> None:
        waiting = Waiting()
        picky = waiting.join("picky", choose=lambda: None)
        others = [waiting.join("other") for _ in range(3)]
        await rest()
        waiting.release(3)
        await asyncio.gather(*others)
        assert not picky.done()
        picky.cancel()
        await asyncio.gather(picky, return_exceptions=True)
        waiting.check_empty()

    run(test)


def test_what_becomes_free_serves_at_once_those_who_could_not_use_what_was_free_before() -> None:
    async def test() -> None:
        waiting = Waiting(free=1)  # of no use to anybody
        usable = 0

        def choose() -> str | None:
            nonlocal usable
            usable -= 1
            return "backend" if usable >= 0 else None

        picky = [waiting.join(str(number), choose=choose) for number in range(300)]
        await asyncio.sleep(2 * LOOK_INTERVAL)
        await rest()
        usable = 4
        waiting.queue.freed()
        await rest()
        assert waiting.served == ["0", "1", "2", "3"]
        for task in picky:
            task.cancel()
        await asyncio.gather(*picky, return_exceptions=True)
        waiting.check_empty()

    run(test)


@pytest.mark.row(37)
def test_who_leaves_frees_its_place_and_passes_its_turn_on() -> None:
    async def test() -> None:
        waiting = Waiting(size=2)
        first, second = waiting.join("a"), waiting.join("b")
        await rest()
        waiting.release()
        first.cancel()
        await second
        assert waiting.served == ["b"]
        assert first.cancelled()
        waiting.check_empty()

    run(test)


def test_models_that_share_a_backend_take_turns() -> None:
    async def test() -> None:
        waiting = Waiting()
        tasks = [waiting.join("x", model="x") for _ in range(4)] + [waiting.join("y", model="y") for _ in range(4)]
        await rest()
        for _ in range(8):
            waiting.release()
            await rest()
        await asyncio.gather(*tasks)
        assert Counter(waiting.served[:4]) == {"x": 2, "y": 2}

    run(test)


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("join"), st.sampled_from("abc"), st.booleans()),
            st.tuples(st.just("release"), st.integers(1, 3)),
            st.tuples(st.just("leave"), st.integers(0, 20)),
            st.tuples(st.just("rest")),
        ),
        max_size=40,
    )
)
def test_no_place_stays_free_while_somebody_waits(steps: list[tuple[object, ...]]) -> None:
    async def test() -> None:
        waiting = Waiting()
        tasks: list[asyncio.Task[None]] = []
        for step in steps:
            if step[0] == "join":
                tasks.append(waiting.join(str(step[1]), is_retry=bool(step[2])))
            elif step[0] == "release":
                waiting.release(int(str(step[1])))
            elif step[0] == "leave" and tasks:
                tasks[int(str(step[1])) % len(tasks)].cancel()
            else:
                await rest()
        for _ in range(20):
            await rest()
        assert waiting.places.free == 0 or len(waiting.queue) == 0
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await rest()
        waiting.check_empty()

    run(test)
