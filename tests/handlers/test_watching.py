"""Rules of router/handlers/watching.py: how often samples are taken, for how many, and what who is slow gets."""

import asyncio
import json
from typing import Any

from router.handlers import watching
from router.handlers.board import Board
from router.handlers.watching import Watch, Watcher
from router.wire.sse import event_data, event_name
from tests.front import run, until


class Source:
    """What is seen: a number that grows."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_over = False
        self.fails = False

    async def sample(self) -> Board:
        self.asked += 1
        if self.fails:
            raise RuntimeError("a fault")
        return {"asked": self.asked, "same": 1, "backends": []}

    def watch(self, most: int = 3) -> Watch:
        return Watch(self.sample, is_over=lambda: self.is_over, most=most)


async def told(watcher: Watcher) -> tuple[str | None, dict[str, Any]]:
    async with asyncio.timeout(10):
        message = await watcher.next()
    assert message is not None
    data = event_data(message)
    assert data is not None
    return event_name(message), json.loads(data)


def joined(watch: Watch) -> Watcher:
    watcher = watch.join()
    assert watcher is not None
    return watcher


def quick(test: Any, monkeypatch: Any, interval: float = 0.01) -> None:
    monkeypatch.setattr(watching, "INTERVAL", interval)
    run(test)


def test_who_comes_gets_the_whole_and_then_what_is_new(monkeypatch: Any) -> None:
    async def test() -> None:
        source = Source()
        watcher = joined(source.watch())

        assert await told(watcher) == ("whole", {"asked": 1, "same": 1, "backends": []})
        assert await told(watcher) == ("news", {"asked": 2, "backends": [], "gone": []})

    quick(test, monkeypatch, 0.2)


def test_all_share_one_sample(monkeypatch: Any) -> None:
    async def test() -> None:
        source = Source()
        watch = source.watch()
        for _ in range(3):
            assert (await told(joined(watch)))[0] == "whole"
        assert source.asked == 1

    quick(test, monkeypatch, 60.0)


def test_who_was_slow_gets_the_whole_again_and_no_queue(monkeypatch: Any) -> None:
    async def test() -> None:
        source = Source()
        watcher = joined(source.watch())
        await told(watcher)
        await until(lambda: source.asked >= 6)

        name, fields = await told(watcher)
        assert name == "whole"
        assert fields["asked"] >= 5

    quick(test, monkeypatch)


def test_nothing_is_gathered_while_nobody_watches(monkeypatch: Any) -> None:
    async def test() -> None:
        source = Source()
        watch = source.watch()
        await asyncio.sleep(0.05)
        assert source.asked == 0
        watcher = joined(watch)
        await told(watcher)
        watch.leave(watcher)
        asked = source.asked
        await asyncio.sleep(0.1)
        assert source.asked == asked
        again = joined(watch)
        name, fields = await told(again)
        assert (name, fields["asked"]) == ("whole", asked + 1), "what was seen before is old"

    quick(test, monkeypatch)


def test_there_are_at_most_so_many_and_one_who_leaves_makes_room(monkeypatch: Any) -> None:
    async def test() -> None:
        watch = Source().watch(most=2)
        first, _ = joined(watch), joined(watch)
        assert watch.join() is None
        watch.leave(first)
        assert watch.join() is not None
        assert len(watch) == 2

    quick(test, monkeypatch)


def test_one_watches_for_so_long_and_no_longer(monkeypatch: Any) -> None:
    async def test() -> None:
        monkeypatch.setattr(watching, "LONGEST", 0.0)
        assert await joined(Source().watch()).next() is None

    quick(test, monkeypatch)


def test_all_are_let_go_when_the_router_drains(monkeypatch: Any) -> None:
    async def test() -> None:
        source = Source()
        watch = source.watch()
        watcher = joined(watch)
        await told(watcher)
        source.is_over = True
        async with asyncio.timeout(10):
            while await watcher.next() is not None:
                pass
        assert watch.join() is None

    quick(test, monkeypatch)


def test_a_fault_ends_the_watching_and_is_logged_and_the_next_one_begins_anew(monkeypatch: Any, caplog: Any) -> None:
    async def test() -> None:
        source = Source()
        source.fails = True
        watch = source.watch()
        assert await joined(watch).next() is None
        assert "the status page cannot be made" in caplog.text
        source.fails = False
        assert (await told(joined(watch)))[0] == "whole"

    quick(test, monkeypatch)
