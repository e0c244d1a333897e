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
    rows: list[tuple[Any, ...]] = field(default_factory=list)  # of each one what the columns have, in their order
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

    def fill_columns(self) -> None:
        """Turn the rows into columns."""
        columns = map(list, zip(*self.rows, strict=True))
        self.rows = []
        self.exchanges, self.backends = next(columns), next(columns)
        self.durations, self.firsts, self.tries, self.first_of_tries = (next(columns) for _ in range(4))
        self.bytes_in, self.bytes_out, self.events, tokens = columns
        if self.way.tells_tokens:
            self.tokens_in, self.tokens_out = map(list, zip(*tokens, strict=True))

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
    """Return exchanges, of which tokens were read, in the order in which they were closed, sorted by how they went."""
    found: dict[tuple[Any, ...], Alike] = {}
    with_alike: list[Alike | None] = []
    others: list[Exchange] = []
    for one in exchanges:
        attempts, began, closed, model, tokens = one.attempts, one.began, one.closed, one.model, one.tokens
        tried = attempts[0] if len(attempts) == 1 else None
        if (
            tried is None
            or one.outcome is not _OK
            or tried.outcome is not _TRY_OK
            or (began is None or began < (started := tried.started) or closed is None or (ended := tried.ended) is None)
            or (model is None or not one.known_model)
            or one.resumed
        ):
            with_alike.append(None)
            others.append(one)
            continue
        # In the order of Way's fields; a tuple is made in a tenth of the time, and is equal to it.
        way = (
            one.method, one.route, model, one.stream, one.status, tried.status,
            tokens is not None, one.trace_id is not None,
            one.error is None and one.session is None
            and not (one.path or one.param or one.client_cert or one.queued or one.headers or one.hedged),
            (*one.rules,) if one.rules else (),
        )  # fmt: skip
        alike = found.get(way)
        if alike is None:
            alike = found[way] = Alike(Way._make(way))
        opened = one.opened
        alike.rows.append(
            (
                one, tried.backend, closed - opened, began - opened, ended - started, began - started,
                one.bytes_in, one.bytes_out, one.events, tokens,
            )
        )  # fmt: skip
        with_alike.append(alike)
    for alike in found.values():
        alike.fill_columns()
    return Ended(exchanges, with_alike, list(found.values()), others)
