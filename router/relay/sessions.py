"""Sessions of the exchanges of one process: which each belongs to, where it goes first, and what is remembered of it.

    join(exchange, job) -> a Visit, where the request belongs to a conversation
    place(visit, model) -> the backend that has its cache, asked once for the first attempt only
    the exchange's end  -> who answered is remembered

A retry, a second attempt beside the first and the continuation of a broken stream go by the usual policy: affinity has
said what it had to say, and shall not bring anybody back to who has failed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from router.access.tenant import note_tenants
from router.backends.affinity import Affinity
from router.backends.backend import Backend
from router.backends.registry import Registry
from router.backends.sessions import Session, SessionFigures, SessionRules, Table, Verdict
from router.exchange import AttemptOutcome, Exchange
from router.relay.history import MAX_ID, keys_of
from router.relay.route import Job

SWEPT_AT_ONCE = 1000  # sessions that have expired, when somebody looks at the figures
# After these the backend has the request in its cache, whatever became of the answer.
ANSWERED = frozenset({AttemptOutcome.OK, AttemptOutcome.CLIENT_GONE, AttemptOutcome.DEADLINE, AttemptOutcome.SHUTDOWN})
# These say nothing of the backend: the request's own fault or ours, or another attempt was faster.
NEUTRAL = frozenset(
    {
        *(AttemptOutcome.CLIENT_ERROR, AttemptOutcome.FORBIDDEN, AttemptOutcome.SUPERSEDED),
        *(AttemptOutcome.INTERNAL, None),
    }
)
_LONGEST_NAME = 64  # bytes of a header's name that is looked at


@dataclass(eq=False, slots=True)
class Visit:
    """One request of a session."""

    session: Session
    prefix: bytes | None  # the key of all that it says, None where only an id is known
    was_at: str | None  # the backend that has it in its cache, None where nobody has
    verdict: Verdict | None = None  # None while nobody was asked


class Sessions:
    """What is known of sessions here."""

    def __init__(self, registry: Registry, rules: SessionRules, *, clock: Callable[[], float]) -> None:
        """`clock`: monotonic seconds."""
        self._clock = clock
        self._affinity = Affinity(registry)
        self._table = Table(rules)
        self._rules = rules

    def set_rules(self, rules: SessionRules) -> None:
        """Go by other rules from now on; where sessions are switched off, they are forgotten."""
        self._rules = rules
        self._table.set_rules(rules)

    @property
    def figures(self) -> SessionFigures | None:
        """Return what is told of sessions, None where they are off."""
        if not self._rules.enabled:
            return None
        self._table.expire(self._clock(), SWEPT_AT_ONCE)
        return self._table.figures()

    def join(self, exchange: Exchange, job: Job) -> bytes:
        """Find the session of a request; return the header line that tells its client, b"" where it has none.

        For a model that nobody serves there is none: who makes up models must not take the room of others.
        """
        if not exchange.known_model:
            return b""
        note_tenants((exchange,))
        tenant = exchange.tenant.encode(errors="surrogatepass")
        keys = keys_of(job.route.path, job.body, tenant=tenant, model=job.model, ident=self._ident(job.headers))
        if keys is None:
            return b""
        session, _ = self._table.find(keys, self._clock())
        prefix = keys.prefixes[0] if keys.prefixes else None
        job.visit = visit = Visit(session, prefix, session.where(keys.prefixes))
        exchange.session = session.name
        exchange.on_close += (partial(self._left, visit),)
        return f"X-Router-Session: {session.name}\r\n".encode()

    def place(self, visit: Visit, model: str | None) -> Backend | None:
        """Return who is to have a session's request first, None where the usual policy decides."""
        if not self._rules.affinity:
            return None
        if visit.session.is_lost:
            visit.verdict = Verdict.UNUSABLE
            return None
        backend, visit.verdict = self._affinity.place(
            model, was_at=visit.was_at, key=visit.session.key, now=self._clock()
        )
        return backend

    def _left(self, visit: Visit, exchange: Exchange) -> None:
        """Take in how an exchange ended."""
        if not exchange.attempts:
            return
        if visit.verdict is not None:
            self._table.verdicts[visit.verdict] += 1
        told = [each for each in exchange.attempts if each.outcome not in NEUTRAL]
        answered = [each.backend for each in told if each.outcome in ANSWERED]
        if visit.verdict is Verdict.UNUSABLE and visit.was_at is not None:
            self._table.forsake(visit.session, visit.was_at)
        if answered:
            self._table.remember(visit.session, visit.prefix, answered[-1])
        elif told:
            self._table.lose(visit.session)

    def _ident(self, headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
        """Return the id that a client gave: the first of the configured headers, None where there is none of them."""
        wanted, found, ident = self._rules.headers, len(self._rules.headers), None
        for name, value in headers:
            if len(name) > _LONGEST_NAME:
                continue
            low = name.lower()
            if low in wanted and wanted.index(low) < found and 0 < len(value) <= MAX_ID:
                found, ident = wanted.index(low), value
        return ident
