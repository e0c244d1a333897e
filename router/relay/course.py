"""The course of one exchange: which backends it tries, in which order, and what the client is told at the end."""

import asyncio
import logging
from collections.abc import Awaitable
from functools import partial

from router.backends.backend import Backend
from router.exchange import Attempt as AttemptRecord
from router.exchange import AttemptOutcome, Exchange, Outcome
from router.relay.answer import Answer
from router.relay.attempt import Attempt
from router.relay.choosing import Chooser
from router.relay.continuing import Continuing, Next, kept_for
from router.relay.hedge import Contender
from router.relay.kept import Kept
from router.relay.outcomes import Ended, passed_on
from router.relay.race import Race
from router.relay.retry import AGAIN, NOTHING_SENT, Again
from router.relay.route import Job
from router.relay.shared import Shared
from router.relay.translation import Outgoing, note_rules
from router.relay.usage import tokens_of
from router.tracing.context import Headers, told_to_backend
from router.tracing.spans import attempt_number
from router.wire.wheel import Wait

log = logging.getLogger("router.relay")

# Seconds after which a kept connection that ends was not dead before: its backend has taken the request, and broken.
DEAD_BEFORE = 1.0

# Bound once: finding a member of an enum takes as long as eight attributes (Python 3.11).
_OK, _TRY_OK = Outcome.OK, AttemptOutcome.OK

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
    AttemptOutcome.STOPPING: Outcome.BACKEND_ERROR,
    AttemptOutcome.UNAUTHORIZED: Outcome.BACKEND_ERROR,
    AttemptOutcome.FORBIDDEN: Outcome.CLIENT_ERROR,
    AttemptOutcome.CLIENT_ERROR: Outcome.CLIENT_ERROR,
    AttemptOutcome.ERROR_EVENT: Outcome.BACKEND_ERROR,
    AttemptOutcome.CUT: Outcome.BACKEND_ERROR,
    AttemptOutcome.STALLED: Outcome.TIMEOUT,
    AttemptOutcome.CLIENT_GONE: Outcome.CLIENT_GONE,
    AttemptOutcome.DEADLINE: Outcome.TIMEOUT,
    AttemptOutcome.SHUTDOWN: Outcome.SHUTDOWN,
    AttemptOutcome.SUPERSEDED: Outcome.INTERNAL,  # never the last one
    AttemptOutcome.INTERNAL: Outcome.INTERNAL,
}


class Course:
    """The attempts of one exchange, and what they have taken that must be given back."""

    __slots__ = (
        *("_answer", "_chooser", "_continuing", "_exchange", "_job", "_keepalive", "_kept", "_latest"),
        *("_shared", "_speaking", "limit"),
    )

    def __init__(self, shared: Shared, exchange: Exchange, job: Job, answer: Answer) -> None:
        """Start the keepalive comments' timer, for streams."""
        self._shared = shared
        self._exchange = exchange
        self._job = job
        self._answer = answer
        self._chooser = Chooser(shared, exchange, job)
        self._kept: Kept | None = None  # of the stream, by the attempt that runs
        self._continuing: Continuing | None = None
        self._latest: Attempt | None = None
        self._speaking: Outgoing | None = None  # the request whose answer the client gets
        self.limit: asyncio.Timeout | None = None  # the deadline's
        self._keepalive: Wait | None = None
        if job.stream:
            self._arm_keepalive()

    async def attempts(self) -> Outcome:
        """Try until the answer is told. Raises `AnswerError` where no backend can take the request at all."""
        backend = await self._chooser.first()
        while True:
            ended = await self._attempt(backend)
            if ended.outcome is _TRY_OK:
                return _OK
            if ended.outcome is AttemptOutcome.CLIENT_GONE:
                return Outcome.CLIENT_GONE
            if ended.begun:
                return await self._finish_elsewhere(backend, ended)
            other = await self._chooser.next_backend(backend, ended)
            if other is None:
                self._tell(ended)
                return ENDS[ended.outcome]
            if AGAIN[ended.outcome] is not Again.NO:
                self._shared.watcher.retried(ended.outcome)
            backend = other

    def release(self) -> None:
        """Give back the timer, and let go of what would be a circle of references."""
        self._chooser.release()
        if self._continuing is not None:
            self._continuing.release()
        if self._keepalive is not None:
            self._keepalive.cancel()

    async def _finish_elsewhere(self, backend: Backend, broken: Ended) -> Outcome:
        """Let other backends finish what has broken after it began; where nobody can, the client is told so."""
        ended, kept = broken, self._kept
        if kept is not None:
            continuing = self._continuing = Continuing(self._shared, self._exchange, self._job, kept)
            if self._keepalive is None:
                self._arm_keepalive()
            backend = kept.backend or backend  # of two that ran beside each other, the one whose answer it is
            while (step := await continuing.next_step(backend, ended)) is not None:
                if not isinstance(step, Next):
                    ending = kept.translated(step)
                    self._exchange.tokens = tokens_of(ending, self._exchange.tokens)
                    self._answer.finish(ending)
                    return Outcome.OK
                backend, ended = step.backend, await self._attempt(step.backend, step)
                if ended.outcome in (AttemptOutcome.OK, AttemptOutcome.CLIENT_GONE):
                    return ENDS[ended.outcome]
        assert self._latest is not None
        assert broken.error is not None
        self._latest.give_up()
        self._answer.fail(broken.error)
        return Outcome.BROKEN

    def _attempt(self, backend: Backend, step: Next | None = None) -> Awaitable[Ended]:
        """Make one attempt, or two beside each other; `step`: it goes on with a stream that broke."""
        after = self._shared.hedge_rules.wait_for(self._job.route) if step is None else None
        if after is None:
            return self._try(backend, self._answer, step)
        race = Race(
            self._shared, self._exchange, self._job, answer=self._answer, chooser=self._chooser, try_at=self._try
        )
        return race.run(backend, after=after)

    async def _try(self, backend: Backend, answer: Answer | Contender, step: Next | None = None) -> Ended:
        """Make one attempt. `answer`: the client's, or as much of it as is this attempt's."""
        shared, exchange, name = self._shared, self._exchange, backend.spec.name
        registry, clock = shared.cluster.registry, shared.outside.clock
        endpoint = shared.cluster.endpoints[name]
        job, kept = (self._job, None) if step is None else (step.job, self._kept)
        outgoing = self._chooser.outgoing if step is None else step.outgoing
        if step is None:
            kept, outgoing = kept_for(shared, job, backend, outgoing)
        headers: Headers = job.headers
        record = AttemptRecord(name, clock())
        if exchange.trace is not None and exchange.trace.span_id:  # else it goes on as it came
            headers = told_to_backend(headers, exchange.trace, attempt_number(len(exchange.attempts)))
            record.server = endpoint.origin.server
        exchange.attempts.append(record)
        self._chooser.tried.append(backend)
        lines = endpoint.to_backend.lines(headers, job.connection, exchange.id)
        registry.acquire(backend)
        attempt = Attempt(shared.outside, job, exchange, answer, outgoing=outgoing, kept=kept)
        self._let_speak(attempt, answer, outgoing=outgoing, kept=kept, name=name)
        retry_after = None
        try:
            shared.running.add(name, attempt)
            ended = await attempt.run(endpoint, lines)
            if ended.on_dead_connection and clock() - record.started < DEAD_BEFORE:
                # It had died while it was kept: nobody's failure, and nothing was done there.
                shared.running.discard(name, attempt)
                attempt = Attempt(shared.outside, job, exchange, answer, outgoing=outgoing, kept=kept)
                self._let_speak(attempt, answer, outgoing=outgoing, kept=kept, name=name)
                shared.running.add(name, attempt)
                ended = await attempt.run(endpoint, lines, fresh=True)
            record.outcome, retry_after = ended.outcome, ended.retry_after
        except BaseException as error:
            record.outcome = self._why_raised(error)
            raise
        finally:
            shared.running.discard(name, attempt)
            registry.release(backend)
            self._close(record, backend, attempt, outgoing=outgoing, retry_after=retry_after)
        return ended

    def _let_speak(
        self, attempt: Attempt, answer: Answer | Contender, *, outgoing: Outgoing, kept: Kept | None, name: str
    ) -> None:
        """Let the client's answer be this attempt's; where two run, that of the one that claims it."""
        number = len(self._exchange.attempts)
        if isinstance(answer, Contender):
            answer.on_won = partial(self._speak, attempt, outgoing, kept, name=name, number=number)
            answer.on_lost = attempt.on_verdict
        self._speak(attempt, outgoing, kept, name=name, number=number)

    def _speak(self, attempt: Attempt, outgoing: Outgoing, kept: Kept | None, *, name: str, number: int) -> None:
        self._kept, self._latest, self._speaking = kept, attempt, outgoing
        self._answer.tell(outgoing.lines)
        if self._shared.reveal:
            self._answer.reveal(name, number)

    def _close(
        self,
        record: AttemptRecord,
        backend: Backend,
        attempt: Attempt,
        *,
        outgoing: Outgoing,
        retry_after: float | None,
    ) -> None:
        """Tell everybody how an attempt ended."""
        shared = self._shared
        if outgoing.rules or outgoing.repair is not None:
            self._note_translation(backend, outgoing, record.outcome)
        record.ended, record.status = shared.outside.clock(), attempt.status
        if self._exchange.trace is not None:
            self._note_answer(record, attempt)
        if record.outcome is not None:
            shared.report(backend, record.outcome, retry_after=retry_after)
            shared.watcher.attempt_closed(record, self._exchange)
        shared.queue.freed()

    def _note_answer(self, record: AttemptRecord, attempt: Attempt) -> None:
        """Note what of the client's answer came of an attempt: its spans tell it."""
        exchange = self._exchange
        if record.outcome is AttemptOutcome.SUPERSEDED:  # what was sent meanwhile is the other one's
            return
        record.began = attempt.began
        if record.began is None and record.outcome is AttemptOutcome.OK:  # in one piece
            record.began = exchange.began
        record.events = exchange.events - sum(each.events for each in exchange.attempts)

    def _note_translation(self, backend: Backend, outgoing: Outgoing, outcome: AttemptOutcome | None) -> None:
        repair = outgoing.repair
        note_rules(self._exchange, outgoing)
        if repair is None or repair.translator is None or outcome is not AttemptOutcome.OK or not repair.asked.tools:
            return
        name = backend.spec.name
        if self._shared.cluster.dialects.streamed(name, lost_call=repair.translator.swallowed):
            log.warning("backend %s loses calls in streams; streams with tools are made from whole answers now", name)

    def _why_raised(self, error: BaseException) -> AttemptOutcome:
        if not isinstance(error, asyncio.CancelledError):
            return AttemptOutcome.INTERNAL  # whoever runs the exchange tells of it
        if self._answer.is_whole:
            return AttemptOutcome.OK  # only the end of the backend's framing was still waited for
        if self._shared.is_stopping:
            return AttemptOutcome.SHUTDOWN
        is_late = self.limit is not None and self.limit.expired()
        return AttemptOutcome.DEADLINE if is_late else AttemptOutcome.CLIENT_GONE

    def _tell(self, ended: Ended) -> None:
        """Tell the client of the failure that nobody could mend."""
        # What could be tried again was tried here as often as may be: SDKs must not multiply that. Where nobody could
        # be asked they may come back when they are told to: a server that starts anew is there by then.
        spent = AGAIN[ended.outcome] is not Again.NO and ended.outcome not in NOTHING_SENT
        if ended.outcome is AttemptOutcome.OVERLOADED and self._chooser.overloaded:
            ended = min(
                self._chooser.overloaded, key=lambda one: one.retry_after if one.retry_after is not None else 1.0
            )
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
            self._keepalive = self._shared.outside.timers.call_later(seconds, self._keep_alive)

    def _keep_alive(self) -> None:
        self._keepalive = None
        repair = None if self._speaking is None else self._speaking.repair
        translator = None if repair is None else repair.translator
        is_waiting = self._exchange.began is None or (self._continuing is not None and self._continuing.is_waiting)
        if self._answer.finished or not (is_waiting or translator is not None):
            return
        if is_waiting or (translator is not None and translator.is_holding):
            self._answer.keep_alive()
        self._arm_keepalive()
