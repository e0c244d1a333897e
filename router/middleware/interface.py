"""What a middleware is: a class with any of five hooks, which are called for every relayed request. Pure.

    on_request   the request is whole, and no backend has seen it   may change or refuse it
    on_response  the head of the answer goes to the client          may look
    on_event     an event of a stream, or a body, goes to it        may change it, see docs/middlewares.md
    on_error     the client is told an error                        may look
    on_end       the exchange is over, however it ended             may look

A middleware is made once for each process. Its hooks run in the loop that serves everybody: they must not wait.
What one raises is logged and counted, and else without effect.
"""

from dataclasses import dataclass, field
from typing import Any

HOOKS = ("on_request", "on_response", "on_event", "on_error", "on_end")
Headers = tuple[tuple[str, str], ...]  # names and values, as they came and in their order


class Refusal(Exception):
    """Raised by `on_request`: the client is told this, in OpenAI's form, and no backend is asked."""

    def __init__(
        self, message: str, *, status: int = 403, code: str | None = "refused", param: str | None = None
    ) -> None:
        """`status`: 400 to 499, or 503. `code`, `param`: fields of the error. Raises ValueError for other values."""
        super().__init__(message)
        texts = (code, param)
        if not isinstance(message, str) or any(text is not None and not isinstance(text, str) for text in texts):
            raise ValueError("message, code and param of a refusal are texts")
        if not isinstance(status, int) or not (400 <= status < 500 or status == 503):
            raise ValueError("the status of a refusal is 400 to 499, or 503")
        self.message = message
        self.status = int(status)
        self.code = code
        self.param = param


@dataclass(frozen=True, slots=True)
class Request:
    """What the client has sent; `dataclasses.replace` makes the changed one that `on_request` may return."""

    method: str
    path: str  # as asked for, without the query
    query: str  # behind the ?, "" where there is none
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """The head of the answer."""

    status: int
    headers: Headers
    is_stream: bool  # events follow, else a body


@dataclass(frozen=True, slots=True)
class Failure:
    """An error that the client is told."""

    status: int  # of the error; the answer's own is 200 where it has begun
    code: str | None
    message: str
    has_begun: bool  # a part of the answer was sent before


@dataclass(frozen=True, slots=True)
class Ending:
    """How an exchange ended; seconds are since its beginning."""

    outcome: str  # a word of `router.exchange.Outcome`, as in the access log
    status: int  # told to the client, 0: none was
    error: str | None  # code of the error that it was told
    seconds: float
    first: float | None  # until the answer began, None where it did not
    tokens: tuple[int, int] | None  # of the prompt and of the answer, None where the answer does not tell
    attempts: tuple[tuple[str, str], ...]  # backend and outcome of each


@dataclass(slots=True)
class Call:
    """One exchange as one middleware knows it."""

    id: str  # X-Request-Id
    route: str  # as in "/v1/chat/completions"
    client: str  # address
    scheme: str  # http or https
    began: float  # seconds since 1970
    model: str | None = None  # as asked for; known from on_response on
    is_stream: bool = False  # a stream was asked for; the same
    state: dict[str, Any] = field(default_factory=dict)  # the middleware's own, for as long as the exchange lasts


class Middleware:
    """Base of middlewares. Only hooks that a class has of its own are called, so that the others cost nothing.

    Its options are the keyword parameters of its constructor, with types: str, int, float, bool, list[str], and any of
    them with `| None`.
    """

    def on_request(self, call: Call, request: Request) -> Request | None:
        """Return a changed request, or None to leave it. Raises `Refusal` to refuse it."""

    def on_response(self, call: Call, head: Head) -> None:
        """Look at the head of the answer."""

    def on_event(self, call: Call, data: bytes) -> bytes | None:
        """Return what goes out in the place of an event or a body, b"" for nothing, or None to leave it."""

    def on_error(self, call: Call, failure: Failure) -> None:
        """Look at an error that the client is told."""

    def on_end(self, call: Call, ending: Ending) -> None:
        """Look at how it ended; called once for each call that on_request was due for."""

    def close(self) -> None:
        """The last call has ended, and there will be no more. Must not wait either."""
