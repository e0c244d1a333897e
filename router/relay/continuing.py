"""Finishes a stream that broke: which backend continues it, with which request, and when nobody can.

`resume.py` says whether it may be continued and how that is asked for, `splice.py` makes the answer fit, and `Course`
runs the attempts. A continuation that breaks is continued in turn, from all that the client was sent.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import orjson

from router.backends.backend import Backend
from router.errors import InvalidRequest
from router.exchange import AttemptOutcome, Exchange
from router.relay import resume
from router.relay.beginning import DONE
from router.relay.choosing import CLOCK_SLACK, Chooser
from router.relay.counting import detokenize, tokenize
from router.relay.endpoint import Endpoint
from router.relay.kept import Kept
from router.relay.outcomes import Ended
from router.relay.probing import length_of
from router.relay.resume import Mode, Plan
from router.relay.retry import Failed, GiveUp, RetryRules, decide
from router.relay.route import Job, Route
from router.relay.shared import Shared
from router.relay.splice import Splice, ending, usage_of
from router.relay.transcript import UNFINISHED, Transcript
from router.relay.translation import Outgoing, Translation

MOST_PASSED_OVER = 8  # backends that answer in one piece, before nobody is found
MOST_HELD = 4  # tokens of one event that may have no text yet: a character has up to four bytes
# How a stream may end that another backend may finish. All else is the request's own fault, or nobody's.
BREAKS = frozenset(
    {
        *(AttemptOutcome.CUT, AttemptOutcome.STALLED, AttemptOutcome.ERROR_EVENT, AttemptOutcome.STOPPING),
        *(AttemptOutcome.BAD_RESPONSE, AttemptOutcome.FIRST_BYTE_TIMEOUT, AttemptOutcome.CONNECTION_LOST),
    }
)
COMPLETIONS = Route("/v1/completions", "POST", end_marks=(DONE,))
# Bound once: finding a member of an enum takes as long as eight attributes (Python 3.11).
_OFF, _EXACT = Mode.OFF, Mode.EXACT


@dataclass(frozen=True, slots=True)
class Next:
    """Who continues, and what is asked of it."""

    backend: Backend
    job: Job
    outgoing: Outgoing


@dataclass(frozen=True, slots=True)
class Counted:
    """What is known of a text's tokens."""

    generated: int  # by the model
    again: int  # as they count in the prompt of the continuation
    ids: list[int] | None = None


def kept_for(shared: Shared, job: Job, backend: Backend, outgoing: Outgoing) -> tuple[Kept | None, Outgoing]:
    """Return what keeps the stream of an attempt, None where nobody could finish it, and the request to be sent."""
    rules, route = shared.resume_rules, job.route
    if rules.mode is _OFF or not job.stream or not outgoing.is_stream:
        return None, outgoing
    if not (route.is_chat or route.path == COMPLETIONS.path):
        return None, outgoing
    hides_ids = False
    if rules.mode is _EXACT and _knows_ids(backend, job) and resume.wants_ids(job.body):
        hides_ids = True
        outgoing = Outgoing(resume.asks_ids(outgoing.body), outgoing.repair, outgoing.lines, outgoing.rules)
    kept = Kept(is_chat=route.is_chat, max_length=rules.max_length, hides_ids=hides_ids)
    kept.backend = backend
    return kept, outgoing


def _knows_ids(backend: Backend, job: Job) -> bool:
    """Return whether it is a vLLM server, by how it lists the model; others may refuse fields that they do not know."""
    return backend.models.get(job.model or "", {}).get("owned_by") == "vllm"


class Continuing:
    """How one broken stream is finished."""

    def __init__(self, shared: Shared, exchange: Exchange, job: Job, kept: Kept) -> None:
        """Nothing is read before `next_step`."""
        self._shared = shared
        self._exchange = exchange
        self._job = job
        self._kept = kept
        self._plan: Plan | None = None
        self._broken: list[Backend] = []
        self._outcomes: list[AttemptOutcome] = []
        self._may_be_exact = shared.resume_rules.mode is Mode.EXACT
        self.mode = Mode.TEXT  # of the last step
        self.is_waiting = True  # nobody goes on with it at the moment
        self._is_possible = False  # it is a stream that can be continued
        kept.on_resumed = self._on_resumed

    def release(self) -> None:
        """Let go of a circle of references."""
        self._kept.on_resumed = None

    def _on_resumed(self) -> None:
        """Somebody goes on with it."""
        self.is_waiting = False
        self._exchange.resumed += 1
        self._exchange.resume_mode = self.mode.value
        self._shared.watcher.resumed(self.mode.value, ok=True)

    async def next_step(self, backend: Backend, ended: Ended) -> Next | list[bytes] | None:
        """Return who goes on after `backend` has broken off, or the events that end the stream, where nothing is left.

        None: it cannot be continued, or nobody takes it.
        """
        self.is_waiting = True
        step = await self._step(backend, ended)
        if step is None and self._is_possible:
            self._shared.watcher.resumed(self.mode.value, ok=False)
        elif isinstance(step, list):
            self._on_resumed()
        return step

    async def _step(self, backend: Backend, ended: Ended) -> Next | list[bytes] | None:
        self._kept.fold()
        if not self._may_go_on(ended):
            return None
        self._outcomes.append(ended.outcome)
        self._broken.append(backend)
        plan, transcript = self._plan, self._kept.transcript
        assert plan is not None
        if ended.outcome is AttemptOutcome.CLIENT_ERROR:
            self._may_be_exact = False
        if transcript.finish is None and not await self._may_try(backend, ended):
            return None
        if self._may_be_exact and self._has_ids(plan, transcript):
            self.mode = Mode.EXACT
            return await self._with_ids(plan, transcript)
        self.mode = Mode.TEXT
        return await self._with_text(plan, transcript)

    def _may_go_on(self, ended: Ended) -> bool:
        kept, rules = self._kept, self._shared.resume_rules
        if rules.mode is Mode.OFF or kept.unfit is not None:
            return False
        if self._plan is None:  # the first time
            if ended.outcome not in BREAKS:
                return False
            self._plan = resume.plan_of(self._job.body, is_chat=kept.is_chat)
        text = kept.transcript.text
        self._is_possible = self._plan is not None and not any(mark in text for mark in resume.MARKS)
        return self._is_possible and bool(kept.transcript.head)

    async def _may_try(self, backend: Backend, ended: Ended) -> bool:
        """Return whether there may be another attempt, by the rules of retries; wait as long as they say."""
        shared, job = self._shared, self._job
        now, registry = shared.outside.clock(), shared.cluster.registry
        is_other_full = shared.queue.is_open and shared.has_full(job.model, tried=self._broken)
        failed = Failed(
            ended.outcome if ended.outcome is not AttemptOutcome.CLIENT_ERROR else AttemptOutcome.GATEWAY_ERROR,
            attempts=len(self._outcomes),
            alike=self._outcomes.count(ended.outcome),
            begun=False,
            other_free=is_other_full or registry.has_free(job.model, now=now, tried=self._broken),
            # Many streams stall at once where a backend hangs, before anybody knows that it does.
            is_out=ended.outcome is AttemptOutcome.STALLED or not backend.is_usable(now),
            retry_after=ended.retry_after,
            deadline_in=None if job.deadline is None else job.deadline - now,
        )
        rules = RetryRules(max_attempts=shared.resume_rules.max_attempts + 1)
        step = decide(failed, rules, budget_left=shared.budget.has_room(now), jitter=shared.outside.dice())
        if isinstance(step, GiveUp):
            return False
        if step.costs_budget:  # else many streams that one dead backend has left would use up what retries need
            shared.budget.take()
        if not failed.other_free and step.after > 0:
            await asyncio.sleep(step.after + CLOCK_SLACK)
        return True

    # ---- exact: by the ids of tokens

    def _has_ids(self, plan: Plan, transcript: Transcript) -> bool:
        return plan.may_be_exact and bool(transcript.prompt_ids) and bool(transcript.generated_ids)

    async def _with_ids(self, plan: Plan, transcript: Transcript) -> Next | list[bytes] | None:
        job, chosen, owed = self._job, None, ""
        if transcript.finish is None:
            chosen = await self._choose(job)
        if chosen is not None and transcript.told_ids():
            missing = await self._owed(chosen[0], transcript)
            if missing is None and plan.is_chat:  # no parser holds back what a text completion says
                return await self._with_text_instead(plan, transcript, chosen)
            owed = missing or ""
        ids = transcript.told_ids()
        prompt, generated = transcript.prompt_ids.count(b",") + 1, len(ids)
        if self._is_over(plan, generated):
            return self._ending(plan, usage=(prompt, generated), owed=owed, chosen=chosen)
        if chosen is None:
            return None
        backend, outgoing = chosen
        left = None if plan.limit is None else plan.limit - generated
        if left is None:
            length = length_of(backend.models.get(job.model or "", {}))
            if length is None:
                return await self._with_text_instead(plan, transcript, chosen)
            left = length - prompt - generated
        if left <= 0:
            return self._ending(plan, usage=(prompt, generated), owed=owed, chosen=chosen)
        all_ids = b",".join([transcript.prompt_ids, *ids])
        body = resume.with_ids(outgoing.body, all_ids, left=left, least=plan.least - generated)
        job = replace(job, route=COMPLETIONS, rest="completions", body=body, shape=None)
        splice = Splice(transcript.head, is_chat=plan.is_chat, prompt=prompt, generated=generated, owed=owed)
        return self._next(backend, job, Outgoing(body, outgoing.repair, outgoing.lines, outgoing.rules), splice)

    async def _with_text_instead(
        self, plan: Plan, transcript: Transcript, chosen: tuple[Backend, Outgoing]
    ) -> Next | list[bytes] | None:
        self._give_back(chosen)
        self.mode = Mode.TEXT
        return await self._with_text(plan, transcript)

    async def _owed(self, backend: Backend, transcript: Transcript) -> str | None:
        """Return the text of the tokens so far that the client has not, None where that cannot be known.

        vLLM's parsers hold back what may begin a mark ("[" or "<", the rest of a token as well) until the next token,
        also where no tools are offered: nobody but we can tell it now. Where several tokens come in one event, the last
        ones may have no text, or that of an unfinished character: they are forgotten, and generated again.
        """
        owed: tuple[str, int] | None = None
        said: str | None = None
        ids = transcript.told_ids()
        for held in range(min(len(ids), MOST_HELD + 1)):
            said = await self._text_of(backend, ids[: len(ids) - held])
            missing = None if said is None else transcript.missing_of(said)
            if missing is not None:
                owed = missing, held
            if missing == "" or said is None or (missing is None and not said.endswith(UNFINISHED)):
                break
        if owed is not None:
            if owed[1]:
                transcript.drop_ids(owed[1])
            return owed[0]
        # Special tokens have come before: they have a text there, and none in a stream.
        last = None if said is None else await self._text_of(backend, ids[-1:])
        return None if last is None else transcript.missing_of_last(last)

    # ---- text

    async def _with_text(self, plan: Plan, transcript: Transcript) -> Next | list[bytes] | None:
        text = transcript.text
        self._may_be_exact = False  # from now on, ids are missing
        transcript.told_ids()  # those without text are told again
        if transcript.finish is not None and (transcript.usage_told or not plan.wants_usage):
            return self._ending(plan, usage=None)
        job = replace(self._job, body=resume.with_text(plan, text, generated=0), shape=None)
        chosen = await self._choose(job)
        if chosen is None:
            return None
        backend, outgoing = chosen
        counted = await self._counted(backend, plan, transcript)
        if counted is None:
            self._give_back(chosen)
            return None
        if self._is_over(plan, counted.generated):
            prompt = transcript.prompt_tokens
            if plan.wants_usage and prompt is None:
                prompt = await self._prompt_tokens(backend, outgoing, counted)
            return self._ending(plan, usage=None if prompt is None else (prompt, counted.generated), chosen=chosen)
        if counted.generated or counted.ids:
            body = resume.with_text(plan, text, generated=counted.generated, ids=counted.ids)
            job = replace(job, body=body)
            again = self._translated(job, backend)
            if again is None:
                self._give_back(chosen)
                return None
            outgoing = again
        splice = Splice(
            transcript.head,
            is_chat=plan.is_chat,
            prompt=transcript.prompt_tokens,
            generated=counted.generated,
            counted=counted.again,
        )
        return self._next(backend, job, outgoing, splice)

    async def _counted(self, backend: Backend, plan: Plan, transcript: Transcript) -> Counted | None:
        """Return how many tokens the text has; None where the ids of its tokens are needed and not to be had."""
        text, known = transcript.text, transcript.completion_tokens
        if not text or not (plan.counts or resume.takes_ids(plan)):
            return Counted(0, 0)
        if known is not None and not resume.takes_ids(plan):
            return Counted(known, known)
        told = await self._asked(backend, {"prompt": text, "add_special_tokens": False})
        ids = told.get("tokens")
        if isinstance(ids, list) and all(type(one) is int for one in ids):
            ended = transcript.finish == "stop"  # by a token that has no text
            generated = _at_most(plan.limit, len(ids) + ended) if known is None else known
            return Counted(generated, len(ids), ids if resume.takes_ids(plan) else None)
        pieces = _at_most(plan.limit, transcript.pieces) if known is None else known
        return None if resume.takes_ids(plan) else Counted(pieces, pieces)

    async def _prompt_tokens(self, backend: Backend, outgoing: Outgoing, counted: Counted) -> int | None:
        """Return how many tokens the original prompt has: those of the prolonged one, less those of the text."""
        told = await self._asked(backend, orjson.loads(outgoing.body))
        count = told.get("count")
        return count - counted.again if type(count) is int else None

    async def _asked(self, backend: Backend, body: dict[str, object]) -> dict[str, object]:
        with self._asking(backend) as endpoint:
            if endpoint is None:
                return {}
            return await tokenize(self._shared.outside.client, endpoint, self._job, body, exchange=self._exchange)

    async def _text_of(self, backend: Backend, ids: list[bytes]) -> str | None:
        with self._asking(backend) as endpoint:
            if endpoint is None:
                return None
            return await detokenize(self._shared.outside.client, endpoint, self._job, ids, exchange=self._exchange)

    @contextmanager
    def _asking(self, backend: Backend) -> Iterator[Endpoint | None]:
        """Have a request count as the backend's; yield where it goes, None where it is gone from the configuration."""
        registry = self._shared.cluster.registry
        registry.acquire(backend)
        try:
            yield self._shared.cluster.endpoints.get(backend.spec.name)
        finally:
            registry.release(backend)

    # ---- both

    async def _choose(self, job: Job) -> tuple[Backend, Outgoing] | None:
        """Return who takes the request, and how; one that has broken only where there is no other."""
        chooser = Chooser(self._shared, self._exchange, job)
        chooser.tried.extend(self._broken)
        for _ in range(MOST_PASSED_OVER):
            chosen = await chooser.another()
            if chosen is None:
                return None
            if chooser.outgoing.is_stream:
                return chosen, chooser.outgoing
            self._give_back((chosen, chooser.outgoing))  # it answers in one piece
            chooser.tried.append(chosen)
        return None

    def _translated(self, job: Job, backend: Backend) -> Outgoing | None:
        outside, dialects = self._shared.outside, self._shared.cluster.dialects
        try:
            return Translation(job, dialects, new_id=outside.new_call_id).outgoing(backend.spec.name)
        except InvalidRequest:
            return None

    def _is_over(self, plan: Plan, generated: int) -> bool:
        spent = plan.limit is not None and generated >= plan.limit
        return spent or self._kept.transcript.finish is not None

    def _ending(
        self,
        plan: Plan,
        *,
        usage: tuple[int, int] | None,
        owed: str = "",
        chosen: tuple[Backend, Outgoing] | None = None,
    ) -> list[bytes]:
        """Return the end of the stream; `chosen`: who is not needed for it."""
        self._give_back(chosen)
        transcript = self._kept.transcript
        finish = None if transcript.finish is not None else "length"
        is_told = transcript.usage_told or usage is None or not plan.wants_usage
        told = None if is_told or usage is None else usage_of(*usage)
        return ending(transcript.head, is_chat=plan.is_chat, finish=finish, usage=told, owed=owed)

    def _give_back(self, chosen: tuple[Backend, Outgoing] | None) -> None:
        """Let go of a backend that gets no attempt: a trial may have been picked for it."""
        if chosen is not None:
            self._shared.report(chosen[0], AttemptOutcome.CLIENT_ERROR)

    def _next(self, backend: Backend, job: Job, outgoing: Outgoing, splice: Splice) -> Next | None:
        kept = self._kept
        if backend.spec.name not in self._shared.cluster.endpoints:  # it is gone from the configuration
            return None
        kept.splice = splice
        repair = outgoing.repair if kept.repair is None else kept.repair
        return Next(backend, job, Outgoing(outgoing.body, repair, outgoing.lines, outgoing.rules))


def _at_most(limit: int | None, count: int) -> int:
    """Return an estimate that is no more than can be: a text may be made of more tokens again than it came in."""
    return count if limit is None else min(limit, count)
