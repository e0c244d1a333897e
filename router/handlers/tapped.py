"""The handler of relayed routes where middlewares are configured: shows them what comes in and what goes out.

They are asked when the request is whole. One that its head has refused, or that never becomes whole, they do not see.
"""

import time
from functools import partial
from typing import Any

from router.access.tenant import credentials_of
from router.errors import StatusError
from router.handlers.relayed import RelayedHandler
from router.middleware.interface import Request
from router.relay.tap import Tap
from router.relay.tapped import TappedAnswer
from router.wire.headers import RequestHeaders


class TappedHandler(RelayedHandler):
    """Relays one exchange, and shows it to the middlewares."""

    _tap: Tap | None = None

    async def post(self, *args: str) -> None:  # type: ignore[override]
        """Relay it as they want it."""
        if self.exchange.outcome is None:  # else the client has left since its request was whole
            self._ask()
        await super().post(*args)

    get = put = patch = delete = post

    def send(
        self, status: int, content_type: str, body: bytes, *, extra: bytes = b"", cache: str = "no-store"
    ) -> None:
        """Answer at once, where the relay has not been asked: with a refusal."""
        if self._tap is not None:
            lines = b"Content-Type: %s\r\n" % content_type.encode()
            _, body = self._tap.whole(status, lines, body, own_lines=extra + self.own_lines)
        super().send(status, content_type, body, extra=extra, cache=cache)

    def _ask(self) -> None:
        """Take up what they want of the request. Raises `StatusError` where one refuses it."""
        tap = self._tap = Tap(self.exchange, self._routes[self.request.method or ""])
        self.exchange.on_close += (tap.end,)
        self.open_answer = partial[Any](TappedAnswer, tap=tap)
        had = Request(
            self.request.method or "",
            self.request.path,
            self.request.query,
            tuple((name.decode("latin-1"), value.decode("latin-1").strip()) for name, value in self.headers_in.raw),
            b"".join(self._chunks),
        )
        try:
            wanted = tap.request(
                had, self.context.middlewares(), scheme=self.request.protocol or "http", wall_clock=time.time
            )
        except StatusError:
            self.is_turned_away = True  # by an operator's rule: it says nothing of backends
            raise
        if wanted is not had:
            self._chunks = [wanted.body]
            raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in wanted.headers]
            self.request.headers = self.headers_in = RequestHeaders(raw)
            self.exchange.credentials = credentials_of(self.headers_in.fields)
