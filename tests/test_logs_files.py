"""Rules of router/logs_files.py, on real files."""

import gzip
import io
import os
import threading
import time
from pathlib import Path

import pytest

from router.logs_files import SLACK, STRAGGLING, Tail, whole_lines
from router.observe.writer import LineWriter, Sink


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


def rotate(path: Path, *lines: bytes) -> None:
    """As the router does it, and with these lines in the new file."""
    sink = Sink(str(path), max_size=1, backups=1000)
    sink.write(*(each + b"\n" for each in lines))
    sink.close()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    for number in range(1, 13):
        rotate(path, b"%d" % number)
    return path


def numbers(*those: int) -> list[bytes]:
    return [b"%d" % each for each in those]


def test_what_was_rotated_away_is_read_first_and_the_oldest_before_all(log: Path) -> None:
    assert list(Tail(str(log)).lines()) == numbers(*range(1, 13))


def test_a_rotated_file_that_was_packed_is_read_too(log: Path) -> None:
    for name in ("log.3", "log.11"):
        plain = log.with_name(name)
        log.with_name(f"{name}.gz").write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    (log.parent / "log.4.gz").write_bytes(b"not whole yet: the file is just being packed")
    tail = Tail(str(log))

    assert list(tail.lines()) == numbers(*range(1, 13))
    assert tail.left_out == []


def test_a_gap_between_numbers_ends_nothing_and_other_names_are_no_part_of_the_log(log: Path) -> None:
    log.with_name("log.2").unlink()
    for name in ("log.2.bak", "log.x", "log-1", "logs.1", "log.99999"):
        log.with_name(name).write_bytes(b"other\n")

    assert list(Tail(str(log)).lines()) == numbers(*range(1, 10), 11, 12)


@pytest.mark.parametrize(
    ("name", "held", "told"),
    [
        ("log.12.gz", b"1\n", "log.12.gz cannot be read: Not a gzipped file"),
        ("log.12.gz", gzip.compress(b"1\n", mtime=0)[:-3], "log.12.gz cannot be read: Compressed file ended before"),
        ("log.12.zst", b"", "log.12.zst cannot be read: of what is packed, only .gz is"),
        ("log.12/", b"", "log.12 cannot be read: Is a directory"),
    ],
)
def test_a_rotated_file_that_cannot_be_read_is_told_and_the_others_are_read(
    log: Path, name: str, held: bytes, told: str
) -> None:
    if name.endswith("/"):
        log.with_name(name[:-1]).mkdir()
    else:
        log.with_name(name).write_bytes(held)
    tail = Tail(str(log))

    assert list(tail.lines())[-12:] == numbers(*range(1, 13))
    assert [told in each for each in tail.left_out] == [True]
    assert list(tail.lines()) == []
    assert len(tail.left_out) == 1, "told once"


def test_the_log_itself_has_to_be_there(log: Path) -> None:
    log.unlink()

    with pytest.raises(FileNotFoundError):
        Tail(str(log))


def test_files_that_were_last_written_before_the_time_in_question_are_left_out(log: Path) -> None:
    for number in range(1, 12):
        os.utime(log.with_name(f"log.{number}"), (0.0, 1e9 - number))
    os.utime(log, (0.0, 0.0))
    tail = Tail(str(log), since=1e9 + SLACK - 3.0)

    assert list(tail.lines()) == numbers(9, 10, 11, 12), "the log itself is always read"


def test_files_are_given_from_the_newest_on_and_those_that_nobody_asks_for_are_not_read_later(log: Path) -> None:
    tail = Tail(str(log))
    parts = tail.newest_first()
    assert [list(next(parts)) for _ in range(3)] == [numbers(12), numbers(11), numbers(10)]
    del parts
    rotate(log, b"13")
    tail.look(0.0)

    assert list(tail.lines()) == numbers(13)


@pytest.mark.parametrize("after", range(13))
def test_a_rotation_while_files_are_read_neither_loses_a_line_nor_shows_one_twice(log: Path, after: int) -> None:
    tail = Tail(str(log))
    lines = tail.lines()
    told = [next(lines) for _ in range(after)]
    rotate(log, b"13")
    rotate(log, b"14")
    told += lines
    assert told == numbers(*range(1, 13)), "what stood there when it began"
    tail.look(0.0)

    assert list(tail.lines()) == numbers(13, 14)


def test_what_is_still_written_into_a_file_that_had_just_been_rotated_away_is_read(log: Path) -> None:
    tail = Tail(str(log))
    assert len(list(tail.lines())) == 12
    tail.look(0.0)
    with log.with_name("log.1").open("ab") as straggler:
        straggler.write(b"late\n")

    assert list(tail.lines()) == [b"late"]


def test_whoever_begins_amid_rotations_sees_every_line_once(tmp_path: Path) -> None:
    """The file is moved away many times a second, while one reader after the other begins."""
    path, last = tmp_path / "log", 1000
    path.write_bytes(b"")
    is_over = threading.Event()

    def write() -> None:
        sink = Sink(str(path), max_size=64, backups=1000)
        for number in range(last):
            sink.write(b"%06d\n" % number)
        sink.close()
        is_over.set()

    writer = threading.Thread(target=write)
    writer.start()
    tails: list[tuple[Tail, list[bytes]]] = []
    shown: list[list[bytes]] = []
    while not is_over.is_set():
        tail = Tail(str(path))
        tails = [*tails[-1:], (tail, list(tail.lines()))]
        shown.append(tails[-1][1])
        for each, told in tails:
            each.look(0.0)
            told += each.lines()
    writer.join()

    for tail, told in tails:
        tail.look(0.0)
        told += tail.lines()
    assert [len(told) for _, told in tails] == [last] * len(tails)
    assert all(told == [b"%06d" % number for number in range(len(told))] for told in shown)
