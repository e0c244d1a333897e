"""Rules of router/tracing/context.py: W3C Trace Context, and which span a backend is told to be below."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace as otel
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from router.exchange import Exchange, Trace
from router.tracing.context import child_id, note_ids, opened, read, told_to_backend

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
NEW = "0123456789abcdef" + "f" * 16
FORM = r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"
hexadecimal = st.text("0123456789abcdef", min_size=32, max_size=32)


def test_a_clients_trace_is_read() -> None:
    assert read(f"00-{TRACE}-{PARENT}-01") == Trace(TRACE, PARENT, is_sampled=True)
    assert read(f" 00-{TRACE}-{PARENT}-00\t") == Trace(TRACE, PARENT, is_sampled=False)
    assert read(f"00-{TRACE}-{PARENT}-ff") == Trace(TRACE, PARENT, is_sampled=True)
    assert read(f"cc-{TRACE}-{PARENT}-01-what-the-future-will-be-like") == Trace(TRACE, PARENT, is_sampled=True)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "00",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"cc-{TRACE}-{PARENT}-01.more",
        f"0x-{TRACE}-{PARENT}-01",
        f"00-{TRACE[:-1]}\u0663-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01\n",
    ],
)
def test_what_is_no_traceparent_names_no_trace(value: str | None) -> None:
    assert read(value) is None


@given(st.one_of(st.text("0123456789abcdef-fF", max_size=60), st.from_regex(FORM, fullmatch=True)))
def test_it_reads_as_the_sdk_reads(value: str) -> None:
    found = otel.get_current_span(TraceContextTextMapPropagator().extract({"traceparent": value})).get_span_context()
    ours = read(value)
    if ours is None:
        assert not found.is_valid
    else:
        assert (f"{found.trace_id:032x}", f"{found.span_id:016x}") == (ours.trace_id, ours.parent_id)
        assert found.trace_flags.sampled == ours.is_sampled


def noted(traceparents: list[str | None]) -> list[str | None]:
    exchanges = [Exchange("x", "/v1/models", "GET", 1.0, traceparent=each) for each in traceparents]
    note_ids(exchanges)
    assert all(one.traceparent is None for one in exchanges), "it is read once"
    return [one.trace_id for one in exchanges]


odd = st.sampled_from(
    [
        *(None, "", f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00", f" 00-{TRACE}-{PARENT}-01"),
        *(f"cc-{TRACE}-{PARENT}-01-x", f"01-{TRACE}-{PARENT}-01", f"00-{'0' * 32}-{PARENT}-01"),
        *(f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE}{PARENT}--01", f"00-{TRACE}-{PARENT}-0", f"100-{TRACE}-{PARENT}-01"),
        *(f"00-{TRACE[:-1]}\u0663-{PARENT}-01", f"00-{TRACE[:-1]}\ud800-{PARENT}-01"),
    ]
)


@given(st.lists(st.one_of(odd, st.from_regex(FORM, fullmatch=True)), max_size=5))
def test_what_clients_name_is_read_together_as_it_is_one_by_one(traceparents: list[str | None]) -> None:
    """Where nobody tells spans it is only told of, many exchanges at a time."""
    assert noted(traceparents) == [None if (one := read(each)) is None else one.trace_id for each in traceparents]


def test_lengths_that_make_up_for_each_other_are_seen() -> None:
    """One behind the other they look like two that are as they should be."""
    usual = f"00-{TRACE}-{PARENT}-01"

    assert noted([usual + "0", usual[1:]]) == [None, None]
    assert noted([usual, usual]) == [TRACE, TRACE]


def test_a_trace_that_the_client_named_goes_on_as_it_decided() -> None:
    for is_sampled in (True, False):
        trace = opened(Trace(TRACE, PARENT, is_sampled), "x", share=0 if is_sampled else 1, new_id=NEW)
        assert trace == Trace(TRACE, PARENT, is_sampled, NEW[:16])


def test_a_new_trace_has_the_exchanges_id_where_that_is_fit_for_one() -> None:
    assert opened(None, TRACE, share=1, new_id=NEW) == Trace(TRACE, None, is_sampled=True, span_id=NEW[:16])
    for ident in ("mine", "0" * 32, TRACE.upper(), TRACE + "0"):
        assert opened(None, ident, share=1, new_id=NEW).trace_id == NEW
    least = Trace(f"{1:032x}", None, is_sampled=True, span_id=f"{1:016x}")
    assert opened(None, "mine", share=1, new_id="0" * 32) == least


@given(hexadecimal, st.floats(0, 1))
def test_a_share_of_the_new_traces_is_sampled_and_the_sdk_would_sample_the_same(trace_id: str, share: float) -> None:
    ours = opened(None, trace_id, share=share, new_id=NEW)
    theirs = TraceIdRatioBased(share).should_sample(None, int(ours.trace_id, 16), "x").decision
    bound = round(share * 2**64)
    if abs((int(ours.trace_id, 16) & (2**64 - 1)) - bound) > 2**12:  # floats
        assert ours.is_sampled == (theirs is Decision.RECORD_AND_SAMPLE)


@given(hexadecimal, st.integers(1, 100))
def test_children_have_ids_of_their_own_that_are_valid(new_id: str, number: int) -> None:
    trace = opened(None, "x", share=1, new_id=new_id)
    ids = {trace.span_id, *(child_id(trace, one) for one in range(1, number + 1))}
    assert len(ids) == number + 1
    assert all(len(one) == 16 and int(one, 16) for one in ids)


def test_ids_come_round_without_a_zero() -> None:
    trace = Trace(TRACE, None, is_sampled=True, span_id="f" * 16)
    assert child_id(trace, 1) == f"{1:016x}"


HEADERS = [(b"Accept", b"*/*"), (b"TraceParent", b"theirs"), (b"traceparent", b"another"), (b"Tracestate", b"a=1")]


def test_a_backend_is_told_of_the_attempt_as_its_parent() -> None:
    trace = Trace(TRACE, PARENT, is_sampled=True, span_id="0" * 15 + "1")
    assert told_to_backend(HEADERS, trace, 2) == [
        (b"Accept", b"*/*"),
        (b"Tracestate", b"a=1"),
        (b"traceparent", f"00-{TRACE}-0000000000000003-01".encode()),
    ]


def test_state_of_a_trace_that_could_not_be_read_is_not_passed_on() -> None:
    trace = Trace(TRACE, None, is_sampled=False, span_id="0" * 15 + "1")
    assert told_to_backend(HEADERS, trace, 1) == [
        (b"Accept", b"*/*"),
        (b"traceparent", f"00-{TRACE}-0000000000000002-00".encode()),
    ]


def test_where_nobody_is_told_of_spans_headers_stay_as_they_came() -> None:
    assert told_to_backend(HEADERS, None, 1) is HEADERS
    assert told_to_backend(HEADERS, Trace(TRACE, PARENT, is_sampled=True), 1) is HEADERS
