"""The text that Prometheus reads, checked by Prometheus' own parsers."""

import itertools
import math

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from router.observe.exposition import ENOUGH, Distribution, Kind, Sheet, encode, label_text, lasting, merged


def test_a_value_on_a_bound_belongs_to_its_bucket() -> None:
    distribution = Distribution((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.1):
        distribution.observe(value)
    distribution.settle()

    assert distribution.counts == [2, 2, 1]
    assert math.isclose(distribution.total, 7.1)


@given(st.lists(st.floats(0, 1e6), max_size=2 * ENOUGH + 1))
@settings(max_examples=50, deadline=None)
def test_every_value_is_counted_once(values: list[float]) -> None:
    distribution = Distribution((0.1, 1.0, 10.0, 1000.0))
    for value in values:
        distribution.observe(value)
        assert len(distribution.waiting) < ENOUGH
    distribution.settle()

    assert distribution.waiting == []
    below = itertools.accumulate(distribution.counts)
    for bound, count in zip((*distribution.bounds, math.inf), below, strict=True):
        assert count == sum(value <= bound for value in values)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=20))
@settings(max_examples=100, deadline=None)
def test_any_label_value_survives(value: str) -> None:
    sheet = Sheet()
    sheet.gauge("router_x", "What it is.", [(label_text(name=value), 1)])
    (family,) = parse_text(encode(sheet.families).decode())

    assert family.samples[0].labels == {"name": value}


def filled() -> Sheet:
    sheet = Sheet()
    distribution = Distribution((0.1, 1.0))
    distribution.observe(0.5)
    sheet.counter("router_a", "Counts.", [(label_text(kind="x"), 3), (label_text(kind="y"), 4)])
    sheet.gauge("router_b", "Is.", [("", 2.5)])
    sheet.histogram("router_c_seconds", "Takes.", [(label_text(route="/v1"), distribution)])
    sheet.histogram("router_d_seconds", "Takes.", [("", distribution)])
    sheet.counter("router_e", "Nothing yet.", [])
    return sheet


def test_both_formats_say_the_same() -> None:
    text = encode(filled().families).decode()
    openmetrics = encode(filled().families, openmetrics=True).decode()

    def samples(families: object) -> dict[object, float]:
        return {(s.name, *s.labels.items()): s.value for family in families for s in family.samples}  # type: ignore[attr-defined]

    assert samples(parse_text(text)) == samples(parse_openmetrics(openmetrics))
    assert samples(parse_text(text))["router_c_seconds_bucket", ("route", "/v1"), ("le", "1.0")] == 1
    assert samples(parse_text(text))["router_a_total", ("kind", "y")] == 4
    assert samples(parse_text(text))["router_d_seconds_sum",] == 0.5


def test_counts_of_processes_are_added_and_states_are_not() -> None:
    one, other = filled(), filled()
    one.gauge("router_up", "Is.", [("", 1)], across=Kind.LARGEST)
    other.gauge("router_up", "Is.", [("", 0)], across=Kind.LARGEST)
    one.gauge("router_good", "Is.", [("", 1)], across=Kind.SMALLEST)
    other.gauge("router_good", "Is.", [("", 0)], across=Kind.SMALLEST)
    both = merged([one.families, other.families])

    assert both["router_a"].samples == {'kind="x"': 6, 'kind="y"': 8}
    assert both["router_b"].samples == {"": 5.0}
    assert both["router_c_seconds"].counts == {'route="/v1"': ([0, 2, 0], 1.0)}
    assert both["router_up"].samples == {"": 1}
    assert both["router_good"].samples == {"": 0}


def test_a_process_that_has_observed_nothing_yet_hides_no_histogram_of_another() -> None:
    """A worker that was started a moment ago comes before what those that have ended have left."""
    fresh = Sheet()
    fresh.histogram("router_c_seconds", "Takes.", [])
    for dumps in ([fresh.families, filled().families], [filled().families, fresh.families, filled().families]):
        assert merged(dumps)["router_c_seconds"].counts['route="/v1"'][0] == [0, len(dumps) - 1, 0]


def test_what_was_given_to_be_merged_is_left_as_it_was() -> None:
    """The last dump of a worker is merged at every scrape until the next one comes."""
    one, other = filled().families, filled().families
    merged([one, other])

    assert one == other == filled().families


def test_one_that_has_ended_leaves_its_counts_only() -> None:
    assert set(lasting(filled().families)) == {"router_a", "router_c_seconds", "router_d_seconds", "router_e"}
    assert merged([filled().families]) == filled().families
