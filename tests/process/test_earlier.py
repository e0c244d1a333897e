"""Processes that handed over and still live."""

import json
import os
import subprocess
import sys

from router.process.earlier import Earlier
from router.process.handover import VARIABLE, Predecessor
from tests.process.running import DEADLINE, until


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)


def test_who_has_ended_is_left_out_also_before_somebody_waits_for_it() -> None:
    first, second = sleeper(), sleeper()
    try:
        earlier = Earlier([second.pid, first.pid])
        assert earlier.living() == (second.pid, first.pid)
        second.kill()
        until(lambda: earlier.living() == (first.pid,), "the end of one")
        assert second.returncode is None
        first.kill()
        until(lambda: earlier.living() == (), "the end of both")
    finally:
        for each in (first, second):
            each.kill()
            each.communicate()


def test_who_has_ended_before_is_nobody_and_no_descriptor_is_held() -> None:
    one = sleeper()
    earlier = Earlier([one.pid])
    before = len(os.listdir("/proc/self/fd"))
    one.communicate(timeout=DEADLINE)
    until(lambda: earlier.living() == (), "its end")

    assert Earlier([one.pid, -1, 1 << 40]).living() == ()
    assert len(os.listdir("/proc/self/fd")) == before - 1  # the pipe to the process


def test_nobody_was_there_before_a_first_start_or_code_that_does_not_tell() -> None:
    assert Earlier.than(None).living() == ()
    readable, writable = os.pipe()
    os.close(readable)
    fields = {"sockets": [], "pipe": writable, "drained": []}
    told = Predecessor.take({VARIABLE: json.dumps(fields)})
    assert told is not None
    assert Earlier.than(told).living() == ()
    told = Predecessor.take({VARIABLE: json.dumps({**fields, "earlier": [os.getpid()]})})
    assert Earlier.than(told).living() == (os.getpid(),)
    os.close(writable)
