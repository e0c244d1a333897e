"""Rules of router/observe/access.py."""

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.exchange import Attempt, AttemptOutcome, Exchange, Outcome, Trace
from router.observe import access
from router.observe.access import AccessLines
from router.observe.lines import Clock, json_line, text_line, went_well

AHEAD = 1_790_000_000.0
USUAL: dict[str, Any] = {
    **{"client": "10.0.0.9", "model": "m", "known_model": True, "status": 200, "bytes_in": 20, "bytes_out": 3000},
    **{"tokens": (7, 5), "began": 100.25, "closed": 103.0, "outcome": Outcome.OK},
}
seconds = st.floats(0.0, 1000.0)
SIGNS = ["", "abc", "100%b", "::1", 'a"b', "é\x7f\u2028", "lone \ud800"]
texts = st.one_of(st.sampled_from(SIGNS), st.text(max_size=9))
SELDOM: dict[str, st.SearchStrategy[Any]] = {
    "client": texts,
    "client_cert": st.one_of(st.none(), texts),
    "path": texts,
    "model": st.one_of(st.none(), texts),
    "known_model": st.booleans(),
    "stream": st.booleans(),
    "status": st.sampled_from([0, 200, 404, 503]),
    "bytes_in": st.integers(0, 2**40),
    "bytes_out": st.integers(0, 2**40),
    "events": st.integers(0, 10_000),
    "tokens": st.one_of(st.none(), st.tuples(st.integers(0, 10**12), st.integers(0, 10**12))),
    "began": st.one_of(st.none(), seconds.map(lambda each: 100.0 + each)),
    "closed": st.one_of(st.none(), seconds.map(lambda each: 100.0 + each)),
    "outcome": st.sampled_from([None, *Outcome]),
    "error": st.one_of(st.none(), texts),
    "param": st.one_of(st.none(), texts),
    "queued": seconds,
    "session": st.one_of(st.none(), texts),
    "resumed": st.integers(0, 2),
    "resume_mode": st.one_of(st.none(), texts),
    "trace": st.one_of(st.none(), st.builds(Trace, st.just("a" * 32), st.none(), st.booleans())),
    "hedged": st.booleans(),
    "rules": st.sets(st.sampled_from(["R1", "R10", "R2", "S3"])),
    "headers": st.one_of(st.none(), st.dictionaries(texts, texts, max_size=2)),
}
attempts = st.builds(
    Attempt,
    st.sampled_from(["a:1", "b:1", 'we"ird%d']),
    seconds,
    st.sampled_from([None, *AttemptOutcome]),
    st.sampled_from([None, 200, 503]),
    st.one_of(st.none(), seconds.map(lambda each: 1000.0 + each)),
)


def usual(ident: str = "req-1", **changes: Any) -> Exchange:
    one = Exchange(ident, "/v1/chat/completions", "POST", 100.0)
    one.attempts = [Attempt("a:1", 100.001, AttemptOutcome.OK, 200, 102.9)]
    for name, value in {**USUAL, **changes}.items():
        setattr(one, name, value)
    return one


def one_by_one(exchanges: list[Exchange], worker: int | None, sample: float | None) -> list[bytes]:
    """The lines as lines.py makes them."""
    clock = Clock()
    return [
        json_line(one, clock.text((one.closed or 0.0) + AHEAD), worker, sample if went_well(one) else None)
        for one in exchanges
    ]


@st.composite
def exchanges(draw: st.DrawFn) -> Exchange:
    """One that differs from the usual in some things, or in none."""
    names = draw(st.lists(st.sampled_from(sorted(SELDOM)), max_size=3))
    one = usual(draw(st.one_of(st.just("req-1"), texts)), **{name: draw(SELDOM[name]) for name in names})
    if draw(st.integers(0, 2)) == 0:
        one.attempts = draw(st.lists(attempts, max_size=2))
    return one


@settings(max_examples=300, deadline=None)
@given(st.lists(exchanges(), max_size=6), st.sampled_from([None, 3]), st.sampled_from([None, 0.25]))
def test_lines_made_together_are_those_that_are_made_one_by_one(
    made: list[Exchange], worker: int | None, sample: float | None
) -> None:
    lines = AccessLines(worker, sample)

    assert lines.json(made, AHEAD) == one_by_one(made, worker, sample)
    assert lines.json(made, AHEAD) == one_by_one(made, worker, sample), "with what was kept of the first time"


def test_every_field_of_an_exchange_is_tried() -> None:
    """A new one may have a place in the line."""
    fixed = {"id", "route", "method", "opened", "attempts", "on_close"}

    assert {each.name for each in fields(Exchange)} == fixed | set(SELDOM)


def test_the_usual_exchanges_share_what_is_kept_and_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "MAX_KEPT", 8)
    lines = AccessLines()
    lines.json([usual(f"req-{number}", bytes_in=number, closed=103.0 + number) for number in range(100)], AHEAD)
    assert len(lines._templates) == 1

    made = [usual(model=f"m-{number}") for number in range(100)]
    assert lines.json(made, AHEAD) == one_by_one(made, None, None)
    assert 1 <= len(lines._templates) <= 8


def test_what_is_not_usual_keeps_nothing() -> None:
    """Else clients could fill the memory with models that nobody has."""
    lines = AccessLines()
    lines.json([usual(known_model=False), usual(outcome=Outcome.BROKEN), usual(attempts=[])], AHEAD)

    assert lines._templates == {}


def test_lines_for_people_are_made_one_by_one() -> None:
    one = usual()
    time = Clock().text(103.0 + AHEAD)

    assert AccessLines(3, 0.25).text([one, one], AHEAD) == [text_line(one, time, 3, 0.25)] * 2
