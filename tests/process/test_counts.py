"""The shared table of attempts in flight, through two mappings of the same memory."""

import os
from collections.abc import Iterator

import pytest

from router.process.counts import LEAD, PLACES, Connections, Counts, Places, Table, new_file


@pytest.fixture
def fd() -> Iterator[int]:
    fd = new_file()
    yield fd
    os.close(fd)


def test_each_worker_sees_what_the_others_have_in_flight(fd: int) -> None:
    one, other = Counts(Table(fd), 0), Counts(Table(fd), 1)
    for counts in (one, other):
        counts.place({"a:1": 0, "b:1": 1})
    one.take("a:1")
    one.take("a:1")
    other.take("a:1")

    assert (one.elsewhere("a:1"), other.elsewhere("a:1"), other.elsewhere("b:1")) == (1, 2, 0)
    one.give("a:1")
    assert other.elsewhere("a:1") == 1


def test_what_a_dead_worker_had_in_flight_is_forgotten(fd: int) -> None:
    parent = Table(fd)
    one, other = Counts(Table(fd), 0), Counts(Table(fd), 1)
    for counts in (one, other):
        counts.place({"a:1": 7})
        counts.take("a:1")
    parent.clear(1)

    assert one.elsewhere("a:1") == 0
    assert parent.total(7) == 1


def test_a_count_never_goes_below_none(fd: int) -> None:
    """An attempt may have begun before its backend had a place."""
    one, other = Counts(Table(fd), 0), Counts(Table(fd), 1)
    one.take("a:1")
    for counts in (one, other):
        counts.place({"a:1": 0})
    one.give("a:1")

    assert other.elsewhere("a:1") == 0


def test_a_backend_without_a_place_is_counted_nowhere(fd: int) -> None:
    counts = Counts(Table(fd), 0)
    counts.take("a:1")
    counts.give("a:1")

    assert counts.elsewhere("a:1") == 0


def test_a_removed_backend_keeps_its_place_while_something_is_in_flight_there(fd: int) -> None:
    table = Table(fd)
    places = Places(table)
    counts = Counts(Table(fd), 3)
    first = places.assign(["a:1", "b:1"])
    counts.place(first)
    counts.take("a:1")

    assert places.assign(["b:1", "c:1"])["c:1"] not in first.values()
    assert places.assign(["a:1", "b:1"]) == first, "back again it finds what is in flight"
    counts.give("a:1")
    assert places.assign(["b:1", "d:1"])["d:1"] == first["a:1"]


def test_a_backend_that_comes_back_does_not_count_in_the_place_of_another_one(fd: int) -> None:
    """It has requests before its new place is told."""
    one, other = Counts(Table(fd), 0), Counts(Table(fd), 1)
    for counts in (one, other):
        counts.place({"a:1": 0})
        counts.place({"b:1": 0})
    one.take("a:1")
    for counts in (one, other):
        counts.place({"a:1": 1, "b:1": 0})
    one.give("a:1")

    assert other.elsewhere("b:1") == 0


def test_work_that_goes_on_at_a_removed_backend_is_given_back(fd: int) -> None:
    one, other = Counts(Table(fd), 0), Counts(Table(fd), 1)
    for counts in (one, other):
        counts.place({"a:1": 0})
    one.take("a:1")
    one.place({"b:1": 1})
    assert other.elsewhere("a:1") == 1
    one.give("a:1")

    assert other.elsewhere("a:1") == 0


def test_names_beyond_the_table_are_left_out(fd: int) -> None:
    assigned = Places(Table(fd)).assign(f"b:{number}" for number in range(PLACES + 5))

    assert len(assigned) == len(set(assigned.values())) == PLACES


def test_who_has_more_connections_than_another_worker_is_ahead(fd: int) -> None:
    """Of the least of all; by a few, as they cannot count in step."""
    one, two, three = (Connections(Table(fd), slot) for slot in range(3))
    one.note(5)
    two.note(7)
    three.note(5 + LEAD)

    assert [each.is_ahead(count) for each, count in ((one, 5), (two, 7), (three, 5 + LEAD))] == [False, True, False]


def test_a_worker_that_accepts_no_more_is_compared_with_nobody(fd: int) -> None:
    """Nor is one that has ended without a word, or never began; none at all is as good as no connections."""
    parent = Table(fd)
    one, two = Connections(Table(fd), 0), Connections(Table(fd), 1)
    one.note(9)
    assert not one.is_ahead(9)
    two.note(0)
    assert one.is_ahead(9)
    two.leave()
    assert not one.is_ahead(9)
    two.note(0)
    parent.clear(1)

    assert not one.is_ahead(9)


def test_it_shows_when_others_have_moved(fd: int) -> None:
    """What a worker does itself is no move of another one."""
    one, two = Connections(Table(fd), 0), Connections(Table(fd), 1)
    before = one.others()
    one.note(3)
    assert one.others() == before
    two.note(0)

    assert one.others() != before


def test_connections_are_counted_beside_the_backends(fd: int) -> None:
    """In a row of their own."""
    table = Table(fd)
    counts = Counts(table, 0)
    counts.place({"first": 0, "last": PLACES - 1})
    Connections(table, 0).note(5)

    assert (table.total(0), table.total(PLACES - 1)) == (0, 0)
