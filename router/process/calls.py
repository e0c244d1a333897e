"""Questions to the other end of a bus: numbered, each answered once, or failed when the other end has gone."""

import asyncio
import itertools


class Lost(Exception):
    """The other end has gone, or did not answer in time."""


class Calls:
    """The questions that wait for an answer."""

    def __init__(self) -> None:
        """None yet."""
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[object]] = {}

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def begin(self) -> int:
        """Return the number of a new question; `wait` for it next."""
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        return number

    async def wait(self, number: int, seconds: float) -> object:
        """Return the answer. Raises Lost after so many seconds, or when `fail` was called."""
        try:
            async with asyncio.timeout(seconds):
                return await self._waiting[number]
        except TimeoutError as error:
            raise Lost("no answer in time") from error
        finally:
            del self._waiting[number]

    def answer(self, number: int, value: object) -> None:
        """Take an answer; one that nobody waits for any more is dropped."""
        waiting = self._waiting.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_result(value)

    def fail(self) -> None:
        """End all waiting: no answer will come."""
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(Lost("the other process has ended"))
