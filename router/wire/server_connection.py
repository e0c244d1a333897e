"""One connection of a client: what is read, what is held, what is waited for and until when.

Bytes are parsed only when it is their turn, and held until then. Of a body that the application is not ready for little
is held, and then reading stops; whether the client has left is asked of the kernel meanwhile. Behind an open answer
reading never stops, for only a read shows at once that the client has left; where more requests come than can be held,
they are dropped and the connection ends with the answer (a client must expect that, RFC 9112 section 9.3.2).

A client that closes only its sending side counts as gone: that is how most of them leave, and none that we serve means
less by it.

    phase    lasts at most                           then
    IDLE     idle_timeout                            close
    HEAD     headers_timeout                         408
    BODY     body_timeout, more at MIN_BODY_RATE     408
    ANSWER   as long as the application takes        -
    CLOSING  LINGER_TIME, more while bytes go out    abort
"""

import asyncio
import enum
import time
from typing import cast

from router.wire.alarms import NEVER, Alarm, Alarms
from router.wire.delivery import Delivery
from router.wire.kernel import has_left, reset_on_close
from router.wire.limits import (
    HELD_BYTES,
    LEFT_CHECK_INTERVAL,
    LINGER_TIME,
    MIN_BODY_RATE,
    MOST_UNSENT,
    PIPELINED_BYTES,
)
from router.wire.request_parser import SLICE, Refusal
from router.wire.response import error_answer
from router.wire.service import Context, OwnAnswer, Refused, Service
from router.wire.tls import subject

MIN_EARNED = 1.0  # seconds that a body must have earned to be given them


class Phase(enum.Enum):
    """What a connection waits for."""

    IDLE, HEAD, BODY, ANSWER, CLOSING = range(5)


# Bound once: finding a member of an enum takes as long as eight attributes (Python 3.11).
_IDLE, _HEAD, _BODY, _ANSWER, _CLOSING = Phase
_PHASE = Alarm.PHASE


class ServerConnection(Delivery, asyncio.BufferedProtocol):
    """See the module's docstring. Drives one `HTTPServerConnectionDelegate` from one transport."""

    __slots__ = (
        *("_alarms", "_body_credited", "_body_time", "_head_since", "_held", "_is_dropping", "_is_filling"),
        *("_is_paused", "_phase", "context"),
    )

    def __init__(self, service: Service, *, beneath: asyncio.Transport | None = None) -> None:
        """The loop calls `connection_made` next. `beneath`: the transport below one of TLS."""
        super().__init__(service, beneath=beneath)
        self.context = Context("0.0.0.0", "http")
        self._held = bytearray()  # unparsed
        self._is_filling = False  # the buffer that was lent last is the body's own
        self._is_paused = False  # we do not read
        self._is_dropping = False  # what comes behind this request is not served
        self._phase = Phase.IDLE
        self._head_since = 0.0  # when the head began that is being read; on the loop's clock
        self._body_time = NEVER  # seconds that the body of this request may still take
        self._body_credited = 0  # bytes of it that have already earned time
        self._alarms = Alarms(service.timers, self._ring)

    def __repr__(self) -> str:
        """Show what it is doing."""
        what = f" {self._request.start_line.method} {self._request.start_line.path}" if self._request else ""
        return f"<ServerConnection {self.context.remote_ip} {self._phase.name}{what} held={len(self._held)}>"

    @property
    def is_idle(self) -> bool:
        """Whether it is open and no request is being received, answered or held."""
        is_free = self._request is None and not (self._parser.in_head or self._held or self._events)
        return is_free and self._phase is not Phase.CLOSING

    def close(self) -> None:
        """Close; what was written is still sent, for as long as the client takes it. A second call ends lingering."""
        if self._transport is None:
            return
        if self._phase is not Phase.CLOSING:
            self._transport.close()
            self._enter_closing()
        elif not self._unsent_now():
            self._transport.abort()

    def abort(self) -> None:
        """Cut the connection at once: the client sees a broken answer. The close callback is not called."""
        self._forget_request()
        if self._transport is not None:
            reset_on_close(self._transport)  # a body that only its end delimits would look whole
            self._transport.abort()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, unless there are too many."""
        transport = cast("asyncio.Transport", transport)  # uvloop's has all of it, but does not derive from it
        service = self._service
        if service.is_crowded(transport):
            transport.abort()
            return
        self._transport = transport
        transport.set_write_buffer_limits(MOST_UNSENT)
        peer = transport.get_extra_info("peername")
        self.context = Context(
            peer[0] if isinstance(peer, tuple) else "0.0.0.0",
            "http" if self._beneath is None else "https",
            subject(transport.get_extra_info("peercert")),
        )
        service.connections.add(self)
        self._enter(_IDLE, service.limits.idle_timeout)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Lend the buffer that all connections share; what it holds is used or copied before the next read.

        A long body is read to where it stays instead, if it is its turn.
        """
        room = self._parser.room
        self._is_filling = room is not None and not self._held and self._blocked is None
        return room if room is not None and self._is_filling else self._service.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Parse and deliver, or hold until it is this request's turn."""
        if self._phase is _CLOSING:
            return
        if self._is_filling:
            self._parser.fill(nbytes)
            self._deliver()
            self._choose_phase()
            return
        data = self._service.buffer[:nbytes]
        if self._received or self._held or self._blocked is not None:
            self._hold(data)
        else:
            self._read(data)

    def eof_received(self) -> None:
        """The client sends no more: it has left, see the module's docstring."""
        if self._transport is None:
            return
        if self._request is not None:
            self._transport.abort()
        else:
            self._transport.close()
            self._enter_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits, and let everything go."""
        if self._transport is None:
            return  # it was never taken
        self._transport = None
        self._alarms.close()
        self._fail_waiters()
        self._tell_client_left()
        self._forget_request()
        self._clear()
        self._parser.close()
        service = self._service
        service.connections.discard(self)
        service.delegate.on_close(self)
        service.tell_if_empty()

    # Reading.

    def _read(self, data: memoryview) -> None:
        """Parse as far as may be: not beyond a request whose answer is not finished, but for one slice."""
        if len(data) <= SLICE and self._parser.room is None:
            self._parser.feed(data)
            self._deliver()
        else:
            self._read_slices(data, self._parser.first_slice(data))
        self._choose_phase()

    def _read_slices(self, data: memoryview, first: int = 0) -> None:
        """`first`: bytes of the first slice, 0 where it is one like the others."""
        parser, rest = self._parser, data
        while rest and self._phase is not Phase.CLOSING:
            if self._received or self._blocked is not None:
                self._hold(rest)
                return
            parser.make_room(len(rest))
            if parser.room is not None:
                piece = rest[: len(parser.room)]
                parser.room[: len(piece)] = piece
                parser.fill(len(piece))
            else:
                piece = rest[: first or parser.appetite]
                parser.feed(piece)
            rest, first = rest[len(piece) :], 0
            self._rest = len(rest)
            self._deliver()

    def _hold(self, data: memoryview) -> None:
        if self._is_dropping:
            return
        self._held += data
        if self._received:
            if len(self._held) > (HELD_BYTES if self._service.is_short() else PIPELINED_BYTES):
                self._clear()
                self._is_dropping = self._is_last = True
        elif len(self._held) > HELD_BYTES and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()
            self._alarms.set(Alarm.LEFT, self._service.loop.time() + LEFT_CHECK_INTERVAL)

    def _go_on(self) -> None:
        """Take up what had to wait: events first, then held bytes."""
        if self._transport is None or self._phase is Phase.CLOSING:
            return
        self._deliver()
        if self._held and not (self._received or self._events) and self._blocked is None:
            held, self._held = self._held, bytearray()
            # By whole slices: what remains is copied, and would be for each request if a head ended the first one.
            self._read_slices(memoryview(held))
        self._choose_phase()
        if self._blocked is None:
            self._resume_reading()

    def _resume_reading(self) -> None:
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()

    def _clear(self) -> None:
        self._events.clear()
        self._held = bytearray()

    # The ends of an exchange.

    def _answer_finished(self) -> None:
        self._close_callback = None
        if self._is_last or not self._is_request_whole():
            is_quiet = self._received and not (self._held or self._events or self._is_dropping)
            self._forget_request()
            if is_quiet:
                self.close()
            else:
                self._linger()
        elif self._received:
            self._end_exchange()
        # else the rest of the request is among the events: _deliver() passes over it

    def _end_exchange(self) -> None:
        self._forget_request()
        if self._service.draining and self.is_idle:
            self.close()
        elif not self._delivering:  # else _read() goes on
            if self._events or self._held:
                self._service.loop.call_soon(self._go_on)  # not from within the application's call
            else:
                self._choose_phase()

    def _refuse(self, refusal: Refusal) -> None:
        """Give the wire's own answer, if one can still be given, and close."""
        transport, head = self._transport, self._request
        answer = size = None
        if transport is not None and (head is None or (self._answering and not self._head_written)):
            refused = Refused(
                refusal.status,
                refusal.message,
                self.context,
                own_lines=b"" if head is None else self.own_lines,
                start_line=refusal.start_line if head is None else head.start_line,
                headers=refusal.headers if head is None else head.headers,
                waited=self._service.loop.time() - self._head_since if self._phase is Phase.HEAD else 0.0,
            )
            lines, body = self._service.render_error(refused)
            answer = error_answer(refusal.status, lines, body, now=time.time(), method=refused.method)
            size = 0 if refused.method == "HEAD" else len(body)
        if not self._received:
            self.refused = None if size is None else OwnAnswer(refusal.status, self._parser.body_size, size)
            self._tell_client_left()
        self._forget_request()
        self._clear()
        if transport is None:
            return
        if answer is None:
            transport.abort()
        else:
            transport.write(answer)
            self._linger()

    def _linger(self) -> None:
        """Close our side and drop what still comes: a reset would take the answer from a client that is sending."""
        transport = self._transport
        if transport is None:
            return
        self._clear()
        self._resume_reading()
        self._enter_closing()
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()  # TLS drops what still comes until the client has closed too

    # Time.

    def _began(self) -> None:
        limit = self._service.limits.body_timeout
        self._body_time = NEVER if limit is None else limit
        self._body_credited = 0
        self._phase = _ANSWER

    def _choose_phase(self) -> None:
        """See what is waited for now."""
        if self._phase is _CLOSING or self._transport is None:
            return
        limits = self._service.limits
        if self._request is None:
            if self._parser.in_head:
                self._enter(_HEAD, limits.headers_timeout)
            else:
                self._enter(_IDLE, limits.idle_timeout)
        elif self._received or self._blocked is not None:
            if self._phase is _BODY:
                self._body_time = self._alarms[_PHASE] - self._service.loop.time()
            self._phase = _ANSWER
            self._alarms.set(_PHASE, NEVER)
        else:
            self._enter(_BODY, self._body_time)

    def _enter(self, phase: Phase, seconds: float | None) -> None:
        """Begin a phase; one that goes on keeps its deadline."""
        if phase is self._phase and self._alarms[_PHASE] != NEVER:
            return
        self._phase = phase
        now = self._service.loop.time()
        if phase is _HEAD:
            self._head_since = now
        self._alarms.set(_PHASE, NEVER if seconds is None else now + seconds)

    def _enter_closing(self) -> None:
        """Bound how long the client may take to read what was written and to close."""
        assert self._transport is not None
        self._phase = Phase.CLOSING
        self._parser.leave_room()
        self._unsent = self._unsent_now()
        self._queued = 0
        self._alarms.set(Alarm.PHASE, self._service.loop.time() + self._closing_time())

    def _closing_time(self) -> float:
        stall = self._service.limits.write_stall_timeout
        if not self._unsent:
            return LINGER_TIME
        return NEVER if stall is None else max(stall, LINGER_TIME)

    def _congestion_began(self) -> None:
        stall = self._service.limits.write_stall_timeout
        if stall is not None:
            self._alarms.set(Alarm.STALL, self._service.loop.time() + stall)

    def _ring(self, alarm: Alarm) -> None:
        """An alarm is due."""
        if self._transport is None:
            return
        if alarm is Alarm.PHASE:
            self._phase_is_over()
        elif alarm is Alarm.STALL:
            if self._congested and self._made_progress():
                self._congestion_began()
            elif self._congested:
                self._transport.abort()
        elif self._is_paused:
            if has_left(self._transport):
                self._transport.abort()
            else:
                self._alarms.set(Alarm.LEFT, self._service.loop.time() + LEFT_CHECK_INTERVAL)

    def _phase_is_over(self) -> None:
        assert self._transport is not None
        if self._phase is Phase.IDLE:
            self.close()
        elif self._phase is Phase.HEAD:
            self._refuse(self._parser.attributed(Refusal(408, "The request's headers did not come in time")))
        elif self._phase is Phase.BODY:
            received = self._parser.body_size
            earned = (received - self._body_credited) / MIN_BODY_RATE
            self._body_credited = received
            if earned >= MIN_EARNED:
                self._alarms.set(Alarm.PHASE, self._service.loop.time() + earned)
            else:
                self._refuse(Refusal(408, "The request's body did not come in time"))
        elif self._unsent and self._made_progress():
            self._alarms.set(Alarm.PHASE, self._service.loop.time() + self._closing_time())
        else:
            self._transport.abort()
