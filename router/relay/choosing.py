"""Who takes an exchange: which backend first, which one after a failure, and why nobody does.

`retry.decide` says whether there is another attempt, the registry who is free, the translation who can take a request,
the queue whose turn it is where all are full.
"""

import asyncio
import hashlib
from collections.abc import Collection

from router.backends.backend import Backend, Reason, Unavailable
from router.errors import NONE_LISTED, AnswerError, InvalidRequest, NoBackend, UnknownModel
from router.exchange import AttemptOutcome, Exchange
from router.relay.outcomes import Ended
from router.relay.retry import GONE, Failed, GiveUp, decide
from router.relay.route import Job
from router.relay.shared import Shared
from router.relay.translation import Translation
from router.translate.mistral.values import UNSUPPORTED
from router.translate.notes import Rule

# Seconds: the loop's clock counts milliseconds, so a sleep may end before the rest of a backend that it waits for.
CLOCK_SLACK = 0.005

# Header fields that say whose request it is.
_KEYS = (b"authorization", b"x-api-key")

WHY_NOT: dict[Reason, str] = {
    Reason.UNKNOWN_MODEL: "The model does not exist.",
    Reason.NOT_LISTED_YET: NONE_LISTED,
    Reason.NONE_USABLE: "No backend for this model is usable at the moment.",
    Reason.ALL_FULL: "All backends for this model are busy.",
    Reason.ALL_RESTING: "All backends for this model have asked to be left alone for a while.",
    Reason.ALL_TRIED: "All backends for this model were tried.",
}


class Chooser:
    """Finds the backends of one exchange."""

    __slots__ = ("_exchange", "_job", "_shared", "_translation", "outgoing", "overloaded", "refusal", "tried")

    def __init__(self, shared: Shared, exchange: Exchange, job: Job) -> None:
        """Nothing is chosen yet."""
        self._shared = shared
        self._exchange = exchange
        self._job = job
        self._translation = Translation(job, shared.cluster.dialects, new_id=shared.outside.new_call_id)
        self.outgoing = self._translation.as_it_is  # as the backend takes it that was chosen last
        self.refusal: InvalidRequest | None = None  # of a backend whose dialect cannot say what was asked
        self.tried: list[Backend] = []
        self.overloaded: list[Ended] = []  # attempts that ended with "not now"

    def release(self) -> None:
        """Let go of what would be a circle of references."""
        self.refusal = None  # it holds the frames that it went through

    async def first(self) -> Backend:
        """Return who is to try first, after a wait where all are full.

        Raises `AnswerError` where no backend can take the request at all, or none became free in time.
        """
        if not self._shared.queue.must_wait(self._job.model):
            backend = self.choose(self.tried)
            if isinstance(backend, Backend):
                return backend
            if not self._may_wait(backend):
                raise self.refusal or self.why_not(backend)
        return await self._wait(is_retry=False)

    def choose(self, tried: Collection[Backend]) -> Backend | Unavailable:
        """Return a backend that takes the request, in the form in which it does; others are passed over."""
        while True:
            backend = self._pick(tried)
            if isinstance(backend, Unavailable):
                return backend
            try:
                self.outgoing = self._translation.outgoing(backend.spec.name)
            except InvalidRequest as refusal:
                self.refusal = self.refusal or refusal
                if refusal.code == UNSUPPORTED:
                    self._exchange.rules |= {Rule.R37.name}
                self._shared.report(backend, AttemptOutcome.CLIENT_ERROR)  # gives back a trial that was picked for it
                self.tried.append(backend)
                tried = [*tried, backend]
            else:
                return backend

    async def next_backend(self, backend: Backend, ended: Ended) -> Backend | None:
        """Return who is to try next, after the pause that `decide` asks for; None to give up."""
        not_here = self._job.route.any_owner and ended.refusal is not None and ended.refusal.status == 404
        if not_here:
            return self._next_owner()
        shared = self._shared
        if ended.is_unknown_model and len(self.tried) < shared.retry_rules.max_attempts:
            other = self.choose(self.tried)
            return other if isinstance(other, Backend) else None
        if ended.outcome is AttemptOutcome.OVERLOADED:
            self.overloaded.append(ended)
        has_room = shared.budget.has_room(shared.outside.clock())
        failed = self._failed(ended, backend)
        step = decide(failed, shared.retry_rules, budget_left=has_room, jitter=shared.outside.dice())
        if isinstance(step, GiveUp):
            return None
        shared.budget.take()
        if step.after > 0:
            await asyncio.sleep(step.after + CLOCK_SLACK)
        other = self._choose_again(was_left=ended.outcome in GONE)
        if isinstance(other, Unavailable) and self._may_wait(other):
            try:
                return await self._wait(is_retry=True, was_left=ended.outcome in GONE)
            except AnswerError:  # the client is told what made it try again
                return None
        return other if isinstance(other, Backend) else None

    async def another(self) -> Backend | None:
        """Return who goes on with what others have broken off, after a wait where all are full; None: nobody does."""
        other = self._choose_again(was_left=True)
        if isinstance(other, Unavailable) and self._may_wait(other):
            try:
                return await self._wait(is_retry=True, was_left=True)
            except AnswerError:
                return None
        return other if isinstance(other, Backend) else None

    def _choose_again(self, *, was_left: bool) -> Backend | Unavailable:
        """Return who tries after a failure: somebody new, else one that was tried before, if it will have us.

        `was_left`: the last one has broken off, so that one who is only full is worth waiting for.
        """
        other = self.choose(self.tried)
        if isinstance(other, Backend) or (was_left and self._may_wait(other) and self._is_other_full()):
            return other
        return self.choose(())

    def _is_other_full(self) -> bool:
        """Return whether a backend that was not tried is worth waiting for."""
        return self._shared.queue.is_open and self._shared.has_full(self._job.model, tried=self.tried)

    def _may_wait(self, unavailable: Unavailable) -> bool:
        return unavailable.reason is Reason.ALL_FULL and self._shared.queue.is_open

    async def _wait(self, *, is_retry: bool, was_left: bool = False) -> Backend:
        """Wait for a free backend. Raises `AnswerError` where there is none any more, or none in time."""
        shared, exchange = self._shared, self._exchange
        queue, started = shared.queue, shared.outside.clock()

        def choose() -> Backend | None:
            found = self._choose_again(was_left=was_left) if is_retry else self.choose(self.tried)
            if isinstance(found, Unavailable) and found.reason not in (Reason.ALL_FULL, Reason.ALL_RESTING):
                raise self.refusal or self.why_not(found)
            return found if isinstance(found, Backend) else None

        try:
            return await queue.wait(self._job.model, self._key(), choose=choose, is_retry=is_retry)
        finally:
            now = shared.outside.clock()
            waited = now - started
            if waited > 0:
                exchange.queued += waited
                if exchange.trace is not None:
                    exchange.trace.waited(len(exchange.attempts), started, now)
                shared.watcher.queue_waited(waited)

    def _key(self) -> bytes | str:
        """Return whose turn it is in the queue: the owner of the credentials, else whoever has the address."""
        for name, value in self._job.headers:
            if name.lower() in _KEYS:
                return hashlib.blake2b(value, digest_size=16).digest()
        return self._exchange.client

    def _next_owner(self) -> Backend | None:
        """Return who is to be asked next for an object that only its maker knows.

        Raises `NoBackend` where somebody who could know it cannot be asked now: "not found" would be final.
        """
        other = self.choose(self.tried)
        if isinstance(other, Backend):
            return other
        unasked = [each for each in self._shared.cluster.registry.backends if each not in self.tried]
        asked_in_vain = any(attempt.outcome is not AttemptOutcome.CLIENT_ERROR for attempt in self._exchange.attempts)
        if asked_in_vain or any(not each.is_down for each in unasked):
            raise NoBackend("The backend that may hold it cannot be asked now.", retry_after=1)
        return None

    def _failed(self, ended: Ended, backend: Backend) -> Failed:
        shared, job = self._shared, self._job
        outcomes = [attempt.outcome for attempt in self._exchange.attempts]
        now = shared.outside.clock()
        other_free = shared.cluster.registry.has_free(job.model, now=now, tried=self.tried)
        return Failed(
            ended.outcome,
            attempts=len(outcomes),
            alike=outcomes.count(ended.outcome),
            begun=False,
            other_free=other_free or self._is_other_full(),  # it will be, for who waits
            is_out=not backend.is_usable(now),
            retry_after=ended.retry_after,
            deadline_in=None if job.deadline is None else job.deadline - now,
        )

    def _pick(self, tried: Collection[Backend]) -> Backend | Unavailable:
        visit = self._job.visit
        if visit is not None and not tried and not self.tried:
            backend = self._shared.sessions.place(visit, self._job.model)
            if backend is not None:
                return backend
        return self._shared.cluster.registry.pick(self._job.model, now=self._shared.outside.clock(), tried=tried)

    def why_not(self, unavailable: Unavailable) -> AnswerError:
        if unavailable.reason is not Reason.UNKNOWN_MODEL:
            return NoBackend(WHY_NOT[unavailable.reason], retry_after=max(1.0, unavailable.retry_after))
        known = ", ".join(f"`{name}`" for name in self._shared.cluster.registry.known_models()[:20])
        return UnknownModel(
            f"The model `{(self._job.model or '')[:200]}` does not exist. Available models: {known or 'none'}.",
            param="model",
        )
