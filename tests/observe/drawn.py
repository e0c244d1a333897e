"""Exchanges that have ended, by chance: each differs from the usual in some things, or in none."""

from typing import Any

from hypothesis import strategies as st

from router.exchange import Attempt, AttemptOutcome, Exchange, Outcome, Trace

USUAL: dict[str, Any] = {
    **{"client": "10.0.0.9", "tenant": "10.0.0.9", "model": "m", "known_model": True, "status": 200},
    **{"bytes_in": 20, "bytes_out": 3000},
    **{"tokens": (7, 5), "began": 100.25, "closed": 103.0, "outcome": Outcome.OK},
}
seconds = st.floats(0.0, 1000.0)
SIGNS = ["", "abc", "100%b", "::1", 'a"b', "é\x7f\u2028", "lone \ud800"]
texts = st.one_of(st.sampled_from(SIGNS), st.text(max_size=9))
SELDOM: dict[str, st.SearchStrategy[Any]] = {
    "client": texts,
    "tenant": st.one_of(st.just("key:" + "0f" * 12), texts),
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
    "traceparent": st.none(),  # it was read
    "credentials": st.just(""),  # they were read
    "trace_id": st.sampled_from([None, "a" * 32, "b" * 32]),
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


@st.composite
def exchanges(draw: st.DrawFn) -> Exchange:
    """One that differs from the usual in some things, or in none."""
    names = draw(st.lists(st.sampled_from(sorted(SELDOM)), max_size=3))
    one = usual(draw(st.one_of(st.just("req-1"), texts)), **{name: draw(SELDOM[name]) for name in names})
    one.attempts[0].backend = draw(st.sampled_from(["a:1", "b:1", 'we"ird%d']))
    if draw(st.integers(0, 2)) == 0:
        one.attempts = draw(st.lists(attempts, max_size=2))
    return one
