"""Rules of router/wire/kernel.py. Real sockets."""

import asyncio
import socket

import pytest

from router.wire.kernel import has_left, reset_on_close
from tests.front import run, until


async def pair() -> tuple[asyncio.Transport, socket.socket]:
    """Return a transport and the other end."""
    ours, other = socket.socketpair(socket.AF_UNIX)
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    return transport, other


def test_who_has_closed_its_sending_side_has_left_and_who_sends_has_not() -> None:
    async def test() -> None:
        transport, other = await pair()
        transport.pause_reading()
        assert not has_left(transport)
        other.send(b"x")
        assert not has_left(transport)
        other.shutdown(socket.SHUT_WR)
        await until(lambda: has_left(transport))
        transport.abort()
        other.close()

    run(test)


def test_a_connection_ends_by_a_reset_where_that_is_wanted() -> None:
    async def test() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_connection(asyncio.Protocol, *listening.getsockname())
            other, _ = listening.accept()
            reset_on_close(transport)
            transport.abort()
            with other, pytest.raises(ConnectionResetError):
                await asyncio.to_thread(other.recv, 1)

    run(test)


def test_a_unix_socket_is_left_as_it_is() -> None:
    """It knows no reset, and the option would be an error on some systems."""

    async def test() -> None:
        transport, other = await pair()
        sock = transport.get_extra_info("socket")
        before = sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
        reset_on_close(transport)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == before
        transport.abort()
        other.close()

    run(test)
