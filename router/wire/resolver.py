"""Names to addresses, without ever blocking the loop.

The first question for a name waits for its answer. From then on the known addresses are given at once; when they are
older than `ttl`, they are asked for again in the background, and a failure of that keeps the old ones: a name server
that is down must not take backends down that are up. One question per name runs at a time, in the loop's executor.
"""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable, Collection

DNS_TTL = 30.0  # seconds; getaddrinfo does not tell the record's own, and headless services change within this
RETRY_AFTER = 5.0  # seconds until a failed refresh is tried again

Addresses = tuple[str, ...]  # numeric, in the order in which they are to be tried
Lookup = Callable[[str, int], Addresses]  # blocking; raises OSError

log = logging.getLogger(__name__)


def look_up(host: str, port: int) -> Addresses:
    """Ask the system's resolver. Blocks; raises OSError (socket.gaierror)."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that is empty or too long
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from error
    return tuple(dict.fromkeys(_text(address) for *_, address in found))


def _text(address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]) -> str:
    return str(address[0])  # a scope ("%eth0") stands in the text already


class Resolver:
    """Cached addresses of names. `await resolve()` for the first time, `current()` ever after."""

    def __init__(self, *, ttl: float = DNS_TTL, lookup: Lookup = look_up) -> None:
        """`ttl`: seconds after which addresses are asked for again; `lookup` runs in a thread."""
        self._ttl = ttl
        self._lookup = lookup
        self._known: dict[tuple[str, int], Addresses] = {}
        self._stale_at: dict[tuple[str, int], float] = {}
        self._running: dict[tuple[str, int], asyncio.Task[Addresses]] = {}

    def __repr__(self) -> str:
        """Show how many names are known."""
        return f"<Resolver known={len(self._known)} running={len(self._running)}>"

    def current(self, host: str, port: int) -> Addresses | None:
        """Return what is known now, None if nothing is. Starts a refresh in the background when that is old."""
        if is_literal(host):
            return (host,)
        key = (host, port)
        known = self._known.get(key)
        if known is not None and key not in self._running:
            loop = asyncio.get_event_loop()
            if loop.time() >= self._stale_at[key]:
                task = self._start(key)
                task.add_done_callback(lambda done: self._refreshed(key, done))
        return known

    async def resolve(self, host: str, port: int) -> Addresses:
        """Return addresses, waiting only when none are known. Raises OSError."""
        known = self.current(host, port)
        if known is not None:
            return known
        key = (host, port)
        # shielded: others may wait for the same answer, and a thread cannot be stopped anyway
        return await asyncio.shield(self._running.get(key) or self._start(key))

    def set_ttl(self, ttl: float) -> None:
        """Ask again after so many seconds; addresses that are known keep their time."""
        self._ttl = ttl

    def keep_only(self, names: Collection[tuple[str, int]]) -> None:
        """Forget the addresses of all other names, given as (host, port)."""
        for key in [known for known in self._stale_at if known not in names]:
            self._known.pop(key, None)
            del self._stale_at[key]

    def close(self) -> None:
        """Wait for no answer any more."""
        for task in self._running.values():
            task.cancel()
        self._running.clear()

    def _start(self, key: tuple[str, int]) -> asyncio.Task[Addresses]:
        task = asyncio.get_event_loop().create_task(self._ask(key))
        self._running[key] = task
        task.add_done_callback(_see_error)
        return task

    async def _ask(self, key: tuple[str, int]) -> Addresses:
        loop = asyncio.get_running_loop()
        try:
            addresses = await loop.run_in_executor(None, self._lookup, *key)
            if not addresses:
                raise socket.gaierror(socket.EAI_NONAME, "no address")
            self._known[key] = addresses
            self._stale_at[key] = loop.time() + self._ttl
            return addresses
        except OSError:
            self._stale_at[key] = loop.time() + RETRY_AFTER
            raise
        finally:
            self._running.pop(key, None)

    def _refreshed(self, key: tuple[str, int], task: asyncio.Task[Addresses]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.warning("name %s does not resolve any more; its old addresses stay in use", key[0])


def is_literal(host: str) -> bool:
    """Whether `host` is an address and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _see_error(task: "asyncio.Task[Addresses]") -> None:
    """Take note of an error that nobody waits for any more."""
    if not task.cancelled():
        task.exception()
