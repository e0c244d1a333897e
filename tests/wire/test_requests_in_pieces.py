"""Requests of all kinds, behind each other and cut anywhere: each gets its own answer, whatever a delegate waits for.

Bodies are long and short, of known length and chunked, full of what looks like requests; heads ask for 100 (Continue)
and for upgrades. Both loops, with TLS and without: each of the four reads in its own way.
"""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable

import pytest
import uvloop
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    RequestStartLine,
    ResponseStartLine,
)

from router.wire.limits import PIPELINED_BYTES, ROOM_FROM, ROOM_UP_TO
from router.wire.server_connection import ServerConnection
from router.wire.tls import ServerTLS, server_context
from tests.authority import Authority, Issued
from tests.wire.served import HOST, PATIENCE, Client, serving

CONNECTIONS = 60
LOOKS_LIKE_A_REQUEST = b"\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
SIZES = (0, 3, 3000, ROOM_FROM - 1, ROOM_FROM, 70_000, 200_000, 262_144, 300_000, ROOM_UP_TO // 2)
CUTS = (1, 5, 100, 1000, 16_384, 16_385, 50_000, 65_536, 300_000, 1 << 20)
MORE = (b"", b"", b"Expect: 100-continue\r\n", b"Connection: Upgrade\r\nUpgrade: h2c\r\n")


class Digest(HTTPMessageDelegate):
    """Answers with what it was asked; now and then it has to be waited for."""

    def __init__(self, connection: ServerConnection, dice: random.Random) -> None:
        self.connection, self.dice = connection, dice
        self.path, self.body = "", hashlib.sha256()

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        assert isinstance(start_line, RequestStartLine)
        self.path = start_line.path
        return self.perhaps()

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        self.body.update(chunk)
        return self.perhaps()

    def finish(self) -> None:
        loop, dice = asyncio.get_running_loop(), self.dice.random()
        if dice < 0.4:
            self.answer()
        elif dice < 0.7:
            loop.call_soon(self.answer)
        else:
            loop.call_later(0.002, self.answer)

    def perhaps(self) -> Awaitable[None] | None:
        dice = self.dice.random()
        return None if dice < 0.75 else asyncio.sleep(0.0 if dice < 0.95 else 0.002)

    def answer(self) -> None:
        body = f"{self.path} {self.body.hexdigest()}".encode()
        length = HTTPHeaders({"Content-Length": str(len(body))})
        self.connection.write_headers(ResponseStartLine("HTTP/1.1", 200, "OK"), length, body)
        self.connection.finish()


class Digests(HTTPServerConnectionDelegate):
    def __init__(self, dice: random.Random) -> None:
        self.dice = dice

    def start_request(self, server_conn: object, request_conn: object) -> HTTPMessageDelegate:
        assert isinstance(request_conn, ServerConnection)
        return Digest(request_conn, self.dice)


def request(number: int, dice: random.Random) -> tuple[bytes, bytes]:
    """Return the bytes of a request, and the answer to it."""
    size = dice.choice(SIZES)
    body = (LOOKS_LIKE_A_REQUEST * (size // 30 + 1))[:size] if dice.random() < 0.5 else dice.randbytes(size)
    head = b"POST /%d HTTP/1.1\r\n%b%b" % (number, HOST, dice.choice(MORE))
    if dice.random() < 0.25:
        framed = b"Transfer-Encoding: chunked\r\n\r\n"
        rest = body
        while rest:
            piece, rest = rest[: (cut := dice.randrange(1, 60_000))], rest[cut:]
            framed += b"%x\r\n%b\r\n" % (len(piece), piece)
        framed += b"0\r\n\r\n"
    else:
        framed = b"Content-Length: %d\r\n\r\n%b" % (size, body)
    return head + framed, f"/{number} {hashlib.sha256(body).hexdigest()}".encode()


async def converse(client: Client, dice: random.Random) -> None:
    """Send some requests without waiting for answers, in pieces, and compare what comes."""
    asked = [request(number, dice) for number in range(dice.randrange(1, 8))]
    while len(raw := b"".join(each for each, _ in asked)) > PIPELINED_BYTES:
        asked.pop()

    async def send() -> None:
        rest = raw
        while rest:
            piece, rest = rest[: (cut := dice.choice(CUTS))], rest[cut:]
            await client.send(piece)
            if dice.random() < 0.5:
                await asyncio.sleep(dice.choice([0, 0.001]))

    sending = asyncio.ensure_future(send())
    for _, expected in asked:
        answer = await client.answer()
        if answer.status == 100:
            answer = await client.answer()
        assert (answer.status, answer.body) == (200, expected)
    await sending
    client.reset()


@pytest.fixture(scope="module")
def issued(authority: Authority) -> Issued:
    return authority.issue()


@pytest.mark.usefixtures("tool")
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def test_each_request_gets_its_own_answer_wherever_it_is_cut(
    authority: Authority, issued: Issued, loop: Callable[[], asyncio.AbstractEventLoop], *, secure: bool
) -> None:
    context = server_context(ServerTLS(str(issued.cert), str(issued.key))) if secure else None
    options = {"ssl": authority.trusting(), "server_hostname": "localhost"} if secure else {}

    async def run() -> None:
        async with serving(Digests(random.Random(1)), ssl_options=context) as served:
            for seed in range(CONNECTIONS):
                await converse(await Client.to(served.port, **options), random.Random(seed))

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(asyncio.wait_for(run(), PATIENCE * 6))
