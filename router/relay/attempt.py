"""One try of an exchange at one backend: the request, its timer, and the verdict. `Reading` deals with the bytes.

One timer serves all limits: rather than being set anew with every chunk, it looks when the last one came.
"""

import asyncio
import math

from tornado.httpclient import HTTPResponse
from tornado.iostream import StreamClosedError

from router.errors import WireError
from router.exchange import AttemptOutcome, Exchange
from router.relay.answer import Answer
from router.relay.endpoint import Endpoint
from router.relay.flow import NOBODY
from router.relay.hedge import Contender
from router.relay.kept import Kept
from router.relay.outcomes import WHOLE, Ended, broken_off, failed
from router.relay.outside import Outside
from router.relay.reading import Reading
from router.relay.route import Job
from router.relay.translation import Outgoing
from router.wire.client import Request
from router.wire.sse import EventTooLong
from router.wire.wheel import Wait

# Seconds that a backend may keep the connection open after the end mark, before it is closed.
AFTER_END = 1.0
# Bound once: finding a member of an enum takes as long as eight attributes (Python 3.11).
_OK, _TIMEOUT = AttemptOutcome.OK, AttemptOutcome.FIRST_BYTE_TIMEOUT


class Attempt:
    """Runs once."""

    __slots__ = (
        *("_answer", "_ended", "_fetch", "_job", "_outgoing", "_outside", "_reading", "_started", "_timer"),
        *("began",),
    )

    def __init__(
        self,
        outside: Outside,
        job: Job,
        exchange: Exchange,
        answer: Answer | Contender,
        *,
        outgoing: Outgoing,
        kept: Kept | None = None,
    ) -> None:
        """Nothing is sent before `run`. `outgoing`: the request as this backend takes it; `kept`: see `Reading`."""
        self._outside = outside
        self._job = job
        self._outgoing = outgoing
        self._answer = answer
        self._started = outside.clock()
        self._reading = Reading(job, exchange, answer, outside, self, repair=outgoing.repair, kept=kept)
        self._ended: Ended | None = None  # a verdict of ours, before the client's
        self._timer: Wait | None = None
        self._fetch: asyncio.Future[HTTPResponse] | None = None
        self.began: float | None = None  # when its answer began, which is not told in one piece

    @property
    def status(self) -> int | None:
        """Return the status that the backend answered with, None before it did."""
        return self._reading.status

    @property
    def last_byte(self) -> float:
        """When a byte of the answer came last (monotonic seconds), -inf before the first one."""
        return -math.inf if self._reading.status is None else self._reading.last

    @property
    def progress(self) -> float:
        """When a byte of an answer that has begun came last (monotonic seconds), -inf before it has.

        The head and the role come from vLLM's API server alone, also where its engine hangs.
        """
        reading = self._reading
        return reading.last if reading.begun or reading.is_generating else -math.inf

    @property
    def is_awaited(self) -> bool:
        """Whether it is a stream whose head has come, and nothing of its answer."""
        reading = self._reading
        return self._job.stream and reading.status == 200 and not (reading.begun or reading.is_generating)

    def leave(self) -> bool:
        """End it as if its time were over, because its backend went down; the client's slowness is not its silence.

        Return False where it is over already, or where only the end of the backend's framing is still waited for.
        """
        if self._ended is not None or self._reading.whole or self._answer.is_blocked:
            return False
        outcome = self._limit()[2]
        self.on_verdict(failed(outcome, begun=self._reading.begun))
        return True

    async def run(self, endpoint: Endpoint, header_lines: bytes, *, fresh: bool = False) -> Ended:
        """Try it. Raises nothing but `CancelledError`, and then the backend's connection is closed already.

        `fresh`: not on a connection that was kept from an earlier request.
        """
        job, body = self._job, self._outgoing.body
        request = Request(
            origin=endpoint.origin,
            method=job.route.method,
            target=endpoint.target(job.route, job.rest),
            header_lines=header_lines + endpoint.key_lines(named_events=job.route.named_events),
            body=body if body or job.route.method == "POST" else None,
            connect_timeout=self._outside.timeouts.connect,
            on_head=self._reading.on_head,
            streaming_callback=self._reading.on_chunk,
            shortcut=None if self._reading.client is NOBODY else self._reading,
            fresh=fresh,
        )
        fetch = self._fetch = self._outside.client.fetch(request, raise_error=False)
        self._arm()
        try:
            await fetch
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._ended is None or (task is not None and task.cancelling()):
                raise
        except StreamClosedError:  # what a write waited for: the client has left while it was slow
            return self._ended or Ended(AttemptOutcome.CLIENT_GONE, begun=True)
        except WireError as error:
            return self._ended or self._broken_off(error)
        except EventTooLong:
            return self._ended or failed(AttemptOutcome.BAD_RESPONSE, begun=self._reading.begun)
        finally:
            if not fetch.done():
                fetch.cancel()
            self._fetch = None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._reading.release()  # last: it counts what has come, and where that fails nothing else is left
        return self._ended or self._reading.complete(we_hold_key=endpoint.api_key is not None)

    def _broken_off(self, error: WireError) -> Ended:
        if self._reading.whole:
            return WHOLE
        return broken_off(error, begun=self._reading.begun)

    def _limit(self) -> tuple[float | None, float, AttemptOutcome]:
        """Return the limit in force now: seconds, since when, and what it means when it is over."""
        timeouts, reading = self._outside.timeouts, self._reading
        if reading.whole:
            return AFTER_END, reading.last, _OK
        if reading.begun or reading.is_generating:
            since = self._outside.clock() if self._answer.is_blocked else reading.last
            return timeouts.idle, since, AttemptOutcome.STALLED
        is_stream = self._job.stream and self._outgoing.is_stream
        seconds = timeouts.first_byte if is_stream else timeouts.unstreamed
        if reading.continues:  # the client waits in the middle of its answer
            seconds = min((limit for limit in (seconds, timeouts.idle) if limit is not None), default=None)
        return seconds, self._started, _TIMEOUT

    def give_up(self) -> None:
        """Send what the translator of a broken stream still holds: nobody goes on with it."""
        self._reading.send_held_back()

    def on_phase(self) -> None:
        """Let the limit of the new phase hold."""
        reading = self._reading
        if self.began is None and reading.begun:
            self.began = reading.last
        if reading.whole or self._timer is None:
            self._arm()

    def on_verdict(self, ended: Ended) -> None:
        """End the attempt with a verdict of ours; the backend's connection is closed at once."""
        if self._ended is None:
            self._ended = ended
            self._reading.release()
            if self._fetch is not None:
                self._fetch.cancel()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        seconds, since, _ = self._limit()
        left = math.inf if seconds is None else max(0.0, since + seconds - self._outside.clock())
        idle = self._outside.timeouts.idle
        if idle is not None and not self._reading.begun:
            left = min(left, idle)  # then the beginning needs no timer of its own
        if left < math.inf:
            self._timer = self._outside.timers.call_later(left, self._watch)

    def _watch(self) -> None:
        seconds, since, outcome = self._limit()
        if seconds is None or since + seconds > self._outside.clock():
            self._arm()
        elif outcome is AttemptOutcome.OK:
            self.on_verdict(WHOLE)
        else:
            self.on_verdict(failed(outcome, begun=self._reading.begun))
