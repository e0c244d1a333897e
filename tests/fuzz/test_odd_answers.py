"""The whole router meets some odd answers; and what makes them makes all that it should."""

import random

import pytest
import uvloop
from tornado.httpclient import HTTPRequest, HTTPResponse
from tornado.httputil import HTTPHeaders

from tests.fuzz.odd_answers import CHATS, CONFIGS, SHARES, Odd, ask_all, check


def test_odd_answers_break_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    uvloop.run(ask_all(400, 1))
    told = capsys.readouterr().out
    assert told.count("odd answers") == len(CONFIGS)
    assert "text ok" in told
    assert "exact ok" in told


def test_events_are_whole_and_values_of_any_type_come_among_usual_ones() -> None:
    odd = Odd(random.Random(1))
    assert all(odd.event().endswith(b"\n\n") for _ in range(500))
    for share in SHARES:
        odd.share = share
        told = [odd.often("usual") for _ in range(2000)]
        assert abs(told.count("usual") / len(told) - share) < 0.05
        assert {type(one) for one in told} >= {str, dict, int}


@pytest.mark.parametrize(
    ("status", "kind", "body", "holds"),
    [
        (200, "text/event-stream", b"data: {}\n\ndata: [DONE]\n\n", True),
        (200, "text/event-stream", b'data: {}\n\ndata: {"error":{"message":"x"}}\n\n', True),
        (200, "text/event-stream", b"data: {}\n\n", False),
        (200, "application/json", b"{}", True),
        (502, "application/json", b'{"error":{"message":"x"}}', True),
        (502, "application/json", b'{"error":{"message":""}}', False),
    ],
)
def test_an_answer_is_whole_or_tells_of_an_error(status: int, kind: str, body: bytes, holds: bool) -> None:
    class Answer(HTTPResponse):
        body = b""  # of the base it is a property without a setter

    answer = Answer(HTTPRequest("http://a/"), status, HTTPHeaders({"Content-Type": kind}))
    answer.body = body
    if holds:
        check(CHATS, answer)
    else:
        with pytest.raises(AssertionError):
            check(CHATS, answer)
