"""What one process counts of exchanges and of their tries, and how it is dumped.

What has ended is counted many at a time: sorted by all that labels tell, so that a count is looked for once for all
that are alike, and what is measured of them is taken as columns.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from router.ended import Alike, Ended
from router.exchange import Attempt, AttemptOutcome, Exchange, Outcome
from router.observe.exposition import Distribution, Sheet, label_text
from router.observe.states import MAX_MODELS, OTHER

# Bounds in seconds. Whole answers of language models take from milliseconds (embeddings, errors) to many minutes.
DURATION_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
FIRST_TOKEN_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
GAP_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
BACKEND_BOUNDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)  # of each backend
MAX_SERIES = 1000  # pairs of route and model: a bound on what a scrape costs, should a backend list models without end
MAX_ATTEMPTS = 10_000  # triples of backend, model and outcome; the same
MOST_MARKED = 8  # exchanges that ended together that are examples of what is counted, at most
NO_MODEL = "none"

_OK, _SUPERSEDED = AttemptOutcome.OK, AttemptOutcome.SUPERSEDED
Counted = TypeVar("Counted")


class _Series:
    """What is counted for one pair of route and model."""

    __slots__ = ("duration", "ended", "first", "labels")

    def __init__(self, labels: str) -> None:
        self.labels = labels
        self.duration = Distribution(DURATION_BOUNDS)
        self.first = Distribution(FIRST_TOKEN_BOUNDS)
        self.ended: defaultdict[tuple[int, Outcome | None], int] = defaultdict(int)


@dataclass(slots=True)
class _Tokens:
    """What the answers of one model have told of tokens."""

    answers: int = 0
    read: int = 0
    written: int = 0


class _Times:
    """How long one backend takes."""

    __slots__ = ("duration", "first", "labels")

    def __init__(self, labels: str) -> None:
        self.labels = labels
        self.duration = Distribution(BACKEND_BOUNDS)
        self.first = Distribution(BACKEND_BOUNDS)


@dataclass(slots=True)
class _Tried:
    """How many tries at a backend, for a model, ended in one way."""

    times: _Times
    labels: str
    count: int = 0


class Traffic:
    """Counts of exchanges, of their tries, and of what the answers were like."""

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        """Nothing is counted. `wall_clock`: seconds since 1970, for exemplars."""
        self._wall_clock = wall_clock
        self._series: dict[tuple[str, str], _Series] = {}
        self._gaps: dict[str, Distribution] = {}  # by model
        self._tokens: dict[str, _Tokens] = {}  # by model
        self._times: dict[str, _Times] = {}  # by backend
        self._bytes_in = self._bytes_out = self._events = 0
        self._attempts: dict[tuple[str, str, AttemptOutcome | None], _Tried] = {}  # by backend, model and outcome
        self._rules: defaultdict[str, int] = defaultdict(int)

    def exchanges_closed(self, ended: Ended) -> None:
        """Count exchanges, with all that their records tell, and their tries that went well; others are counted as
        they end."""
        for alike in ended.alike:
            self._count_alike(alike)
        for one in ended.others:
            self._count_other(one)

    def _count_alike(self, alike: Alike) -> None:
        way, count = alike.way, len(alike.exchanges)
        series = self._series_of(way.route, way.model)
        series.ended[way.status, Outcome.OK] += count
        series.duration.observe_many(alike.durations)
        series.first.observe_many(alike.firsts)
        self._bytes_in += sum(alike.bytes_in)
        self._bytes_out += sum(alike.bytes_out)
        self._events += sum(alike.events)
        if way.tells_tokens:
            self._count_tokens(way.model, count, sum(alike.tokens_in), sum(alike.tokens_out))
        if way.has_trace:
            self._mark(alike.exchanges, (series.duration, alike.durations), (series.first, alike.firsts))
        for rule in way.rules:
            self._rules[rule] += count
        only = alike.only_backend
        if only is not None:
            tried = self._tried_of(only, way.model, _OK)
            tried.count += count
            tried.times.duration.observe_many(alike.tries)
            tried.times.first.observe_many(alike.first_of_tries)
            return
        for backend, whole, first in zip(alike.backends, alike.tries, alike.first_of_tries, strict=True):
            tried = self._tried_of(backend, way.model, _OK)
            tried.count += 1
            tried.times.duration.observe(whole)
            tried.times.first.observe(first)

    def _count_other(self, one: Exchange) -> None:
        model, began = model_label(one), one.began
        series = self._series_of(one.route, model)
        series.ended[one.status, one.outcome] += 1
        told: list[tuple[Distribution, list[float]]] = []
        if one.closed is not None:
            told.append((series.duration, [one.closed - one.opened]))
        if began is not None:
            told.append((series.first, [began - one.opened]))
        for distribution, values in told:
            distribution.observe_many(values)
        self._mark([one], *told)
        self._bytes_in += one.bytes_in
        self._bytes_out += one.bytes_out
        self._events += one.events
        if isinstance(one.tokens, tuple):
            self._count_tokens(model, 1, *one.tokens)
        for rule in one.rules:
            self._rules[rule] += 1
        for attempt in one.attempts:
            if attempt.outcome is _OK:
                self.attempt_closed(attempt, model, began=began)

    def _count_tokens(self, model: str, answers: int, read: int, written: int) -> None:
        told = self._tokens.get(model) or _of_model(self._tokens, model, _Tokens)
        told.answers += answers
        told.read += read
        told.written += written

    def _mark(self, exchanges: list[Exchange], *told: tuple[Distribution, list[float]]) -> None:
        """Let exchanges be examples of what is told of each; those of a trace of which nobody else knows are none.

        Of many that ended together those that ended last, and the slowest: who looks at examples looks for such.
        """
        count = len(exchanges)
        numbers: Iterable[int] = range(count)
        if count > MOST_MARKED:
            durations = told[0][1]
            numbers = (durations.index(max(durations)), *range(count - MOST_MARKED + 1, count))
        known = [
            (number, one.trace_id)
            for number in numbers
            if (one := exchanges[number]).trace_id is not None
            and ((trace := one.trace) is None or trace.is_sampled or trace.parent_id is not None)
        ]
        if not known:
            return
        now = self._wall_clock()
        for distribution, values in told:
            bucket = distribution.bucket
            distribution.exemplars.update(
                {bucket(value := values[number]): (trace_id, value, now) for number, trace_id in known}
            )

    def attempt_closed(self, attempt: Attempt, model: str, *, began: float | None = None) -> None:
        """Count an attempt; `model` is what `model_label` returns, `began` when the exchange's answer began."""
        outcome = attempt.outcome
        tried = self._tried_of(attempt.backend, model, outcome)
        tried.count += 1
        if outcome is _OK and attempt.ended is not None:
            tried.times.duration.observe(attempt.ended - attempt.started)
        # Else it was another attempt's answer: that of the one before, or of the one beside.
        if began is not None and began >= attempt.started and outcome is not _SUPERSEDED:
            tried.times.first.observe(began - attempt.started)

    def event_gaps(self, exchange: Exchange) -> Distribution:
        """Return where seconds between events of a stream are counted."""
        return _of_model(self._gaps, model_label(exchange), partial(Distribution, GAP_BOUNDS))

    def settle_gaps(self) -> None:
        """Count the times between events that wait to be counted."""
        for one in self._gaps.values():
            one.settle()

    def add_exchanges(self, sheet: Sheet) -> None:
        """Add what is counted of exchanges."""
        series = list(self._series.values())
        ended = [
            (f"{one.labels},{label_text(status=str(status), outcome=_text(outcome))}", count)
            for one in series
            for (status, outcome), count in one.ended.copy().items()
        ]
        sheet.counter("router_requests", "Exchanges, by how they ended.", ended)
        sheet.histogram(
            "router_request_duration_seconds",
            "From a request's head to the end of its answer.",
            [(one.labels, one.duration) for one in series],
        )
        sheet.histogram(
            "router_time_to_first_token_seconds",
            "From a request's head to the beginning of its answer.",
            [(one.labels, one.first) for one in series],
        )
        self.settle_gaps()
        gaps = [(label_text(model=model), one) for model, one in self._gaps.copy().items() if any(one.counts)]
        sheet.histogram("router_time_between_events_seconds", "Between two events of a stream.", gaps)
        self._add_tokens(sheet)
        traffic = [(label_text(direction="in"), self._bytes_in), (label_text(direction="out"), self._bytes_out)]
        sheet.counter("router_body_bytes", "Bytes of bodies, from clients (in) and to them (out).", traffic)
        sheet.counter("router_events", "Events relayed to clients.", [("", self._events)])

    def _add_tokens(self, sheet: Sheet) -> None:
        tokens = [(model, one.answers, one.read, one.written) for model, one in self._tokens.copy().items()]
        told = [
            (label_text(model=model, direction=direction), count)
            for model, _, read, written in tokens
            for direction, count in (("in", read), ("out", written))
        ]
        meaning = "Tokens of prompts (in) and of answers (out), as the answers tell."
        sheet.counter("router_tokens", meaning, told)
        answers = [(label_text(model=model), count) for model, count, _, _ in tokens]
        sheet.counter("router_answers_with_usage", "Answers that have told their tokens.", answers)

    def add_attempts(self, sheet: Sheet) -> None:
        """Add what is counted of tries."""
        attempts = [(one.labels, one.count) for one in self._attempts.copy().values()]
        sheet.counter("router_attempts", "Tries at a backend, by how they ended.", attempts)
        times = list(self._times.values())
        sheet.histogram(
            "router_attempt_duration_seconds",
            "Tries that ended well, from their beginning to the end of the answer.",
            [(one.labels, one.duration) for one in times],
        )
        sheet.histogram(
            "router_attempt_time_to_first_token_seconds",
            "Tries, from their beginning to that of the answer.",
            [(one.labels, one.first) for one in times],
        )

    def add_rules(self, sheet: Sheet) -> None:
        """Add which rules have changed something."""
        rules = [(label_text(rule=rule), count) for rule, count in sorted(self._rules.copy().items())]
        sheet.counter("router_translations", "Exchanges that a rule of docs/translation.md has changed.", rules)

    def _series_of(self, route: str, model: str) -> _Series:
        series = self._series.get((route, model))
        if series is None:
            if len(self._series) >= MAX_SERIES:
                route = model = OTHER
            series = self._series.setdefault((route, model), _Series(label_text(route=route, model=model)))
        return series

    def _tried_of(self, backend: str, model: str, outcome: AttemptOutcome | None) -> _Tried:
        tried = self._attempts.get((backend, model, outcome))
        if tried is None:
            if len(self._attempts) >= MAX_ATTEMPTS:
                model = OTHER
            times = self._times.get(backend) or self._times.setdefault(backend, _Times(label_text(backend=backend)))
            labels = label_text(backend=backend, model=model, outcome=_text(outcome))
            tried = self._attempts.setdefault((backend, model, outcome), _Tried(times, labels))
        return tried


def model_label(exchange: Exchange) -> str:
    """Return the metrics' label for the model of an exchange: a client cannot make up new values."""
    if exchange.known_model and exchange.model is not None:
        return exchange.model
    return NO_MODEL if exchange.model is None else OTHER


def _text(outcome: Outcome | AttemptOutcome | None) -> str:
    return OTHER if outcome is None else outcome.value


def _of_model(counts: dict[str, Counted], model: str, new: Callable[[], Counted]) -> Counted:
    """Return what is counted for a model; what comes behind the last one that is told apart is "other"."""
    found = counts.get(model)
    if found is None:
        found = counts.setdefault(model if len(counts) < MAX_MODELS else OTHER, new())
    return found
