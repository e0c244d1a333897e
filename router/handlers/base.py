"""What every handler does alike: ids, cross-origin rules, errors in OpenAI's form, one exchange record per request."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import orjson
import tornado.httputil
import tornado.web

from router.access.overload import Marks
from router.access.tenant import credentials_of
from router.backends.registry import Registry
from router.errors import AnswerError, InternalFault, InvalidRequest, MethodNotAllowed, StatusError, UnknownRoute
from router.exchange import Exchange, Outcome, Trace
from router.handlers.cors import Cors
from router.middleware.slot import Slot
from router.observe.guard import Guard
from router.observe.metrics import Metrics
from router.observe.redaction import Select
from router.recent import Told
from router.relay.answer import error_lines
from router.relay.headers import HARMLESS_ID
from router.relay.relay import Relay
from router.relay.sessions import Sessions
from router.wire.headers import RequestHeaders
from router.wire.server import ServerConnection

PATH_CHARACTERS = 200  # told of a path that is not served

log = logging.getLogger("router.handlers")


@dataclass(frozen=True, slots=True)
class Context:
    """What handlers work with; one object for the whole process."""

    relay: Relay
    registry: Registry
    metrics: Metrics
    cors: Cors
    clock: Callable[[], float]  # monotonic seconds
    new_id: Callable[[], str]
    exchange_opened: Callable[[Exchange], None]
    is_draining: Callable[[], bool]
    reads_chats: Callable[[], bool]  # whether some backend wants conversations translated
    dialect_of: Callable[[str], dict[str, str]]  # what a status page tells of a backend's dialect, by its name
    scrape: Callable[[str], Awaitable[tuple[str, bytes]]]  # metrics of all processes, in the form an Accept asks for
    recent: Callable[[], Awaitable[Told]]  # what happened lately in all processes
    sessions: Sessions | None = None  # None where they are off
    open_trace: Callable[[str | None, str], Trace] | None = None  # of a traceparent and an exchange's id, for spans
    deadline_header: str = "X-Request-Timeout"
    total_timeout: float | None = None  # seconds
    has_tenants: bool = True  # who asks is a tenant, told by its credentials; operators are none
    public_details: bool = False  # /health names the backends' addresses
    public_status: bool = False  # clients may see the status page
    targets: tuple[str, ...] = ()  # those addresses
    started: float = 0.0
    worker: int | None = None  # our number, where we are one of several processes
    debug: bool = False
    metrics_path: str | None = "/metrics"
    docs: bool = True  # /openapi.json, /docs and /redoc are served
    middlewares: Callable[[], tuple[Slot, ...]] = tuple  # that see what is relayed, as of now
    logged_headers: Select | None = None  # picks what an access line tells of a request's headers
    guard: Guard = field(default_factory=lambda: Guard(Marks(), at_work=lambda: 0))  # whether there is too much at work


@tornado.web.stream_request_body
class BaseHandler(tornado.web.RequestHandler):
    """Base of all handlers. None lets Tornado collect and parse a body: who does not want it does not wait for it."""

    context: Context
    exchange: Exchange
    headers_in: RequestHeaders
    own_lines: bytes  # serialised header lines that every answer carries
    route_label = ""  # of handlers that serve one path
    is_quiet = False  # probes are neither logged nor counted
    is_turned_away = False  # refused because there is too much at work, which says nothing of backends
    has_named_errors = False  # errors of this API carry a `type`

    def __init__(
        self, application: tornado.web.Application, request: tornado.httputil.HTTPServerRequest, **kwargs: Any
    ) -> None:
        """Set what Tornado's constructor sets, but for what templates use."""
        self.application = application
        self.request = request
        self._headers_written = self._finished = False
        self._auto_finish = True
        self._prepared_future = None
        self.clear()
        assert isinstance(request.connection, ServerConnection)
        request.connection.set_close_callback(self.on_connection_close)
        self.initialize(**kwargs)

    def initialize(self, context: Context) -> None:
        """Open the exchange."""
        self.context = context
        request = self.request
        assert isinstance(request.headers, RequestHeaders)
        self.headers_in = request.headers
        fields = self.headers_in.fields
        asked = fields.get("X-Request-Id")
        ident = asked[0] if asked is not None and HARMLESS_ID.fullmatch(asked[0]) else context.new_id()
        self.exchange = Exchange(
            ident, self.route_label, request.method or "", context.clock(), client=request.remote_ip or ""
        )
        connection = request.connection
        assert isinstance(connection, ServerConnection)
        self.exchange.client_cert = connection.context.client_cert
        self.exchange.credentials = credentials_of(fields) if context.has_tenants else ""
        named = fields.get("Traceparent")
        if context.open_trace is not None:
            trace = self.exchange.trace = context.open_trace(None if named is None else named[0], ident)
            self.exchange.trace_id = trace.trace_id
        elif named is not None:
            self.exchange.traceparent = named[0]
        if context.logged_headers is not None:
            self.exchange.headers = context.logged_headers(self.headers_in.raw)
        if not self.is_quiet:
            context.exchange_opened(self.exchange)
        connection.own_lines = self.own_lines = self._own_lines()

    def data_received(self, chunk: bytes) -> None:
        """Drop a body that nobody asked for."""

    def clear(self) -> None:
        """Start an answer anew; cheaper than Tornado's, without its Server and Date lines."""
        self._headers = RequestHeaders([])  # the cheapest of Tornado's HTTPHeaders
        self._write_buffer: list[bytes] = []
        self._status_code = 200
        self._reason = "OK"

    def _own_lines(self) -> bytes:
        """Return the serialised header lines that every answer carries."""
        origin = self.headers_in.first("Origin")
        lines = f"X-Request-Id: {self.exchange.id}\r\n".encode()
        return lines if origin is None else lines + self.context.cors.lines(origin)

    def send(
        self, status: int, content_type: str, body: bytes, *, extra: bytes = b"", cache: str = "no-store"
    ) -> None:
        """Answer at once, with what every answer carries. `cache`: how long it may be kept."""
        self.set_status(status)
        lines = b"Content-Type: %s\r\n" % content_type.encode() + extra + self.own_lines
        for line in lines.split(b"\r\n")[:-1]:
            name, _, value = line.decode("latin-1").partition(": ")
            self.add_header(name, value)
        self.set_header("Cache-Control", cache)
        self.exchange.status = status
        self.exchange.bytes_out = 0 if self.request.method == "HEAD" else len(body)
        self.finish(body)

    def send_json(self, value: object, status: int = 200) -> None:
        """Answer with JSON."""
        self.send(status, "application/json", orjson.dumps(value))

    def options(self, *args: str) -> None:
        """Answer a preflight, or tell the methods."""
        origin = self.request.headers.get("Origin")
        allow = ", ".join((*self.allowed_methods(), "OPTIONS"))
        wanted = self.request.headers.get("Access-Control-Request-Method")
        extra = f"Allow: {allow}\r\n".encode()
        if origin is not None and wanted is not None:
            extra += self.context.cors.preflight_lines(self.request.headers.get("Access-Control-Request-Headers"))
        self.send(200, "text/plain", b"OK\n", extra=extra)

    def prepare(self) -> None:
        """Refuse a wrong method before its body is read."""
        if self.request.method not in (*self.allowed_methods(), "OPTIONS"):
            self.refuse_method()

    def allowed_methods(self) -> tuple[str, ...]:
        """Return the methods that the path takes."""
        return ("GET", "HEAD")

    def refuse_method(self) -> None:
        """Raise the answer to a method that the path does not take."""
        allowed = ", ".join(self.allowed_methods())
        raise MethodNotAllowed(f"{self.request.method} is not allowed for {self.request.path}; allowed: {allowed}.")

    def get(self, *args: str) -> None:
        """Refuse; handlers that take it override this."""
        self.refuse_method()

    head = post = put = patch = delete = get

    def write_error(self, status_code: int, **kwargs: object) -> None:
        """Answer with an error object, whatever was raised."""
        info = kwargs.get("exc_info")
        error = info[1] if isinstance(info, tuple) else None
        if isinstance(error, tornado.web.HTTPError) and error.status_code == 405:
            error = MethodNotAllowed(f"{self.request.method} is not a method that is served here.")
        elif isinstance(error, tornado.web.HTTPError) and error.status_code < 500:
            error = InvalidRequest(error.log_message or "The request is malformed.")
        elif not isinstance(error, AnswerError):
            error = InternalFault("The router failed; its log says why.")
        self.exchange.error = error.code or error.kind
        self.exchange.param = error.param
        allow = f"Allow: {', '.join(self.allowed_methods())}\r\n".encode() if error.status == 405 else b""
        lines = error_lines(error, final=False).split(b"\r\n", 1)[1]
        envelope = {"type": "error", **error.envelope()} if self.has_named_errors else error.envelope()
        self.send(error.status, "application/json", orjson.dumps(envelope), extra=allow + lines)

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Log what is our own fault, with the exchange's id; the client's faults are in the access log."""
        if not isinstance(value, AnswerError | tornado.web.HTTPError) and typ is not None:
            log.error("exchange %s failed", self.exchange.id, exc_info=(typ, value or typ(), tb))

    def on_finish(self) -> None:
        """Close an exchange that was answered here, without a backend."""
        status = self.exchange.status
        is_rejected = status < 500 or self.is_turned_away
        outcome = Outcome.OK if status < 400 else Outcome.REJECTED if is_rejected else Outcome.NO_BACKEND
        self.exchange.close(Outcome.INTERNAL if status == 500 else outcome, self.context.clock())

    def on_connection_close(self) -> None:
        """Close the exchange, and end the wait for the rest of the body."""
        self.close_early()
        super().on_connection_close()

    def close_early(self) -> None:
        """Close the exchange of a client that left before its answer, or that the wire has refused meanwhile."""
        connection = self.request.connection
        refused = connection.refused if isinstance(connection, ServerConnection) else None
        if refused is not None:
            exchange = self.exchange
            exchange.status, exchange.bytes_in, exchange.bytes_out = refused
            told = StatusError("", status=refused.status)
            exchange.error = told.code or told.kind
        self.exchange.close(Outcome.CLIENT_GONE if refused is None else Outcome.REJECTED, self.context.clock())

    def end_below(self) -> None:
        """Tell Tornado that the answer is written; it was, below RequestHandler's own ways."""
        self._headers_written = self._finished = True
        self._break_cycles()

    def compute_etag(self) -> None:
        """No entity tags: nothing here is worth caching."""


def told_path(path: str) -> str:
    """Return what is told to others than its client of a path that is not served: its beginning.

    "" where it may name a user with a password, as an URL without its scheme does (`//u:p@h/x`), or is no path.
    """
    return path[:PATH_CHARACTERS] if path.startswith("/") and not path.startswith("//") else ""


class UnknownRouteHandler(BaseHandler):
    """Answers every path that is not served."""

    route_label = "other"

    def get(self, *args: str) -> None:
        """Say so."""
        self.exchange.path, path = told_path(self.request.path), self.request.path[:PATH_CHARACTERS]
        raise UnknownRoute(f"Unknown path {path!r}; the API is under /v1, as in /v1/chat/completions.")

    prepare = head = post = put = patch = delete = options = get  # without waiting for a body
