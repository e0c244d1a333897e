"""Rules of router/backends/probe.py: what a probe shows, and why it failed."""

import pytest

from router.backends.health import Seen
from router.backends.probe import Probed, Trouble, of_fault, of_status
from router.errors import (
    BadResponse,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    FirstByteTimeout,
    IdleTimeout,
    TotalTimeout,
)


@pytest.mark.parametrize("status", [200, 204, 401, 403, 404, 405])
def test_who_answers_well_or_has_no_such_path_passes(status: int) -> None:
    assert of_status(status) == Probed(Seen.PASSED, "passed")


@pytest.mark.parametrize("status", [302, 400, 429, 500, 503])
def test_any_other_status_is_told(status: int) -> None:
    assert of_status(status) == Probed(Seen.FAILED, "bad_status", f"status {status}")


FAULTS: list[tuple[Exception, Seen, str, str]] = [
    (ConnectError("no connection to http://a: refused", refused=True), Seen.REFUSED, "refused", ""),
    (ConnectionRefusedError(), Seen.REFUSED, "refused", ""),
    (FileNotFoundError(), Seen.REFUSED, "refused", ""),
    (ConnectError("Too many open files", ours=True), Seen.BUSY, "busy", "Too many open files"),
    (ConnectError("TLS failed: expired"), Seen.FAILED, "connect_failed", "TLS failed: expired"),
    (ConnectTimeout("no connection in time"), Seen.FAILED, "connect_failed", "no connection in time"),
    (ConnectionLost("closed", reused=False, received=False), Seen.FAILED, "connection_lost", "closed"),
    (BadResponse("not HTTP"), Seen.FAILED, "bad_response", "not HTTP"),
    (TimeoutError(), Seen.FAILED, "timeout", "no answer within 2.5 s"),
    (FirstByteTimeout("x"), Seen.FAILED, "timeout", "no answer within 2.5 s"),
    (IdleTimeout("x"), Seen.FAILED, "timeout", "no answer within 2.5 s"),
    (TotalTimeout("x"), Seen.FAILED, "timeout", "no answer within 2.5 s"),
    (ValueError("sk-canary"), Seen.FAILED, "failed", "ValueError"),
]


@pytest.mark.parametrize(("fault", "seen", "cause", "why"), FAULTS)
def test_why_there_was_no_answer_is_told_in_a_word_and_in_words(
    fault: Exception, seen: Seen, cause: str, why: str
) -> None:
    """The word is one of a few, for it is a metric's label; a text that is not ours is told nowhere."""
    assert of_fault(fault, within=2.5) == Probed(seen, cause, why)
    assert cause in {each.value for each in (*Trouble, *Seen)}
