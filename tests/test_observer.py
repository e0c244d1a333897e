"""Rules of router/observer.py."""

import logging
from collections.abc import Callable

import pytest

from router.backends.backend import Change, ChangeKind
from router.exchange import Attempt, AttemptOutcome, Exchange, Outcome
from router.observe.logs import AccessLog
from router.observe.metrics import Metrics
from router.observer import MANY, SOON, Observer

Later = list[tuple[float, Callable[[], None]]]


def observer() -> Observer:
    return Observer(Metrics(), AccessLog(None))


def delayed() -> tuple[Metrics, Observer, Later]:
    """An observer in a loop, and what it has asked the loop for."""
    metrics, asked = Metrics(), Later()
    one = Observer(metrics, AccessLog(None))
    one.later = lambda delay, act: asked.append((delay, act))
    return metrics, one, asked


def answered(one: Observer, **changes: object) -> Exchange:
    exchange = Exchange("id", "/v1/models", "GET", 100.0, status=200)
    one.exchange_opened(exchange)
    for name, value in changes.items():
        setattr(exchange, name, value)
    exchange.close(Outcome.OK, 101.0)
    return exchange


def requests(metrics: Metrics) -> float:
    return sum(metrics.dump()["router_requests"].samples.values())


@pytest.mark.parametrize(
    ("change", "level", "told"),
    [
        (Change("b", ChangeKind.HEALTH, "up", "down", "refused"), "WARNING", "b: health up -> down (refused)"),
        (Change("b", ChangeKind.HEALTH, "down", "up", "passed"), "INFO", "b: health down -> up (passed)"),
        (Change("b", ChangeKind.DRAIN, "serving", "drained", "asked"), "INFO", "b: drain serving -> drained (asked)"),
        (Change("b", ChangeKind.ALARM, "", "unauthorized", "unauthorized"), "WARNING", "check its api_key"),
        (Change("b", ChangeKind.MODELS, "a", "a,c", "listed"), "INFO", "b serves: a,c"),
    ],
)
def test_what_needs_attention_is_a_warning(
    change: Change, level: str, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "router.app")

    observer().changed(change)

    (record,) = caplog.records
    assert record.levelname == level
    assert told in record.getMessage()


def test_only_a_backend_that_goes_down_is_told_as_such() -> None:
    one, told = observer(), list[str]()
    one.on_down = told.append

    one.changed(Change("a", ChangeKind.HEALTH, "down", "up", "passed"))
    one.changed(Change("b", ChangeKind.HEALTH, "up", "down", "failed"))

    assert told == ["b"]


def test_what_becomes_of_a_backend_is_kept_but_not_that_it_is_there() -> None:
    """At the start there would be a line for each."""
    one = observer()
    one.changed(Change("a", ChangeKind.HEALTH, "unknown", "up", "passed"))
    one.changed(Change("a", ChangeKind.MODELS, "", "m", "listed"))
    one.changed(Change("a", ChangeKind.BREAKER, "closed", "open", "cut"))

    (turn,) = one.told(0.0).turns
    assert (turn.backend, turn.kind, turn.before, turn.after, turn.cause) == ("a", "breaker", "closed", "open", "cut")


def test_why_a_backend_is_down_from_the_start_is_kept() -> None:
    one = observer()
    one.changed(Change("a", ChangeKind.HEALTH, "unknown", "down", "refused"))

    (turn,) = one.told(0.0).turns
    assert (turn.backend, turn.before, turn.after, turn.cause) == ("a", "unknown", "down", "refused")


def test_an_exchange_is_told_to_who_keeps_what_happened_lately() -> None:
    one, exchange = observer(), Exchange("id", "/v1/models", "GET", 100.0)
    one.exchange_opened(exchange)
    exchange.close(Outcome.INTERNAL, 101.0)

    (incident,) = one.told(101.0).incidents
    assert (incident.route, incident.seconds) == ("/v1/models", 1.0)


def test_what_is_open_is_counted_at_once() -> None:
    """A drain waits for it."""
    metrics, one, _ = delayed()
    exchange = Exchange("id", "/v1/models", "GET", 100.0)

    one.exchange_opened(exchange)
    assert metrics.in_flight == 1
    exchange.close(Outcome.OK, 101.0)
    assert metrics.in_flight == 0


def test_what_has_ended_is_told_of_together_a_moment_later() -> None:
    metrics, one, asked = delayed()
    told = list[str]()
    metrics.exchanges_closed = lambda ended: told.extend(one.id for one in ended.exchanges)  # type: ignore[method-assign]
    for _ in range(3):
        answered(one)

    assert told == []
    ((delay, act),) = asked
    assert delay == SOON
    act()
    assert told == ["id"] * 3
    answered(one)
    assert len(asked) == 2, "the next one is told of too"


def test_who_asks_is_told_of_all_that_has_ended() -> None:
    metrics, one, _ = delayed()
    answered(one)
    assert requests(metrics) == 1

    answered(one)
    assert sum(each.requests for each in one.told(101.0).slices) == 2
    assert requests(metrics) == 2


def test_many_that_have_ended_are_not_let_grow() -> None:
    metrics, one, asked = delayed()
    metrics.before_dump = lambda: None
    for _ in range(2 * MANY + 1):
        answered(one)

    assert requests(metrics) == 2 * MANY
    assert len(asked) == 1, "its time still comes for the last one"


def test_a_try_is_counted_with_what_was_so_when_it_ended() -> None:
    """Else the answer of the next try would be taken for its own."""
    metrics, one, _ = delayed()
    exchange = Exchange("id", "/v1/chat/completions", "POST", 100.0)
    one.exchange_opened(exchange)
    exchange.attempts.append(Attempt("a", 100.0, AttemptOutcome.REFUSED, None, 100.1))
    one.attempt_closed(exchange.attempts[0], exchange)
    exchange.began = 100.5
    exchange.attempts.append(Attempt("b", 100.1, AttemptOutcome.OK, 200, 101.0))
    one.attempt_closed(exchange.attempts[1], exchange)
    exchange.close(Outcome.OK, 101.0)

    counts = metrics.dump()["router_attempt_time_to_first_token_seconds"].counts
    assert {labels: sum(buckets) for labels, (buckets, _) in counts.items()} == {'backend="a"': 0, 'backend="b"': 1}
