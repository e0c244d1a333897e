"""The course of one exchange: which backends it tries, in which order, and what the client is told at the end."""

import asyncio
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from router.backends.backend import Backend, Change, Reason, Unavailable
from router.backends.registry import Registry
from router.errors import AnswerError, InvalidRequest, NoBackend, UnknownModel
from router.exchange import Attempt as AttemptRecord
from router.exchange import AttemptOutcome, Exchange, Outcome
from router.relay.answer import Answer
from router.relay.attempt import Attempt
from router.relay.dialects import Dialects
from router.relay.endpoint import Endpoint
from router.relay.outcomes import Ended, passed_on
from router.relay.outside import Outside
from router.relay.retry import AGAIN, Again, Failed, GiveUp, RetryBudget, RetryRules, decide
from router.relay.route import Job
from router.relay.translation import Outgoing, Translation, note_rules
from router.translate.mistral.values import UNSUPPORTED
from router.translate.notes import Rule

log = logging.getLogger("router.relay")

# Seconds after which a kept connection that ends was not dead before: its backend has taken the request, and broken.
DEAD_BEFORE = 1.0

# Seconds: the loop's clock counts milliseconds, so a sleep may end before the rest of a backend that it waits for.
CLOCK_SLACK = 0.005

ENDS: dict[AttemptOutcome, Outcome] = {
    AttemptOutcome.OK: Outcome.OK,
    AttemptOutcome.REFUSED: Outcome.NO_BACKEND,
    AttemptOutcome.CONNECT_FAILED: Outcome.NO_BACKEND,
    AttemptOutcome.CONNECTION_LOST: Outcome.BACKEND_ERROR,
    AttemptOutcome.BAD_RESPONSE: Outcome.BACKEND_ERROR,
    AttemptOutcome.FIRST_BYTE_TIMEOUT: Outcome.TIMEOUT,
    AttemptOutcome.OVERLOADED: Outcome.BACKEND_ERROR,
    AttemptOutcome.SERVER_ERROR: Outcome.BACKEND_ERROR,
    AttemptOutcome.GATEWAY_ERROR: Outcome.BACKEND_ERROR,
    AttemptOutcome.UNAUTHORIZED: Outcome.BACKEND_ERROR,
    AttemptOutcome.FORBIDDEN: Outcome.CLIENT_ERROR,
    AttemptOutcome.CLIENT_ERROR: Outcome.CLIENT_ERROR,
    AttemptOutcome.ERROR_EVENT: Outcome.BACKEND_ERROR,
    AttemptOutcome.CUT: Outcome.BACKEND_ERROR,
    AttemptOutcome.STALLED: Outcome.TIMEOUT,
    AttemptOutcome.CLIENT_GONE: Outcome.CLIENT_GONE,
    AttemptOutcome.DEADLINE: Outcome.TIMEOUT,
    AttemptOutcome.SHUTDOWN: Outcome.SHUTDOWN,
}


WHY_NOT: dict[Reason, str] = {
    Reason.UNKNOWN_MODEL: "The model does not exist.",
    Reason.NOT_LISTED_YET: "No backend has told which models it serves; /health tells of each.",
    Reason.NONE_USABLE: "No backend for this model is usable at the moment.",
    Reason.ALL_FULL: "All backends for this model are busy.",
    Reason.ALL_RESTING: "All backends for this model have asked to be left alone for a while.",
    Reason.ALL_TRIED: "All backends for this model were tried.",
}


class Watcher(Protocol):
    """Who is told of attempts: the metrics and the log."""

    def attempt_closed(self, attempt: AttemptRecord, exchange: Exchange) -> None:
        """One try ended."""

    def retried(self, cause: AttemptOutcome) -> None:
        """An exchange is tried again because of this."""

    def changed(self, change: Change) -> None:
        """A backend's state changed."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The backends: who decides among them, and how each is reached (by name)."""

    registry: Registry
    endpoints: Mapping[str, Endpoint]
    dialects: Dialects


@dataclass(slots=True)
class Shared:
    """What all exchanges of a relay share."""

    cluster: Cluster
    outside: Outside
    retry_rules: RetryRules
    watcher: Watcher
    reveal: bool = False  # tell clients which backend answered, and after how many attempts
    live: int = 0  # exchanges under way
    is_stopping: bool = False
    budget: RetryBudget = field(init=False)

    def __post_init__(self) -> None:
        """Start with the whole budget."""
        self.budget = RetryBudget(self.retry_rules)


class Course:
    """The attempts of one exchange, and what they have taken that must be given back."""

    def __init__(self, shared: Shared, exchange: Exchange, job: Job, answer: Answer) -> None:
        """Start the keepalive comments' timer, for streams."""
        self._shared = shared
        self._exchange = exchange
        self._job = job
        self._answer = answer
        self._translation = Translation(job, shared.cluster.dialects, new_id=shared.outside.new_call_id)
        self._outgoing = Outgoing(job.body)  # as the backend takes it that was chosen last
        self._refusal: InvalidRequest | None = None  # of a backend whose dialect cannot say what was asked
        self.limit: asyncio.Timeout | None = None  # the deadline's
        self._tried: list[Backend] = []
        self._overloaded: list[Ended] = []
        self._has_budget = False
        self._keepalive: asyncio.TimerHandle | None = None
        if job.stream:
            self._arm_keepalive()

    async def attempts(self) -> Outcome:
        """Try until the answer is told. Raises `AnswerError` where no backend can take the request at all."""
        backend = self._choose(self._tried)
        if isinstance(backend, Unavailable):
            raise self._refusal or self._why_not(backend)
        while True:
            ended = await self._attempt(backend)
            if ended.outcome is AttemptOutcome.OK:
                return Outcome.OK
            if ended.outcome is AttemptOutcome.CLIENT_GONE:
                return Outcome.CLIENT_GONE
            if ended.begun:
                assert ended.error is not None
                self._answer.fail(ended.error)
                return Outcome.BROKEN
            other = await self._next_backend(backend, ended)
            if other is None:
                self._tell(ended)
                return ENDS[ended.outcome]
            if AGAIN[ended.outcome] is not Again.NO:
                self._shared.watcher.retried(ended.outcome)
            backend = other

    def release(self) -> None:
        """Give back the retry budget and the timer, and let go of what would be a circle of references."""
        if self._has_budget:
            self._has_budget = False
            self._shared.budget.release()
        if self._keepalive is not None:
            self._keepalive.cancel()
        self._refusal = None  # it holds the frames that it went through

    async def _attempt(self, backend: Backend) -> Ended:
        shared, exchange = self._shared, self._exchange
        registry, clock = shared.cluster.registry, shared.outside.clock
        endpoint = shared.cluster.endpoints[backend.spec.name]
        outgoing = self._outgoing
        self._answer.tell(outgoing.lines)
        record = AttemptRecord(backend.spec.name, clock())
        exchange.attempts.append(record)
        self._tried.append(backend)
        if shared.reveal:
            self._answer.reveal(backend.spec.name, len(exchange.attempts))
        lines = endpoint.to_backend.lines(self._job.headers, self._job.connection, exchange.id)
        registry.acquire(backend)
        attempt = Attempt(shared.outside, self._job, exchange, self._answer, outgoing=outgoing)
        retry_after = None
        try:
            ended = await attempt.run(endpoint, lines)
            if ended.on_dead_connection and clock() - record.started < DEAD_BEFORE:
                # It had died while it was kept: nobody's failure, and nothing was done there.
                attempt = Attempt(shared.outside, self._job, exchange, self._answer, outgoing=outgoing)
                ended = await attempt.run(endpoint, lines, fresh=True)
            record.outcome, retry_after = ended.outcome, ended.retry_after
        except asyncio.CancelledError:
            record.outcome = self._why_cancelled()
            raise
        finally:
            registry.release(backend)
            self._note_translation(backend, outgoing, record.outcome)
            record.ended, record.status = clock(), attempt.status
            if record.outcome is not None:
                self._report(backend, record.outcome, retry_after=retry_after)
                shared.watcher.attempt_closed(record, exchange)
        return ended

    def _choose(self, tried: Collection[Backend]) -> Backend | Unavailable:
        """Return a backend that takes the request, in the form in which it does; others are passed over."""
        while True:
            backend = self._pick(tried)
            if isinstance(backend, Unavailable):
                return backend
            try:
                self._outgoing = self._translation.outgoing(backend.spec.name)
            except InvalidRequest as refusal:
                self._refusal = self._refusal or refusal
                if refusal.code == UNSUPPORTED:
                    self._exchange.rules.add(Rule.R37.name)
                self._report(backend, AttemptOutcome.CLIENT_ERROR)  # gives back a trial that was picked for it
                self._tried.append(backend)
                tried = [*tried, backend]
            else:
                return backend

    def _report(self, backend: Backend, outcome: AttemptOutcome, *, retry_after: float | None = None) -> None:
        shared = self._shared
        now, jitter = shared.outside.clock(), shared.outside.dice()
        changes = shared.cluster.registry.report(backend, outcome, now=now, retry_after=retry_after, jitter=jitter)
        for change in changes:
            shared.watcher.changed(change)

    def _note_translation(self, backend: Backend, outgoing: Outgoing, outcome: AttemptOutcome | None) -> None:
        repair = outgoing.repair
        if outgoing.rules or repair is not None:
            note_rules(self._exchange, outgoing)
        if repair is None or repair.translator is None or outcome is not AttemptOutcome.OK or not repair.asked.tools:
            return
        name = backend.spec.name
        if self._shared.cluster.dialects.streamed(name, lost_call=repair.translator.swallowed):
            log.warning("backend %s loses calls in streams; streams with tools are made from whole answers now", name)

    def _why_cancelled(self) -> AttemptOutcome:
        if self._answer.is_whole:
            return AttemptOutcome.OK  # only the end of the backend's framing was still waited for
        if self._shared.is_stopping:
            return AttemptOutcome.SHUTDOWN
        is_late = self.limit is not None and self.limit.expired()
        return AttemptOutcome.DEADLINE if is_late else AttemptOutcome.CLIENT_GONE

    async def _next_backend(self, backend: Backend, ended: Ended) -> Backend | None:
        """Return who is to try next, after the pause that `decide` asks for; None to give up."""
        not_here = self._job.route.any_owner and ended.refusal is not None and ended.refusal.status == 404
        if not_here:
            return self._next_owner()
        shared = self._shared
        if ended.is_unknown_model and len(self._tried) < shared.retry_rules.max_attempts:
            other = self._choose(self._tried)
            return other if isinstance(other, Backend) else None
        if ended.outcome is AttemptOutcome.OVERLOADED:
            self._overloaded.append(ended)
        has_room = self._has_budget or shared.budget.has_room(shared.live)
        failed = self._failed(ended, backend)
        step = decide(failed, shared.retry_rules, budget_left=has_room, jitter=shared.outside.dice())
        if isinstance(step, GiveUp):
            return None
        if step.costs_budget and not self._has_budget:
            self._has_budget = True
            shared.budget.take()
        if step.after > 0:
            await asyncio.sleep(step.after + CLOCK_SLACK)
        other = self._choose(self._tried)
        if isinstance(other, Unavailable):  # then one that was tried before, if it will have us
            other = self._choose(())
        return other if isinstance(other, Backend) else None

    def _next_owner(self) -> Backend | None:
        """Return who is to be asked next for an object that only its maker knows.

        Raises `NoBackend` where somebody who could know it cannot be asked now: "not found" would be final.
        """
        other = self._choose(self._tried)
        if isinstance(other, Backend):
            return other
        unasked = [each for each in self._shared.cluster.registry.backends if each not in self._tried]
        asked_in_vain = any(attempt.outcome is not AttemptOutcome.CLIENT_ERROR for attempt in self._exchange.attempts)
        if asked_in_vain or any(not each.is_down for each in unasked):
            raise NoBackend("The backend that may hold it cannot be asked now.", retry_after=1)
        return None

    def _failed(self, ended: Ended, backend: Backend) -> Failed:
        shared, job = self._shared, self._job
        outcomes = [attempt.outcome for attempt in self._exchange.attempts]
        now = shared.outside.clock()
        return Failed(
            ended.outcome,
            attempts=len(outcomes),
            alike=outcomes.count(ended.outcome),
            begun=False,
            other_free=shared.cluster.registry.has_free(job.model, now=now, tried=self._tried),
            is_out=not backend.is_usable(now),
            retry_after=ended.retry_after,
            deadline_in=None if job.deadline is None else job.deadline - now,
        )

    def _pick(self, tried: Collection[Backend]) -> Backend | Unavailable:
        return self._shared.cluster.registry.pick(self._job.model, now=self._shared.outside.clock(), tried=tried)

    def _why_not(self, unavailable: Unavailable) -> AnswerError:
        if unavailable.reason is not Reason.UNKNOWN_MODEL:
            return NoBackend(WHY_NOT[unavailable.reason], retry_after=max(1.0, unavailable.retry_after))
        known = ", ".join(f"`{name}`" for name in self._shared.cluster.registry.known_models()[:20])
        return UnknownModel(
            f"The model `{(self._job.model or '')[:200]}` does not exist. Available models: {known or 'none'}.",
            param="model",
        )

    def _tell(self, ended: Ended) -> None:
        """Tell the client of the failure that nobody could mend."""
        # What could be tried again was tried here as often as may be: SDKs must not multiply that.
        spent = AGAIN[ended.outcome] is not Again.NO
        if ended.outcome is AttemptOutcome.OVERLOADED and self._overloaded:
            ended = min(self._overloaded, key=lambda one: one.retry_after if one.retry_after is not None else 1.0)
        refusal = ended.refusal
        assert ended.error is not None
        if refusal is not None and not self._answer.started:
            self._exchange.error = ended.error.code or ended.error.kind
            self._exchange.param = ended.error.param
            self._answer.whole(refusal.status, passed_on(refusal, final=spent), refusal.body)
        else:
            self._answer.fail(ended.error, final=spent)

    def _arm_keepalive(self) -> None:
        seconds = self._shared.outside.timeouts.keepalive_after
        if seconds is not None:
            self._keepalive = self._shared.outside.loop.call_later(seconds, self._keep_alive)

    def _keep_alive(self) -> None:
        repair = self._outgoing.repair
        translator = None if repair is None else repair.translator
        if self._answer.finished or (self._exchange.began is not None and translator is None):
            return
        if self._exchange.began is None or (translator is not None and translator.is_holding):
            self._answer.keep_alive()
        self._arm_keepalive()
