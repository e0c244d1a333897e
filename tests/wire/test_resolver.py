"""Rules of names: cached, refreshed aside, never blocking."""

import asyncio
import logging
import socket
import threading
import time

import pytest

from router.errors import ConnectError, ConnectTimeout
from router.wire import resolver as resolver_module
from router.wire.client import Origin, Request
from router.wire.resolver import Addresses, Resolver, is_literal, look_up
from tests.wire.upstream import OK, answering, client, on_uvloop, upstream


class Names:
    """A name server whose answers can be changed."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked = 0
        self.answered = 0
        self.delay = 0.0
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.fails = False

    def __call__(self, host: str, port: int) -> Addresses:
        self.asked += 1
        time.sleep(self.delay)
        self.may_answer.wait(10)
        self.answered += 1
        if self.fails:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self.addresses


async def until_idle(resolver: Resolver) -> None:
    while "running=0" not in repr(resolver):
        await asyncio.sleep(0.005)


@on_uvloop
async def test_a_name_is_asked_for_once_while_its_answer_is_fresh() -> None:
    names = Names("127.0.0.1", "::1")
    resolver = Resolver(lookup=names)
    assert resolver.current("a.test", 80) is None
    answers = await asyncio.gather(*(resolver.resolve("a.test", 80) for _ in range(10)))
    assert set(answers) == {("127.0.0.1", "::1")}
    assert resolver.current("a.test", 80) == ("127.0.0.1", "::1")
    assert names.asked == 1


@pytest.mark.row(87)
@on_uvloop
async def test_an_old_answer_is_used_while_a_new_one_is_fetched_aside() -> None:
    names = Names("127.0.0.1")
    resolver = Resolver(ttl=0.0, lookup=names)
    await resolver.resolve("a.test", 80)
    names.addresses, names.delay = ("127.0.0.2",), 0.1
    for _ in range(3):
        assert await resolver.resolve("a.test", 80) == ("127.0.0.1",)
    await until_idle(resolver)
    assert names.asked == 2
    assert resolver.current("a.test", 80) == ("127.0.0.2",)


@pytest.mark.row(87)
@on_uvloop
async def test_a_failed_refresh_keeps_the_old_addresses_and_is_not_repeated_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    names = Names("127.0.0.1")
    resolver = Resolver(ttl=0.0, lookup=names)
    await resolver.resolve("a.test", 80)
    names.fails = True
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            assert resolver.current("a.test", 80) == ("127.0.0.1",)
            await until_idle(resolver)
            await asyncio.sleep(0)
    assert names.asked == 2
    assert "a.test does not resolve any more" in caplog.text


@on_uvloop
async def test_a_failed_first_question_is_told_and_asked_again_the_next_time() -> None:
    names = Names("127.0.0.1")
    names.fails = True
    resolver = Resolver(lookup=names)
    for _ in range(2):
        with pytest.raises(OSError, match="not known"):
            await resolver.resolve("a.test", 80)
    names.fails = False
    assert await resolver.resolve("a.test", 80) == ("127.0.0.1",)


@on_uvloop
async def test_who_gives_up_does_not_take_the_answer_from_the_others() -> None:
    names = Names("127.0.0.1")
    names.delay = 0.1
    resolver = Resolver(lookup=names)
    first = asyncio.ensure_future(resolver.resolve("a.test", 80))
    second = asyncio.ensure_future(resolver.resolve("a.test", 80))
    await asyncio.sleep(0.01)
    first.cancel()
    assert await second == ("127.0.0.1",)
    assert names.asked == 1


@on_uvloop
async def test_slow_resolution_does_not_block_the_loop_and_ends_with_the_connect_timeout() -> None:
    names = Names("127.0.0.1")
    names.may_answer.clear()
    try:
        async with client(resolver=Resolver(lookup=names)) as http:
            with pytest.raises(ConnectTimeout):
                await http.fetch(Request(origin=Origin("http", "slow.test", 80), connect_timeout=0.1))
            assert (names.asked, names.answered) == (1, 0), "the loop went on meanwhile"
    finally:
        names.may_answer.set()


@on_uvloop
async def test_cancelling_a_fetch_while_its_name_is_asked_for_ends_it_at_once() -> None:
    names = Names("127.0.0.1")
    names.delay = 0.3
    async with client(resolver=Resolver(lookup=names)) as http:
        fetch = http.fetch(Request(origin=Origin("http", "slow.test", 80)))
        await asyncio.sleep(0.02)
        fetch.cancel()
        assert "open=0" in repr(http)
        with pytest.raises(asyncio.CancelledError):
            await fetch


@on_uvloop
async def test_a_name_without_an_address_is_a_connect_error() -> None:
    names = Names()
    async with client(resolver=Resolver(lookup=names)) as http:
        for host in ("nowhere.test", "x" * 70 + ".test"):
            with pytest.raises(ConnectError) as failed:
                await http.fetch(Request(origin=Origin("http", host, 80), connect_timeout=5))
            assert not failed.value.refused
    async with client() as http:
        with pytest.raises(ConnectError):
            await http.fetch(Request(origin=Origin("http", "x" * 70 + ".test", 80), connect_timeout=5))


@on_uvloop
async def test_the_systems_own_names_work() -> None:
    async with upstream(answering(OK), name="localhost") as server, client() as http:
        assert (await http.fetch(server.request())).code == 200


def test_addresses_are_told_from_names() -> None:
    assert [is_literal(host) for host in ("127.0.0.1", "::1", "localhost", "a.test")] == [True, True, False, False]


def test_the_system_is_asked_for_each_address_once() -> None:
    assert look_up("127.0.0.1", 80) == ("127.0.0.1",)
    assert resolver_module.DNS_TTL == 30.0


@on_uvloop
async def test_names_that_are_given_up_are_forgotten_and_another_ttl_holds_for_the_next_answers() -> None:
    names = Names("10.0.0.1")
    resolver = Resolver(ttl=100.0, lookup=names)
    await resolver.resolve("a", 80)
    await resolver.resolve("b", 80)
    resolver.keep_only({("b", 80)})
    assert (resolver.current("a", 80), resolver.current("b", 80)) == (None, ("10.0.0.1",))

    resolver.set_ttl(0.0)
    await resolver.resolve("a", 80)
    resolver.current("a", 80)
    await until_idle(resolver)
    assert names.asked == 4
