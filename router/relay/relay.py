"""Runs one exchange: picks backends, tries them, and brings the exchange to exactly one end.

    pick a backend -> attempt -> its outcome to the registry -> retry.decide -> next attempt, or the end

The exchange is closed in one `finally`; in-flight slots, the retry budget and timers are given back there too.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from router.backends.backend import Backend, Change, Reason, Unavailable
from router.backends.registry import Registry
from router.errors import AnswerError, BackendTimeout, InternalFault, NoBackend, UnknownModel
from router.exchange import Attempt as AttemptRecord
from router.exchange import AttemptOutcome, Exchange, Outcome
from router.relay.answer import Answer
from router.relay.attempt import Attempt
from router.relay.endpoint import Endpoint
from router.relay.outcomes import Ended, Refusal, error_of, passed_on
from router.relay.outside import Outside
from router.relay.retry import Failed, GiveUp, RetryBudget, RetryRules, decide
from router.relay.route import Job

# Seconds that exchanges get to tell their clients that the router stops.
LAST_WORDS = 1.0

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
    AttemptOutcome.UNAUTHORIZED: Outcome.CLIENT_ERROR,
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
    Reason.NOT_LISTED_YET: "The backends have not told yet which models they serve.",
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


class Relay:
    """The one place where clients' exchanges and backends meet."""

    def __init__(
        self,
        cluster: Cluster,
        outside: Outside,
        *,
        retry_rules: RetryRules,
        watcher: Watcher,
        reveal: bool = False,
    ) -> None:
        """`reveal`: tell clients which backend answered, and after how many attempts."""
        self.cluster = cluster
        self.outside = outside
        self.retry_rules = retry_rules
        self.budget = RetryBudget(retry_rules)
        self.watcher = watcher
        self.reveal = reveal
        self.is_stopping = False
        self._running: set[asyncio.Task[None]] = set()

    @property
    def live(self) -> int:
        """Return how many exchanges are under way here."""
        return len(self._running)

    async def stop(self) -> None:
        """End every exchange under way: its client is told so, in the way that is still open."""
        self.is_stopping = True
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=LAST_WORDS)

    async def run(self, exchange: Exchange, job: Job, answer: Answer, *, task: "asyncio.Task[None]") -> None:
        """Relay one exchange to its end. Raises `CancelledError` only, when the client has left.

        `task`: the one that runs this; cancelling it is how a client's leaving is told.
        """
        course = Course(self, exchange, job, answer)
        outcome = Outcome.INTERNAL
        self._running.add(task)
        try:
            if job.deadline is None:
                outcome = await course.attempts()
            else:
                async with asyncio.timeout(max(0.0, job.deadline - self.outside.clock())) as course.limit:
                    outcome = await course.attempts()
        except TimeoutError:
            outcome = Outcome.TIMEOUT
            answer.fail(BackendTimeout("The deadline of the request has passed."), final=True)
        except asyncio.CancelledError:
            outcome = Outcome.SHUTDOWN if self.is_stopping else Outcome.CLIENT_GONE
            if not self.is_stopping:
                raise
            task.uncancel()
            answer.fail(NoBackend("The router is shutting down.", retry_after=1))
        except AnswerError as error:
            outcome = Outcome.NO_BACKEND if isinstance(error, NoBackend) else Outcome.REJECTED
            answer.fail(error)
        except Exception:
            answer.fail(InternalFault("The router failed; its log says why."))
            raise
        finally:
            course.release()
            self._running.discard(task)
            exchange.close(outcome, self.outside.clock())


class Course:
    """The attempts of one exchange, and what they have taken that must be given back."""

    def __init__(self, relay: Relay, exchange: Exchange, job: Job, answer: Answer) -> None:
        """Start the keepalive comments' timer, for streams."""
        self._relay = relay
        self._exchange = exchange
        self._job = job
        self._answer = answer
        self.limit: asyncio.Timeout | None = None  # the deadline's
        self._tried: list[Backend] = []
        self._overloaded: list[Ended] = []
        self._has_budget = False
        self._keepalive: asyncio.TimerHandle | None = None
        if job.stream:
            self._arm_keepalive()

    async def attempts(self) -> Outcome:
        """Try until the answer is told. Raises `AnswerError` where no backend can take the request at all."""
        backend = self._pick(self._tried)
        if isinstance(backend, Unavailable):
            raise self._why_not(backend)
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
            self._relay.watcher.retried(ended.outcome)
            backend = other

    def release(self) -> None:
        """Give back the retry budget and the timer."""
        if self._has_budget:
            self._has_budget = False
            self._relay.budget.release()
        if self._keepalive is not None:
            self._keepalive.cancel()

    async def _attempt(self, backend: Backend) -> Ended:
        relay, exchange = self._relay, self._exchange
        registry, clock = relay.cluster.registry, relay.outside.clock
        endpoint = relay.cluster.endpoints[backend.spec.name]
        record = AttemptRecord(backend.spec.name, clock())
        exchange.attempts.append(record)
        self._tried.append(backend)
        if relay.reveal:
            self._answer.reveal(backend.spec.name, len(exchange.attempts))
        lines = endpoint.to_backend.lines(self._job.headers, self._job.connection, exchange.id)
        registry.acquire(backend)
        attempt = Attempt(relay.outside, self._job, exchange, self._answer)
        retry_after = None
        try:
            ended = await attempt.run(endpoint, lines)
            if ended.on_dead_connection:  # it had died while it was kept: nobody's failure, and nothing was done there
                attempt = Attempt(relay.outside, self._job, exchange, self._answer)
                ended = await attempt.run(endpoint, lines, fresh=True)
            record.outcome, retry_after = ended.outcome, ended.retry_after
        except asyncio.CancelledError:
            record.outcome = self._why_cancelled()
            raise
        finally:
            registry.release(backend)
            record.ended, record.status = clock(), attempt.status
            if record.outcome is not None:
                jitter = relay.outside.dice()
                changes = registry.report(
                    backend, record.outcome, now=record.ended, retry_after=retry_after, jitter=jitter
                )
                for change in changes:
                    relay.watcher.changed(change)
                relay.watcher.attempt_closed(record, exchange)
        return ended

    def _why_cancelled(self) -> AttemptOutcome:
        if self._relay.is_stopping:
            return AttemptOutcome.SHUTDOWN
        is_late = self.limit is not None and self.limit.expired()
        return AttemptOutcome.DEADLINE if is_late else AttemptOutcome.CLIENT_GONE

    async def _next_backend(self, backend: Backend, ended: Ended) -> Backend | None:
        """Return who is to try next, after the pause that `decide` asks for; None to give up."""
        not_here = self._job.route.any_owner and ended.refusal is not None and ended.refusal.status == 404
        if not_here:
            other = self._pick(self._tried)
            return other if isinstance(other, Backend) else None
        if ended.outcome is AttemptOutcome.OVERLOADED:
            self._overloaded.append(ended)
        relay = self._relay
        has_room = self._has_budget or relay.budget.has_room(relay.live)
        failed = self._failed(ended, backend)
        step = decide(failed, relay.retry_rules, budget_left=has_room, jitter=relay.outside.dice())
        if isinstance(step, GiveUp):
            return None
        if step.costs_budget and not self._has_budget:
            self._has_budget = True
            relay.budget.take()
        if step.after > 0:
            await asyncio.sleep(step.after + CLOCK_SLACK)
        other = self._pick(self._tried)
        if isinstance(other, Unavailable):  # then one that was tried before, if it will have us
            other = self._pick(())
        return other if isinstance(other, Backend) else None

    def _failed(self, ended: Ended, backend: Backend) -> Failed:
        relay, job = self._relay, self._job
        outcomes = [attempt.outcome for attempt in self._exchange.attempts]
        now = relay.outside.clock()
        return Failed(
            ended.outcome,
            attempts=len(outcomes),
            alike=outcomes.count(ended.outcome),
            begun=False,
            other_free=relay.cluster.registry.has_free(job.model, now=now, tried=self._tried),
            is_out=not backend.is_usable(now),
            retry_after=ended.retry_after,
            deadline_in=None if job.deadline is None else job.deadline - now,
        )

    def _pick(self, tried: "list[Backend] | tuple[()]") -> Backend | Unavailable:
        return self._relay.cluster.registry.pick(self._job.model, now=self._relay.outside.clock(), tried=tried)

    def _why_not(self, unavailable: Unavailable) -> AnswerError:
        if unavailable.reason is not Reason.UNKNOWN_MODEL:
            return NoBackend(WHY_NOT[unavailable.reason], retry_after=max(1.0, unavailable.retry_after))
        known = ", ".join(f"`{name}`" for name in self._relay.cluster.registry.known_models()[:20])
        return UnknownModel(
            f"The model `{(self._job.model or '')[:200]}` does not exist. Available models: {known or 'none'}.",
            param="model",
        )

    def _tell(self, ended: Ended) -> None:
        """Tell the client of the failure that nobody could mend."""
        spent = len(self._exchange.attempts) > 1 or ended.outcome is AttemptOutcome.OVERLOADED
        if ended.outcome is AttemptOutcome.OVERLOADED and self._overloaded:
            ended = min(self._overloaded, key=lambda one: one.retry_after if one.retry_after is not None else 1.0)
        refusal: Refusal | None = ended.refusal
        if refusal is not None and not self._answer.started:
            self._answer.whole(refusal.status, passed_on(refusal, final=spent), refusal.body)
        else:
            self._answer.fail(error_of(ended), final=spent)

    def _arm_keepalive(self) -> None:
        seconds = self._relay.outside.timeouts.keepalive_after
        if seconds is not None:
            self._keepalive = asyncio.get_running_loop().call_later(seconds, self._keep_alive)

    def _keep_alive(self) -> None:
        if self._exchange.began is None and not self._answer.finished:
            self._answer.keep_alive()
            self._arm_keepalive()
