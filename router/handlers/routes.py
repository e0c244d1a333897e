"""Every path that clients may call; nothing else is served. Exact paths only, so nothing can be smuggled past them.

A route is written down once, as vLLM serves it. It is also reached under each of the configured path prefixes:
`/v1/chat/completions` as `/chat/completions` and `/api/v1/chat/completions`, `/tokenize` as `/v1/tokenize`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from router.relay.route import Body, Route

_DONE = (b"[DONE]",)
_RESPONSES_END = (b"response.completed", b"response.failed", b"response.incomplete")

RELAYED = (
    Route("/v1/chat/completions", "POST", end_marks=_DONE, is_chat=True, generates=True),
    Route("/v1/completions", "POST", end_marks=_DONE, generates=True),
    Route("/v1/embeddings", "POST", is_short=True),
    Route("/v1/responses", "POST", end_marks=_RESPONSES_END, named_events=True),
    Route("/v1/messages", "POST", end_marks=(b"message_stop",), named_events=True, generates=True),
    Route("/v1/messages/count_tokens", "POST", named_events=True, is_short=True),
    Route("/v1/rerank", "POST", is_short=True),
    Route("/v2/rerank", "POST", under_v1=False, is_short=True),
    Route("/rerank", "POST", under_v1=False, is_short=True),
    Route("/v1/score", "POST", is_short=True),
    Route("/score", "POST", under_v1=False, is_short=True),
    Route("/classify", "POST", under_v1=False, is_short=True),
    Route("/pooling", "POST", under_v1=False, is_short=True),
    Route("/v2/embed", "POST", under_v1=False, is_short=True),
    Route("/tokenize", "POST", under_v1=False, is_short=True),
    Route("/detokenize", "POST", under_v1=False, is_short=True),
    Route("/v1/audio/transcriptions", "POST", Body.FORM, end_marks=_DONE),
    Route("/v1/audio/translations", "POST", Body.FORM, end_marks=_DONE),
)
# Stored answers of the Responses API: they live in the backend that made them.
RESPONSE = (
    Route("/v1/responses/{id}", "GET", Body.NONE, end_marks=_RESPONSES_END, named_events=True, any_owner=True),
    Route("/v1/responses/{id}", "DELETE", Body.NONE, named_events=True, any_owner=True),
)
CANCEL = Route("/v1/responses/{id}/cancel", "POST", Body.NONE, named_events=True, any_owner=True)
_RESPONSE_ID = re.compile(r"responses/([A-Za-z0-9_\-]{1,128})(/cancel)?")
MODELS = "/v1/models"


@dataclass(frozen=True, slots=True)
class Match:
    """What a path leads to."""

    routes: dict[str, Route]  # by method
    rest: str  # the path behind the route's own prefix, to be put behind the backend's

    def route_of(self, method: str) -> Route:
        """Return the route of a method; one that the path does not take has the first one's."""
        return self.routes.get(method) or next(iter(self.routes.values()))


@dataclass(frozen=True, slots=True)
class ModelsMatch:
    """The list of models, or one of them by its name."""

    name: str | None


class RouteTable:
    """Finds what a path leads to."""

    def __init__(self, prefixes: Iterable[str], extra: Iterable[tuple[str, str]] = ()) -> None:
        """`prefixes`: as configured, e.g. "/v1" and "/"; `extra`: further (method, path) pairs to pass through."""
        self._prefixes = sorted({prefix.rstrip("/") for prefix in prefixes} | {"/v1"}, key=len, reverse=True)
        self._exact: dict[str, Match] = {}
        self.prefixes: Sequence[str] = self._prefixes  # as they stand before a route's own rest
        self.exact: Mapping[str, Match] = self._exact  # what is found by its path alone
        for method, path in extra:
            under_v1 = path.startswith("/v1/")
            self._add(path, Route(path, method, Body.ANY, under_v1=under_v1), path.removeprefix("/v1").lstrip("/"))
        for route in RELAYED:  # first as written, so that "/rerank" is not taken for "/v1/rerank" without its prefix
            self._add(route.path, route, _rest_of(route))
        for route in RELAYED:
            for prefix in self._prefixes:
                self._add(f"{prefix}/{_rest_of(route)}", route, _rest_of(route))

    def _add(self, path: str, route: Route, rest: str) -> None:
        match = self._exact.setdefault(path, Match({}, rest))
        if match.rest == rest:
            match.routes.setdefault(route.method, route)

    def find(self, path: str) -> Match | ModelsMatch | None:
        """Return what `path` (without a query) leads to, None where it leads nowhere."""
        match = self._exact.get(path)
        return match if match is not None else self._find_object(path)

    def _find_object(self, path: str) -> Match | ModelsMatch | None:
        for prefix in self._prefixes:
            if not path.startswith(prefix + "/"):
                continue
            rest = path[len(prefix) + 1 :]
            if rest == "models":
                return ModelsMatch(None)
            if rest.startswith("models/") and len(rest) > len("models/"):
                return ModelsMatch(rest.removeprefix("models/"))
            found = _RESPONSE_ID.fullmatch(rest)
            if found is not None:
                routes = {"POST": CANCEL} if found[2] else {route.method: route for route in RESPONSE}
                return Match(routes, rest)
        return None


def _rest_of(route: Route) -> str:
    return route.path.removeprefix("/v1/" if route.under_v1 else "/")
