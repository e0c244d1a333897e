"""The text that Prometheus reads, checked by Prometheus' own parsers."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from router.observe.exposition import Distribution, Page, label_text


def test_a_value_on_a_bound_belongs_to_its_bucket() -> None:
    distribution = Distribution((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.1):
        distribution.observe(value)

    assert distribution.cumulative() == [("1.0", 2), ("2.0", 4), ("+Inf", 5)]
    assert math.isclose(distribution.total, 7.1)


@given(st.lists(st.floats(0, 1e6), max_size=50))
@settings(max_examples=50, deadline=None)
def test_every_value_is_counted_once(values: list[float]) -> None:
    distribution = Distribution((0.1, 1.0, 10.0, 1000.0))
    for value in values:
        distribution.observe(value)

    for bound, count in zip((*distribution.bounds, math.inf), dict(distribution.cumulative()).values(), strict=True):
        assert count == sum(value <= bound for value in values)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=20))
@settings(max_examples=100, deadline=None)
def test_any_label_value_survives(value: str) -> None:
    page = Page()
    page.gauge("router_x", "What it is.", [(label_text(name=value), 1)])
    (family,) = parse_text(page.encode().decode())

    assert family.samples[0].labels == {"name": value}


def filled(page: Page) -> Page:
    distribution = Distribution((0.1, 1.0))
    distribution.observe(0.5)
    page.counter("router_a", "Counts.", [(label_text(kind="x"), 3), (label_text(kind="y"), 4)])
    page.gauge("router_b", "Is.", [("", 2.5)])
    page.histogram("router_c_seconds", "Takes.", [(label_text(route="/v1"), distribution)])
    page.histogram("router_d_seconds", "Takes.", [("", distribution)])
    page.counter("router_e", "Nothing yet.", [])
    return page


def test_both_formats_say_the_same() -> None:
    text = filled(Page()).encode().decode()
    openmetrics = filled(Page(openmetrics=True)).encode().decode() + "# EOF\n"

    def samples(families: object) -> dict[object, float]:
        return {(s.name, *s.labels.items()): s.value for family in families for s in family.samples}  # type: ignore[attr-defined]

    assert samples(parse_text(text)) == samples(parse_openmetrics(openmetrics))
    assert samples(parse_text(text))["router_c_seconds_bucket", ("route", "/v1"), ("le", "1.0")] == 1
    assert samples(parse_text(text))["router_a_total", ("kind", "y")] == 4
    assert samples(parse_text(text))["router_d_seconds_sum",] == 0.5
