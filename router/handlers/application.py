"""The tornado Application: leads each path to its handler, by exact match and in constant time."""

import urllib.parse
from typing import Any

import tornado.httputil
import tornado.web
from tornado.web import _HandlerDelegate  # the type that Tornado's own signature names

from router.handlers import status
from router.handlers.base import BaseHandler, Context, UnknownRouteHandler
from router.handlers.relayed import RelayedHandler
from router.handlers.routes import Match, ModelsMatch, RouteTable


class FrontDoor(tornado.web.Application):
    """Everything that a client, a probe or a scraper may ask."""

    def __init__(self, context: Context, table: RouteTable) -> None:
        """Build the table of our own paths."""
        super().__init__([], log_function=_no_log)
        self._context = context
        self._table = table
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

    def find_handler(self, request: tornado.httputil.HTTPServerRequest, **kwargs: Any) -> _HandlerDelegate:
        """Return the delegate for the request's path."""
        path = request.path
        match = self._table.find(path) if path not in self._own else None
        if isinstance(match, Match):
            target: dict[str, Any] = {"routes": match.routes, "rest": match.rest}
            return self.get_handler_delegate(request, RelayedHandler, {"context": self._context, **target})
        if isinstance(match, ModelsMatch):
            name = None if match.name is None else urllib.parse.unquote(match.name)
            return self.get_handler_delegate(request, status.ModelsHandler, {"context": self._context, "name": name})
        handler = self._own.get(path, UnknownRouteHandler)
        return self.get_handler_delegate(request, handler, {"context": self._context})


def _no_log(handler: tornado.web.RequestHandler) -> None:
    """Tornado's own access line; ours is written when the exchange closes."""
