"""The lines of the log."""

import json
import logging
import time
import timeit
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from router.ended import sort
from router.exchange import Attempt, AttemptOutcome, Exchange, Outcome
from router.observe.logs import AccessLog, LineHandler, setup
from router.observe.writer import LineWriter


@dataclass(frozen=True)
class Settings:
    file: str | None
    level: str = "info"
    format: str = "json"
    max_size: int | None = 10 << 20
    backups: int = 5
    access: bool = True
    sample: float = 1.0


def exchange(**changes: Any) -> Exchange:
    one = Exchange("req-1", "/v1/chat/completions", "POST", 100.0, client="10.0.0.9", tenant="key:0f")
    one.model, one.stream = "devstral", True
    one.status, one.bytes_in, one.bytes_out, one.events, one.began = 200, 20, 3000, 12, 100.25
    one.attempts = [
        Attempt("a:8000", 100.0, AttemptOutcome.REFUSED, None, 100.001),
        Attempt("b:8000", 100.001, AttemptOutcome.OK, 200, 103.0),
    ]
    for name, value in changes.items():
        setattr(one, name, value)
    one.close(changes.get("outcome") or Outcome.OK, 103.0)
    return one


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_access_and_application_lines_share_one_log(tmp_path: Path) -> None:
    path = tmp_path / "router.log"
    logs = setup(Settings(str(path)))
    logging.getLogger("router.app").info("backend %s is up", "a:8000")
    logs.access.write(sort([exchange()]), 0.0)
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
    logs.access.write(sort([exchange()]), 0.0)
    logs.close()

    if form == "json":
        assert [(line["logger"], line["worker"]) for line in lines_of(path)] == [
            ("router.app", 0),
            ("router.access", 0),
        ]
    else:
        first, second = path.read_text().splitlines()
        assert " INFO router.app[0]: hello" in first
        assert " INFO router.access[0]: 200 POST /v1/chat/completions " in second


def test_the_only_process_is_not_numbered(tmp_path: Path) -> None:
    path = tmp_path / "router.log"
    logs = setup(Settings(str(path)))
    logging.getLogger("router.app").info("hello")
    logs.access.write(sort([exchange()]), 0.0)
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
    logs.access.write(sort([exchange()]), 0.0)
    logs.close()

    assert (tmp_path / "router.log").read_bytes() == b""


def sampled(tmp_path: Path, sample: float, *exchanges: Exchange, dice: Callable[[], float]) -> list[dict[str, Any]]:
    writer = LineWriter(str(tmp_path / "router.log"))
    access = AccessLog(writer, sample=sample, dice=dice)
    access.write(sort(exchanges), 0.0)
    writer.close()
    return lines_of(tmp_path / "router.log")


def good() -> Exchange:
    return exchange(attempts=[Attempt("b:8000", 100.0, AttemptOutcome.OK, 200, 103.0)])


def test_of_good_exchanges_the_share_asked_for_has_a_line_that_tells_the_share(tmp_path: Path) -> None:
    numbers = iter([0.05, 0.1, 0.2, 0.99, 0.0999])
    lines = sampled(tmp_path, 0.1, *(good() for _ in range(5)), dice=lambda: next(numbers))

    assert [line["sample"] for line in lines] == [0.1, 0.1]


@pytest.mark.parametrize("outcome", [each for each in Outcome if each is not Outcome.OK])
def test_an_exchange_that_did_not_end_well_always_has_its_line(tmp_path: Path, outcome: Outcome) -> None:
    one = exchange(attempts=[])
    one.outcome = outcome
    (line,) = sampled(tmp_path, 0.0, good(), one, dice=lambda: 0.0)

    assert (line["outcome"], line.get("sample")) == (outcome.value, None)


def test_a_second_attempt_and_a_resumed_stream_are_always_told(tmp_path: Path) -> None:
    resumed = good()
    resumed.resumed = 1
    lines = sampled(tmp_path, 0.0, exchange(), resumed, dice=lambda: 0.0)

    assert [len(line["attempts"]) for line in lines] == [2, 1]


def test_without_sampling_no_line_tells_a_share(tmp_path: Path) -> None:
    (line,) = sampled(tmp_path, 1.0, good(), dice=lambda: 1.0)

    assert "sample" not in line


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
    logs.access.write(sort([exchange()]), 0.0)
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
    cost = min(timeit.repeat(lambda: access.write(sort([one]), 0.0), number=200, repeat=20)) / 200
    writer.close()

    assert cost < 30e-6


def test_another_file_form_and_level_hold_from_the_next_line_on(tmp_path: Path) -> None:
    one, two = tmp_path / "one.log", tmp_path / "two.log"
    root, ours = logging.getLogger(), logging.getLogger("router")
    before = (list(root.handlers), root.level, ours.level)
    logs = setup(Settings(str(one)))
    write = logs.access.write  # as exchanges under way hold it
    write(sort([exchange()]), 0.0)
    logs.change(Settings(str(two), level="warning", format="text"))
    write(sort([exchange()]), 0.0)
    ours.info("not told")
    ours.warning("told")
    logs.change(Settings(str(two), access=False))
    write(sort([exchange()]), 0.0)
    logs.close()

    deadline = time.monotonic() + 5
    while not one.read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(lines_of(one)) == 1
    first, second = two.read_text().splitlines()
    assert " INFO router.access: 200 POST /v1/chat/completions " in first
    assert second.endswith("WARNING router: told")
    assert (list(root.handlers), root.level, ours.level) == before


def test_a_file_that_cannot_be_opened_leaves_the_log_as_it_is(tmp_path: Path) -> None:
    logs = setup(Settings(str(tmp_path / "one.log")))
    with pytest.raises(OSError, match="No such file"):
        logs.change(Settings("/no/such/folder/log", access=False))
    logs.access.write(sort([exchange()]), 0.0)
    logs.close()

    assert len(lines_of(tmp_path / "one.log")) == 1
