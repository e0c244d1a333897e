"""The lines of the log."""

import json
import logging
import time
import timeit
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from router.exchange import Attempt, AttemptOutcome, Exchange, Outcome
from router.observe.logs import MAX_VALUE, AccessLog, Clock, LineHandler, json_line, setup, text_line
from router.observe.writer import LineWriter


@dataclass(frozen=True)
class Settings:
    file: str | None
    level: str = "info"
    format: str = "json"
    max_size: int | None = 10 << 20
    backups: int = 5
    access: bool = True


def exchange(**changes: Any) -> Exchange:
    one = Exchange("req-1", "/v1/chat/completions", "POST", 100.0, client="10.0.0.9", model="devstral", stream=True)
    one.status, one.bytes_in, one.bytes_out, one.events, one.began = 200, 20, 3000, 12, 100.25
    one.attempts = [
        Attempt("a:8000", 100.0, AttemptOutcome.REFUSED, None, 100.001),
        Attempt("b:8000", 100.001, AttemptOutcome.OK, 200, 103.0),
    ]
    for name, value in changes.items():
        setattr(one, name, value)
    one.close(changes.get("outcome") or Outcome.OK, 103.0)
    return one


def test_an_access_line_tells_the_whole_exchange() -> None:
    assert json.loads(json_line(exchange(), "2026-01-31T00:00:00.000Z")) == {
        "time": "2026-01-31T00:00:00.000Z",
        "logger": "router.access",
        "id": "req-1",
        "client": "10.0.0.9",
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


def test_a_text_line_can_be_read() -> None:
    line = text_line(exchange(), "2026-01-31T00:00:00.000Z").decode()

    assert line.startswith("2026-01-31T00:00:00.000Z INFO router.access: id=req-1 client=10.0.0.9 method=POST ")
    assert line.endswith(" attempts=a:8000:refused,b:8000:ok\n")
    assert "error=" not in line


def test_the_clock_is_utc_with_milliseconds() -> None:
    clock = Clock()

    assert clock.text(0.0) == "1970-01-01T00:00:00.000Z"
    assert clock.text(0.9996) == "1970-01-01T00:00:00.999Z"
    assert clock.text(1_000_000_000.5) == "2001-09-09T01:46:40.500Z"


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_access_and_application_lines_share_one_log(tmp_path: Path) -> None:
    path = tmp_path / "router.log"
    logs = setup(Settings(str(path)))
    logging.getLogger("router.app").info("backend %s is up", "a:8000")
    logs.access.write(exchange())
    logging.getLogger("router.app").debug("too small to be said")
    logging.getLogger("tornado.general").info("too small for a library")
    logging.getLogger("tornado.general").warning("loud\nenough")
    logs.close()

    first, second, third = lines_of(path)
    assert (first["level"], first["logger"], first["message"]) == ("info", "router.app", "backend a:8000 is up")
    assert second["logger"] == "router.access"
    assert (third["level"], third["message"]) == ("warning", "loud\nenough")


@pytest.mark.parametrize("form", ["json", "text"])
def test_lines_of_one_of_several_workers_tell_which_one(tmp_path: Path, form: str) -> None:
    path = tmp_path / "router.log"
    logs = setup(Settings(str(path), format=form), worker=0)
    logging.getLogger("router.app").info("hello")
    logs.access.write(exchange())
    logs.close()

    if form == "json":
        assert [(line["logger"], line["worker"]) for line in lines_of(path)] == [
            ("router.app", 0),
            ("router.access", 0),
        ]
    else:
        first, second = path.read_text().splitlines()
        assert " INFO router.app[0]: hello" in first
        assert " INFO router.access[0]: id=req-1 " in second


def test_the_only_process_is_not_numbered(tmp_path: Path) -> None:
    path = tmp_path / "router.log"
    logs = setup(Settings(str(path)))
    logging.getLogger("router.app").info("hello")
    logs.access.write(exchange())
    logs.close()

    assert all("worker" not in line for line in lines_of(path))


def test_an_exception_brings_its_traceback(tmp_path: Path) -> None:
    path = tmp_path / "router.log"
    logs = setup(Settings(str(path)))
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("router.app").exception("it failed")
    logs.close()

    (line,) = lines_of(path)
    assert line["message"] == "it failed"
    assert line["traceback"].endswith("ValueError: broken")


def test_a_text_log_keeps_one_line_per_record_but_for_tracebacks(tmp_path: Path) -> None:
    path = tmp_path / "router.log"
    logs = setup(Settings(str(path), format="text"))
    logging.getLogger("router.app").warning("two\nlines \x1b[0m")
    logs.close()

    (line,) = path.read_text().splitlines()
    assert line.endswith(r" WARNING router.app: two\nlines \x1b[0m")


def test_a_record_that_cannot_be_formatted_harms_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer = LineWriter(str(tmp_path / "router.log"))
    handler = LineHandler(writer)
    handler.handle(logging.LogRecord("router.app", logging.WARNING, "", 1, "%d", ("not a number",), None))
    handler.handle(logging.LogRecord("router.app", logging.WARNING, "", 1, "still here", None, None))
    writer.close()

    assert [line["message"] for line in lines_of(tmp_path / "router.log")] == ["still here"]


def test_the_access_log_can_be_switched_off(tmp_path: Path) -> None:
    logs = setup(Settings(str(tmp_path / "router.log"), access=False))
    logs.access.write(exchange())
    logs.close()

    assert (tmp_path / "router.log").read_bytes() == b""


def test_closing_hands_the_logging_module_back(tmp_path: Path) -> None:
    root, ours = logging.getLogger(), logging.getLogger("router")
    before = (list(root.handlers), root.level, ours.level)
    setup(Settings(str(tmp_path / "router.log"), level="debug")).close()

    assert (list(root.handlers), root.level, ours.level) == before


def test_a_second_handler_is_not_needed_to_log_from_the_writer(tmp_path: Path) -> None:
    """Dropped lines are named in the log itself, as soon as there is room."""
    path = tmp_path / "router.log"
    logs = setup(Settings(str(path)))
    logs._writer.dropped = 3  # as if the queue had been full
    logs.access.write(exchange())
    deadline = time.monotonic() + 10
    while path.read_bytes().count(b"\n") < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    logs.close()

    assert [line.get("message") for line in lines_of(path)] == [None, "3 log lines were not written"]
    assert logs.dropped == 3


def test_an_access_line_costs_little(tmp_path: Path) -> None:
    """Measured: 3.3 us with one attempt; the bound leaves room for a busy machine."""
    writer = LineWriter(str(tmp_path / "router.log"))
    access = AccessLog(writer)
    one = exchange()
    one.attempts = one.attempts[1:]
    cost = min(timeit.repeat(lambda: access.write(one), number=200, repeat=20)) / 200
    writer.close()

    assert cost < 30e-6


def test_another_file_form_and_level_hold_from_the_next_line_on(tmp_path: Path) -> None:
    one, two = tmp_path / "one.log", tmp_path / "two.log"
    root, ours = logging.getLogger(), logging.getLogger("router")
    before = (list(root.handlers), root.level, ours.level)
    logs = setup(Settings(str(one)))
    write = logs.access.write  # as exchanges under way hold it
    write(exchange())
    logs.change(Settings(str(two), level="warning", format="text"))
    write(exchange())
    ours.info("not told")
    ours.warning("told")
    logs.change(Settings(str(two), access=False))
    write(exchange())
    logs.close()

    deadline = time.monotonic() + 5
    while not one.read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(lines_of(one)) == 1
    first, second = two.read_text().splitlines()
    assert " INFO router.access: id=req-1 " in first
    assert second.endswith("WARNING router: told")
    assert (list(root.handlers), root.level, ours.level) == before


def test_a_file_that_cannot_be_opened_leaves_the_log_as_it_is(tmp_path: Path) -> None:
    logs = setup(Settings(str(tmp_path / "one.log")))
    with pytest.raises(OSError, match="No such file"):
        logs.change(Settings("/no/such/folder/log", access=False))
    logs.access.write(exchange())
    logs.close()

    assert len(lines_of(tmp_path / "one.log")) == 1
