"""Rules of the pool, over real sockets: who gets which connection, who waits, what is dropped."""

import asyncio
import gc
from typing import Any

import pytest

from bench.processes import free_port
from router.errors import ConnectError, ConnectionLost, ConnectTimeout, TotalTimeout
from router.wire.answer import Answer
from router.wire.client import Origin, Request
from router.wire.connection import Connection
from router.wire.fetch import Fetch
from router.wire.resolver import Resolver
from tests.leftover import Leftover
from tests.wire.upstream import OK, PATIENCE, Peer, answering, client, on_uvloop, sending, upstream

SHORT = 0.15


def echo_number(peer: Peer) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % peer.number


async def numbered(peer: Peer) -> None:
    """Answer with the connection's number, not before there are as many requests as the path says."""
    while True:
        await peer.request()
        await asyncio.sleep(0.02)
        await peer.send(echo_number(peer))


@on_uvloop
async def test_a_connection_serves_one_request_after_another() -> None:
    async with upstream(answering(OK)) as server, client() as http:
        for _ in range(20):
            assert (await http.fetch(server.request())).body == b"ok"
        assert len(server.peers) == 1
        assert "open=1 idle=1 waiting=0" in repr(http)


@on_uvloop
async def test_the_connection_used_last_is_used_first() -> None:
    async with upstream(numbered) as server, client() as http:
        await asyncio.gather(*(http.fetch(server.request()) for _ in range(3)))
        assert len(server.peers) == 3
        last = (await http.fetch(server.request())).body
        for _ in range(5):
            assert (await http.fetch(server.request())).body == last


@on_uvloop
async def test_idle_connections_are_dropped_after_their_time_by_themselves() -> None:
    async with upstream(numbered) as server, client(keepalive_timeout=SHORT) as http:
        await asyncio.gather(*(http.fetch(server.request()) for _ in range(3)))
        for number in range(3):
            await server.gone(number)
        assert "open=0 idle=0" in repr(http)
        await http.fetch(server.request())
        assert len(server.peers) == 4


@on_uvloop
async def test_a_connection_in_use_outlives_those_that_are_idle() -> None:
    async with upstream(numbered) as server, client(keepalive_timeout=SHORT) as http:
        await asyncio.gather(*(http.fetch(server.request()) for _ in range(2)))
        for _ in range(12):
            await http.fetch(server.request())
            await asyncio.sleep(0.01)
        assert len(server.peers) == 2
        assert "open=1 idle=1" in repr(http)


@on_uvloop
async def test_a_connection_that_the_server_closed_while_idle_is_not_used() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)

    async with upstream(script) as server, client() as http:
        for number in range(3):
            assert (await http.fetch(server.request())).code == 200
            await asyncio.sleep(0.05)
            assert "open=0" in repr(http)
            assert len(server.peers) == number + 1


@pytest.mark.parametrize("end", ["close", "reset"])
@on_uvloop
async def test_a_reused_connection_that_dies_at_once_says_so_and_a_fresh_one_can_be_asked_for(end: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()
        if peer.number:
            await peer.send(OK)
        elif end == "reset":
            peer.reset()

    async with upstream(script) as server, client() as http:
        await http.fetch(server.request())
        with pytest.raises(ConnectionLost) as lost:
            await http.fetch(server.request())
        assert (lost.value.reused, lost.value.received) == (True, False)
        assert (await http.fetch(server.request(fresh=True))).code == 200
        assert len(server.peers) == 2


@on_uvloop
async def test_a_fresh_connection_is_made_though_others_are_idle() -> None:
    async with upstream(answering(OK)) as server, client(max_connections_per_origin=2) as http:
        for _ in range(4):
            await http.fetch(server.request(fresh=True))
        assert len(server.peers) == 4
        assert "open=2 idle=2" in repr(http)


@pytest.mark.parametrize("line", [b"Connection: close\r\n", b"Connection: Close, x\r\n"])
@on_uvloop
async def test_an_answer_that_says_close_ends_its_connection(line: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\n" + line + b"Content-Length: 2\r\n\r\nok"
    async with upstream(answering(answer)) as server, client() as http:
        for _ in range(2):
            assert (await http.fetch(server.request())).body == b"ok"
        assert len(server.peers) == 2
        assert "open=0" in repr(http)


@on_uvloop
async def test_over_the_maximum_fetches_wait_in_their_order() -> None:
    order: list[int] = []
    async with upstream(numbered) as server, client(max_connections_per_origin=2) as http:
        fetches = [http.fetch(server.request()) for _ in range(10)]
        for number, fetch in enumerate(fetches):
            fetch.add_done_callback(lambda _, number=number: order.append(number))  # type: ignore[misc]
        assert "open=2 idle=0 waiting=8" in repr(http)
        await asyncio.gather(*fetches)
        await asyncio.sleep(0)
        assert len(server.peers) == 2
        assert [number // 2 for number in order] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


@on_uvloop
async def test_those_who_wait_get_the_place_of_a_connection_that_broke() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(0.02)
        if peer.number == 0:
            peer.reset()
        else:
            await peer.send(OK)
            await peer.wait_gone()

    async with upstream(script) as server, client(max_connections_per_origin=1) as http:
        first, second = http.fetch(server.request()), http.fetch(server.request())
        third = http.fetch(server.request(fresh=True))
        with pytest.raises(ConnectionLost):
            await first
        assert (await second).code == 200
        assert (await third).code == 200
        assert len(server.peers) == 3


@on_uvloop
async def test_the_wait_for_a_connection_is_bounded_by_the_connect_timeout_or_the_total() -> None:
    async with upstream(sending(b"")) as server, client(max_connections_per_origin=1) as http:
        first = http.fetch(server.request())
        with pytest.raises(ConnectTimeout):
            await http.fetch(server.request(connect_timeout=SHORT))
        with pytest.raises(TotalTimeout):
            await http.fetch(server.request(request_timeout=SHORT))
        assert not first.done()
        assert "waiting=0" in repr(http)


@on_uvloop
async def test_cancelling_who_waits_takes_it_out_of_the_queue() -> None:
    async with upstream(sending(b"")) as server, client(max_connections_per_origin=1) as http:
        first, second, third = (http.fetch(server.request()) for _ in range(3))
        second.cancel()
        assert "waiting=1" in repr(http)
        await asyncio.sleep(0.05)
        first.cancel()
        await server.gone()
        await asyncio.sleep(0.05)
        assert len(server.peers) == 2
        assert not third.done()


@on_uvloop
async def test_when_nobody_listens_all_who_wait_are_told() -> None:
    origin = Origin("http", "127.0.0.1", free_port())
    async with client(max_connections_per_origin=1) as http:
        fetches = [http.fetch(Request(origin=origin, connect_timeout=PATIENCE)) for _ in range(5)]
        results = await asyncio.gather(*fetches, return_exceptions=True)
        assert all(isinstance(result, ConnectError) and result.refused for result in results)
        assert "open=0 idle=0 waiting=0" in repr(http)


@on_uvloop
async def test_when_a_name_moves_no_request_goes_to_its_old_address() -> None:
    addresses = ["127.0.0.1"]
    release = asyncio.Event()

    async def script(peer: Peer) -> None:
        number = 0
        while True:
            await peer.request()
            if number == 0 and peer.number == 1:
                await release.wait()
            address = peer.writer.get_extra_info("sockname")[0].encode()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(address), address))
            number += 1

    resolver = Resolver(ttl=0.05, lookup=lambda host, port: tuple(addresses))
    async with upstream(script, host="0.0.0.0", name="backend.test") as server, client(resolver=resolver) as http:
        busy: Any = None
        assert (await http.fetch(server.request())).body == b"127.0.0.1"
        idle = http.fetch(server.request())
        busy = http.fetch(server.request())
        await idle
        addresses[:] = ["127.0.0.2"]
        for _ in range(60):
            body = (await http.fetch(server.request())).body
            if body == b"127.0.0.2":
                break
            await asyncio.sleep(0.05)
        assert body == b"127.0.0.2"
        await server.gone(0)  # idle: dropped
        release.set()
        assert (await busy).body == b"127.0.0.1"  # what runs there is finished
        await server.gone(1)  # and then closed
        assert (await http.fetch(server.request())).body == b"127.0.0.2"


@on_uvloop
async def test_nothing_is_left_behind() -> None:
    """Connections are freed without the garbage collector, and so are their timers and parsers."""
    async with upstream(answering(OK)) as server, client(keepalive_timeout=0.05) as http:
        await http.fetch(server.request())
        await server.gone()
        await asyncio.sleep(0.05)
        left = Leftover(Connection, Answer, Fetch)
        gc.disable()
        try:
            for number in range(1, 4):
                await http.fetch(server.request())
                await server.gone(number)
                await asyncio.sleep(0.02)
            assert left.found() == []
        finally:
            gc.enable()


@on_uvloop
async def test_origins_that_are_given_up_keep_nothing_but_what_is_at_work() -> None:
    """What runs is finished; its connection is closed then, and the pool forgotten."""
    async with upstream(answering(OK)) as idle, upstream(numbered) as busy, client() as http:
        await http.fetch(idle.request())
        running = http.fetch(busy.request())
        await asyncio.sleep(0)
        http.keep_only([])
        assert not http._pools
        assert "0" in (await running).body.decode()
        async with asyncio.timeout(PATIENCE):
            while http._retired:
                await asyncio.sleep(0.005)
        await idle.gone()
        await busy.gone()


@on_uvloop
async def test_an_origin_that_stays_keeps_its_connections() -> None:
    async with upstream(answering(OK)) as server, client() as http:
        await http.fetch(server.request())
        http.keep_only([server.origin])
        await http.fetch(server.request())
        assert len(server.peers) == 1


@on_uvloop
async def test_another_keepalive_holds_for_what_is_idle_already() -> None:
    async with upstream(answering(OK)) as server, client() as http:
        await http.fetch(server.request())
        http.set_keepalive(0.0)
        await http.fetch(server.request())
        assert len(server.peers) == 2
