"""Rules of bodies that a producer makes."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from httptools import HttpRequestParser

from tests.wire.upstream import OK, Peer, answering, client, on_uvloop, sending, upstream

Write = Callable[[bytes], Awaitable[None]]


async def dechunked(peer: Peer) -> bytes:
    """Read a chunked request; return its body."""
    pieces: list[bytes] = []

    class Body:
        done = False
        on_body = staticmethod(pieces.append)

        def on_message_complete(self) -> None:
            self.done = True

    body = Body()
    parser = HttpRequestParser(body)
    while not body.done:
        parser.feed_data(await peer.reader.read(65536))
    return b"".join(pieces)


@on_uvloop
async def test_a_produced_body_goes_out_in_chunks_and_the_connection_lives_on() -> None:
    bodies: list[bytes] = []

    async def script(peer: Peer) -> None:
        while True:
            bodies.append(await dechunked(peer))
            await peer.send(OK)

    async def produce(write: Write) -> None:
        for piece in (b"hello", b"", b" ", b"world" * 1000):
            await write(piece)
            await asyncio.sleep(0.001)

    async with upstream(script) as server, client() as http:
        for _ in range(2):
            assert (await http.fetch(server.request(method="POST", body_producer=produce))).code == 200
        assert bodies == [b"hello " + b"world" * 1000] * 2
        assert len(server.peers) == 1


@on_uvloop
async def test_a_producer_may_be_a_plain_function() -> None:
    def produce(write: Write) -> None:
        write(b"hello")

    async with upstream(answering(OK)) as server, client() as http:
        lines = b"Content-Length: 5\r\n"
        await http.fetch(server.request(method="POST", header_lines=lines, body_producer=produce))
        assert server.peers[0].requests[0].endswith(b"\r\n\r\nhello")


@on_uvloop
async def test_a_produced_body_of_declared_length_goes_out_as_it_is() -> None:
    async def produce(write: Write) -> None:
        await write(b"hello")
        await write(b"world")

    async with upstream(answering(OK)) as server, client() as http:
        await http.fetch(server.request(method="POST", header_lines=b"Content-Length: 10\r\n", body_producer=produce))
        assert server.peers[0].requests[0].endswith(b"\r\nContent-Length: 10\r\n\r\nhelloworld")


@pytest.mark.parametrize("length", [4, 6])
@on_uvloop
async def test_a_produced_body_of_another_length_than_declared_fails(length: int) -> None:
    async def produce(write: Write) -> None:
        await write(b"hello")

    lines = b"content-length: %d\r\n" % length
    async with upstream(sending(b"")) as server, client() as http:
        with pytest.raises(ValueError, match="than its Content-Length"):
            await http.fetch(server.request(method="POST", header_lines=lines, body_producer=produce))
        assert "open=0" in repr(http)


@on_uvloop
async def test_what_the_producer_raises_fails_the_fetch_and_closes_the_connection() -> None:
    async def produce(write: Write) -> None:
        await write(b"hello")
        raise KeyError("ours")

    async def script(peer: Peer) -> None:
        await peer.wait_gone()

    async with upstream(script) as server, client() as http:
        with pytest.raises(KeyError):
            await http.fetch(server.request(method="POST", body_producer=produce))
        await asyncio.sleep(0.05)
        await server.gone()


@on_uvloop
async def test_a_slow_upstream_makes_the_producer_wait() -> None:
    written = 0
    go_on = asyncio.Event()

    async def produce(write: Write) -> None:
        nonlocal written
        for _ in range(400):
            await write(b"x" * 65536)
            written += 65536

    async def script(peer: Peer) -> None:
        await go_on.wait()
        assert len(await dechunked(peer)) == 400 * 65536
        await peer.send(OK)

    async with upstream(script) as server, client() as http:
        fetch = http.fetch(server.request(method="POST", body_producer=produce))
        await asyncio.sleep(0.2)
        stalled_at = written
        assert stalled_at < 16 * 2**20
        await asyncio.sleep(0.1)
        assert written == stalled_at
        go_on.set()
        assert (await fetch).code == 200


@on_uvloop
async def test_an_early_answer_stops_the_producer() -> None:
    stopped = asyncio.Event()

    async def produce(write: Write) -> None:
        try:
            while True:
                await write(b"x")
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            stopped.set()
            raise

    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(OK)
        await peer.wait_gone()

    async with upstream(script) as server, client() as http:
        assert (await http.fetch(server.request(method="POST", body_producer=produce))).code == 200
        await asyncio.wait_for(stopped.wait(), 5)
        await server.gone()
