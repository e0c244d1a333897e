"""What a backend's answer becomes on its way to the client. No sockets and no timers: bytes in, calls of `Answer` out.

Until the answer begins (see beginning.py) everything is held, and a failure leaves the client untouched. From then
on whole events go out as the bytes they were. An event that is not whole is never sent: where the backend breaks
off, the client's stream still stands at the end of an event, ready for an error event.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

from router.errors import AnswerError
from router.exchange import AttemptOutcome, Exchange
from router.relay import headers
from router.relay.answer import EVENT_LINES, Answer
from router.relay.beginning import DONE, Sign, find_error, kind_of, sign_of
from router.relay.breaks import ABORT, ended_by, given_up, may_break, split_at_break, up_to_end
from router.relay.flow import Flow
from router.relay.hedge import Contender
from router.relay.kept import Kept
from router.relay.outcomes import WHOLE, Ended, failed, reported
from router.relay.outside import Outside
from router.relay.refused import NOT_A_STREAM, answered, too_large
from router.relay.route import Job
from router.relay.splice import SEAM
from router.relay.transcript import Unfit
from router.relay.translation import Repair
from router.translate.notes import Rule
from router.wire.client import Head
from router.wire.shortcut import MANY, NEVER
from router.wire.sse import COMMON_ENDS, EventSplitter, event_data, split_events

# Bytes of an answer that are held back at most before it counts as begun.
MAX_HELD = 1024 * 1024
# ... and of one that has to be whole to be translated. Beyond that it passes as it is.
MAX_TRANSLATED = 16 * 1024 * 1024
# Bytes of an error answer that are passed on at most; vLLM's 400 repeats the input for each form it might have had.
MAX_REFUSAL = 8 * 1024 * 1024

_EVENT_STREAM = "text/event-stream"
DONE_EVENT = b"data: [DONE]\n\n"  # as every server of this kind writes it
DONE_AT_END = b"\n\n" + DONE_EVENT  # an event of its own: text, or a line of another event, may end like one
# Bound once: finding a member of an enum takes as long as eight attributes (Python 3.11).
_ERROR, _BEGINS = Sign.ERROR, Sign.BEGINS


class Listener(Protocol):
    """Who is told what, while an answer is read."""

    def on_phase(self) -> None:
        """It has begun and cannot be taken back any more, or its end mark was seen; other limits hold now."""

    def on_verdict(self, ended: Ended) -> None:
        """It is no good: no further byte is wanted."""


class Reading(Flow):
    """Reads one answer of a backend."""

    __slots__ = (
        *("_answer", "_end_hint", "_feed", "_head", "_held", "_held_size", "_is_good", "_is_opaque"),
        *("_is_stream", "_job", "_lines", "_listener", "_sink", "_splitter", "begun", "is_generating", "whole"),
    )

    def __init__(
        self,
        job: Job,
        exchange: Exchange,
        answer: Answer | Contender,
        outside: Outside,
        listener: Listener,
        *,
        repair: Repair | None = None,
        kept: Kept | None = None,
    ) -> None:
        """`outside`: clocks and settings. `repair`: what makes the answer OpenAI's, None where it passes as it is.

        `kept`: what is kept of the stream, to be continued elsewhere; None where that is not wanted.
        """
        client = answer.connection if isinstance(answer, Answer) else None
        super().__init__(exchange, outside, client, repair=repair, kept=kept)
        self._job = job
        self._answer = answer
        self._listener: Listener | None = listener
        self._splitter: EventSplitter | None = None  # of streams
        self._feed: Callable[[bytes], bytes] = bytes
        self._sink = answer.sink
        marks = job.route.end_marks
        self._end_hint = marks[0] if len(marks) == 1 else b""  # in every event that may be the end; b"" is in all
        self._held: list[bytes] = []
        self._held_size = 0
        self._head: Head | None = None
        self._lines = b""
        self._is_good = self._is_stream = self._is_opaque = False  # good: its status; opaque: its events cannot be read
        self.begun = False
        self.is_generating = False  # the backend has begun, but a translator holds all of it back, or has left it out
        self.whole = False  # the end mark has been seen

    @property
    def status(self) -> int | None:
        """Return the status that the backend answered with, None before it did."""
        return None if self._head is None else self._head.status

    def on_head(self, head: Head) -> None:
        """Take the head of the answer."""
        self._head = head
        content_type = (headers.find(head.headers, b"content-type") or "").lower()
        self._is_good = 200 <= head.status < 205  # a part of an answer (206), or none with a body (205), is no answer
        self._is_stream = self._is_good and content_type.partition(";")[0].strip() == _EVENT_STREAM
        if self._is_stream and headers.is_encoded(head.headers):
            self._is_stream, self._is_opaque = False, True  # compressed against our wish: passed on unread
        if self._is_stream:
            self._splitter = EventSplitter()
            self._feed, self._rest = self._splitter.feed, self._splitter.rest
            self._open_path()
        self._lines = self._outside.to_client.lines(head.headers, is_stream=self._is_stream)

    def release(self) -> None:
        """Want no further byte, and let go of who listens: a circle would keep both bodies until it is found."""
        self._listener = None
        self._is_flowing = False
        self.before = NEVER
        if self._is_stream:
            self._settle()

    def on_chunk(self, data: bytes) -> Awaitable[None] | None:
        """Take bytes of the body. An awaitable means: the client is slow, read on when it is done."""
        now = self.clock()
        if self._is_flowing:
            gaps = self.gaps
            gaps.append(now - self.last)
            self.last = now
            plain = self._plain
            text = data[self._place] if data.startswith(plain.before) and data.endswith(plain.behind) else b""
            if text and not self._rest and (text in self.usual or self.is_fine(text)):
                self.texts.append(text)
                waiting = self._sink(data if plain.pieces is None else text.join(plain.pieces))
            else:
                waiting = self._on_events(data)
                self._open()
            if len(self.texts) >= MANY:
                self._fold()
        elif self._listener is None or self._answer.finished:
            return None
        else:
            self.last = now
            waiting = self._on_stream(data) if self._is_stream else self._on_body(data)
        return waiting if waiting is None else self._slow(waiting)

    def _on_events(self, data: bytes) -> Awaitable[None] | None:
        """Take a read of a stream that flows which is not one plain event."""
        self._settle()
        # What `EventSplitter.feed` does for whole events, without its call.
        block = data if not self._rest and data.endswith(COMMON_ENDS) else self._feed(data)
        if may_break(block) or block.find(self._end_hint) >= 0:
            waiting = self._look_closer(block) if block else None
        else:
            self._keep(block)
            told = block if self._translate is None else self._translate(block)
            if told:
                self._told = told
                self._exchange.events += told.count(b"\n\n")
                self._exchange.bytes_out += len(told)
            waiting = self._sink(told) if told else None
        self._learn(block)
        return waiting

    def _on_body(self, data: bytes) -> Awaitable[None] | None:
        if self.begun:
            return self._answer.write(data)
        self._hold(data)
        if not self._is_good:
            if self._held_size > MAX_REFUSAL:
                self._give_verdict(too_large(self.status or 0))
            return None
        repair = self._repair
        if self._held_size <= (MAX_HELD if repair is None else MAX_TRANSLATED) and not self._is_opaque:
            return None
        if self._answer.started or (repair is not None and repair.emulates):  # the client was told, or wants, a stream
            self._give_verdict(replace(NOT_A_STREAM, begun=self._answer.started))
            return None
        return self._begin()

    def _on_stream(self, data: bytes) -> Awaitable[None] | None:
        block = self._feed(data)
        waiting = self._look_closer(block) if block else None
        self._open()
        return waiting

    def _look_closer(self, block: bytes) -> Awaitable[None] | None:
        """Take whole events that may be the last ones, or the first."""
        event = b""
        if may_break(block):
            block, event = split_at_break(block, self._is_end)
        waiting = None
        if block:
            waiting = self._pass_on(block) if self._is_flowing else self._begin_with(block)
        if event and self._listener is not None and not self.whole:
            if self._repair is not None:
                self._repair.rules.add(Rule.S18)
            self._give_verdict(ended_by(event, begun=self.begun))
        return waiting

    def _pass_on(self, block: bytes) -> Awaitable[None] | None:
        self._keep(block)
        if self._translate is not None:
            block = self._translate(block)
        return self._send(block) if block else None

    def _go_on(self, block: bytes) -> Awaitable[None] | None:
        """Take up an answer that the client has a part of, once the continuation says something."""
        kept = self._kept
        if kept is None or kept.splice is None or not kept.splice.has_begun:
            return None
        self.begun = self._is_flowing = True
        if kept.on_resumed is not None:
            kept.on_resumed()
        if self._listener is not None:
            self._listener.on_phase()
        return self._send(SEAM + block)

    def _begin_with(self, block: bytes) -> Awaitable[None] | None:
        self._keep(block)
        if self._translate is None:
            return self._look_for_beginning(block)
        translated = self._translate(block)
        if self.continues:
            return self._go_on(translated)
        waiting = self._look_for_beginning(translated) if translated else None
        if not (self.begun or self.is_generating) and any(sign_of(one) is Sign.BEGINS for one in split_events(block)):
            self.is_generating = True
            if self._listener is not None:
                self._listener.on_phase()
        return waiting

    def _look_for_beginning(self, block: bytes) -> Awaitable[None] | None:
        self._hold(block)
        for event in split_events(block):
            sign = sign_of(event)
            if sign is _ERROR:
                error = find_error(event)
                assert error is not None
                self._give_verdict(reported(error))
                return None
            if sign is _BEGINS or self._is_end(event) or self._held_size > MAX_HELD:
                return self._begin()
        return None

    def _begin(self) -> Awaitable[None] | None:
        last, held, self._held = self._held[-1], b"".join(self._held), []
        self.begun = True
        if self._job.route.named_events:  # such a stream tells of its prompt first
            self._count_tokens(held)
        self._exchange.began = self.last
        if self._listener is not None:
            self._listener.on_phase()
        if not self._is_stream:
            return self._put(held)
        self._is_flowing = True
        waiting = self._send(held)
        if self._answer.started and self._head is not None:
            self._head.headers.clear()  # are not needed any more, and a stream may be long
            self._lines = b""
        if self._is_flowing:
            self._learn(split_events(last)[-1])
        return waiting

    def _send(self, block: bytes) -> Awaitable[None] | None:
        """Send whole events of an answer that has begun, but look closer at those that may end it."""
        self._exchange.events += block.count(b"\n\n")
        if block.find(b"error") >= 0:
            return self._send_until_error(block)
        if (block == DONE_EVENT or block.endswith(DONE_AT_END)) and DONE in self._job.route.end_marks:
            return self._finish(block)
        for mark in self._job.route.end_marks:
            if block.find(mark) >= 0 and (ending := up_to_end(block, self._is_end)):
                return self._finish(ending)
        return self._put(block)

    def _send_until_error(self, block: bytes) -> Awaitable[None] | None:
        """Send what a translator made; it may have found that the answer is not whole, and is at its end then."""
        block, event = split_at_break(block, self._is_end)
        if not event:
            ending = up_to_end(block, self._is_end)
            return self._finish(ending) if ending else self._put(block)
        waiting = self._put(block) if block else None
        if self._kept is not None:
            self._kept.give_up(Unfit.UNREAD)
        self._give_verdict(ended_by(event, begun=True))
        return waiting

    def _is_end(self, event: bytes) -> bool:
        route, data = self._job.route, (event_data(event) or b"").strip()
        return data in route.end_marks or (route.named_events and kind_of(event) in route.end_marks)

    def _put(self, chunk: bytes) -> Awaitable[None] | None:
        if self._answer.started:
            return self._answer.write(chunk)
        assert self._head is not None
        length = None if self._is_stream else headers.content_length(self._head.headers)
        return self._answer.begin(self._head.status, self._lines, chunk, is_stream=self._is_stream, length=length)

    def _finish(self, block: bytes) -> Awaitable[None] | None:
        """Send what ends the answer; the client need not wait for the end of the backend's framing."""
        self.whole = True
        self._is_flowing = False
        self.before = NEVER
        self._count_tokens(self._told + block)
        waiting = None
        if self._answer.started:
            self._answer.finish(block)
        else:
            waiting = self._put(block)
            self._answer.finish()
        if self._listener is not None:
            self._listener.on_phase()
        return waiting

    def _give_verdict(self, ended: Ended | None) -> None:
        assert ended is not None
        listener = self._listener
        self.release()
        if listener is not None:
            listener.on_verdict(ended)

    def _hold(self, data: bytes) -> None:
        self._held.append(data)
        self._held_size += len(data)

    def complete(self, *, we_hold_key: bool = False) -> Ended:
        """The backend's framing came to its end; say whether the answer did. `we_hold_key`: the request carried it."""
        assert self._head is not None
        if not self._is_good:
            body, wall_clock = b"".join(self._held), self._outside.wall_clock()
            route = self._job.route
            return answered(self._head, self._lines, body, route=route, we_hold_key=we_hold_key, wall_clock=wall_clock)
        if self._is_stream:
            return self._complete_stream()
        if self.begun:
            self._answer.finish()
            return WHOLE
        is_emulated = self._repair is not None and self._repair.emulates
        if self._answer.started and not is_emulated:
            return NOT_A_STREAM
        body = b"".join(self._held)
        self._count_tokens(body)
        outcome = given_up(body) if body.find(ABORT) >= 0 else None  # `in` costs more: it tries a number first
        if outcome is not None:
            return failed(outcome, begun=False)
        try:
            body = body if self._repair is None else self._repair.whole(body)
        except AnswerError as error:  # it says of itself that it was broken off
            return Ended(AttemptOutcome.ERROR_EVENT, error=error)
        if is_emulated and not body.endswith(DONE_EVENT):
            return failed(AttemptOutcome.BAD_RESPONSE, begun=False)
        self._exchange.began = self._outside.clock()
        self._send_whole(self._head.status, body, is_stream=is_emulated)
        return WHOLE

    def _send_whole(self, status: int, body: bytes, *, is_stream: bool) -> None:
        """Send an answer that came in one piece; `is_stream`: as the stream that the client has asked for (S16)."""
        if not is_stream:
            self._answer.whole(status, self._lines, body)
            return
        self._exchange.events += body.count(b"\n\n")
        if self._answer.started:
            self._answer.finish(body)
        else:
            self._answer.begin(status, EVENT_LINES, body, is_stream=True)
            self._answer.finish()

    def send_held_back(self) -> None:
        """Send what the translator of a stream still holds; the stream ends here, before its end mark."""
        translator = None if self._repair is None else self._repair.translator
        has_part = self.begun or self.continues
        block = b"" if translator is None or not has_part or self._answer.finished else translator.finish()
        if block:
            self._put(block)

    def _complete_stream(self) -> Ended:
        assert self._splitter is not None
        if self.whole:
            return WHOLE
        rest = self._splitter.finish()
        marks = self._job.route.end_marks
        if marks and not self._is_end(rest + b"\n\n"):  # an event that is not whole is never sent
            return failed(AttemptOutcome.CUT, begun=self.begun)
        if rest and self._translate is not None:
            rest = self._translate(rest.rstrip(b"\r\n") + b"\n\n")
            # Else the translator has found that it is not whole.
            if marks and not any(map(self._is_end, split_events(rest))):
                return failed(AttemptOutcome.CUT, begun=self.begun)
        self._put(b"".join(self._held) + rest)
        self._answer.finish()
        return WHOLE
