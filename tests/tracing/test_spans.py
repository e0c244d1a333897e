"""Rules of router/tracing/spans.py: what the record of an exchange says, as spans."""

from router.exchange import Attempt, AttemptOutcome, Exchange, Outcome, Trace
from router.tracing.context import child_id
from router.tracing.spans import LONGEST, Kind, Span, attempt_number, spans_of

TRACE = Trace("a" * 32, "b" * 16, is_sampled=True, span_id="c" * 16)


def exchange(**more: object) -> Exchange:
    found = Exchange("the-id", "/v1/chat/completions", "POST", 10.0, client="192.0.2.1", model="devstral", stream=True)
    found.attempts = [
        Attempt("one", 11.0, AttemptOutcome.OVERLOADED, 503, 11.5),
        Attempt("two", 11.6, AttemptOutcome.OK, 200, 14.0),
    ]
    found.began, found.queued, found.status, found.events = 12.0, 0.75, 200, 9
    for name, value in more.items():
        setattr(found, name, value)
    found.close(more.get("outcome", Outcome.OK), 14.5)  # type: ignore[arg-type]  # an outcome
    found.closed = 14.5
    return found


def told(**more: object) -> dict[str, Span]:
    """Spans by name; those of attempts by their backend."""
    spans = spans_of(exchange(**more), TRACE)
    return {str(span.attributes.get("router.backend", span.name)): span for span in spans}


def test_each_part_of_an_exchange_is_a_span_below_what_it_is_a_part_of() -> None:
    spans = told()
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
        "http.response.status_code": 200,
    }
    assert two.failure is None
    assert (one.failure, one.attributes["error.type"]) == ("overloaded", "overloaded")


def test_routes_that_generate_nothing_are_named_by_their_path() -> None:
    spans = told(route="/tokenize", stream=False, began=None)
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
    spans = told(attempts=[], began=None, queued=2.0)
    assert (spans["queue"].start, spans["queue"].end) == (12.5, 14.5)


def test_what_translation_and_resuming_did_is_told() -> None:
    whole = told(rules={"R7", "R1"}, resumed=2)["POST /v1/chat/completions"]
    assert whole.attributes["router.rules"] == ("R1", "R7")
    assert whole.attributes["router.resumed"] == 2


def test_a_models_name_that_a_client_made_up_is_bounded() -> None:
    spans = told(model="x" * 10_000)
    assert len(str(spans["two"].attributes["gen_ai.request.model"])) == LONGEST
    assert len(spans["two"].name) <= LONGEST + len("chat ")
