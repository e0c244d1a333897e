"""Rules of router/relay/refused.py: what becomes of another status than 2xx."""

import json

import pytest

from router.exchange import AttemptOutcome
from router.relay.refused import NOT_A_STREAM, answered, too_large
from router.relay.route import Route
from router.wire.client import Head

ROUTE = Route("/v1/chat/completions", "POST")
ERROR = {"message": "no", "type": "x", "param": None, "code": None}


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_never_followed_nor_passed_on(status: int) -> None:
    head = Head(status, "", [(b"Location", b"http://elsewhere/")])
    ended = answered(head, b"", b"", route=ROUTE, we_hold_key=False, wall_clock=0.0)
    assert (ended.outcome, ended.refusal) == (AttemptOutcome.BAD_RESPONSE, None)


def test_an_error_is_passed_on_with_the_pause_that_it_asks_for() -> None:
    head = Head(503, "", [(b"Retry-After", b"7")])
    body = json.dumps({"error": ERROR}).encode()
    ended = answered(head, b"", body, route=ROUTE, we_hold_key=False, wall_clock=0.0)
    assert (ended.outcome, ended.retry_after) == (AttemptOutcome.OVERLOADED, 7.0)
    assert ended.refusal is not None
    assert ended.refusal.status == 503


def test_a_pause_that_is_a_date_is_counted_from_now() -> None:
    head = Head(429, "", [(b"Retry-After", b"Thu, 01 Jan 1970 00:01:40 GMT")])
    ended = answered(head, b"", b"", route=ROUTE, we_hold_key=False, wall_clock=90.0)
    assert ended.retry_after == 10.0


def test_what_is_too_large_keeps_its_status() -> None:
    ended = too_large(413)
    assert ended.error is not None
    assert (ended.outcome, ended.error.status) == (AttemptOutcome.CLIENT_ERROR, 413)


def test_what_is_no_stream_is_the_backends_fault() -> None:
    assert NOT_A_STREAM.outcome is AttemptOutcome.BAD_RESPONSE
