"""The counts of all workers, those that have ended included."""

from router.observe.exposition import Families, Sheet
from router.process.tally import Tally


def dump(requests: int, in_flight: int) -> Families:
    sheet = Sheet()
    sheet.counter("router_requests", "x", [("", requests)])
    sheet.gauge("router_requests_in_flight", "x", [("", in_flight)])
    return sheet.families


def test_what_a_worker_counted_outlives_it_and_what_it_had_does_not() -> None:
    tally = Tally()
    tally.bury(dump(5, 3))
    tally.bury(dump(2, 1))
    total = tally.total([dump(10, 4)])

    assert total["router_requests"].samples == {"": 17}
    assert total["router_requests_in_flight"].samples == {"": 4}


def test_asking_changes_nothing() -> None:
    tally = Tally()
    tally.bury(dump(5, 3))
    living = dump(1, 1)

    assert tally.total([living]) == tally.total([living])


def test_counts_stay_while_nobody_lives() -> None:
    tally = Tally()
    tally.bury(dump(5, 3))

    assert tally.total([])["router_requests"].samples == {"": 5}
