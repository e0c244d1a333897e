"""Rules of router/relay/outcomes.py: the table "Failure, as vLLM means it"."""

import pytest

from router.errors import BadResponse, ConnectError, ConnectionLost, ConnectTimeout, StatusError, WireError
from router.exchange import AttemptOutcome
from router.relay.outcomes import (
    Ended,
    Refusal,
    broken_off,
    error_of,
    outcome_of_status,
    passed_on,
    reported,
)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (429, AttemptOutcome.OVERLOADED),
        (503, AttemptOutcome.OVERLOADED),
        (500, AttemptOutcome.SERVER_ERROR),
        (501, AttemptOutcome.SERVER_ERROR),
        (502, AttemptOutcome.GATEWAY_ERROR),
        (504, AttemptOutcome.GATEWAY_ERROR),
        (401, AttemptOutcome.UNAUTHORIZED),
        (403, AttemptOutcome.UNAUTHORIZED),
        (400, AttemptOutcome.CLIENT_ERROR),
        (404, AttemptOutcome.CLIENT_ERROR),
        (422, AttemptOutcome.CLIENT_ERROR),
        (302, AttemptOutcome.BAD_RESPONSE),
    ],
)
def test_what_a_status_says_of_the_backend(status: int, outcome: AttemptOutcome) -> None:
    assert outcome_of_status(status) is outcome


@pytest.mark.parametrize(
    ("error", "outcome", "told"),
    [
        (ConnectError("x", refused=True), AttemptOutcome.REFUSED, 503),
        (ConnectError("x"), AttemptOutcome.CONNECT_FAILED, 503),
        (ConnectTimeout("x"), AttemptOutcome.CONNECT_FAILED, 503),
        (ConnectionLost("x", reused=False, received=False), AttemptOutcome.CONNECTION_LOST, 502),
        (BadResponse("x"), AttemptOutcome.BAD_RESPONSE, 502),
    ],
)
def test_what_a_broken_connection_says_and_what_the_client_is_told(
    error: WireError, outcome: AttemptOutcome, told: int
) -> None:
    ended = broken_off(error, begun=False)
    assert (ended.outcome, error_of(ended).status) == (outcome, told)


def test_an_answer_that_had_begun_was_cut() -> None:
    ended = broken_off(ConnectionLost("x", reused=True, received=True), begun=True)
    assert (ended.outcome, ended.begun) == (AttemptOutcome.CUT, True)


@pytest.mark.parametrize(
    ("reused", "received", "dead"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_only_a_kept_connection_without_an_answer_had_died_before(reused: bool, received: bool, dead: bool) -> None:
    assert broken_off(ConnectionLost("x", reused=reused, received=received), begun=False).on_dead_connection is dead


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(503, AttemptOutcome.OVERLOADED), (500, AttemptOutcome.ERROR_EVENT), (400, AttemptOutcome.CLIENT_ERROR)],
)
def test_an_error_event_before_the_beginning_is_as_good_as_a_status(status: int, outcome: AttemptOutcome) -> None:
    assert reported(StatusError("x", status=status)).outcome is outcome


def test_a_refusal_is_passed_on_with_when_to_come_back_and_a_word_to_sdks() -> None:
    assert (
        passed_on(Refusal(503, b"A: b\r\n", b""), final=True) == b"A: b\r\nRetry-After: 1\r\nx-should-retry: false\r\n"
    )
    assert passed_on(Refusal(503, b"Retry-After: 7\r\n", b""), final=False) == b"Retry-After: 7\r\n"
    assert passed_on(Refusal(400, b"A: b\r\n", b""), final=False) == b"A: b\r\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [(b'{"error": {"message": "m"}}', "m"), (b'{"error": "x"}', "status 503"), (b"<html>", "status 503")],
)
def test_a_refusal_that_must_become_an_event_keeps_its_message(body: bytes, message: str) -> None:
    error = error_of(Ended(AttemptOutcome.OVERLOADED, refusal=Refusal(503, b"", body)))
    assert error.status == 503
    assert message in error.message
