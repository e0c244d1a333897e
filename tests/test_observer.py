"""Rules of router/observer.py."""

import logging

import pytest

from router.backends.backend import Change, ChangeKind
from router.exchange import Exchange, Outcome
from router.observe.logs import AccessLog
from router.observe.metrics import Metrics
from router.observer import Observer


def observer() -> Observer:
    return Observer(Metrics(), AccessLog(None))


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


def test_an_exchange_is_told_to_who_keeps_what_happened_lately() -> None:
    one, exchange = observer(), Exchange("id", "/v1/models", "GET", 100.0)
    one.exchange_opened(exchange)
    exchange.close(Outcome.INTERNAL, 101.0)

    (incident,) = one.recent.told(0, 101.0).incidents
    assert (incident.route, incident.seconds) == ("/v1/models", 1.0)
