"""The relay without sockets: a backend's raw bytes in, the client's raw bytes out, through every part between.

`wire.answer` parses, `relay.reading` reads, `relay.answer` writes, `wire.server_connection` frames. Only the transport
below is a stand-in: a list that collects what was written.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from httptools import HttpParserError
from tornado.httputil import HTTPMessageDelegate, HTTPServerConnectionDelegate

from router.errors import BadResponse, ConnectionLost
from router.exchange import Exchange
from router.observe.exposition import Distribution
from router.relay.answer import Answer
from router.relay.headers import ToClient
from router.relay.outcomes import Ended, broken_off
from router.relay.outside import Outside, Timeouts
from router.relay.reading import Reading
from router.relay.route import Job, Route
from router.relay.tap import Tap
from router.relay.tapped import TappedAnswer
from router.wire.answer import Answer as AnswerParser
from router.wire.answer import AnswerLimits
from router.wire.client import Head, PooledHTTPClient
from router.wire.client_request import Request
from router.wire.connection import Connection
from router.wire.fetch import Fetch
from router.wire.limits import ServerLimits
from router.wire.server import ServerConnection
from router.wire.service import Service, plain_error
from router.wire.wheel import Wheel

REQUEST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHAT = Route("/v1/chat/completions", "POST", end_marks=(b"[DONE]",))


class MemoryTransport(asyncio.Transport):
    """Collects what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.aborted = False
        self.is_paused = False  # reading
        self.when_written: Callable[[], None] | None = None

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.written.append(data)
        if self.when_written is not None:
            self.when_written()

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def close(self) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def can_write_eof(self) -> bool:
        return False


class _Silent(HTTPServerConnectionDelegate, HTTPMessageDelegate):
    def start_request(self, server_conn: object, request_conn: object) -> HTTPMessageDelegate:
        return self


class Verdicts:
    """Listens to a reading."""

    def __init__(self, verdicts: list[Ended]) -> None:
        self.on_verdict = verdicts.append

    def on_phase(self) -> None:
        """There are no limits here."""


class FromBackend:
    """A backend's connection with a stream on it, which a reading gets; `parsed` counts what did not pass unparsed."""

    def __init__(self, reading: Reading, *, shortcut: bool = True) -> None:
        """`shortcut`: plain events may pass. Needs a running loop."""
        loop = asyncio.get_running_loop()
        self.parsed = 0
        self.transport = MemoryTransport()
        self._reading = reading
        self._connection = Connection(self, loop=loop, limits=AnswerLimits())
        self._connection.connection_made(self.transport)
        request = Request(
            on_head=reading.on_head, streaming_callback=self._on_chunk, shortcut=reading if shortcut else None
        )
        self.fetch = Fetch(request, b"", loop=loop, raise_error=False, max_body_size=0)
        self._connection.send(self.fetch)
        self.read(STREAM_HEAD)

    def read(self, data: bytes) -> bool:
        """Let one read come. Return whether it passed unparsed."""
        before = self.parsed
        self._connection.data_received(data)
        return self.parsed == before

    def read_event(self, event: bytes) -> bool:
        """The same with an event, as a chunk of its own."""
        return self.read(b"%x\r\n%b\r\n" % (len(event), event))

    def close(self) -> None:
        """Want no more of it."""
        self.fetch.cancel()

    def released(self, connection: Connection) -> None:
        """Nobody else needs it."""

    def closed(self, connection: Connection) -> None:
        """The same."""

    def _on_chunk(self, data: bytes) -> Awaitable[None] | None:
        self.parsed += 1
        return self._reading.on_chunk(data)


class Pipe:
    """One exchange after another, each over connections of its own."""

    def __init__(self, client: PooledHTTPClient) -> None:
        """Needs a running loop."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        done.set_result(None)
        self._service = Service(_Silent(), ServerLimits(), plain_error, loop, done)
        self.outside = Outside(
            client,
            Timeouts(),
            loop=loop,
            timers=Wheel(loop),
            clock=lambda: 0.0,
            wall_clock=lambda: 0.0,
            dice=lambda: 0.5,
            event_gaps=lambda exchange: Distribution(()),
            new_call_id=lambda: "abcDEF123",
            to_client=ToClient(cookies=False),
        )
        self.ended: Ended | None = None
        self.aborted = False

    def connect(self, transport: MemoryTransport) -> ServerConnection:
        """Return a connection that has received a request and waits for its answer."""
        connection = ServerConnection(self._service)
        connection.connection_made(transport)
        connection.get_buffer(-1)[: len(REQUEST)] = REQUEST
        connection.buffer_updated(len(REQUEST))
        return connection

    def relay(self, pieces: Iterable[bytes], route: Route = CHAT, *, tap: Tap | None = None) -> bytes:
        """Return what the client gets for an answer that comes in these pieces and then ends with its connection.

        `tap`: the middlewares that see it.
        """
        transport = MemoryTransport()
        connection = self.connect(transport)
        exchange = Exchange("id", route.path, "POST", 0.0)
        named = route.named_events
        answer = (
            Answer(connection, exchange, b"", named_events=named)
            if tap is None
            else TappedAnswer(connection, exchange, b"", named_events=named, tap=tap)
        )
        verdicts: list[Ended] = []
        reading = Reading(Job(route, "", (), "", b"", stream=True), exchange, answer, self.outside, Verdicts(verdicts))
        ended = self._read(reading, pieces, verdicts)
        if ended.error is not None or ended.refusal is not None:
            answer.fail(ended.error)
        self.ended, self.aborted = ended, transport.aborted
        connection.connection_lost(None)
        return b"".join(transport.written)

    def _read(self, reading: Reading, pieces: Iterable[bytes], verdicts: list[Ended]) -> Ended:
        parser = AnswerParser(AnswerLimits())
        parser.restart(head_only=False)
        told = False
        for piece in pieces:
            fault = None
            try:
                parser.feed(piece)
            except HttpParserError as error:
                fault = parser.fault_of(error)
            if parser.status and not told:
                told = True
                reading.on_head(Head(parser.status, parser.reason, parser.headers))
            if parser.pieces:
                body = b"".join(parser.pieces)
                parser.pieces.clear()
                reading.on_chunk(body)
            if verdicts:
                return verdicts[0]
            if isinstance(fault, BadResponse):
                return broken_off(fault, begun=reading.begun)
            if parser.is_complete:
                return reading.complete()
        return broken_off(ConnectionLost("cut", reused=False, received=True), begun=reading.begun)


def dechunk(body: bytes) -> bytes:
    """Return the content of a chunked body; fails where it is not whole."""
    found = []
    while True:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            assert body == b"\r\n", "bytes after the end"
            return b"".join(found)
        found.append(body[:length])
        assert body[length : length + 2] == b"\r\n"
        body = body[length + 2 :]


def body_of(raw: bytes) -> bytes:
    """Return the body of a raw chunked answer, as far as it goes."""
    body = raw.partition(b"\r\n\r\n")[2]
    found = []
    while body:
        size, _, body = body.partition(b"\r\n")
        if not size:
            break
        length = int(size, 16)
        found.append(body[:length])
        body = body[length + 2 :]
    return b"".join(found)
