"""Clients that come by TLS: who is let in, and that all else is as without it."""

import asyncio
import gc
import logging
import random
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvloop
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler, stream_request_body

from router.wire.handshake import Handshake
from router.wire.listen import bind_unix_socket
from router.wire.server import HTTPServer, ServerConnection, ServerLimits
from router.wire.tls import ServerTLS, server_context
from tests.authority import Authority, Issued
from tests.wire.served import GET, HOST, PATIENCE, Client, Served, on_uvloop, serving, until

pytestmark = pytest.mark.usefixtures("tool")
STREAM = GET.replace(b"/ ", b"/stream ")
QUICK = ServerLimits(headers_timeout=0.3)
LINGER = struct.pack("ii", 1, 0)


@pytest.fixture(scope="module")
def issued(authority: Authority) -> Issued:
    return authority.issue()


@stream_request_body
class Seen(RequestHandler):
    """Tells who came how, and how long the body is; at /stream it sends what `events` says until its client leaves."""

    def initialize(self) -> None:
        self.size = 0
        self.left = asyncio.Event()

    def data_received(self, chunk: bytes) -> None:
        self.size += len(chunk)

    async def get(self) -> None:
        context = self.request.connection.context  # type: ignore[union-attr]
        if self.request.path != "/stream":
            self.write(f"{self.request.protocol} {context.client_cert} {self.size}")
            return
        served: Served = self.settings["served"]
        self.settings["queue"] = queue = asyncio.Queue[bytes | None]()
        served.events.append(queue)
        leaving = asyncio.ensure_future(self.left.wait())
        while True:
            coming = asyncio.ensure_future(queue.get())
            await asyncio.wait([coming, leaving], return_when=asyncio.FIRST_COMPLETED)
            if self.left.is_set():
                coming.cancel()
                break
            if (data := coming.result()) is None:
                leaving.cancel()
                return
            self.write(data)
            with suppress(StreamClosedError):
                await self.flush()
            served.events.append(len(data))
        served.events.append("left")

    post = get

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self.left.set()


@asynccontextmanager
async def secured(issued: Issued, **options: Any) -> AsyncIterator[Served]:
    """Serve by TLS; `failures` counts handshakes that came to nothing."""
    tls = {name: options.pop(name) for name in ("client_ca_file", "client_auth") if name in options}
    failures: list[None] = []
    context = server_context(ServerTLS(str(issued.cert), str(issued.key), **tls))
    options["handshake_failed"] = lambda: failures.append(None)
    async with serving(Seen, ssl_options=context, **options) as served:
        served.failures = failures  # type: ignore[attr-defined]
        yield served


async def to(served: Served, trusting: ssl.SSLContext) -> Client:
    return await Client.to(served.port, ssl=trusting, server_hostname="localhost")


async def streaming(served: Served, trusting: ssl.SSLContext, first: bytes = b"data: 0\n\n") -> tuple[Client, Any]:
    """A client whose answer has begun, and the queue that feeds the answer."""
    client = await to(served, trusting)
    await client.send(STREAM)
    await until(lambda: served.events)
    queue = served.events.pop()
    queue.put_nowait(first)
    await asyncio.wait_for(client.reader.readuntil(first), PATIENCE)
    served.events.clear()
    return client, queue


def raw_client(port: int, trusting: ssl.SSLContext, *, buffer: int | None = None) -> ssl.SSLSocket:
    """A blocking client, connected; for ways of leaving that a polite one does not have."""
    sock = socket.socket()
    if buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.settimeout(PATIENCE)
    sock.connect(("127.0.0.1", port))
    return trusting.wrap_socket(sock, server_hostname="localhost")


def test_large_bodies_and_many_requests_on_one_connection(authority: Authority, issued: Issued) -> None:
    @on_uvloop
    async def run() -> None:
        async with secured(issued) as served:
            client = await to(served, authority.trusting())
            for size in (0, 1, 100_000, 3_000_000):
                await client.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % size + bytes(size))
                assert (await client.answer()).body == b"https None %d" % size
            assert (served.server.connections, served.failures) == (1, [])  # type: ignore[attr-defined]
            await client.close()

    run()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def test_a_request_that_comes_with_the_last_bytes_of_the_handshake_is_served(
    authority: Authority, issued: Issued, version: ssl.TLSVersion, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """A client of TLS 1.3 may send its request at once, in one piece with the end of the handshake.

    asyncio's own loop delivers it before it tells of the handshake's end.
    """
    trusting = authority.trusting(maximum_version=version)
    size = 2_000_000  # several reads of the loop
    request = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % size + bytes(size)

    async def run() -> None:
        async with secured(issued) as served:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = trusting.wrap_bio(incoming, outgoing, server_hostname="localhost")
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    writer.write(outgoing.read())
                    incoming.write(await asyncio.wait_for(reader.read(65536), PATIENCE))
            tls.write(request)
            writer.write(outgoing.read())  # both in one
            answer = b""
            while b"https None 2000000" not in answer:
                incoming.write(await asyncio.wait_for(reader.read(65536), PATIENCE))
                with suppress(ssl.SSLWantReadError):
                    answer += tls.read()
            writer.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(asyncio.wait_for(run(), PATIENCE * 2))


@pytest.mark.parametrize("said", [GET, b"\x16\x03\x01\x00\x05hello", b"\0" * 100, b"SSH-2.0-x\r\n"])
def test_who_speaks_no_tls_is_closed_counted_and_told_of_at_level_debug_only(
    issued: Issued, said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    @on_uvloop
    async def run() -> None:
        async with secured(issued) as served:
            client = await Client.to(served.port)
            await client.send(said)
            with suppress(ConnectionResetError):
                got = await asyncio.wait_for(client.reader.read(), PATIENCE)
                assert not got.startswith(b"HTTP")
            await until(lambda: not served.server.connections)
            assert len(served.failures) == 1  # type: ignore[attr-defined]
            client.reset()

    caplog.set_level(logging.DEBUG)
    run()
    told = [record for record in caplog.records if record.name.startswith("router") or record.levelno > logging.DEBUG]
    assert [(record.name, record.levelname) for record in told] == [("router.wire.handshake", "DEBUG")]
    assert "no TLS with 127.0.0.1: " in told[0].getMessage()


def test_who_says_nothing_is_closed_when_a_head_would_be_due(issued: Issued) -> None:
    @on_uvloop
    async def run() -> None:
        async with secured(issued, limits=QUICK) as served:
            client = await Client.to(served.port)
            await client.send(b"\x16\x03\x01")
            with suppress(ConnectionResetError):
                assert await asyncio.wait_for(client.reader.read(), PATIENCE) == b""
            await until(lambda: not served.server.connections)
            assert len(served.failures) == 1  # type: ignore[attr-defined]

    run()


def test_who_only_looks_whether_the_port_is_open_has_not_failed(issued: Issued) -> None:
    """Load balancers do so all day."""

    @on_uvloop
    async def run() -> None:
        async with secured(issued) as served:
            for way in ("close", "reset"):
                client = await Client.to(served.port)
                await until(lambda: served.server.connections == 1)
                await client.close() if way == "close" else client.reset()
                await until(lambda: not served.server.connections)
            assert served.failures == []  # type: ignore[attr-defined]

    run()


def test_handshakes_count_as_connections(issued: Issued) -> None:
    """Else whoever only opens connections would have as many as there are descriptors."""

    @on_uvloop
    async def run() -> None:
        async with secured(issued, limits=ServerLimits(connections=2)) as served:
            waiting = [await Client.to(served.port) for _ in range(2)]
            await until(lambda: served.server.connections == 2)
            third = await Client.to(served.port)
            assert await third.is_closed()
            for client in waiting:
                client.reset()
            await until(lambda: not served.server.connections)

    run()


@pytest.mark.parametrize("end", ["close_idle_connections", "close_all_connections"])
def test_an_end_waits_for_no_handshake(issued: Issued, end: str) -> None:
    @on_uvloop
    async def run() -> None:
        async with secured(issued) as served:
            client = await Client.to(served.port)
            await until(lambda: served.server.connections == 1)
            ending = getattr(served.server, end)()
            if ending is not None:
                await ending
            assert await client.is_closed()
            await until(lambda: not served.server.connections)
            assert served.failures == []  # type: ignore[attr-defined]

    run()


def shown_to(port: int, trusting: ssl.SSLContext) -> bytes | None:
    """Return the certificate that a new connection is shown."""
    with raw_client(port, trusting) as client:
        return client.getpeercert(binary_form=True)


def test_another_certificate_is_for_new_connections_and_open_streams_go_on(
    authority: Authority, issued: Issued
) -> None:
    other, trusting = authority.issue(), authority.trusting()

    @on_uvloop
    async def run() -> None:
        async with secured(issued) as served:
            client, queue = await streaming(served, trusting)
            look = asyncio.get_running_loop().run_in_executor
            assert await look(None, shown_to, served.port, trusting) == issued.der
            served.server.set_tls(server_context(ServerTLS(str(other.cert), str(other.key))))
            assert await look(None, shown_to, served.port, trusting) == other.der
            queue.put_nowait(b"data: on\n\n")
            await asyncio.wait_for(client.reader.readuntil(b"data: on\n\n"), PATIENCE)
            served.server.set_tls(None)
            plain = await Client.to(served.port)
            await plain.send(GET)
            assert (await plain.answer()).body == b"http None 0"
            await plain.close()
            queue.put_nowait(None)
            await asyncio.wait_for(client.reader.readuntil(b"0\r\n\r\n"), PATIENCE)
            await client.close()

    run()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("auth", "shows", "expected"),
    [
        ("required", "ours", b"https CN=agent-1,O=Example 0"),
        ("required", "nothing", None),
        ("required", "a stranger's", None),
        ("required", "an ended one", None),
        ("optional", "ours", b"https CN=agent-1,O=Example 0"),
        ("optional", "nothing", b"https None 0"),
        ("optional", "a stranger's", None),
        ("off", "a stranger's", b"https None 0"),
    ],
)
def test_clients_are_let_in_by_their_certificates(
    authority: Authority,
    stranger: Authority,
    issued: Issued,
    *,
    version: ssl.TLSVersion,
    auth: str,
    shows: str,
    expected: bytes | None,
) -> None:
    subject = "/O=Example/CN=agent-1"
    shown = {
        "ours": lambda: authority.issue(subject=subject),
        "nothing": lambda: None,
        "a stranger's": lambda: stranger.issue(subject=subject),
        "an ended one": lambda: authority.issue(subject=subject, days=-1),
    }[shows]()

    @on_uvloop
    async def run() -> None:
        tls = {} if auth == "off" else {"client_ca_file": str(authority.ca), "client_auth": auth}
        async with secured(issued, **tls) as served:
            got: bytes | None = None
            with suppress(OSError, asyncio.IncompleteReadError):
                client = await to(served, authority.trusting(shown, maximum_version=version))
                await client.send(GET)
                got = (await client.answer()).body
                await client.close()
            assert got == expected
            await until(lambda: not served.server.connections)
            assert len(served.failures) == (expected is None)  # type: ignore[attr-defined]

    run()


def read(client: ssl.SSLSocket, size: int) -> None:
    """Read so many bytes, or a few more."""
    while size > 0:
        piece = client.recv(min(size, 1 << 20))
        assert piece, "closed"
        size -= len(piece)


def leave(way: str, client: ssl.SSLSocket) -> None:
    """Leave at once, in one of the ways that there are."""
    if way == "reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
    elif way == "close_notify alone":
        client.settimeout(0.2)
        with suppress(OSError):
            client.unwrap()
        return
    elif way == "end of TCP alone":
        client.shutdown(socket.SHUT_WR)
        return
    elif way == "both":
        client.settimeout(0.0)
        with suppress(OSError):
            client.unwrap()
    socket.socket.close(client)


@pytest.mark.parametrize("way", ["close", "both", "reset", "close_notify alone", "end of TCP alone"])
@pytest.mark.parametrize("body", [b"", b"x" * 400_000], ids=["", "pipelined"])
def test_a_client_that_leaves_within_its_answer_is_noticed_at_once(
    authority: Authority, issued: Issued, way: str, body: bytes
) -> None:
    trusting = authority.trusting()

    @on_uvloop
    async def run() -> None:
        async with secured(issued) as served:
            look = asyncio.get_running_loop().run_in_executor
            client = await look(None, raw_client, served.port, trusting)
            await look(None, client.sendall, STREAM + body)
            await until(lambda: served.events)
            served.events.pop().put_nowait(b"data: 0\n\n")
            await until(lambda: served.events)
            await look(None, leave, way, client)
            assert await until(lambda: "left" in served.events) < 1
            assert await until(lambda: not served.server.connections) < 1
            client.close()

    run()


@stream_request_body
class Unready(RequestHandler):
    """Takes nothing of a body, and tells when its client leaves."""

    def initialize(self) -> None:
        self.gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, chunk: bytes) -> "asyncio.Future[None]":
        self.settings["served"].events.append("body")
        return self.gate

    def post(self) -> None:
        """Never reached."""

    def on_connection_close(self) -> None:
        self.settings["served"].events.append("left")
        self.gate.cancel()


@pytest.mark.parametrize(("way", "size"), [("close", 200_000), ("reset", 200_000), ("reset", 5_000_000)])
def test_a_client_that_leaves_while_we_do_not_read_is_noticed(
    authority: Authority, issued: Issued, way: str, size: int
) -> None:
    """Then only the kernel knows."""
    trusting = authority.trusting()
    head = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 9000000\r\n\r\n"

    @on_uvloop
    async def run() -> None:
        context = server_context(ServerTLS(str(issued.cert), str(issued.key)))
        async with serving(Unready, ssl_options=context) as served:
            client = await to(served, trusting)
            client.writer.write(head + bytes(size))
            await until(lambda: "body" in served.events)
            await asyncio.sleep(0.1)
            assert served.events == ["body"]
            client.writer.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, LINGER if way == "reset" else struct.pack("ii", 0, 0)
            )
            client.reset()
            await until(lambda: "left" in served.events)
            await until(lambda: not served.server.connections)

    run()


def test_each_event_is_there_before_the_next_is_made(authority: Authority, issued: Issued) -> None:
    @on_uvloop
    async def run() -> None:
        async with secured(issued) as served:
            client, queue = await streaming(served, authority.trusting())
            for number in range(200):
                event = b"data: event %d\n\n" % number
                queue.put_nowait(event)
                assert await asyncio.wait_for(client.reader.readuntil(b"\n\n\r\n"), PATIENCE) == (
                    (b"\r\n" if not number else b"") + b"%x\r\n%b\r\n" % (len(event), event)
                )
            queue.put_nowait(None)
            await client.close()

    run()


def test_a_client_that_does_not_read_holds_the_application_back_and_gets_all_when_it_reads(
    authority: Authority, issued: Issued
) -> None:
    trusting = authority.trusting()
    piece, count = b"y" * 30_000, 400

    @on_uvloop
    async def run() -> None:
        async with secured(issued) as served:
            look = asyncio.get_running_loop().run_in_executor
            client = await look(None, lambda: raw_client(served.port, trusting, buffer=32_768))
            await look(None, client.sendall, STREAM)
            await until(lambda: served.events)
            queue = served.events.pop()
            for _ in range(count):
                queue.put_nowait(piece)
            queue.put_nowait(None)
            held = -1
            while held != len(served.events):
                held = len(served.events)
                await asyncio.sleep(0.2)
            (connection,) = served.server._service.connections
            assert connection._congested
            assert connection._unsent_now() < 300_000  # of 12 MB; the rest of what went out is the kernel's

            await look(None, read, client, len(piece) * count)
            client.close()

    run()


def test_a_client_that_reads_nothing_any_more_is_cut_and_one_that_reads_slowly_is_not(
    authority: Authority, issued: Issued
) -> None:
    """Progress is seen below TLS, where the bytes wait that the kernel has not taken."""
    trusting = authority.trusting()

    @on_uvloop
    async def run() -> None:
        async with secured(issued, limits=ServerLimits(write_stall_timeout=2.0)) as served:
            look = asyncio.get_running_loop().run_in_executor
            clients = []
            for _ in range(2):
                client = await look(None, lambda: raw_client(served.port, trusting, buffer=8_192))
                client.sendall(STREAM)
                await until(lambda: served.events and isinstance(served.events[-1], asyncio.Queue))
                served.events.pop().put_nowait(bytes(20_000_000))
                clients.append(client)
            idle, slow = clients
            while served.server.connections == 2:
                await look(None, read, slow, 1_200_000)  # the kernel asks for more when a part of its own is gone
                await asyncio.sleep(0.2)
            await until(lambda: "left" in served.events)
            await look(None, read, slow, 100_000)
            assert (served.events.count("left"), served.server.connections) == (1, 1)
            for client in (idle, slow):
                client.close()

    run()


@pytest.mark.parametrize("head", [b"", b"Content-Length: 100000\r\n"], ids=["whole", "more to come"])
def test_an_answer_that_ends_with_the_connection_ends_with_close_notify_at_once(
    authority: Authority, issued: Issued, head: bytes
) -> None:
    """Also where the client still owes its body: without the end it would wait for more."""
    trusting = authority.trusting()

    class Early(RequestHandler):
        async def prepare(self) -> None:
            self.write("x" * 50)
            await self.flush()
            self.finish()

        def get(self) -> None:
            """Answered already."""

        post = get

    @on_uvloop
    async def run() -> None:
        context = server_context(ServerTLS(str(issued.cert), str(issued.key)))
        async with serving(stream_request_body(Early), ssl_options=context) as served:

            def ask() -> bytes:
                with raw_client(served.port, trusting) as client:
                    client.suppress_ragged_eofs = False  # an end without close_notify is an error then
                    client.sendall((b"POST" if head else b"GET") + b" / HTTP/1.0\r\n" + HOST + head + b"\r\n")
                    got = b""
                    client.settimeout(3.0)  # less than the time for lingering
                    while piece := client.recv(65536):
                        got += piece
                    return got

            assert (await asyncio.get_running_loop().run_in_executor(None, ask)).endswith(b"\r\n\r\n" + b"x" * 50)
            await until(lambda: not served.server.connections)

    run()


def test_an_answer_that_breaks_does_not_end_like_a_whole_one(authority: Authority, issued: Issued) -> None:
    class Breaks(RequestHandler):
        async def get(self) -> None:
            self.write("x" * 50)
            await self.flush()
            self.request.connection.abort()  # type: ignore[union-attr]

    @on_uvloop
    async def run() -> None:
        context = server_context(ServerTLS(str(issued.cert), str(issued.key)))
        trusting = authority.trusting()
        async with serving(Breaks, ssl_options=context) as served:

            def ask() -> None:
                with raw_client(served.port, trusting) as client:
                    client.suppress_ragged_eofs = False
                    client.sendall(GET.replace(b"1.1", b"1.0"))
                    while client.recv(65536):
                        pass

            with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
                await asyncio.get_running_loop().run_in_executor(None, ask)

    run()


@on_uvloop
async def test_tls_on_a_plain_port_is_refused() -> None:
    async with serving(Seen) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        tls = ssl.create_default_context()
        outgoing = ssl.MemoryBIO()
        with suppress(ssl.SSLWantReadError):
            tls.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
        writer.write(outgoing.read())
        assert (await asyncio.wait_for(reader.read(), PATIENCE)).startswith(b"HTTP/1.1 400 ")
        writer.close()
        assert served.events == []


def alive() -> int:
    """How many connections there are in this process, those of other tests included."""
    gc.collect()
    return sum(isinstance(each, Handshake | ServerConnection) for each in gc.get_objects())


@pytest.mark.parametrize("seed", range(2))
def test_whatever_clients_do_with_tls_nothing_is_left_and_nothing_is_told(
    authority: Authority, issued: Issued, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    trusting = authority.trusting()
    dice = random.Random(seed)

    async def visit(port: int) -> None:
        """Come in some way, say something or nothing, leave in some way."""
        how = dice.choice(["plain", "cut hello", "tls", "tls", "tls"])
        options = {"ssl": trusting, "server_hostname": "localhost"} if how == "tls" else {}
        reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
        if how == "cut hello":
            outgoing = ssl.MemoryBIO()
            with suppress(ssl.SSLWantReadError):
                trusting.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
            hello = outgoing.read()
            writer.write(hello[: dice.randrange(len(hello))])
        else:
            post = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 300000\r\n\r\n" + bytes(300_000)
            said = dice.choice([b"", GET, GET * 3, post, b"nonsense\r\n\r\n"])
            writer.write(said[: dice.choice([len(said), dice.randrange(len(said) + 1)])])
        with suppress(TimeoutError, OSError):
            await asyncio.wait_for(reader.read(dice.choice([1, 100_000])), dice.choice([0.001, 0.1]))
        if dice.random() < 0.5:
            writer.transport.abort()
        else:
            writer.close()

    async def meet(port: int) -> None:
        with suppress(OSError):
            await visit(port)

    @on_uvloop
    async def run() -> None:
        async with secured(issued, limits=ServerLimits(connections=20)) as served:
            for _ in range(5):
                await asyncio.gather(*(meet(served.port) for _ in range(30)))
            await until(lambda: not served.server.connections)
            service = served.server._service
            assert (service.handshakes, service.connections) == (set(), set())
        await until(lambda: alive() <= before)  # one that is one too many is closed by the loop, and counted by nobody

    before = alive()
    run()
    told = {record.getMessage() for record in caplog.records if record.levelno > logging.INFO}
    assert {line for line in told if "new connections are reset" not in line} == set()


def test_a_unix_socket_stays_plain(issued: Issued, tmp_path: Any) -> None:
    @on_uvloop
    async def run() -> None:
        async with secured(issued) as served:
            server: HTTPServer = served.server
            server.add_socket(bind_unix_socket(str(tmp_path / "s")))
            await asyncio.sleep(0.01)
            client = Client(*await asyncio.open_unix_connection(str(tmp_path / "s")))
            await client.send(GET)
            assert (await client.answer()).body == b"http None 0"
            await client.close()

    run()
