"""What all exchanges of a relay share: the backends, the world, the rules, and who is told what happens."""

from collections.abc import Collection, Mapping
from dataclasses import InitVar, dataclass, field
from typing import Protocol

from router.backends.backend import Backend, Change, Standing
from router.backends.registry import Registry
from router.backends.sessions import SessionRules
from router.exchange import Attempt as AttemptRecord
from router.exchange import AttemptOutcome, Exchange
from router.relay.dialects import Dialects
from router.relay.endpoint import Endpoint
from router.relay.hedge import HedgeRules
from router.relay.live import Live
from router.relay.outside import Outside
from router.relay.queue import Queue, QueueRules
from router.relay.resume import ResumeRules
from router.relay.retry import RetryBudget, RetryRules
from router.relay.sessions import Sessions


class Watcher(Protocol):
    """Who is told of attempts: the metrics and the log."""

    def attempt_closed(self, attempt: AttemptRecord, exchange: Exchange) -> None:
        """One try ended."""

    def retried(self, cause: AttemptOutcome) -> None:
        """An exchange is tried again because of this."""

    def changed(self, change: Change) -> None:
        """A backend's state changed."""

    def resumed(self, mode: str, *, ok: bool) -> None:
        """A broken answer was to be continued on another backend; `ok`: it was."""

    def hedged(self, *, won: bool) -> None:
        """A second attempt ran beside the first; `won`: it was the faster one."""

    def queue_rejected(self, reason: str) -> None:
        """An exchange was turned away: `full`, `timeout`, or what it would have overloaded."""

    def queue_waited(self, seconds: float) -> None:
        """An exchange has waited for a free backend."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The backends: who decides among them, and how each is reached (by name)."""

    registry: Registry
    endpoints: Mapping[str, Endpoint]
    dialects: Dialects


@dataclass(slots=True)
class Shared:
    """What all exchanges of a relay share."""

    cluster: Cluster
    outside: Outside
    retry_rules: RetryRules
    watcher: Watcher
    queue_rules: QueueRules = QueueRules()  # noqa: RUF009  # frozen
    hedge_rules: HedgeRules = HedgeRules()  # noqa: RUF009  # frozen
    resume_rules: ResumeRules = ResumeRules()  # noqa: RUF009  # frozen
    session_rules: InitVar[SessionRules] = SessionRules()  # noqa: RUF009  # frozen
    reveal: bool = False  # tell clients which backend answered, and after how many attempts
    live: int = 0  # exchanges under way
    streams: int = 0  # those of them that have asked for a stream
    is_stopping: bool = False
    budget: RetryBudget = field(init=False)
    running: Live = field(init=False)  # attempts
    queue: Queue = field(init=False)  # of those who wait for a free backend
    sessions: Sessions = field(init=False)

    def __post_init__(self, session_rules: SessionRules) -> None:
        """Start with the whole budget, and nothing under way."""
        outside = self.outside
        self.budget = RetryBudget(self.retry_rules)
        self.running = Live(outside.loop, clock=outside.clock, is_down=self.is_down)
        self.sessions = Sessions(self.cluster.registry, session_rules, clock=outside.clock)
        self.queue = Queue(
            self.queue_rules, self, loop=outside.loop, clock=outside.clock, rejected=self.watcher.queue_rejected
        )

    def set_rules(self, retry: RetryRules, queue: QueueRules, hedge: HedgeRules) -> None:
        """Go by other rules from now on; who waits already waits as long as it was told."""
        self.retry_rules, self.hedge_rules = retry, hedge
        self.budget.change(retry)
        self.queue_rules = self.queue.rules = queue

    def has_free(self, model: str | None) -> bool:
        """Return whether a backend can take a request for the model now."""
        return self.cluster.registry.has_free(model, now=self.outside.clock())

    def has_usable(self, model: str | None) -> bool:
        """Return whether a backend that serves the model is not out of use, be it full or resting at the moment."""
        return not self.cluster.registry.is_out(model, now=self.outside.clock())

    def has_full(self, model: str | None, *, tried: Collection[Backend]) -> bool:
        """Return whether a backend other than those tried would take a request for the model, but that it is full."""
        now = self.outside.clock()
        return any(
            (model is None or model in each.models) and each not in tried and each.standing(now) is Standing.FULL
            for each in self.cluster.registry.backends
        )

    def is_down(self, name: str) -> bool:
        """Return whether a backend is known to be gone; False of one that is not configured any more."""
        return any(each.is_down for each in self.cluster.registry.backends if each.spec.name == name)

    def report(self, backend: Backend, outcome: AttemptOutcome, *, retry_after: float | None = None) -> None:
        """Tell the registry how an attempt ended, and the watcher what that has changed."""
        now, jitter = self.outside.clock(), self.outside.dice()
        for change in self.cluster.registry.report(backend, outcome, now=now, retry_after=retry_after, jitter=jitter):
            self.watcher.changed(change)
