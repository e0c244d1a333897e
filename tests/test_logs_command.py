"""Rules of router/logs_command.py, on real files, pipes and terminals."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from router.cli import DONE, UNUSABLE, USAGE, main
from router.observe.reading import for_people
from router.observe.writer import Sink

Capture = pytest.CaptureFixture[str]


def line(number: int, **more: object) -> bytes:
    fields = {"time": f"2026-01-31T12:00:{number:02d}.000Z", "logger": "router.access", "id": f"r{number}"}
    asked = {"method": "POST", "route": "/v1", "status": 200, "outcome": "ok"}
    return json.dumps({**fields, **asked, **more}).encode() + b"\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "router.log"
    app = b'{"time":"2026-01-31T12:00:03.000Z","logger":"router.app","level":"warning","message":"two\\nlines"}\n'
    path.write_bytes(line(1) + line(2, status=502, outcome="broken") + app + b"no JSON \x1b[2J\n" + line(4))
    return path


def test_a_log_is_shown_for_people(log: Path, capsys: Capture) -> None:
    assert main(["logs", str(log)]) == DONE

    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "2026-01-31T12:00:01.000Z INFO router.access: 200 POST /v1 outcome=ok id=r1"
    assert shown[2:4] == [r"2026-01-31T12:00:03.000Z WARNING router.app: two\nlines", r"no JSON \x1b[2J"]
    assert len(shown) == 5


def test_json_lines_are_passed_on_as_they_are(log: Path, capsys: Capture) -> None:
    assert main(["logs", str(log), "--json", "--status", "5xx"]) == DONE

    assert capsys.readouterr().out.encode() == line(2, status=502, outcome="broken")


def test_the_last_lines_are_the_last_ones_that_match(log: Path, capsys: Capture) -> None:
    assert main(["logs", str(log), "-n", "1", "--outcome", "ok"]) == DONE

    assert capsys.readouterr().out.endswith("id=r4\n")


def test_lines_come_by_standard_input_too(log: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "router", "logs", "--failed"], input=log.read_bytes(), capture_output=True, check=True
    )

    assert [each.split()[2] for each in done.stdout.splitlines()] == [b"router.access:", b"router.app:"]
    assert b"\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["/no/such/log"], UNUSABLE, "/no/such/log cannot be read: No such file"),
        (["--status", "6xx"], USAGE, "must be statuses such as 5xx"),
        (["--since", "soon"], USAGE, "must be a time such as 10m"),
        (["--slower-than", "x"], USAGE, "a time such as"),
        (["-n", "-1"], USAGE, "must be a number of lines"),
    ],
)
def test_what_is_wrong_is_told(words: list[str], code: int, told: str, capsys: Capture) -> None:
    assert main(["logs", *words]) == code
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_a_terminal_has_colours_unless_it_wants_none(log: Path, no_color: str, coloured: bool) -> None:
    ours, theirs = pty.openpty()
    environ = {**os.environ, "NO_COLOR": no_color, "TERM": "xterm"}
    subprocess.run([sys.executable, "-m", "router", "logs", str(log)], stdout=theirs, check=True, env=environ)
    os.close(theirs)
    shown = os.read(ours, 65536)
    os.close(ours)

    assert (b"\x1b[31m502" in shown) is coloured
    assert b"\x1b[2J" not in shown


@contextmanager
def following(*words: str) -> Iterator[tuple[subprocess.Popen[bytes], BinaryIO]]:
    """A process that follows a log, and what it shows; it does not wait for ever for what never comes."""
    command = [sys.executable, "-u", "-m", "router", "logs", "--follow", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as follower:
        timer = threading.Timer(20.0, follower.kill)
        timer.start()
        try:
            yield follower, cast(BinaryIO, follower.stdout)
        finally:
            timer.cancel()
            follower.kill()


def test_following_begins_with_the_last_lines_and_goes_on_until_it_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(line(number) for number in range(20)))
    with following(str(path), "--json") as (follower, shown):
        first = [shown.readline() for _ in range(10)]
        path.rename(tmp_path / "log.1")
        path.write_bytes(line(30))
        after = shown.readline()
        follower.send_signal(signal.SIGINT)
        code = follower.wait(20)

    assert first == [line(number) for number in range(10, 20)]
    assert (after, code) == (line(30), DONE)


@pytest.fixture
def rotated(tmp_path: Path) -> Path:
    """Two lines in a file: r59 and r58 in the log itself, r1 and r0 in the one that was rotated away first."""
    path = tmp_path / "router.log"
    sink = Sink(str(path), max_size=300, backups=100)
    for number in range(60):
        sink.write(line(number))
    sink.close()
    assert len(list(tmp_path.iterdir())) == 30
    return path


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ([], range(60)),
        (["--id", "r1"], [1]),
        (["--since", "2026-01-31T12:00:50"], range(50, 60)),
        (["--since", "2026-01-31T12:00:30", "--outcome", "ok", "-n", "9"], range(51, 60)),
        (["-n", "5"], range(55, 60)),
        (["-n", "4"], range(56, 60)),
        (["-n", "100"], range(60)),
        (["-n", "0"], []),
        (["-n", "1", "--id", "r1"], [1]),
    ],
)
def test_what_was_rotated_away_is_part_of_the_log(
    rotated: Path, words: list[str], ids: list[int], capsys: Capture
) -> None:
    assert main(["logs", str(rotated), "--json", *words]) == DONE

    shown, told = capsys.readouterr()
    assert shown.encode() == b"".join(map(line, ids))
    assert told == ""


def test_files_are_read_back_only_as_far_as_the_last_lines_need_it(rotated: Path, capsys: Capture) -> None:
    for each in rotated.parent.glob("router.log.*"):
        if each.suffix not in (".1", ".2"):
            each.rename(f"{each}.gz")  # it cannot be read as such: that would be told
    assert main(["logs", str(rotated), "--json", "-n", "5"]) == DONE
    assert capsys.readouterr() == (b"".join(map(line, range(55, 60))).decode(), "")

    assert main(["logs", str(rotated), "--json", "-n", "7"]) == UNUSABLE
    shown, told = capsys.readouterr()
    assert shown.encode() == b"".join(map(line, range(54, 60)))
    assert "router.log.3.gz cannot be read: Not a gzipped file" in told


def test_following_begins_with_lines_that_were_rotated_away(rotated: Path) -> None:
    with following(str(rotated), "--json", "-n", "3") as (follower, shown):
        first = [shown.readline() for _ in range(3)]
        sink = Sink(str(rotated), max_size=300, backups=100)
        for number in range(60, 70):
            sink.write(line(number))
        sink.close()
        after = [shown.readline() for _ in range(10)]
        follower.send_signal(signal.SIGINT)
        code = follower.wait(20)

    assert (first, after) == (list(map(line, range(57, 60))), list(map(line, range(60, 70))))
    assert code == DONE


TEXT = (
    for_people(json.loads(line(1, model="m", duration=2.5, attempts=[{"backend": "a", "outcome": "ok"}]))),
    for_people(json.loads(line(2, status=502, outcome="broken", tenant="key:0f"))),
    "2026-01-31T12:00:03.000Z ERROR router.app: it failed, a",
    "    Traceback (most recent call last):",
    "    ValueError: broken",
    "2026-01-31T12:00:04.000Z INFO router.app: it goes on",
    "no line of a log",
    "    and what is below it",
)


@pytest.fixture
def text_log(tmp_path: Path) -> Path:
    path = tmp_path / "router.log"
    path.write_text("".join(f"{each}\n" for each in TEXT))
    return path


@pytest.mark.parametrize(
    ("words", "those"),
    [
        (["--status", "5xx"], [1]),
        (["--outcome", "ok"], [0]),
        (["--model", "m"], [0]),
        (["--route", "/v1"], [0, 1]),
        (["--tenant", "key:0f"], [1]),
        (["--id", "r2"], [1]),
        (["--slower-than", "2s"], [0]),
        (["--backend", "a"], [0, 2, 3, 4]),
        (["--failed"], [1, 2, 3, 4]),
        (["--level", "info"], [2, 3, 4, 5]),
        (["--level", "error", "-n", "1"], [2, 3, 4]),
        (["--since", "2026-01-31T12:00:02"], [1, 2, 3, 4, 5]),
        (["--since", "2026-01-31T12:00:02", "-n", "2"], [2, 3, 4, 5]),
    ],
)
def test_a_log_in_text_form_is_asked_like_one_in_json(
    text_log: Path, words: list[str], those: list[int], capsys: Capture
) -> None:
    assert main(["logs", str(text_log), *words]) == DONE

    shown, told = capsys.readouterr()
    assert shown.splitlines() == [TEXT[each] for each in those]
    assert told.endswith(": 2 lines are neither JSON nor the router's own text, and were left out\n")


@pytest.mark.parametrize(("words", "those"), [([], range(8)), (["-n", "4"], range(2, 8))])
def test_where_nothing_is_asked_every_line_is_shown_and_nothing_is_told(
    text_log: Path, words: list[str], those: range, capsys: Capture
) -> None:
    """A traceback counts as one line with that which it stands below."""
    assert main(["logs", str(text_log), *words]) == DONE

    shown, told = capsys.readouterr()
    assert shown.splitlines() == [TEXT[each] for each in those]
    assert told == ""


def test_whoever_wants_json_is_told_of_lines_that_are_none(text_log: Path, capsys: Capture) -> None:
    with text_log.open("wb") as file:
        file.write(line(1) + TEXT[0].encode() + b"\n")

    assert main(["logs", str(text_log), "--json"]) == DONE
    shown, told = capsys.readouterr()
    assert shown.encode() == line(1)
    assert told.endswith(": 1 line is no JSON, and was left out\n")


def test_a_traceback_that_comes_after_its_line_was_shown_is_shown_too(tmp_path: Path) -> None:
    path = tmp_path / "other.log"
    path.write_text(f"{TEXT[2]}\n")
    (tmp_path / "other.log.1").write_text(f"{TEXT[5]}\n")
    with following(str(path), "--level", "error") as (_, out):
        shown = [out.readline()]
        with path.open("a") as file:
            file.write(f"{TEXT[3]}\n{TEXT[5]}\n{TEXT[3]}\n{TEXT[2]}\n")
        shown += [out.readline() for _ in range(2)]

    assert shown == [f"{TEXT[each]}\n".encode() for each in (2, 3, 2)]
