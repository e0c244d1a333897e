"""The tornado Application: leads each path to its handler, by exact match and in constant time."""

import urllib.parse
from dataclasses import replace
from typing import Any

import tornado.httputil
import tornado.web

from router.handlers import status
from router.handlers.base import BaseHandler, Context, UnknownRouteHandler
from router.handlers.cors import Cors
from router.handlers.dispatch import Dispatch, LeanRequest, Receiving
from router.handlers.docs import DocsHandler, docs_pages, documented
from router.handlers.openapi.document import public_document
from router.handlers.refused import render
from router.handlers.relayed import RelayedHandler
from router.handlers.routes import Match, ModelsMatch, RouteTable
from router.handlers.status_page import EVENTS, FILES, PageHandler, PublicEventsHandler, sample
from router.handlers.tapped import TappedHandler
from router.handlers.watching import Watch
from router.wire.server import ServerConnection
from router.wire.service import Refused


class FrontDoor(tornado.web.Application):
    """Everything that a client, a probe or a scraper may ask."""

    def __init__(self, context: Context, table: RouteTable) -> None:
        """Build the table of our own paths."""
        super().__init__([], log_function=no_log)
        self.configure(context, table)
        self._watch = Watch(
            lambda: sample(self._context, is_operators=False),
            is_over=lambda: self._context.is_draining() or not self._context.public_status,
        )

    def configure(self, context: Context, table: RouteTable) -> None:
        """Answer so from the next request on; those under way keep what they began with."""
        self._context = context
        self._table = table
        self._relayed: type[RelayedHandler] = TappedHandler if context.middlewares() else RelayedHandler
        self._own: dict[str, type[BaseHandler]] = {
            "/": status.AboutHandler,
            "/health": status.HealthHandler,
            "/ping": status.PingHandler,
            "/livez": status.PingHandler,
            "/readyz": status.ReadyHandler,
            "/version": status.VersionHandler,
        }
        if context.metrics_path is not None:
            self._own[context.metrics_path] = status.MetricsHandler
        if context.public_status:
            self._own |= dict.fromkeys(FILES, PageHandler) | {EVENTS: PublicEventsHandler}
        self._docs = docs_pages(self.document) if context.docs else {}

    def served(self) -> set[str]:
        """Return every exact path that is answered."""
        return {*self._table.exact, *self._own, *self._docs}

    def document(self) -> dict[str, Any]:
        """Return the OpenAPI document of all that is served here."""
        context = self._context
        return public_document(
            self._table,
            [*self._own, *documented(self._docs)],
            metrics_path=context.metrics_path,
            deadline_header=context.deadline_header,
        )

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
        path = request.path
        match = self._table.find(path) if path not in self._own else None
        if isinstance(match, Match):
            target: dict[str, Any] = {"routes": match.routes, "rest": match.rest}
            assert isinstance(request, LeanRequest)
            return Receiving(self, request, {"context": self._context, **target}, self._relayed)
        if isinstance(match, ModelsMatch):
            name = None if match.name is None else urllib.parse.unquote(match.name)
            return self.get_handler_delegate(request, status.ModelsHandler, {"context": self._context, "name": name})
        if path in self._docs and path not in self._own:
            page = self._docs[path]
            return self.get_handler_delegate(request, DocsHandler, {"context": self._context, "page": page})
        handler = self._own.get(path, UnknownRouteHandler)
        common: dict[str, Any] = {"context": self._context}
        if handler in (PageHandler, PublicEventsHandler):
            common["context"] = replace(self._context, cors=Cors(enabled=False))  # its data is for its own page
        if handler is PublicEventsHandler:
            common["watch"] = self._watch
        return self.get_handler_delegate(request, handler, common)

    def label_of(self, method: str, path: str) -> str:
        """Return the route that a path leads to, as metrics and log name it."""
        match = self._table.find(path) if path not in self._own else None
        if isinstance(match, Match):
            return match.route_of(method).path
        if isinstance(match, ModelsMatch):
            return status.ModelsHandler.label_of(match.name)
        if path in self._docs and path not in self._own:
            return self._docs[path].label
        return self._own.get(path, UnknownRouteHandler).route_label

    def render_error(self, refused: Refused) -> tuple[bytes, bytes]:
        """Return the wire's own answer to a request, in OpenAI's form."""
        return render(refused, self._context, self.label_of)


def no_log(handler: tornado.web.RequestHandler) -> None:
    """Tornado's own access line; ours is written when the exchange closes."""
