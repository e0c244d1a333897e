"""Which form the page of metrics has, and what its JSON says."""

import datetime
import gzip
import json

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from router.observe.exposition import label_text
from router.observe.page import (
    MAX_RANGES,
    Form,
    as_json,
    form_of,
    labels_of,
    packed,
    render,
    session_statistics,
    takes_gzip,
)
from tests.observe.counted import counted

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Form.TEXT),
        ("*/*", Form.TEXT),
        ("text/html,application/xhtml+xml,*/*;q=0.8", Form.TEXT),
        (PROMETHEUS, Form.OPENMETRICS),
        ("text/plain;version=0.0.4", Form.TEXT),
        ("Application/JSON", Form.JSON),
        ("application/json; q=0.5, text/plain", Form.TEXT),
        ("text/plain;q=0.1, application/json;q=0.2", Form.JSON),
        ("application/json, text/plain, */*", Form.JSON),
        ("application/json;q=0", Form.TEXT),
        ("application/json;q=what", Form.TEXT),
        ("application/jsonp", Form.TEXT),
        (",;=,;q=", Form.TEXT),
    ],
)
def test_the_form_is_the_one_that_accept_likes_best(accept: str, form: Form) -> None:
    assert form_of(accept) is form


def test_an_accept_without_end_is_not_read_to_its_end() -> None:
    assert form_of("text/html," * MAX_RANGES + "application/json") is Form.TEXT


def test_the_json_says_what_the_text_says() -> None:
    families = counted().dump()
    body = as_json(families, datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC))
    told = json.loads(body)
    assert (told["service"], told["timestamp"]) == ("devstral-router", "2026-01-02T00:00:00+00:00")

    seen: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for name, family in told["metrics"].items():
        for sample in family["samples"]:
            labels = frozenset(sample["labels"].items())
            if family["type"] != "histogram":
                seen[(name + "_total" * (family["type"] == "counter"), labels)] = sample["value"]
                continue
            seen[(name + "_count", labels)] = sample["count"]
            seen[(name + "_sum", labels)] = sample["sum"]
            for bound, count in sample["buckets"].items():
                seen[(name + "_bucket", labels | {("le", bound)})] = count
    text = render(families)[1].decode()
    assert seen == {(s.name, frozenset(s.labels.items())): s.value for f in parse_text(text) for s in f.samples}


def test_session_statistics_have_the_names_of_older_proxies() -> None:
    assert session_statistics(counted().dump()) == {
        "enabled": True,
        "sessions_created": 9,
        "sessions_expired": 4,
        "sessions_evicted": 2,
        "cache_hits": 21,
        "cache_misses": 9,
        "cache_hit_rate": 0.7,
        "active_sessions": 3,
        "max_sessions": 100,
        "session_ttl_seconds": 60.0,
    }
    assert session_statistics({}) == {"enabled": False}


@pytest.mark.parametrize("value", ["", "plain", 'quote " comma , brace }', "back\\slash", "new\nline", "\\n", 'a="b"'])
def test_labels_are_read_back_as_they_were_written(value: str) -> None:
    assert labels_of(label_text(name=value, other="x")) == {"name": value, "other": "x"}


@pytest.mark.parametrize(
    ("accept_encoding", "takes"),
    [
        ("", False),
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("br, x-gzip", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0, *", False),
        ("gzip;q=what", False),
        ("*", False),
        ("identity, gzipped", False),
        ("," * MAX_RANGES + "gzip", False),
    ],
)
def test_who_names_gzip_and_does_not_refuse_it_gets_it(accept_encoding: str, takes: bool) -> None:
    assert takes_gzip(accept_encoding) is takes


def test_a_packed_page_is_the_page_and_small() -> None:
    page = b"".join(b'router_backend_up{backend="gpu-%d"} 1\n' % number for number in range(5000))

    assert gzip.decompress(packed(page)) == page
    assert len(packed(page)) * 4 < len(page)
    assert packed(page) == packed(page), "no time is in it"
