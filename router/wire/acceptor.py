"""Accepting where several processes listen on one socket, so that each gets its share of the connections.

The kernel wakes all of them, and who accepts until nobody waits takes a whole burst. So here a few are accepted in each
turn of the loop; and who has more connections than another process leaves them to that one, as long as anything moves
there: a process that is busy or hangs holds up no client for longer than PATIENCE, and none a second time.
"""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from typing import Protocol

PER_TURN = 4  # connections
PAUSE = 0.002  # seconds between two looks at whether others have accepted
PATIENCE = 25  # of such pauses: turns of a busy loop take that long, and no client minds
FULL_PAUSE = 0.1  # seconds to wait where descriptors or memory have run out
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Share(Protocol):
    """What the processes know of each other."""

    def note(self, count: int, /) -> None:
        """Let the others know that we accept, and have so many connections."""

    def leave(self) -> None:
        """Let the others know that we accept no more."""

    def is_ahead(self, count: int, /) -> bool:
        """Return whether we, with so many connections, have more than another process that accepts."""

    def others(self) -> int:
        """Return a number that changes when others accept, or lose a connection."""


class Acceptor:
    """Accepts on one listening socket until it is closed. Made in its running loop."""

    def __init__(
        self,
        sock: socket.socket,
        share: Share,
        *,
        connect: Callable[[socket.socket], Awaitable[None]],
        connections: Callable[[], int],
    ) -> None:
        """`sock`, which listens already, is ours from now on.

        `connect` takes an accepted socket over, and must not raise; `connections`: how many there are.
        """
        self._sock = sock
        self._share = share
        self._connect = connect
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._pausing: asyncio.TimerHandle | None = None
        self._others = 0  # as they were when we last saw them move
        self._waited = 0  # pauses since then
        self._connecting: set[asyncio.Future[None]] = set()
        sock.setblocking(False)
        share.note(connections())
        self._loop.add_reader(sock.fileno(), self._ready)

    def close(self) -> "set[asyncio.Future[None]]":
        """Accept no more; what was accepted goes on. Return what is still on its way to `connect`'s end."""
        if self._pausing is None:
            self._loop.remove_reader(self._sock.fileno())
        else:
            self._pausing.cancel()
        self._share.leave()
        self._sock.close()
        return set(self._connecting)

    def _ready(self) -> None:
        count = self._connections() + len(self._connecting)
        self._share.note(count)
        if self._share.is_ahead(count) and self._waits():
            self._pause(PAUSE)
        elif not self._accept():
            self._pause(FULL_PAUSE)

    def _waits(self) -> bool:
        """Return whether others are still waited for."""
        others = self._share.others()
        if others != self._others:
            self._others, self._waited = others, 0
        self._waited += 1
        return self._waited <= PATIENCE

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._sock.fileno())
        self._pausing = self._loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        self._pausing = None
        self._loop.add_reader(self._sock.fileno(), self._ready)

    def _accept(self) -> bool:
        """Accept a few connections; return whether there was room for who waits."""
        for _ in range(PER_TURN):
            try:
                accepted, _ = self._sock.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in EXHAUSTED:
                    return False
                continue  # it was reset while it waited
            task = asyncio.ensure_future(self._connect(accepted))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)
        self._share.note(self._connections() + len(self._connecting))
        return True
