"""Rules of router/wire/shortcut.py: only a read that is one chunk of the told form passes, and it passes whole."""

import asyncio
from collections.abc import Iterator

import pytest

from router.errors import BadResponse
from router.wire.answer import AnswerLimits
from router.wire.client_request import Origin, Request
from router.wire.connection import Connection
from router.wire.fetch import Fetch
from router.wire.shortcut import MANY, Shortcut
from tests.wire.memory import Line, Loop
from tests.wire.test_backend_machine import Lender

BEFORE, BEHIND = b'data: {"text":"', b'"}\n\n'


class Cut(Shortcut):
    """Lets events with a text pass that has no quotation mark."""

    def __init__(self) -> None:
        super().__init__(self, {b"usual"}, lambda: 0.0)
        self.got: list[bytes] = []
        self.asked: list[bytes] = []  # texts that are not usual
        self.looks = 0
        self.waiting: asyncio.Future[None] | None = None
        self.fault: Exception | None = None
        self.before, self.begin = BEFORE, len(BEFORE)
        self.behind, self.end = BEHIND + b"\r\n", -len(BEHIND) - 2

    def pipe(self, chunk: bytes) -> None:
        self.got.append(chunk)

    def is_fine(self, text: bytes) -> bool:
        self.asked.append(text)
        return b'"' not in text

    def look_back(self) -> asyncio.Future[None] | None:
        self.looks += 1
        self.texts = []
        self.gaps.clear()
        if self.fault is not None:
            raise self.fault
        return self.waiting


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


def event(text: bytes) -> bytes:
    return chunk(BEFORE + text + BEHIND)


class Stream:
    """A connection with an answer on it that has begun."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.cut = Cut()
        self.parsed: list[bytes] = []
        self.connection = Connection(Lender(), loop=loop, limits=AnswerLimits())
        self.line = Line(loop, self.connection)
        self.connection.connection_made(self.line)
        request = Request(
            origin=Origin("http", "127.0.0.1", 8000), streaming_callback=self.parsed.append, shortcut=self.cut
        )
        self.fetch = Fetch(request, b"", loop=loop, raise_error=False, max_body_size=0)
        self.connection.send(self.fetch)
        self.line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.line.send(chunk(b": hello\n\n"))
        self.parsed.clear()


@pytest.fixture
def stream() -> Iterator[Stream]:
    with Loop() as loop:
        it = Stream(loop)
        yield it
        it.fetch.cancel()
        loop.settle()
        assert loop.faults == []


@pytest.mark.parametrize("text", [b"usual", b"other", b"x" * 3000])
def test_a_chunk_of_the_told_form_passes_as_it_came(stream: Stream, text: bytes) -> None:
    stream.line.send(event(text))
    assert stream.cut.got == [event(text)]
    assert stream.cut.texts == [text]
    assert len(stream.cut.gaps) == 1
    assert stream.cut.asked == ([] if text == b"usual" else [text])
    assert stream.parsed == []


def test_a_chunk_is_cut_anew_where_pieces_tell_so(stream: Stream) -> None:
    stream.cut.pieces = (b"<", b"|", b">\r\n")
    stream.line.send(event(b"usual"))
    assert stream.cut.got == [chunk(b"<usual|usual>")]


@pytest.mark.parametrize(
    "content",
    [
        BEFORE + b'say \\"' + BEHIND,
        b" " + BEFORE + b"usual" + BEHIND,
        BEFORE + b"usual" + BEHIND + b" ",
        b"data: x\n\n",
    ],
)
def test_what_has_another_form_is_parsed(stream: Stream, content: bytes) -> None:
    stream.line.send(chunk(content))
    assert stream.parsed == [content]
    assert stream.cut.got == []


def test_two_chunks_in_one_read_are_parsed(stream: Stream) -> None:
    stream.line.send(event(b"usual") * 2)
    assert stream.parsed == [(BEFORE + b"usual" + BEHIND) * 2]
    assert stream.cut.got == []


@pytest.mark.parametrize("size", range(1, len(event(b"usual"))))
def test_a_chunk_that_comes_in_two_reads_is_parsed_and_the_next_one_passes(stream: Stream, size: int) -> None:
    whole = event(b"usual")
    stream.line.send(whole[:size])
    stream.line.send(whole[size:])
    assert b"".join(stream.parsed) == BEFORE + b"usual" + BEHIND
    assert stream.cut.got == []
    stream.line.send(whole)
    assert stream.cut.got == [whole]


@pytest.mark.parametrize("line", [b"0\r\n", b"1\r\n", b"fff\r\n", b"0018\r\n", b"?", b"", b"18\n", b"018\r\n"])
@pytest.mark.parametrize("size", [5, 5000])
def test_a_read_whose_size_line_is_another_does_not_pass(stream: Stream, line: bytes, size: int) -> None:
    """What does not fit would be the client's to make sense of: it could end the answer, and begin another."""
    stream.line.send(line + BEFORE + b"x" * size + BEHIND + b"\r\n")
    assert stream.cut.got == []
    if line in (b"?", b"", b"18\n"):
        assert isinstance(stream.fetch.exception(), BadResponse)


def test_nothing_passes_what_waits(stream: Stream) -> None:
    """Where the client takes no chunks, they are parsed, and who gets them may wait."""
    stream.cut.client = type("Busy", (), {"pipe": None})()
    stream.line.send(event(b"usual"))
    assert stream.parsed == [BEFORE + b"usual" + BEHIND]
    assert stream.cut.texts == []


def test_who_is_slow_is_waited_for(stream: Stream) -> None:
    class Slow:
        def pipe(self, data: bytes) -> None:
            self.pipe = None  # type: ignore[assignment, method-assign]

    stream.cut.client = Slow()
    stream.cut.waiting = stream.loop.create_future()
    stream.line.send(event(b"usual"))
    assert stream.cut.looks == 1
    assert stream.line.is_paused
    stream.cut.waiting.set_result(None)
    stream.loop.settle()
    assert not stream.line.is_paused


def test_now_and_then_it_looks_back(stream: Stream) -> None:
    for _ in range(3 * MANY):
        stream.line.send(event(b"usual"))
    assert stream.cut.looks == 3
    assert len(stream.cut.got) == 3 * MANY


def test_a_fault_on_looking_back_fails_the_fetch(stream: Stream) -> None:
    stream.cut.fault = ValueError("no")
    for _ in range(MANY):
        stream.line.send(event(b"usual"))
    assert stream.fetch.exception() is stream.cut.fault
    assert not stream.line.is_open


def test_it_ends_with_its_request(stream: Stream) -> None:
    stream.line.send(b"0\r\n\r\n")
    assert stream.fetch.done()
    stream.line.send(event(b"usual"))
    assert stream.cut.got == []
    assert not stream.line.is_open, "bytes that nobody asked for"
