"""What operators may ask, on a listener of their own: the backends, drains, reloads, the configuration that holds.

Whoever reaches the listener may do all of it, so three rules keep others out. Without a token, the Host must be this
machine's, an address or the configured one: a page of a name that was pointed at us has another one. What changes
anything must come as JSON, which no page of another origin may send without asking first, and nobody is told yes; where
a browser says that such a page asks, it gets nothing at all. Where a token is configured, none of it goes without.
Probes, metrics, the empty status page and the documentation, which tells of no backend, are for everybody, as on the
clients' listener.
"""

import hashlib
import hmac
import ipaddress
import logging
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
import tornado.httputil
import tornado.web

from router.config.show import Entry
from router.errors import InvalidRequest, StatusError, UnknownRoute, UnsupportedMediaType
from router.handlers import status
from router.handlers.application import no_log
from router.handlers.base import PATH_CHARACTERS, BaseHandler, Context, UnknownRouteHandler, told_path
from router.handlers.board import backend_fields
from router.handlers.cors import Cors
from router.handlers.dispatch import Dispatch
from router.handlers.docs import DocsHandler, docs_pages, documented
from router.handlers.openapi.document import admin_document
from router.handlers.refused import render
from router.handlers.status_page import EVENTS, FILES, PageHandler, foreign, is_foreign, sample, show
from router.handlers.watching import Watch
from router.orders import Control, Order, OrderKind, Problem, Report
from router.wire.server import ServerConnection
from router.wire.service import Refused

BACKENDS = "/admin/backends"
STATUSES = {Problem.INVALID: 422, Problem.UNKNOWN: 404, Problem.CONFLICT: 409, Problem.FAILED: 500}
ACTIONS = {"drain": OrderKind.DRAIN, "undrain": OrderKind.UNDRAIN}

log = logging.getLogger("router.admin")


@dataclass(frozen=True, slots=True)
class Desk:
    """Who does what operators ask for, and who may ask."""

    control: Control
    config: Callable[[], list[Entry]]  # every value with where it came from, keys masked
    host: str  # the name that the listener was configured with
    token: str | None = None
    middlewares: Callable[[], Sequence[Mapping[str, object]]] = tuple  # the state of each, in this process
    earlier: Callable[[], Sequence[int]] = tuple  # processes that handed over to us and still finish requests, by id


class AdminDoor(tornado.web.Application):
    """Leads each path of the operators' listener to its handler."""

    def __init__(self, context: Context, desk: Desk) -> None:
        """`context`: that of the clients' application; pages of other origins get nothing here."""
        super().__init__([], log_function=no_log)
        self.configure(context, desk)
        self._watch = Watch(lambda: sample(self._context, is_operators=True), is_over=context.is_draining)

    def configure(self, context: Context, desk: Desk) -> None:
        """Answer so from the next request on."""
        self._context = replace(context, cors=Cors(enabled=False), has_tenants=False)
        self._desk = desk
        self._open: dict[str, type[BaseHandler]] = {
            "/health": status.HealthHandler,
            "/livez": status.PingHandler,
            "/readyz": status.ReadyHandler,
            "/metrics": status.MetricsHandler,
            **dict.fromkeys(FILES, PageHandler),
        }
        self._guarded: dict[str, type[AdminHandler]] = {
            BACKENDS: BackendsHandler,
            "/admin/reload": ReloadHandler,
            "/admin/log": LogHandler,
            "/admin/config": ConfigHandler,
            "/config": ConfigObjectHandler,
        }
        self._docs = docs_pages(self.document) if context.docs else {}

    def served(self) -> set[str]:
        """Return every exact path that is answered; those of one backend are besides."""
        return {*self._guarded, *self._open, EVENTS, *self._docs}

    def document(self) -> dict[str, Any]:
        """Return the OpenAPI document of all that is served here."""
        named = [f"{BACKENDS}/{{name}}", *(f"{BACKENDS}/{{name}}/{action}" for action in ACTIONS)]
        return admin_document([*self._guarded, *named, *self._open, EVENTS, *documented(self._docs)])

    def start_request(
        self, server_conn: object, request_conn: tornado.httputil.HTTPConnection
    ) -> tornado.httputil.HTTPMessageDelegate:
        """Return who receives the next request of a connection."""
        assert isinstance(request_conn, ServerConnection)
        return Dispatch(self, request_conn)

    def find_handler(  # type: ignore[override]  # Tornado's signature names a private class
        self, request: tornado.httputil.HTTPServerRequest, **kwargs: Any
    ) -> tornado.httputil.HTTPMessageDelegate:
        """Return the delegate for the request's path."""
        path, common = request.path, {"context": self._context}
        if path in self._open:
            return self.get_handler_delegate(request, self._open[path], common)
        if path in self._docs:
            return self.get_handler_delegate(request, DocsHandler, {**common, "page": self._docs[path]})
        if path in self._guarded:
            return self.get_handler_delegate(request, self._guarded[path], {**common, "desk": self._desk})
        if path == EVENTS:
            return self.get_handler_delegate(
                request, EventsHandler, {**common, "desk": self._desk, "watch": self._watch}
            )
        if not path.startswith(BACKENDS + "/"):
            return self.get_handler_delegate(request, NoSuchPage, common)
        name, action = target_of(path)
        target = {**common, "desk": self._desk, "name": urllib.parse.unquote(name), "action": action}
        return self.get_handler_delegate(request, BackendHandler, target)

    def label_of(self, method: str, path: str) -> str:
        """Return the route that a path leads to, as metrics and log name it."""
        if path in self._docs:
            return self._docs[path].label
        handler = EventsHandler if path == EVENTS else self._open.get(path) or self._guarded.get(path)
        if handler is not None:
            return handler.route_label
        return BackendHandler.label_of(*target_of(path)) if path.startswith(BACKENDS + "/") else NoSuchPage.route_label

    def render_error(self, refused: Refused) -> tuple[bytes, bytes]:
        """Return the wire's own answer to a request, in OpenAI's form."""
        return render(refused, self._context, self.label_of)


def target_of(path: str) -> tuple[str, str]:
    """Return the name, as it stands there, and the action in a path of one backend."""
    name, _, action = path.removeprefix(BACKENDS + "/").rpartition("/")
    if name and action in ACTIONS:
        return name, action
    return path.removeprefix(BACKENDS + "/"), ""  # a slash in a name may stand there as it is


class NoSuchPage(UnknownRouteHandler):
    """Answers every path that is not served."""

    def get(self, *args: str) -> None:
        """Say so."""
        self.exchange.path, path = told_path(self.request.path), self.request.path[:PATH_CHARACTERS]
        raise UnknownRoute(f"Unknown path {path!r}; this listener has /status, /config and what is under /admin.")

    prepare = head = post = put = patch = delete = options = get  # without waiting for a body


class AdminHandler(BaseHandler):
    """Base of what only operators may ask."""

    methods: tuple[str, ...] = ("GET", "HEAD")

    def initialize(self, context: Context, desk: Desk) -> None:  # type: ignore[override]
        """Looking is neither logged nor counted: a terminal that watches asks each second."""
        self.desk = desk
        self.is_quiet = self.request.method in ("GET", "HEAD")
        self._chunks: list[bytes] = []
        super().initialize(context)

    def allowed_methods(self) -> tuple[str, ...]:
        """Return the methods that the path takes."""
        return self.methods

    def prepare(self) -> None:
        """Refuse who may not ask, before the body is read."""
        self._check_caller()
        super().prepare()
        if self.request.method in ("POST", "DELETE"):
            kind = (self.headers_in.first("Content-Type") or "").partition(";")[0].strip().lower()
            if kind != "application/json":
                raise UnsupportedMediaType(
                    "What changes anything must be sent with Content-Type: application/json, also without a body."
                )

    def data_received(self, chunk: bytes) -> None:
        """Collect the body; the wire bounds it."""
        self._chunks.append(chunk)

    def _check_caller(self) -> None:
        """Raise AnswerError for who may not ask."""
        is_followed = self.request.method in ("GET", "HEAD") and self.headers_in.first("Sec-Fetch-Mode") == "navigate"
        if is_foreign(self.headers_in.first("Sec-Fetch-Site")) and not is_followed:  # a link may be followed
            raise foreign()
        if self.desk.token is None:
            if not is_ours(self.request.host_name, self.desk.host):
                raise StatusError(
                    "This Host is not one of the operators' listener; ask 127.0.0.1, or set admin.token.",
                    status=403,
                    kind="invalid_request_error",
                    code="host_not_allowed",
                )
            return
        scheme, _, given = (self.headers_in.first("Authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or not same(given.strip(), self.desk.token):
            self.own_lines += b"WWW-Authenticate: Bearer\r\n"
            raise StatusError(
                "The token of the operators' listener (admin.token) is missing or wrong.",
                status=401,
                kind="invalid_request_error",
                code="invalid_api_key",
            )

    def body_fields(self) -> Mapping[str, object]:
        """Return the object in the body. Raises InvalidRequest."""
        try:
            fields = orjson.loads(b"".join(self._chunks))
        except orjson.JSONDecodeError as error:
            raise InvalidRequest(f"The body is not JSON: {error}.") from error
        if not isinstance(fields, dict):
            raise InvalidRequest('The body must be an object, as in {"url": "http://10.0.0.11:8000"}.')
        return fields

    async def carry_out(self, order: Order, *, status: int = 200) -> None:
        """Have an order carried out, say so in the log, and answer with the report."""
        report = await self.desk.control.carry_out(order)
        what = " ".join(filter(None, (order.kind.value, order.name or report.name)))
        level = logging.INFO if report.ok else logging.WARNING
        log.log(level, "%s asked by %s: %s", what, self.request.remote_ip, "; ".join((report.message, *report.faults)))
        if report.problem is None:
            self.send_json(answer_fields(report), status)
            return
        error = StatusError(report.message, status=STATUSES[report.problem])
        error.code = report.problem.value
        self.exchange.error = error.code
        self.send_json({**error.envelope(), "faults": report.faults}, error.status)


def answer_fields(report: Report) -> dict[str, object]:
    """Return what an operator is told of an order that was carried out."""
    fields: dict[str, object] = {"message": report.message, "changes": report.changes}
    return fields if report.name is None else {**fields, "name": report.name, "in_flight": report.in_flight}


class BackendsHandler(AdminHandler):
    """GET /admin/backends : all of them. POST : one more, with the keys that `backends` has in the configuration."""

    route_label = BACKENDS
    methods = ("GET", "HEAD", "POST")

    def get(self, *args: str) -> None:
        """Answer with each backend as it is now: {"object": "list", "data": [...]}.

        While a process that handed over to us still finishes its requests, which `in_flight` does not count, its id
        stands beside `data` as `predecessor`; else that key is missing.
        """
        context = self.context
        counts = context.registry.counts
        listed = []
        for each in context.registry.snapshot(context.clock()):
            others = 0 if counts is None else counts.elsewhere(each.name)
            listed.append({**backend_fields(each, elsewhere=others), **context.dialect_of(each.name)})
        earlier = self.desk.earlier()
        self.send_json({"object": "list", "data": listed, **({"predecessor": earlier[0]} if earlier else {})})

    head = get

    async def post(self, *args: str) -> None:  # type: ignore[override]
        """Add a backend."""
        await self.carry_out(Order(OrderKind.ADD, fields=self.body_fields()), status=201)


class BackendHandler(AdminHandler):
    """DELETE /admin/backends/{name} : remove it. POST .../drain : give it no requests. .../undrain : do so again."""

    route_label = BACKENDS + "/{name}"

    def initialize(self, context: Context, desk: Desk, name: str, action: str) -> None:  # type: ignore[override]
        """`action`: a key of ACTIONS, or "" for the backend itself."""
        self._name = name
        self._action = action
        self.methods = ("POST",) if action else ("GET", "HEAD", "DELETE")
        self.route_label = self.label_of(name, action)
        super().initialize(context, desk)

    @classmethod
    def label_of(cls, name: str, action: str) -> str:
        """Return the route of an action, or of the backend itself."""
        return f"{cls.route_label}/{action}" if action else cls.route_label

    def get(self, *args: str) -> None:
        """Answer with the backend as it is now."""
        context = self.context
        counts = context.registry.counts
        backend = context.registry.find(self._name)
        if backend is None:
            raise StatusError(f"There is no backend {self._name[:200]!r}.", status=404, kind="invalid_request_error")
        others = 0 if counts is None else counts.elsewhere(self._name)
        fields = backend_fields(backend.status(context.clock()), elsewhere=others)
        self.send_json({**fields, **context.dialect_of(self._name)})

    head = get

    async def post(self, *args: str) -> None:  # type: ignore[override]
        """Drain or undrain it."""
        await self.carry_out(Order(ACTIONS[self._action], self._name))

    async def delete(self, *args: str) -> None:  # type: ignore[override]
        """Remove it: what it has at work is finished. The last one goes with ?force=true only."""
        is_forced = self.get_query_argument("force", "").lower() in ("true", "1", "yes")
        await self.carry_out(Order(OrderKind.REMOVE, self._name, is_forced=is_forced))


class ReloadHandler(AdminHandler):
    """POST /admin/reload : read the configuration anew."""

    route_label = "/admin/reload"
    methods = ("POST",)

    async def post(self, *args: str) -> None:  # type: ignore[override]
        """Answer with what has changed, or with every fault."""
        await self.carry_out(Order(OrderKind.RELOAD))


class LogHandler(AdminHandler):
    """POST /admin/log : {"level": "debug"}, or other keys that `logging` has, until the configuration is read again."""

    route_label = "/admin/log"
    methods = ("POST",)

    async def post(self, *args: str) -> None:  # type: ignore[override]
        """Answer with what has changed, or with every fault."""
        await self.carry_out(Order(OrderKind.LOG, fields=self.body_fields()))


class ConfigHandler(AdminHandler):
    """GET /admin/config : every value that holds now, and where it came from; keys are masked."""

    route_label = "/admin/config"

    def get(self, *args: str) -> None:
        """Answer with lines, as `devstral-router --print-config` prints them."""
        text = "".join(f"{entry.line()}\n" for entry in self.desk.config())
        self.send(200, "text/plain; charset=utf-8", text.encode())

    head = get


class ConfigObjectHandler(AdminHandler):
    """GET /config : the same as an object, for programs."""

    route_label = "/config"

    def get(self, *args: str) -> None:
        """Answer with {"object": "config", "data": [{"key": ..., "value": ..., "origin": ...}, ...]}.

        Beside `data` stands `middlewares`: what has become of their calls in the process that answers, `worker`.
        """
        data = [entry._asdict() for entry in self.desk.config()]
        told = {"object": "config", "data": data, "middlewares": self.desk.middlewares()}
        self.send_json({**told, "worker": self.context.worker})

    head = get


class EventsHandler(AdminHandler):
    """GET /status/events : what the status page shows, as events."""

    route_label = EVENTS
    methods = ("GET",)

    def initialize(self, context: Context, desk: Desk, watch: Watch) -> None:  # type: ignore[override]
        """`watch`: of operators."""
        self._watch = watch
        super().initialize(context, desk)

    async def get(self, *args: str) -> None:  # type: ignore[override]
        """Answer with events until one side has enough."""
        await show(self, self._watch)


def is_ours(host: str, configured: str) -> bool:
    """Return whether a Host (lower-case, without a port) cannot be the name of somebody else's page."""
    bare = host.strip("[]").rstrip(".")
    if bare in ("localhost", configured.lower()) or bare.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return False
    return True


def same(given: str, token: str) -> bool:
    """Compare in a time that tells nothing of the token, not even its length."""
    digests = (hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest() for text in (given, token))
    return hmac.compare_digest(*digests)
