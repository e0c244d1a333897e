"""The request side of the wire: bytes of a client into a real `ServerConnection`, at any split, and what comes of them.

- The exchanges that an application gets are those that `reference` reads, in order and byte for byte, and no more.
- What `reference` finds ambiguous is refused. What it reads is refused only by a rule of our own (`OURS`).
- Where the bytes are cut, and whether the application is slow, changes nothing.
- Every exchange ends once; the answers are well formed, one for each; nothing is left at the end.
"""

import asyncio
import random
import re
from dataclasses import dataclass, field
from typing import Any

from tornado.httputil import HTTPMessageDelegate, HTTPServerConnectionDelegate

from router.wire.limits import HELD_BYTES, PIPELINED_BYTES, READ_SIZE, ServerLimits
from router.wire.server_connection import ServerConnection
from router.wire.service import Service, plain_error
from tests.fuzz.reference import Ending, Message, Reading, read_answers, read_requests
from tests.fuzz.seeds import request_seeds
from tests.fuzz.target import Target, dice_of, no_errors, pieces
from tests.wire.memory import Kept, Line, Loop

KEPT = Kept()
SMALL = ServerLimits(start_line=400, header_bytes=2000, header_count=30, body=5000)
LIMITS = (ServerLimits(), SMALL)
OURS = {413, 414, 417, 431, 501}  # statuses of rules that say nothing about how bytes are to be read
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
DATE = re.compile(rb"\r\nDate: [^\r]*\r\n")
# llhttp refuses a method at its first wrong byte: how much of it was there by then decides between these two.
NO_METHOD = re.compile(
    rb"HTTP/1\.1 (?:501|400) (?:(?!HTTP/).)*"
    rb"(?:method is not known here|Invalid method encountered|Expected space after method|"
    rb"method for [A-Z]+/x.x request)\n",
    re.DOTALL,
)
BEHIND_CLOSE = b"Data after `Connection: close`"
LONGEST_WAIT = 100.0  # seconds: more than any limit of time
HELD_AT_MOST = max(PIPELINED_BYTES, HELD_BYTES) + READ_SIZE
WORDS = (
    *(b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: 05\r\n", b"Content-Length: +5\r\n"),
    *(b"Content-Length: 5, 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n"),
    *(b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding: chunked, identity\r\n", b"transfer-encoding\r\n"),
    *(b"Transfer-Encoding:\x0bchunked\r\n", b"Transfer-Encoding: xchunked\r\n", b"Transfer_Encoding: chunked\r\n"),
    *(b"Host: a\r\n", b"Host: evil\r\n", b"Host:\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n"),
    *(b"Connection: keep-alive, close\r\n", b"Connection: Content-Length\r\n", b"Connection: Upgrade\r\nUpgrade: h2c"),
    *(b"0\r\n\r\n", b"5\r\nhello\r\n", b"5;a=b\r\n", b'5;a="\r\n', b"fffffffffffffffff\r\n", b"000000000000005\r\n"),
    *(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.0", b"HTTP/1.1", b"HTTP/0.9", b"HTTP/2.0", b"PRI * HTTP/2.0\r\n"),
    *(b"http://evil/", b"//", b"/../", b"%2f", b"@", b"*", b"?", b"#", b" : ", b"\r\n ", b"\n\n", b"chunked"),
    *(b"POST ", b"HEAD ", b"OPTIONS ", b"CONNECT ", b"Trailer: x\r\n", b"0\r\nX: y\r\n\r\n", b"5 \r\n"),
)


@dataclass(slots=True)
class Exchange:
    """What the application was told of one request."""

    start: tuple[bytes, ...]
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""
    endings: list[str] = field(default_factory=list)  # "whole", "gone"

    def is_read_as(self, message: Message) -> bool:
        """Whether it is what the reference reads."""
        return (self.start, self.fields, self.body) == (message.start, message.fields, message.body)


@dataclass(slots=True)
class Seen:
    """What has come of the bytes of one connection."""

    exchanges: list[Exchange]
    answers: bytes
    is_closed: bool  # by us, before the client has left
    is_refused: bool

    @property
    def whole(self) -> list[Exchange]:
        """Return the exchanges whose request was whole."""
        return [one for one in self.exchanges if one.endings[:1] == ["whole"]]


class Recording(HTTPServerConnectionDelegate):
    """An application that writes down what it is told, and answers "ok"; a slow one lets the wire wait, by chance."""

    def __init__(self, loop: Loop, slowness: random.Random | None) -> None:
        self.exchanges: list[Exchange] = []
        self.loop = loop
        self.slowness = slowness

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        return _Recorded(self, request_conn)

    def wait(self) -> "asyncio.Future[None] | None":
        """Return what the wire is to wait for, or nothing."""
        if self.slowness is None or self.slowness.random() < 0.4:
            return None
        future = self.loop.create_future()
        self.loop.call_soon(lambda: future.done() or future.set_result(None))
        return future


class _Recorded(HTTPMessageDelegate):
    def __init__(self, recording: Recording, connection: ServerConnection) -> None:
        self._recording = recording
        self._connection = connection

    def headers_received(self, start_line: Any, headers: Any) -> "asyncio.Future[None] | None":
        start = (start_line.method.encode(), start_line.path.encode("latin-1"), start_line.version[5:].encode())
        self._exchange = Exchange(start, tuple((name, value.rstrip(b" \t")) for name, value in headers.raw))
        self._recording.exchanges.append(self._exchange)
        return self._recording.wait()

    def data_received(self, chunk: bytes) -> "asyncio.Future[None] | None":
        self._exchange.body += chunk
        return self._recording.wait()

    def finish(self) -> None:
        self._exchange.endings.append("whole")
        slowness = self._recording.slowness
        if slowness is not None and slowness.random() < 0.5:
            self._recording.loop.call_soon(self._answer)
        else:
            self._answer()

    def _answer(self) -> None:
        self._connection.write_raw_head(200, "OK", b"Content-Length: 2\r\n", b"ok", content_length=2)
        self._connection.finish()

    def on_connection_close(self) -> None:
        self._exchange.endings.append("gone")


def served(data: list[bytes], limits: ServerLimits, slowness: random.Random | None = None) -> Seen:
    """Send bytes to a connection and look what it does with them; then leave, and see that nothing is left."""
    with KEPT.loop() as loop:
        recording = Recording(loop, slowness)
        done = loop.create_future()
        done.set_result(None)
        service = Service(recording, limits, plain_error, loop, done)
        connection = ServerConnection(service)
        line = Line(loop, connection)
        connection.connection_made(line)
        for piece in data:
            line.send(piece)
            if slowness is not None:
                loop.settle()
            assert len(connection._held) <= HELD_AT_MOST
            assert sum(len(event) for event in connection._events if isinstance(event, bytes)) <= HELD_AT_MOST
        loop.settle()
        is_closed = line.has_eof or line.is_closing()
        answers = DATE.sub(b"\r\n", bytes(line.got))
        seen = Seen(recording.exchanges, answers, is_closed, is_refused=b"\r\n\r\n" in answers and _is_refused(answers))
        line.end()
        loop.settle()
        line.release()
        assert not line.late, "written after the end"
        assert line.is_lost, "it was not closed"
        assert not service.connections
        assert connection._alarms._timer is None
        assert not any(service.timers._ticks.values())
        loop.advance(LONGEST_WAIT)  # else the loop would keep the timers of all these services, whose waits are over
        assert service.timers._timer is None
        assert not loop.faults, loop.faults
        for exchange in recording.exchanges:
            assert len(exchange.endings) == 1, exchange
        return seen


def _is_refused(answers: bytes) -> bool:
    last = answers.rfind(b"HTTP/1.1 ")
    return answers[last + 9 : last + 12] not in (b"200", b"100")


def check(seen: Seen, reading: Reading) -> None:
    """See that requests were read as the reference reads them, or refused."""
    whole, messages = seen.whole, reading.messages
    assert len(whole) <= len(messages), f"read {len(whole)} requests where there are {len(messages)}"
    for one, message in zip(whole, messages, strict=False):
        assert one.is_read_as(message), f"{one} is not {message}"
    if whole and seen.is_closed and not seen.is_refused and messages[len(whole) - 1].values(b"proxy-connection"):
        return  # llhttp heeds its "close": no request behind it is read, which a server may always do
    if len(whole) < len(messages):
        assert seen.is_refused, "requests are left out"
    elif messages and messages[-1].is_last:
        assert seen.is_closed, "the client's last request does not end its connection"
    elif reading.ending is Ending.AMBIGUOUS:
        assert seen.is_refused, f"not refused: {reading.why}"
        assert seen.is_closed


def check_answers(seen: Seen, reading: Reading) -> None:
    """See that there is one well-formed answer for each request, and that only our own rules refuse what is clear."""
    whole = seen.whole
    methods = [one.start[0] for one in whole]
    if seen.is_refused:
        begun = [one for one in seen.exchanges if one not in whole]
        methods.append(begun[0].start[0] if begun else b"")
    answers = read_answers(seen.answers.replace(CONTINUE, b""), methods, is_ended=seen.is_closed)
    assert answers.ending is Ending.WHOLE, (answers.why, seen.answers)
    told = [int(one.start[1]) for one in answers.messages]
    assert told[: len(whole)] == [200] * len(whole)
    assert len(told) == len(methods)
    if seen.is_refused and len(whole) < len(reading.messages):
        # llhttp takes no tab behind "chunked", and heeds "close" in a trailer: what comes behind it is refused.
        is_odd = reading.messages[len(whole)].is_odd or b"invalid `Transfer-Encoding`" in seen.answers
        is_behind_last = bool(whole) and reading.messages[len(whole) - 1].is_odd and BEHIND_CLOSE in seen.answers
        is_ours = told[-1] in OURS or NO_METHOD.search(seen.answers)
        assert is_ours or is_odd or is_behind_last, f"refused without need: {seen.answers!r}"


def statuses(answers: bytes) -> list[bytes]:
    """Return what of the answers must not depend on where the request was cut.

    Limits look at what has come by now, so a request with two faults may be refused for either.
    """
    told = re.findall(rb"HTTP/1\.1 ([0-9]{3})", NO_METHOD.sub(b"HTTP/1.1 400", answers.replace(CONTINUE, b"")))
    return [b"400" if status in (b"413", b"414", b"431") else status for status in told]


def run(data: bytes) -> None:
    """See the module's docstring."""
    dice = dice_of(data)
    limits = LIMITS[dice.random() < 0.3]
    reading = read_requests(data)
    with no_errors("router", "asyncio"):
        first = served([data], limits)
        check(first, reading)
        check_answers(first, reading)
        again = served(pieces(data, dice), limits, dice.choice((None, dice)))
        assert statuses(again.answers) == statuses(first.answers), (again.answers, first.answers)
        assert again.is_closed == first.is_closed
        assert len(again.exchanges) == len(first.exchanges)
        for one, other in zip(again.exchanges, first.exchanges, strict=True):
            is_whole = one.endings == ["whole"]  # of others, as much has been told as had come
            assert (one.start, one.fields, one.endings) == (other.start, other.fields, other.endings)
            assert one.body == other.body or not is_whole


TARGET = Target("requests", run, request_seeds, WORDS, cases=30_000)
