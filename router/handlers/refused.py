"""What a client is told when the wire itself refuses its request: malformed, too large, too slow.

Such an answer has OpenAI's form and the same lines as any other, and is counted and logged. Where a handler has the
request already, its exchange is the record; else one is made here, of what was read.
"""

import re
from collections.abc import Callable

import orjson

from router.access.tenant import credentials_of
from router.errors import StatusError
from router.exchange import Exchange, Outcome
from router.handlers.base import Context, told_path
from router.relay.answer import error_lines
from router.relay.headers import HARMLESS_ID
from router.wire.headers import RequestHeaders
from router.wire.service import Refused

UNKNOWN = "other"  # the route of a request that has none, or whose target was not read

Label = Callable[[str, str], str]  # method and path -> the route


def render(refused: Refused, context: Context, label_of: Label) -> tuple[bytes, bytes]:
    """Return the header lines and the body of the answer; the wire adds their framing."""
    error = StatusError(refused.message, status=refused.status)
    if refused.status in (501, 505):
        error.kind = "invalid_request_error"
    body = orjson.dumps(error.envelope())
    lines = refused.own_lines
    if not lines:
        exchange = _record(refused, context, label_of)
        exchange.status, exchange.error = refused.status, error.code or error.kind
        exchange.bytes_out = 0 if refused.method == "HEAD" else len(body)
        outcome = Outcome.INTERNAL if refused.status == 500 else Outcome.REJECTED
        exchange.close(outcome, exchange.opened + refused.waited)
        lines = _own_lines(refused, context, exchange.id)
    return error_lines(error, final=False) + lines, body


def _record(refused: Refused, context: Context, label_of: Label) -> Exchange:
    """Return an open exchange that tells what is known."""
    headers = RequestHeaders([]) if refused.headers is None else refused.headers
    asked = headers.first("X-Request-Id") or ""
    ident = asked if HARMLESS_ID.fullmatch(asked) else context.new_id()
    target = "" if refused.start_line is None else refused.start_line.path
    path = re.split("[?#]", target, maxsplit=1)[0]
    route = label_of(refused.method, path) if path else UNKNOWN
    opened = context.clock() - refused.waited  # there is no whole head to count from
    exchange = Exchange(ident, route, refused.method, opened, client=refused.context.remote_ip)
    exchange.path = told_path(path) if route == UNKNOWN else ""
    exchange.client_cert = refused.context.client_cert
    exchange.credentials = credentials_of(headers.fields) if context.has_tenants else ""
    named = headers.first("Traceparent")
    if context.open_trace is not None and refused.start_line is not None:  # what is no HTTP belongs to no trace
        exchange.trace = context.open_trace(named, ident)
        exchange.trace_id = exchange.trace.trace_id
    else:
        exchange.traceparent = named
    if context.logged_headers is not None:
        exchange.headers = context.logged_headers(headers.raw)
    context.exchange_opened(exchange)
    return exchange


def _own_lines(refused: Refused, context: Context, ident: str) -> bytes:
    origin = None if refused.headers is None else refused.headers.first("Origin")
    lines = f"X-Request-Id: {ident}\r\n".encode()
    return lines if origin is None else lines + context.cors.lines(origin)
