"""Rules of router/recent.py: what is counted of the last minutes, how it is joined, and that it is bounded."""

import math
import pickle
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.ended import sort
from router.exchange import Attempt, AttemptOutcome, Exchange, Outcome
from router.recent import (
    INCIDENTS,
    LEAST,
    LONGEST,
    MINUTE,
    SLICES,
    SPAN,
    TOGETHER,
    TURNS,
    Recent,
    Told,
    bin_of,
    joined,
    share_of,
)
from tests.observe.drawn import exchanges


def closed(
    at: float,
    *,
    outcome: Outcome = Outcome.OK,
    took: float = 1.0,
    first: float | None = 0.25,
    tries: tuple[tuple[str, AttemptOutcome], ...] = (("one", AttemptOutcome.OK),),
    resumed: int = 0,
) -> Exchange:
    """An exchange that ended at `at`."""
    opened = at - took
    attempts = [Attempt(name, opened, how) for name, how in tries]
    exchange = Exchange("id-1", "/v1/chat/completions", "POST", opened, status=200, attempts=attempts, resumed=resumed)
    exchange.began = None if first is None else opened + first
    exchange.model, exchange.known_model = "m", True
    exchange.close(outcome, at)
    return exchange


def counted(*exchanges: Exchange, now: float, in_flight: int = 0) -> Told:
    recent = Recent(lambda: 1000.0)
    recent.exchanges_closed(sort(exchanges))
    return recent.told(in_flight, now)


def test_each_exchange_is_counted_in_the_span_in_which_it_ended() -> None:
    told = counted(closed(100.1), closed(101.9), closed(102.0, outcome=Outcome.BROKEN), now=103.0)

    assert [(each.number * SPAN, each.requests, each.failed) for each in told.slices] == [(100.0, 2, 0), (102.0, 1, 1)]


@settings(max_examples=200, deadline=None)
@given(st.lists(exchanges(), min_size=2, max_size=6))
def test_what_is_counted_together_is_what_is_counted_one_by_one(made: list[Exchange]) -> None:
    made.sort(key=lambda one: one.closed or 0.0)
    together, alone = Recent(lambda: 1000.0), Recent(lambda: 1000.0)
    together.exchanges_closed(sort(made))
    together.exchanges_closed(sort(made))  # now they are not later than the slice that there is
    for one in (*made, *made):
        alone.exchanges_closed(sort([one]))
    told, other = together.told(0, 100.0), alone.told(0, 100.0)

    assert (told.slices, told.incidents, told.tries.keys()) == (other.slices, other.incidents, other.tries.keys())
    for name, tries in told.tries.items():
        assert replace(tries, first=0.0) == replace(other.tries[name], first=0.0)
        assert tries.first == pytest.approx(other.tries[name].first)


def test_what_is_older_than_five_minutes_is_not_told() -> None:
    told = counted(closed(100.0), closed(300.0), now=100.0 + (SLICES + 1) * SPAN)

    assert [each.number * SPAN for each in told.slices] == [300.0]


@pytest.mark.parametrize(
    ("outcome", "is_failure"),
    [(each, each.value in {"backend_error", "no_backend", "broken", "timeout", "internal"}) for each in Outcome],
)
def test_only_what_went_wrong_is_an_incident(outcome: Outcome, is_failure: bool) -> None:
    """A client that leaves, or asks for nonsense, is no error of ours."""
    told = counted(closed(100.0, outcome=outcome), now=100.0)

    assert (told.slices[0].failed, len(told.incidents)) == (int(is_failure), int(is_failure))


def test_a_stream_that_broke_and_was_finished_elsewhere_is_an_incident_and_no_failure() -> None:
    tries = (("one", AttemptOutcome.CUT), ("two", AttemptOutcome.OK))
    told = counted(closed(100.0, tries=tries, resumed=1), now=100.0)

    assert told.slices[0].failed == 0
    assert (told.incidents[0].resumed, told.incidents[0].outcome) == (1, "ok")
    assert told.incidents[0].tries == (("one", "cut"), ("two", "ok"))


def test_a_broken_stream_that_could_not_be_finished_is_one_incident() -> None:
    assert len(counted(closed(100.0, outcome=Outcome.BROKEN, resumed=1), now=100.0).incidents) == 1


def test_tries_are_told_by_backend_for_a_minute() -> None:
    tries = (("one", AttemptOutcome.SERVER_ERROR), ("two", AttemptOutcome.OK))
    old, new = closed(100.0), closed(195.0, tries=tries, first=0.5)
    told = counted(old, new, now=100.0 + MINUTE + 40)

    assert told.tries.keys() == {"one", "two"}
    assert (told.tries["one"].count, told.tries["one"].failed, told.tries["one"].answered) == (1, 1, 0)
    assert (told.tries["two"].count, told.tries["two"].failed) == (1, 0)
    assert told.tries["two"].first == pytest.approx(0.5)


@pytest.mark.parametrize(
    "outcome",
    [AttemptOutcome.CLIENT_ERROR, AttemptOutcome.CLIENT_GONE, AttemptOutcome.DEADLINE, AttemptOutcome.INTERNAL],
)
def test_what_is_nobodys_fault_is_no_failed_try(outcome: AttemptOutcome) -> None:
    told = counted(closed(100.0, tries=(("one", outcome),)), now=100.0)

    assert (told.tries["one"].count, told.tries["one"].failed) == (1, 0)


def test_times_are_read_within_nine_percent() -> None:
    dice = random.Random(5)
    for seconds in (dice.uniform(math.log(2 * LEAST), math.log(3000)) for _ in range(500)):
        wanted = math.exp(seconds)
        assert share_of({bin_of(wanted): 1}, 0.5) == pytest.approx(wanted, rel=0.1)
    assert bin_of(0.0) == bin_of(-1.0) == bin_of(LEAST) == 0
    assert bin_of(1e9) == bin_of(1e12), "no time makes a bin of its own without end"


def test_a_share_of_times_is_where_so_many_stay_within() -> None:
    bins = {bin_of(0.1): 94, bin_of(5.0): 6}

    assert share_of(bins, 0.5) == pytest.approx(0.1, rel=0.1)
    assert share_of(bins, 0.95) == pytest.approx(5.0, rel=0.1)
    assert share_of({}, 0.5) is None


def test_what_several_processes_tell_is_added_up_by_time() -> None:
    one = counted(closed(100.0), closed(103.0, outcome=Outcome.BROKEN), now=104.0, in_flight=2)
    other = counted(closed(101.0, took=8.0), now=104.0, in_flight=3)
    together = joined([one, other])

    assert (together.in_flight, together.workers) == (5, 2)
    assert [(each.number * SPAN, each.requests) for each in together.slices] == [(100.0, 2), (102.0, 1)]
    assert sum(together.slices[0].whole.values()) == 2
    assert together.tries["one"].count == 3
    assert len(together.incidents) == 1
    assert [each.requests for each in one.slices] == [1, 1], "what was told is left alone"


def turned(at: float, name: str = "one", after: str = "down") -> Told:
    recent = Recent(lambda: at)
    recent.turned(name, "health", "up", after, "refused")
    return recent.told(0, at)


def test_what_several_processes_have_seen_of_a_backend_is_told_once() -> None:
    together = joined([turned(1000.3), turned(1000.0), turned(1001.0, "two"), turned(1000.0 + TOGETHER)])

    assert [(each.at, each.backend) for each in together.turns] == [(1000.0, "one"), (1001.0, "two"), (1005.0, "one")]


def test_turns_are_kept_up_to_a_bound() -> None:
    recent = Recent(lambda: 1000.0)
    for number in range(3 * TURNS):
        recent.turned(f"b{number}", "breaker", "closed", "open", "cut")
    told = recent.told(0, 1.0)

    assert [each.backend for each in told.turns] == [f"b{number}" for number in range(2 * TURNS, 3 * TURNS)]
    assert len(joined([told, turned(2000.0)]).turns) == TURNS


def test_sessions_of_several_processes_are_added_up_and_none_is_told_where_they_are_off() -> None:
    one, other = Told(sessions={"active": 2, "kept": 5}), Told(sessions={"active": 1, "kept": 0})

    assert joined([one, other, Told()]).sessions == {"active": 3, "kept": 5}
    assert joined([Told(), Told()]).sessions is None
    assert Recent(lambda: 0.0).told(0, 0.0, sessions={"active": 1}).sessions == {"active": 1}


def test_it_goes_to_another_process_as_it_is() -> None:
    told = counted(closed(100.0), closed(101.0, outcome=Outcome.TIMEOUT), now=101.0)

    assert pickle.loads(pickle.dumps(told)) == told


def test_what_is_kept_is_bounded_whatever_comes() -> None:
    recent = Recent(lambda: float(number))
    for number in range(20 * SLICES):
        exchange = closed(number * SPAN, outcome=Outcome.BROKEN, tries=(("one", AttemptOutcome.CUT),) * 50)
        exchange.id = exchange.error = exchange.model = "x" * 10_000
        recent.exchanges_closed(sort([exchange]))
    told = recent.told(0, 20 * SLICES * SPAN)

    assert len(told.slices) <= SLICES + 1
    assert len(told.incidents) == len(joined([told, told]).incidents) == INCIDENTS
    assert told.incidents[-1].at == 20 * SLICES - 1
    assert len(told.incidents[0].id) == len(told.incidents[0].error or "") == LONGEST
    assert len(pickle.dumps(told)) < 100_000


def test_a_model_that_no_backend_has_listed_is_not_named() -> None:
    exchange = closed(100.0)
    broken = Exchange("id", exchange.route, "POST", 99.0, model="<b>made up", known_model=False)
    broken.close(Outcome.NO_BACKEND, 100.0)

    assert counted(broken, now=100.0).incidents[0].model is None
