"""Rules of router/tracing/spans.py: what the record of an exchange says, as spans."""

from dataclasses import replace

from router.exchange import Attempt, AttemptOutcome, Exchange, Outcome, Trace
from router.tracing.context import child_id
from router.tracing.spans import LONGEST, Kind, Span, attempt_number, spans_of

TRACE = Trace("a" * 32, "b" * 16, is_sampled=True, span_id="c" * 16)


def exchange(**more: object) -> Exchange:
    found = Exchange("the-id", "/v1/chat/completions", "POST", 10.0, client="192.0.2.1", model="devstral", stream=True)
    found.attempts = [
        Attempt("one", 11.0, AttemptOutcome.OVERLOADED, 503, 11.5),
        Attempt("two", 11.6, AttemptOutcome.OK, 200, 14.0, began=12.0, events=9, server=("192.0.2.9", 8000)),
    ]
    found.began, found.status, found.events, found.tokens = 12.0, 200, 9, (7, 5)
    for name, value in more.items():
        setattr(found, name, value)
    found.close(more.get("outcome", Outcome.OK), 14.5)  # type: ignore[arg-type]  # an outcome
    found.closed = 14.5
    return found


def told(*, waits: dict[int, tuple[float, float]] | None = None, **more: object) -> dict[str, Span]:
    """Spans by name; those of attempts by their backend."""
    trace = replace(TRACE, waits=dict(waits or {}))
    spans = spans_of(exchange(**more), trace)
    return {str(span.attributes.get("router.backend", span.name)): span for span in spans}


def test_each_part_of_an_exchange_is_a_span_below_what_it_is_a_part_of() -> None:
    spans = told(waits={0: (10.25, 11.0)})
    assert {name: (span.kind, span.start, span.end) for name, span in spans.items()} == {
        "POST /v1/chat/completions": (Kind.SERVER, 10.0, 14.5),
        "queue": (Kind.INTERNAL, 10.25, 11.0),
        "one": (Kind.CLIENT, 11.0, 11.5),
        "two": (Kind.CLIENT, 11.6, 14.0),
        "first byte": (Kind.INTERNAL, 11.6, 12.0),
        "stream": (Kind.INTERNAL, 12.0, 14.0),
    }
    whole = spans["POST /v1/chat/completions"]
    assert (whole.span_id, whole.parent_id) == (TRACE.span_id, TRACE.parent_id)
    assert {spans[name].parent_id for name in ("queue", "one", "two")} == {TRACE.span_id}
    assert {spans[name].parent_id for name in ("first byte", "stream")} == {spans["two"].span_id}
    assert len({span.span_id for span in spans.values()}) == 6
    assert spans["two"].span_id == child_id(TRACE, attempt_number(1)), "the one that the backend was told"


def test_an_attempt_is_a_call_of_a_model_in_opentelemetrys_words() -> None:
    one, two = told()["one"], told()["two"]
    assert one.name == two.name == "chat devstral"
    assert two.attributes == {
        "router.backend": "two",
        "router.attempt": 2,
        "router.outcome": "ok",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": "devstral",
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 5,
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "server.address": "192.0.2.9",
        "server.port": 8000,
    }
    assert two.failure is None
    assert not any(name.startswith("gen_ai.usage") for name in one.attributes)
    assert (one.failure, one.attributes["error.type"]) == ("overloaded", "overloaded")


def test_an_attempt_by_a_unix_socket_has_its_path_for_an_address_and_no_port() -> None:
    attributes = told(attempts=[Attempt("one", 11.0, server=("/run/vllm.sock", None))])["one"].attributes
    assert attributes["server.address"] == "/run/vllm.sock"
    assert "server.port" not in attributes


def test_routes_that_generate_nothing_are_named_by_their_path() -> None:
    spans = told(route="/tokenize", stream=False)
    assert spans["two"].name == "POST /tokenize"
    assert not any(name.startswith("gen_ai") for name in spans["two"].attributes)
    assert "stream" not in spans


def test_what_failed_says_so_and_a_clients_own_fault_does_not() -> None:
    broken = told(outcome=Outcome.BROKEN, error="upstream_unavailable")["POST /v1/chat/completions"]
    assert (broken.failure, broken.attributes["error.type"]) == ("upstream_unavailable", "upstream_unavailable")
    refused = told(outcome=Outcome.REJECTED, error="invalid_json", status=400)["POST /v1/chat/completions"]
    assert (refused.failure, refused.attributes["error.type"]) == (None, "invalid_json")


def test_an_exchange_without_an_attempt_is_one_span() -> None:
    found = Exchange("x", "/v1/models", "GET", 1.0)
    found.close(Outcome.REJECTED, 1.5)
    assert [span.name for span in spans_of(found, TRACE)] == ["GET /v1/models"]


def test_a_wait_that_ended_in_a_refusal_is_a_span_too() -> None:
    spans = told(waits={0: (12.5, 14.5)}, attempts=[], began=None)
    assert (spans["queue"].start, spans["queue"].end) == (12.5, 14.5)


def test_each_wait_stands_before_the_attempt_that_it_was_for() -> None:
    trace = replace(TRACE, waits={})
    trace.waited(0, 10.1, 10.9)
    trace.waited(1, 11.5, 11.52)
    trace.waited(1, 11.54, 11.55)
    spans = spans_of(exchange(), trace)
    waits = [span for span in spans if span.name == "queue"]
    assert [(span.start, span.end, span.attributes["router.attempts"]) for span in waits] == [
        (10.1, 10.9, 0),
        (11.5, 11.55, 1),
    ]
    assert len({span.span_id for span in spans}) == len(spans)


def test_whose_the_request_is_and_its_session_are_told() -> None:
    whole = told(tenant="key:29a4", session="s" * 1000)["POST /v1/chat/completions"]
    assert whole.attributes["router.tenant"] == "key:29a4"
    assert whole.attributes["router.session"] == "s" * LONGEST


def test_what_translation_and_resuming_did_is_told() -> None:
    whole = told(rules={"R7", "R1"}, resumed=2)["POST /v1/chat/completions"]
    assert whole.attributes["router.rules"] == ("R1", "R7")
    assert whole.attributes["router.resumed"] == 2


def test_a_models_name_that_a_client_made_up_is_bounded() -> None:
    spans = told(model="x" * 10_000)
    assert len(str(spans["two"].attributes["gen_ai.request.model"])) == LONGEST
    assert len(spans["two"].name) <= LONGEST + len("chat ")
