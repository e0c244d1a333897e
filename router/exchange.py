"""The record of one exchange: one client request with its one answer, closed exactly once.

Outcomes are members of enums, never texts: metrics, log, breaker and retry all speak these words.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass, field


class AttemptOutcome(enum.Enum):
    """How one try at one backend ended."""

    __hash__ = object.__hash__  # each member is one object; Enum computes it from the name, in Python

    OK = "ok"
    REFUSED = "refused"  # nobody listens there: nothing was sent
    CONNECT_FAILED = "connect_failed"  # no connection for another reason, or not in time
    CONNECTION_LOST = "connection_lost"  # reset or closed before the answer began
    BAD_RESPONSE = "bad_response"  # not HTTP that we accept
    FIRST_BYTE_TIMEOUT = "first_byte_timeout"  # the answer did not begin in time
    OVERLOADED = "overloaded"  # 429 or 503: full, not broken
    SERVER_ERROR = "server_error"  # 500 and every other 5xx
    GATEWAY_ERROR = "gateway_error"  # 502 or 504
    STOPPING = "stopping"  # it is shutting down, or its engine is dead: it says so itself, or gives an answer up
    UNAUTHORIZED = "unauthorized"  # 401 to the key in our configuration
    FORBIDDEN = "forbidden"  # 401 to the client's own key or to none, or 403
    CLIENT_ERROR = "client_error"  # any other 4xx: the request's own fault
    ERROR_EVENT = "error_event"  # a 200 stream that carried an error
    CUT = "cut"  # the answer began and ended before its end
    STALLED = "stalled"  # the answer began and our idle timer ended it
    CLIENT_GONE = "client_gone"  # nobody's fault
    DEADLINE = "deadline"  # the exchange's own deadline: nobody's fault
    SHUTDOWN = "shutdown"  # we stop: nobody's fault
    SUPERSEDED = "superseded"  # another attempt of the same exchange was faster: nobody's fault
    INTERNAL = "internal"  # our own fault: the backend has done nothing


class Outcome(enum.Enum):
    """How an exchange ended."""

    __hash__ = object.__hash__

    OK = "ok"
    REJECTED = "rejected"  # refused by us: no backend was bothered
    CLIENT_ERROR = "client_error"  # a backend's 4xx, passed on
    BACKEND_ERROR = "backend_error"  # a failure, told to the client with its status
    NO_BACKEND = "no_backend"  # none usable, or all full
    BROKEN = "broken"  # the answer broke after it began
    TIMEOUT = "timeout"  # a backend, or the exchange's deadline, took too long
    CLIENT_GONE = "client_gone"  # the client left first
    SHUTDOWN = "shutdown"  # we stopped before it was answered
    INTERNAL = "internal"  # our own fault


@dataclass(slots=True)
class Attempt:
    """One try of an exchange at one backend."""

    backend: str
    started: float
    outcome: AttemptOutcome | None = None  # None while it runs
    status: int | None = None  # of the backend's answer, None before one came
    ended: float | None = None
    # Of exchanges whose spans are told: when the client's answer came of it, None where it did not, in how many events,
    # and the host and port that it went to; of a Unix socket its path alone.
    began: float | None = None
    events: int = 0
    server: tuple[str, int | None] | None = None


@dataclass(slots=True)  # not frozen: that takes four times as long to make, for each request that has one
class Trace:
    """The distributed trace that an exchange belongs to (W3C Trace Context); ids are hexadecimal."""

    trace_id: str
    parent_id: str | None  # the client's span, None where the trace begins here
    is_sampled: bool
    span_id: str = ""  # the exchange's own; "" of what a client has named
    # Waits for a free backend, by how many attempts had been before: since when, and until when.
    waits: dict[int, tuple[float, float]] = field(default_factory=dict)

    def waited(self, before: int, since: float, until: float) -> None:
        """Note a wait; one that follows another, with no attempt in between, prolongs it."""
        self.waits[before] = (self.waits.get(before, (since, until))[0], until)


@dataclass(slots=True)
class Exchange:
    """What is known of one exchange. Times are monotonic seconds; bytes are those of bodies."""

    id: str  # X-Request-ID
    route: str  # the route's own path, as in "/v1/chat/completions"; from our table, never from a client
    method: str
    opened: float
    client: str = ""  # address
    tenant: str = ""  # whose it is, as `access.tenant` names it; "": that was not put down yet
    credentials: str = field(default="", repr=False)  # of the client, until its tenant is put down
    client_cert: str | None = None  # whose certificate it showed, where one is asked for
    path: str = ""  # as asked for, of a route that is not served; bounded, without a query
    model: str | None = None  # as asked for; None where the route has none, or it was not read yet
    known_model: bool = False  # some backend has listed it: fit for a metric's label
    stream: bool = False
    status: int = 0  # told to the client; 0 while nothing was
    bytes_in: int = 0
    bytes_out: int = 0
    events: int = 0  # events relayed, of streams
    # Of the prompt and of the answer, as the answer tells; None: it does not; bytes: the answer, not yet read.
    tokens: tuple[int, int] | bytes | None = None
    began: float | None = None  # when the answer began (text, reasoning, tool call, finish reason)
    closed: float | None = None
    outcome: Outcome | None = None
    error: str | None = None  # code of the error we told, from our own table
    param: str | None = None  # the place in the request that it is about
    queued: float = 0.0  # seconds that it waited for a free backend
    session: str | None = None  # the name of the conversation that it belongs to, None where that is not known
    resumed: int = 0  # how often its broken answer was continued on another backend
    resume_mode: str | None = None  # how, the last time
    trace: Trace | None = None  # None where nobody is told of spans
    traceparent: str | None = None  # the client's header, where nobody is told of spans and it was not read yet
    trace_id: str | None = None  # of the trace that it belongs to, None where there is none
    hedged: bool = False  # a second attempt ran beside the first
    rules: frozenset[str] = frozenset()  # ids of the rules of translation that changed something
    attempts: list[Attempt] = field(default_factory=list)
    headers: dict[str, str] | None = None  # of the request, those that are to be logged, secrets masked
    on_close: tuple[Callable[["Exchange"], None], ...] = ()  # told of its end; nearly all exchanges share one tuple

    def close(self, outcome: Outcome, now: float) -> bool:
        """Close it; the first call wins. Return whether this call was the first."""
        if self.outcome is not None:
            return False
        self.outcome = outcome
        self.closed = now
        for callback in self.on_close:
            callback(self)
        return True
