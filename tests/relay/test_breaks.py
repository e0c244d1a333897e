"""Rules of router/relay/breaks.py: an event that says that the answer breaks is found, and nothing else is."""

import json

import pytest

from router.exchange import AttemptOutcome
from router.relay.breaks import ended_by, given_up, may_break, split_at_break, up_to_end

DONE = b"data: [DONE]\n\n"


def chunk(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


ERROR = b'data: {"error":{"message":"it broke","type":"InternalServerError","code":500}}\n\n'
TEXTS = chunk("an error") + chunk('"abort"') + chunk('{"error":{"code":500}}') + chunk('"finish_reason":"abort"')


def never(event: bytes) -> bool:
    return False


@pytest.mark.parametrize("broken", [ERROR, chunk("", "abort"), chunk("x", "error")])
def test_events_before_the_break_are_good(broken: bytes) -> None:
    assert split_at_break(TEXTS + broken + chunk("behind") + DONE, never) == (TEXTS, broken)
    assert split_at_break(broken + DONE, never) == (b"", broken)


def test_nothing_comes_behind_the_event_that_ends_an_answer() -> None:
    def is_done(event: bytes) -> bool:
        return event == DONE

    assert up_to_end(TEXTS + DONE + chunk("behind") + DONE, is_done) == TEXTS + DONE
    assert up_to_end(DONE, is_done) == DONE
    assert up_to_end(TEXTS, is_done) == b""


def test_texts_about_errors_are_no_breaks() -> None:
    whole = TEXTS + chunk("", "stop") + DONE
    assert may_break(whole)
    assert split_at_break(whole, never) == (whole, b"")


def test_the_end_of_an_answer_is_no_break_even_where_it_tells_of_an_error() -> None:
    """`response.failed` of the Responses API: the client is told all by it."""
    assert split_at_break(chunk("x") + ERROR, lambda event: event == ERROR) == (chunk("x") + ERROR, b"")


@pytest.mark.parametrize(
    ("event", "begun", "outcome"),
    [
        (chunk("", "abort"), True, AttemptOutcome.STOPPING),
        (chunk("", "abort"), False, AttemptOutcome.STOPPING),
        (chunk("", "error"), True, AttemptOutcome.ERROR_EVENT),
        (ERROR, True, AttemptOutcome.ERROR_EVENT),
        (ERROR, False, AttemptOutcome.ERROR_EVENT),
        (ERROR.replace(b"500", b"400"), True, AttemptOutcome.CLIENT_ERROR),
        (ERROR.replace(b"500", b"503"), False, AttemptOutcome.OVERLOADED),
        (ERROR.replace(b"it broke", b"EngineCore encountered an issue."), True, AttemptOutcome.STOPPING),
    ],
)
def test_each_break_has_its_outcome(event: bytes, begun: bool, outcome: AttemptOutcome) -> None:
    ended = ended_by(event, begun=begun)
    assert ended is not None
    assert ended.outcome is outcome
    assert ended.begun is begun
    assert ended.error is not None


@pytest.mark.parametrize("event", [chunk("x"), chunk("", "stop"), DONE, b": error\n\n", b"data: error\n\n"])
def test_other_events_are_none(event: bytes) -> None:
    assert ended_by(event, begun=True) is None


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"choices":7}', b'{"choices":[7]}', b'{"choices":[]}'])
def test_what_is_not_an_answer_was_not_given_up(body: bytes) -> None:
    assert given_up(body) is None


def test_an_answer_in_one_piece_may_be_given_up_too() -> None:
    assert given_up(b'{"choices":[{"message":{},"finish_reason":"abort"}]}') is AttemptOutcome.STOPPING
