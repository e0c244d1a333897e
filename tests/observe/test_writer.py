"""The log's writer on real files and pipes."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from router.observe.writer import QUEUE_LINES, LineWriter, Sink


def eventually(is_true: Callable[[], bool]) -> None:
    """Wait until it is, or fail after 10 s."""
    deadline = time.monotonic() + 10
    while not is_true():
        assert time.monotonic() < deadline, "did not come true"
        time.sleep(0.005)


def stalled(folder: Path) -> tuple[LineWriter, int]:
    """A writer into a pipe that nobody reads, and the pipe's other end: once that is closed, its thread ends."""
    path = folder / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    return LineWriter(str(path)), reader


def test_lines_arrive_whole_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "router.log"
    writer = LineWriter(str(path))
    lines = [f"line {number}\n".encode() for number in range(5000)]
    for line in lines:
        writer.put(line)
    writer.close()

    assert path.read_bytes() == b"".join(lines)
    assert writer.dropped == 0


def test_lines_reach_the_file_without_closing(tmp_path: Path) -> None:
    path = tmp_path / "router.log"
    writer = LineWriter(str(path))
    writer.put(b"one\n")
    eventually(lambda: path.read_bytes() == b"one\n")
    writer.put(b"two\n")
    eventually(lambda: path.read_bytes() == b"one\ntwo\n")
    writer.close()


def test_an_existing_log_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "router.log"
    path.write_bytes(b"before\n")
    writer = LineWriter(str(path))
    writer.put(b"after\n")
    writer.close()

    assert path.read_bytes() == b"before\nafter\n"


def test_the_log_is_not_for_everybody(tmp_path: Path) -> None:
    LineWriter(str(tmp_path / "router.log")).close()

    assert (tmp_path / "router.log").stat().st_mode & 0o007 == 0


def test_a_file_is_rotated_before_it_grows_over_its_size(tmp_path: Path) -> None:
    path = tmp_path / "router.log"
    writer = LineWriter(str(path), max_size=1000, backups=3)
    lines = [f"{number:05d} {'x' * 93}\n".encode() for number in range(100)]  # 100 bytes each
    for line in lines:
        writer.put(line)
    writer.close()

    names = sorted(name.name for name in tmp_path.iterdir())
    assert names == ["router.log", "router.log.1", "router.log.2", "router.log.3"]
    assert all((tmp_path / name).stat().st_size <= 1000 for name in names)
    kept = b"".join((tmp_path / name).read_bytes() for name in [*reversed(names[1:]), names[0]])
    assert kept == b"".join(lines)[-len(kept) :]
    assert len(kept) > 3000


def test_lines_that_were_put_together_are_parted_where_a_file_would_grow_over_its_size(tmp_path: Path) -> None:
    path = tmp_path / "router.log"
    writer = LineWriter(str(path), max_size=1000, backups=3)
    lines = [f"{number:02d} {'x' * 96}\n".encode() for number in range(25)]  # 100 bytes each
    long = b"y" * 1500 + b"\n"
    writer.put(b"".join([*lines, long]), 26)
    writer.close()

    parts = [(tmp_path / f"router.log{ending}").read_bytes() for ending in (".3", ".2", ".1", "")]
    assert parts == [b"".join(lines[:10]), b"".join(lines[10:20]), b"".join(lines[20:]), long]


@pytest.mark.row(67)
def test_lines_that_find_no_room_are_counted_one_by_one(tmp_path: Path) -> None:
    writer, reader = stalled(tmp_path)
    block = (b"x" * 1023 + b"\n") * 100  # more than a pipe takes
    for _ in range(QUEUE_LINES // 100 + 10):
        writer.put(block, 100)
    dropped = writer.dropped
    writer.close(timeout=0.2)
    os.close(reader)  # the blocked write fails, and the thread ends

    assert 0 < dropped <= 1000
    assert dropped % 100 == 0


def test_without_backups_the_file_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "router.log"
    writer = LineWriter(str(path), max_size=250, backups=0)
    for number in range(5):
        writer.put(b"%d%s\n" % (number, b"x" * 98))
    writer.close()

    assert [name.name for name in tmp_path.iterdir()] == ["router.log"]
    assert path.read_bytes().startswith(b"4")


def test_a_line_longer_than_the_whole_file_is_written(tmp_path: Path) -> None:
    path = tmp_path / "router.log"
    writer = LineWriter(str(path), max_size=10, backups=1)
    writer.put(b"x" * 100 + b"\n")
    writer.close()

    assert path.stat().st_size == 101


def test_reopening_follows_a_file_that_was_moved_away(tmp_path: Path) -> None:
    path, moved = tmp_path / "router.log", tmp_path / "moved.log"
    writer = LineWriter(str(path))
    writer.put(b"one\n")
    eventually(lambda: path.read_bytes() == b"one\n")
    path.rename(moved)
    writer.reopen()
    eventually(path.exists)
    writer.put(b"two\n")
    writer.close()

    assert (moved.read_bytes(), path.read_bytes()) == (b"one\n", b"two\n")


def test_a_file_that_cannot_be_opened_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LineWriter(str(tmp_path / "missing" / "router.log"))


@pytest.mark.row(67)
def test_a_stalled_reader_never_stops_who_logs(tmp_path: Path) -> None:
    """A full pipe blocks the thread; the queue fills, lines are dropped and counted, and closing gives up."""
    writer, reader = stalled(tmp_path)
    line = b"x" * 1023 + b"\n"
    started = time.monotonic()
    for _ in range(QUEUE_LINES + 1000):
        writer.put(line)
    writer.close(timeout=0.2)

    assert time.monotonic() - started < 5
    assert writer.dropped > 0
    os.close(reader)  # the blocked write fails, and the thread ends


@pytest.mark.row(67)
def test_a_disk_that_refuses_is_survived(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """/dev/full refuses every byte, as a full disk does."""
    full = tmp_path / "full.log"
    full.symlink_to("/dev/full")
    writer = LineWriter(str(full))
    writer.put(b"lost\n")
    eventually(lambda: writer.dropped == 1)
    full.unlink()
    writer.reopen()
    writer.put(b"kept\n")
    writer.close()

    assert full.read_bytes().startswith(b"kept\n")


def test_lines_of_many_threads_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "router.log"
    writer = LineWriter(str(path), max_size=20_000, backups=100)
    threads = [
        threading.Thread(target=lambda name=name: [writer.put(name * 50 + b"\n") for _ in range(500)])
        for name in (b"a", b"b", b"c")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()

    lines = [line for file in tmp_path.iterdir() for line in file.read_bytes().splitlines()]
    assert len(lines) == 1500
    assert all(len(line) == 50 and len(set(line)) == 1 for line in lines)


def test_a_sink_without_a_path_is_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    sink = Sink(None, max_size=1, backups=0)
    sink.write(b"to standard error\n")
    sink.close()

    assert "to standard error" in capfd.readouterr().err


def test_what_a_full_pipe_takes_only_a_part_of_is_written_on_where_it_was_left(tmp_path: Path) -> None:
    """Standard error that somebody else made non-blocking."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sink = Sink(str(path), max_size=None, backups=0)
    os.set_blocking(sink._fd, False)
    os.set_blocking(reader, True)
    blocks = [b"%d %b\n" % (number, b"x" * 50_000) for number in range(10)]  # a pipe takes 65,536 bytes
    thread = threading.Thread(target=lambda: [sink.write(*blocks), sink.close()])
    thread.start()
    with os.fdopen(reader, "rb") as file:
        assert file.read() == b"".join(blocks)
    thread.join()


@pytest.mark.parametrize(("name", "sizes"), [("file", [80_000, 0]), ("pipe", [60_000, 20_000])])
def test_a_write_to_a_pipe_has_room_in_it_and_one_to_a_file_may_be_long(
    tmp_path: Path, name: str, sizes: list[int]
) -> None:
    """Else lines of other processes could stand in the midst of one; to a file each write is whole."""
    path = tmp_path / name
    if name == "pipe":
        os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CREAT, 0o600)
    writer = LineWriter(str(path))
    with writer._lock:  # the thread waits for it
        for _ in range(8):
            writer.put(b"x" * 9_999 + b"\n")
        taken = [writer._next_lines(), writer._next_lines()]
    writer.close()
    os.close(reader)

    assert [sum(map(len, blocks)) for blocks, _ in taken] == sizes


def test_two_processes_that_share_a_file_rotate_it_once_each_time(tmp_path: Path) -> None:
    """The second one finds that the path leads elsewhere, and goes on there; no line is lost."""
    path = tmp_path / "log"
    one, other = (Sink(str(path), max_size=100, backups=30) for _ in range(2))
    for number in range(20):
        for sink, name in ((one, b"one"), (other, b"other")):
            sink.write(b"%s %d %s\n" % (name, number, b"x" * 20))
    one.close()
    other.close()

    files = sorted(tmp_path.iterdir())
    lines = sorted(line.split(b" x")[0] for file in files for line in file.read_bytes().splitlines())
    assert len(set(lines)) == len(lines) == 40
    assert all(file.stat().st_size <= 130 for file in files)
    assert len(files) < 20, "each is filled before the next one is begun"


def test_a_file_that_was_moved_away_is_begun_anew_when_it_is_full(tmp_path: Path) -> None:
    path = tmp_path / "log"
    sink = Sink(str(path), max_size=30, backups=1)
    sink.write(b"x" * 25 + b"\n")
    path.rename(tmp_path / "moved")
    sink.write(b"y" * 25 + b"\n")
    sink.close()

    assert path.read_bytes() == b"y" * 25 + b"\n"
    assert (tmp_path / "moved").read_bytes() == b"x" * 25 + b"\n"


def test_what_is_no_file_is_never_rotated() -> None:
    sink = Sink("/dev/null", max_size=10, backups=1)
    for _ in range(5):
        sink.write(b"x" * 100)
    sink.close()

    assert not Path("/dev/null.1").exists()


SPOILT = """
import gc, sys
from router.observe.writer import LineWriter

writer = LineWriter(sys.argv[1])

class Loud:
    def __init__(self):
        self.itself = self  # for the collector to find, wherever it runs

    def __del__(self):
        writer.put(b"found\\n")

gc.set_threshold(1)
for _ in range(300):
    Loud()
    writer.put(b"line\\n")
gc.set_threshold(0)
gc.collect()
writer.close()
"""


def test_what_the_collector_finds_while_a_line_is_queued_may_log_too(tmp_path: Path) -> None:
    """From Python 3.12 on it may run between any two instructions, in `put` as well."""
    path = tmp_path / "router.log"

    subprocess.run([sys.executable, "-c", SPOILT, str(path)], check=True, timeout=30)

    assert sorted(path.read_bytes().splitlines()) == [b"found"] * 300 + [b"line"] * 300
