"""A case that does not end is told of as such, whoever catches what."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.fuzz.bounds import Hang, bounded
from tests.wire.memory import Loop

SOON = 0.05  # seconds


def spin() -> None:
    while True:
        pass


def in_a_callback() -> None:
    with Loop() as loop:
        loop.call_soon(spin)
        loop.settle()


def in_a_task() -> None:
    async def task() -> None:
        spin()

    with Loop() as loop:
        kept = loop.create_task(task())
        loop.settle()
        assert kept.done()


def where_everything_is_caught() -> None:
    for _ in range(3):
        try:
            spin()
        except BaseException:
            continue


def where_it_becomes_another_error() -> None:
    try:
        spin()
    except BaseException as error:
        raise ValueError from error


@pytest.mark.parametrize(
    "case", [spin, in_a_callback, in_a_task, where_everything_is_caught, where_it_becomes_another_error]
)
def test_a_hang_is_told_of_wherever_it_is_and_whoever_catches_it(case: Callable[[], None]) -> None:
    with pytest.raises(Hang), bounded(SOON):
        case()
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_what_ends_is_no_hang_nor_is_time_that_others_take() -> None:
    with pytest.raises(ValueError, match="its own"), bounded(SOON):
        raise ValueError("its own")
    with bounded(SOON):
        time.sleep(SOON * 4)


@pytest.mark.parametrize(("rest", "status"), [("sum(iter(int, 1))", 1), ("time.sleep(0.2); alive()", 0)])
def test_what_hears_no_signal_ends_with_its_process(rest: str, status: int) -> None:
    code = (
        "import time\n"
        "from tests.fuzz import bounds\n"
        "bounds.SILENCE = 0.5\n"
        "with bounds.watched() as alive:\n"
        "    for _ in range(4):\n"
        f"        {rest}\n"
        "time.sleep(0.6)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "Timeout" in done.stderr) == (status, bool(status))
