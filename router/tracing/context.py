"""Where an exchange stands in a distributed trace: W3C Trace Context, read and written. Pure.

A client may name the trace that its request belongs to (`traceparent`). Where spans are told of, the backend is given
the same trace with the attempt as its parent; a trace begins here where the client names none. Where they are not, the
client's header goes on as it came, and its trace is only named in the log and the metrics.
"""

import re
from collections.abc import Collection, Iterable, Sequence

from router.exchange import Exchange, Trace

# W3C Trace Context section 3.2: a later version may have more behind it, version ff is none; ids are not all zeros.
_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII
)
_IDENT = re.compile(r"[0-9a-f]{32}", re.ASCII)
_NOTHING = re.compile(r"0+")
_SAMPLED = 1
_LENGTH = 55  # of version 00
_HEXADECIMAL, _ODD = b"0123456789abcdef", "13579bdf"
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_MASK = (1 << 64) - 1
_PARENT = frozenset((b"traceparent",))
_LINES = _PARENT | {b"tracestate"}
Headers = Collection[tuple[bytes, bytes]]


def read(traceparent: str | None) -> Trace | None:
    """Return the trace that a client names, None where it names none or not in the form that it has to have."""
    if traceparent is None:
        return None
    if (  # nearly all are of version 00: without a search by pattern
        len(traceparent) == _LENGTH
        and traceparent[:3] == "00-"
        and traceparent[35] == traceparent[52] == "-"
        and traceparent.encode("utf-8", "replace").translate(None, _HEXADECIMAL) == b"---"
    ):
        trace_id, parent_id = traceparent[3:35], traceparent[36:52]
        if trace_id != _NO_TRACE and parent_id != _NO_SPAN:
            return Trace(trace_id, parent_id, traceparent[54] in _ODD)
    return _read_any(traceparent)


def note_ids(exchanges: Iterable[Exchange]) -> None:
    """Put down the ids of the traces that clients have named, of exchanges of which nobody tells spans."""
    named = [one for one in exchanges if one.traceparent is not None]
    if named:
        for one, trace_id in zip(named, _ids_of([one.traceparent or "" for one in named]), strict=True):
            one.trace_id, one.traceparent = trace_id, None


def _ids_of(traceparents: Sequence[str]) -> list[str | None]:
    """Return the ids of traces, None for each that `read` would not read; all at once where all are of version 00."""
    ids = [each[3:35] for each in traceparents]
    if (
        _are_usual("".join(traceparents), len(traceparents))
        and set(map(len, traceparents)) == {_LENGTH}
        and _NO_TRACE not in ids
        and _NO_SPAN not in [each[36:52] for each in traceparents]
    ):
        return [*ids]
    return [None if trace is None else trace.trace_id for trace in map(read, traceparents)]


def _are_usual(joined: str, count: int) -> bool:
    """Return whether so many traceparents, one behind the other, are of version 00 if each has its length."""
    return (
        joined[0::_LENGTH] == joined[1::_LENGTH] == "0" * count
        and joined[2::_LENGTH] == joined[35::_LENGTH] == joined[52::_LENGTH] == "-" * count
        and joined.encode("utf-8", "replace").translate(None, _HEXADECIMAL) == b"---" * count
    )


def _read_any(traceparent: str) -> Trace | None:
    """Do as `read`, whatever the version is."""
    found = _TRACEPARENT.fullmatch(traceparent.strip(" \t"))
    if found is None:
        return None
    version, trace_id, parent_id, flags, more = found.groups()
    if more and version == "00":
        return None
    return Trace(trace_id, parent_id, is_sampled=bool(int(flags, 16) & _SAMPLED))


def opened(named: Trace | None, ident: str, *, share: float, new_id: str) -> Trace:
    """Return the trace of an exchange whose spans are told of.

    `named`: by the client, whose decision on sampling is followed. `ident`: the exchange's own id, which is that of a
    new trace where it can be; `share` of those are sampled. `new_id`: 32 hexadecimal digits by chance.
    """
    span_id = f"{int(new_id[:16], 16) or 1:016x}"
    if named is not None:
        return Trace(named.trace_id, named.parent_id, named.is_sampled, span_id)
    is_fit = _IDENT.fullmatch(ident) and not _NOTHING.fullmatch(ident)
    trace_id = ident if is_fit else f"{int(new_id, 16) or 1:032x}"
    return Trace(trace_id, None, is_sampled=_is_sampled(trace_id, share), span_id=span_id)


def _is_sampled(trace_id: str, share: float) -> bool:
    """Decide by the id alone, as OpenTelemetry's TraceIdRatioBased: who has the same share decides alike."""
    return share >= 1 or (int(trace_id, 16) & _MASK) < share * (_MASK + 1)


def child_id(trace: Trace, number: int) -> str:
    """Return the id of the exchange's span of this number, from 1 on: they follow on the exchange's own."""
    return f"{(int(trace.span_id, 16) + number - 1) % _MASK + 1:016x}"


def told_to_backend(headers: Headers, trace: Trace | None, number: int) -> Headers:
    """Return a request's headers with the span of this attempt as the parent; `number`: of the attempt, from 1 on."""
    if trace is None or not trace.span_id:
        return headers
    is_new = trace.parent_id is None  # then the client's state belongs to no trace that we could read
    dropped = _LINES if is_new else _PARENT
    kept = [pair for pair in headers if pair[0].lower() not in dropped]
    flags = _SAMPLED if trace.is_sampled else 0
    return [*kept, (b"traceparent", f"00-{trace.trace_id}-{child_id(trace, number)}-{flags:02x}".encode())]
