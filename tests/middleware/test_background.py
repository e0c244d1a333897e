"""Rules of router/middleware/background.py: nobody waits for the thread, and the queue has bounds."""

import threading
import time

import pytest

from router.middleware.background import Background


class Stuck:
    """Work that stands still until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.began = threading.Event()
        self.done: list[str] = []

    def __call__(self, record: str) -> None:
        self.began.set()
        assert self.go.wait(10)
        self.done.append(record)


def test_all_that_was_taken_is_dealt_with_in_order_before_the_end() -> None:
    done: list[int] = []
    background: Background[int] = Background("test", done.append)

    assert all(background.put(number, 1) for number in range(100))
    background.end()
    background.join()

    assert done == list(range(100))
    assert background.has_ended
    assert background.dropped == 0


def test_without_a_record_there_is_no_thread() -> None:
    before = threading.active_count()
    background: Background[int] = Background("test", print)
    background.end()
    background.join()

    assert threading.active_count() == before
    assert background.has_ended


@pytest.mark.parametrize(("records", "size"), [(3, 1), (100, 40)])
def test_what_finds_no_room_is_dropped_and_counted_and_nobody_waits(records: int, size: int) -> None:
    work = Stuck()
    background: Background[str] = Background("test", work, records=records, most_bytes=130)
    background.put("first", size)
    assert work.began.wait(10)
    began = time.monotonic()

    taken = [background.put(str(number), size) for number in range(10)]

    assert time.monotonic() - began < 5
    assert taken == [True] * 3 + [False] * 7
    assert background.dropped == 7
    assert len(background) == 3
    work.go.set()
    background.end()
    background.join()
    assert work.done == ["first", "0", "1", "2"]


def test_one_record_larger_than_all_room_is_taken_when_nothing_else_waits() -> None:
    done: list[str] = []
    background: Background[str] = Background("test", done.append, most_bytes=10)

    assert background.put("large", 1000)
    background.end()
    background.join()
    assert done == ["large"]


def test_a_record_that_fails_is_counted_and_the_next_one_is_dealt_with(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []

    def work(number: int) -> None:
        if number == 1:
            raise OSError(28, "No space left on device")
        if number == 2:
            raise ValueError("canary")
        done.append(number)

    background: Background[int] = Background("trace", work)
    for number in range(5):
        background.put(number, 1)
    background.end()
    background.join()

    assert done == [0, 3, 4]
    assert background.dropped == 2
    assert [record.getMessage() for record in caplog.records] == [
        "trace: a record could not be written: No space left on device; it is dropped"
    ]


def test_the_end_waits_only_so_long_and_takes_nothing_more() -> None:
    work = Stuck()
    background: Background[str] = Background("test", work)
    background.put("a", 1)
    background.end()

    background.join(0.01)

    assert not background.has_ended
    assert not background.put("b", 1)
    assert background.dropped == 1
    work.go.set()
    background.join()
    assert background.has_ended


def test_what_gathers_is_dealt_with_together_where_that_can_be_and_lost_together() -> None:
    done: list[bytes] = []

    def work(text: bytes) -> None:
        if b"9" in text:
            raise OSError(32, "Broken pipe")
        done.append(text)

    background: Background[bytes] = Background("printer", work, merge=b"".join)
    for number in range(4):
        background.put(b"%d" % number, 1)
    background.end()
    background.join()
    failing: Background[bytes] = Background("printer", work, merge=b"".join)
    for number in range(8, 11):
        failing.put(b"%d" % number, 1)
    failing.end()
    failing.join()

    assert done == [b"0123"]
    assert failing.dropped == 3
