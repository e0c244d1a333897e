"""Rules of router/observe/traffic.py; what each count means is held by test_metrics.py."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.ended import sort
from router.exchange import Exchange
from router.observe.exposition import Families, Sheet
from router.observe.traffic import Traffic
from tests.observe.drawn import exchanges, usual


def counted(*batches: list[Exchange]) -> Families:
    traffic, sheet = Traffic(lambda: 1000.0), Sheet()
    for batch in batches:
        traffic.exchanges_closed(sort(batch))
    traffic.add_exchanges(sheet)
    traffic.add_attempts(sheet)
    traffic.add_rules(sheet)
    return sheet.families


@settings(max_examples=200, deadline=None)
@given(st.lists(exchanges(), min_size=2, max_size=6))
def test_what_is_counted_together_is_what_is_counted_one_by_one(made: list[Exchange]) -> None:
    together, alone = counted(made), counted(*([one] for one in made))

    assert together.keys() == alone.keys()
    for name, family in together.items():
        other = alone[name]
        assert family.samples == other.samples, name
        assert {labels: buckets for labels, (buckets, _) in family.counts.items()} == {
            labels: buckets for labels, (buckets, _) in other.counts.items()
        }, name
        for labels, (_, total) in family.counts.items():
            assert total == pytest.approx(other.counts[labels][1], abs=1e-6)
        assert {labels: set(told) for labels, told in family.exemplars.items()} == {
            labels: set(told) for labels, told in other.exemplars.items()
        }, name


def test_of_exchanges_that_are_told_together_the_last_is_the_example() -> None:
    """Of each bucket, and of the beginnings of answers as of their ends."""
    moments = (("a", 100.02, 103.0), ("b", 100.25, 103.1), ("c", 100.021, 100.26))
    made = [usual(trace_id=name * 32, began=began, closed=closed) for name, began, closed in moments]
    families = counted(made)
    (wholes,) = families["router_request_duration_seconds"].exemplars.values()
    (begun,) = families["router_time_to_first_token_seconds"].exemplars.values()

    assert sorted(text[10:11] for text, _, _ in wholes.values()) == ["b", "c"]
    assert sorted((text[10:11], round(value, 3)) for text, value, _ in begun.values()) == [("b", 0.25), ("c", 0.021)]


def test_of_very_many_that_are_told_together_the_slowest_and_the_last_are_examples() -> None:
    """Each would be looked up in two histograms."""
    ends = [100.26 + number / 1e6 for number in range(100)]
    ends[40], ends[50] = 109.0, 103.0
    made = [usual(trace_id=f"{number:032x}", began=100.25, closed=end) for number, end in enumerate(ends)]
    (wholes,) = counted(made)["router_request_duration_seconds"].exemplars.values()

    assert sorted(int(text[10:42], 16) for text, _, _ in wholes.values()) == [40, 99]
