"""What happened lately, for people who look: the last minutes in slices of time, and the last answers that went wrong.

    Recent of each process -> Told -> joined over all workers -> the status page

It is counted always, so that the plots are there when somebody comes; what it keeps is bounded, whatever comes. Times
are monotonic seconds, which all processes of a machine share, so that slices of several workers are of the same time.
What a worker has counted ends with it.
"""

from bisect import bisect, bisect_left
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from math import inf

from router.ended import Alike, Ended
from router.exchange import AttemptOutcome, Exchange, Outcome

SPAN = 2.0  # seconds of a slice
SLICES = 150  # told: five minutes
MINUTE = 60.0  # seconds for which the tries at each backend are told
LAP = 10.0  # seconds of a slice of them: there may be many backends
LAPS = int(MINUTE / LAP)
INCIDENTS = 50  # of each process, and told of all
TURNS = 50  # the same
TOGETHER = 5.0  # seconds within which several processes see the same
LONGEST = 128  # characters of a text of an incident
BINS = 4  # per doubling of a time: a time read from its bin is at most 9 % off
LEAST = 1e-4  # seconds: all shorter times are one bin
DOUBLINGS = 30  # more than a day: all longer times are one bin too

FAILED = frozenset({Outcome.BACKEND_ERROR, Outcome.NO_BACKEND, Outcome.BROKEN, Outcome.TIMEOUT, Outcome.INTERNAL})
# Tries that say nothing against the backend; to be full is told, though nothing is broken.
NOBODYS_FAULT = frozenset(
    {
        *(AttemptOutcome.OK, AttemptOutcome.CLIENT_ERROR, AttemptOutcome.FORBIDDEN, AttemptOutcome.CLIENT_GONE),
        *(AttemptOutcome.DEADLINE, AttemptOutcome.SHUTDOWN, AttemptOutcome.SUPERSEDED, AttemptOutcome.INTERNAL),
    }
)

Bins = dict[int, int]  # how many times fell into each bin

_EDGES = tuple(LEAST * 2 ** (number / BINS) for number in range(1, BINS * DOUBLINGS))
bin_of = partial(bisect, _EDGES)  # returns the bin of a time in seconds
_OK, _TRY_OK = Outcome.OK, AttemptOutcome.OK


@dataclass(slots=True)
class Slice:
    """What ended in one span of time."""

    number: int  # since the clock's zero
    requests: int = 0
    failed: int = 0
    first: Bins = field(default_factory=lambda: defaultdict(int))  # time to the first token
    whole: Bins = field(default_factory=lambda: defaultdict(int))  # of answers that ended well


@dataclass(slots=True)
class Tries:
    """Tries at one backend."""

    count: int = 0
    failed: int = 0
    answered: int = 0  # of those whose time to the first token is known
    first: float = 0.0  # the sum of those times, in seconds

    def answer_well(self, count: int, first: float) -> None:
        """Add tries that were answered, and the sum of their times to the first token, in seconds."""
        self.count += count
        self.answered += count
        self.first += first

    def add(self, other: "Tries") -> None:
        """Add others to them."""
        self.count += other.count
        self.failed += other.failed
        self.answered += other.answered
        self.first += other.first


@dataclass(frozen=True, slots=True)
class Incident:
    """An answer that went wrong, or that broke and was finished elsewhere. No client is named."""

    at: float  # seconds since 1970
    id: str
    route: str
    model: str | None  # None where no backend has listed it
    status: int
    outcome: str
    error: str | None  # the code that the client was told
    seconds: float  # from the request's head to the end
    resumed: int  # how often it was continued on another backend
    tries: tuple[tuple[str, str], ...]  # backend and outcome


@dataclass(frozen=True, slots=True)
class Turn:
    """A backend that became worse or better, or was ordered to."""

    at: float  # seconds since 1970
    backend: str
    kind: str  # "health", "breaker" ...
    before: str
    after: str
    cause: str


@dataclass(frozen=True, slots=True)
class Told:
    """What one process tells, or several together."""

    in_flight: int = 0  # exchanges not yet closed
    workers: int = 1  # processes that it comes from
    slices: tuple[Slice, ...] = ()  # by number; those in which nothing ended are missing
    tries: dict[str, Tries] = field(default_factory=dict)  # of the last minute, by backend
    incidents: tuple[Incident, ...] = ()  # oldest first
    turns: tuple[Turn, ...] = ()  # oldest first
    sessions: dict[str, int] | None = None  # counts of conversations; None where they are off


class Recent:
    """Counts what happens in one process."""

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        """Nothing has happened. `wall_clock`: seconds since 1970."""
        self._wall_clock = wall_clock
        self._slice = Slice(-1)
        self._until = -inf  # when the slice is over
        self._slices: deque[Slice] = deque(maxlen=SLICES + 1)  # and the one that is not over
        self._lap: dict[str, Tries] = {}
        self._lap_number = -1
        self._laps: deque[tuple[int, dict[str, Tries]]] = deque(maxlen=LAPS + 1)
        self._incidents: deque[Incident] = deque(maxlen=INCIDENTS)
        self._turns: deque[Turn] = deque(maxlen=TURNS)

    def turned(self, backend: str, kind: str, before: str, after: str, cause: str) -> None:
        """Keep what has changed of a backend."""
        self._turns.append(Turn(self._wall_clock(), backend, kind, before, after, cause))

    def exchanges_closed(self, ended: Ended) -> None:
        """Count exchanges."""
        exchanges = ended.exchanges
        if exchanges and _closed(exchanges[-1]) >= self._until:  # not all of them belong to the slice that there is
            for one in exchanges:
                if _closed(one) >= self._until:
                    self._turn(_closed(one))
                self._count_one(one)
        else:
            for alike in ended.alike:
                self._count_alike(alike)
            for one in ended.others:
                self._count_one(one)

    def _count_alike(self, alike: Alike) -> None:
        current, only = self._slice, alike.only_backend
        current.requests += len(alike.exchanges)
        _count_bins(current.first, sorted(alike.firsts))
        _count_bins(current.whole, sorted(alike.durations))
        if only is not None:
            self._tries_at(only).answer_well(len(alike.exchanges), sum(alike.first_of_tries))
            return
        for backend, first in zip(alike.backends, alike.first_of_tries, strict=True):
            self._tries_at(backend).answer_well(1, first)

    def _count_one(self, one: Exchange) -> None:
        current, began, outcome = self._slice, one.began, one.outcome
        current.requests += 1
        if began is not None:
            current.first[bin_of(began - one.opened)] += 1
        if outcome is _OK:
            current.whole[bin_of(_closed(one) - one.opened)] += 1
        current.failed += outcome in FAILED
        if one.resumed or outcome in FAILED:
            self._incidents.append(incident(one, self._wall_clock()))
        for attempt in one.attempts:
            tries = self._tries_at(attempt.backend)
            tries.count += 1
            if attempt.outcome is _TRY_OK:
                # A broken answer had begun elsewhere, before this try did.
                if began is not None and began >= attempt.started:
                    tries.answered += 1
                    tries.first += began - attempt.started
            elif attempt.outcome not in NOBODYS_FAULT:
                tries.failed += 1

    def _tries_at(self, backend: str) -> Tries:
        tries = self._lap.get(backend)
        if tries is None:
            tries = self._lap[backend] = Tries()
        return tries

    def _turn(self, now: float) -> None:
        """Begin another slice, and another lap when its time has come."""
        number = int(now / SPAN)
        self._slice, self._until = Slice(number), (number + 1) * SPAN
        self._slices.append(self._slice)
        number = int(now / LAP)
        if number != self._lap_number:
            self._lap_number, self._lap = number, {}
            self._laps.append((number, self._lap))

    def told(self, in_flight: int, now: float, *, sessions: dict[str, int] | None = None) -> Told:
        """Return what is told at `now`. It is what goes on being counted: read it before anything else is counted."""
        oldest, first_lap = int(now / SPAN) - SLICES, int(now / LAP) - LAPS
        tries: dict[str, Tries] = defaultdict(Tries)
        for number, lap in self._laps:
            if number >= first_lap:
                _add_tries(tries, lap)
        slices = tuple(each for each in self._slices if each.number >= oldest)
        turns = tuple(self._turns)
        return Told(in_flight, 1, slices, dict(tries), tuple(self._incidents), turns, sessions)


def incident(exchange: Exchange, wall: float) -> Incident:
    """Return what is kept of an exchange, in few and short texts."""
    return Incident(
        wall,
        exchange.id[:LONGEST],
        exchange.route[:LONGEST],
        exchange.model[:LONGEST] if exchange.known_model and exchange.model is not None else None,
        exchange.status,
        "unknown" if exchange.outcome is None else exchange.outcome.value,
        None if exchange.error is None else exchange.error[:LONGEST],
        (exchange.closed or exchange.opened) - exchange.opened,
        exchange.resumed,
        tuple((each.backend, "" if each.outcome is None else each.outcome.value) for each in exchange.attempts[-8:]),
    )


def joined(tellings: Iterable[Told]) -> Told:
    """Return what several processes tell as one; what they told is left alone."""
    in_flight = workers = 0
    slices: dict[int, Slice] = {}
    tries: dict[str, Tries] = defaultdict(Tries)
    incidents: list[Incident] = []
    turns: list[Turn] = []
    sessions: dict[str, int] | None = None
    for told in tellings:
        in_flight += told.in_flight
        workers += told.workers
        incidents += told.incidents
        turns += told.turns
        _add_tries(tries, told.tries)
        if told.sessions is not None:
            had = sessions or {}
            sessions = {name: count + had.get(name, 0) for name, count in told.sessions.items()}
        for each in told.slices:
            into = slices.setdefault(each.number, Slice(each.number))
            into.requests += each.requests
            into.failed += each.failed
            _add_bins(into.first, each.first)
            _add_bins(into.whole, each.whole)
    incidents.sort(key=lambda each: each.at)
    ordered = tuple(slices[number] for number in sorted(slices))
    return Told(in_flight, workers, ordered, dict(tries), tuple(incidents[-INCIDENTS:]), _once(turns), sessions)


def _once(turns: list[Turn]) -> tuple[Turn, ...]:
    """Return them oldest first; what several processes have seen at about the same time is one."""
    found: list[Turn] = []
    seen: dict[tuple[str, str, str, str], float] = {}
    for each in sorted(turns, key=lambda each: each.at):
        what = (each.backend, each.kind, each.before, each.after)
        if each.at - seen.get(what, -TOGETHER) >= TOGETHER:
            seen[what] = each.at
            found.append(each)
    return tuple(found[-TURNS:])


def _add_tries(into: dict[str, Tries], more: dict[str, Tries]) -> None:
    for name, tries in more.items():
        into[name].add(tries)


def _closed(exchange: Exchange) -> float:
    return exchange.closed or 0.0


def _count_bins(bins: Bins, times: list[float]) -> None:
    """Count times, which rise: a bin is looked for once for all that fall into it."""
    begin = 0
    while begin < len(times):
        number = bin_of(times[begin])
        end = bisect_left(times, _EDGES[number], begin) if number < len(_EDGES) else len(times)
        bins[number] += end - begin
        begin = end


def _add_bins(into: Bins, more: Bins) -> None:
    for number, count in more.items():
        into[number] += count


def share_of(bins: Bins, part: float) -> float | None:
    """Return the time, in seconds, that this part (0 to 1) of all in the bins stay within; None where there are none.

    It is the middle of its bin.
    """
    left = sum(bins.values()) * part
    for number in sorted(bins):
        left -= bins[number]
        if left <= 0:
            return float(LEAST * 2 ** ((number + 0.5) / BINS))
    return None
