"""The end of an attempt that a backend has answered with another status than 2xx. Pure."""

from dataclasses import replace

from router.errors import BackendUnavailable, StatusError
from router.exchange import AttemptOutcome
from router.relay import headers
from router.relay.outcomes import Ended, failed, outcome_of_status, refused
from router.relay.route import Route
from router.wire.client import Head

NOT_A_STREAM = Ended(
    AttemptOutcome.BAD_RESPONSE, begun=True, error=BackendUnavailable("The backend did not answer as a stream.")
)


def too_large(status: int) -> Ended:
    """Return the end of an attempt whose error answer has more bytes than can be passed on."""
    error = StatusError(f"The backend answered with status {status} and more than can be passed on.", status=status)
    return Ended(outcome_of_status(status), error=error)


def answered(head: Head, lines: bytes, body: bytes, *, route: Route, we_hold_key: bool, wall_clock: float) -> Ended:
    """Return the end of an attempt that was answered with an error.

    `lines`: the header lines that travel; `wall_clock`: seconds since the epoch, for a `Retry-After` that is a date.
    """
    outcome = outcome_of_status(head.status)
    if outcome is AttemptOutcome.BAD_RESPONSE:  # a redirect: never followed, as it may lead anywhere
        return failed(outcome, begun=False)
    ended = refused(head.status, lines, body, we_hold_key=we_hold_key, named_events=route.named_events)
    return replace(ended, retry_after=headers.retry_after(head.headers, wall_clock))
