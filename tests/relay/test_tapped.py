"""Rules of router/relay/tapped.py: what goes out by every way of an answer is shown once, and stays a good answer."""

import asyncio
import json
from collections.abc import Callable

import pytest
import uvloop

from router.errors import BackendTimeout, NoBackend
from router.exchange import Exchange
from router.middleware.interface import Failure, Request
from router.middleware.slot import Counts, Slot
from router.relay.answer import KEEPALIVE, Answer
from router.relay.tap import Tap
from router.relay.tapped import TappedAnswer
from router.wire.client import PooledHTTPClient
from tests.middleware.samples import Changing, Raising, Recorder
from tests.relay.pipe import CHAT, MemoryTransport, Pipe, dechunk
from tests.relay.scripted import DONE, ROLE, TEXT, stream

REQUEST = Request("POST", "/v1/chat/completions", "", (), b"{}")
EVENT = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
MARK = b"data: [DONE]\n\n"
JSON = b"Content-Type: application/json\r\n"


def tapped(*middlewares: object, exchange: Exchange | None = None) -> Tap:
    tap = Tap(exchange or Exchange("id", CHAT.path, "POST", 0.0), CHAT)
    slots = [Slot("m", each, Counts()) for each in middlewares]
    tap.request(REQUEST, slots, scheme="http", wall_clock=lambda: 0.0)
    return tap


class Client:
    """What one client sees of one answer, and what a middleware does."""

    def __init__(self, pipe: Pipe, *more: object) -> None:
        self.transport = MemoryTransport()
        self.exchange = Exchange("id", CHAT.path, "POST", 0.0)
        self.seen = Recorder()
        tap = tapped(self.seen, *more, exchange=self.exchange)
        connection = pipe.connect(self.transport)
        self.answer = TappedAnswer(connection, self.exchange, b"X-Request-Id: id\r\n", named_events=False, tap=tap)

    @property
    def out(self) -> bytes:
        return b"".join(self.transport.written)

    @property
    def body(self) -> bytes:
        return self.out.partition(b"\r\n\r\n")[2]

    @property
    def hooks(self) -> list[str]:
        return [hook for hook, _ in self.seen.seen][1:]


def in_loop(test: Callable[[Pipe], None]) -> None:
    async def inside() -> None:
        test(Pipe(PooledHTTPClient(force_instance=True)))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(inside())


def test_a_whole_answer_that_is_changed_has_its_new_length() -> None:
    def test(pipe: Pipe) -> None:
        client = Client(pipe, Changing("12"))
        client.answer.whole(200, JSON, b'{"content":"a"}')
        assert client.body == b'{"content":"12a"}'
        assert b"Content-Length: 17\r\n" in client.out
        assert client.exchange.bytes_out == 17
        assert client.hooks == ["on_response", "on_event"]
        assert ("X-Request-Id", "id") in client.seen.of("on_response")[0].headers

    in_loop(test)


def test_every_way_in_which_events_go_out_is_shown_once_and_counted_as_sent() -> None:
    def test(pipe: Pipe) -> None:
        client = Client(pipe, Changing("12"))
        client.answer.tell(b"X-Told: t\r\n")
        client.answer.begin(200, b"Content-Type: text/event-stream\r\n", EVENT, is_stream=True)
        client.exchange.bytes_out += len(EVENT)  # as `Flow` does before it uses the sink
        client.answer.sink(EVENT)
        client.answer.write(EVENT + EVENT)
        client.answer.finish(EVENT + MARK)
        client.answer.finish(EVENT)

        sent = dechunk(client.body)
        assert sent == EVENT.replace(b'"a"', b'"12a"') * 5 + MARK
        assert client.exchange.bytes_out == len(sent)
        assert b"".join(client.seen.of("on_event")) == sent
        assert len(client.seen.of("on_response")) == 1
        assert ("X-Told", "t") in client.seen.of("on_response")[0].headers
        assert client.answer.is_whole

    in_loop(test)


def test_nobody_is_lent_the_connection() -> None:
    def test(pipe: Pipe) -> None:
        assert Client(pipe).answer.connection is None

    in_loop(test)


def test_keepalive_comments_show_the_head_and_no_event() -> None:
    def test(pipe: Pipe) -> None:
        client = Client(pipe)
        client.answer.keep_alive()
        client.answer.keep_alive()
        client.answer.begin(200, b"", EVENT, is_stream=True)
        assert client.hooks == ["on_response", "on_event"]
        assert client.seen.of("on_response")[0].is_stream
        assert dechunk(client.body + b"0\r\n\r\n") == KEEPALIVE * 2 + EVENT

    in_loop(test)


def test_pieces_of_a_body_with_a_length_are_shown_and_never_changed() -> None:
    def test(pipe: Pipe) -> None:
        client = Client(pipe, Changing("12"))
        client.answer.begin(200, JSON, b'{"content":"', is_stream=False, length=15)
        client.answer.write(b'a"')
        client.answer.finish(b"}")
        assert client.body == b'{"content":"a"}'
        assert client.seen.of("on_event") == [b'{"content":"', b'a"', b"}"]
        assert not client.seen.of("on_response")[0].is_stream

    in_loop(test)


def test_an_error_before_the_answer_is_shown_as_one() -> None:
    def test(pipe: Pipe) -> None:
        client = Client(pipe, Changing("12"))
        client.answer.fail(NoBackend("Nobody.", retry_after=1))
        client.answer.fail(NoBackend("Again."))
        (failure,) = client.seen.of("on_error")
        assert failure == Failure(503, "overloaded", "Nobody.", has_begun=False)
        assert json.loads(client.body)["error"]["message"] == "Nobody."
        assert client.hooks == ["on_response", "on_error", "on_event"]

    in_loop(test)


def test_an_error_in_a_stream_is_shown_as_one_and_stays_what_it_is() -> None:
    def test(pipe: Pipe) -> None:
        client = Client(pipe, Changing("12"))
        client.answer.begin(200, b"", EVENT, is_stream=True)
        client.answer.fail(BackendTimeout("Too late."))
        (failure,) = client.seen.of("on_error")
        assert (failure.status, failure.message, failure.has_begun) == (504, "Too late.", True)
        assert client.hooks == ["on_response", "on_event", "on_error", "on_event"]
        assert b"Too late." in client.body
        assert MARK not in client.body

    in_loop(test)


def test_a_body_that_is_cut_is_shown_as_an_error() -> None:
    def test(pipe: Pipe) -> None:
        client = Client(pipe)
        client.answer.begin(200, JSON, b"{", is_stream=False, length=10)
        client.answer.fail(BackendTimeout("Too late."))
        assert client.hooks == ["on_response", "on_event", "on_error"]
        assert client.transport.aborted

    in_loop(test)


SERVED = stream(ROLE, TEXT, TEXT + TEXT, b": a comment\n\n", DONE)


def test_wherever_the_stream_is_split_the_same_events_are_shown_and_the_same_bytes_go_out() -> None:
    """Of the same backend's bytes the client gets what it gets without middlewares, and they see just that."""

    def test(pipe: Pipe) -> None:
        plain = dechunk(pipe.relay([SERVED]).partition(b"\r\n\r\n")[2])
        for cut in range(1, len(SERVED)):
            tap = tapped(seen := Recorder(), Raising())
            sent = pipe.relay([SERVED[:cut], SERVED[cut:]], tap=tap).partition(b"\r\n\r\n")[2]
            assert dechunk(sent) == plain
            assert b"".join(seen.of("on_event")) == plain.replace(b": a comment\n\n", b"")
            assert len(seen.of("on_event")) == 5

    in_loop(test)


def test_byte_by_byte_changed_events_are_changed_once_each() -> None:
    def test(pipe: Pipe) -> None:
        plain = dechunk(pipe.relay([SERVED]).partition(b"\r\n\r\n")[2])
        pieces = [SERVED[at : at + 1] for at in range(len(SERVED))]
        sent = dechunk(pipe.relay(pieces, tap=tapped(Changing("12"))).partition(b"\r\n\r\n")[2])
        assert plain.count(b'"content":"') > 0
        assert sent == plain.replace(b'"content":"', b'"content":"12')

    in_loop(test)


@pytest.mark.parametrize("name", ["whole", "begin", "write", "finish", "keep_alive", "fail", "connection", "sink"])
def test_every_way_out_of_an_answer_is_tapped(name: str) -> None:
    """Whoever adds a way out must add it here, or middlewares miss it."""
    writing = {each for each in vars(Answer) if not each.startswith("_")}
    quiet = {"tell", "reveal", "is_blocked", "cut", "started", "finished", "is_whole"}

    assert name in vars(TappedAnswer)
    assert writing - quiet == {"whole", "begin", "write", "finish", "keep_alive", "fail", "connection", "sink"}
