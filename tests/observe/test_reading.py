"""Rules of router/observe/reading.py."""

from types import NoneType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.exchange import Attempt, AttemptOutcome, Outcome
from router.observe.lines import access_fields, text_line
from router.observe.reading import Mood, for_people, from_people, mood_of, plain
from tests.observe.test_logs import exchange

LINE: dict[str, Any] = {
    "time": "t", "logger": "router.access", "status": 502, "method": "POST", "route": "/v1/chat/completions",
    "outcome": "backend_error", "duration": 1.5,
    "attempts": [{"backend": "a", "outcome": "server_error", "status": 500}, {"backend": "b", "outcome": "refused"}],
}  # fmt: skip


def test_attempts_are_told_with_what_they_got() -> None:
    assert for_people(LINE) == (
        "t INFO router.access: 502 POST /v1/chat/completions outcome=backend_error duration=1.500s"
        " attempts=a:server_error(500),b:refused"
    )


def test_a_client_that_left_before_any_status_has_a_dash() -> None:
    assert " router.access: - POST " in for_people({**LINE, "status": 0})


def test_a_field_that_is_not_known_is_told_at_the_end() -> None:
    assert for_people({**LINE, "new thing": [1, "a b"]}).endswith(r' "new thing"="[1, \"a b\"]"')


def test_an_application_line_shows_its_traceback_below() -> None:
    fields = {"time": "t", "level": "error", "logger": "router.app", "message": "a\nb", "traceback": "c\n\x1bd"}
    line = for_people(fields)

    assert line == "t ERROR router.app: a\\nb\n    c\n    \\x1bd"


@pytest.mark.parametrize("outcome", ["ok", "client_gone", "broken", None])
def test_colours_follow_the_outcome(outcome: str | None) -> None:
    assert f"{mood_of(outcome).value}502 POST" in for_people({**LINE, "outcome": outcome}, colour=True)
    assert (mood_of("ok"), mood_of("rejected"), mood_of("broken")) == (Mood.GOOD, Mood.SO_SO, Mood.BAD)


HOSTILE = ["\x1b[2J", "\n", "\u2028", "\x9b", "\ud800", {"a": "\x1b"}, ["\x1b"], None, 1e999, -1, True]


@pytest.mark.parametrize("name", ["time", "logger", "worker", "status", "method", "attempts", "duration", "x\n"])
@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_nothing_in_a_file_can_speak_to_the_terminal(name: str, value: object) -> None:
    assert for_people({**LINE, name: value}).isprintable()


@pytest.mark.parametrize("name", ["time", "level", "message", "logger", "worker"])
@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_nothing_in_an_application_line_can_either(name: str, value: object) -> None:
    assert for_people({"message": "m", **LINE, name: value}).isprintable()


WHEN = "2026-01-31T12:00:00.123Z"
TEXTS = st.one_of(
    st.text(), st.text(' "\\\\=[]:,-\n\u2028\x1b\ud800é'), st.sampled_from(["null", "True", "-", "1", "{}"])
)
SECONDS = st.floats(0.0, 1e6)
COUNTS = st.integers(0, 10**12)
ATTEMPTS = st.builds(
    Attempt,
    backend=st.from_regex(r"[a-zA-Z0-9._:/-]{1,20}", fullmatch=True),
    started=st.just(0.0),
    outcome=st.one_of(st.none(), st.sampled_from(AttemptOutcome)),
    status=st.one_of(st.none(), st.integers(100, 599)),
    ended=st.one_of(st.none(), SECONDS),
)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("id", "client", "tenant", "client_cert", "method", "route", "path", "error", "param"), TEXTS),
        **dict.fromkeys(("trace_id", "session", "model"), st.one_of(st.none(), TEXTS)),
        **dict.fromkeys(("bytes_in", "bytes_out", "events"), COUNTS),
        **dict.fromkeys(("queued", "began"), SECONDS),
        **dict.fromkeys(("stream", "hedged"), st.booleans()),
        "status": st.one_of(st.just(0), st.integers(100, 599)),
        "outcome": st.sampled_from(Outcome),
        "tokens": st.tuples(COUNTS, COUNTS),
        "resumed": st.integers(0, 3),
        "resume_mode": st.sampled_from(["text", "exact"]),
        "rules": st.sets(st.sampled_from(["R1", "R20", "S3"])),
        "headers": st.dictionaries(TEXTS, TEXTS),
        "attempts": st.lists(ATTEMPTS, max_size=3),
    },
)
WORKERS = st.one_of(st.none(), st.integers(0, 99))


@given(CHANGES, WORKERS, st.one_of(st.none(), st.floats(0.001, 1.0)))
def test_the_line_of_an_exchange_can_be_read_back(
    changes: dict[str, Any], worker: int | None, sample: float | None
) -> None:
    one = exchange(**changes)
    line = text_line(one, WHEN, worker, sample).decode().removesuffix("\n")
    fields = access_fields(one, WHEN, worker, sample)
    told = from_people(line)

    assert told is not None
    assert for_people(told) == line, "nothing that the line tells is lost"
    attempts, those = told.pop("attempts"), fields.pop("attempts")
    assert [(each["backend"], each["outcome"]) for each in attempts] == [
        (each["backend"], str(each["outcome"])) for each in those
    ]
    for name in ("duration", "first", "queued"):
        assert told.pop(name, None) == pytest.approx(fields.pop(name, None), abs=0.00051)
    left_out = {name: None for name, value in fields.items() if value is None or name in ("stream", "events")}
    assert {**fields, **left_out} == {**left_out, **told, **dict.fromkeys(("stream", "events"))}


@given(
    TEXTS,
    st.sampled_from(["debug", "info", "warning", "error", "critical", "level 15"]),
    st.one_of(st.from_regex(r"[a-z_]{1,9}(\.[a-z_]{1,9}){0,2}", fullmatch=True), st.just("a [b]")),
    WORKERS,
)
def test_an_application_line_can_be_read_back(message: str, level: str, logger: str, worker: int | None) -> None:
    fields: dict[str, Any] = {"time": WHEN, "level": level, "logger": logger, "message": message}
    fields["traceback"] = "a\nb"
    if worker is not None:
        fields["worker"] = worker
    first, *below = for_people(fields).split("\n")

    del fields["traceback"]
    assert from_people(first) == {**fields, "message": plain(message)}
    assert [from_people(each) for each in below] == [None, None]


@pytest.mark.parametrize(
    "line",
    [
        *("", "no line of ours", "    below", "2026-01-31 12:00:00 INFO router.app: x", f"{WHEN} router.app: x"),
        *(f"{WHEN} info router.app: x", f"Jan 31 host router[1]: {WHEN} INFO router.app: x", f"x{WHEN} INFO a: b"),
        *(f"{WHEN} INFO router.access: ", f"{WHEN} INFO router.access: 200 POST", f"{WHEN} INFO router.access: x y z"),
        *(f"{WHEN} INFO router.access: 200 POST /v1 {rest}" for rest in ("", "x", "a=b ", "a=", 'a="', "duration=x")),
        *(
            f"{WHEN} INFO router.access: 200 POST /v1 {rest}"
            for rest in (r'a="\x"', "attempts=a", "headers={", "a=b=c")
        ),
        f"{WHEN} INFO router.access: 200 POST /v1 events={'9' * 5000}",
    ],
)
def test_whatever_has_another_form_is_no_line_of_ours(line: str) -> None:
    assert from_people(line) is None


@given(st.text(), st.text(' "\\\\=[]:,(-sok'))
def test_whatever_a_line_holds_it_can_be_read(anything: str, value: str) -> None:
    for line in (anything, f"{WHEN} {anything}", f"{WHEN} INFO router.access: 200 POST / {value}"):
        assert isinstance(from_people(line), dict | NoneType)
    for name in ("attempts", "duration", "events", "headers", "x"):
        assert isinstance(from_people(f"{WHEN} INFO router.access: 200 POST / {name}={value}"), dict | NoneType)
