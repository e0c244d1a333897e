"""Accepting beside other processes, which are told here by the same shared table that real workers have."""

import asyncio
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from router.process.counts import Connections, Table, new_file
from router.wire.acceptor import PATIENCE, PAUSE, PER_TURN, Acceptor
from router.wire.server import bind_sockets
from tests.wire.served import on_uvloop


class Worker:
    """One process that accepts, and another one of which only the count is known."""

    def __init__(self, fd: int) -> None:
        self.own, self.other = Connections(Table(fd), 0), Connections(Table(fd), 1)
        self.open: list[socket.socket] = []
        (sock,) = bind_sockets("127.0.0.1", 0)
        self.port = sock.getsockname()[1]
        self.acceptor = Acceptor(sock, self.own, connect=self._take, connections=lambda: len(self.open))

    async def _take(self, sock: socket.socket) -> None:
        self.open.append(sock)

    def connect(self, count: int) -> None:
        """Let so many clients connect, which the kernel does without us."""
        self.open_ends = [socket.create_connection(("127.0.0.1", self.port), 5) for _ in range(count)]

    async def has(self, count: int, *, within: float = 5.0) -> bool:
        """Return whether it comes to so many connections."""
        try:
            async with asyncio.timeout(within):
                while len(self.open) < count:
                    await asyncio.sleep(PAUSE)
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        for sock in (*self.open, *getattr(self, "open_ends", ())):
            sock.close()


@pytest.fixture
def fd() -> Iterator[int]:
    fd = new_file()
    yield fd
    os.close(fd)


@contextmanager
def worker(fd: int) -> Iterator[Worker]:
    one = Worker(fd)
    try:
        yield one
    finally:
        one.acceptor.close()
        one.close()


def test_who_is_alone_accepts_all(fd: int) -> None:
    """More than are accepted in one turn, too."""

    @on_uvloop
    async def test() -> None:
        with worker(fd) as one:
            one.connect(3 * PER_TURN + 1)

            assert await one.has(3 * PER_TURN + 1)

    test()


def test_a_burst_is_not_accepted_in_one_turn_of_the_loop(fd: int) -> None:
    """Others that were woken with us shall find something."""

    @on_uvloop
    async def test() -> None:
        with worker(fd) as one:
            one.other.note(100)
            one.connect(3 * PER_TURN)
            for _ in range(3):  # at the latest in the second turn the socket is seen to be ready
                await asyncio.sleep(0)

            assert len(one.open) <= 2 * PER_TURN
            assert await one.has(3 * PER_TURN)

    test()


def test_who_has_more_leaves_connections_to_who_has_fewer_as_long_as_that_one_moves(fd: int) -> None:
    """Until both have as many."""

    @on_uvloop
    async def test() -> None:
        with worker(fd) as one:
            one.other.note(0)
            one.connect(PER_TURN)
            assert await one.has(PER_TURN)  # at first both have none
            one.connect(1)
            for count in range(1, PER_TURN - 1):
                one.other.note(count)
                assert not await one.has(PER_TURN + 1, within=PATIENCE * PAUSE / 4)
            one.other.note(PER_TURN)

            assert await one.has(PER_TURN + 1)

    test()


def test_a_process_that_does_not_move_holds_nobody_up_for_long_and_nobody_twice(fd: int) -> None:
    """It hangs, or is stopped, and has fewer connections."""

    @on_uvloop
    async def test() -> None:
        with worker(fd) as one:
            one.other.note(0)
            one.connect(PER_TURN + 1)
            assert await one.has(PER_TURN + 1)
            assert one.acceptor._waited == PATIENCE + 1
            one.connect(1)

            assert await one.has(PER_TURN + 2)
            assert one.acceptor._waited == PATIENCE + 2  # a look, and no pause

    test()


def test_a_process_that_has_left_is_not_waited_for(fd: int) -> None:
    """A worker that ends says so, and a parent clears what a dead one has left."""

    @on_uvloop
    async def test() -> None:
        with worker(fd) as one:
            one.other.note(0)
            one.other.leave()
            one.connect(2 * PER_TURN)

            assert await one.has(2 * PER_TURN)
            assert one.acceptor._waited == 0

    test()


def test_a_closed_one_accepts_nobody_and_says_so(fd: int) -> None:
    """In the middle of a pause, too; others who listen on the socket go on."""

    @on_uvloop
    async def test() -> None:
        with worker(fd) as one:
            one.other.note(0)
            one.connect(PER_TURN)
            assert await one.has(PER_TURN)
            one.connect(1)
            await asyncio.sleep(PAUSE)
        await asyncio.sleep(3 * PAUSE)

        assert len(one.open) == PER_TURN
        assert not one.other.is_ahead(1_000_000)

    test()


def test_who_has_no_descriptor_left_waits_for_one(fd: int) -> None:
    """The client waits meanwhile, and is served by us or by another process."""

    @on_uvloop
    async def test() -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with worker(fd) as one:
            one.connect(1)
            lowest = os.dup(0)
            os.close(lowest)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
            try:
                assert not await one.has(1, within=5 * PAUSE)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

            assert await one.has(1)

    test()
