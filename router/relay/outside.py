"""What the relay needs of the world, and the limits it works under: clocks, dice, the client, settings."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from tornado.httpclient import AsyncHTTPClient

from router.exchange import Exchange
from router.observe.exposition import Distribution
from router.relay.headers import ToClient
from router.wire.wheel import Wheel


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds; None switches one off. See `timeouts` in docs/configuration.md."""

    connect: float | None = 2.0
    first_byte: float | None = 120.0  # until the answer begins
    unstreamed: float | None = 600.0  # the same, where the answer comes in one piece
    idle: float | None = 60.0  # between bytes of an answer that has begun
    keepalive_after: float | None = 20.0  # before comments keep the client's connection open


@dataclass(frozen=True, slots=True)
class Outside:
    """The world as the relay sees it."""

    client: AsyncHTTPClient
    timeouts: Timeouts
    loop: asyncio.AbstractEventLoop
    timers: Wheel  # of that loop, for what an exchange waits for
    clock: Callable[[], float]  # monotonic seconds
    wall_clock: Callable[[], float]  # seconds since the epoch
    dice: Callable[[], float]  # a random number from 0 to 1
    event_gaps: Callable[[Exchange], Distribution]  # where seconds between reads of a stream are counted
    new_call_id: Callable[[], str]  # nine random letters or digits, for tool calls that came without an id
    to_client: ToClient  # which lines of a backend's head travel
    usual_texts: set[bytes] = field(default_factory=set)  # of streams' events, which are known to be text alone
