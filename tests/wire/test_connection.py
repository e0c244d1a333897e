"""Rules of one connection, over real sockets: broken answers, back-pressure, timeouts, cancelling."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from router.errors import (
    BadResponse,
    ConnectionLost,
    FirstByteTimeout,
    IdleTimeout,
    TotalTimeout,
    WireError,
)
from router.wire.client import Head, Request
from router.wire.connection import Connection
from tests.wire.upstream import CHUNKED, OK, Peer, answering, client, on_uvloop, sending, upstream

SHORT = 0.15  # seconds of a timeout that is to fire
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"


async def relayed(data: bytes, *, then: str = "wait", **settings: Any) -> tuple[bytes, BaseException | int]:
    """Let the upstream answer with `data`; return what was streamed, and the status or the error."""
    streamed: list[bytes] = []
    async with upstream(sending(data, then=then)) as server, client() as http:
        request = server.request(streaming_callback=streamed.append, **settings)
        try:
            result: BaseException | int = (await http.fetch(request, raise_error=False)).code
        except WireError as error:
            result = error
            if then == "wait":
                await server.gone()
    return b"".join(streamed), result


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-", b""),
        (LENGTH, b""),
        (LENGTH + b"hello", b"hello"),
        (CHUNKED, b""),
        (CHUNKED + b"5\r\nhello\r\n", b"hello"),
        (CHUNKED + b"5\r\nhel", b"hel"),
        (CHUNKED + b"5\r\nhello\r\n0\r\n", b"hello"),
        (CHUNKED + b"5\r\nhello\r\n5", b"hello"),
    ],
    ids=["in head", "no body", "short length", "no chunk", "after chunk", "in chunk", "in last chunk", "in size"],
)
@on_uvloop
async def test_a_cut_answer_is_lost_and_what_came_before_is_delivered(data: bytes, body: bytes, then: str) -> None:
    streamed, error = await relayed(data, then=then)
    assert isinstance(error, ConnectionLost)
    assert (error.reused, error.received) == (False, True)
    assert streamed == body


@pytest.mark.parametrize("then", ["close", "reset"])
@on_uvloop
async def test_a_connection_that_ends_before_any_byte_says_so(then: str) -> None:
    _, error = await relayed(b"", then=then)
    assert isinstance(error, ConnectionLost)
    assert (error.reused, error.received) == (False, False)


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"garbage\r\n\r\n", b""),
        (CHUNKED + b"5\r\nhello\r\nzz\r\n", b"hello"),
        (CHUNKED + b"5\r\nhelloxx", b"hello"),
        (b"HTTP/1.1 102 Processing\r\n\r\n" * 11 + OK, b""),
        (b"HTTP/1.1 102 Processing\r\n\r\n" * 10_000, b""),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nxyz", b""),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 201 + b"\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000 + b"\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000, b""),
        (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 10_000_000, b""),
        (CHUNKED + b"5;" + b"e" * 10_000_000, b""),
        (CHUNKED + b"5\r\nhello\r\n0\r\n" + b"Trailer: x\r\n" * 200_000, b"hello"),
        (CHUNKED + b"5\r\nhello\r\n0\r\nT: " + b"x" * 10_000_000, b"hello"),
    ],
    ids=[
        "garbage", "chunk size", "chunk end", "11 1xx", "many 1xx", "101", "headers", "big header", "open header",
        "endless header", "endless extension", "endless trailers", "endless trailer",
    ],
)  # fmt: skip
@on_uvloop
async def test_a_bad_answer_is_refused_at_once_and_its_connection_closed(data: bytes, body: bytes) -> None:
    streamed, error = await relayed(data)
    assert isinstance(error, BadResponse)
    assert streamed == body


@on_uvloop
async def test_of_an_answer_whose_head_is_refused_no_body_is_delivered() -> None:
    big = b"HTTP/1.1 200 OK\r\nA: " + b"b" * 30_000 + b"\r\n"
    async with upstream(sending(big + LENGTH[17:] + b"helloworld")) as server, client(max_header_bytes=20_000) as http:
        streamed: list[bytes] = []
        with pytest.raises(BadResponse):
            await http.fetch(server.request(streaming_callback=streamed.append))
    assert not streamed


@on_uvloop
async def test_headers_up_to_the_limit_are_taken() -> None:
    heads: list[Head] = []
    big = b"HTTP/1.1 200 OK\r\nA: " + b"b" * 64_000 + b"\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000
    body, status = await relayed(big, on_head=heads.append)
    assert (status, len(body), heads[0].get(b"content-length")) == (200, 300_000, b"300000")


@pytest.mark.parametrize("end", ["close", "reset"])
@on_uvloop
async def test_a_body_without_length_is_whole_when_the_connection_closes_but_not_when_it_breaks(end: str) -> None:
    body, result = await relayed(b"HTTP/1.1 200 OK\r\n\r\nhello", then=end)
    assert body == b"hello"
    assert result == 200 if end == "close" else isinstance(result, ConnectionLost)


@pytest.mark.parametrize(
    "raw",
    [
        LENGTH + b"helloworld",
        CHUNKED + b"5;a=b\r\nhello\r\n5\r\nworld\r\n0\r\nT: x\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + LENGTH + b"helloworld",
    ],
    ids=["length", "chunks", "1xx"],
)
@on_uvloop
async def test_an_answer_split_at_every_byte_is_the_same_answer(raw: bytes) -> None:
    async def script(peer: Peer) -> None:
        for split in range(1, len(raw)):
            await peer.request()
            await peer.send(raw[:split])
            await asyncio.sleep(0.001)
            await peer.send(raw[split:])
        await peer.request()
        for byte in raw:
            await peer.send(bytes([byte]))
            await asyncio.sleep(0)

    async with upstream(script) as server, client() as http:
        for _ in range(len(raw)):
            streamed: list[bytes] = []
            response = await http.fetch(server.request(streaming_callback=streamed.append))
            assert (response.code, b"".join(streamed)) == (200, b"helloworld")
        assert len(server.peers) == 1


@on_uvloop
async def test_one_read_is_one_call_of_the_callback() -> None:
    calls: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + b"1\r\na\r\n1\r\nb\r\n")
        await asyncio.sleep(0.05)
        await peer.send(b"1\r\nc\r\n1\r\nd\r\n0\r\n\r\n")
        await peer.wait_gone()

    async with upstream(script) as server, client() as http:
        await http.fetch(server.request(streaming_callback=calls.append))
    assert calls == [b"ab", b"cd"]


@pytest.mark.parametrize(
    ("raw", "method"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", "HEAD"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HEAD"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "POST"),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n", "GET"),
    ],
    ids=["HEAD with a length", "HEAD with chunks", "204", "304"],
)
@on_uvloop
async def test_answers_without_a_body_leave_the_connection_usable(raw: bytes, method: str) -> None:
    async with upstream(answering(raw, OK)) as server, client() as http:
        response = await http.fetch(server.request(method=method), raise_error=False)
        assert response.body == b""
        assert (await http.fetch(server.request())).body == b"ok"
        assert len(server.peers) == 1


@pytest.mark.parametrize(
    ("raw", "method"),
    [
        (OK + b"extra", "GET"),
        (OK + OK, "GET"),
        (b"HTTP/1.1 204 No Content\r\n\r\nbody", "GET"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody", "HEAD"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n", "HEAD"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "HEAD"),
    ],
)
@on_uvloop
async def test_bytes_after_an_answer_never_reach_the_next_one(raw: bytes, method: str) -> None:
    async with upstream(answering(raw)) as server, client(keepalive_timeout=60.0) as http:
        first = await http.fetch(server.request(method=method), raise_error=False)
        assert first.code in (200, 204)
        await server.gone()
        await http.fetch(server.request(method=method), raise_error=False)
        assert len(server.peers) == 2


@on_uvloop
async def test_bytes_on_an_idle_connection_close_it() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await asyncio.sleep(0.05)
        await peer.send(OK)
        await peer.wait_gone()

    async with upstream(script) as server, client() as http:
        await http.fetch(server.request())
        await server.gone()
        await http.fetch(server.request())
        assert len(server.peers) == 2


@on_uvloop
async def test_a_callback_that_waits_stops_the_upstream_and_bounds_what_is_held() -> None:
    sent = 0
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    received = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(CHUNKED)
        for _ in range(400):
            await peer.send(piece)
            sent += 65536
        await peer.send(b"0\r\n\r\n")
        await peer.wait_gone()

    def deliver(chunk: bytes) -> asyncio.Future[None]:
        nonlocal received
        received += len(chunk)
        return gate

    async with upstream(script) as server, client() as http:
        fetch = http.fetch(server.request(streaming_callback=deliver, idle_timeout=SHORT))
        await asyncio.sleep(3 * SHORT)  # the idle timer stands still
        stalled_at, delivered = sent, received
        assert delivered <= 2**18  # one read
        assert stalled_at < 16 * 2**20  # what the kernel's buffers take
        await asyncio.sleep(0.1)
        assert (sent, received) == (stalled_at, delivered)
        assert not fetch.done()
        gate.set_result(None)
        assert (await fetch).code == 200
        assert received == 400 * 65536


@on_uvloop
async def test_a_coroutine_as_callback_sees_the_chunks_in_order_and_the_answer_waits_for_it() -> None:
    seen: list[bytes] = []

    async def deliver(chunk: bytes) -> None:
        await asyncio.sleep(0.01)
        seen.append(chunk)

    body = bytes(range(256)) * 4000
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    async with upstream(answering(raw)) as server, client() as http:
        for _ in range(2):
            seen.clear()
            await http.fetch(server.request(streaming_callback=deliver))
            assert b"".join(seen) == body
        assert len(server.peers) == 1


@pytest.mark.parametrize("framing", ["length", "close"])
@on_uvloop
async def test_an_answer_that_ends_while_its_callback_waits_is_whole(framing: str) -> None:
    async def deliver(chunk: bytes) -> None:
        await asyncio.sleep(0.05)

    raw = OK if framing == "length" else b"HTTP/1.1 200 OK\r\n\r\nok"
    async with upstream(sending(raw, then="close")) as server, client() as http:
        assert (await http.fetch(server.request(streaming_callback=deliver))).code == 200


def raising(*_: object) -> None:
    raise KeyError("ours")


async def raising_later(chunk: bytes) -> None:
    await asyncio.sleep(0.01)
    raise KeyError("ours")


@pytest.mark.parametrize(
    "callbacks",
    [
        {"on_head": raising},
        {"header_callback": raising},
        {"streaming_callback": raising},
        {"streaming_callback": raising_later},
    ],
    ids=["on_head", "header_callback", "streaming_callback", "coroutine"],
)
@on_uvloop
async def test_an_exception_in_a_callback_fails_the_fetch_and_closes_the_connection(callbacks: Any) -> None:
    async with upstream(sending(CHUNKED + b"2\r\nhi\r\n")) as server, client() as http:
        with pytest.raises(KeyError, match="ours"):
            await http.fetch(server.request(**callbacks))
        await server.gone()


def on_nothing(request: Request) -> None:
    """The upstream is silent."""


def on_head(request: Request) -> None:
    request.on_head = lambda _: request.cancel()  # type: ignore[attr-defined]


def on_chunk(request: Request) -> None:
    request.streaming_callback = lambda _: request.cancel()  # type: ignore[attr-defined]


def on_blocked(request: Request) -> None:
    request.streaming_callback = lambda _: asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("phase", [on_nothing, on_head, on_chunk, on_blocked])
@on_uvloop
async def test_cancelling_closes_the_connection_at_once_in_every_phase(phase: Callable[[Request], None]) -> None:
    answer = b"" if phase is on_nothing else CHUNKED + b"2\r\nhi\r\n"
    async with upstream(sending(answer)) as server, client() as http:
        request = server.request()
        phase(request)
        fetch = http.fetch(request)
        request.cancel = fetch.cancel  # type: ignore[attr-defined]
        if phase in (on_nothing, on_blocked):
            await asyncio.sleep(0.05)
            fetch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetch
        await server.gone()
        assert "open=0" in repr(http)


@on_uvloop
async def test_cancelling_a_task_that_awaits_an_answer_closes_the_connection() -> None:
    async with upstream(sending(b"")) as server, client() as http:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await http.fetch(server.request())
        await server.gone()


@pytest.mark.parametrize(
    ("data", "timeouts", "error"),
    [
        (b"", {"first_byte_timeout": SHORT}, FirstByteTimeout),
        (OK[:12], {"first_byte_timeout": SHORT, "idle_timeout": 0.01}, FirstByteTimeout),
        (b"HTTP/1.1 100 Continue\r\n\r\n", {"first_byte_timeout": SHORT}, FirstByteTimeout),
        (CHUNKED, {"idle_timeout": SHORT}, IdleTimeout),
        (CHUNKED + b"2\r\nhi\r\n", {"first_byte_timeout": 9, "idle_timeout": SHORT}, IdleTimeout),
        (b"", {"request_timeout": SHORT}, TotalTimeout),
        (CHUNKED + b"2\r\nhi\r\n", {"request_timeout": SHORT, "idle_timeout": None}, TotalTimeout),
    ],
)
@on_uvloop
async def test_each_timeout_ends_its_own_phase_with_its_own_error(
    data: bytes, timeouts: dict[str, float], error: type[WireError]
) -> None:
    started = asyncio.get_running_loop().time()
    _, result = await relayed(data, **timeouts)
    assert type(result) is error
    assert asyncio.get_running_loop().time() - started >= SHORT - 0.01


@on_uvloop
async def test_a_stream_that_goes_on_is_never_idle_however_long_it_is() -> None:
    async def script(peer: Peer) -> None:
        for _ in range(2):
            await peer.request()
            await peer.send(CHUNKED)
            for _ in range(8):
                await asyncio.sleep(SHORT / 3)
                await peer.send(b"1\r\nx\r\n")
            await peer.send(b"0\r\n\r\n")
        await peer.wait_gone()

    async with upstream(script) as server, client() as http:
        for _ in range(2):
            response = await http.fetch(server.request(first_byte_timeout=SHORT, idle_timeout=SHORT))
            assert response.body == b"x" * 8
        await asyncio.sleep(2 * SHORT)  # a pending timer ends nothing on an idle connection
        assert "idle=1" in repr(http)


@on_uvloop
async def test_timeouts_are_off_when_none() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(SHORT)
        await peer.send(OK)

    off = dict.fromkeys(("connect_timeout", "first_byte_timeout", "idle_timeout", "request_timeout"))
    async with upstream(script) as server, client() as http:
        assert (await http.fetch(server.request(**off))).code == 200


@on_uvloop
async def test_what_is_sent_is_what_was_given() -> None:
    async with upstream(answering(OK)) as server, client() as http:
        for size in (0, 10, 16 * 1024, 16 * 1024 + 1, 300_000):
            body = b"b" * size
            await http.fetch(server.request(method="POST", target="/v1?a=b", header_lines=b"x-a: 1\r\n", body=body))
            sent = server.peers[0].requests[-1]
            head = b"POST /v1?a=b HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: %d\r\nx-a: 1\r\n\r\n"
            assert sent == head % (server.port, size) + body


@on_uvloop
async def test_an_early_answer_to_a_long_request_is_delivered_and_the_connection_closed() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
        await peer.wait_gone()

    async with upstream(script) as server, client() as http:
        response = await http.fetch(server.request(method="POST", body=b"x" * 30_000_000), raise_error=False)
        assert response.code == 413
        await server.gone()


@on_uvloop
async def test_small_writes_are_not_held_back() -> None:
    """TCP_NODELAY: without it Nagle's algorithm and delayed acknowledgements cost 40 ms."""
    async with upstream(answering(OK)) as server, client() as http:
        await http.fetch(server.request())
        [connection] = next(iter(http._pools.values()))._idle
        assert isinstance(connection, Connection)
        assert connection._transport is not None
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert "idle served=1" in repr(connection)
