"""What a client is told when the wire itself refuses its request: malformed, too large, too slow.

Such an answer has OpenAI's form and the same lines as any other, and is counted and logged. Where a handler has the
request already, its exchange is the record; else one is made here.
"""

import orjson

from router.errors import StatusError
from router.exchange import Exchange, Outcome
from router.handlers.base import Context
from router.relay.answer import error_lines
from router.relay.headers import HARMLESS_ID
from router.wire.service import Refused

UNREAD = "other"  # the route of a request that was not read


def render(refused: Refused, context: Context) -> tuple[bytes, bytes]:
    """Return the header lines and the body of the answer; the wire adds their framing."""
    error = StatusError(refused.message, status=refused.status)
    if refused.status in (501, 505):
        error.kind = "invalid_request_error"
    lines = refused.own_lines or _own_lines(refused, context, error)
    return error_lines(error, final=False) + lines, orjson.dumps(error.envelope())


def _own_lines(refused: Refused, context: Context, error: StatusError) -> bytes:
    headers = refused.headers
    asked = headers.get("X-Request-Id", "") if headers is not None else ""
    ident = asked if HARMLESS_ID.fullmatch(asked) else context.new_id()
    now = context.clock()
    exchange = Exchange(ident, UNREAD, "", now, status=refused.status, error=error.code)
    exchange.client, exchange.client_cert = refused.context.remote_ip, refused.context.client_cert
    context.exchange_opened(exchange)
    exchange.close(Outcome.INTERNAL if refused.status == 500 else Outcome.REJECTED, now)
    origin = headers.get("Origin") if headers is not None else None
    lines = f"X-Request-Id: {ident}\r\n".encode()
    return lines if origin is None else lines + context.cors.lines(origin)
