"""Exchanges that have ended, many at a time, sorted by the way they went. Pure.

Nearly all are answered well by the first backend that was asked. Of those a batch has a few ways at most: who counts
them, or tells of them, looks once for what all of one way have in common, and takes what is measured as columns.

    exchanges -> sort -> Ended: Alike, Alike ... and the others, one by one
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from router.exchange import AttemptOutcome, Exchange, Outcome

_OK, _TRY_OK = Outcome.OK, AttemptOutcome.OK


class Way(NamedTuple):
    """What exchanges have in common that were answered well, from beginning to end, by the first backend asked.

    Which one that was is no part of it: where there are many, few exchanges of a batch have the same.
    """

    method: str
    route: str
    model: str  # that a backend has listed
    is_stream: bool
    status: int
    backend_status: int | None
    tells_tokens: bool
    has_trace: bool
    is_plain: bool  # of all that is seldom to be told there is nothing
    rules: tuple[str, ...]


@dataclass(slots=True, eq=False)
class Alike:
    """Exchanges that went one way; the columns have one value for each of them. Times are seconds."""

    way: Way
    exchanges: list[Exchange] = field(default_factory=list)
    backends: list[str] = field(default_factory=list)
    durations: list[float] = field(default_factory=list)  # from the request's head to the end of its answer
    firsts: list[float] = field(default_factory=list)  # from the request's head to the beginning of its answer
    tries: list[float] = field(default_factory=list)  # how long its one try took
    first_of_tries: list[float] = field(default_factory=list)  # from its beginning to that of the answer
    bytes_in: list[int] = field(default_factory=list)
    bytes_out: list[int] = field(default_factory=list)
    events: list[int] = field(default_factory=list)
    tokens_in: list[int] = field(default_factory=list)  # empty where the answers do not tell them
    tokens_out: list[int] = field(default_factory=list)

    def measure(self) -> None:
        """Fill the columns; what may be None elsewhere is not here."""
        exchanges = self.exchanges
        tries, begun = [one.attempts[0] for one in exchanges], [one.began or 0.0 for one in exchanges]
        self.backends = [tried.backend for tried in tries]
        self.durations = [(one.closed or 0.0) - one.opened for one in exchanges]
        self.firsts = [began - one.opened for one, began in zip(exchanges, begun, strict=True)]
        self.tries = [(tried.ended or 0.0) - tried.started for tried in tries]
        self.first_of_tries = [began - tried.started for tried, began in zip(tries, begun, strict=True)]
        self.bytes_in, self.bytes_out = [one.bytes_in for one in exchanges], [one.bytes_out for one in exchanges]
        self.events = [one.events for one in exchanges]
        if self.way.tells_tokens:
            tokens = [one.tokens for one in exchanges if isinstance(one.tokens, tuple)]
            self.tokens_in, self.tokens_out = [read for read, _ in tokens], [written for _, written in tokens]

    @property
    def only_backend(self) -> str | None:
        """Return which backend has answered all of them, None where several have."""
        first = self.backends[0]
        return first if self.backends.count(first) == len(self.backends) else None


@dataclass(slots=True)
class Ended:
    """A batch of exchanges."""

    exchanges: Sequence[Exchange]  # all of them, in the order in which they were closed
    with_alike: list[Alike | None]  # where each is, None of the others
    alike: list[Alike]
    others: list[Exchange]


def sort(exchanges: Sequence[Exchange]) -> Ended:
    """Return exchanges, given in the order in which they were closed, sorted by the way they went."""
    found: dict[tuple[Any, ...], Alike] = {}
    with_alike: list[Alike | None] = []
    others: list[Exchange] = []
    for one in exchanges:
        attempts, began = one.attempts, one.began
        tried = attempts[0] if len(attempts) == 1 else None
        if (
            tried is None
            or one.outcome is not _OK
            or tried.outcome is not _TRY_OK
            or (began is None or began < tried.started or tried.ended is None or one.closed is None)
            or not one.known_model
            or one.model is None
            or one.resumed
        ):
            with_alike.append(None)
            others.append(one)
            continue
        # In the order of Way's fields; a tuple is made in a tenth of the time, and is equal to it.
        way = (
            one.method, one.route, one.model, one.stream, one.status, tried.status,
            type(one.tokens) is tuple, one.trace_id is not None,
            one.error is None and one.session is None
            and not (one.path or one.param or one.client_cert or one.queued or one.headers or one.hedged),
            (*one.rules,) if one.rules else (),
        )  # fmt: skip
        alike = found.get(way)
        if alike is None:
            alike = found[way] = Alike(Way._make(way))
        alike.exchanges.append(one)
        with_alike.append(alike)
    for alike in found.values():
        alike.measure()
    return Ended(exchanges, with_alike, list(found.values()), others)
