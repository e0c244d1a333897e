"""The response side of the wire: bytes of a backend into a real `Connection`, at any split, and what comes of them.

- An answer counts as whole only where `reference` reads it so, and is what `reference` reads: head and body.
- What `reference` finds ambiguous or cut is an error of ours (`WireError`), and never looks whole; what came of the
  body before that is what `reference` reads.
- A connection serves again only if the answer ended where its framing says, with nothing behind it.
- Where the bytes are cut changes nothing. Every fetch ends once, and nothing is left at the end.
"""

from dataclasses import dataclass

from router.errors import BadResponse, WireError
from router.wire.answer import AnswerLimits
from router.wire.client_request import Headers, Origin, Request, encode_head
from router.wire.connection import Connection
from router.wire.fetch import Fetch
from tests.fuzz.reference import Ending, Message, Reading, read_answers
from tests.fuzz.seeds import answer_seeds
from tests.fuzz.target import Target, dice_of, no_errors, pieces
from tests.wire.memory import Kept, Line, Loop

KEPT = Kept()
LIMITS = (AnswerLimits(), AnswerLimits(header_bytes=1500, header_count=20, informational=2))
ORIGIN = Origin("http", "127.0.0.1", 8000)
METHODS = ("GET", "POST", "HEAD", "DELETE")
PATIENCE = 5.0  # seconds of the timeouts
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ENDS = ("closed", "reset", "silent")
WORDS = (
    *(b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: +5\r\n", b"Content-Length: 5, 5\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding: identity\r\n"),
    *(b"Transfer-Encoding: chunked, gzip\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"0\r\n\r\n"),
    *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 101 X\r\n\r\n", b"HTTP/1.0 200 OK\r\n"),
    *(b"HTTP/1.1 204 \r\n", b"HTTP/1.1 304 \r\n", b"HTTP/1.1 99 \r\n", b"HTTP/1.1 1000 \r\n", b"HTTP/2 200\r\n"),
    *(b"Upgrade: h2c\r\nConnection: Upgrade\r\n", b"5\r\nhello\r\n", b"5 \r\n", b"5;a\r\n", b"f" * 16, b"\r\n\r\n"),
    *(b"X: y\r\n", b"\r\n a", b" : ", b"Trailer: x\r\n", b"Content-Encoding: gzip\r\n", b"data: [DONE]\n\n"),
)


@dataclass(slots=True)
class Got:
    """What has come of one fetch."""

    status: int = 0
    reason: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    error: str = ""  # the class of what it failed with
    message: str = ""

    def is_read_as(self, message: Message) -> bool:
        """Whether it is what the reference reads."""
        start = (b"%d" % self.status, self.reason)
        return (start, self.headers, self.body) == (message.start[1:], message.fields, message.body)


class Lender:
    """Who lends the connection out, and is told of its end."""

    def __init__(self) -> None:
        self.released_at = 0
        self.closed_at = 0

    def released(self, connection: Connection) -> None:
        self.released_at += 1

    def closed(self, connection: Connection) -> None:
        self.closed_at += 1


def fetched(
    data: list[bytes], method: str, limits: AnswerLimits, *, end: str, is_warm: bool
) -> tuple[Got, bool]:
    """Ask, let these bytes come, then the end; return what came of it, and whether the connection would serve again."""
    most = sum(map(len, data))
    with KEPT.loop() as loop:
        lender = Lender()
        connection = Connection(lender, loop=loop, limits=limits)
        line = Line(loop, connection)
        connection.connection_made(line)
        if is_warm:
            fetch, got = _ask(connection, loop, "GET")
            line.send(PLAIN)
            assert fetch.done()
            assert lender.released_at == 1
        fetch, got = _ask(connection, loop, method)
        for piece in data:
            line.send(piece)
            assert len(got.body) + sum(map(len, connection._answer.pieces)) <= most
        loop.settle()
        is_kept = lender.released_at == 1 + is_warm and not connection.is_closed
        _end(line, loop, end, fetch)
        assert fetch.done(), "it hangs"
        error = fetch.exception()
        assert error is None or isinstance(error, WireError), repr(error)
        if error is not None:
            got.error, got.message = type(error).__name__, str(error)
            if end == "silent" and got.error in ("FirstByteTimeout", "IdleTimeout"):
                got.error = "ConnectionLost"  # its like, of a connection that stays
        connection.close()
        loop.settle()
        line.release()
        assert lender.closed_at == 1
        assert connection._timer._pending is None
        assert not loop.faults, loop.faults
        return got, is_kept


def _ask(connection: Connection, loop: Loop, method: str) -> tuple[Fetch, Got]:
    got = Got()

    def take_head(head: tuple[int, str, Headers]) -> None:
        got.status, got.reason = head[0], head[1].encode("latin-1")
        got.headers = tuple((name, value.rstrip(b" \t")) for name, value in head[2])

    def take(chunk: bytes) -> None:
        assert chunk
        got.body += chunk

    request = Request(
        method=method,
        origin=ORIGIN,
        on_head=take_head,
        streaming_callback=take,
        first_byte_timeout=PATIENCE,
        idle_timeout=PATIENCE,
    )
    fetch = Fetch(request, encode_head(request, b"Host: a\r\n"), loop=loop, raise_error=False, max_body_size=1 << 20)
    connection.send(fetch)
    return fetch, got


def _end(line: Line, loop: Loop, end: str, fetch: Fetch) -> None:
    if end == "closed":
        line.end()
    elif end == "reset":
        line.reset()
    else:
        loop.advance(PATIENCE * 2)
    loop.settle()


def check(got: Got, reading: Reading, *, is_kept: bool) -> None:
    """See that the answer was read as the reference reads it, or failed."""
    final = next((one for one in reading.messages if one.start[1][:1] != b"1"), None)
    if not got.error:
        assert final is not None, f"whole, where the reference reads {reading.ending} {reading.why}"
        assert got.is_read_as(final), f"{got} is not {final}"
    elif final is not None:
        # Limits; and llhttp takes no tab behind "chunked".
        ours = got.error == BadResponse.__name__ and ("more than" in got.message or "transfer coding" in got.message)
        assert ours or final.is_odd, f"failed without need: {got}"
    else:
        part = b"" if reading.part is None else reading.part.body
        assert reading.ending is not Ending.PARTIAL or part.startswith(got.body), f"{got.body!r} is no part of {part!r}"
    if is_kept:
        assert final is not None
        assert not final.is_last, "kept, though it was the last"
        assert reading.ending is Ending.WHOLE, f"kept, with {reading.why}"


def run(data: bytes) -> None:
    """See the module's docstring."""
    dice = dice_of(data)
    limits = LIMITS[dice.random() < 0.3]
    method = dice.choice(METHODS)
    end, is_warm = dice.choice(ENDS), dice.random() < 0.5
    reading = read_answers(data, [method.encode()], is_ended=end == "closed")
    with no_errors("router", "asyncio"):
        first = fetched([data], method, limits, end=end, is_warm=is_warm)
        check(first[0], reading, is_kept=first[1])
        again = fetched(pieces(data, dice), method, limits, end=end, is_warm=is_warm)
        check(again[0], reading, is_kept=again[1])
        if "more than" not in first[0].message + again[0].message:  # limits look at what has come by now
            assert _alike(again) == _alike(first), (again, first)


def _alike(got: tuple[Got, bool]) -> tuple[object, ...]:
    return got[0].status, got[0].headers, got[0].error, got[0].body


TARGET = Target("answers", run, answer_seeds, WORDS, cases=30_000)
