"""What the ways in which a backend fails mean, and what the client is told of them. Pure.

The table is "Failure, as vLLM means it" in docs/architecture.md.
"""

import re
from dataclasses import dataclass

import orjson

from router.errors import (
    AnswerError,
    BackendTimeout,
    BackendUnavailable,
    BadResponse,
    ConnectError,
    ConnectTimeout,
    NoBackend,
    StatusError,
    WireError,
)
from router.exchange import AttemptOutcome
from router.translate import refusals


@dataclass(frozen=True, slots=True)
class Refusal:
    """A backend's own error answer, ready to be passed on."""

    status: int
    lines: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended, and what the client is told if nobody else takes the request."""

    outcome: AttemptOutcome
    begun: bool = False
    error: AnswerError | None = None
    refusal: Refusal | None = None
    retry_after: float | None = None
    is_unknown_model: bool = False  # the backend does not serve the model; another may
    on_dead_connection: bool = False  # a kept connection had died: nothing reached the backend


# Header lines that tell of the very bytes of a body.
_OF_THE_BODY = (b"content-type:", b"content-encoding:", b"etag:", b"content-md5:", b"content-digest:", b"digest:")
JSON_LINE = b"Content-Type: application/json\r\n"
WHOLE = Ended(AttemptOutcome.OK, begun=True)
# What vLLM says whose engine is dead, or which shuts down while its socket still accepts. /health may be 200 meanwhile.
_STOPPING = re.compile(
    r"cannot schedule new futures after (?:interpreter )?shutdown|EngineCore encountered an issue|EngineDeadError"
    r"|Engine core proc \S{1,100} died|EngineCore is dead|AsyncLLM (?:is|was) shut ?down|server is shutting down",
    re.IGNORECASE,
)


def is_stopping(message: str) -> bool:
    """Return whether the message of a 500 or of an error event says that the backend stops, or has no engine."""
    return _STOPPING.search(message) is not None


def outcome_of_status(status: int) -> AttemptOutcome:
    """Return what a status other than 2xx says of the backend (the table "Failure, as vLLM means it")."""
    if status in (429, 503):
        return AttemptOutcome.OVERLOADED
    if status in (408, 502, 504):
        return AttemptOutcome.GATEWAY_ERROR
    if status == 501:  # it cannot do what was asked for
        return AttemptOutcome.CLIENT_ERROR
    if status >= 500:
        return AttemptOutcome.SERVER_ERROR
    if status in (401, 403):
        return AttemptOutcome.UNAUTHORIZED if status == 401 else AttemptOutcome.FORBIDDEN
    return AttemptOutcome.CLIENT_ERROR if status >= 400 else AttemptOutcome.BAD_RESPONSE


def outcome_of_wire(error: WireError) -> AttemptOutcome:
    """Return what a failure below HTTP says of the backend, for an answer that has not begun."""
    if isinstance(error, ConnectError):
        if error.ours:  # as good as a backend that is full: nobody is broken, and later there is room again
            return AttemptOutcome.OVERLOADED
        return AttemptOutcome.REFUSED if error.refused else AttemptOutcome.CONNECT_FAILED
    if isinstance(error, ConnectTimeout):
        return AttemptOutcome.CONNECT_FAILED
    return AttemptOutcome.BAD_RESPONSE if isinstance(error, BadResponse) else AttemptOutcome.CONNECTION_LOST


def error_for(outcome: AttemptOutcome) -> AnswerError:
    """Return what the client is told of a failure that carries no answer of the backend."""
    if outcome in (AttemptOutcome.REFUSED, AttemptOutcome.CONNECT_FAILED):
        return NoBackend("No backend can be reached.", retry_after=1)
    if outcome is AttemptOutcome.OVERLOADED:
        return NoBackend("The router can open no further connection to a backend at the moment.", retry_after=1)
    if outcome is AttemptOutcome.FIRST_BYTE_TIMEOUT:
        return BackendTimeout("The backend did not begin its answer in time.")
    if outcome is AttemptOutcome.STALLED:
        return BackendTimeout("The backend stopped in the middle of its answer.")
    if outcome is AttemptOutcome.BAD_RESPONSE:
        return BackendUnavailable("The backend's answer was not understood.")
    return BackendUnavailable("The backend broke off its answer.")


def refused(status: int, lines: bytes, body: bytes, *, we_hold_key: bool, named_events: bool) -> Ended:
    """Return the end of an attempt that the backend has answered with an error.

    The table of docs/translation.md says what the client is told. A body that says just that stays as it is.
    `lines`: the header lines that travel; `named_events`: errors of this API carry a `type`.
    """
    is_encoded = b"content-encoding:" in lines.lower()
    told = refusals.told(status, b"" if is_encoded else body, we_hold_key=we_hold_key)
    error = StatusError(told.message, status=told.status, kind=told.kind, param=told.param, code=told.code)
    if not _says(body, error):
        envelope = error.envelope()
        body = orjson.dumps({"type": "error", **envelope} if named_events else envelope)
        lines = JSON_LINE + b"".join(
            line for line in lines.splitlines(keepends=True) if not line.lower().startswith(_OF_THE_BODY)
        )
    is_ours = status == 401 and not we_hold_key
    outcome = AttemptOutcome.FORBIDDEN if is_ours else outcome_of_status(status)
    if outcome is AttemptOutcome.SERVER_ERROR and is_stopping(told.message):
        outcome = AttemptOutcome.STOPPING
    unknown = told.status == 404 and told.code == "model_not_found"
    refusal = Refusal(told.status, lines, body)
    return Ended(outcome, error=error, refusal=refusal, is_unknown_model=unknown)


def _says(body: bytes, error: StatusError) -> bool:
    """Return whether an error's body is in OpenAI's form already, with just these four fields or more."""
    try:
        told = orjson.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return False
    return isinstance(told, dict) and all(
        told.get(name, told) == value for name, value in error.envelope()["error"].items()
    )


def passed_on(refusal: Refusal, *, final: bool) -> bytes:
    """Return the header lines of a backend's error answer as the client gets them.

    `final`: attempts were spent on it here, so SDKs must not multiply them. Who is told "not now" is told when.
    """
    lines = refusal.lines
    if refusal.status in (429, 503) and b"\r\nretry-after:" not in b"\r\n" + lines.lower():
        lines += b"Retry-After: 1\r\n"
    return lines + (b"x-should-retry: false\r\n" if final else b"")


def failed(outcome: AttemptOutcome, *, begun: bool) -> Ended:
    """Return the end of an attempt that failed without an answer of the backend."""
    return Ended(outcome, begun=begun, error=error_for(outcome))


def broken_off(error: WireError, *, begun: bool) -> Ended:
    """Return the end of an attempt whose connection failed."""
    if begun:
        return failed(AttemptOutcome.CUT, begun=True)
    dead = getattr(error, "reused", False) and not getattr(error, "received", True)
    outcome = outcome_of_wire(error)
    return Ended(outcome, error=error_for(outcome), on_dead_connection=dead)


def reported(error: StatusError) -> Ended:
    """Return the end of an attempt whose stream began with an error event, which is as good as a status."""
    if error.status >= 500 and error.status != 503:
        return Ended(outcome_of_event(error), error=error)
    return Ended(outcome_of_status(error.status), error=error)


def outcome_of_event(error: StatusError) -> AttemptOutcome:
    """Return what an error event says of the backend, in an answer that has begun."""
    if 400 <= error.status < 500:
        return AttemptOutcome.CLIENT_ERROR
    return AttemptOutcome.STOPPING if is_stopping(error.message) else AttemptOutcome.ERROR_EVENT
