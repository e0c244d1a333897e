"""Opens the trace of each exchange, and tells a collector of its spans when it is over (OTLP by HTTP).

OpenTelemetry's SDK sends them from a thread of its own, many at a time; where the collector is slow or away, spans are
dropped, never waited for. The SDK comes with the extra `otel` and is loaded only where tracing is switched on.
"""

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from router.exchange import Exchange, Trace
from router.tracing.context import opened, read
from router.tracing.spans import Kind, Span, spans_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

CLOSE_WITHIN = 2.0  # seconds for the last spans to be sent
NANO = 1_000_000_000
PATH = "/v1/traces"  # where OTLP's traces go, on a collector that is named without a path


class SdkMissing(Exception):
    """The extra `otel` is not installed."""


def otlp_exporter(endpoint: str) -> "SpanExporter":
    """Return what sends spans to a collector. Its headers, such as a key, come from OTEL_EXPORTER_OTLP_HEADERS.

    Raises `SdkMissing`.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise SdkMissing from error
    scheme, _, rest = endpoint.partition("://")
    return OTLPSpanExporter(endpoint=endpoint if "/" in rest else f"{scheme}://{rest}{PATH}")


class Tracer:
    """The traces of one process."""

    def __init__(
        self,
        exporter: "SpanExporter",
        *,
        service: str,
        version: str,
        share: Callable[[], float],
        new_id: Callable[[], str],
        wall_clock: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        """`share`: of the traces that begin here. `new_id`: 32 hexadecimal digits by chance. `clock`: monotonic."""
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        self._processor = BatchSpanProcessor(exporter)
        self._resource = Resource.create({"service.name": service, "service.version": version})
        self._scope = InstrumentationScope("devstral-router", version)
        self._share = share
        self._new_id = new_id
        self._wall_clock = wall_clock
        self._clock = clock

    def open(self, traceparent: str | None, ident: str) -> Trace:
        """Return the trace of a new exchange with this id; `traceparent`: the client's header."""
        return opened(read(traceparent), ident, share=self._share(), new_id=self._new_id())

    def exchange_closed(self, exchange: Exchange) -> None:
        """Tell of an exchange, if it is sampled."""
        trace = exchange.trace
        if trace is not None and trace.is_sampled and trace.span_id:
            self._tell(trace, spans_of(exchange, trace), ahead=self._wall_clock() - self._clock())

    def close(self) -> None:
        """Send what there still is, for `CLOSE_WITHIN` at most. Blocks."""
        sending = threading.Thread(target=self._processor.shutdown, daemon=True)
        sending.start()
        sending.join(CLOSE_WITHIN)

    def _tell(self, trace: Trace, spans: Iterable[Span], *, ahead: float) -> None:
        """Hand spans to the SDK; `ahead`: seconds from the monotonic clock to the time of day."""
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

        def place(span_id: str, *, is_remote: bool) -> SpanContext:
            flags = TraceFlags(TraceFlags.SAMPLED)
            return SpanContext(int(trace.trace_id, 16), int(span_id, 16), is_remote, flags)

        kinds = {Kind.SERVER: SpanKind.SERVER, Kind.CLIENT: SpanKind.CLIENT, Kind.INTERNAL: SpanKind.INTERNAL}
        for span in spans:
            above = None if span.parent_id is None else place(span.parent_id, is_remote=span.kind is Kind.SERVER)
            told = ReadableSpan(
                span.name,
                place(span.span_id, is_remote=False),
                above,
                self._resource,
                span.attributes,
                kind=kinds[span.kind],
                status=Status() if span.failure is None else Status(StatusCode.ERROR, span.failure),
                start_time=int((span.start + ahead) * NANO),
                end_time=int((span.end + ahead) * NANO),
                instrumentation_scope=self._scope,
            )
            self._processor.on_end(told)
