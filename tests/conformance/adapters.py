"""Our server and our client under the names and the arguments that Tornado's own tests use.

Nothing of the tests is changed: the names that they import are pointed at these. What we do not have is passed over,
so that whoever needs it fails, and stands in `expected`.
"""

import logging
import ssl
from typing import Any

from tornado import testing
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import _CallableAdapter
from tornado.httputil import HTTPConnection, HTTPMessageDelegate, HTTPServerConnectionDelegate
from tornado.netutil import OverrideResolver
from tornado.netutil import Resolver as TornadoResolver

from router.errors import (
    BadResponse,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    FirstByteTimeout,
    IdleTimeout,
    TotalTimeout,
)
from router.wire.client import PooledHTTPClient
from router.wire.limits import ServerLimits
from router.wire.resolver import Addresses, Resolver
from router.wire.server import HTTPServer

LIMITS = {  # Tornado's name of a limit: ours
    "max_header_size": "header_bytes",
    "idle_connection_timeout": "idle_timeout",
    "body_timeout": "body_timeout",
    "max_body_size": "body",
}
# What a test names as the error of a fetch that did not come to an answer: ours of that kind.
TIMEOUTS = (ConnectTimeout, FirstByteTimeout, IdleTimeout, TotalTimeout)
LOST = (ConnectionLost, BadResponse)


class Server(HTTPServer):
    """`router.wire.server.HTTPServer`, made as Tornado's is."""

    def __init__(self, request_callback: Any, **options: Any) -> None:
        """Options that are Tornado's alone are passed over."""
        limits = {LIMITS[name]: value for name, value in options.items() if name in LIMITS}
        is_delegate = isinstance(request_callback, HTTPServerConnectionDelegate)
        delegate = request_callback if is_delegate else _Function(request_callback)
        super().__init__(delegate, limits=ServerLimits(**limits), ssl_options=options.get("ssl_options"))


class _Function(HTTPServerConnectionDelegate):
    """A plain function of a request, as Tornado's server takes one too."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        return _CallableAdapter(self._function, request_conn)


class _Through(Resolver):
    """A resolver of Tornado's, asked by our client."""

    def __init__(self, theirs: TornadoResolver) -> None:
        super().__init__()
        self._theirs = theirs

    def current(self, host: str, port: int) -> None:
        """Nothing is known before it is asked."""

    async def resolve(self, host: str, port: int) -> Addresses:
        """Ask it."""
        return tuple(address[0] for _, address in await self._theirs.resolve(host, port))


class Client(PooledHTTPClient):
    """`router.wire.client.PooledHTTPClient`, made as Tornado's simple client is."""

    def initialize(self, **options: Any) -> None:  # type: ignore[override]
        """Options that are Tornado's alone are passed over."""
        ours: dict[str, Any] = {"defaults": options.get("defaults")}
        resolver = options.get("resolver")
        if options.get("hostname_mapping") is not None:
            resolver = OverrideResolver(resolver or TornadoResolver(), options["hostname_mapping"])
        if resolver is not None:
            ours["resolver"] = _Through(resolver)
        for theirs, name in (
            ("max_clients", "max_connections_per_origin"),
            ("max_header_size", "max_header_bytes"),
            ("max_body_size", "max_body_size"),
        ):
            if options.get(theirs) is not None:
                ours[name] = options[theirs]
        self.max_clients = options.get("max_clients", 10)  # Tornado's default; ours is no limit
        super().initialize(**ours)

    @property
    def queue(self) -> list[Any]:
        """What waits for a connection."""
        return [fetch for pool in self._pools.values() for fetch in pool._waiting]


class Lenient(testing.ExpectLog):
    """Takes the log lines that a test expects, but does not miss them: we say such things by metrics, or not at all."""

    def __init__(self, logger: Any, regex: str, required: bool = True, level: int | None = None) -> None:
        """As Tornado's."""
        super().__init__(logger, regex, required=False, level=None)


class AsTornado(logging.Filter):
    """Tells what our wire says of an application's own fault in the words and by the logger that Tornado has for it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rename it."""
        if record.getMessage() == "uncaught exception of a delegate":
            logging.getLogger("tornado.application").error("Uncaught exception", exc_info=record.exc_info)
            return False
        return True


def put_server(modules: list[Any]) -> None:
    """Have these modules of tests serve by ours."""
    logging.getLogger("router.wire.delivery").addFilter(AsTornado())
    for module in (testing, *modules):
        _point(module, {"HTTPServer": Server, "ExpectLog": Lenient})


def put_client(modules: list[Any]) -> None:
    """Have these modules of tests fetch by ours."""
    AsyncHTTPClient.configure(Client)
    for module in modules:
        names = {
            "SimpleAsyncHTTPClient": Client,
            "HTTPTimeoutError": TIMEOUTS,
            "HTTPStreamClosedError": LOST,
            "UnsatisfiableReadError": BadResponse,
            "ExpectLog": Lenient,
        }
        _point(module, names)
        if hasattr(module, "ssl"):
            module.ssl = _Ssl()


class _Ssl:
    """The module `ssl`, whose SSLError is what our client says of a handshake that failed."""

    SSLError = ConnectError

    def __getattr__(self, name: str) -> Any:
        return getattr(ssl, name)


def _point(module: Any, names: dict[str, Any]) -> None:
    for name, value in names.items():
        if hasattr(module, name):
            setattr(module, name, value)
