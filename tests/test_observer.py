"""Rules of router/observer.py."""

import logging

import pytest

from router.backends.backend import Change, ChangeKind
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
