"""One exchange as the middlewares see it: their hooks, in order, and what they may change.

A request goes through them in the order of the configuration, its answer the other way round: the first one is nearest
to the client, so it sees the request as it came and the answer as it goes out. They stand behind all that the relay
does for an answer: what they see of a stream that was finished elsewhere is one stream, and what they change of it
does not matter to who goes on with it.

What they may not change: the end mark of a stream and its errors, for a broken answer must never look whole; errors;
and bodies that pass in pieces, as their length has been told.
"""

from collections.abc import Callable, Collection, Sequence

import orjson

from router.exchange import Exchange
from router.middleware.fitness import changed_body, changed_request
from router.middleware.interface import Call, Ending, Failure, Head, Headers, Request
from router.middleware.slot import Slot
from router.relay.beginning import find_error, kind_of
from router.relay.route import Body, Route
from router.relay.usage import read
from router.wire.sse import event_data, split_events

# Header lines that tell of the very bytes of a body.
_OF_THE_BYTES = (b"etag:", b"content-md5:", b"content-digest:", b"digest:", b"repr-digest:")
# What an event may end with: some backends write CRLF.
_EMPTY_LINES = (b"\n\n", b"\r\n\r\n", b"\n\r\n", b"\r\r")


class Tap:
    """The middlewares of one exchange."""

    __slots__ = ("_calls", "_exchange", "_is_told", "_route", "_wants_events")

    def __init__(self, exchange: Exchange, route: Route) -> None:
        """No middleware has begun with it yet. `end` is to be called when the exchange closes."""
        self._exchange = exchange
        self._route = route
        self._calls: list[tuple[Slot, Call]] = []  # nearest to the backend first
        self._wants_events = False
        self._is_told = False  # what was asked for, which is known by the time of the answer

    def request(
        self, request: Request, slots: Sequence[Slot], *, scheme: str, wall_clock: Callable[[], float]
    ) -> Request:
        """Return the request as the middlewares want it. Raises `StatusError` where one refuses it."""
        exchange, began, is_json = self._exchange, wall_clock(), self._route.body is Body.JSON
        for slot in slots:
            call = Call(exchange.id, exchange.route, exchange.client, scheme, began)
            self._calls.insert(0, (slot, call))
            self._wants_events = self._wants_events or slot.wants("on_event")
            slot.enter()
            wanted = slot.call("on_request", call, request)
            if wanted is None:
                continue
            try:
                request = changed_request(request, wanted, is_json=is_json)
            except ValueError as error:
                slot.failed("on_request", str(error))
        return request

    def head(self, status: int, lines: bytes, *, is_stream: bool) -> None:
        """Show the head that goes out; `lines`: its serialised header lines."""
        self._tell()
        if any(slot.wants("on_response") for slot, _ in self._calls):
            head = Head(status, _pairs(lines), is_stream)
            for slot, call in self._calls:
                slot.call("on_response", call, head)

    def events(self, block: bytes) -> bytes:
        """Show whole events that go out; return what goes out in their place."""
        if not self._wants_events or not block:
            return block
        return b"".join(map(self._event, split_events(block)))

    def whole(self, status: int, lines: bytes, body: bytes, *, own_lines: bytes = b"") -> tuple[bytes, bytes]:
        """Show an answer that goes out whole; return header lines and body that go out in its place.

        `own_lines`: header lines that go out with it, and stay.
        """
        if not self._calls:
            return lines, body
        self.head(status, lines + own_lines, is_stream=False)
        if status >= 400:
            self.failed(Failure(status, self._exchange.error, message_of(body), has_begun=False))
        if not body:
            return lines, body
        low = b"\n" + lines.lower()
        may_change = 200 <= status < 300 and b"\ncontent-encoding:" not in low
        is_json = b"\ncontent-type: application/json" in low

        def fit(wanted: object) -> bytes:
            if not may_change:
                raise ValueError("returned something for a body that cannot be changed")
            return changed_body(wanted, is_json=is_json)

        changed = self._shown(body, fit)
        return (lines, body) if changed is body else (_without_digests(lines), changed)

    def piece(self, data: bytes) -> None:
        """Show a piece of a body, whose length was told."""

        def fit(wanted: object) -> bytes:
            raise ValueError("returned something for a body that passes in pieces")

        if data:
            self._shown(data, fit)

    def failed(self, failure: Failure) -> None:
        """Show an error that the client is told."""
        self._tell()
        for slot, call in self._calls:
            slot.call("on_error", call, failure)

    def end(self, exchange: Exchange) -> None:
        """Tell everybody who has begun with the exchange that it is closed, once."""
        if not self._calls:
            return
        self._tell()
        calls, self._calls, self._wants_events = self._calls, [], False
        del self._exchange  # which knows us
        ending = _ending(exchange)
        for slot, call in calls:
            slot.call("on_end", call, ending)
            slot.leave()

    def _event(self, event: bytes) -> bytes:
        if event.startswith(b":") and event.count(b"\n") == 2:  # a comment: it keeps the connection alive
            return event
        return self._shown(event, lambda wanted: self._fit_event(event, wanted))

    def _fit_event(self, event: bytes, wanted: object) -> bytes:
        marks = self._route.end_marks
        if not isinstance(wanted, bytes):
            raise ValueError(f"returned {type(wanted).__name__}, not bytes")
        if is_fixed(event, marks):
            raise ValueError("returned something for an end mark or an error, which cannot be changed")
        is_whole = not wanted or wanted.endswith(_EMPTY_LINES)
        if not is_whole or any(is_fixed(each, marks) for each in split_events(wanted)):
            raise ValueError("returned something else than whole events of an answer that goes on")
        return wanted

    def _shown(self, data: bytes, fit: Callable[[object], bytes]) -> bytes:
        """Show something that goes out; `fit` returns what a hook wants in its place, or raises ValueError."""
        for slot, call in self._calls:
            wanted = slot.call("on_event", call, data)
            if wanted is None or (wanted.__class__ is bytes and wanted == data):
                continue
            try:
                data = fit(wanted)
            except ValueError as error:
                slot.failed("on_event", str(error))
            if not data:
                break
        return data

    def _tell(self) -> None:
        if self._calls and not self._is_told:
            self._is_told = True
            exchange = self._exchange
            for _, call in self._calls:
                call.model, call.is_stream, call.session = exchange.model, exchange.stream, exchange.session


def is_fixed(event: bytes, marks: Collection[bytes]) -> bool:
    """Return whether an event ends an answer, well or not. `marks`: of the route."""
    if (event_data(event) or b"").strip() in marks or kind_of(event) in marks:
        return True
    return find_error(event) is not None


def message_of(body: bytes) -> str:
    """Return the message of an error's body, "" where it tells none."""
    try:
        message = orjson.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return ""
    return message if isinstance(message, str) else ""


def _ending(exchange: Exchange) -> Ending:
    opened, closed, began = exchange.opened, exchange.closed, exchange.began
    return Ending(
        outcome="" if exchange.outcome is None else exchange.outcome.value,
        status=exchange.status,
        error=exchange.error,
        seconds=0.0 if closed is None else closed - opened,
        first=None if began is None else began - opened,
        tokens=read(exchange.tokens),
        attempts=tuple(
            (each.backend, "" if each.outcome is None else each.outcome.value) for each in exchange.attempts
        ),
    )


def _pairs(lines: bytes) -> Headers:
    """Return names and values of serialised header lines."""
    found = (line.partition(": ") for line in lines.decode("latin-1").split("\r\n") if line)
    return tuple((name, value) for name, _, value in found)


def _without_digests(lines: bytes) -> bytes:
    return b"".join(line for line in lines.splitlines(keepends=True) if not line.lower().startswith(_OF_THE_BYTES))
