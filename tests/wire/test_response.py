"""The writing half: framing, back-pressure, and answers that break."""

import asyncio

import pytest
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPOutputError,
    HTTPServerConnectionDelegate,
    ResponseStartLine,
)
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler

from router.wire.response import error_answer, serialised, status_line
from router.wire.server import ServerConnection, ServerLimits
from tests.wire.served import GET, Answer, Client, ask, on_uvloop, quiet, serving, until

GET_1_0 = b"GET / HTTP/1.0\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: test\r\n\r\n"


class Calling(HTTPServerConnectionDelegate):
    """Calls a function with the connection when a request is whole."""

    def __init__(self, function) -> None:
        self.function = function

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        outer = self

        class Message(HTTPMessageDelegate):
            def finish(self) -> None:
                outer.function(request_conn)

        return Message()


async def answer_to(raw: bytes, function) -> Answer:
    async with serving(Calling(function)) as served:
        return await ask(served.port, raw, head_only=raw.startswith(b"HEAD"))


def raw_answer(*chunks: bytes, lines: bytes = b"X-A: 1\r\n", first: bytes = b"", length: int | None = None):
    def function(connection: ServerConnection) -> None:
        connection.write_raw_head(200, "OK", lines, first, content_length=length)
        for chunk in chunks:
            connection.write_chunk(chunk)
        connection.finish()

    return function


@on_uvloop
async def test_a_body_of_unknown_length_is_chunked() -> None:
    answer = await answer_to(GET, raw_answer(b"two", b"", b"three" * 40000, first=b"one"))

    assert answer.headers == {b"x-a": b"1", b"transfer-encoding": b"chunked"}
    assert answer.body == b"onetwo" + b"three" * 40000


@on_uvloop
async def test_a_large_first_piece_is_framed_too() -> None:
    assert (await answer_to(GET, raw_answer(first=b"x" * 200000))).body == b"x" * 200000


@on_uvloop
async def test_a_declared_length_is_not_chunked() -> None:
    answer = await answer_to(GET, raw_answer(b"bc", lines=b"Content-Length: 3\r\n", first=b"a", length=3))

    assert answer.headers == {b"content-length": b"3"}
    assert answer.body == b"abc"


@on_uvloop
async def test_http_1_0_gets_a_body_that_ends_with_the_connection() -> None:
    answer = await answer_to(GET_1_0, raw_answer(b"two", first=b"one"))

    assert answer.headers == {b"x-a": b"1", b"connection": b"close"}
    assert answer.body == b"onetwo"


@pytest.mark.parametrize("length", [None, 6])
@on_uvloop
async def test_head_gets_no_body(length: int | None) -> None:
    lines = b"" if length is None else b"Content-Length: 6\r\n"
    async with serving(Calling(raw_answer(b"two", lines=lines, first=b"one", length=length))) as served:
        client = await Client.to(served.port)
        for _ in range(2):
            await client.send(HEAD)
            assert (await client.answer(head_only=True)).headers.get(b"content-length") == (b"6" if length else None)
        await client.close()


@pytest.mark.parametrize("status", [204, 304])
@on_uvloop
async def test_statuses_without_a_body_have_none(status: int) -> None:
    def function(connection: ServerConnection) -> None:
        connection.write_raw_head(status, "x", b"", b"dropped")
        connection.write_chunk(b"dropped")
        connection.finish()

    async with serving(Calling(function)) as served:
        client = await Client.to(served.port)
        for _ in range(2):
            await client.send(GET)
            answer = await client.answer()
            assert (answer.status, answer.headers) == (status, {})
        await client.close()


@on_uvloop
async def test_connection_and_framing_headers_are_ours() -> None:
    def function(connection: ServerConnection) -> None:
        headers = HTTPHeaders({"Connection": "keep-alive, Upgrade", "Transfer-Encoding": "gzip", "X-A": "1"})
        connection.write_headers(ResponseStartLine("", 200, "Fine"), headers, b"body")
        connection.finish()

    answer = await answer_to(GET, function)
    assert answer.headers == {b"x-a": b"1", b"transfer-encoding": b"chunked"}
    assert answer.body == b"body"


@on_uvloop
async def test_an_application_may_close_the_connection() -> None:
    def function(connection: ServerConnection) -> None:
        headers = HTTPHeaders({"Connection": "close", "Content-Length": "0"})
        connection.write_headers(ResponseStartLine("", 200, "OK"), headers)
        connection.finish()

    async with serving(Calling(function)) as served:
        client = await Client.to(served.port)
        await client.send(GET)
        assert (await client.answer()).headers[b"connection"] == b"close"
        assert await client.is_closed()


@pytest.mark.parametrize("value", ["a\r\nX: b", "a\nb", "a\rb"])
def test_a_header_cannot_add_another_line(value: str) -> None:
    headers = HTTPHeaders({"Fine": "1"})
    headers._as_list["Bad"] = [value]  # Tornado's own check would refuse it
    with pytest.raises(ValueError, match="line break"):
        serialised(headers)
    with pytest.raises(ValueError, match="line break"):
        status_line(200, value)


@pytest.mark.parametrize("length", ["", "ten", "+10", "1_0", "-1", "1.0", "\u0661"])
def test_a_length_is_digits_and_nothing_else(length: str) -> None:
    """A client that reads another number into it than the next proxy takes the rest for another answer."""
    with pytest.raises(ValueError, match="Content-Length"):
        serialised(HTTPHeaders({"Content-Length": length}))


def test_an_error_answer_is_whole() -> None:
    assert error_answer(400, b"Content-Type: text/plain\r\n", b"no", now=0) == (
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n"
        b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: close\r\n\r\nno"
    )


def longer(connection: ServerConnection) -> None:
    connection.write_raw_head(200, "OK", b"Content-Length: 3\r\n", b"ab", content_length=3)
    connection.write_chunk(b"cd")


def shorter(connection: ServerConnection) -> None:
    connection.write_raw_head(200, "OK", b"Content-Length: 3\r\n", b"ab", content_length=3)
    connection.finish()


def headless(connection: ServerConnection) -> None:
    connection.write_chunk(b"ab")


def nothing(connection: ServerConnection) -> None:
    connection.finish()


@pytest.mark.parametrize("function", [longer, shorter, headless, nothing])
@on_uvloop
async def test_an_answer_that_breaks_its_word_raises_and_never_looks_whole(function) -> None:
    raised = []

    def catching(connection: ServerConnection) -> None:
        try:
            function(connection)
        except HTTPOutputError as error:
            raised.append(error)

    async with serving(Calling(catching)) as served:
        client = await Client.to(served.port)
        await client.send(GET)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.answer()
        assert len(raised) == 1


@on_uvloop
async def test_an_informational_status_is_no_answer() -> None:
    raised = []

    def function(connection: ServerConnection) -> None:
        try:
            connection.write_raw_head(101, "Switching Protocols", b"", b"")
        except ValueError as error:
            raised.append(error)

    async with serving(Calling(function)) as served:
        client = await Client.to(served.port)
        await client.send(GET)
        assert await client.is_closed()
        assert raised


@on_uvloop
async def test_writes_after_the_end_fail_without_harm() -> None:
    late = []

    def function(connection: ServerConnection) -> None:
        raw_answer(first=b"x")(connection)
        late.extend([connection.write(b"late"), connection.write_chunk(b"late")])
        late.append(connection.write_raw_head(200, "late", b"", b""))
        connection.finish()

    async with serving(Calling(function)) as served:
        client = await Client.to(served.port)
        for _ in range(2):
            await client.send(GET)
            assert (await client.answer()).body == b"x"
        for future in late:
            with pytest.raises(StreamClosedError):
                await future
        await client.close()


class Flood(RequestHandler):
    """Writes until it is told to stop, awaiting flush()."""

    async def get(self) -> None:
        served = self.settings["served"]
        served.events.append(self)
        self.sent = 0
        self.ended = ""
        try:
            while self.sent < int(self.get_argument("size", str(1 << 40))):
                self.write(b"x" * 65536)
                await self.flush()
                self.sent += 65536
        except StreamClosedError:
            self.ended = "closed"

    def on_connection_close(self) -> None:
        self.left = True


@quiet("tornado.general")
@quiet("tornado.application")
@on_uvloop
async def test_flush_waits_for_a_slow_reader() -> None:
    """Memory stays bounded: beside the kernel's buffers one piece waits, not the whole answer."""
    async with serving(Flood) as served:
        client = await Client.to(served.port, limit=1024)
        await client.send(GET)
        await until(lambda: served.events)
        handler = served.events[0]
        (connection,) = served.server._service.connections
        await until(lambda: connection._congested)
        await asyncio.sleep(0.1)
        sent = handler.sent
        assert connection._congested
        assert 0 < sent < 32 << 20
        assert connection._transport.get_write_buffer_size() < 256 * 1024
        while handler.sent <= sent:
            await client.reader.read(1 << 20)
        client.reset()
        await until(lambda: handler.ended == "closed")
        assert handler.left


@on_uvloop
async def test_a_slow_reader_that_goes_on_gets_everything() -> None:
    size = 8 << 20
    limits = ServerLimits(write_stall_timeout=0.5)
    async with serving(Flood, limits=limits) as served:
        client = await Client.to(served.port)
        await client.send(GET.replace(b"/ ", b"/?size=%d " % size))
        await asyncio.sleep(0.1)
        assert len((await client.answer()).body) == size
        await client.close()


@quiet("tornado.general")
@quiet("tornado.application")
@on_uvloop
async def test_a_client_that_takes_nothing_is_aborted_after_the_write_stall_time() -> None:
    async with serving(Flood, limits=ServerLimits(write_stall_timeout=0.2)) as served:
        client = await Client.to(served.port, limit=1024)
        await client.send(GET)
        await until(lambda: served.events and getattr(served.events[0], "left", False))
        await until(lambda: served.events[0].ended == "closed")
        assert served.server.connections == 0
        client.reset()


@on_uvloop
async def test_write_chunk_says_when_to_wait_and_a_cancelled_waiter_harms_nobody() -> None:
    waited = []

    async def flood(connection: ServerConnection) -> None:
        connection.write_raw_head(200, "OK", b"", b"")
        while (flow := connection.write_chunk(b"x" * 65536)) is None:
            pass
        other = connection.write_chunk(b"y")
        other.cancel()
        waited.append(flow)
        await flow
        connection.write_chunk(b"z")
        connection.finish()
        waited.append(True)

    tasks = []
    async with serving(Calling(lambda connection: tasks.append(asyncio.ensure_future(flood(connection))))) as served:
        client = await Client.to(served.port, limit=1024)
        await client.send(GET)
        await until(lambda: waited)
        await asyncio.sleep(0.05)
        assert not waited[0].done()
        body = (await client.answer()).body
        assert body.count(b"y") == 1
        assert body.endswith(b"z")
        await tasks[0]
        await client.close()
