"""Tornado's own ways of using a connection, which must work unchanged."""

import asyncio
import json
from collections.abc import Awaitable

import pytest
from tornado import gen
from tornado.httputil import HTTPInputError, HTTPMessageDelegate, HTTPServerConnectionDelegate
from tornado.web import HTTPError, RequestHandler, stream_request_body

from tests.wire.served import GET, HOST, Client, ask, on_uvloop, quiet, serving, until

POST = b"POST / HTTP/1.1\r\n" + HOST


class Plain(RequestHandler):
    """Echoes what it got."""

    async def prepare(self) -> None:
        await asyncio.sleep(0)

    def get(self) -> None:
        self.write({"uri": self.request.uri, "arg": self.get_argument("a", ""), "ip": self.request.remote_ip})

    head = get

    def post(self) -> None:
        self.set_header("X-Type", self.request.headers["content-type"])
        self.add_header("Set-Cookie", "a=1")
        self.add_header("Set-Cookie", "b=2")
        self.write(self.request.body)


@on_uvloop
async def test_a_plain_handler_answers() -> None:
    async with serving(Plain) as served:
        answer = await ask(served.port, GET.replace(b"/ ", b"/x?a=%C3%A9 "))
        assert answer.status == 200
        assert json.loads(answer.body) == {"uri": "/x?a=%C3%A9", "arg": "é", "ip": "127.0.0.1"}

        answer = await ask(served.port, POST + b"Content-Type: t/x\r\nContent-Length: 5\r\n\r\nhello")
        assert answer.body == b"hello"
        assert answer.headers[b"x-type"] == b"t/x"

        answer = await ask(served.port, GET.replace(b"GET", b"HEAD"), head_only=True)
        assert int(answer.headers[b"content-length"]) > 0

        assert (await ask(served.port, GET.replace(b"GET", b"TRACE"))).status == 405


@on_uvloop
async def test_a_chunked_body_with_extensions_and_trailers_is_whole() -> None:
    raw = POST + b"Content-Type: a\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nX-T: 1\r\n\r\n"
    async with serving(Plain) as served:
        assert (await ask(served.port, raw)).body == b"hello"


@on_uvloop
async def test_a_request_split_at_every_byte_gets_the_same_answer() -> None:
    raw = POST + b"Content-Type: t\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
    async with serving(Plain) as served:
        client = await Client.to(served.port)
        for i in range(1, len(raw)):
            await client.send(raw[:i])
            await asyncio.sleep(0.001)
            await client.send(raw[i:])
            assert (await client.answer()).body == b"hello", i
        await client.close()


@on_uvloop
async def test_a_body_in_many_reads_is_whole() -> None:
    body = bytes(range(256)) * 16384
    async with serving(Plain) as served:
        answer = await ask(served.port, POST + b"Content-Type: t\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        assert answer.body == body


@stream_request_body
class Streamed(RequestHandler):
    """Tells what happens in which order; both prepare() and data_received() take their time."""

    async def prepare(self) -> None:
        self.log = self.settings["served"].events
        self.log.append("prepare")
        await asyncio.sleep(0.02)
        self.log.append("prepared")

    async def data_received(self, chunk: bytes) -> None:
        self.log.append(("data", chunk))
        await asyncio.sleep(0.01)
        self.log.append("taken")

    def post(self) -> None:
        self.log.append("post")
        self.write(b"done")

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self.log.append("left")


@on_uvloop
async def test_prepare_and_data_received_are_awaited_in_order() -> None:
    async with serving(Streamed) as served:
        client = await Client.to(served.port)
        await client.send(POST + b"Content-Length: 6\r\n\r\nabc")
        await until(lambda: "taken" in served.events)
        await client.send(b"def" + GET.replace(b"GET", b"POST"))
        assert (await client.answer()).body == b"done"
        assert (await client.answer()).body == b"done"
        first = ["prepare", "prepared", ("data", b"abc"), "taken", ("data", b"def"), "taken", "post"]
        assert served.events == [*first, "prepare", "prepared", "post"]
        await client.close()


@on_uvloop
async def test_a_slow_data_received_stops_the_upload() -> None:
    """What waits is bounded: the client's own buffer fills while the application takes its time."""
    gate = asyncio.Event()

    @stream_request_body
    class Slow(RequestHandler):
        async def data_received(self, chunk: bytes) -> None:
            self.settings["served"].events.append(len(chunk))
            await gate.wait()

        def post(self) -> None:
            self.write(str(sum(self.settings["served"].events)))

    size = 32 << 20
    async with serving(Slow) as served:
        client = await Client.to(served.port)
        client.writer.write(POST + b"Content-Length: %d\r\n\r\n" % size + bytes(size))
        await until(lambda: served.events)
        await asyncio.sleep(0.2)
        (connection,) = served.server._service.connections
        assert len(connection._held) < 256 * 1024
        assert len(served.events) == 1
        gate.set()
        assert (await client.answer()).body == b"%d" % size
        await client.close()


@on_uvloop
async def test_old_coroutines_and_plain_returns_work_as_flow_control() -> None:
    @stream_request_body
    class Old(RequestHandler):
        got = b""

        @gen.coroutine
        def prepare(self):
            yield gen.sleep(0.01)

        def data_received(self, chunk: bytes) -> None:
            self.got += chunk

        @gen.coroutine
        def put(self):
            yield gen.moment
            self.write(self.got)

    async with serving(Old) as served:
        raw = POST.replace(b"POST", b"PUT") + b"Content-Length: 3\r\n\r\nabc"
        assert (await ask(served.port, raw)).body == b"abc"


@stream_request_body
class Guarded(RequestHandler):
    """Refuses in prepare() unless a key is sent."""

    def initialize(self) -> None:
        self.got = b""

    async def prepare(self) -> None:
        await asyncio.sleep(0.02)
        self.settings["served"].events.append("prepared")
        if "X-Key" not in self.request.headers:
            raise HTTPError(401)

    def data_received(self, chunk: bytes) -> None:
        self.got += chunk

    def post(self) -> None:
        self.write(self.got)


@on_uvloop
async def test_100_is_sent_only_after_prepare_let_the_request_through() -> None:
    async with serving(Guarded) as served:
        client = await Client.to(served.port)
        await client.send(POST + b"X-Key: k\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert (await client.answer()).status == 100
        assert served.events == ["prepared"]
        await client.send(b"abc")
        assert (await client.answer()).body == b"abc"
        await client.close()


@quiet("tornado.general")
@on_uvloop
async def test_a_request_that_prepare_refused_gets_its_answer_and_no_100() -> None:
    async with serving(Guarded) as served:
        client = await Client.to(served.port)
        await client.send(POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        answer = await client.answer()
        assert answer.status == 401
        assert answer.headers[b"connection"] == b"close"
        assert await client.is_closed()


@on_uvloop
async def test_no_100_when_the_body_is_already_there() -> None:
    async with serving(Plain) as served:
        raw = POST + b"Content-Type: t\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        assert (await ask(served.port, raw + b"abc")).status == 200
        client = await Client.to(served.port)
        await client.send(raw)
        assert (await client.answer()).status == 100
        await client.send(b"abc")
        assert (await client.answer()).body == b"abc"
        await client.close()


@pytest.mark.parametrize("waits", [False, True])
@on_uvloop
async def test_no_100_when_some_of_a_long_body_is_already_there(waits: bool) -> None:
    class Long(RequestHandler):
        def prepare(self) -> Awaitable[None] | None:
            return asyncio.sleep(0.01) if waits else None

        def post(self) -> None:
            self.write(str(len(self.request.body)))

    async with serving(Long) as served:
        raw = POST + b"Expect: 100-continue\r\nContent-Length: 60000\r\n\r\n" + bytes(60_000)
        client = await Client.to(served.port)
        await client.send(raw[:50_000])
        await client.send(raw[50_000:])
        answer = await client.answer()
        assert (answer.status, answer.body) == (200, b"60000")
        await client.close()


@on_uvloop
async def test_http_1_0_cannot_expect() -> None:
    async with serving(Plain) as served:
        client = await Client.to(served.port)
        await client.send(b"POST / HTTP/1.0\r\nContent-Type: t\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
        await asyncio.sleep(0.05)
        await client.send(b"a")
        assert (await client.answer()).status == 200
        await client.close()


@quiet("tornado.general")
@on_uvloop
async def test_an_early_answer_keeps_the_connection_when_the_body_was_there_anyway() -> None:
    async with serving(Guarded) as served:
        client = await Client.to(served.port)
        await client.send(POST + b"Content-Length: 3\r\n\r\nabc" + POST + b"X-Key: k\r\nContent-Length: 1\r\n\r\nd")
        assert (await client.answer()).status == 401
        answer = await client.answer()
        assert (answer.status, answer.body) == (200, b"d")
        await client.close()


@pytest.mark.parametrize("rest", [b"", b"c"], ids=["the rest never comes", "the rest is there"])
@on_uvloop
async def test_a_handler_that_answered_early_does_not_wait_for_its_body_for_ever(rest: bytes) -> None:
    """Tornado's contract: after headers_received comes finish or on_connection_close. Else its task would stay."""

    @stream_request_body
    class Early(RequestHandler):
        async def data_received(self, chunk: bytes) -> None:
            self.settings["served"].events.append("data")
            self.finish("early")
            await asyncio.sleep(0.02)

        def on_connection_close(self) -> None:
            super().on_connection_close()
            self.settings["served"].events.append("closed")

    async with serving(Early) as served:
        before = asyncio.all_tasks()
        client = await Client.to(served.port)
        await client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        if rest:
            await asyncio.sleep(0.01)
            await client.send(b"1\r\nc\r\n0\r\n\r\n")
        assert (await client.answer()).body == b"early"
        await client.close()
        await until(lambda: not served.server.connections)
        await until(lambda: asyncio.all_tasks() <= before)
        assert served.events == ["data", "closed"]


@quiet("tornado.general")
@on_uvloop
async def test_an_early_answer_reaches_a_client_that_is_still_sending() -> None:
    """A reset would take the answer out of the client's hands; so the rest is read and dropped."""
    async with serving(Guarded) as served:
        client = await Client.to(served.port)
        size = 16 << 20
        await client.send(POST + b"Content-Length: %d\r\n\r\n" % size)
        await client.send(bytes(size))  # all of it, before looking at the answer
        answer = await client.answer()
        assert answer.status == 401
        assert answer.headers[b"connection"] == b"close"
        assert await client.is_closed()
        await client.close()
        await until(lambda: served.server.connections == 0)


@on_uvloop
async def test_pipelined_requests_are_answered_in_order() -> None:
    class Uneven(RequestHandler):
        async def get(self) -> None:
            await asyncio.sleep(0.02 if self.request.uri == "/0" else 0)
            self.write(self.request.uri)

    async with serving(Uneven) as served:
        client = await Client.to(served.port)
        count = 5000  # more than one read can hold
        raw = b"".join(b"GET /%d HTTP/1.1\r\nHost: test\r\n\r\n" % i for i in range(count))
        client.writer.write(raw)
        for i in range(count):
            assert (await client.answer()).body == b"/%d" % i
        await client.close()


@on_uvloop
async def test_a_fault_in_a_pipelined_request_is_answered_in_its_turn() -> None:
    class Slow(RequestHandler):
        async def get(self) -> None:
            await asyncio.sleep(0.05)
            self.write("slow")

    async with serving(Slow) as served:
        client = await Client.to(served.port)
        await client.send(GET + b"GET / HTTP/1.1\r\n\r\n")
        assert (await client.answer()).body == b"slow"
        answer = await client.answer()
        assert (answer.status, answer.headers[b"connection"]) == (400, b"close")
        assert await client.is_closed()


@on_uvloop
async def test_applications_that_answer_at_once_are_not_recursed_into() -> None:
    class Message(HTTPMessageDelegate):
        def __init__(self, connection) -> None:
            self.connection = connection

        def finish(self) -> None:
            self.connection.write_raw_head(200, "OK", b"Content-Length: 2\r\n", b"ok", content_length=2)
            self.connection.finish()

    class Immediate(HTTPServerConnectionDelegate):
        def start_request(self, server_conn, request_conn):
            return Message(request_conn)

    async with serving(Immediate()) as served:
        client = await Client.to(served.port)
        client.writer.write(GET * 5000)
        for _ in range(5000):
            assert (await client.answer()).body == b"ok"
        await client.close()


class Raising(HTTPServerConnectionDelegate, HTTPMessageDelegate):
    """Raises where it is told to."""

    def __init__(self, where: str, error: Exception) -> None:
        self.where = where
        self.error = error
        self.closed = 0

    def start_request(self, server_conn, request_conn):
        self.reach("start_request")
        return self

    def reach(self, where: str) -> None:
        if self.where == where:
            raise self.error

    def headers_received(self, start_line, headers):
        self.reach("headers_received")
        if self.where == "future":
            return self.later()
        return None

    async def later(self) -> None:
        await asyncio.sleep(0.01)
        raise self.error

    def data_received(self, chunk):
        self.reach("data_received")

    def finish(self) -> None:
        self.reach("finish")

    def on_connection_close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize(("error", "status"), [(HTTPInputError, 400), (KeyError, 500)])
@pytest.mark.parametrize("where", ["start_request", "headers_received", "future", "data_received", "finish"])
@quiet("router.wire.delivery")
@on_uvloop
async def test_a_delegate_that_raises_is_answered_for(where: str, error: type[Exception], status: int) -> None:
    delegate = Raising(where, error("bad thing"))
    async with serving(delegate) as served:
        client = await Client.to(served.port)
        await client.send(POST + b"Content-Length: 3\r\n\r\nabc" + GET)
        answer = await client.answer()
        assert answer.status == status
        assert (b"bad thing" in answer.body) is (status == 400)
        assert await client.is_closed()
    assert delegate.closed == (where not in ("start_request", "finish"))


@quiet("tornado.general")
@on_uvloop
async def test_a_host_that_tornado_finds_malformed_is_400() -> None:
    async with serving(Plain) as served:
        assert (await ask(served.port, b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n")).status == 400
        assert (await ask(served.port, b"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n")).status == 400


@quiet("tornado.general")
@on_uvloop
async def test_a_broken_body_ends_a_streaming_handler_and_is_400() -> None:
    async with serving(Streamed) as served:
        client = await Client.to(served.port)
        await client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await until(lambda: "taken" in served.events)
        await client.send(b"nonsense\r\n")
        answer = await client.answer()
        assert (answer.status, answer.headers[b"connection"]) == (400, b"close")
        assert served.events[-1] == "left"
        assert served.events.count("left") == 1
        assert "post" not in served.events


@on_uvloop
async def test_a_broken_body_under_an_answer_that_has_begun_cuts_it() -> None:
    @stream_request_body
    class Echo(RequestHandler):
        def data_received(self, chunk: bytes) -> None:
            self.write(chunk)
            self.flush()

        def post(self) -> None:
            pass

    async with serving(Echo) as served:
        client = await Client.to(served.port)
        await client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await client.reader.readuntil(b"abc\r\n")
        await client.send(b"nonsense\r\n")
        assert await client.is_closed()
        await client.close()


def test_an_application_that_answers_when_its_client_has_left_answers_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Answers(RequestHandler):
        async def get(self) -> None:
            self.write("one")
            await self.flush()
            self.left = asyncio.Event()
            await self.left.wait()

        def on_connection_close(self) -> None:
            self.finish("two")
            self.settings["served"].events.append("left")
            self.left.set()

    @on_uvloop
    async def test() -> None:
        async with serving(Answers) as served:
            client = await Client.to(served.port)
            await client.send(GET)
            await client.reader.readuntil(b"one")
            client.reset()
            await until(lambda: served.events)

    test()
    assert [record.getMessage() for record in caplog.records] == []


@on_uvloop
async def test_an_upgrade_is_ignored() -> None:
    async with serving(Plain) as served:
        upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Type: t\r\nContent-Length: 3\r\n\r\nabc"
        client = await Client.to(served.port)
        await client.send(POST + upgrade + POST + upgrade)
        for _ in range(2):
            answer = await client.answer()
            assert (answer.status, answer.body) == (200, b"abc")
        await client.close()
