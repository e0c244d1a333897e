"""The connections to one origin: who gets which, who waits, who is dropped.

The one used last is lent first (LIFO), so that few stay warm and the rest grows old. An idle connection is dropped
after `keepalive` seconds by a sweep that runs only while there are idle ones. With a maximum, fetches wait in their
order for a connection, no longer than their connect timeout. The pool never tries again by itself: the caller knows
what may be repeated.
"""

import asyncio
import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass

from router.errors import ConnectionLost, ConnectTimeout, TotalTimeout
from router.wire.answer import AnswerLimits
from router.wire.client_request import Origin
from router.wire.connection import Connection
from router.wire.dialer import Dialer
from router.wire.fetch import Fetch
from router.wire.resolver import Resolver, is_literal
from router.wire.timer import INFINITE, SLACK

KEEPALIVE = 4.0  # seconds; vLLM (uvicorn) closes idle connections after 5
ADDRESS_CHECK = 1.0  # seconds between two looks at what the origin's name stands for


@dataclass(frozen=True, slots=True)
class PoolRules:
    """How many connections, and for how long."""

    keepalive: float = KEEPALIVE  # seconds
    max_connections: int | None = None  # per origin, connecting ones included; None: no limit
    limits: AnswerLimits = AnswerLimits()  # noqa: RUF009  # frozen


class Pool:
    """See the module's docstring."""

    def __init__(
        self, origin: Origin, rules: PoolRules, *, loop: asyncio.AbstractEventLoop, dialer: Dialer, resolver: Resolver
    ) -> None:
        """Opens nothing yet."""
        self.origin = origin
        self.host_line = f"Host: {origin.authority}\r\n".encode("ascii")
        self._rules = rules
        self._loop = loop
        self._dialer = dialer
        self._resolver = resolver
        self._idle: list[Connection] = []  # the one used last at the end
        self._all: set[Connection] = set()
        self._waiting: dict[Fetch, asyncio.TimerHandle | None] = {}  # in order
        self._dialing: dict[asyncio.Task[None], Fetch] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._check_at = INFINITE if origin.unix_path is not None or is_literal(origin.host) else 0.0
        self._addresses: tuple[str, ...] | None = None
        self._on_empty: Callable[[Pool], None] | None = None  # of a pool that nobody asks any more

    def __repr__(self) -> str:
        """Show the counts."""
        return f"<Pool {self.origin} open={len(self._all)} idle={len(self._idle)} waiting={len(self._waiting)}>"

    @property
    def is_empty(self) -> bool:
        """Whether nothing is open and nobody waits."""
        return not self._all and not self._waiting

    def start(self, fetch: Fetch) -> None:
        """Find `fetch` a connection, or open one, or let it wait."""
        now = fetch.started
        if now >= self._check_at:
            self._check_addresses(now)
        if self._idle and not fetch.request.fresh:
            connection = self._idle.pop()
            if now - connection.idle_since < self._rules.keepalive:
                connection.send(fetch)
                return
            self._idle.append(connection)
            self._drop_old(now)
        if not self._has_room() and self._idle:
            self._idle[0].close()  # for a fetch that insists on a fresh one
        if self._has_room():
            self._open(fetch)
        else:
            self._queue(fetch)

    def change(self, rules: PoolRules) -> None:
        """Go by other rules from now on; connections that are open stay under their limits of sizes."""
        self._rules = rules

    def retire(self, on_empty: "Callable[[Pool], None]") -> None:
        """Close what is idle now, and the rest when it becomes free; then, or at once, `on_empty(self)` is called."""
        self._on_empty = on_empty
        for connection in list(self._all):
            connection.is_retired = True
        for connection in list(self._idle):
            connection.close()
        self._tell_empty()

    def close(self) -> None:
        """Close everything; fetches that run fail."""
        unsent = ConnectionLost("the client was closed", reused=False, received=False)
        for fetch in list(self._waiting):
            self._leave(fetch)
            fetch.fail(unsent)
        for task, fetch in self._dialing.items():
            task.cancel()
            fetch.fail(unsent)
        for connection in list(self._all):
            connection.abandon("the client was closed")
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    # ---- what connections call

    def released(self, connection: Connection) -> None:
        """A connection is free: it goes to whoever waits longest, or becomes idle."""
        while self._waiting:
            fetch = next(iter(self._waiting))
            if fetch.request.fresh:
                connection.close()  # makes room: `closed` opens another one
                return
            self._leave(fetch)
            if not fetch.done():
                connection.send(fetch)
                return
        connection.idle_since = self._loop.time()
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(self._rules.keepalive, self._sweep)

    def closed(self, connection: Connection) -> None:
        """A connection is gone: there is room for whoever waits longest."""
        self._all.discard(connection)
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)
        while self._waiting and self._has_room():
            fetch = next(iter(self._waiting))
            self._leave(fetch)
            if not fetch.done():
                self._open(fetch)
        self._tell_empty()

    # ---- the parts of it

    def _tell_empty(self) -> None:
        if self._on_empty is not None and self.is_empty:
            if self._sweeper is not None:
                self._sweeper.cancel()
                self._sweeper = None
            self._on_empty(self)

    def _has_room(self) -> bool:
        return self._rules.max_connections is None or len(self._all) < self._rules.max_connections

    def _open(self, fetch: Fetch) -> None:
        connection = Connection(self, loop=self._loop, limits=self._rules.limits)
        self._all.add(connection)
        task = self._loop.create_task(self._dial(connection, fetch))
        self._dialing[task] = fetch
        task.add_done_callback(self._dialing.pop)
        fetch.stop = functools.partial(_stop_dialing, connection, task)

    async def _dial(self, connection: Connection, fetch: Fetch) -> None:
        left = fetch.deadline - self._loop.time()
        timeout = fetch.request.connect_timeout
        is_total = left != INFINITE and (timeout is None or left < timeout)
        try:
            await self._dialer.connect(connection, self.origin, within=left if is_total else timeout)
            connection.send(fetch)
        except ConnectTimeout as error:
            fetch.fail(TotalTimeout("the whole request took too long") if is_total else error)
        except Exception as error:  # the last line of a task: a fetch must end, whatever happened
            connection.close()
            fetch.fail(error)

    def _queue(self, fetch: Fetch) -> None:
        timeout = fetch.request.connect_timeout
        due = fetch.deadline if timeout is None else min(fetch.deadline, fetch.started + timeout)
        self._waiting[fetch] = None if due == INFINITE else self._loop.call_at(due, self._expire, fetch)
        fetch.stop = functools.partial(self._leave, fetch)

    def _leave(self, fetch: Fetch) -> None:
        """Take it out of the queue."""
        timer = self._waiting.pop(fetch, None)
        if timer is not None:
            timer.cancel()

    def _expire(self, fetch: Fetch) -> None:
        self._leave(fetch)
        if self._loop.time() + SLACK >= fetch.deadline:
            fetch.fail(TotalTimeout("the whole request took too long"))
        else:
            fetch.fail(ConnectTimeout(f"no connection to {self.origin} became free in time"))

    def _sweep(self) -> None:
        self._sweeper = None
        self._drop_old(self._loop.time() + SLACK)
        if self._idle:
            self._sweeper = self._loop.call_at(self._idle[0].idle_since + self._rules.keepalive, self._sweep)

    def _drop_old(self, now: float) -> None:
        while self._idle and now - self._idle[0].idle_since >= self._rules.keepalive:
            self._idle[0].close()

    def _check_addresses(self, now: float) -> None:
        """Follow what the origin's name stands for: no new request goes to an address that has vanished."""
        self._check_at = now + ADDRESS_CHECK
        known = self._resolver.current(self.origin.host, self.origin.port)
        if known is None or known is self._addresses:
            return
        self._addresses = known
        for connection in list(self._all):
            if connection.address and connection.address not in known:
                connection.is_retired = True
        for connection in [idle for idle in self._idle if idle.is_retired]:
            connection.close()


def _stop_dialing(connection: Connection, task: asyncio.Task[None]) -> None:
    connection.close()
    task.cancel()
