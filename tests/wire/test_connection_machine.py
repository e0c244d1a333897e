"""A server connection under anything that its client, its application, time and a drain may do, in any order.

The model knows which requests a client has sent whole, and compares. By day a few hundred runs; `make nightly` tries
many thousands, others each night.
"""

import asyncio
import os
import re
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tornado.httputil import HTTPInputError, HTTPMessageDelegate, HTTPServerConnectionDelegate
from tornado.iostream import StreamClosedError

from router.wire.limits import HELD_BYTES, LINGER_TIME, PIPELINED_BYTES, READ_SIZE, ServerLimits
from router.wire.server_connection import ServerConnection
from router.wire.service import Service, plain_error
from tests.fuzz.reference import Ending, read_answers
from tests.fuzz.target import no_errors
from tests.wire.memory import Line, Loop

NIGHTLY = os.environ.get("ROUTER_NIGHTLY") == "1"
LIMITS = ServerLimits(headers_timeout=10.0, body_timeout=20.0, idle_timeout=30.0, write_stall_timeout=15.0)
LONGEST = LIMITS.body_timeout + LIMITS.write_stall_timeout + LINGER_TIME + LIMITS.idle_timeout + 60.0
SIZES = (0, 1, 500, HELD_BYTES * 4, HELD_BYTES * 4)  # of bodies
MOODS = st.sampled_from(["later", "later", "at once", "slow", "slow", "early", "raise"])  # of the application
FLOOD = (PIPELINED_BYTES + READ_SIZE) // 16_000 + 1  # requests with heads of 16 KB
MANY = 3  # requests before anybody breaks off: else most runs are over before anything has happened
PIECE = b"data: x\n\n" * 2000
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Told(HTTPMessageDelegate):
    """One request as the application is told of it; what it answers is up to the machine."""

    def __init__(self, machine: "ConnectionMachine", connection: ServerConnection) -> None:
        self.machine = machine
        self.connection = connection
        self.path = ""
        self.body = b""
        self.told: list[str] = []  # "whole", "gone" before it was whole, "left" before it was answered
        self.is_answered = False
        self.has_begun = False
        self.blocked: asyncio.Future[None] | None = None

    def headers_received(self, start_line: Any, headers: Any) -> "asyncio.Future[None] | None":
        self.path = start_line.path
        self.machine.exchanges.append(self)
        self.connection.set_close_callback(lambda: self.told.append("left"))
        return self.machine.react(self)

    def data_received(self, chunk: bytes) -> "asyncio.Future[None] | None":
        assert not self.told, "a body after the end"
        self.body += chunk
        return self.machine.react(self)

    def finish(self) -> None:
        assert not self.told, "told twice"
        self.told.append("whole")
        if self.machine.mood == "raise":
            raise HTTPInputError("the application finds fault")
        if self.machine.mood == "at once":
            self.answer()

    def on_connection_close(self) -> None:
        assert not self.told, "told twice"
        self.told.append("gone")

    def answer(self) -> None:
        """Answer whole."""
        if self.is_over:
            return
        self.is_answered = True
        if not self.has_begun:
            self.connection.write_raw_head(200, "OK", b"Content-Length: 2\r\n", b"ok", content_length=2)
        self.connection.finish()

    def stream(self) -> None:
        """Send more of an answer without a length."""
        if not self.is_over:
            if not self.has_begun:
                self.connection.write_raw_head(200, "OK", b"", PIECE)
            else:
                self.machine.watch(self.connection.write_chunk(PIECE))
            self.has_begun = True

    @property
    def is_over(self) -> bool:
        """Whether it is not ours any more to answer."""
        return self.is_answered or "gone" in self.told or "left" in self.told


class ConnectionMachine(RuleBasedStateMachine):
    """See the module's docstring."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = Loop()
        asyncio.set_event_loop(self.loop)
        self.errors = no_errors("asyncio")
        self.errors.__enter__()
        self.exchanges: list[Told] = []
        self.waits: list[asyncio.Future[None]] = []  # of writers
        self.mood = "at once"
        self.sent: list[tuple[str, bytes]] = []  # whole requests: path and body
        self.rest: list[bytes] = []  # of the request being sent
        self.coming: tuple[str, bytes] | None = None
        self.heads: set[str] = set()  # paths of requests that want no body
        self.lasts: set[str] = set()  # and those that end the connection
        self.number = 0
        self.has_left = self.is_draining = False
        done = self.loop.create_future()
        done.set_result(None)
        machine = self

        class Application(HTTPServerConnectionDelegate):
            def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
                return Told(machine, request_conn)

        self.service = Service(Application(), LIMITS, plain_error, self.loop, done)
        self.connection = ServerConnection(self.service)
        self.line = Line(self.loop, self.connection, room=0)
        self.do(self.connection.connection_made, self.line)

    # What the machine's parts do.

    def do(self, call: Any, *args: Any) -> None:
        """Do it on the loop, and let come of it what may."""
        self.loop.call_soon(call, *args)
        self.loop.settle()

    def react(self, told: Told) -> "asyncio.Future[None] | None":
        """Be slow, or fail, as the mood says."""
        if self.mood == "slow" and told.blocked is None:
            told.blocked = self.loop.create_future()
            return told.blocked
        if self.mood == "early":
            told.answer()
        if self.mood == "raise":
            raise HTTPInputError("the application finds fault")
        return None

    def watch(self, wait: "asyncio.Future[None] | None") -> None:
        """Remember what a writer waits for."""
        if wait is not None:
            self.waits.append(wait)

    @property
    def is_awaited(self) -> bool:
        """Whether a request was told whole and its answer is not finished."""
        return bool(self.exchanges) and self.exchanges[-1].told == ["whole"] and not self.exchanges[-1].is_answered

    @property
    def can_send(self) -> bool:
        return self.line.is_open and not self.has_left

    # Rules: the client.

    @precondition(lambda self: self.can_send and not self.rest)
    @rule(
        method=st.sampled_from(["GET", "POST", "HEAD"]),
        size=st.sampled_from(SIZES),
        is_chunked=st.booleans(),
        expects=st.booleans(),
        is_last=st.sampled_from([False, False, False, True]),
        mood=MOODS,
        cuts=st.lists(st.integers(0, 400), max_size=3),
    )
    def begin_request(
        self, method: str, size: int, is_chunked: bool, expects: bool, is_last: bool, mood: str, cuts: list[int]
    ) -> None:
        """Begin to send a request, of which only the first part goes out."""
        self.mood = mood
        self.number += 1
        path, body = f"/{self.number}", b"y" * size
        head = f"{method} {path} HTTP/1.1\r\nHost: a\r\n" + ("Expect: 100-continue\r\n" if expects else "")
        head += "Connection: close\r\n" if is_last else ""
        if is_chunked:
            raw = head.encode() + b"Transfer-Encoding: chunked\r\n\r\n"
            raw += b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:7], body[7:]) if part) + b"0\r\n\r\n"
        else:
            raw = head.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        places = sorted({min(cut, len(raw)) for cut in cuts})
        self.rest = [raw[a:b] for a, b in zip([0, *places], [*places, len(raw)], strict=True) if a < b]
        self.coming = (path, body)
        if method == "HEAD":
            self.heads.add(path)
        if is_last:
            self.lasts.add(path)
        self.send_part()

    @precondition(lambda self: self.can_send and self.rest)
    @rule()
    def send_part(self) -> None:
        """Send the next part of the request."""
        part = self.rest.pop(0)
        if not self.rest:
            assert self.coming is not None
            self.sent.append(self.coming)
        self.do(self.line.send, part)

    @precondition(lambda self: self.can_send and not self.rest)
    @rule(count=st.integers(2, 30), mood=MOODS)
    def pipeline(self, count: int, mood: str) -> None:
        """Send several requests at once."""
        self.mood = mood
        raw = b""
        for _ in range(count):
            self.number += 1
            self.sent.append((f"/{self.number}", b""))
            raw += b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % self.number
        self.do(self.line.send, raw)

    @precondition(lambda self: self.line.is_open)
    @rule(size=st.sampled_from([1, 1000, 100_000, 10_000_000]))
    def take(self, size: int) -> None:
        """Read some of the answers."""
        self.do(self.line.take, size)

    @precondition(lambda self: self.can_send and not self.rest and self.is_awaited)
    @rule()
    def flood(self) -> None:
        """Send more requests behind an open answer than are held."""
        for _ in range(FLOOD):
            self.number += 1
            self.sent.append((f"/{self.number}", b""))
        first = self.number - FLOOD + 1
        head = b"GET /%d HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 16_000 + b"\r\n\r\n"
        self.do(self.line.send, b"".join(head % number for number in range(first, self.number + 1)))

    @precondition(lambda self: self.can_send and self.number >= MANY)
    @rule(how=st.sampled_from(["half-close", "reset", "nonsense"]))
    def break_off(self, how: str) -> None:
        """Send no more: orderly, or by a reset; or send what is no HTTP, behind which nothing means anything."""
        if how == "nonsense" and self.rest:
            return
        self.has_left = True
        if how == "nonsense":
            self.do(self.line.send, b"\x16\x03\x01 nonsense\r\n\r\n")
        else:
            self.do(self.line.end if how == "half-close" else self.line.reset)

    # Rules: the application.

    @precondition(lambda self: self.exchanges and self.exchanges[-1].blocked is not None)
    @rule(fails=st.booleans())
    def unblock(self, fails: bool) -> None:
        """Be ready for more, or fail."""
        blocked = self.exchanges[-1].blocked
        assert blocked is not None
        if not blocked.done():
            self.do(blocked.set_exception if fails else blocked.set_result, HTTPInputError("late") if fails else None)

    @precondition(lambda self: self.is_awaited)
    @rule()
    def answer(self) -> None:
        """Answer the request that waits."""
        self.do(self.exchanges[-1].answer)

    @precondition(lambda self: self.is_awaited)
    @rule(times=st.integers(1, 4))
    def stream(self, times: int) -> None:
        """Send more of a streamed answer, whether or not the client is slow."""
        for _ in range(times):
            self.do(self.exchanges[-1].stream)

    @precondition(lambda self: self.number >= MANY and self.exchanges and not self.exchanges[-1].is_over)
    @rule()
    def abort(self) -> None:
        """Cut the answer."""
        one = self.exchanges[-1]
        one.is_answered = True
        self.do(self.connection.abort)

    # Rules: the server, and time.

    @precondition(lambda self: self.number >= MANY)
    @rule(is_gentle=st.booleans())
    def drain(self, is_gentle: bool) -> None:
        """Take no more requests on this connection than there are."""
        self.is_draining = True
        self.service.draining = True
        if not is_gentle and self.connection.is_idle:
            self.do(self.connection.close)

    @rule(seconds=st.sampled_from([0.3, 0.3, 9.0, 9.0, 16.0, 31.0]))
    def wait(self, seconds: float) -> None:
        """Let timers fire."""
        self.loop.advance(seconds)

    # What always holds.

    @invariant()
    def exchanges_are_in_order_and_end_once(self) -> None:
        assert [one.path for one in self.exchanges] == [f"/{number + 1}" for number in range(len(self.exchanges))]
        assert all((one.path, one.body) in self.sent for one in self.exchanges if "whole" in one.told)
        for one in self.exchanges:
            assert one.told in ([], ["whole"], ["gone"], ["whole", "left"]), one.told
            assert not (one.is_answered and "left" in one.told)
        for one in self.exchanges[:-1]:
            assert one.told, "another request was begun before this one had ended"

    @invariant()
    def answers_are_well_formed_and_in_order(self) -> None:
        got = bytes(self.line.got).replace(CONTINUE, b"")
        methods = [b"HEAD" if one.path in self.heads else b"GET" for one in self.exchanges]
        reading = read_answers(got, [*methods, b"GET"], is_ended=False)
        assert reading.ending is not Ending.AMBIGUOUS, (reading.why, got[-300:])

    @invariant()
    def the_last_answer_ends_the_connection(self) -> None:
        if any(one.is_answered and one.path in self.lasts for one in self.exchanges):
            assert self.line.has_eof or self.line.is_closing()
            assert self.exchanges[-1].path in self.lasts

    @invariant()
    def nothing_is_written_behind_the_end(self) -> None:
        assert not self.line.late

    @invariant()
    def what_is_held_is_bounded(self) -> None:
        bound = (PIPELINED_BYTES if self.connection._received else HELD_BYTES) + READ_SIZE
        assert len(self.connection._held) <= bound
        parsed = sum(len(event) for event in self.connection._events if isinstance(event, bytes))
        assert parsed <= HELD_BYTES + READ_SIZE  # what was held is parsed at once

    @invariant()
    def a_writer_waits_only_while_its_client_is_slow(self) -> None:
        if self.line.get_write_buffer_size() == 0 or self.line.is_lost:
            assert all(wait.done() for wait in self.waits)
        for wait in self.waits:
            assert not wait.done() or wait.exception() is None or isinstance(wait.exception(), StreamClosedError)

    @invariant()
    def whoever_is_lost_is_told_and_let_go(self) -> None:
        if not self.line.is_lost:
            return
        assert not self.service.connections
        assert self.connection._alarms._timer is None
        assert self.connection._request is None
        for one in self.exchanges:
            assert one.is_answered or one.told[-1:] in (["gone"], ["left"]) or self.is_refused, one.told

    @invariant()
    def nobody_has_raised(self) -> None:
        assert not self.loop.faults, self.loop.faults

    def teardown(self) -> None:
        """Whatever has happened, time alone ends it, or the client's leaving does; and nothing is left."""
        try:
            for one in self.exchanges:
                if one.blocked is not None and not one.blocked.done():
                    self.do(one.blocked.set_result, None)
            self.mood = "at once"
            while self.is_awaited:
                self.do(self.exchanges[-1].answer)
            self.do(self.line.take, float("inf"))
            self.loop.advance(LONGEST)
            self.nobody_has_raised()
            self.nothing_is_written_behind_the_end()
            assert self.line.is_lost, self.connection
            assert all(wait.done() for wait in self.waits)
            assert all(one.told for one in self.exchanges)
            self.exchanges_are_in_order_and_end_once()
            self.whoever_is_lost_is_told_and_let_go()
            self.errors.__exit__(None, None, None)
        finally:
            self.line.release()
            asyncio.set_event_loop(None)
            self.loop.close()

    @property
    def is_refused(self) -> bool:
        """Whether the wire has answered by itself."""
        return re.search(rb"HTTP/1.1 [45]", bytes(self.line.got)) is not None


TestConnection = ConnectionMachine.TestCase
TestConnection.settings = settings(
    max_examples=5_000 if NIGHTLY else 150,
    stateful_step_count=60 if NIGHTLY else 40,
    deadline=None,
    derandomize=not NIGHTLY,
    database=None,
    suppress_health_check=list(HealthCheck),
)
