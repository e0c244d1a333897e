"""The guard of speed: what the router does for a request and for an event, counted, is no more than what is stored.

After a change that is meant to cost what it costs, `python -m bench.guard --write` stores the new figures.
"""

import mmap
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from bench import fronts, guard, lockstep

STRACE = """\
epoll_pwait(4, [{events=EPOLLIN, data={u32=17, u64=17}}], 1024, 248, NULL, 8) = 1
read(17, "POST /v1/chat/comple"..., 65536) = 2310
futex(0x7f1c6c000ba0, FUTEX_WAKE_PRIVATE, 1) = 1
write(16, "a) = 3\\n"..., 2353) = 2353
epoll_pwait(4, [], 1024, 0, NULL, 8) = 0
read(17, 0x7f1c6c000ba0, 65536) = -1 EAGAIN (Resource temporarily unavailable)
epoll_pwait(4, [], 1024, 41, NULL, 8) = 0
openat(AT_FDCWD, "/proc/self/statm", O_RDONLY|O_CLOEXEC) = 20
epoll_pwait(4, [], 1024, 0, NULL, 8) = 0
epoll_pwait(4, [{events=EPOLLIN, data={u32=16, u64=16}}], 1024, 154, NULL, 8) = 1
read(16, "HTTP/1.1 200 OK\\r\\nser"..., 256000) = 528
epoll_pwait(4,  <detached ...>
"""


def missing(reason: str) -> None:
    """Skip, or fail where nothing may be missing."""
    assert not os.environ.get("ROUTER_CI"), reason
    pytest.skip(reason)


def test_the_router_does_no_more_for_a_request_or_an_event_than_is_stored() -> None:
    """`python -m bench.guard` shows all of it."""
    stored = guard.read_stored()
    try:
        found, over = guard.judged(stored)
    except guard.Unmeasurable as fault:
        missing(str(fault))
        raise
    if found.keys() - stored.keys():
        missing(f"{over}: python -m bench.guard --write")

    assert over == []


def test_every_case_has_its_system_calls_and_what_the_interpreter_does() -> None:
    """A case that is not stored would not be guarded."""
    stored = guard.read_stored()
    python = next(kind for kind in stored if kind.startswith("python"))

    for case in ("request", "request, Mistral", "event", "event, Mistral"):
        assert {f"{case}: read", f"{case}: write"} <= stored["system calls"].keys()
        assert {f"{case}: calls of Python", f"{case}: allocations"} <= stored[python].keys()
    assert stored["system calls"]["event: read"] == pytest.approx(1, abs=0.05)  # one at a time: none hides in another


@pytest.mark.parametrize(
    ("counted", "over"),
    [(100.0, False), (107.0, False), (108.0, True), (60.0, False)],
)
def test_more_is_what_exceeds_the_margin(counted: float, over: bool) -> None:
    """Less is welcome."""
    assert bool(guard.more({"request: allocations": counted}, {"request: allocations": 100.0})) is over


def test_one_more_system_call_is_more_and_so_is_one_that_nobody_knew() -> None:
    """Where a figure is 1 or 2, a share of it would let nothing through, or everything."""
    stored = {"event: read": 1.0}

    assert guard.more({"event: read": 1.01}, stored) == []
    assert guard.more({"event: read": 2.0}, stored) == ["event: read: 2.00, stored 1.00"]
    assert guard.more({"event: read": 1.0, "event: fsync": 1.0}, stored) == ["event: fsync: 1.00, stored 0.00"]


def test_what_nothing_is_stored_for_is_told() -> None:
    """Another version of Python does other work."""
    assert guard.compare({"python 9.9": {"request: allocations": 1.0}}, {}) == ["nothing is stored for python 9.9"]


def test_calls_are_counted_without_what_threads_and_clock_decide() -> None:
    """The loop's turn that nothing but its own clock has begun is no part of a request."""
    found = Counter(epoll_pwait=2, read=3, write=1)

    assert guard.parse_strace(STRACE) == found
    assert guard.parse_strace(STRACE.partition("\n")[2]) == found  # strace came when the loop slept already


def test_what_the_clock_adds_to_one_of_several_is_no_figure() -> None:
    """A task that runs each second strikes one request or another."""
    found = [Counter(read=2), Counter(read=2, openat=1), Counter(read=2)]

    assert guard.least("request", found) == {"request: read": 2.0}
    assert guard.least("event", [Counter(read=256)] * 3, times=256) == {"event: read": 1.0}


@pytest.mark.parametrize(
    ("raw", "whole"),
    [
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab", False),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", True),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\n", False),
        (b"GET / HTTP/1.1\r\n\r\n", False),
    ],
)
def test_a_message_is_whole_with_its_body(raw: bytes, whole: bool) -> None:
    """The router is driven step by step: a step too early would let two meet."""
    assert lockstep.is_message(raw) is whole


def test_an_answer_that_is_no_success_ends_the_count() -> None:
    """To refuse costs less than to serve."""
    with pytest.raises(ValueError, match="refused"):
        lockstep.is_answer(b"HTTP/1.1 503 Service Unavailable\r\n")


@pytest.mark.parametrize(("kind", "index", "at_least"), [("calls", 0, 1000), ("allocations", 2, 1000)])
def test_a_count_grows_with_what_is_done(tmp_path: Path, kind: str, index: int, at_least: int) -> None:
    """By each of a thousand calls, and by each of a thousand objects; the other counts stand still."""
    library, counts = tmp_path / "counting.so", tmp_path / "counts"
    if not fronts.compile_c("counting.c", library, "-shared", "-fPIC"):
        missing("no C compiler")
    counts.write_bytes(bytes(mmap.PAGESIZE))
    program = (
        "import ctypes, itertools, os\n"
        f"counting = ctypes.PyDLL({str(library)!r})\n"
        f"assert counting.open_counts({str(counts).encode()!r})\n"
        "def make(): return object()\n"
        f"counting.count_{kind}()\n"
        "kept = [make() for _ in itertools.repeat(None, 1000)]\n"
        "os._exit(0)"
    )

    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)

    found = guard.COUNTS.unpack(counts.read_bytes()[: guard.COUNTS.size])
    assert at_least <= found[index] < at_least + 200
    assert (found[0] == 0) is (kind == "allocations")
    assert (found[2] == 0) is (kind == "calls")
