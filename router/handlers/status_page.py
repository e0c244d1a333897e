"""The status page: its files, and the stream of what it shows. On the operators' listener, and for clients if wanted.

The page itself is the same for everybody and tells nothing; all that it shows comes by the stream, which knows who may
see what. The page may load nothing but its own files, talk to nobody but us, and stand in no other page: a page of
another origin cannot have its buttons pressed.
"""

import time
from functools import cache
from importlib import resources

from tornado.iostream import StreamClosedError

from router.errors import StatusError
from router.handlers.base import BaseHandler, Context
from router.handlers.board import NONE, Board, Facts, Row, board, row
from router.handlers.watching import Watch
from router.relay.answer import EVENT_LINES
from router.wire.server import ServerConnection

STATUS = "/status"
EVENTS = "/status/events"
FILES = {
    STATUS: ("status.html", "text/html; charset=utf-8"),
    "/status/page.css": ("status.css", "text/css; charset=utf-8"),
    "/status/page.js": ("status.js", "text/javascript; charset=utf-8"),
    "/status/icon.svg": ("status.svg", "image/svg+xml"),
}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
PAGE_LINES = (
    f"Content-Security-Policy: {POLICY}\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "X-Frame-Options: DENY\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Cross-Origin-Opener-Policy: same-origin\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\n"
).encode()


@cache
def file_of(name: str) -> bytes:
    """Return one of the page's files."""
    return (resources.files("router") / "pages" / name).read_bytes()


class PageHandler(BaseHandler):
    """GET /status, and the files that it needs."""

    route_label = STATUS
    is_quiet = True

    def get(self, *args: str) -> None:
        """Answer with a file."""
        name, kind = FILES[self.request.path]
        self.send(200, kind, file_of(name), extra=PAGE_LINES)

    head = get


class PublicEventsHandler(BaseHandler):
    """GET /status/events on the clients' listener: for looking only."""

    route_label = EVENTS
    is_quiet = True

    def initialize(self, context: Context, watch: Watch) -> None:  # type: ignore[override]
        """`watch`: of those who may look only."""
        self._watch = watch
        super().initialize(context)

    def allowed_methods(self) -> tuple[str, ...]:
        """Return the methods that the path takes."""
        return ("GET",)

    def prepare(self) -> None:
        """Refuse pages of other origins: they could not read it, but would take the places of those who look."""
        if is_foreign(self.headers_in.first("Sec-Fetch-Site")):
            raise foreign()
        super().prepare()

    async def get(self, *args: str) -> None:  # type: ignore[override]
        """Answer with events until one side has enough."""
        await show(self, self._watch)


def is_foreign(site: str | None) -> bool:
    """Return whether a page of another origin asks. Browsers tell it in Sec-Fetch-Site, where it is safe to."""
    return site in ("cross-site", "same-site")


def foreign() -> StatusError:
    """Return what a page of another origin is told."""
    return StatusError(
        "Pages of another origin may not ask this.",
        status=403,
        kind="invalid_request_error",
        code="origin_not_allowed",
    )


async def show(handler: BaseHandler, watch: Watch) -> None:
    """Send what is seen until the client leaves, watches no more, or we end. Raises StatusError: enough watch."""
    watcher = watch.join()
    if watcher is None:
        raise StatusError("Enough watch the status page already.", status=503)
    connection = handler.request.connection
    assert isinstance(connection, ServerConnection)
    connection.set_close_callback(watcher.end)

    def cut_if_slow() -> None:
        if connection.is_blocked:  # the end of the stream would wait for who reads nothing
            connection.abort()

    watcher.on_end = cut_if_slow
    try:
        flow = connection.write_raw_head(200, "OK", EVENT_LINES + handler.own_lines, b"retry: 2000\n\n")
        while True:
            if flow is not None:
                await flow  # who is slow is sent nothing more meanwhile
            message = await watcher.next()
            if message is None:
                break
            flow = connection.write_chunk(message)
        connection.finish()
    except StreamClosedError:
        return  # the client has left
    finally:
        watch.leave(watcher)
        handler.end_below()


async def sample(context: Context, *, is_operators: bool) -> Board:
    """Return what is so now. `is_operators`: for who may see all."""
    told = await context.recent()
    now = context.clock()
    facts = Facts(now, time.time(), context.started, context.worker, context.is_draining(), is_operators)
    rows: list[Row] = []
    counts = context.registry.counts
    for each in context.registry.snapshot(now):
        others = 0 if counts is None else counts.elsewhere(each.name)
        tries, dialect = told.tries.get(each.name, NONE), context.dialect_of(each.name)
        with_url = is_operators or context.public_details
        rows.append(row(each, tries, elsewhere=others, dialect=dialect, with_url=with_url))
    return board(facts, told, rows)
