"""The handler of every route that is relayed to a backend.

Refuses what no backend could take before the body is read; reads the body whole, since it may have to be sent twice;
then hands over to the relay. A client that leaves cancels it, wherever it is.
"""

import asyncio
import codecs
import json
import logging
import re
import sys
from collections.abc import Mapping
from typing import Protocol

from router.access.overload import Strain
from router.errors import NONE_LISTED, InvalidRequest, NoBackend, TooMuch, UnsupportedMediaType
from router.exchange import Exchange
from router.handlers.base import BaseHandler, Context
from router.relay.answer import Answer
from router.relay.envelope import NO_BODY, Envelope, fill_json_model, peek_json
from router.relay.forms import fill_multipart_model, peek_multipart
from router.relay.route import Body, Job, Route
from router.translate.mistral.request import read
from router.translate.mistral.surrogates import mend_surrogates
from router.translate.notes import Rule
from router.wire.server import ServerConnection

log = logging.getLogger("router.handlers")

# Bytes of a body that is received to its end also where memory runs out: most are shorter, and read at once.
SPARED = 256 * 1024
SHED_RETRY = 5.0  # seconds after which a client that was refused may come back: some of the work is done by then
MAX_TRIED = 64 * 1024  # bytes of a body of any kind that is read a second time, as Python does it
MAY_BE_OBJECTS = (b"{", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # Python's json reads them all
JSON_TYPE = (b"Content-Type", b"application/json")  # for clients that do not say: vLLM insists on it
# Bound once: finding a member of an enum takes as long as eight attributes (Python 3.11).
_JSON, _FORM, _ANY, _NONE = Body.JSON, Body.FORM, Body.ANY, Body.NONE


class OpenAnswer(Protocol):
    """Makes the client's answer; `Answer` does, and what stands in its place where middlewares are to see it."""

    def __call__(
        self, connection: ServerConnection, exchange: Exchange, own_lines: bytes, *, named_events: bool
    ) -> Answer: ...


class RelayedHandler(BaseHandler):
    """Relays one exchange."""

    open_answer: OpenAnswer = Answer

    def initialize(self, context: Context, routes: Mapping[str, Route], rest: str) -> None:  # type: ignore[override]
        """`routes`: by method; `rest`: the path behind the route's own prefix."""
        self._routes = routes
        self._rest = rest
        self._chunks: list[bytes] = []
        self.task: asyncio.Task[None] | None = None  # that runs this handler, from when its request is whole
        self._is_relaying = False
        self._is_gone = False
        self.is_prepared = False  # it is to be relayed: `serve` it
        route = routes.get(self.request.method or "") or next(iter(routes.values()))
        self.route_label = route.path
        self.has_named_errors = route.named_events
        super().initialize(context)
        # Asked once: a request that was taken with its head is not refused with its body, but for a long one of which
        # more is to come (`gives_way`).
        self._strain = None if context.guard.strain is None else self._ask_guard(context)

    def allowed_methods(self) -> tuple[str, ...]:
        """Return the methods that the path takes."""
        return tuple(self._routes)

    def prepare(self) -> None:
        """Refuse what need not be read to be refused. Called with the head, and by Tornado when the handler runs."""
        if self.is_prepared:
            return
        method = self.request.method or ""
        if method not in self._routes:
            if method != "OPTIONS":
                self.refuse_method()
            return
        if self._strain is not None:
            self.is_turned_away = True
            raise TooMuch("The router has too much at work to take more.", retry_after=SHED_RETRY)
        fields = self.headers_in.fields
        _check_type(self._routes[method].body, _sole(fields, "Content-Type"))
        if _sole(fields, "Content-Encoding").lower() not in ("", "identity"):
            raise UnsupportedMediaType("Compressed request bodies are not taken; send it without Content-Encoding.")
        self.is_prepared = True

    def _ask_guard(self, context: Context) -> Strain | None:
        strain = context.guard.refusal() if self.request.method in self._routes else None
        if strain is not None:
            context.metrics.shed(strain.value)
        return strain

    def data_received(self, chunk: bytes) -> None:
        """Collect the body; the wire bounds it."""
        self._chunks.append(chunk)
        self.exchange.bytes_in += len(chunk)  # as sent: a middleware may change it

    def gives_way(self) -> bool:
        """Return whether its body, of which more comes, is given up: memory has run out since it began, and it is long.

        It is to be refused then, as `prepare` does from now on. One that is whole is not.
        """
        context, had = self.context, self.exchange.bytes_in
        if not self.is_prepared or had <= SPARED or context.guard.refusal() != Strain.MEMORY:
            return False
        if self.headers_in.first("Content-Length") == str(had):
            return False
        self._strain = self._ask_guard(context)
        self._chunks = []
        self.is_prepared = False
        return True

    async def serve(self) -> None:
        """Do for a request that is prepared and whole what Tornado's `_execute` does, without what is done already."""
        self._transforms = []  # as there: of what Tornado writes, where the router answers itself
        try:
            await self.post()
        except Exception:
            self.log_exception(*sys.exc_info())
            if not self._finished:
                self.send_error(500, exc_info=sys.exc_info())  # `write_error` finds the status

    async def post(self, *args: str) -> None:  # type: ignore[override]
        """Relay it."""
        if self.exchange.outcome is not None:  # the client has left since its request was whole
            self._end_bookkeeping()
            return
        chunks = self._chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._chunks = []
        job = self._job(self._routes[self.request.method or ""], body)
        connection = self.request.connection
        assert isinstance(connection, ServerConnection)
        if self.context.sessions is not None:
            self.own_lines += self.context.sessions.join(self.exchange, job)
        answer = self.open_answer(connection, self.exchange, self.own_lines, named_events=job.route.named_events)
        assert self.task is not None
        self.headers_in.forget()  # what may be long from now on is the answer
        self._is_relaying = True
        try:
            await self.context.relay.run(self.exchange, job, answer, task=self.task)
        except asyncio.CancelledError:
            if not self._is_gone:
                answer.cut()
                raise
        except Exception:
            log.exception("exchange %s failed", self.exchange.id)
        finally:
            self._end_bookkeeping()

    get = put = patch = delete = post  # type: ignore[assignment]

    def _end_bookkeeping(self) -> None:
        self.task = None
        self._is_relaying = False
        self.end_below()

    def on_connection_close(self) -> None:
        """The client has left: close what is open on its behalf."""
        if self._is_relaying and self.task is not None:
            self._is_gone = True
            self.task.cancel()
        else:
            self.close_early()  # nobody waits for the rest of the body

    def _job(self, route: Route, body: bytes) -> Job:
        request, context = self.request, self.context
        if not request.query.isascii():
            raise InvalidRequest("The query of the path must be ASCII; encode it with % signs.")
        headers = self.headers_in
        content_type = headers.first("Content-Type") or ""
        shape = read(body) if route.is_chat and context.reads_chats() else None
        if shape is not None and shape.model:
            envelope = Envelope(shape.model, shape.stream)
        else:
            envelope, filled = self._mended(route, body, content_type)
            body, shape = filled, shape if filled is body else None
        self.exchange.model = envelope.model
        self.exchange.known_model = envelope.model is not None and context.registry.is_known(envelope.model)
        # `stream` means nothing on routes that have no streams.
        self.exchange.stream = envelope.stream and bool(route.end_marks)
        return Job(
            route,
            f"{self._rest}?{request.query}" if request.query else self._rest,
            headers=headers.raw if content_type or route.body is not _JSON else _with_json_type(headers.raw),
            connection=",".join(headers.fields.get("Connection", ())),
            body=body,
            model=envelope.model,
            stream=self.exchange.stream,
            deadline=self._deadline(),
            shape=shape,
        )

    def _mended(self, route: Route, body: bytes, content_type: str) -> tuple[Envelope, bytes]:
        """Do as `_fill`, for a conversation with halves of surrogate pairs too (R36)."""
        try:
            return self._fill(route, body, content_type)
        except InvalidRequest:
            mended = mend_surrogates(body) if route.is_chat and self.context.reads_chats() else body
            if mended is body:
                raise
            self.exchange.rules |= {Rule.R36.name}
            return self._fill(route, mended, content_type)

    def _fill(self, route: Route, body: bytes, content_type: str) -> tuple[Envelope, bytes]:
        """Return the envelope, and the body with the model that was meant where the client named none."""
        kind = route.body
        if kind is _NONE:
            return NO_BODY, b""  # a server that reads none would take it for its next request
        if kind is _ANY:
            return _peek_any(body, content_type), body
        envelope = peek_json(body) if kind is _JSON else peek_multipart(body, content_type)
        if envelope.model is not None:
            return envelope, body
        sole = self.context.registry.sole_model()
        if sole is None:
            known = self.context.registry.known_models()
            if not known:
                raise NoBackend(NONE_LISTED, retry_after=1)
            names = ", ".join(f"`{name}`" for name in known[:20])
            raise InvalidRequest(f"You must name a model; available: {names}.", param="model")
        filled = fill_multipart_model(body, content_type, sole) if kind is _FORM else fill_json_model(body, sole)
        return Envelope(sole, envelope.stream), filled

    def _deadline(self) -> float | None:
        context = self.context
        limits = [] if context.total_timeout is None else [context.total_timeout]
        asked = self.headers_in.first(context.deadline_header)
        if asked is not None:
            limits.append(_seconds(asked, context.deadline_header))
        return self.exchange.opened + min(limits) if limits else None


def _with_json_type(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [*(pair for pair in headers if pair[0].lower() != b"content-type"), JSON_TYPE]  # an empty one says nothing


def _peek_any(body: bytes, content_type: str) -> Envelope:
    """Return the envelope of a body of any kind.

    Raises `InvalidRequest` for a form that readers differ on, and for JSON that Python would read and we do not (NaN,
    UTF-16): a server might find another model there than we do.
    """
    if not body:
        return NO_BODY
    if re.split("[;=]", content_type, maxsplit=1)[0].strip().lower() == "multipart/form-data":  # `email` heeds "=" too
        return peek_multipart(body, content_type)
    try:
        return peek_json(body)
    except InvalidRequest:
        if _is_read_elsewhere(body):
            raise
        return NO_BODY


def _is_read_elsewhere(body: bytes) -> bool:
    """Return whether Python's json finds an object in a body, or might: a long one is not tried."""
    may_be = body.lstrip(b" \t\r\n").startswith(MAY_BE_OBJECTS) or 0 in body[:4]  # UTF-16 and UTF-32
    if not may_be or len(body) > MAX_TRIED:
        return may_be
    try:
        return isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        return False


def _sole(fields: dict[str, list[str]], name: str) -> str:
    """Return the value of a header, "" where there is none. Raises `InvalidRequest` where there are several."""
    values = fields.get(name)
    if values is None:
        return ""
    if len(values) > 1:
        raise InvalidRequest(f"There must be one {name} header.", param=name)
    return values[0]


def _check_type(body: Body, content_type: str) -> None:
    if (body is _JSON and content_type == "application/json") or body is _NONE or body is _ANY:
        return
    kind = content_type.partition(";")[0].strip().lower()
    if body is _FORM:
        if kind != "multipart/form-data":
            raise UnsupportedMediaType(f"Content-Type must be multipart/form-data, not {kind[:100]!r}.")
    elif kind not in ("application/json", "") and not (kind.startswith("application/") and kind.endswith("+json")):
        raise UnsupportedMediaType(f"Content-Type must be application/json, not {kind[:100]!r}.")


def _seconds(text: str, header: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e6:
        raise InvalidRequest(f"{header} must be a number of seconds greater than 0.", param=header)
    return seconds
