"""What the relay must know of a route, and of one request on it. Pure data."""

import enum
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from router.translate.mistral.request import Shape

if TYPE_CHECKING:
    from router.relay.sessions import Visit


class Body(enum.Enum):
    """What a route takes as the body of a request."""

    NONE = "none"
    JSON = "json"
    FORM = "form"  # multipart: the model is a form part
    ANY = "any"  # whatever comes; its model is heeded where it is JSON that names one


@dataclass(frozen=True, slots=True)
class Route:
    """One API call that is relayed."""

    path: str  # as documented, "/v1/chat/completions"; the label in metrics and log
    method: str
    body: Body = Body.JSON
    under_v1: bool = True  # vLLM serves it under /v1, so the backend's api_prefix goes before the rest
    end_marks: tuple[bytes, ...] = ()  # data or name of the event that ends a whole stream; () where none is defined
    named_events: bool = False  # its events have names and a `type`, its errors as well (Messages, Responses)
    any_owner: bool = False  # only one backend knows the object asked for: a 404 is asked elsewhere
    is_chat: bool = False  # its requests are conversations, which dialects translate
    is_short: bool = False  # answered quickly, and asking twice changes nothing: hedged
    generates: bool = False  # generates a text and leaves nothing behind: hedged where that is configured


@dataclass(slots=True)
class Job:
    """One request, as it is sent to whichever backend takes it."""

    route: Route
    rest: str  # the path after the route's prefix with the query, as in "chat/completions?beta=true"
    headers: Collection[tuple[bytes, bytes]]  # as received
    connection: str  # the request's Connection field, "" where there is none
    body: bytes
    model: str | None = None
    stream: bool = False
    deadline: float | None = None  # monotonic seconds; the client's own, or the configured total
    visit: "Visit | None" = None  # of its session; None: it has none, or sessions are off
    shape: Shape | None = None  # of a conversation, what reading the envelope has told besides; until it is translated
