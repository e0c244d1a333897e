"""Where the events of a stream say that it breaks: an error, or an answer that the backend gives up. Pure.

vLLM ends its answers with the finish_reason "abort" when it is told to stop. That is no end of an answer: a client
would take it for one, so such an event never reaches it.
"""

from collections.abc import Callable

import msgspec

from router.exchange import AttemptOutcome
from router.relay.beginning import find_error
from router.relay.outcomes import Ended, failed, outcome_of_event, reported
from router.wire.sse import event_data, split_events

ABORT = b'"abort"'
_GIVEN_UP = {"abort": AttemptOutcome.STOPPING, "error": AttemptOutcome.ERROR_EVENT}


class _Choice(msgspec.Struct):
    finish_reason: object = None


class _Answer(msgspec.Struct):
    choices: list[_Choice] | None = None


_decode = msgspec.json.Decoder(_Answer).decode


def may_break(block: bytes) -> bool:
    """Return whether an event of `block` may say so; cheap, and true of texts that speak of errors."""
    return block.find(b"error") >= 0 or block.find(ABORT) >= 0  # `in` costs more: it tries a number first


def given_up(body: bytes) -> AttemptOutcome | None:
    """Return how an answer ended, or an event of it, that the backend says it has not finished; else None."""
    try:
        choices = _decode(body).choices or ()
    except (msgspec.DecodeError, RecursionError):
        return None
    reasons = [choice.finish_reason for choice in choices]
    return next((_GIVEN_UP[reason] for reason in reasons if isinstance(reason, str) and reason in _GIVEN_UP), None)


def split_at_break(block: bytes, is_end: Callable[[bytes], bool]) -> tuple[bytes, bytes]:
    """Return the events before the first one that says that the answer breaks, and that one; b"" where none does."""
    good = 0
    for event in split_events(block):
        if ended_by(event, begun=True) is not None and not is_end(event):
            return block[:good], event
        good += len(event)
    return block, b""


def up_to_end(block: bytes, is_end: Callable[[bytes], bool]) -> bytes:
    """Return the events up to the one that ends the answer; b"" where none does."""
    end = 0
    for event in split_events(block):
        end += len(event)
        if is_end(event):
            return block[:end]
    return b""


def ended_by(event: bytes, *, begun: bool) -> Ended | None:
    """Return how an attempt ends with this event; None if it goes on. `begun`: the client has a part of the answer."""
    if not may_break(event):
        return None
    outcome = given_up(event_data(event) or b"")
    if outcome is not None:
        return failed(outcome, begun=begun)
    error = find_error(event)
    if error is None:
        return None
    return Ended(outcome_of_event(error), begun=True, error=error) if begun else reported(error)
