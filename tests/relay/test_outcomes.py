"""Rules of router/relay/outcomes.py: the table "Failure, as vLLM means it"."""

import json
from pathlib import Path

import pytest

from router.errors import BadResponse, ConnectError, ConnectionLost, ConnectTimeout, StatusError, WireError
from router.exchange import AttemptOutcome
from router.relay.outcomes import (
    Refusal,
    broken_off,
    is_stopping,
    outcome_of_event,
    outcome_of_status,
    passed_on,
    refused,
    reported,
)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (429, AttemptOutcome.OVERLOADED),
        (503, AttemptOutcome.OVERLOADED),
        (500, AttemptOutcome.SERVER_ERROR),
        (501, AttemptOutcome.CLIENT_ERROR),
        (408, AttemptOutcome.GATEWAY_ERROR),
        (502, AttemptOutcome.GATEWAY_ERROR),
        (504, AttemptOutcome.GATEWAY_ERROR),
        (401, AttemptOutcome.UNAUTHORIZED),
        (403, AttemptOutcome.FORBIDDEN),
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
        (ConnectError("x", ours=True), AttemptOutcome.OVERLOADED, 503),
        (ConnectTimeout("x"), AttemptOutcome.CONNECT_FAILED, 503),
        (ConnectionLost("x", reused=False, received=False), AttemptOutcome.CONNECTION_LOST, 502),
        (BadResponse("x"), AttemptOutcome.BAD_RESPONSE, 502),
    ],
)
def test_what_a_broken_connection_says_and_what_the_client_is_told(
    error: WireError, outcome: AttemptOutcome, told: int
) -> None:
    ended = broken_off(error, begun=False)
    assert ended.error is not None
    assert (ended.outcome, ended.error.status) == (outcome, told)


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
    [(b'{"error": {"message": "m"}}', "m"), (b'{"error": "x"}', "x"), (b"<html>", "503")],
)
def test_a_refusal_keeps_its_message_in_openais_form(body: bytes, message: str) -> None:
    ended = refused(503, b"Content-Type: text/html\r\nA: b\r\n", body, we_hold_key=False, named_events=False)

    assert ended.error is not None
    assert ended.refusal is not None
    assert ended.error.status == ended.refusal.status == 503
    assert message in ended.error.message
    assert json.loads(ended.refusal.body) == ended.error.envelope()
    assert ended.refusal.lines == b"Content-Type: application/json\r\nA: b\r\n"


def test_a_refusal_in_openais_form_stays_the_bytes_it_was() -> None:
    body = b'{"error":{"message":"m","type":"invalid_request_error","param":null,"code":null,"more":1}}'

    ended = refused(400, b"A: b\r\n", body, we_hold_key=False, named_events=False)

    assert ended.refusal == Refusal(400, b"A: b\r\n", body)


def test_errors_of_apis_with_named_events_carry_a_type() -> None:
    ended = refused(400, b"", b'{"error": "x"}', we_hold_key=False, named_events=True)

    assert ended.refusal is not None
    assert json.loads(ended.refusal.body)["type"] == "error"


@pytest.mark.parametrize(
    ("we_hold_key", "outcome", "status", "code"),
    [
        (True, AttemptOutcome.UNAUTHORIZED, 502, "upstream_auth"),
        (False, AttemptOutcome.FORBIDDEN, 401, "invalid_api_key"),
    ],
)
def test_a_key_that_is_refused_is_ours_or_the_clients(
    we_hold_key: bool, outcome: AttemptOutcome, status: int, code: str
) -> None:
    ended = refused(401, b"", b'{"error":"Unauthorized"}', we_hold_key=we_hold_key, named_events=False)

    assert ended.error is not None
    assert (ended.outcome, ended.error.status, ended.error.code) == (outcome, status, code)


def test_a_model_that_one_backend_does_not_know_may_be_known_by_another() -> None:
    body = b'{"error":{"message":"The model `x` does not exist.","type":"NotFoundError","param":"model","code":404}}'

    assert refused(404, b"", body, we_hold_key=False, named_events=False).is_unknown_model
    assert not refused(404, b"", b'{"detail":"Not Found"}', we_hold_key=False, named_events=False).is_unknown_model


def test_an_encoded_refusal_is_told_without_the_lines_of_its_bytes() -> None:
    lines = b'Content-Type: application/json\r\nContent-Encoding: gzip\r\nETag: "x"\r\nA: b\r\n'

    ended = refused(400, lines, b"\x1f\x8b\x08junk", we_hold_key=False, named_events=False)

    assert ended.error is not None
    assert ended.refusal is not None
    assert "400" in ended.error.message
    assert ended.refusal.lines == b"Content-Type: application/json\r\nA: b\r\n"


# As recorded from vLLM 0.32, and as its source words it.
LAST_WORDS = (
    "cannot schedule new futures after shutdown",
    "cannot schedule new futures after interpreter shutdown",
    "EngineCore encountered an issue. See stack trace (above) for the root cause.",
    "vllm.v1.engine.exceptions.EngineDeadError",
    "Engine core proc EngineCore_DP0 died unexpectedly, shutting down client.",
)


@pytest.mark.parametrize("message", LAST_WORDS)
def test_a_backend_that_stops_or_has_no_engine_says_so(message: str) -> None:
    body = json.dumps({"error": {"message": message, "type": "InternalServerError", "param": None, "code": 500}})
    ended = refused(500, b"", body.encode(), we_hold_key=False, named_events=False)

    assert ended.outcome is AttemptOutcome.STOPPING
    assert ended.error is not None
    assert ended.error.status == 500
    assert reported(StatusError(message, status=500)).outcome is AttemptOutcome.STOPPING
    assert outcome_of_event(StatusError(message, status=500)) is AttemptOutcome.STOPPING


@pytest.mark.parametrize("capture", ["sigterm-abort-2.chat-after", "sigkill-engine.chat-after"])
def test_what_a_real_server_says_while_it_stops_is_understood(capture: str, root: Path) -> None:
    raw = (root / "tests" / "data" / "vllm" / "lifecycle" / f"{capture}.response").read_bytes()
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b" 500 " in head.splitlines()[0]

    assert refused(500, b"", body, we_hold_key=False, named_events=False).outcome is AttemptOutcome.STOPPING


@pytest.mark.parametrize("message", ["CUDA error: an illegal memory access", "Internal server error", "shutdown"])
def test_another_failure_is_not_taken_for_a_stop(message: str) -> None:
    assert not is_stopping(message)
    assert outcome_of_event(StatusError(message, status=500)) is AttemptOutcome.ERROR_EVENT


def test_a_request_that_speaks_of_shutdowns_stops_no_backend() -> None:
    body = json.dumps({"error": {"message": "cannot schedule new futures after shutdown: no such tool", "code": 400}})

    ended = refused(400, b"", body.encode(), we_hold_key=False, named_events=False)
    assert ended.outcome is AttemptOutcome.CLIENT_ERROR
