"""Those who watch the status page: one sample a second for all of them, and none while nobody watches.

There are at most so many, each for so long, and each has at most one message unsent: who takes them too slowly misses
some, and gets the whole again when it can take more.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import orjson

from router.handlers.board import Board, changes
from router.wire.sse import encode_event

INTERVAL = 1.0  # seconds between two samples
WATCHERS = 16  # a few operators with a few screens each; every one costs a message a second
LONGEST = 3600.0  # seconds: a page that somebody has forgotten must ask again

log = logging.getLogger("router.status")


class Watcher:
    """One who watches."""

    def __init__(self, watch: "Watch", until: float) -> None:
        """Made by `Watch.join`. `until`: the loop's time."""
        self._watch = watch
        self._until = until
        self._seen = 0  # the number of the sample that it has; 0: none
        self._news = asyncio.Event()
        self._is_over = False
        self.on_end: Callable[[], None] | None = None  # told when it shall watch no more, be it waiting here or not

    async def next(self) -> bytes | None:
        """Return the next message, when there is one; None at the end."""
        watch = self._watch
        while not self._is_over and self._seen == watch.number:
            self._news.clear()
            await self._news.wait()
        if self._is_over or asyncio.get_running_loop().time() >= self._until:
            return None
        is_next = self._seen > 0 and self._seen == watch.number - 1
        self._seen = watch.number
        return watch.news if is_next else watch.whole()

    def wake(self) -> None:
        """There is news."""
        self._news.set()

    def end(self) -> None:
        """Let it watch no more."""
        self._is_over = True
        self._news.set()
        if self.on_end is not None:
            self.on_end()


class Watch:
    """All who watch one page."""

    def __init__(
        self, sample: Callable[[], Awaitable[Board]], *, is_over: Callable[[], bool], most: int = WATCHERS
    ) -> None:
        """`sample` is called once a second while somebody watches; `is_over`: nobody shall watch any more."""
        self._sample = sample
        self._is_over = is_over
        self._most = most
        self._watchers: set[Watcher] = set()
        self._task: asyncio.Task[None] | None = None
        self._board: Board = {}
        self._whole: bytes | None = None  # made when somebody needs it
        self.number = 0  # of the last sample
        self.news = b""  # what is new in the last one

    def __len__(self) -> int:
        """Return how many watch."""
        return len(self._watchers)

    def join(self) -> Watcher | None:
        """Return one more watcher, who must `leave` at the end; None where there are enough."""
        if len(self._watchers) >= self._most or self._is_over():
            return None
        loop = asyncio.get_running_loop()
        watcher = Watcher(self, loop.time() + LONGEST)
        self._watchers.add(watcher)
        if self._task is None:
            self.number, self._board = 0, {}  # what was seen last is old
            self._task = loop.create_task(self._run(), name="status page")
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Let one go; with the last one the samples end."""
        self._watchers.discard(watcher)
        if not self._watchers and self._task is not None:
            self._task.cancel()
            self._task = None

    def whole(self) -> bytes:
        """Return the message with all that was seen last."""
        if self._whole is None:
            self._whole = encode_event(orjson.dumps(self._board), event="whole")
        return self._whole

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while not self._is_over():
                began = loop.time()
                self._take(await self._sample())
                await asyncio.sleep(max(0.0, began + INTERVAL - loop.time()))
        except Exception:  # the last line of a background task
            log.exception("the status page cannot be made")
        watchers, self._watchers, self._task = self._watchers, set(), None  # who comes next begins anew
        for watcher in watchers:
            watcher.end()

    def _take(self, board: Board) -> None:
        self.news = encode_event(orjson.dumps(changes(self._board, board)), event="news") if self._board else b""
        self._board, self._whole = board, None
        self.number += 1
        for watcher in self._watchers:
            watcher.wake()
