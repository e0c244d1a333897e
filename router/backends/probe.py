"""What a probe shows of a backend, and why it failed, in a word to count and in words for people. Pure."""

import enum
from dataclasses import dataclass

from router.backends.health import Seen
from router.errors import (
    BadResponse,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    FirstByteTimeout,
    IdleTimeout,
    TotalTimeout,
    WireError,
)

# Statuses of a server that lives but has no such path for us (APIs other than vLLM); vLLM itself says 200 or 503.
NO_SUCH_PROBE = frozenset({401, 403, 404, 405})


class Trouble(enum.Enum):
    """Why a probe failed otherwise than by a refusal; the cause of the change that comes of it."""

    STATUS = "bad_status"  # it answered, but not that it is well
    TIMEOUT = "timeout"  # it took the connection and did not answer in time
    CONNECT_FAILED = "connect_failed"  # its name, the network or TLS; also: not in time
    CONNECTION_LOST = "connection_lost"  # closed or reset before the answer was whole
    BAD_RESPONSE = "bad_response"  # no HTTP that we accept
    COMPLETION = "no_completion"  # it passes its probes, but not a real request
    UNKNOWN = "failed"  # none of these; the log has the fault's type


_TROUBLES: tuple[tuple[type[Exception], Trouble], ...] = (
    (ConnectError, Trouble.CONNECT_FAILED),
    (ConnectTimeout, Trouble.CONNECT_FAILED),
    (ConnectionLost, Trouble.CONNECTION_LOST),
    (BadResponse, Trouble.BAD_RESPONSE),
)
_LATE = TimeoutError | FirstByteTimeout | IdleTimeout | TotalTimeout


@dataclass(frozen=True, slots=True)
class Probed:
    """What came of one probe."""

    seen: Seen
    cause: str
    why: str = ""  # for people, "" where the cause says it all

    @property
    def told(self) -> str:
        """Return why in words for people, or the cause where it says it all."""
        return self.why or self.cause


def of_status(status: int) -> Probed:
    """Return what an answer shows."""
    if 200 <= status < 300 or status in NO_SUCH_PROBE:
        return Probed(Seen.PASSED, Seen.PASSED.value)
    return Probed(Seen.FAILED, Trouble.STATUS.value, f"status {status}")


def of_fault(fault: Exception, *, within: float) -> Probed:
    """Return what it shows that there was no answer; `within`: seconds that it was waited for.

    A text goes into the log only where it is of router.wire, whose texts hold our own words, those of the TLS library
    and of the system, and an origin as configured: no byte that a backend sent. Of any other fault its type is told.
    """
    if is_refusal(fault):
        return Probed(Seen.REFUSED, Seen.REFUSED.value)
    if isinstance(fault, ConnectError) and fault.ours:
        return Probed(Seen.BUSY, Seen.BUSY.value, str(fault))  # it was not asked, which is not its fault
    if isinstance(fault, _LATE):
        return Probed(Seen.FAILED, Trouble.TIMEOUT.value, f"no answer within {within:g} s")
    trouble = next((word for kind, word in _TROUBLES if isinstance(fault, kind)), Trouble.UNKNOWN)
    return Probed(Seen.FAILED, trouble.value, str(fault) if isinstance(fault, WireError) else type(fault).__name__)


def is_refusal(fault: Exception) -> bool:
    """Return whether nobody listens there: a port that refuses, a unix socket that does not exist."""
    if isinstance(fault, ConnectError):
        return fault.refused
    return isinstance(fault, ConnectionRefusedError | FileNotFoundError)
