"""Rules of router/logs_filter.py."""

from datetime import UTC, datetime
from typing import Any

import pytest

from router.logs_filter import Wanted, parse_outcome, parse_since, parse_statuses

LINE: dict[str, Any] = {
    "time": "2026-01-31T12:00:00.000Z", "id": "req-1", "trace": "abc", "session": "f00", "client": "10.0.0.9",
    "tenant": "key:0f",
    "route": "/v1/models", "model": "m", "status": 502, "outcome": "backend_error", "duration": 2.5,
    "attempts": [{"backend": "a", "outcome": "refused"}, {"backend": "b", "outcome": "server_error"}],
}  # fmt: skip
RECORD = {"time": LINE["time"], "level": "warning", "message": "backend a: health up -> down (req-1)"}


@pytest.mark.parametrize(
    ("wanted", "other"),
    [
        (Wanted(), None),
        (Wanted(statuses=parse_statuses("5xx")), Wanted(statuses=parse_statuses("4xx"))),
        (Wanted(outcome="backend_error"), Wanted(outcome="ok")),
        (Wanted(outcome="refused"), Wanted(outcome="cut")),
        (Wanted(retried=True), Wanted(retried=True, outcome="stalled")),
        (Wanted(model="m"), Wanted(model="M")),
        (Wanted(backend="a"), Wanted(backend="c")),
        (Wanted(backend="b"), Wanted(backend="")),
        (Wanted(route="/v1/models"), Wanted(route="/v1")),
        (Wanted(client="10.0.0.9"), Wanted(client="10.0.0.1")),
        (Wanted(tenant="key:0f"), Wanted(tenant="key:0")),
        (Wanted(ident="req-1"), Wanted(ident="req")),
        (Wanted(ident="abc"), Wanted(ident="ab")),
        (Wanted(ident="f00"), Wanted(ident="f0")),
        (Wanted(slower_than=2.0), Wanted(slower_than=2.5)),
        (Wanted(since="2026-01-31T12:00:00.000Z"), Wanted(since="2026-01-31T12:00:00.001Z")),
        (Wanted(failed=True), Wanted(level="debug")),
        (Wanted(model="m", backend="a"), Wanted(model="m", backend="c")),
    ],
)
def test_a_line_of_an_exchange_is_wanted_if_all_holds(wanted: Wanted, other: Wanted | None) -> None:
    assert wanted.has(LINE)
    assert other is None or not other.has(LINE)


def test_one_attempt_is_no_retry_and_a_word_of_both_is_the_exchanges() -> None:
    well = {**LINE, "outcome": "ok", "attempts": [{"backend": "a", "outcome": "client_error"}]}
    assert not Wanted(retried=True).has(well)
    assert not Wanted(retried=True).has({**LINE, "attempts": []})
    assert not Wanted(outcome="client_error").has(well)


def test_an_outcome_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    assert parse_outcome(" Cut") == "cut"
    with pytest.raises(ValueError, match=r"^must be an outcome: backend_error, .*ok.*; or of an attempt: bad_re.*cut"):
        parse_outcome("okk")


def test_what_went_well_did_not_fail() -> None:
    assert not Wanted(failed=True).has({**LINE, "outcome": "ok"})


@pytest.mark.parametrize(
    "wanted",
    [
        *(Wanted(), Wanted(level="warning"), Wanted(failed=True), Wanted(backend="a"), Wanted(ident="req-1")),
        Wanted(since="2026-01-31T12:00:00.000Z"),
    ],
)
def test_an_application_line_is_wanted_by_level_time_and_names_in_it(wanted: Wanted) -> None:
    assert wanted.has(RECORD)


@pytest.mark.parametrize(
    "wanted",
    [
        *(Wanted(level="error"), Wanted(backend="b"), Wanted(ident="req"), Wanted(model="m"), Wanted(outcome="ok")),
        *(Wanted(statuses=parse_statuses("5xx")), Wanted(slower_than=0.0), Wanted(client="a"), Wanted(route="a")),
        *(Wanted(retried=True), Wanted(outcome="cut")),
        Wanted(since="2026-02"),
    ],
)
def test_an_application_line_has_nothing_of_an_exchange(wanted: Wanted) -> None:
    assert not wanted.has(RECORD)


@pytest.mark.parametrize("name", LINE)
@pytest.mark.parametrize("value", [None, 1, "x", [1], [{"backend": []}], {}], ids=repr)
def test_whatever_a_line_holds_it_can_be_asked(name: str, value: object) -> None:
    one = Wanted(statuses=parse_statuses("5xx"), backend="a", slower_than=1.0, since="2026", ident="req-1")

    assert one.has({**LINE, name: value}) in (True, False)
    assert one.has({**RECORD, name: value}) in (True, False)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [("5xx", 500, 499), ("404", 404, 405), ("400-403", 403, 404), ("429, 5XX", 599, 430), ("0", 0, 200)],
)
def test_statuses_are_classes_numbers_and_ranges(text: str, inside: int, outside: int) -> None:
    found = parse_statuses(text)

    assert any(inside in each for each in found)
    assert not any(outside in each for each in found)


@pytest.mark.parametrize("text", ["", "abc", "6xx", "5x", "400-", "1000", "404,"])
def test_other_texts_are_no_statuses(text: str) -> None:
    with pytest.raises(ValueError, match="must be statuses"):
        parse_statuses(text)


NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("10m", "2026-01-31T11:50:00.000Z"),
        ("1.5h", "2026-01-31T10:30:00.000Z"),
        ("1d", "2026-01-30T12:00:00.000Z"),
        ("2026-01-31", "2026-01-31T00:00:00.000Z"),
        ("2026-01-31T12:00:00.25Z", "2026-01-31T12:00:00.250Z"),
        ("2026-01-31T12:00+02:00", "2026-01-31T10:00:00.000Z"),
    ],
)
def test_a_moment_is_some_time_ago_or_a_date(text: str, moment: str) -> None:
    assert parse_since(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "10", "99999999999d", "2026-13-01"])
def test_other_texts_are_no_moments(text: str) -> None:
    with pytest.raises(ValueError, match="must be a time"):
        parse_since(text, NOW)
