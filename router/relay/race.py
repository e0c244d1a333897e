"""A second attempt beside a slow first one.

Where an answer has not begun after the configured time, the same request goes to another free backend, if the budget of
retries has room and nobody waits for a backend. Whoever has something good to say first claims the client's answer (see
hedge.py); the other one ends as superseded, its connection closed, and nobody is blamed. One that fails ends nobody:
the race has failed when both have.

The list of models, which is asked for most of all, needs none of this: the router answers it from what it knows.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from router.backends.backend import Backend, Unavailable
from router.exchange import AttemptOutcome, Exchange
from router.relay.answer import Answer
from router.relay.choosing import Chooser
from router.relay.hedge import SUPERSEDED, Claim, Contender
from router.relay.outcomes import Ended
from router.relay.retry import AGAIN, Again
from router.relay.route import Job
from router.relay.shared import Shared

log = logging.getLogger("router.relay")

TryAt = Callable[[Backend, Contender], Awaitable[Ended]]


class Race:
    """One or two attempts of one exchange, of which one answers."""

    def __init__(
        self, shared: Shared, exchange: Exchange, job: Job, *, answer: Answer, chooser: Chooser, try_at: TryAt
    ) -> None:
        """`try_at(backend, contender)` makes one attempt, with what `chooser` has chosen last."""
        self._shared = shared
        self._exchange = exchange
        self._job = job
        self._answer = answer
        self._chooser = chooser
        self._try_at = try_at
        self._claim = Claim()
        self._first: Contender | None = None
        self._rival: Contender | None = None  # of the second attempt, once it has begun
        self._second: asyncio.Task[Ended] | None = None
        self._unasked: Backend | None = None  # chosen for the second attempt, which has not begun

    async def run(self, backend: Backend, *, after: float) -> Ended:
        """Return how it ended: as the attempt did that answered, else as the one that says most about the request.

        `after`: seconds until the second attempt. What it raises, the attempts have raised; none is left then.
        """
        timer = self._shared.outside.loop.call_later(after, self._hedge)
        first = self._first = Contender(self._answer, self._claim)
        try:
            ended = await self._unspoilt(self._try_at(backend, first))
            timer.cancel()
            if self._second is None:
                return ended
            other = await self._unspoilt(self._second, is_second=True)
            if self._claim.owner is not None:
                return ended if self._claim.owner is first else other
            tells_more = AGAIN[other.outcome] is Again.NO and other.outcome is not AttemptOutcome.SUPERSEDED
            return other if tells_more else ended
        except Exception as fault:  # our own, and nobody answers but the one that met it: no client has left
            await self._supersede_second(fault)
            raise
        finally:
            timer.cancel()
            await self._end_second()
            self._claim.release()

    async def _unspoilt(self, attempt: Awaitable[Ended], *, is_second: bool = False) -> Ended:
        """Return how an attempt ended: as superseded, where it met a fault of our own and the other one answers."""
        try:
            return await attempt
        except Exception:
            other = self._first if is_second else self._rival
            if other is None or self._claim.owner is not other:
                raise
            log.exception("request %s: fault at one of two attempts, of which the other one answers", self._exchange.id)
            return SUPERSEDED

    def _hedge(self) -> None:
        """Start the second attempt, where it would hurt nobody."""
        shared, model, tried = self._shared, self._job.model, self._chooser.tried
        if self._claim.owner is not None or shared.is_stopping:
            return
        if shared.queue.must_wait(model) or not shared.budget.has_room(shared.outside.clock()):
            return
        if not shared.cluster.registry.has_free(model, now=shared.outside.clock(), tried=tried):
            return
        backend = self._chooser.choose(tried)
        if isinstance(backend, Unavailable):
            return
        shared.budget.take()
        self._exchange.hedged = True
        self._unasked = backend
        self._second = shared.outside.loop.create_task(self._try_second(backend))

    async def _try_second(self, backend: Backend) -> Ended:
        is_gone = backend.spec.name not in self._shared.cluster.endpoints
        if self._claim.owner is not None or is_gone:  # since it was decided
            return SUPERSEDED
        self._unasked = None
        self._rival = Contender(self._answer, self._claim)
        return await self._try_at(backend, self._rival)

    async def _supersede_second(self, fault: Exception) -> None:
        """After a fault: end the second attempt as if another had answered, and wait for that: it hangs up at once."""
        task = self._second
        if task is None:
            return
        self._claim.take(Contender(self._answer, self._claim))
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() not in (None, fault):
            log.error("request %s: fault at the second attempt, too", self._exchange.id, exc_info=task.exception())

    async def _end_second(self) -> None:
        """Give back what the second attempt has taken, when it has ended."""
        task, self._second = self._second, None
        if task is None:
            return
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        self._shared.watcher.hedged(won=self._rival is not None and self._claim.owner is self._rival)
        if self._unasked is not None:  # a trial may have been picked for it
            self._shared.report(self._unasked, AttemptOutcome.SUPERSEDED)
