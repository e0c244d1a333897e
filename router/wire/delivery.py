"""Parsed requests to Tornado's delegates: one event at a time, one exchange at a time, in order.

    RequestHead  start_request, headers_received        END      finish
    bytes        data_received                          Refusal  our own answer, and the end

The next event waits while a future that the delegate returned is pending; the next request waits until the answer
before it is finished. The delegate hears of an end that is not `finish` exactly once: by its own
`on_connection_close` until the request is whole, by the close callback from then on.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from tornado.httputil import HTTPInputError, HTTPMessageDelegate

from router.wire.request_parser import END, Refusal, RequestHead, RequestParser
from router.wire.response import ResponseWriter
from router.wire.service import Service

log = logging.getLogger(__name__)


class Delivery(ResponseWriter):
    """The middle of a server connection: between the parser and the application."""

    __slots__ = (
        *("_blocked", "_close_callback", "_delegate", "_delivering", "_events", "_expecting", "_parser"),
        *("_received", "_request", "_rest"),
    )

    def __init__(self, service: Service, *, beneath: asyncio.Transport | None = None) -> None:
        """See ResponseWriter."""
        super().__init__(service, beneath=beneath)
        self._parser = RequestParser(service.limits)
        self._events = self._parser.events
        self._request: RequestHead | None = None  # being received or answered
        self._received = False  # the request is whole and was delivered so
        self._delegate: HTTPMessageDelegate | None = None
        self._close_callback: Callable[[], None] | None = None
        self._expecting = False  # the client waits for 100 (Continue)
        self._rest = 0  # bytes behind what was parsed last, which have come already
        self._delivering = False
        self._blocked: asyncio.Future[None] | None = None  # the delegate asked to wait for it

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Have `callback` called once if the client leaves before the answer is finished."""
        self._close_callback = callback

    # What the connection does.

    def _began(self) -> None:
        raise NotImplementedError

    def _go_on(self) -> None:
        raise NotImplementedError

    def _end_exchange(self) -> None:
        raise NotImplementedError

    def _refuse(self, refusal: Refusal) -> None:
        raise NotImplementedError

    # Events to the delegate.

    def _deliver(self) -> None:
        """Deliver events until one must wait. An application that answers at once is not recursed into."""
        if self._delivering:
            return
        self._delivering = True
        events = self._events
        try:
            while events and self._blocked is None:
                event = events[0]
                if type(event) is RequestHead:
                    if self._request is not None:
                        break
                    events.pop(0)
                    self._begin(event)
                elif type(event) is bytes:
                    events.pop(0)
                    self._pass_on(event)
                elif event is END:
                    events.pop(0)
                    self._end_request()
                elif self._received:
                    break  # a refusal; an answer before it is still open
                else:
                    assert isinstance(event, Refusal)
                    self._refuse(event)
        finally:
            self._delivering = False

    def _begin(self, head: RequestHead) -> None:
        self._request = head
        self._open_answer(head)
        self._began()
        self._expecting = head.expects_continue
        try:
            self._delegate = delegate = self._service.delegate.start_request(self, self)
            flow = delegate.headers_received(head.start_line, head.headers)
        except Exception as error:
            self._fail(error)
            return
        if flow is not None:
            self._wait_for(flow)
        elif self._expecting:
            self._send_continue()

    def _pass_on(self, body: bytes) -> None:
        if not self._answering or self._delegate is None:
            return  # the answer came before the request was whole
        try:
            flow = self._delegate.data_received(body)
        except Exception as error:
            self._fail(error)
            return
        if flow is not None:
            self._wait_for(flow)

    def _end_request(self) -> None:
        if not self._answering or self._delegate is None:
            self._end_exchange()  # the answer came before the request was whole
            return
        self._received = True
        try:
            self._delegate.finish()
        except Exception as error:
            self._fail(error)

    def _send_continue(self) -> None:
        """Ask for the body, unless it is coming already or the answer has begun."""
        self._expecting = False
        has_come = self._events or self._rest or self._parser.body_size
        if self._answering and not self._head_written and not has_come:
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _wait_for(self, flow: Awaitable[None]) -> None:
        future = asyncio.ensure_future(flow)
        if future.done():
            self._check(future)
        else:
            self._blocked = future
            future.add_done_callback(self._unblock)

    def _unblock(self, future: "asyncio.Future[None]") -> None:
        self._blocked = None
        self._check(future)
        self._go_on()

    def _check(self, future: "asyncio.Future[None]") -> None:
        """Look at how the delegate's future ended."""
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        if self._request is None:
            return  # the client left meanwhile, or was refused
        if error is not None:
            self._fail(error)
        elif self._expecting:
            self._send_continue()

    def _fail(self, error: BaseException) -> None:
        """Answer for a delegate that raised: 400 where it found fault with the request, else 500."""
        if isinstance(error, HTTPInputError):
            self._refuse(Refusal(400, str(error)))
        else:
            log.error("uncaught exception of a delegate", exc_info=error)
            self._refuse(Refusal(500, "Internal server error"))

    def _is_request_whole(self) -> bool:
        return self._received or END in self._events

    def _forget_request(self) -> None:
        """Let go of the exchange. A delegate that was answered for early still hears that no `finish` will come."""
        delegate = self._delegate
        if delegate is not None and not self._received:
            self._service.loop.call_soon(_tell, delegate.on_connection_close)  # not from within its own call
        self._request = None
        self._delegate = None
        self._close_callback = None
        self._received = False
        self._answering = False
        self.pipe = None
        self._expecting = False

    def _tell_client_left(self) -> None:
        """Tell the application that this exchange will not end as it should."""
        delegate, callback, was_answering = self._delegate, self._close_callback, self._answering
        self._delegate = self._close_callback = None
        self._answering = False  # whoever writes from within what is called now writes to nobody
        self.pipe = None
        if delegate is None:
            return
        if not self._received:
            _tell(delegate.on_connection_close)
        elif was_answering and callback is not None:
            _tell(callback)


def _tell(callback: Callable[[], None]) -> None:
    """Call an application that can do nothing about it any more."""
    try:
        callback()
    except Exception:
        log.exception("uncaught exception of an application that was told its client left")
