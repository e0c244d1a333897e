"""Rules of router/middleware/folder.py: whole files, for their owner only, and never more than so many."""

import os
import stat
import threading
import time
from pathlib import Path

import pytest

from router.middleware.folder import Bounds, Folder

NO_BOUNDS = Bounds(None, None, None)


def name(number: int) -> str:
    return f"trace-2026-01-31T23-59-{number // 1000:02d}-{number % 1000:03d}Z-{number:032x}.json"


def folder(path: Path, bounds: Bounds = NO_BOUNDS, *, now: float | None = None) -> Folder:
    return Folder(str(path), bounds, wall_clock=lambda: Path(path).stat().st_mtime if now is None else now)


def files(path: Path) -> list[str]:
    return sorted(each.name for each in path.iterdir())


@pytest.mark.row(66)
def test_folder_and_files_are_for_their_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        one = folder(tmp_path / "a" / "b")
        one.write(name(1), b"{}")
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "a" / "b" / name(1)).stat().st_mode) == 0o600
    assert not one.is_open_to_others
    (tmp_path / "a" / "b").chmod(0o755)
    assert folder(tmp_path / "a" / "b").is_open_to_others


@pytest.mark.row(66)
def test_a_link_or_file_in_its_place_is_not_written_through(tmp_path: Path) -> None:
    one, victim = folder(tmp_path / "t"), tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "t" / f".{name(1)}.tmp").symlink_to(victim)

    with pytest.raises(FileExistsError):
        one.write(name(1), b"{}")
    (tmp_path / "t" / name(2)).symlink_to(victim)
    one.write(name(2), b"{}")  # the link itself is replaced

    assert victim.read_text() == "mine"
    assert not (tmp_path / "t" / name(2)).is_symlink()


def test_nothing_is_left_of_a_file_that_could_not_be_written(tmp_path: Path) -> None:
    one = folder(tmp_path / "t")

    with pytest.raises(OSError, match=r"too long|not a directory|Is a directory"):
        one.write("x" * 300, b"{}")
    (tmp_path / "t" / name(1)).mkdir()
    with pytest.raises(OSError, match="directory"):
        one.write(name(1), b"{}")

    assert files(tmp_path / "t") == [name(1)]


def test_a_folder_that_cannot_be_used_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    (tmp_path / "link").symlink_to(tmp_path / "nothing")

    for name_of_it in ("file", "link"):
        with pytest.raises(OSError, match="no folder") as caught:
            folder(tmp_path / name_of_it)
        assert caught.value.filename == str(tmp_path / name_of_it)


def test_readers_see_whole_files_only(tmp_path: Path) -> None:
    one, content = folder(tmp_path / "t"), b"x" * 200_000
    wrong: list[int] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            wrong.extend(
                size
                for each in (tmp_path / "t").iterdir()
                if each.name.startswith("trace-") and (size := each.stat().st_size) != len(content)
            )

    reader = threading.Thread(target=look)
    reader.start()
    for number in range(50):
        one.write(name(number), content)
    stop.set()
    reader.join()

    assert not wrong


@pytest.mark.row(66)
@pytest.mark.parametrize("most", [1, 3, 25])
def test_there_are_never_more_files_than_allowed_and_the_newest_stay(tmp_path: Path, most: int) -> None:
    one = folder(tmp_path / "t", Bounds(most, None, None))

    for number in range(100):
        one.write(name(number), b"{}")
        assert len(files(tmp_path / "t")) <= most
        assert name(number) in files(tmp_path / "t")


def test_those_of_an_earlier_process_count_and_strangers_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    for number in range(20):
        (tmp_path / "t" / name(number)).write_bytes(b"{}")
    (tmp_path / "t" / "mine.json").write_text("x" * 10_000)
    (tmp_path / "t" / name(50)).mkdir()

    folder(tmp_path / "t", Bounds(5, 1000, None)).write(name(30), b"{}")

    left = files(tmp_path / "t")
    assert {"mine.json", name(50), name(30)} <= set(left)
    assert len(left) == 5 + 2


@pytest.mark.row(66)
def test_all_files_together_are_never_larger_than_allowed(tmp_path: Path) -> None:
    one = folder(tmp_path / "t", Bounds(None, 10_000, None))

    for number in range(60):
        one.write(name(number), b"x" * (number * 37 % 990 + 1))
        assert sum(each.stat().st_size for each in (tmp_path / "t").iterdir()) <= 10_000


def test_old_files_are_taken_away_and_half_ones_of_dead_processes(tmp_path: Path) -> None:
    one = folder(tmp_path / "t", Bounds(None, None, 100.0), now=(now := time.time()))
    half, fresh_half = tmp_path / "t" / f".{name(7)}.tmp", tmp_path / "t" / f".{name(8)}.tmp"
    for number, age in ((1, 101), (2, 99)):
        (tmp_path / "t" / name(number)).write_bytes(b"{}")
        os.utime(tmp_path / "t" / name(number), (now - age,) * 2)
    for path, age in ((half, 4000), (fresh_half, 10)):
        path.write_bytes(b"{")
        os.utime(path, (now - age,) * 2)

    one.write(name(3), b"{}")

    assert files(tmp_path / "t") == [fresh_half.name, name(2), name(3)]


def test_a_link_to_a_folder_is_as_good_as_the_folder(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "t")

    folder(tmp_path / "link", Bounds(3, None, None)).write(name(1), b"{}")

    assert files(tmp_path / "t") == [name(1)]


def test_a_pipe_under_the_name_of_a_trace_holds_nobody_up(tmp_path: Path) -> None:
    one = folder(tmp_path / "t", Bounds(1, None, 1.0))
    os.mkfifo(tmp_path / "t" / name(1))
    os.mkfifo(tmp_path / "t" / f".{name(2)}.tmp")

    one.write(name(3), b"{}")

    assert name(3) in files(tmp_path / "t")
    with pytest.raises(FileExistsError):
        one.write(name(2), b"{}")


@pytest.mark.row(66)
def test_room_is_made_also_where_nothing_can_be_written(tmp_path: Path) -> None:
    """Else who lowers a limit because the disk is full would wait for the disk to have room."""
    before = folder(tmp_path / "t")
    for number in range(20):
        before.write(name(number), b"x" * 100)
    (tmp_path / "t" / name(50)).mkdir()  # takes no file of this name: to the folder it is as a disk that is full

    with pytest.raises(OSError, match="directory"):
        folder(tmp_path / "t", Bounds(10, None, None)).write(name(50), b"x")

    assert files(tmp_path / "t") == [*(name(number) for number in range(11, 20)), name(50)]


@pytest.mark.row(66)
def test_files_of_a_clock_that_was_ahead_do_not_push_out_those_of_now(tmp_path: Path) -> None:
    one = folder(tmp_path / "t", Bounds(5, None, None), now=time.time())
    for number in range(9):
        ahead = tmp_path / "t" / name(number).replace("2026", "2099")
        ahead.write_bytes(b"{}")
        os.utime(ahead, (time.time() + 9_000_000,) * 2)
    for number in range(3):
        one.write(name(number), b"{}")

    assert {name(0), name(1), name(2)} <= set(files(tmp_path / "t"))
    assert len(files(tmp_path / "t")) <= 5


def test_a_clock_that_was_put_back_keeps_no_old_files_and_none_of_the_future(tmp_path: Path) -> None:
    real = time.time()
    now = [real + 50_000]
    one = Folder(str(tmp_path / "t"), Bounds(None, None, 100.0), wall_clock=lambda: now[0])
    (tmp_path / "t" / name(9)).mkdir()  # what cannot be written makes it look, and leaves no file
    with pytest.raises(OSError, match="directory"):
        one.write(name(9), b"{}")
    now[0] = real
    for number, age in ((1, 101), (2, -90_000), (3, 0), (4, -101)):
        (tmp_path / "t" / name(number)).write_bytes(b"{}")
        os.utime(tmp_path / "t" / name(number), (real - age,) * 2)
    one.write(name(5), b"{}")

    assert files(tmp_path / "t") == [name(3), name(4), name(5), name(9)]


def test_a_folder_that_was_taken_away_is_made_anew(tmp_path: Path) -> None:
    one = folder(tmp_path / "t", Bounds(3, None, None), now=time.time())
    one.write(name(1), b"{}")
    (tmp_path / "t").rename(tmp_path / "elsewhere")

    one.write(name(2), b"{}")

    assert files(tmp_path / "t") == [name(2)]
    assert stat.S_IMODE((tmp_path / "t").stat().st_mode) == 0o700
