"""One keep-alive connection to a backend: bytes out, one answer in, again and again.

    send(fetch) -> head -> chunks -> whole: back to the owner, or closed

The rules: an answer is whole only when its framing says so; every fault closes the connection; bytes before a fault
are delivered first. One read of the socket is at most one call of the fetch's callback. One timer serves all
deadlines of all requests of the connection: it is set anew only when a deadline lies before it, and looks what is due
when it fires.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade

from router.errors import BadResponse, ConnectionLost, FirstByteTimeout, IdleTimeout, TotalTimeout, WireError
from router.wire.answer import Answer, AnswerLimits
from router.wire.chunks import ContentLines, SizeLines
from router.wire.fetch import Fetch
from router.wire.shortcut import MANY, Shortcut
from router.wire.timer import INFINITE, Timer
from router.wire.upload import Upload, write_request

HEAD_END = b"\r\n\r\n"
_size_lines = SizeLines()
_content_lines = ContentLines()


class Owner(Protocol):
    """Who lends connections out, and is told once when one is whole and free, or gone."""

    def released(self, connection: "Connection") -> None: ...
    def closed(self, connection: "Connection") -> None: ...


class Connection(asyncio.Protocol):
    """See the module's docstring. Made for one owner, told of its transport by the loop."""

    __slots__ = (
        *("_answer", "_began", "_between_chunks", "_blocked", "_deliver", "_fetch", "_idle", "_limits", "_loop"),
        *("_owner", "_received", "_shortcut", "_silent", "_time", "_timer", "_transport", "_upload", "address"),
        *("idle_since", "is_closed", "is_retired", "served"),
    )

    def __init__(self, owner: Owner, *, loop: asyncio.AbstractEventLoop, limits: AnswerLimits) -> None:
        """It is usable once the loop has called `connection_made`."""
        self.address = ""  # that was connected to; the dialer fills it in
        self.idle_since = 0.0
        self.served = 0  # whole answers
        self.is_retired = False  # finish what runs, then close
        self.is_closed = False
        self._owner = owner
        self._loop = loop
        self._time = loop.time
        self._limits = limits
        self._transport: asyncio.Transport | None = None
        self._answer = Answer(limits)
        self._between_chunks = self._answer.between_chunks
        self._fetch: Fetch | None = None
        self._deliver: Callable[[bytes], Awaitable[None] | None] = _drop
        self._shortcut: Shortcut | None = None  # of the request, where it has one
        self._blocked: asyncio.Future[None] | None = None
        self._upload: Upload | None = None
        self._timer = Timer(loop, self._on_due)
        self._idle = INFINITE
        self._silent = 0  # bytes since something was delivered
        self._received = False  # any byte of an answer
        self._began = False  # the head was delivered

    def __repr__(self) -> str:
        """Show what it is doing."""
        state = "closed" if self.is_closed else "idle" if self._fetch is None else "busy"
        return f"<Connection {self.address} {state} served={self.served}>"

    # ---- what the pool and the fetch call

    def send(self, fetch: Fetch) -> None:
        """Send the request of `fetch` and see to its answer."""
        transport = self._transport
        if transport is None:
            raise RuntimeError("not connected")
        if self.is_closed:  # between connecting and this
            fetch.fail(ConnectionLost("the connection closed before the request", reused=False, received=False))
            return
        request = fetch.request
        self._answer.restart(head_only=request.method == "HEAD")
        self._received = self._began = False
        self._silent = 0
        self._fetch = fetch
        fetch.stop = self.cancel
        self._deliver = request.streaming_callback or fetch.collect
        self._idle = INFINITE if request.idle_timeout is None else request.idle_timeout
        self._shortcut = request.shortcut if self._idle == INFINITE else None
        first_byte = request.first_byte_timeout
        self._timer.deadline = INFINITE if first_byte is None else self._time() + first_byte
        self._timer.total = fetch.deadline
        self._timer.watch()
        if request.body_producer is None:
            write_request(transport, fetch.encoded_head, request.body)
        else:
            transport.write(fetch.encoded_head)
            self._upload = Upload(request, write=transport.write, on_error=self._fail)

    def cancel(self) -> None:
        """Nobody waits for the answer any more: close."""
        self._detach()
        self.close()

    def abandon(self, why: str) -> None:
        """Close, and fail the fetch that runs."""
        self._fail(ConnectionLost(why, reused=self.served > 0, received=self._received))

    def pause(self) -> None:
        """Read nothing more from the backend; the idle timer stands still."""
        self._timer.deadline = INFINITE
        if self._transport is not None and not self.is_closed:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._transport is not None and not self.is_closed:
            self._timer.deadline = self._time() + self._idle
            self._transport.resume_reading()
            self._timer.watch()

    def close(self) -> None:
        """Close now, without waiting for anything."""
        if self.is_closed:
            return
        self.is_closed = True
        self._timer.stop()
        if self._transport is not None:
            self._transport.abort()
        self._answer.release()
        self._owner.closed(self)

    # ---- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; uvloop and asyncio have set TCP_NODELAY on it."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are no subclasses of asyncio's
        if self.is_closed:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Let a read pass, or parse it."""
        try:  # costs nothing where nothing is raised
            cut = self._shortcut
            if cut is not None and self._between_chunks and (line := _size_lines[len(data)]) is not None:
                # A usual event of a stream, by far the most frequent case: in as few steps as may be. `startswith` and
                # `endswith` would be clearer, but take twice as long as putting together what is expected (Python
                # 3.11).
                text = data[len(line) + cut.begin : cut.end]
                if (
                    b"".join((line, cut.before, text, cut.behind)) == data
                    and (text in cut.usual or cut.is_fine(text))
                    and (pipe := cut.client.pipe) is not None
                ):
                    now = cut.clock()
                    gaps = cut.gaps
                    gaps.append(now - cut.last)
                    cut.last = now
                    texts = cut.texts
                    texts.append(text)
                    pieces = cut.pieces
                    if pieces is not None:
                        data = text.join(pieces)
                        data = _content_lines[len(data)] + data
                    pipe(data)
                    if len(texts) >= MANY or cut.client.pipe is None:
                        self._look_back(cut)
                    return
        except Exception as error:  # of who reads the answer, who is not ours: else the loop takes it for a reset
            self._fail(error)
            return
        self._parse(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The backend closed, or the connection broke."""
        fetch = self._fetch
        answer = self._answer
        if fetch is not None and exc is None and answer.ends_with_connection and self._began and not self._is_by_tls():
            answer.is_complete = True
        if fetch is None or answer.is_complete:
            self.close()
            if fetch is not None and self._blocked is None:
                self._finish(fetch)
            return
        how = "closed" if exc is None else f"broke ({type(exc).__name__})"
        when = "within" if self._received else "before"
        self._fail(
            ConnectionLost(f"the connection {how} {when} the answer", reused=self.served > 0, received=self._received)
        )

    def _is_by_tls(self) -> bool:
        """Return whether anybody between us could have ended the connection: the loop does not tell an end that the
        backend has signed (close_notify, RFC 8446 section 6.1) from one that it has not."""
        return self._transport is not None and self._transport.get_extra_info("sslcontext") is not None

    def pause_writing(self) -> None:
        """The backend takes the request slowly."""
        if self._upload is not None:
            self._upload.pause()

    def resume_writing(self) -> None:
        """It takes more."""
        if self._upload is not None:
            self._upload.resume()

    # ---- an answer's course

    def _parse(self, data: bytes) -> None:
        """Deliver what comes of a read: head, then body, then the end or the fault."""
        fetch = self._fetch
        answer = self._answer
        if fetch is None or answer.is_complete:
            self._take_unasked()
            return
        self._received = True
        fault: WireError | None = None
        try:
            answer.feed(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            fault = answer.fault_of(error)
        else:
            if self._began and answer.pieces and not answer.is_complete:
                # A stream's next piece, by far the most frequent case: in few steps.
                try:
                    self._deliver_pieces()
                except Exception as error:  # of a callback, which is not ours
                    self._fail(error)
                return
        try:
            if not self._began:
                fault = self._begin(fetch, data) or fault
            elif not answer.pieces and not answer.is_complete:
                fault = fault or self._count_silent(data)
            if answer.pieces and self._began and self._fetch is fetch:
                self._deliver_pieces()
        except Exception as error:  # of a callback, which is not ours
            self._fail(error)
            return
        if self._fetch is not fetch:
            return  # a callback cancelled it
        if fault is not None:
            self._fail(fault)
        elif answer.is_complete and self._blocked is None:
            self._finish(fetch)

    def _begin(self, fetch: Fetch, data: bytes) -> WireError | None:
        """Deliver the head if it is there. Until then count its bytes."""
        answer = self._answer
        if not answer.status:
            return self._count_silent(data)
        over = self._silent + len(data) > self._limits.header_bytes
        if over and sum(len(name) + len(value) + 4 for name, value in answer.headers) > self._limits.header_bytes:
            return BadResponse(f"more than {self._limits.header_bytes} bytes of headers")
        self._began = True
        self._silent = 0
        self._timer.deadline = self._time() + self._idle
        if answer.head_only:
            answer.pieces.clear()
            # A line end in front may belong to the head's own end, of which a part came with the read before.
            answer.has_extra = data.find(HEAD_END) + len(HEAD_END) != len(data) or data[0] in HEAD_END
        headers, answer.headers = answer.headers, []
        fetch.begin(answer.status, answer.reason, headers)
        if not answer.is_complete and self._fetch is fetch:
            self._timer.watch()
        return None

    def _count_silent(self, data: bytes) -> WireError | None:
        """Bound what comes without anything to deliver: a head, 1xx, chunk extensions, trailers."""
        self._silent += len(data)
        if self._silent <= self._limits.header_bytes:
            return None
        return BadResponse(f"more than {self._limits.header_bytes} bytes of headers, chunk extensions or trailers")

    def _deliver_pieces(self) -> None:
        """Deliver a read's worth of body as one chunk, and wait when the callback says so."""
        pieces = self._answer.pieces
        chunk = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._silent = 0
        self._timer.deadline = self._time() + self._idle
        blocked = self._deliver(chunk)
        if blocked is not None:
            self._wait_for(blocked)

    def _look_back(self, cut: Shortcut) -> None:
        try:
            blocked = cut.look_back()
        except Exception as error:  # of a callback, which is not ours
            self._fail(error)
        else:
            if blocked is not None:
                self._wait_for(blocked)

    def _wait_for(self, blocked: Awaitable[None]) -> None:
        """Read nothing more until the callback's awaitable is done."""
        if isinstance(blocked, asyncio.Future) and blocked.done():
            blocked.result()
            return
        task = asyncio.ensure_future(blocked, loop=self._loop)
        if self._fetch is None:
            task.cancel()
            return
        self.pause()
        self._blocked = task
        task.add_done_callback(self._unblock)

    def _unblock(self, task: "asyncio.Future[None]") -> None:
        fetch = self._fetch
        self._blocked = None
        if fetch is None:
            return
        if task.cancelled():
            fetch.cancel()
            return
        error = task.exception()
        if error is not None:
            self._fail(error)
            return
        self.resume()
        if self._answer.is_complete:
            self._finish(fetch)

    def _take_unasked(self) -> None:
        """Bytes came that belong to no answer: nothing on this connection can be trusted any more."""
        self._answer.has_extra = True
        if self._fetch is None:
            self.close()

    def _finish(self, fetch: Fetch) -> None:
        """The answer is whole: give the connection back first, then the answer."""
        answer = self._answer
        is_sent = self._upload is None or self._upload.is_done
        self._detach()
        self.served += 1
        if self.is_closed:
            pass
        elif answer.is_reusable and not answer.has_extra and is_sent and self._is_drained() and not self.is_retired:
            self._owner.released(self)
        else:
            self.close()
        fetch.finish()

    def _is_drained(self) -> bool:
        """Whether the whole request has left; an early answer may come before that."""
        return self._transport is not None and not self._transport.get_write_buffer_size()

    def _fail(self, error: BaseException) -> None:
        fetch = self._fetch
        self._detach()
        self.close()
        if fetch is not None:
            fetch.fail(error)

    def _detach(self) -> None:
        """Forget the present fetch."""
        self._fetch = None
        self._deliver = _drop
        self._shortcut = None
        self._timer.clear()
        if self._blocked is not None:
            self._blocked.remove_done_callback(self._unblock)
            if isinstance(self._blocked, asyncio.Task):
                self._blocked.cancel()
            self._blocked = None
        if self._upload is not None:
            self._upload.stop()
            self._upload = None

    def _on_due(self, is_total: bool) -> None:
        if is_total:
            self._fail(TotalTimeout("the whole request took too long"))
        elif self._began:
            self._fail(IdleTimeout("the answer stopped coming"))
        else:
            self._fail(FirstByteTimeout("no answer began in time"))


def _drop(chunk: bytes) -> None:
    """What a connection without a fetch does with a body."""
