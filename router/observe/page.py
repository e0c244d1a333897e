"""The page of metrics in the form that is asked for: Prometheus text, OpenMetrics, or JSON for who has no parser.

The media type that the Accept header likes best decides; whoever names none of ours gets Prometheus text.
"""

import datetime
import enum
import gzip
import re

import orjson

from router import __version__
from router.observe.exposition import LASTING, OPENMETRICS_TYPE, TEXT_TYPE, Families, Family, encode

JSON_TYPE = "application/json"
SERVICE = "devstral-router"
MAX_RANGES = 32  # media ranges of an Accept header, or codings of an Accept-Encoding, that are looked at
WORTH_PACKING = 64 * 1024  # bytes; packed it is a twentieth, which a network between may feel

_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")


class Form(enum.Enum):
    """How the page is written."""

    TEXT = "text/plain"
    OPENMETRICS = "application/openmetrics-text"
    JSON = "application/json"


_FORMS = {form.value: form for form in Form}


def form_of(accept: str) -> Form:
    """Return the form that an Accept header (RFC 9110 section 12.5.1) likes best; of equals the first one named."""
    best, found = 0.0, Form.TEXT
    for media_range in accept.split(",")[:MAX_RANGES]:
        kind, *parameters = media_range.lower().split(";")
        form = _FORMS.get(kind.strip())
        quality = next((_quality(each) for each in parameters if each.strip().startswith("q=")), 1.0)
        if form is not None and quality > best:
            best, found = quality, form
    return found


def takes_gzip(accept_encoding: str) -> bool:
    """Return whether an Accept-Encoding header (RFC 9110 section 12.5.3) names gzip, and does not refuse it."""
    for coding in accept_encoding.split(",")[:MAX_RANGES]:
        name, *parameters = coding.lower().split(";")
        if name.strip() in ("gzip", "x-gzip"):
            return all(_quality(each) > 0 for each in parameters if each.strip().startswith("q="))
    return False


def packed(page: bytes) -> bytes:
    """Return a page in gzip's form, as quickly as may be: the rest would win little."""
    return gzip.compress(page, 1, mtime=0)


def render(families: Families, accept: str = "") -> tuple[str, bytes]:
    """Return (content type, body) in the form that an Accept header asks for."""
    form = form_of(accept)
    if form is Form.JSON:
        return JSON_TYPE, as_json(families, datetime.datetime.now(datetime.UTC))
    if form is Form.OPENMETRICS:
        return OPENMETRICS_TYPE, encode(families, openmetrics=True)
    return TEXT_TYPE, encode(families)


def as_json(families: Families, now: datetime.datetime) -> bytes:
    """Return the same as one object: `metrics` by name, each with its type, its help and its samples."""
    return orjson.dumps(
        {
            "service": SERVICE,
            "version": __version__,
            "timestamp": now.isoformat(timespec="seconds"),
            "sessions": session_statistics(families),
            "metrics": {name: _family(family) for name, family in families.items()},
        }
    )


def session_statistics(families: Families) -> dict[str, object]:
    """Return what is told of sessions, under the names that users of older proxies know; off: that they are off."""
    if "router_sessions_active" not in families:
        return {"enabled": False}

    def value(name: str, *results: str) -> float:
        samples = families[name].samples
        return sum(samples[f'result="{result}"'] for result in results) if results else samples[""]

    hits, misses = value("router_session_lookups", "hit", "explicit"), value("router_session_lookups", "miss")
    return {
        "enabled": True,
        "sessions_created": value("router_sessions_created"),
        "sessions_expired": value("router_sessions_expired"),
        "sessions_evicted": value("router_sessions_evicted"),
        "cache_hits": hits,
        "cache_misses": misses,
        "cache_hit_rate": hits / (hits + misses) if hits + misses else None,
        "active_sessions": value("router_sessions_active"),
        "max_sessions": value("router_sessions_limit"),
        "session_ttl_seconds": value("router_session_ttl_seconds"),
    }


def _family(family: Family) -> dict[str, object]:
    samples: list[dict[str, object]] = [
        {"labels": labels_of(text), "value": value} for text, value in family.samples.items()
    ]
    bounds = (*(str(float(bound)) for bound in family.bounds), "+Inf")
    for text, (counts, total) in family.counts.items():
        buckets, running = {}, 0
        for bound, count in zip(bounds, counts, strict=True):
            running += count
            buckets[bound] = running
        samples.append({"labels": labels_of(text), "count": running, "sum": total, "buckets": buckets})
    kind = family.kind.value if family.kind in LASTING else "gauge"
    return {"type": kind, "help": family.meaning, "samples": samples}


def labels_of(text: str) -> dict[str, str]:
    """Return the labels of what `label_text` has made."""
    if "\\" not in text:  # nearly always: then no quotation mark stands in a value
        pairs = [pair.partition('="') for pair in text[:-1].split('",')] if text else []
        return {name: value for name, _, value in pairs}
    return {
        name: _ESCAPE.sub(lambda found: "\n" if found[1] == "n" else found[1], value)
        for name, value in _LABEL.findall(text)
    }


def _quality(parameter: str) -> float:
    try:
        return float(parameter.strip()[2:])
    except ValueError:
        return 0.0
