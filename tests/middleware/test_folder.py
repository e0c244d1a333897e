"""Rules of router/middleware/folder.py: whole files, for their owner only, and never more than so many."""

import os
import stat
import threading
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

    with pytest.raises(OSError, match="file"):
        folder(tmp_path / "file")


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
    one = folder(tmp_path / "t", Bounds(None, None, 100.0), now=1_000_000.0)
    half, fresh_half = tmp_path / "t" / f".{name(7)}.tmp", tmp_path / "t" / f".{name(8)}.tmp"
    for number, age in ((1, 101), (2, 99)):
        (tmp_path / "t" / name(number)).write_bytes(b"{}")
        os.utime(tmp_path / "t" / name(number), (1_000_000 - age,) * 2)
    for path, age in ((half, 4000), (fresh_half, 10)):
        path.write_bytes(b"{")
        os.utime(path, (1_000_000 - age,) * 2)

    one.write(name(3), b"{}")

    assert files(tmp_path / "t") == [fresh_half.name, name(2), name(3)]
