"""Who is told what happens: the metrics, the access log and, of what an operator should know, the log.

What has ended is told of a moment later, many at a time: what counts and writes it is then in the processor's caches,
while between two requests it is not, and takes twice as long. Who asks for what was counted has all of it told first.
"""

import logging
import time
from collections import deque
from collections.abc import Callable

from router.access.tenant import note_tenants
from router.backends.backend import Change, ChangeKind
from router.backends.health import HealthState
from router.ended import sort
from router.exchange import Attempt, AttemptOutcome, Exchange
from router.observe import logs
from router.observe.metrics import Metrics
from router.observe.traffic import model_label
from router.recent import Recent, Told
from router.relay.usage import note_tokens
from router.tracing.context import note_ids
from router.tracing.tracer import Tracer

WELL = frozenset({"up", "closed", "serving", "drained"})  # states that need nobody's attention; an order is no accident

SOON = 0.02  # seconds until what has ended is told of
MANY = 128  # that are not let grow: telling of them takes 0.7 to 1 ms, in which no stream goes on

_OK = AttemptOutcome.OK
log = logging.getLogger("router.app")


class Observer:
    """Tells metrics and logs what happens."""

    def __init__(self, metrics: Metrics, access: logs.AccessLog, tracer: Tracer | None = None) -> None:
        """All are told of every exchange."""
        self._metrics = metrics
        self._access = access
        self._tracer = tracer
        self._recent = Recent(time.time)
        self._ended: list[Exchange] = []  # not yet told of
        self._tried: deque[tuple[Attempt, Exchange, float | None]] = deque()  # and when the answer had begun by then
        self._is_due = False
        self.later: Callable[[float, Callable[[], None]], object] | None = None  # a loop's; None: all is told at once
        self.on_down: Callable[[str], None] | None = None  # told the name of a backend that goes down
        self._on_close = (self._exchange_closed,)  # made once
        metrics.before_dump = self.settle

    def exchange_opened(self, exchange: Exchange) -> None:
        """Count an exchange, and be told of its end."""
        self._metrics.in_flight += 1
        exchange.on_close += self._on_close

    def _exchange_closed(self, exchange: Exchange) -> None:
        self._metrics.in_flight -= 1
        ended = self._ended
        ended.append(exchange)
        if not self._is_due or len(ended) >= MANY:
            self._settle_soon()

    def attempt_closed(self, attempt: Attempt, exchange: Exchange) -> None:
        """Count an attempt; one that went well is the last of its exchange, and is counted with it."""
        if attempt.outcome is _OK:
            return
        self._tried.append((attempt, exchange, exchange.began))
        if not self._is_due:
            self._settle_soon()

    def _settle_soon(self) -> None:
        if self.later is None or len(self._ended) >= MANY:
            self.settle()
        else:
            self._is_due = True
            self.later(SOON, self._on_time)

    def _on_time(self) -> None:
        self._is_due = False
        self.settle()

    def settle(self) -> None:
        """Tell of everything that has ended until now."""
        while self._tried:
            attempt, exchange, began = self._tried.popleft()
            self._metrics.attempt_closed(attempt, model_label(exchange), began=began)
        ended = self._ended
        if ended:
            self._ended = []
            note_ids(ended)
            note_tenants(ended)
            note_tokens(ended)
            batch = sort(ended)
            self._metrics.exchanges_closed(batch)
            self._access.write(batch, time.time() - time.monotonic())
            self._recent.exchanges_closed(batch)
            if self._tracer is not None:
                for exchange in ended:
                    self._tracer.exchange_closed(exchange)

    def told(self, now: float, *, sessions: dict[str, int] | None = None) -> Told:
        """Return what happened lately, with all that has ended at `now`, and `sessions`; to be read at once."""
        self.settle()
        return self._recent.told(self._metrics.in_flight, now, sessions=sessions)

    def retried(self, cause: AttemptOutcome) -> None:
        """Count a retry."""
        self._metrics.retried(cause)

    def resumed(self, mode: str, *, ok: bool) -> None:
        """Count a broken answer that was continued, or could not be."""
        self._metrics.resumed(mode, ok=ok)

    def hedged(self, *, won: bool) -> None:
        """Count a second attempt beside the first."""
        self._metrics.hedged(won=won)

    def queue_rejected(self, reason: str) -> None:
        """Count an exchange that was turned away."""
        self._metrics.queue_rejected(reason)

    def queue_waited(self, seconds: float) -> None:
        """Count a wait for a free backend."""
        self._metrics.queue_waited(seconds)

    def changed(self, change: Change) -> None:
        """Count a change of a backend's state, and say so in the log."""
        self._metrics.changed(change)
        is_news = change.before != HealthState.UNKNOWN.value or change.after == HealthState.DOWN.value
        if change.kind is not ChangeKind.MODELS and is_news:
            self._recent.turned(change.backend, change.kind.value, change.before, change.after, change.cause)
        if change.kind is ChangeKind.HEALTH and change.after == HealthState.DOWN.value and self.on_down is not None:
            self.on_down(change.backend)
        if change.kind is ChangeKind.ALARM:
            log.warning("backend %s refuses our credentials (%s); check its api_key", change.backend, change.cause)
        elif change.kind is ChangeKind.MODELS:
            log.info("backend %s serves: %s", change.backend, change.after or "nothing")
        else:
            level = logging.INFO if change.after in WELL else logging.WARNING
            log.log(
                level,
                "backend %s: %s %s -> %s (%s)",
                change.backend, change.kind.value, change.before, change.after, change.cause,
            )  # fmt: skip
