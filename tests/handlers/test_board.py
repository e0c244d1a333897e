"""Rules of router/handlers/board.py: what the status page is told, and what of it is news."""

from dataclasses import replace

from router.backends.backend import BackendStatus, Listing, Standing
from router.backends.breaker import BreakerState
from router.backends.health import HealthState
from router.handlers.board import NONE, Facts, Row, board, changes, plots, row
from router.recent import SLICES, SPAN, Slice, Told, Tries, bin_of

FACTS = Facts(now=1000.0, wall=5e8, started=900.0, worker=None, is_draining=False, is_operators=True)
STATUS = BackendStatus(
    name="one",
    url="http://10.0.0.1:8000",
    health=HealthState.UP,
    breaker=BreakerState.CLOSED,
    standing=Standing.READY,
    usable=True,
    in_flight=2,
    max_connections=8,
    weight=1,
    dialect="auto",
    models=("m",),
    listing=Listing.LISTED,
    resting_for=0.0,
    kv_usage=0.4567,
)


def line(status: BackendStatus = STATUS, tries: Tries = NONE, *, with_url: bool = True) -> Row:
    return row(status, tries, elsewhere=3, dialect={"dialect": "mistral", "version": "0.12.0"}, with_url=with_url)


def test_a_row_tells_what_all_processes_have_in_flight_and_how_the_last_minute_was() -> None:
    fields = line(tries=Tries(count=5, failed=1, answered=4, first=2.0))

    assert (fields["in_flight"], fields["tries"], fields["failed"], fields["first"]) == (5, 5, 1, 0.5)
    assert (fields["dialect"], fields["version"], fields["kv_usage"]) == ("mistral", "0.12.0", 0.46)
    assert line()["first"] is None


def test_an_address_is_told_only_to_who_may_see_it() -> None:
    assert line()["url"] == "http://10.0.0.1:8000"
    assert "10.0.0.1" not in str(line(with_url=False))


def test_a_row_that_rests_is_news_once_a_second_at_most() -> None:
    assert line(replace(STATUS, resting_for=3.2)) == line(replace(STATUS, resting_for=3.9))


def test_the_whole_tells_of_the_router_itself() -> None:
    told = board(FACTS, Told(in_flight=7, workers=4), [line()])

    assert (told["uptime"], told["in_flight"], told["workers"], told["usable"]) == (100, 7, 4, 1)
    assert (told["operators"], told["draining"]) == (True, False)


def test_sessions_are_told_and_that_they_are_off() -> None:
    assert board(FACTS, Told(sessions={"active": 3}), [])["sessions"] == {"active": 3}
    assert board(FACTS, Told(), [])["sessions"] is None


def test_nothing_is_news_where_nothing_is_different() -> None:
    whole = board(FACTS, Told(), [line()])

    assert changes(whole, board(FACTS, Told(), [line()])) == {"backends": [], "gone": []}


def test_news_are_the_rows_that_differ_and_the_names_of_those_that_are_gone() -> None:
    two, three = replace(STATUS, name="two"), replace(STATUS, name="three")
    before = board(FACTS, Told(), [line(), line(two)])
    after = board(replace(FACTS, now=1001.0), Told(), [line(replace(STATUS, drained=True)), line(three)])
    news = changes(before, after)

    assert [each["name"] for each in news["backends"]] == ["one", "three"]  # type: ignore[attr-defined]
    assert news["gone"] == ["two"]
    assert news["uptime"] == 101
    assert "version" not in news


def test_the_news_on_top_of_the_board_before_are_the_board_after() -> None:
    names = ("one", "two", "three")
    before = board(FACTS, Told(), [line(replace(STATUS, name=name)) for name in names])
    after = board(
        replace(FACTS, now=1010.0, is_draining=True),
        Told(in_flight=1, slices=(Slice(502, requests=4),)),
        [line(replace(STATUS, name=name, busy=name == "two")) for name in ("two", "three", "four")],
    )
    news = changes(before, after)
    rows = {each["name"]: each for each in before["backends"]}  # type: ignore[attr-defined]
    rows |= {each["name"]: each for each in news["backends"]}  # type: ignore[attr-defined]
    for name in news["gone"]:  # type: ignore[attr-defined]
        del rows[name]
    merged = {**before, **news, "backends": list(rows.values())}
    del merged["gone"]

    assert merged == after


def test_plots_have_a_number_for_each_span_that_is_over() -> None:
    first = {bin_of(0.1): 9, bin_of(2.0): 1}
    slices = [Slice(400, requests=6, failed=2, first=first), Slice(402, requests=1)]
    told = plots(slices, 401)

    assert [len(told[key]) for key in ("requests", "failed", "first_50", "whole_95")] == [SLICES] * 4  # type: ignore[arg-type]
    assert told["requests"][-2:] == [6 / SPAN, 0]  # type: ignore[index]
    assert told["failed"][-2] == 2 / SPAN  # type: ignore[index]
    half, most = told["first_50"][-2], told["first_95"][-2]  # type: ignore[index]
    assert 0.09 < half < 0.11
    assert 1.8 < most < 2.2
    assert told["first_50"][-1] is None  # type: ignore[index]


def test_the_last_minute_is_told_without_the_span_that_is_not_over() -> None:
    newest = int(FACTS.now / SPAN) - 1
    slices = (Slice(newest - 30, 50, 50), Slice(newest - 29, 3, 1), Slice(newest, 4, 0), Slice(newest + 1, 9, 9))

    assert board(FACTS, Told(slices=slices), [])["minute"] == {"requests": 7, "failed": 1}
