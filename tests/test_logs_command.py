"""Rules of router/logs_command.py, on real files, pipes and terminals."""

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from router.cli import DONE, UNUSABLE, USAGE, main
from router.logs_command import STRAGGLING, Tail, whole_lines
from router.observe.writer import LineWriter

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


def test_what_has_no_line_end_is_no_line() -> None:
    assert list(whole_lines(io.BytesIO(b"a\r\nb\nc"))) == [b"a", b"b"]


def test_a_line_that_comes_in_pieces_is_told_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"")
    tail, told = Tail(str(path)), list[bytes]()
    for piece in (b"one", b"\ntw", b"", b"o\nthree\n"):
        with path.open("ab") as file:
            file.write(piece)
        told += [b"|", *tail.lines()]

    assert told == [b"|", b"|", b"one", b"|", b"|", b"two", b"three"]


def test_a_file_that_was_cut_down_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\nhal")
    tail = Tail(str(path))
    assert list(tail.lines()) == [b"one", b"two"]
    path.write_bytes(b"three\n")
    tail.look(0.0)

    assert list(tail.lines()) == [b"three"]


def test_a_rotated_file_is_read_to_its_end_and_those_between_are_not_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"1\n")
    tail = Tail(str(path))
    assert list(tail.lines()) == [b"1"]
    with path.open("ab") as straggler:
        path.rename(tmp_path / "log.2")
        (tmp_path / "log.1").write_bytes(b"2\n")
        tail.look(0.0)  # nothing stands in its place yet
        path.write_bytes(b"3\n")
        tail.look(0.1)
        straggler.write(b"late\n")
    assert list(tail.lines()) == [b"late", b"2", b"3"]
    tail.look(0.2 + STRAGGLING)
    with path.open("ab") as file:
        file.write(b"4\n")

    assert list(tail.lines()) == [b"4"]


def test_a_router_s_own_rotations_lose_no_line_of_a_follower(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = LineWriter(str(path), max_size=4000, backups=100)
    tail, told = Tail(str(path)), list[bytes]()
    for number in range(2000):
        writer.put(b"%06d\n" % number)
        if number % 250 == 0:
            time.sleep(0.06)
            tail.look(time.monotonic())
            told += tail.lines()
    writer.close()
    tail.look(time.monotonic())
    told += tail.lines()

    assert len(list(tmp_path.iterdir())) > 3, "it was rotated"
    assert told == [b"%06d" % number for number in range(2000)]


def test_following_begins_with_the_last_lines_and_goes_on_until_it_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(line(number) for number in range(20)))
    command = [sys.executable, "-u", "-m", "router", "logs", str(path), "--follow", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as follower:
        assert follower.stdout is not None
        try:
            first = [follower.stdout.readline() for _ in range(10)]
            path.rename(tmp_path / "log.1")
            path.write_bytes(line(30))
            after = follower.stdout.readline()
            follower.send_signal(signal.SIGINT)
            code = follower.wait(20)
        finally:
            follower.kill()

    assert first == [line(number) for number in range(10, 20)]
    assert (after, code) == (line(30), DONE)
