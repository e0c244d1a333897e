"""Rules of router/observe/lines.py."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.exchange import AttemptOutcome, Outcome
from router.observe.lines import MAX_VALUE, Clock, access_fields, json_line, micro, text_line
from tests.observe.test_logs import exchange

DOCS = Path(__file__).resolve().parents[2] / "docs" / "operations.md"


def test_an_access_line_tells_the_whole_exchange() -> None:
    assert json.loads(json_line(exchange(), "2026-01-31T00:00:00.000Z")) == {
        "time": "2026-01-31T00:00:00.000Z",
        "logger": "router.access",
        "id": "req-1",
        "client": "10.0.0.9",
        "tenant": "key:0f",
        "method": "POST",
        "route": "/v1/chat/completions",
        "model": "devstral",
        "stream": True,
        "status": 200,
        "outcome": "ok",
        "error": None,
        "duration": 3.0,
        "first": 0.25,
        "bytes_in": 20,
        "bytes_out": 3000,
        "events": 12,
        "attempts": [
            {"backend": "a:8000", "outcome": "refused", "status": None, "duration": 0.001},
            {"backend": "b:8000", "outcome": "ok", "status": 200, "duration": 2.999},
        ],
    }


def test_an_exchange_without_an_attempt_has_a_line_too() -> None:
    fields = json.loads(json_line(exchange(attempts=[], model=None, began=None, status=404), ""))

    assert (fields["attempts"], fields["model"], fields["first"], fields["status"]) == ([], None, None, 404)


def test_a_line_tells_the_rules_of_translation_in_their_order_and_the_place_of_an_error() -> None:
    fields = json.loads(
        json_line(exchange(rules={"S1", "R10", "R2"}, error="unsupported_value", param="messages.1"), "")
    )

    assert (fields["rules"], fields["param"]) == ("R2,R10,S1", "messages.1")


HOSTILE = [
    *('a"b\\', "two\nlines\r\n", "\x1b[2Jescape", "\x9b31m", "\u2028", "\x7f", "é\x85\u202egnp"),
    *("lone \ud800 surrogate", "x" * 100_000, ""),
]


@pytest.mark.row(65)
@pytest.mark.parametrize("value", HOSTILE)
def test_what_a_client_chose_cannot_break_a_json_line(value: str) -> None:
    line = json_line(exchange(model=value, id=value), "now")

    assert line.count(b"\n") == 1
    assert line.endswith(b"}\n")
    assert line.decode().rstrip("\n").isprintable()
    assert json.loads(line)["model"] == value[:MAX_VALUE]


@pytest.mark.row(65)
@pytest.mark.parametrize("value", HOSTILE)
def test_what_a_client_chose_cannot_break_a_text_line(value: str) -> None:
    line = text_line(exchange(model=value, id=value), "now").decode("ascii")

    assert line.count("\n") == 1
    assert line.strip().isprintable()
    assert line.count(" outcome=ok ") == 1


def test_whose_certificate_a_client_showed_is_told_where_it_showed_one() -> None:
    one = exchange()
    assert b"client_cert" not in json_line(one, "t")
    one.client_cert = "CN=" + "x" * 1000 + "\n"

    found = json.loads(json_line(one, "t"))["client_cert"]
    assert found == "CN=" + "x" * (MAX_VALUE - 3)
    one.client_cert = 'CN=a" b=c\n'
    assert text_line(one, "t").count(b"\n") == 1
    assert rb'client_cert="CN=a\" b=c\n"' in text_line(one, "t")


def test_a_text_line_begins_with_what_came_of_the_request() -> None:
    line = text_line(exchange(), "2026-01-31T00:00:00.000Z").decode()

    assert line == (
        "2026-01-31T00:00:00.000Z INFO router.access: 200 POST /v1/chat/completions outcome=ok model=devstral"
        " duration=3.000s first=0.250s attempts=a:8000:refused,b:8000:ok events=12 bytes_in=20 bytes_out=3000"
        " id=req-1 client=10.0.0.9 tenant=key:0f\n"
    )


@given(st.one_of(st.floats(-1.0, 1e9), st.integers(0, 10**6).map(lambda halves: halves / 2e6)))
def test_seconds_are_told_to_the_nearest_microsecond(seconds: float) -> None:
    assert micro(seconds) == round(seconds * 1e6) / 1e6


def test_the_clock_is_utc_with_milliseconds() -> None:
    clock = Clock()

    assert clock.text(0.0) == "1970-01-01T00:00:00.000Z"
    assert clock.text(0.9996) == "1970-01-01T00:00:00.999Z"
    assert clock.text(1_000_000_000.5) == "2001-09-09T01:46:40.500Z"


def everything() -> dict[str, object]:
    """The fields of a line that tells all that a line can tell."""
    one = exchange(
        client_cert="CN=a", path="/x", param="n", queued=1.0, hedged=True, resumed=1, resume_mode="text",
        rules={"R1"}, trace_id="0" * 31 + "1", headers={"user-agent": "x"}, tokens=(7, 5),
        session="0123456789abcdef",
    )  # fmt: skip
    return access_fields(one, "now", 1, 0.5)


OUTCOMES = {outcome.value for outcome in Outcome}  # named in the same table


def test_tokens_are_told_where_they_are_known() -> None:
    assert "tokens_in" not in json.loads(json_line(exchange(), ""))
    told = json.loads(json_line(exchange(tokens=(7, 0)), ""))

    assert (told["tokens_in"], told["tokens_out"]) == (7, 0)


def documented() -> str:
    text = DOCS.read_text()
    return text[text.index("## Access lines") : text.index("## Metrics")]


def test_the_documentation_names_every_field_of_a_line_and_no_other() -> None:
    rows = re.findall(r"^\| (`[^|]*) \|", documented(), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}

    assert named - {"level", "message", "traceback"} - OUTCOMES == {*everything()}


@pytest.mark.parametrize("outcome", [*Outcome, *AttemptOutcome], ids=str)
def test_the_documentation_names_every_outcome(outcome: Outcome | AttemptOutcome) -> None:
    assert f"`{outcome.value}`" in documented()


@given(st.lists(st.floats(1.7e9, 1.7e9 + 3), min_size=1, max_size=8))
def test_times_together_read_as_each_alone(times: list[float]) -> None:
    for some in (times, sorted(times)):
        common, rest = Clock().texts(some)
        assert [common + each for each in rest] == [Clock().text(now) for now in some]
