"""What only the kernel knows of a connection, and what it is to do when one ends."""

import asyncio
import select
import socket
import struct

HAS_LEFT = select.POLLRDHUP | select.POLLHUP | select.POLLERR
LINGER = struct.Struct("ii")  # whether, and for how many seconds


def has_left(transport: asyncio.Transport) -> bool:
    """Return whether the other end has closed its sending side, or all; for a connection that is not read from."""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), HAS_LEFT)
    return bool(poll.poll(0))


def reset_on_close(transport: asyncio.Transport) -> None:
    """Have a connection end by a reset; a Unix socket knows none."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER.pack(1, 0))
