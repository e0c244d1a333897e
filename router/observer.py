"""Who is told what happens: the metrics, the access log and, of what an operator should know, the log."""

import logging
import time
from collections.abc import Callable

from router.backends.backend import Change, ChangeKind
from router.backends.health import HealthState
from router.exchange import Attempt, AttemptOutcome, Exchange
from router.observe import logs
from router.observe.metrics import Metrics, model_label
from router.recent import Recent
from router.tracing.tracer import Tracer

WELL = frozenset({"up", "closed", "serving", "drained"})  # states that need nobody's attention; an order is no accident

log = logging.getLogger("router.app")


class Observer:
    """Tells metrics and logs what happens."""

    def __init__(self, metrics: Metrics, access: logs.AccessLog, tracer: Tracer | None = None) -> None:
        """All are told of every exchange."""
        self._metrics = metrics
        self.recent = Recent(time.time)
        closers = (metrics.exchange_closed, access.write, self.recent.exchange_closed)
        self._closers: tuple[Callable[[Exchange], None], ...] = closers
        if tracer is not None:
            self._closers += (tracer.exchange_closed,)
        self.on_down: Callable[[str], None] | None = None  # told the name of a backend that goes down

    def exchange_opened(self, exchange: Exchange) -> None:
        """Count an exchange, and be told of its end."""
        self._metrics.exchange_opened(exchange)
        exchange.on_close.extend(self._closers)

    def attempt_closed(self, attempt: Attempt, exchange: Exchange) -> None:
        """Count an attempt."""
        self._metrics.attempt_closed(attempt, model_label(exchange), began=exchange.began)

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
