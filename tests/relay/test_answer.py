"""Rules of router/relay/answer.py, on a real server connection whose transport only collects."""

import asyncio
import json
from collections.abc import Callable

import pytest
import uvloop

from router.errors import BackendTimeout, NoBackend
from router.exchange import Exchange
from router.relay.answer import KEEPALIVE, Answer
from router.wire.client import PooledHTTPClient
from tests.relay.pipe import MemoryTransport, Pipe, dechunk


class Client:
    """What one client sees of one answer."""

    def __init__(self, pipe: Pipe, *, named_events: bool = False) -> None:
        self.transport = MemoryTransport()
        self.exchange = Exchange("id", "/v1/chat/completions", "POST", 0.0)
        connection = pipe.connect(self.transport)
        self.answer = Answer(connection, self.exchange, b"X-Request-Id: id\r\n", named_events=named_events)

    @property
    def head(self) -> bytes:
        return b"".join(self.transport.written).partition(b"\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        return b"".join(self.transport.written).partition(b"\r\n\r\n")[2]


def in_loop(test: Callable[[Pipe], None]) -> None:
    async def inside() -> None:
        test(Pipe(PooledHTTPClient(force_instance=True)))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(inside())


def test_a_whole_answer_carries_its_length_and_our_lines() -> None:
    def test(pipe: Pipe) -> None:
        client = Client(pipe)
        client.answer.whole(200, b"Content-Type: application/json\r\n", b"{}")
        assert client.head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Request-Id: id\r\n")
        assert b"Content-Length: 2" in client.head
        assert (client.body, client.exchange.status, client.exchange.bytes_out) == (b"{}", 200, 2)

    in_loop(test)


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_has_no_body_by_its_status_names_no_length(status: int) -> None:
    def test(pipe: Pipe) -> None:
        client = Client(pipe)
        client.answer.whole(status, b"", b"")
        assert b"Content-Length" not in client.head

    in_loop(test)


def test_an_error_is_told_with_its_status_while_nothing_was_sent() -> None:
    def test(pipe: Pipe) -> None:
        client = Client(pipe)
        client.answer.fail(NoBackend("none", retry_after=1.2), final=True)
        assert client.head.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 2\r\n" in client.head, "rounded up: a client that comes back too early waits again"
        assert b"x-should-retry: false\r\n" in client.head
        assert json.loads(client.body)["error"]["code"] == "overloaded"
        assert client.exchange.error == "overloaded"

    in_loop(test)


def test_an_error_in_a_stream_is_an_event_and_the_regular_end_of_the_body() -> None:
    def test(pipe: Pipe) -> None:
        client = Client(pipe)
        client.answer.begin(200, b"", b"data: 1\n\n", is_stream=True)
        client.answer.fail(BackendTimeout("late"))
        first, second = dechunk(client.body).split(b"\n\n")[:2]
        assert first == b"data: 1"
        assert json.loads(second.removeprefix(b"data: "))["error"]["code"] == "timeout"

    in_loop(test)


def test_apis_with_named_events_get_their_errors_named() -> None:
    def test(pipe: Pipe) -> None:
        client = Client(pipe, named_events=True)
        client.answer.begin(200, b"", b"event: ping\ndata: {}\n\n", is_stream=True)
        client.answer.fail(BackendTimeout("late"))
        event = dechunk(client.body).split(b"\n\n")[1]
        assert event.startswith(b"event: error\ndata: ")
        assert json.loads(event.partition(b"data: ")[2])["type"] == "error"

    in_loop(test)


def test_an_error_in_any_other_body_cuts_the_connection() -> None:
    def test(pipe: Pipe) -> None:
        client = Client(pipe)
        client.answer.begin(200, b"", b'{"half', is_stream=False)
        client.answer.fail(BackendTimeout("late"))
        assert client.transport.aborted
        assert not client.body.endswith(b"0\r\n\r\n")

    in_loop(test)


def test_comments_keep_the_connection_open_and_spend_the_status_once() -> None:
    def test(pipe: Pipe) -> None:
        client = Client(pipe)
        client.answer.keep_alive()
        client.answer.keep_alive()
        client.answer.begin(200, b"X-Late: 1\r\n", b"data: 1\n\n", is_stream=True)
        client.answer.finish()
        assert b"X-Late" not in client.head
        assert b"text/event-stream" in client.head
        assert dechunk(client.body) == KEEPALIVE * 2 + b"data: 1\n\n"

    in_loop(test)


def test_there_is_exactly_one_end() -> None:
    def test(pipe: Pipe) -> None:
        client = Client(pipe)
        client.answer.begin(200, b"", b"data: 1\n\n", is_stream=True)
        client.answer.finish()
        client.answer.finish()
        client.answer.fail(BackendTimeout("late"))
        assert dechunk(client.body) == b"data: 1\n\n"

    in_loop(test)


def test_which_backend_answered_is_told_when_it_was_revealed() -> None:
    def test(pipe: Pipe) -> None:
        client = Client(pipe)
        client.answer.reveal("a", 1)
        client.answer.reveal("b", 2)
        client.answer.whole(200, b"", b"")
        assert b"X-Router-Backend: b\r\nX-Router-Attempts: 2\r\n" in client.head
        assert b"X-Router-Backend: a" not in client.head

    in_loop(test)
