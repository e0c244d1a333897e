"""One connection: keep-alive, limits and their statuses, times, and clients that leave."""

import asyncio
import gc
import random
import socket
import weakref
from contextlib import suppress

import pytest
from tornado.web import RequestHandler, stream_request_body

from router.wire.limits import HELD_BYTES, PIPELINED_BYTES, READ_SIZE
from router.wire.request_parser import SLICE, RequestParser
from router.wire.server import ServerLimits
from router.wire.service import Refused
from tests.wire.served import (
    GET,
    HOST,
    Client,
    Served,
    ask,
    is_collected,
    on_uvloop,
    quiet,
    serving,
    until,
)

POST = b"POST / HTTP/1.1\r\n" + HOST
BUSY = b"x" * 200 * 1024  # pipelined bytes beyond what is held


class Ok(RequestHandler):
    """Answers at once."""

    def get(self) -> None:
        self.write("ok")

    post = get


@stream_request_body
class OkStreamed(Ok):
    """The same, reading as it comes."""

    def data_received(self, chunk: bytes) -> None:
        pass


class Waiting(RequestHandler):
    """Waits for ever, or sends an event now and then; tells when its client leaves."""

    async def get(self) -> None:
        self.settings["served"].events.append(self)
        self.left = asyncio.Event()
        if self.request.path == "/stream":
            self.write("data: 1\n\n")
            await self.flush()
        await self.left.wait()
        self.settings["served"].events.append("left")

    def on_connection_close(self) -> None:
        self.left.set()


@on_uvloop
async def test_a_connection_serves_many_requests() -> None:
    async with serving(Ok) as served:
        client = await Client.to(served.port)
        for _ in range(3):
            await client.send(GET)
            answer = await client.answer()
            assert b"connection" not in answer.headers
        assert served.server.connections == 1
        await client.close()


@on_uvloop
async def test_nodelay_is_set() -> None:
    """Else p99 between tokens is 41 ms: Nagle against delayed ACK."""
    async with serving(Ok) as served:
        client = await Client.to(served.port)
        await until(lambda: served.server.connections)
        (connection,) = served.server._service.connections
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await client.close()


@on_uvloop
async def test_a_client_that_asks_to_close_is_closed() -> None:
    async with serving(Ok) as served:
        client = await Client.to(served.port)
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert (await client.answer()).headers[b"connection"] == b"close"
        assert await client.is_closed()


@on_uvloop
async def test_http_1_0_is_closed_unless_it_asks_otherwise() -> None:
    async with serving(Ok) as served:
        client = await Client.to(served.port)
        for _ in range(2):
            await client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert (await client.answer()).headers[b"connection"] == b"keep-alive"
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await client.answer()).headers[b"connection"] == b"close"
        assert await client.is_closed()


LIMITS = ServerLimits(start_line=200, header_bytes=500, header_count=10, body=1000)
REFUSED = {
    "400 garbage": (b"\0\1\2\r\n\r\n", 400),
    "400 no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "413 length": (POST + b"Content-Length: 1001\r\n\r\n", 413),
    "413 chunked": (POST + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"a" * 1001, 413),
    "413 chunked, streamed in": (POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"64\r\n" + b"a" * 100, 413),
    "413 expected": (POST + b"Expect: 100-continue\r\nContent-Length: 1001\r\n\r\n", 413),
    "414": (b"GET /" + b"a" * 200 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "417": (POST + b"Expect: tea\r\nContent-Length: 1\r\n\r\n", 417),
    "431 bytes": (POST + b"X: " + b"a" * 500 + b"\r\n\r\n", 431),
    "431 count": (POST + b"X: a\r\n" * 11 + b"\r\n", 431),
    "431 endless": (POST + b"X: " + b"a" * 100_000, 431),
    "501 coding": (POST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
    "501 method": (b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "505": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
}


@pytest.mark.parametrize("handler", [Ok, OkStreamed])
@pytest.mark.parametrize("name", REFUSED)
@quiet("tornado.general")
@on_uvloop
async def test_what_is_refused_gets_its_status_and_the_end(name: str, handler: type[RequestHandler]) -> None:
    raw, status = REFUSED[name]

    def render(refused: Refused) -> tuple[bytes, bytes]:
        return b"Content-Type: application/json\r\n", b'{"status": %d}' % refused.status

    async with serving(handler, limits=LIMITS, render_error=render) as served:
        client = await Client.to(served.port)
        await client.send(raw)
        if name == "413 chunked, streamed in":
            for _ in range(10):
                await asyncio.sleep(0.002)
                await client.send(b"\r\n64\r\n" + b"a" * 100)
        answer = await client.answer()
        assert answer.status == status
        assert answer.headers[b"connection"] == b"close"
        assert answer.headers[b"content-type"] == b"application/json"
        assert b"date" in answer.headers
        assert answer.body == b'{"status": %d}' % status
        assert await client.is_closed()
        await client.close()
        await until(lambda: not served.server.connections)


@quiet("tornado.general")
@on_uvloop
async def test_a_refusal_reaches_a_client_that_is_still_sending() -> None:
    async with serving(Ok, limits=LIMITS) as served:
        client = await Client.to(served.port)
        await client.send(POST + b"Content-Length: 8000000\r\n\r\n" + bytes(8_000_000))
        assert (await client.answer()).status == 413
        await client.close()


@on_uvloop
async def test_a_head_must_come_in_time() -> None:
    async with serving(Ok, limits=ServerLimits(headers_timeout=0.1)) as served:
        client = await Client.to(served.port)
        await client.send(GET)
        assert (await client.answer()).status == 200
        for byte in GET[:-1]:
            await client.send(bytes([byte]))
            await asyncio.sleep(0.01)
            if client.reader._buffer:
                break
        answer = await client.answer()
        assert (answer.status, answer.headers[b"connection"]) == (408, b"close")
        await client.close()


@pytest.mark.parametrize("handler", [Ok, OkStreamed])
@quiet("tornado.general")
@on_uvloop
async def test_a_body_must_come_in_time(handler: type[RequestHandler]) -> None:
    async with serving(handler, limits=ServerLimits(body_timeout=0.15)) as served:
        client = await Client.to(served.port)
        await client.send(POST + b"Content-Length: 1000\r\n\r\n")
        for _ in range(100):
            await client.send(b"a")
            await asyncio.sleep(0.01)
            if client.reader._buffer:
                break
        assert (await client.answer()).status == 408
        await client.close()


@on_uvloop
async def test_a_body_that_comes_slowly_but_steadily_earns_time() -> None:
    async with serving(Ok, limits=ServerLimits(body_timeout=0.1)) as served:
        client = await Client.to(served.port)
        await client.send(POST + b"Content-Length: 300000\r\n\r\n")
        for _ in range(30):
            await client.send(b"a" * 10000)
            await asyncio.sleep(0.01)
        assert (await client.answer()).status == 200
        await client.close()


@stream_request_body
class Pieces(RequestHandler):
    """Answers with what came, and notes in how many pieces."""

    def prepare(self) -> None:
        self.pieces: list[bytes] = []

    def data_received(self, chunk: bytes) -> None:
        assert type(chunk) is bytes
        self.pieces.append(chunk)

    def post(self) -> None:
        self.settings["served"].events.append(len(self.pieces))
        self.write(b"".join(self.pieces))


LONG = bytes(range(251)) * 800  # 200 KB, of which no part is like the one before it
LONG_POST = POST + b"Content-Length: %d\r\n\r\n" % len(LONG)


@pytest.mark.parametrize("cut", [1, len(LONG_POST) - 2, len(LONG_POST), len(LONG_POST) + 1, 20_000, 100_000, 180_000])
@on_uvloop
async def test_a_long_body_stays_what_it_is_wherever_it_is_cut_and_so_does_what_follows(cut: int) -> None:
    async with serving(Pieces) as served:
        client = await Client.to(served.port)
        raw = LONG_POST + LONG + LONG_POST + LONG + POST + b"Content-Length: 2\r\n\r\nok"
        await client.send(raw[:cut])
        await asyncio.sleep(0.02)
        await client.send(raw[cut:])
        assert (await client.answer()).body == LONG
        assert (await client.answer()).body == LONG
        assert (await client.answer()).body == b"ok"
        assert served.events[-1] == 1
        await client.close()


@on_uvloop
async def test_a_long_body_that_comes_at_once_is_delivered_in_one_piece() -> None:
    async with serving(Pieces) as served:
        client = await Client.to(served.port)
        await client.send(LONG_POST + LONG)
        assert (await client.answer()).body == LONG
        assert served.events == [1]
        await client.close()


@on_uvloop
async def test_the_end_of_a_head_is_searched_once_for_each_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searched for each slice, a flood of empty lines cost half a second for each read."""
    searched: list[int] = []
    search = RequestParser.first_slice

    def counting(parser: RequestParser, data: memoryview) -> int:
        searched.append(len(data))
        return search(parser, data)

    monkeypatch.setattr(RequestParser, "first_slice", counting)
    async with serving(Ok) as served:
        client = await Client.to(served.port)
        await client.send(b"\r\n" * 100_000 + GET)
        assert (await client.answer()).status == 200
        assert searched
        assert len(searched) <= 200_000 // SLICE + 1
        await client.close()


class Later(RequestHandler):
    """Answers in a later turn of the loop, and tells what its connection looks like meanwhile."""

    async def get(self) -> None:
        self.settings["served"].events.append(repr(self.request.connection).partition("held=")[2])
        await asyncio.sleep(0)
        self.write("ok")


@on_uvloop
async def test_what_is_held_behind_many_answers_is_taken_up_by_slices_and_not_for_each() -> None:
    """Each time what remains is copied: taken up for each request, a megabyte of them cost a copy of it each."""
    count = 2000
    async with serving(Later) as served:
        client = await Client.to(served.port)
        await client.send(GET * count)
        for _ in range(count):
            assert (await client.answer()).body == b"ok"
        assert len(served.events) == count
        assert len(set(served.events)) < count // 10
        await client.close()


def _rooms(served: Served) -> list[int]:
    return [len(each._parser.room or b"") for each in served.server._service.connections]


@on_uvloop
async def test_once_an_early_answer_has_ended_a_long_body_what_comes_is_read_away_by_whole_reads() -> None:
    """Read to where the body would stay, the last byte of its room would be filled again and again."""

    @stream_request_body
    class Early(RequestHandler):
        async def prepare(self) -> None:
            self.settings["served"].events.append(self)

        def data_received(self, chunk: bytes) -> None:
            raise AssertionError("the body has not come")

    async with serving(Early) as served:
        client = await Client.to(served.port)
        await client.send(LONG_POST + LONG[:-1])
        await until(lambda: _rooms(served) == [1])
        (connection,) = served.server._service.connections
        room = weakref.ref(connection._parser._whole)  # type: ignore[type-var]
        handler = served.events[0]
        handler.set_status(413)
        handler.finish()
        assert (await client.answer()).status == 413
        assert len(connection.get_buffer(-1)) == READ_SIZE
        assert room() is None
        await client.send(bytes(3_000_000))  # is taken
        await client.close()


@pytest.mark.parametrize("way", ["FIN", "RST", "half-close"])
@on_uvloop
async def test_a_client_that_leaves_in_the_middle_of_a_long_body_is_noticed(way: str) -> None:
    async with serving(Pieces) as served:
        client = await Client.to(served.port)
        await client.send(LONG_POST + LONG[:150_000])
        await until(lambda: any(each._parser.room is not None for each in served.server._service.connections))
        WAYS[way](client)
        await until(lambda: not served.server.connections)
        assert served.events == []
        await client.close()


@quiet("tornado.general")
@on_uvloop
async def test_a_long_body_must_come_in_time_too() -> None:
    async with serving(Pieces, limits=ServerLimits(body_timeout=0.15)) as served:
        client = await Client.to(served.port)
        await client.send(LONG_POST + LONG[:60_000])  # earns seven seconds
        for number in range(1000):
            await client.send(LONG[number : number + 1])
            await asyncio.sleep(0.01)
            if client.reader._buffer:
                break
        assert (await client.answer()).status == 408
        await client.close()


@on_uvloop
async def test_the_time_that_the_application_takes_is_not_the_clients() -> None:
    @stream_request_body
    class Slow(RequestHandler):
        async def prepare(self) -> None:
            await asyncio.sleep(0.2)

        async def data_received(self, chunk: bytes) -> None:
            await asyncio.sleep(0.2)

        async def post(self) -> None:
            await asyncio.sleep(0.2)
            self.write("ok")

    async with serving(Slow, limits=ServerLimits(body_timeout=0.1, headers_timeout=0.1, idle_timeout=0.1)) as served:
        client = await Client.to(served.port)
        await client.send(POST + b"Content-Length: 2\r\n\r\na")
        await asyncio.sleep(0.25)
        await client.send(b"b")
        assert (await client.answer()).status == 200
        await client.close()


@on_uvloop
async def test_idle_connections_are_closed_without_a_word() -> None:
    async with serving(Ok, limits=ServerLimits(idle_timeout=0.1)) as served:
        fresh = await Client.to(served.port)
        used = await Client.to(served.port)
        await used.send(GET)
        assert (await used.answer()).status == 200
        assert await fresh.is_closed()
        assert await used.is_closed()


@on_uvloop
async def test_timeouts_can_be_switched_off() -> None:
    off = ServerLimits(headers_timeout=None, body_timeout=None, idle_timeout=None, write_stall_timeout=None)
    async with serving(Ok, limits=off) as served:
        client = await Client.to(served.port)
        for piece in (GET[:5], GET[5:] + POST, b"Content-Length: 1\r\n\r\n"):
            await client.send(piece)
            await asyncio.sleep(0.02)
        (connection,) = served.server._service.connections
        assert connection._alarms._timer is None
        await client.send(b"a")
        assert (await client.answer()).status == 200
        assert (await client.answer()).status == 200
        await client.close()


WAYS = {
    "FIN": lambda client: client.writer.close(),
    "RST": lambda client: (
        client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"),
        client.reset(),
    ),
    "half-close": lambda client: client.writer.write_eof(),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("waiting", [b"", GET, BUSY], ids=["nothing waiting", "a request waiting", "200 KiB waiting"])
@pytest.mark.parametrize("path", [b"/", b"/stream"], ids=["before the first byte", "mid-stream"])
@on_uvloop
async def test_a_client_that_leaves_is_noticed(way: str, waiting: bytes, path: bytes) -> None:
    async with serving(Waiting) as served:
        client = await Client.to(served.port)
        await client.send(GET.replace(b"/ ", path + b" ", 1) + waiting)
        await until(lambda: served.events)
        await asyncio.sleep(0.1)
        assert len(served.events) == 1
        WAYS[way](client)
        assert await until(lambda: len(served.events) > 1) < 0.5
        assert len(served.events) == 2
        await until(lambda: not served.server.connections)
        await client.close()


@pytest.mark.parametrize("way", WAYS)
@on_uvloop
async def test_an_answer_that_ends_while_the_client_leaves_harms_nothing(way: str) -> None:
    """The handler writes in the very iteration of the loop in which the connection ends."""
    ended = []

    class Racing(RequestHandler):
        async def get(self) -> None:
            connection = self.request.connection
            self.settings["served"].events.append(self)
            self.write("x")
            await self.flush()
            while connection._transport is not None and not connection._transport.is_closing():
                await asyncio.sleep(0)
            self.write("y" * 100_000)
            await asyncio.gather(self.flush(), return_exceptions=True)
            self.finish("z")
            ended.append(True)

    async with serving(Racing) as served:
        client = await Client.to(served.port)
        await client.send(GET + GET)
        await until(lambda: served.events)
        WAYS[way](client)
        await until(lambda: ended)
        await until(lambda: not served.server.connections)
        await client.close()


@on_uvloop
async def test_requests_beyond_what_can_be_held_are_dropped_and_the_answer_is_the_last() -> None:
    """Reading goes on, so that leaving is noticed; memory stays bounded."""
    many = GET * (3 * PIPELINED_BYTES // len(GET))
    async with serving(Waiting) as served:
        client = await Client.to(served.port)
        client.writer.write(GET + many)
        await until(lambda: served.events)
        (connection,) = served.server._service.connections
        await until(lambda: connection._is_dropping)
        assert len(connection._held) == 0
        served.events[0].left.set()
        assert (await client.answer()).headers[b"connection"] == b"close"
        assert await client.is_closed()
        await client.close()

        client = await Client.to(served.port)
        client.writer.write(GET + many)
        await until(lambda: len(served.events) == 3)
        client.reset()
        await until(lambda: len(served.events) == 4)


@on_uvloop
async def test_where_memory_is_short_little_is_held_of_requests_sent_ahead() -> None:
    async with serving(Waiting) as served:
        served.server._service.is_short = lambda: is_short
        is_short = False
        client = await Client.to(served.port)
        await client.send(GET)
        await until(lambda: served.events)
        (connection,) = served.server._service.connections
        await client.send(GET * (2 * HELD_BYTES // len(GET)))
        await until(lambda: len(connection._held) > HELD_BYTES)
        assert not connection._is_dropping
        is_short = True
        await client.send(GET)
        await until(lambda: connection._is_dropping)
        assert len(connection._held) == 0
        served.events[0].left.set()
        assert (await client.answer()).headers[b"connection"] == b"close"
        assert await client.is_closed()
        await client.close()


@stream_request_body
class Uploading(RequestHandler):
    """Takes its time in prepare() or in data_received()."""

    async def prepare(self) -> None:
        self.events = self.settings["served"].events
        self.events.append("prepare")
        if self.request.path == "/prepare":
            await asyncio.sleep(0.6)

    async def data_received(self, chunk: bytes) -> None:
        self.events.append("data")
        if self.request.path == "/data":
            await asyncio.sleep(0.6)

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self.events.append("left")

    def post(self) -> None:
        self.events.append("post")


@pytest.mark.parametrize("path", [b"/", b"/prepare", b"/data"])
@pytest.mark.parametrize("body", [b"", b"x" * 1000, BUSY], ids=["no body", "some", "more than is held"])
@quiet("tornado.application")
@on_uvloop
async def test_a_client_that_leaves_within_its_request_is_told_once_to_the_handler(path: bytes, body: bytes) -> None:
    async with serving(Uploading) as served:
        client = await Client.to(served.port)
        await client.send(POST.replace(b"/ ", path + b" ", 1) + b"Content-Length: 1000000\r\n\r\n" + body)
        await until(lambda: served.events)
        await asyncio.sleep(0.02)
        client.reset()
        await until(lambda: "left" in served.events)
        await until(lambda: not served.server.connections)
        await asyncio.sleep(0.01)
        assert served.events.count("left") == 1
        assert "post" not in served.events


@on_uvloop
async def test_a_plain_handler_is_not_bothered_by_a_request_that_never_ended() -> None:
    async with serving(Waiting) as served:
        client = await Client.to(served.port)
        await client.send(POST + b"Content-Length: 10\r\n\r\nabc")
        await asyncio.sleep(0.02)
        client.reset()
        await until(lambda: not served.server.connections)
        assert not served.events


@on_uvloop
async def test_waiting_requests_are_read_on_after_the_answer() -> None:
    """Reading had stopped; it must start again."""

    class Slow(RequestHandler):
        async def post(self) -> None:
            await asyncio.sleep(0.05)
            self.write(str(len(self.request.body)))

    async with serving(Slow) as served:
        client = await Client.to(served.port)
        one = POST + b"Content-Length: 300000\r\n\r\n" + bytes(300000)
        client.writer.write(one * 3)
        for _ in range(3):
            assert (await client.answer()).body == b"300000"
        await client.close()


@on_uvloop
async def test_an_exchange_leaves_nothing_behind() -> None:
    kept = []

    class Kept(Ok):
        def initialize(self) -> None:
            kept.append(weakref.ref(self))

    async with serving(Kept) as served:
        client = await Client.to(served.port)
        await client.send(GET)
        await client.answer()
        await asyncio.sleep(0)
        assert is_collected(kept[0]), "while the connection stays open"
        await client.send(GET)
        await client.answer()
        (connection,) = served.server._service.connections
        reference = weakref.ref(connection)
        del connection
        await client.close()
        await until(lambda: not served.server.connections)
        await asyncio.sleep(0)
        assert is_collected(kept[1])
        assert is_collected(reference)


@on_uvloop
async def test_a_closed_connection_leaves_no_timer_no_task_and_no_cycle() -> None:
    limits = ServerLimits(idle_timeout=3600, headers_timeout=3600, body_timeout=3600)
    async with serving(Ok, limits=limits) as served:
        before = asyncio.all_tasks()
        gc.collect()
        gc.disable()
        try:
            for raw in (GET, GET[:10], POST + b"Content-Length: 9\r\n\r\nabc", GET + BUSY, b"", b"\0\0\r\n\r\n"):
                client = await Client.to(served.port)
                await client.send(raw)
                await until(lambda: served.server.connections)
                await asyncio.sleep(0.02)
                (connection,) = served.server._service.connections
                alarms = connection._alarms
                reference = weakref.ref(connection)
                del connection
                client.reset()
                await until(lambda: not served.server.connections)
                await asyncio.sleep(0.005)
                assert alarms._timer is None, raw
                assert reference() is None, raw
        finally:
            gc.enable()
        assert asyncio.all_tasks() <= before


@pytest.mark.row(41)
@on_uvloop
async def test_too_many_connections_are_reset() -> None:
    async with serving(Ok, limits=ServerLimits(connections=2)) as served:
        kept = [await Client.to(served.port) for _ in range(2)]
        await until(lambda: served.server.connections == 2)
        assert await (await Client.to(served.port)).is_closed()
        await kept[0].send(GET)
        assert (await kept[0].answer()).status == 200
        await kept[0].close()
        await until(lambda: served.server.connections == 1)
        assert (await ask(served.port, GET)).status == 200
        await kept[1].close()


@on_uvloop
async def test_a_closing_answer_is_given_time_to_be_read() -> None:
    """Closing behind a large answer must not cut it for a slow reader."""

    class Large(RequestHandler):
        def get(self) -> None:
            self.set_header("Connection", "close")
            self.write(b"x" * (16 << 20))

    async with serving(Large) as served:
        client = await Client.to(served.port, limit=1024)
        await client.send(GET)
        await asyncio.sleep(0.2)
        assert len((await client.answer()).body) == 16 << 20
        await client.close()


@on_uvloop
async def test_an_answer_that_nobody_reads_does_not_keep_a_closed_connection() -> None:
    class Large(RequestHandler):
        def get(self) -> None:
            self.write(b"x" * (32 << 20))

    async with serving(Large, limits=ServerLimits(write_stall_timeout=0.1, idle_timeout=0.1)) as served:
        client = await Client.to(served.port, limit=1024)
        await client.send(GET)
        await asyncio.sleep(0.05)
        assert served.server.connections == 1
        await until(lambda: not served.server.connections)
        client.reset()


@on_uvloop
async def test_repr_shows_what_a_connection_does() -> None:
    async with serving(Waiting) as served:
        client = await Client.to(served.port)
        await client.send(GET)
        await until(lambda: served.events)
        (connection,) = served.server._service.connections
        assert repr(connection) == "<ServerConnection 127.0.0.1 ANSWER GET / held=0>"
        await client.close()


def confused(rng: random.Random) -> type[RequestHandler]:
    """A handler that does at random what handlers may do, and some things that they should not."""

    @stream_request_body
    class Confused(RequestHandler):
        async def prepare(self) -> None:
            await asyncio.sleep(rng.choice([0, 0.003]))
            if rng.random() < 0.1:
                self.finish("early")

        def data_received(self, chunk: bytes):
            kind = rng.random()
            if kind < 0.1:
                raise ValueError("confused")
            if kind < 0.2 and not self._finished:
                self.finish("in between")
            return asyncio.sleep(0.002) if kind < 0.5 else None

        async def get(self) -> None:
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(rng.choice([0, 0.003]))
                self.write(b"x" * rng.choice([1, 10, 70_000]))
                flow = self.flush()
                if rng.random() < 0.5:
                    await flow

        post = options = get

    return Confused


@pytest.mark.parametrize("seed", range(3))
@quiet("tornado.general")
@quiet("tornado.application")
@quiet("router.wire.delivery")
@on_uvloop
async def test_whatever_clients_and_handlers_do_nothing_is_left_and_nothing_escapes(seed: int) -> None:
    rng = random.Random(seed)
    escaped: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: escaped.append(context))
    limits = ServerLimits(body=5000, start_line=300, headers_timeout=0.05, body_timeout=0.05, idle_timeout=0.05)
    parts = [
        GET,
        GET.replace(b"1.1", b"1.0"),
        POST + b"Content-Length: 5\r\n\r\nhello",
        POST + b"Transfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n",
        POST + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\n.",
        POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
    ]

    async def visit(port: int) -> None:
        raw = b"".join(rng.choices(parts, k=rng.randrange(1, 6)))
        if rng.random() < 0.5:
            at = rng.randrange(len(raw))
            raw = raw[:at] + rng.randbytes(rng.randrange(3)) + raw[at + rng.randrange(3) :]
        client = await Client.to(port)
        while raw:
            size = rng.choice([1, 5, 50, 5000])
            client.writer.write(raw[:size])
            raw = raw[size:]
            await asyncio.sleep(rng.choice([0, 0, 0, 0.002]))
        leaves = rng.choice(["FIN", "RST", "half-close", "stays", "stays"])
        if leaves != "stays":
            WAYS[leaves](client)
        with suppress(OSError):
            await asyncio.wait_for(client.reader.read(), 5)
        client.reset()

    async with serving(confused(rng), limits=limits) as served:
        before = asyncio.all_tasks()
        for _ in range(4):
            await asyncio.gather(*(visit(served.port) for _ in range(40)), return_exceptions=True)
        await until(lambda: not served.server.connections)
        await until(lambda: asyncio.all_tasks() <= before)
        assert escaped == []
