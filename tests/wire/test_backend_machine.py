"""A connection to a backend under anything that the backend, who asks, and time may do, in any order.

Each answer names the request that it was sent for: nobody may get another one's answer, or a part of one for a whole.
By day a few hundred runs; `make nightly` tries many thousands, others each night.
"""

import asyncio
from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.errors import WireError
from router.wire.answer import AnswerLimits
from router.wire.client_request import Origin, Request, encode_head
from router.wire.connection import Connection
from router.wire.fetch import Fetch
from router.wire.shortcut import Shortcut
from tests.fuzz.target import no_errors
from tests.wire.memory import Line, Loop
from tests.wire.test_connection_machine import NIGHTLY

ORIGIN = Origin("http", "127.0.0.1", 8000)
MANY = 3  # requests before anybody breaks off: else most runs are over before anything has happened
PATIENCE = 5.0  # seconds of each timeout
UNASKED = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nunasked"
BROKEN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass(eq=False)
class Asked:
    """One request, and what comes for it."""

    number: int
    is_head: bool
    mood: str  # of who reads: "quick", "slow", or "chunks", who takes chunks as they come
    fetch: Fetch | None = None
    body: bytes = b""  # that was delivered
    sent: bytes = b""  # the body that its backend has sent or will send
    is_answered: bool = False
    framing: str = ""
    is_clear: bool = True  # nothing was sent behind it but empty lines, and its framing ends it
    rest: list[bytes] = field(default_factory=list)  # of the answer
    blocked: asyncio.Future[None] | None = None


class Passing(Shortcut):
    """Lets every other chunk pass, to who asked."""

    def __init__(self, one: Asked) -> None:
        self.one = one
        super().__init__(self, set(), lambda: 0.0)
        self.before, self.begin = b"<", 1
        self.behind, self.end = b">\r\n", -3

    def pipe(self, chunk: bytes) -> None:
        self.one.body += chunk[chunk.index(b"\n") + 1 : -2]

    def is_fine(self, text: bytes) -> bool:
        return len(self.one.body) % 2 == 0


class Lender:
    """Keeps the connection that is free, as the pool does."""

    def __init__(self) -> None:
        self.free: Connection | None = None
        self.gone: list[Connection] = []

    def released(self, connection: Connection) -> None:
        assert self.free is None
        assert connection not in self.gone
        self.free = connection

    def closed(self, connection: Connection) -> None:
        assert connection not in self.gone, "told twice"
        self.gone.append(connection)
        if self.free is connection:
            self.free = None


class BackendMachine(RuleBasedStateMachine):
    """See the module's docstring."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = Loop()
        asyncio.set_event_loop(self.loop)
        self.errors = no_errors("asyncio", "router")
        self.errors.__enter__()
        self.lender = Lender()
        self.connection: Connection | None = None
        self.line: Line | None = None
        self.lines: list[Line] = []
        self.has_left = False  # the backend, from the newest line
        self.asked: list[Asked] = []

    def do(self, call: object, *args: object) -> None:
        """Do it on the loop, and let come of it what may."""
        self.loop.call_soon(call, *args)  # type: ignore[arg-type]
        self.loop.settle()

    def add_behind(self, one: Asked, data: bytes) -> None:
        """Know of what is sent behind an answer: where only the end delimits its body, it is a part of it."""
        if one.framing == "end" and not one.is_head:
            one.sent += data
        if data.strip(b"\r\n"):
            one.is_clear = False

    @property
    def now(self) -> Asked | None:
        """Return the request that is under way."""
        one = self.asked[-1] if self.asked else None
        return None if one is None or one.fetch is None or one.fetch.done() else one

    @property
    def is_open(self) -> bool:
        """Whether the backend's end still stands."""
        return self.line is not None and self.line.is_open and not (self.line.is_closing() or self.has_left)

    # Rules: who asks.

    @precondition(lambda self: self.now is None)
    @rule(method=st.sampled_from(["GET", "POST", "HEAD"]), mood=st.sampled_from(["quick", "slow", "chunks"]))
    def ask(self, method: str, mood: str) -> None:
        """Ask on the connection that is free, or on a new one."""
        one = Asked(len(self.asked), method == "HEAD", mood)
        self.asked.append(one)
        connection, self.lender.free = self.lender.free, None
        if connection is None:
            connection = Connection(self.lender, loop=self.loop, limits=AnswerLimits())
            self.line = Line(self.loop, connection)
            self.lines.append(self.line)
            self.has_left = False
            self.do(connection.connection_made, self.line)
        self.connection = connection

        def take(chunk: bytes) -> "asyncio.Future[None] | None":
            one.body += chunk
            if one.mood == "slow" and one.blocked is None:
                one.blocked = self.loop.create_future()
                return one.blocked
            return None

        request = Request(
            method=method,
            origin=ORIGIN,
            streaming_callback=take,
            shortcut=Passing(one) if mood == "chunks" else None,
            first_byte_timeout=PATIENCE,
            idle_timeout=None if mood == "chunks" else PATIENCE,
            request_timeout=PATIENCE * 20,
        )
        head = encode_head(request, b"Host: a\r\n")
        one.fetch = Fetch(request, head, loop=self.loop, raise_error=False, max_body_size=1 << 20)
        one.fetch.add_done_callback(lambda fetch: fetch.cancelled() or fetch.exception())  # it is looked at
        self.do(connection.send, one.fetch)

    @precondition(lambda self: self.now is not None and len(self.asked) > MANY)
    @rule()
    def leave(self) -> None:
        """Want no answer any more."""
        assert self.now is not None
        assert self.now.fetch is not None
        self.do(self.now.fetch.cancel)

    @precondition(lambda self: self.now is not None and self.now.blocked is not None)
    @rule()
    def unblock(self) -> None:
        """Be ready for more."""
        assert self.now is not None
        assert self.now.blocked is not None
        if not self.now.blocked.done():
            self.do(self.now.blocked.set_result, None)

    # Rules: the backend.

    @precondition(lambda self: self.is_open and self.now is not None and not self.now.is_answered)
    @rule(
        framing=st.sampled_from([*["length", "chunks"] * 4, "end", "broken"]),
        behind=st.sampled_from([*[b""] * 9, UNASKED, b"x", b"\r\n"]),
        times=st.integers(0, 6),
        cuts=st.lists(st.integers(0, 300), max_size=4),
        informs=st.booleans(),
        sends_all=st.booleans(),
    )
    def begin_answer(
        self, framing: str, behind: bytes, times: int, cuts: list[int], informs: bool, sends_all: bool
    ) -> None:
        """Begin to answer, of which only the first part goes out, or all of it; each piece names its request."""
        one = self.now
        assert one is not None
        pieces = [b"<%d.%d>" % (one.number, piece) * (piece + 1) for piece in range(times)]
        one.is_answered = True
        one.sent = b"" if one.is_head or framing == "broken" else b"".join(pieces)
        one.framing = framing
        one.is_clear = not behind.strip(b"\r\n") and framing in ("length", "chunks")
        raw = b"HTTP/1.1 102 Processing\r\n\r\n" if informs else b""
        places = set(cuts)
        if framing == "broken":
            raw += BROKEN
        elif framing == "chunks":
            raw += b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            for piece in () if one.is_head else (*pieces, b""):
                places.add(len(raw))  # so that most chunks come whole, and by themselves
                raw += b"%x\r\n%b\r\n" % (len(piece), piece)
        else:
            length = b"Content-Length: %d\r\n" % sum(map(len, pieces)) if framing == "length" else b""
            raw += b"HTTP/1.1 200 OK\r\n%b\r\n" % length + one.sent
        self.add_behind(one, behind)
        raw += behind
        ordered = sorted(min(place, len(raw)) for place in places)
        one.rest = [raw[a:b] for a, b in zip([0, *ordered], [*ordered, len(raw)], strict=True) if a < b]
        self.send_part()
        while sends_all and one.rest and self.is_open:
            self.send_part()

    @precondition(lambda self: self.is_open and self.asked and self.asked[-1].rest)
    @rule()
    def send_part(self) -> None:
        """Send the next part of the answer, also where nobody waits for it any more."""
        assert self.line is not None
        self.do(self.line.send, self.asked[-1].rest.pop(0))

    @precondition(
        lambda self: self.is_open
        and len(self.asked) > MANY
        and (self.now is None or (self.now.is_answered and not self.now.rest))
    )
    @rule(data=st.sampled_from([UNASKED, b"\r\n", b"x"]))
    def say_more(self, data: bytes) -> None:
        """Send what nobody has asked for: while the connection is free, or behind an answer."""
        assert self.line is not None
        if self.now is not None:
            self.add_behind(self.now, data)
        self.do(self.line.send, data)
        if self.now is None:
            assert self.lender.free is None, "lent out again after bytes that nobody asked for"

    @precondition(lambda self: self.is_open and (len(self.asked) > MANY or self.asked[-1].rest))
    @rule(how=st.sampled_from(["close", "reset"]))
    def break_off(self, how: str) -> None:
        """Close, or break the connection."""
        assert self.line is not None
        self.has_left = True
        self.do(self.line.end if how == "close" else self.line.reset)

    @rule(seconds=st.sampled_from([0.1, 0.1, 0.1, PATIENCE - 1, PATIENCE + 1]))
    def wait(self, seconds: float) -> None:
        """Let timers fire."""
        self.loop.advance(seconds)

    # What always holds.

    @invariant()
    def nobody_gets_what_was_not_sent_for_it(self) -> None:
        for one in self.asked:
            assert one.sent.startswith(one.body), (one, one.body)

    @invariant()
    def what_counts_as_whole_is_whole(self) -> None:
        for one in self.asked:
            fetch = one.fetch
            assert fetch is not None
            if not fetch.done() or fetch.cancelled():
                continue
            error = fetch.exception()
            assert error is None or isinstance(error, WireError), repr(error)
            if error is None:
                assert fetch.result().code == 200
                assert one.is_answered
                assert one.body == one.sent[: len(one.body)]
                assert not one.is_clear or (one.body == one.sent and not one.rest), one

    @invariant()
    def only_a_connection_that_can_be_trusted_is_free(self) -> None:
        free = self.lender.free
        if free is not None:
            assert self.now is None
            assert not free.is_closed
            assert self.asked[-1].is_clear
            assert not self.asked[-1].rest

    @invariant()
    def nobody_has_raised(self) -> None:
        assert not self.loop.faults, self.loop.faults

    def teardown(self) -> None:
        """Whatever has happened, time alone ends it, and nothing is left."""
        try:
            for one in self.asked:
                if one.blocked is not None and not one.blocked.done():
                    self.do(one.blocked.set_result, None)
            self.loop.advance(PATIENCE * 20)
            assert all(one.fetch is not None and one.fetch.done() for one in self.asked), self.asked
            self.what_counts_as_whole_is_whole()
            if self.connection is not None:
                self.do(self.connection.close)
                assert self.connection._timer._pending is None
            assert all(line.is_lost for line in self.lines)
            assert len(self.lender.gone) == len(self.lines)
            self.nobody_has_raised()
            self.errors.__exit__(None, None, None)
        finally:
            for line in self.lines:
                line.release()
            asyncio.set_event_loop(None)
            self.loop.close()


TestBackend = BackendMachine.TestCase
TestBackend.settings = settings(
    max_examples=5_000 if NIGHTLY else 150,
    stateful_step_count=60 if NIGHTLY else 40,
    deadline=None,
    derandomize=not NIGHTLY,
    database=None,
    suppress_health_check=list(HealthCheck),
)
