"""The spans of one exchange, told when it is over, from what its record says. Pure.

    exchange                the client's request                          SERVER
    |- queue                each wait for a free backend, before an attempt
    |- attempt, attempt     each try at a backend, a call of a model      CLIENT
       |- first byte        until its answer begins
       |- stream            from then on

Names and attributes are OpenTelemetry's (HTTP, and those of generative AI for attempts); what they have no word for
begins with `router.`. No text of a conversation, no header and no URL is among them.
"""

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from router.exchange import Attempt, AttemptOutcome, Exchange, Outcome, Trace
from router.tracing.context import child_id

OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/messages": "chat",
    "/v1/responses": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
}
LONGEST = 256  # characters of a model's name, which a client makes up
# Outcomes of which the server, that is ourselves and what is behind us, is to blame.
FAILURES = frozenset({Outcome.BACKEND_ERROR, Outcome.NO_BACKEND, Outcome.BROKEN, Outcome.TIMEOUT, Outcome.INTERNAL})
_GOOD = frozenset({AttemptOutcome.OK, AttemptOutcome.SUPERSEDED, AttemptOutcome.CLIENT_GONE})
_PER_ATTEMPT = 4  # ids: of the wait before it, of itself, of its first byte, of its stream
Value = str | int | float | bool | tuple[str, ...]


class Kind(enum.Enum):
    """OpenTelemetry's kinds of spans."""

    SERVER = "server"
    CLIENT = "client"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Span:
    """One span. Times are monotonic seconds."""

    name: str
    kind: Kind
    span_id: str
    parent_id: str | None
    start: float
    end: float
    attributes: dict[str, Value]
    failure: str | None = None  # a word for what went wrong, None where nothing did


def attempt_number(count: int) -> int:
    """Return the number, among the exchange's spans, of the attempt before which there were `count`."""
    return 2 + count * _PER_ATTEMPT


def spans_of(exchange: Exchange, trace: Trace) -> list[Span]:
    """Return the spans of an exchange that is closed."""
    assert exchange.closed is not None
    spans = [_whole(exchange, trace, exchange.closed), *_queue(exchange, trace)]
    for count in range(len(exchange.attempts)):
        spans.extend(_attempt(exchange, trace, count, exchange.closed))
    return spans


def _whole(exchange: Exchange, trace: Trace, closed: float) -> Span:
    attributes: dict[str, Value] = {
        "http.request.method": exchange.method,
        "http.route": exchange.route,
        "http.request.body.size": exchange.bytes_in,
        "http.response.body.size": exchange.bytes_out,
        "client.address": exchange.client,
        "router.request_id": exchange.id,
        "router.outcome": "" if exchange.outcome is None else exchange.outcome.value,
        "router.attempts": len(exchange.attempts),
        "router.stream": exchange.stream,
    }
    if exchange.status:
        attributes["http.response.status_code"] = exchange.status
    if exchange.tenant:
        attributes["router.tenant"] = exchange.tenant[:LONGEST]
    if exchange.session is not None:
        attributes["router.session"] = exchange.session[:LONGEST]
    if exchange.model is not None:
        attributes["gen_ai.request.model"] = exchange.model[:LONGEST]
    if exchange.error is not None:
        attributes["error.type"] = exchange.error
    if exchange.rules:
        attributes["router.rules"] = tuple(sorted(exchange.rules))
    if exchange.resumed:
        attributes["router.resumed"] = exchange.resumed
    outcome = exchange.outcome
    failure = None if outcome is None or outcome not in FAILURES else exchange.error or outcome.value
    name = f"{exchange.method} {exchange.route}"
    return Span(name, Kind.SERVER, trace.span_id, trace.parent_id, exchange.opened, closed, attributes, failure)


def _queue(exchange: Exchange, trace: Trace) -> Iterator[Span]:
    for before, (since, until) in trace.waits.items():
        span_id = child_id(trace, attempt_number(before) - 1)
        attributes: dict[str, Value] = {"router.attempts": before}
        yield Span("queue", Kind.INTERNAL, span_id, trace.span_id, since, until, attributes)


def _attempt(exchange: Exchange, trace: Trace, count: int, closed: float) -> Iterator[Span]:
    attempt, number = exchange.attempts[count], attempt_number(count)
    end, span_id = closed if attempt.ended is None else attempt.ended, child_id(trace, number)
    operation = OPERATIONS.get(exchange.route)
    model = "" if exchange.model is None else exchange.model[:LONGEST]
    name = f"{operation} {model}".strip() if operation else f"{exchange.method} {exchange.route}"
    outcome = attempt.outcome
    failure = None if outcome is None or outcome in _GOOD else outcome.value
    attributes = _attempt_attributes(attempt, count, operation=operation, model=model)
    attributes["http.request.method"] = exchange.method
    if operation is not None and outcome is AttemptOutcome.OK and isinstance(exchange.tokens, tuple):
        names = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")
        attributes |= dict(zip(names, exchange.tokens, strict=True))
    yield Span(name, Kind.CLIENT, span_id, trace.span_id, attempt.started, end, attributes, failure)
    began = attempt.began
    if began is None:
        return
    yield Span("first byte", Kind.INTERNAL, child_id(trace, number + 1), span_id, attempt.started, began, {})
    if exchange.stream:
        events: dict[str, Value] = {"router.events": attempt.events}
        yield Span("stream", Kind.INTERNAL, child_id(trace, number + 2), span_id, began, end, events)


def _attempt_attributes(attempt: Attempt, count: int, *, operation: str | None, model: str) -> dict[str, Value]:
    attributes: dict[str, Value] = {
        "router.backend": attempt.backend,
        "router.attempt": count + 1,
        "router.outcome": "" if attempt.outcome is None else attempt.outcome.value,
    }
    if operation is not None:
        attributes |= {"gen_ai.operation.name": operation, "gen_ai.provider.name": "vllm"}
        if model:
            attributes["gen_ai.request.model"] = model
    if attempt.server is not None:
        address, port = attempt.server
        attributes["server.address"] = address
        if port is not None:
            attributes["server.port"] = port
    if attempt.status is not None:
        attributes["http.response.status_code"] = attempt.status
    if attempt.outcome is not None and attempt.outcome not in _GOOD:
        attributes["error.type"] = attempt.outcome.value
    return attributes
