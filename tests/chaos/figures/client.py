"""Clients: requests from this process, each on its own connection, timed, kept, and judged byte by byte at the end.

Nothing is parsed while the load runs but the ends of answers: 200 streams must not make this process the bottleneck.
"""

import asyncio
import contextlib
import enum
import json
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from tests.chaos.figures.servers import MODEL

DONE = b"data: [DONE]"
LINGER_NOT = struct.pack("ii", 1, 0)


class Ending(enum.Enum):
    """How an answer came out, as its client sees it."""

    WHOLE = "whole"  # the text of an unbroken run, its end, nothing else
    WRONG = "wrong"  # it looks whole, and is not what an unbroken run says
    SILENT = "silent"  # it just ends: no end mark, no error
    TOLD = "told"  # it ends with an error event
    REFUSED = "refused"  # a status other than 200, or nothing at all
    OPEN = "open"  # still open when the run ended


@dataclass(slots=True)
class Answer:
    """What one connection got. Times are those of time.monotonic()."""

    asked_at: float = 0.0
    first_at: float | None = None  # the first byte
    last_at: float | None = None  # the last one
    closed_at: float | None = None
    raw: list[bytes] = field(default_factory=list)
    moments: list[float] = field(default_factory=list)  # when each piece with an event came; only where asked for
    is_whole: bool = False  # the body has come to the end that its framing says
    connected: bool = False

    @property
    def head(self) -> bytes:
        """Status line and header fields."""
        return b"".join(self.raw).partition(b"\r\n\r\n")[0]

    @property
    def status(self) -> int:
        """The status; 0 where none came."""
        words = self.head.split(b" ", 2)
        return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0

    @property
    def body(self) -> bytes:
        """The body without its framing, as far as it has come."""
        head, _, rest = b"".join(self.raw).partition(b"\r\n\r\n")
        return unchunked(rest) if b"transfer-encoding: chunked" in head.lower() else rest

    @property
    def seconds(self) -> float:
        """From the request to the last byte."""
        return (self.last_at or time.monotonic()) - self.asked_at


def unchunked(data: bytes) -> bytes:
    """Return the bytes of a chunked body, as far as it goes."""
    found: list[bytes] = []
    while True:
        line, mark, rest = data.partition(b"\r\n")
        try:
            size = int(line.partition(b";")[0], 16) if mark else 0
        except ValueError:
            size = 0
        if not size:
            return b"".join(found)
        found.append(rest[:size])
        data = rest[size + 2 :]


class Asking(asyncio.Protocol):
    """One request on a new connection, which is closed after its answer."""

    def __init__(self, request: bytes, *, timed: bool = False) -> None:
        """`timed`: note when each piece with an event came."""
        self.answer = Answer()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # the first event with a text
        self.transport: asyncio.Transport | None = None
        self._request = request
        self._timed = timed
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self.transport = cast(asyncio.Transport, transport)
        self.answer.connected = True
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Keep and time what came."""
        answer = self.answer
        now = time.monotonic()
        if answer.first_at is None:
            answer.first_at = now
        answer.last_at = now
        answer.raw.append(data)
        if self._timed and b"data:" in data:
            answer.moments.append(now)
        if not self.begun.done() and b'"content":"' in data and b'"content":""' not in data:
            self.begun.set_result(None)
        window = self._tail + data
        answer.is_whole = window.endswith(b"0\r\n\r\n")
        self._tail = window[-8:]

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        self.answer.closed_at = time.monotonic()
        for future in (self.begun, self.ended):
            if not future.done():
                future.set_result(None)

    def leave(self) -> None:
        """Close at once."""
        if self.transport is not None:
            self.transport.abort()

    def reset(self) -> None:
        """Close with a RST."""
        assert self.transport is not None
        sock = cast(socket.socket, self.transport.get_extra_info("socket"))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        self.transport.abort()


def request_of(port: int, body: Any, *, path: str = "/v1/chat/completions", close: bool = True) -> bytes:
    """Return the bytes of one POST."""
    raw = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(raw)}\r\n" + ("Connection: close\r\n" if close else "") + "\r\n"
    )
    return head.encode() + raw


async def ask(port: int, request: bytes, *, timed: bool = False) -> Asking:
    """Connect and ask; return at once. A refused connection is an answer that has ended."""
    asking = Asking(request, timed=timed)
    asking.answer.asked_at = time.monotonic()
    try:
        await asyncio.get_running_loop().create_connection(lambda: asking, "127.0.0.1", port)
    except OSError:
        asking.connection_lost(None)
    return asking


async def whole(port: int, request: bytes, *, within: float = 30.0) -> Answer:
    """Ask and wait for the end of the answer, or until the time is over."""
    asking = await ask(port, request)
    try:
        await asyncio.wait_for(asking.ended, within)
    except TimeoutError:
        asking.leave()
    return asking.answer


# ---- streams


@dataclass(frozen=True, slots=True)
class Stream:
    """A request for a stream, and what an unbroken run answers."""

    body: dict[str, Any]
    text: str
    finish: str
    tokens: int


def stream_body(number: int, *, tokens: int) -> dict[str, Any]:
    """Return a chat request whose answer differs from those of other numbers."""
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": f"Tell story number {number}."}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": tokens,
        "temperature": 0,
    }


async def expected(port: int, count: int, *, tokens: int) -> list[Stream]:
    """Return streams, with what a server that nothing happens to answers; it is asked here."""
    streams = []
    for number in range(count):
        body = stream_body(number, tokens=tokens)
        plain = {name: value for name, value in body.items() if not name.startswith("stream")}
        answer = await whole(port, request_of(port, plain))
        told = json.loads(answer.body)
        choice = told["choices"][0]
        text, finish = choice["message"]["content"], choice["finish_reason"]
        streams.append(Stream(body, text, finish, told["usage"]["completion_tokens"]))
    return streams


def events_of(body: bytes) -> list[Any]:
    """Return the payloads of a stream's events: objects, "[DONE]", None for unreadable ones. Comments are left out."""
    found: list[Any] = []
    for block in body.replace(b"\r\n", b"\n").split(b"\n\n"):
        data = b"\n".join(line[5:].strip() for line in block.split(b"\n") if line.startswith(b"data:"))
        if data == b"[DONE]":
            found.append("[DONE]")
        elif data:
            try:
                found.append(json.loads(data))
            except ValueError:
                found.append(None)
    return found


def judge(answer: Answer, stream: Stream) -> Ending:
    """Return how a stream came out."""
    if answer.status != 200:
        return Ending.OPEN if answer.closed_at is None else Ending.REFUSED
    events = events_of(answer.body)
    if any(isinstance(event, dict) and "error" in event for event in events):
        return Ending.TOLD
    if events[-1:] != ["[DONE]"] or not answer.is_whole:
        return Ending.OPEN if answer.closed_at is None else Ending.SILENT
    return Ending.WRONG if faults_of(events, stream) else Ending.WHOLE


def faults_of(events: Sequence[Any], stream: Stream) -> list[str]:
    """Return what differs between a stream that looks whole and an unbroken one."""
    chunks = [event for event in events if isinstance(event, dict)]
    choices = [choice for chunk in chunks for choice in chunk.get("choices", ())]
    deltas = [choice["delta"] for choice in choices]
    usages = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    facts = {
        "text": ("".join(delta.get("content") or "" for delta in deltas), stream.text),
        "role": ([delta["role"] for delta in deltas if "role" in delta], ["assistant"]),
        "finish": ([one["finish_reason"] for one in choices if one["finish_reason"]], [stream.finish]),
        "tokens": ([usage["completion_tokens"] for usage in usages], [stream.tokens]),
        **{name: (len({chunk.get(name) for chunk in chunks}), 1) for name in ("id", "created", "model")},
        "done": (list(events).count("[DONE]"), 1),
        "readable": (None in events, False),
    }
    return [f"{name}: {got!r}, not {wanted!r}"[:300] for name, (got, wanted) in facts.items() if got != wanted]


# ---- a flow of new requests


@dataclass(slots=True)
class Flow:
    """Short requests at a steady pace, each on a connection of its own."""

    port: int
    request: bytes
    rate: float  # a second
    most: int = 2000  # at a time; more would only measure this process
    answers: list[Answer] = field(default_factory=list)
    skipped: int = 0  # not sent, because so many were open
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, seconds: float) -> None:
        """Ask for so long; return when the last answer has come or half a minute is over."""
        begun = time.monotonic()
        sent = 0
        while (now := time.monotonic()) - begun < seconds:
            while sent < (now - begun) * self.rate:
                sent += 1
                if len(self._open) >= self.most:
                    self.skipped += 1
                    continue
                task = asyncio.create_task(self._one())
                self._open.add(task)
                task.add_done_callback(self._open.discard)
            await asyncio.sleep(0.002)
        if self._open:
            await asyncio.wait(self._open, timeout=30.0)

    async def stop(self) -> None:
        """Give up what is still open."""
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _one(self) -> None:
        self.answers.append(await whole(self.port, self.request))

    @property
    def failed(self) -> int:
        """How many were not answered with 200 and a whole body."""
        return sum(not is_good(answer) for answer in self.answers) + len(self._open)

    def statuses(self) -> dict[int, int]:
        """Return how many answers had each status; 0: none at all."""
        found: dict[int, int] = {}
        for answer in self.answers:
            found[answer.status] = found.get(answer.status, 0) + 1
        return found


def is_good(answer: Answer) -> bool:
    """Whether a short request got its whole answer."""
    if answer.status != 200:
        return False
    with contextlib.suppress(ValueError):
        return bool(json.loads(answer.body)["choices"])
    return False


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the value that so many percent of the values do not exceed; None of none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))]
