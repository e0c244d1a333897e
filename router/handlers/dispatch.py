"""From the wire to the handlers: what `Application` does for every request, without what no handler here uses.

Tornado's own delegates parse the query into arguments twice over, and run a handler's task through two futures while
the body comes. Here the arguments are parsed when somebody asks for them, and a relayed request's handler runs once
its body is whole; what is wrong with its head is told before the body is read, all the same.
"""

import asyncio
import re
from collections.abc import Awaitable
from functools import cached_property, lru_cache
from typing import Any

from tornado.escape import parse_qs_bytes
from tornado.httputil import (
    HTTPHeaders,
    HTTPInputError,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.web import Application, HTTPError

from router.errors import AnswerError
from router.handlers.relayed import RelayedHandler
from router.wire.headers import RequestHeaders
from router.wire.server import ServerConnection

# A name or an IPv4 address as in RFC 3986 section 3.2.2, or an IPv6 address in brackets; then a port, perhaps.
# Tornado's own rule lets brackets and colons stand anywhere.
HOST = re.compile(r"(\[[0-9A-Za-z:.%\-_~]+\]|[A-Za-z0-9\-._~!$&'()*+;=%]+)(?::\d{0,5})?")
LONGEST_HOST = 300  # a name in the DNS has at most 253 characters, and what is remembered must stay small
KNOWN_HOSTS = 1024  # spellings of Host remembered; clients send a few
MAX_ARGUMENTS = 1000  # of a query; as in Tornado


@lru_cache(KNOWN_HOSTS)
def host_name(host: str) -> str:
    """Return the name in a Host field, without its port. Raises `HTTPInputError` for one that is none."""
    found = HOST.fullmatch(host)
    if found is None:
        raise HTTPInputError(f"Invalid Host header: {host!r}")
    return found[1].lower()


class LeanRequest(HTTPServerRequest):
    """Tornado's request, whose arguments are parsed when they are asked for."""

    def __init__(self, start_line: RequestStartLine, headers: RequestHeaders, connection: ServerConnection) -> None:
        """Set what Tornado's constructor sets, but for the arguments. Raises `HTTPInputError` for a bad Host."""
        self.method, self.uri, self.version = start_line
        self.headers = headers
        self.body = b""
        self.remote_ip = connection.context.remote_ip
        self.protocol = connection.context.protocol
        host = headers.first("Host")
        self.host = "127.0.0.1" if host is None else host  # HTTP/1.0 needs none; the wire sees to 1.1
        if len(self.host) > LONGEST_HOST:
            raise HTTPInputError(f"The Host header is too long; the limit is {LONGEST_HOST} characters")
        self.host_name = host_name(self.host)
        self.files = {}
        self.body_arguments = {}
        self.connection = self.server_connection = connection
        self._start_time = 0.0
        self._finish_time = None
        self.path, _, self.query = (self.uri or "").partition("?")

    @cached_property
    def arguments(self) -> dict[str, list[bytes]]:  # type: ignore[override]
        """The query's arguments. Raises `HTTPError` 400 for more than are read: it is a handler that asks for them."""
        try:
            return parse_qs_bytes(self.query, keep_blank_values=True, max_num_fields=MAX_ARGUMENTS)
        except ValueError as error:
            raise HTTPError(400, f"Invalid query string: {error}") from error

    @cached_property
    def query_arguments(self) -> dict[str, list[bytes]]:  # type: ignore[override]
        """The same: nobody adds a body's arguments to them."""
        return {name: list(values) for name, values in self.arguments.items()}


class Dispatch(HTTPMessageDelegate):
    """Finds the handler of one request, and passes on to it what comes."""

    __slots__ = ("_application", "_connection", "_delegate")

    def __init__(self, application: Application, connection: ServerConnection) -> None:
        """`application.find_handler` decides."""
        self._application = application
        self._connection = connection
        self._delegate: HTTPMessageDelegate | None = None

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        """Find the handler."""
        assert isinstance(start_line, RequestStartLine)
        assert isinstance(headers, RequestHeaders)
        request = LeanRequest(start_line, headers, self._connection)
        self._delegate = delegate = self._application.find_handler(request)
        return delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Pass on a piece of the body."""
        assert self._delegate is not None
        return self._delegate.data_received(chunk)

    def finish(self) -> None:
        """The request is whole."""
        assert self._delegate is not None
        self._delegate.finish()

    def on_connection_close(self) -> None:
        """It will not become whole."""
        if self._delegate is not None:
            self._delegate.on_connection_close()


class Receiving(HTTPMessageDelegate):
    """Receives a request that is to be relayed; its handler runs when it is whole, or is refused by its head."""

    __slots__ = ("_handler",)

    def __init__(
        self, application: Application, request: LeanRequest, settings: dict[str, Any], handler: type[RelayedHandler]
    ) -> None:
        """`settings`: for `RelayedHandler.initialize`; `handler`: that class, or one that does more."""
        self._handler = handler(application, request, **settings)

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        """Refuse what need not be read to be refused: the handler runs at once, and tells it.

        The body waits for that: else a client that has asked first would be told to send it.
        """
        try:
            self._handler.prepare()
        except AnswerError:
            return self._run()
        return None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Collect the body, as long as there is memory for it."""
        handler = self._handler
        handler.data_received(chunk)
        return self._run() if handler.context.guard.strain is not None and handler.gives_way() else None

    def finish(self) -> None:
        """Run the handler."""
        handler = self._handler
        if handler.is_prepared:
            handler.task = handler.context.relay.loop.create_task(handler.serve())
        elif handler.task is None:
            self._run()

    def on_connection_close(self) -> None:
        """The client has left while it was sending."""
        self._handler.on_connection_close()

    def _run(self) -> "asyncio.Task[None]":
        """Let Tornado run a handler that relays nothing: it asks `prepare` once more, and tells what that raises."""
        handler = self._handler
        loop = handler.context.relay.loop
        body = handler.request._body_future = loop.create_future()  # what a handler of a streamed body waits for
        body.set_result(None)
        task = handler.task = loop.create_task(handler._execute([]))
        return task
