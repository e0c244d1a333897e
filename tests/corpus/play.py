"""Plays cases against a server over real sockets: a client that does as its steps say, a backend that records.

The client judges nothing: it tells which answers came and how the connection ended. The backend answers each request
with the steps it was given and keeps the bytes it got, a request for an entry; what was no request goes to `strays`.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.corpus.notation import End, Forever, Pause, Step, Write, steps
from tests.wire.served import Answer, Client
from tests.wire.upstream import Peer, upstream

GOOD = steps("<<whole>>")
LISTING = b"GET /v1/models HTTP/1.1\r\n"  # asked by the router itself; clients' own never reaches a backend
PROBE = b"GET /livez HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n"
PATIENCE = 20.0  # seconds; far beyond what anything here takes
BLOCK = 2**14  # bytes in one write of what is sent for ever
HOLDS = 2**22  # bytes of one line or head that the backend takes: more than any router sends
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)


@dataclass
class Played:
    """What a client saw."""

    answers: list[Answer] = field(default_factory=list)
    rest: bytes = b""  # what came at last and was no whole answer
    stayed: bool = False  # the connection was good for another request

    @property
    def statuses(self) -> tuple[int, ...]:
        """The statuses in their order."""
        return tuple(answer.status for answer in self.answers)


async def play(port: int, done: Sequence[Step], *, expected: int, stays: bool) -> Played:
    """Do as `done` says on a connection; return what came back.

    With `stays` a request of our own follows once `expected` answers are there, and must be answered; without, all is
    read to the end of the connection.
    """
    client = await Client.to(port, limit=HOLDS)
    is_endless = any(isinstance(step, Forever) for step in done)
    doing = asyncio.ensure_future(send_all(client, done))
    played = Played()
    head_only = bool(done) and isinstance(done[0], Write) and done[0].data.startswith(b"HEAD ")
    try:
        async with asyncio.timeout(PATIENCE):
            while (stays or is_endless) and len(played.answers) < expected:
                played.answers.append(await client.answer(head_only=head_only))
            if stays:
                await doing
                await client.send(PROBE)
                played.stayed = (await client.answer()).status == 200
            while not (is_endless and expected):
                played.answers.append(await client.answer(head_only=head_only))
    except asyncio.IncompleteReadError as end:
        played.rest = end.partial
    except TimeoutError:
        played.rest = b"(it did not come in time)"
    except ConnectionError:
        pass
    finally:
        doing.cancel()
        await asyncio.gather(doing, return_exceptions=True)
        client.reset()  # what it has not sent yet is of no interest
    return played


async def send_all(client: Client, done: Iterable[Step]) -> None:
    """Do as steps say; a server that has closed ends it."""
    with contextlib.suppress(ConnectionError):
        for step in done:
            if isinstance(step, Write):
                await client.send(step.data)
            elif isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
            elif isinstance(step, Forever):
                while True:
                    await client.send(step.data * (BLOCK // len(step.data) + 1))
                    await asyncio.sleep(0.001)
            elif step.how == "half-close":
                client.writer.write_eof()
            elif step.how == "close":
                client.writer.close()
            else:
                client.reset()


@dataclass
class Recorder:
    """A backend that keeps what it gets."""

    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    strays: list[bytes] = field(default_factory=list)
    connections: list[int] = field(default_factory=list)  # for each request, the number of its connection
    answer: Sequence[Step] = GOOD

    def take(self) -> list[bytes]:
        """Return the requests since the last look, with the names in them that differ from run to run made alike."""
        found, self.requests = self.requests, []
        self.connections = []
        return [alike(each) for each in found]


def alike(request: bytes) -> bytes:
    """Return a request with its Host as BACKEND and an id that was made up as ID."""
    head, end, body = request.partition(b"\r\n\r\n")
    head = re.sub(rb"\r\nHost: 127\.0\.0\.1:\d+(?=\r\n|\Z)", b"\r\nHost: BACKEND", head)
    head = re.sub(rb"\r\nX-Request-Id: [0-9a-f-]{16,64}(?=\r\n|\Z)", b"\r\nX-Request-Id: ID", head)
    return head + end + body


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Read one request as it came. Raises `IncompleteReadError` at the end of the connection."""
    whole = await reader.readuntil(b"\r\n\r\n")
    if _CHUNKED.search(whole):
        while True:
            line = await reader.readuntil(b"\r\n")
            whole += line
            size = int(line.partition(b";")[0], 16)
            if size:
                whole += await reader.readexactly(size + 2)
                continue
            while line != b"\r\n":  # trailers
                line = await reader.readuntil(b"\r\n")
                whole += line
            return whole
    found = _LENGTH.search(whole)
    return whole + await reader.readexactly(int(found[1])) if found else whole


@asynccontextmanager
async def recorder() -> AsyncIterator[Recorder]:
    """Run a recording backend."""
    recording = Recorder()

    async def serve(peer: Peer) -> None:
        while True:
            try:
                request = await read_request(peer.reader)
            except asyncio.IncompleteReadError as end:
                if end.partial:
                    recording.strays.append(end.partial)
                return
            if request.startswith(LISTING):
                await _answer(peer, steps("HTTP/1.1 404 X\nContent-Length: 0\n\n"))
                continue
            recording.requests.append(request)
            recording.connections.append(peer.number)
            if await _answer(peer, recording.answer):
                return

    async with upstream(serve) as running:
        recording.port = running.port
        yield recording


async def _answer(peer: Peer, done: Sequence[Step]) -> bool:
    """Answer as `done` says; return whether that was the connection's end."""
    for step in done:
        if isinstance(step, Write):
            await peer.send(step.data)
        elif isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
        elif isinstance(step, Forever):
            while not peer.gone.is_set():
                await peer.send(step.data * (BLOCK // len(step.data) + 1))
        else:
            assert isinstance(step, End)
            if step.how == "reset":
                peer.reset()
            else:
                peer.close()
            return True
    return False
