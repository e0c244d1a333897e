"""What all connections of one server share, and how each of them is known to the application."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tornado.httputil import HTTPServerConnectionDelegate

from router.wire.limits import READ_SIZE, ServerLimits

if TYPE_CHECKING:
    from router.wire.server_connection import ServerConnection

ErrorRenderer = Callable[[int, str], tuple[str, bytes]]  # (status, message) -> (content type, body)


@dataclass(slots=True)
class Service:
    """Shared by the connections of one server."""

    delegate: HTTPServerConnectionDelegate
    limits: ServerLimits
    render_error: ErrorRenderer
    loop: asyncio.AbstractEventLoop
    done: "asyncio.Future[None]"  # what a write returns that need not be waited for
    buffer: memoryview = field(default_factory=lambda: memoryview(bytearray(READ_SIZE)))  # of the read being parsed
    connections: "set[ServerConnection]" = field(default_factory=set)
    draining: bool = False  # every answer from now on is the last of its connection
    emptied: asyncio.Event = field(default_factory=asyncio.Event)  # set when the last connection has gone


@dataclass(frozen=True, slots=True)
class Context:
    """Who is at the other end, as Tornado's `HTTPServerRequest` wants to know it."""

    remote_ip: str  # "0.0.0.0" behind a Unix socket, as in Tornado
    protocol: str  # "http" or "https"


def plain_error(status: int, message: str) -> tuple[str, bytes]:
    """Render an error as one line of text."""
    return "text/plain; charset=utf-8", f"{status} {message}\n".encode("utf-8", "replace")
