"""Every way to fail, as a small tree; the type says whose fault it is and what the client is told.

- `AnswerError`: what a client is told. It knows its status and the four fields of OpenAI's error object.
- `WireError`: what went wrong between us and a backend, by phase. Never shown to a client as it is.
- `ConfigError`: everything that is wrong with a configuration, at once.

Nothing here formats bytes: `error_object` gives the one shape of an error, callers encode it.
"""

from dataclasses import dataclass
from typing import ClassVar


class RouterError(Exception):
    """Base of every error of our own."""


# The word that stands in `code` where only a status is known; our own choice but for OpenAI's rate_limit_exceeded.
CODES = {
    408: "request_timeout",
    413: "request_too_large",
    414: "uri_too_long",
    429: "rate_limit_exceeded",
    431: "headers_too_large",
    501: "not_implemented",
    503: "overloaded",
    504: "timeout",
    505: "http_version_not_supported",
}


def error_object(
    message: str, kind: str, *, param: str | None = None, code: str | None = None
) -> dict[str, dict[str, str | None]]:
    """Return OpenAI's error envelope; `kind` is its field `type`."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


class AnswerError(RouterError):
    """An error that a client is told, in OpenAI's form."""

    status: int = 500
    kind: str = "server_error"  # the field `type`
    default_code: ClassVar[str | None] = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        """`retry_after`: seconds that the client should wait, None where waiting does not help."""
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code if code is not None else self.default_code
        self.retry_after = retry_after

    def envelope(self) -> dict[str, dict[str, str | None]]:
        """Return the JSON object of the answer's body."""
        return error_object(self.message, self.kind, param=self.param, code=self.code)


class InvalidRequest(AnswerError):
    """The request cannot be understood (malformed JSON, wrong type of a field)."""

    status, kind = 400, "invalid_request_error"


class UnknownRoute(AnswerError):
    """No such path here."""

    status, kind, default_code = 404, "invalid_request_error", "unknown_url"


class UnknownModel(AnswerError):
    """No backend has ever listed this model."""

    status, kind, default_code = 404, "invalid_request_error", "model_not_found"


class MethodNotAllowed(AnswerError):
    """The path exists, but not with this method."""

    status, kind, default_code = 405, "invalid_request_error", "method_not_allowed"


class UnsupportedMediaType(AnswerError):
    """The body's type or encoding is not one that the route takes."""

    status, kind, default_code = 415, "invalid_request_error", "unsupported_media_type"


class InternalFault(AnswerError):
    """Our own fault."""

    status, kind, default_code = 500, "server_error", "internal_error"


class BackendUnavailable(AnswerError):
    """The backend could not be reached, or broke before its answer began."""

    status, kind, default_code = 502, "server_error", "upstream_unavailable"


# Told while no backend has listed its models, by whatever looks for one.
NONE_LISTED = (
    "No backend has told yet which models it serves: each is down, was not asked yet, or refuses to; see /health."
)


class NoBackend(AnswerError):
    """No backend can take the request now."""

    status, kind, default_code = 503, "server_error", "overloaded"


class TooMuch(NoBackend):
    """The router turns a request away: its queue is full, a wait was too long, or memory or descriptors run short."""


class BackendTimeout(AnswerError):
    """The backend, or the whole exchange, took too long."""

    status, kind, default_code = 504, "server_error", "timeout"


class StatusError(AnswerError):
    """An error whose status somebody else has told: a backend, inside of a stream, or the wire."""

    def __init__(
        self, message: str, *, status: int, kind: str | None = None, param: str | None = None, code: str | None = None
    ) -> None:
        """`status`: of a backend that did not say, 500. `kind`, `code`: where None, those that go with the status."""
        # Who is told "not now" is told when.
        retry_after = 1 if status in (429, 503) else None
        super().__init__(
            message, param=param, code=CODES.get(status) if kind is None else code, retry_after=retry_after
        )
        self.status = status
        default = "invalid_request_error" if 400 <= status < 500 and status != 429 else "server_error"
        self.kind = default if kind is None else kind


class WireError(RouterError):
    """A request to a backend failed below the level of an HTTP status."""


class ConnectError(WireError):
    """No connection was made: nothing was sent, so any other backend may be tried."""

    def __init__(self, message: str, *, refused: bool = False, ours: bool = False) -> None:
        """`refused`: the host answered that nobody listens there (ECONNREFUSED, no such socket).

        `ours`: this process has no file descriptor, port or memory left; the host was not asked.
        """
        super().__init__(message)
        self.refused = refused
        self.ours = ours


class ConnectTimeout(WireError):
    """No connection within the connect timeout."""


class FirstByteTimeout(WireError):
    """The request was sent and no byte of an answer came in time."""


class IdleTimeout(WireError):
    """The answer stopped coming."""


class TotalTimeout(WireError):
    """The whole request took longer than it may."""


class ConnectionLost(WireError):
    """The connection ended (reset, closed) before the answer was whole."""

    def __init__(self, message: str, *, reused: bool, received: bool) -> None:
        """`reused`: the connection had served before; `received`: some byte of this answer had come."""
        super().__init__(message)
        self.reused = reused
        self.received = received


class BadResponse(WireError):
    """The backend's bytes are not an HTTP answer that we accept (framing, limits, upgrade)."""


@dataclass(frozen=True, slots=True)
class ConfigFault:
    """One thing that is wrong with a configuration."""

    path: str  # dotted, as in "backends.0.url"; "" for the whole file
    message: str
    line: int | None = None  # 1-based line of the file, where it is known
    hint: str | None = None  # what to write instead

    def __str__(self) -> str:
        """Return one line that a person can act on."""
        where = self.path or "config"
        line = f" (line {self.line})" if self.line is not None else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{where}{line}: {self.message}{hint}"


class ConfigError(RouterError):
    """A configuration that cannot be used; carries all its faults."""

    def __init__(self, faults: list[ConfigFault], *, files: tuple[str, ...] = ()) -> None:
        """`faults` is never empty. `files`: that it names; another content of theirs may be what mends it."""
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults
        self.files = files
