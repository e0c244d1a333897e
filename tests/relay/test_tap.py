"""Rules of router/relay/tap.py: in which order hooks are called, and what they may change."""

from typing import Any

import pytest

from router.errors import StatusError
from router.exchange import Attempt, AttemptOutcome, Exchange, Outcome
from router.middleware.interface import Call, Ending, Failure, Head, Middleware, Request
from router.middleware.slot import Counts, Slot
from router.relay.route import Body, Route
from router.relay.tap import Tap, is_fixed, message_of
from tests.middleware.samples import RAISED, Changing, Garbage, Raising, Recorder

CHAT = Route("/v1/chat/completions", "POST", end_marks=(b"[DONE]",))
MESSAGES = Route("/v1/messages", "POST", end_marks=(b"message_stop",), named_events=True)
REQUEST = Request("POST", "/v1/chat/completions", "", (), b'{"messages": "Say hello"}')
JSON = b"Content-Type: application/json\r\n"
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error": {"message": "broken", "code": 500}}\n\n'


class Returning(Middleware):
    """Returns one thing for whatever goes out."""

    def __init__(self, what: Any) -> None:
        self.what = what

    def on_event(self, call: Call, data: bytes) -> Any:
        return self.what


class Given:
    """A tap with some middlewares, and what has become of their calls."""

    def __init__(self, *middlewares: object, route: Route = CHAT) -> None:
        self.counts = [Counts() for _ in middlewares]
        pairs = zip(middlewares, self.counts, strict=True)
        self.slots = [Slot(f"m{number}", each, counts) for number, (each, counts) in enumerate(pairs)]
        self.exchange = Exchange("id", route.path, "POST", 10.0, client="127.0.0.1", model="m", stream=True)
        self.tap = Tap(self.exchange, route)

    def ask(self, request: Request = REQUEST) -> Request:
        return self.tap.request(request, self.slots, scheme="http", wall_clock=lambda: 5.0)

    @property
    def errors(self) -> list[dict[str, int]]:
        return [dict(counts.errors) for counts in self.counts]


def test_requests_pass_in_order_and_answers_the_other_way_round() -> None:
    first, last = Recorder(), Recorder()
    it = Given(first, Changing("1"), Changing("2"), last)

    assert it.ask().body == b'{"messages": "Say hello21"}'
    assert it.tap.events(EVENT) == EVENT.replace(b'"a"', b'"12a"')

    assert first.of("on_request")[0] is REQUEST
    assert [value for _, value in last.of("on_request")[0].headers] == ["1", "2"]
    assert (last.of("on_event"), first.of("on_event")) == ([EVENT], [EVENT.replace(b'"a"', b'"12a"')])


def test_each_hook_is_told_what_it_is_documented_to_be_told() -> None:
    it = Given(seen := Recorder())
    it.ask()
    it.tap.head(200, b"A: 1\r\nB: x: y\r\n", is_stream=True)
    it.tap.events(EVENT + DONE)
    it.tap.failed(Failure(502, "cut", "broken", has_begun=True))
    it.exchange.attempts.append(Attempt("b", 10.0, AttemptOutcome.OK))
    it.exchange.began, it.exchange.status, it.exchange.tokens = 10.5, 200, (1, 2)
    it.exchange.on_close += (it.tap.end,)
    it.exchange.close(Outcome.OK, 12.0)

    assert [hook for hook, _ in seen.seen] == [
        "on_request", "on_response", "on_event", "on_event", "on_error", "on_end",
    ]  # fmt: skip
    assert seen.of("on_response") == [Head(200, (("A", "1"), ("B", "x: y")), is_stream=True)]
    ending = Ending("ok", 200, None, 2.0, 0.5, (1, 2), (("b", "ok"),))
    assert seen.of("on_end") == [(ending, "m", True)]


def test_after_the_end_nothing_is_shown_and_nothing_is_held() -> None:
    it = Given(seen := Recorder())
    it.ask()
    it.tap.end(it.exchange)
    count = len(seen.seen)

    it.tap.end(it.exchange)
    it.tap.head(200, b"", is_stream=False)
    assert it.tap.events(EVENT) is EVENT
    assert it.tap.whole(500, JSON, b"{}") == (JSON, b"{}")

    assert len(seen.seen) == count
    assert "open=0" in repr(it.slots[0])


def test_who_refuses_ends_it_for_those_behind_and_all_before_hear_of_it() -> None:
    first, last = Recorder(), Recorder()
    it = Given(first, Changing("1"), last)

    with pytest.raises(StatusError):
        it.ask(Request("POST", "/", "", (), b"refuse me"))
    it.tap.whole(422, JSON, b'{"error": {"message": "No."}}')
    it.tap.end(it.exchange)

    assert [hook for hook, _ in first.seen] == ["on_request", "on_response", "on_error", "on_event", "on_end"]
    assert first.of("on_error") == [Failure(422, None, "No.", has_begun=False)]
    assert not last.seen


@pytest.mark.parametrize("what", RAISED)
def test_one_that_raises_in_every_hook_changes_nothing_for_anybody(what: str) -> None:
    it = Given(first := Recorder(), Raising(what), last := Recorder())

    assert it.ask() is REQUEST
    it.tap.head(200, JSON, is_stream=True)
    assert it.tap.events(EVENT + DONE) == EVENT + DONE
    it.tap.failed(Failure(502, None, "x", has_begun=True))
    it.tap.end(it.exchange)

    hooks = ("on_request", "on_response", "on_event", "on_error", "on_end")
    assert it.errors == [{}, {hook: 2 if hook == "on_event" else 1 for hook in hooks}, {}]
    assert [hook for hook, _ in first.seen] == [hook for hook, _ in last.seen]


@pytest.mark.parametrize("given", [7, "text", [], {}, object(), bytearray(b"data: 1\n\n"), True])
def test_garbage_is_passed_over_and_counted(given: object) -> None:
    it = Given(Garbage(given))

    assert it.ask() is REQUEST
    it.tap.head(200, JSON, is_stream=True)
    assert it.tap.events(EVENT) == EVENT
    assert it.tap.whole(200, JSON, b"{}") == (JSON, b"{}")
    it.tap.end(it.exchange)

    assert it.errors == [{"on_request": 1, "on_event": 2}]


@pytest.mark.parametrize("route", [CHAT, MESSAGES])
@pytest.mark.parametrize(
    "wanted",
    [
        b"no event",
        b"data: half\n",
        DONE,
        EVENT + DONE,
        b'data: {"type": "message_stop"}\n\n',
        b"event: message_stop\ndata: {}\n\n",
        ERROR,
        b"event: error\ndata: {}\n\n",
    ],
)
def test_what_would_end_an_answer_or_tear_an_event_cannot_be_made_up(wanted: bytes, route: Route) -> None:
    it = Given(Returning(wanted), route=route)
    it.ask()
    is_end_elsewhere = (b"DONE" in wanted) is (route is MESSAGES) and (b"stop" in wanted) is (route is CHAT)
    is_harmless = is_end_elsewhere and (b"DONE" in wanted or b"stop" in wanted)

    assert it.tap.events(EVENT) == (wanted if is_harmless else EVENT)
    assert it.errors == [{} if is_harmless else {"on_event": 1}]


@pytest.mark.parametrize(
    "event", [DONE, ERROR, b"event: error\ndata: x\n\n", b"data:  [DONE] \n\n", b"data: [DONE]\r\n\r\n"]
)
@pytest.mark.parametrize("wanted", [b"", EVENT])
def test_the_end_of_an_answer_can_neither_be_left_out_nor_changed(event: bytes, wanted: bytes) -> None:
    it = Given(Returning(wanted))
    it.ask()

    assert it.tap.events(EVENT + event).endswith(event)
    assert is_fixed(event, CHAT.end_marks)


def test_events_may_be_left_out_doubled_and_changed() -> None:
    for wanted in (b"", EVENT + EVENT, EVENT.replace(b'"a"', b'"b"'), b"data: x\r\n\r\ndata: y\n\n"):
        it = Given(Returning(wanted))
        it.ask()
        assert it.tap.events(EVENT + DONE) == wanted + DONE


def test_what_one_leaves_out_those_nearer_to_the_client_do_not_see() -> None:
    it = Given(seen := Recorder(), Returning(b""))
    it.ask()
    it.tap.events(EVENT)

    assert not seen.of("on_event")


def test_comments_pass_unseen() -> None:
    it = Given(seen := Recorder())
    it.ask()

    assert it.tap.events(b": keepalive\n\n" + EVENT + b": seam\n\n") == b": keepalive\n\n" + EVENT + b": seam\n\n"
    assert seen.of("on_event") == [EVENT]


def test_a_whole_body_may_be_another_and_its_digests_go() -> None:
    it = Given(Returning(b'{"b": 2}'))
    it.ask()

    lines, body = it.tap.whole(200, JSON + b"ETag: x\r\nDigest: y\r\nX: z\r\n", b'{"a": 1}')

    assert (lines, body) == (JSON + b"X: z\r\n", b'{"b": 2}')
    assert it.errors == [{}]


@pytest.mark.parametrize(
    ("status", "lines", "wanted"),
    [
        (400, JSON, b"{}"),
        (503, JSON, b"{}"),
        (301, JSON, b"{}"),
        (200, JSON + b"Content-Encoding: gzip\r\n", b"{}"),
        (200, b"content-type: Application/JSON; charset=utf-8\r\n", b"text"),
    ],
)
def test_a_body_that_must_stay_stays(status: int, lines: bytes, wanted: bytes) -> None:
    it = Given(Returning(wanted))
    it.ask()

    assert it.tap.whole(status, lines, b'{"a": 1}') == (lines, b'{"a": 1}')
    assert it.errors == [{"on_event": 1}]


def test_pieces_of_a_body_are_shown_and_stay() -> None:
    it = Given(seen := Recorder(), Returning(b"x"))
    it.ask()
    it.tap.piece(b"abc")
    it.tap.piece(b"")

    assert seen.of("on_event") == [b"abc"]
    assert it.errors == [{}, {"on_event": 1}]


def test_a_body_of_json_stays_an_object_and_one_of_any_kind_need_not() -> None:
    class Breaking(Middleware):
        def on_request(self, call: Call, request: Request) -> Request:
            return Request(request.method, request.path, request.query, (), b"[")

    assert Given(Breaking()).ask() is REQUEST
    assert Given(Breaking(), route=Route("/x", "POST", body=Body.ANY)).ask().body == b"["


@pytest.mark.parametrize("body", [b"", b"x", b"[]", b"{}", b'{"error": 3}', b'{"error": {"message": 3}}'])
def test_an_error_without_a_message_has_an_empty_one(body: bytes) -> None:
    assert message_of(body) == ""
