"""A worker as its parent sees it."""

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from router.process import child as child_module
from router.process.calls import Lost
from router.process.child import Child
from router.process.messages import Collect, Reopen
from tests.front import run
from tests.process.running import (
    DEADLINE,
    Router,
    is_alive,
    stopped,
    two_workers,
    until,
)

Start = Callable[..., Router]


def test_a_hung_worker_is_killed_and_replaced(start: Start, tmp_path: Path) -> None:
    """The service manager hears beats all the time: it is the parent's business."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(DEADLINE)
        router = start(2, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="2500000")
        one, _ = two_workers(router)
        with stopped(one):
            until(lambda: router.said(r"has said nothing for \d+ s: killed"), "a judgement")
            until(lambda: one not in router.workers() and len(router.workers()) == 2, "another worker")
        assert not is_alive(one)
        manager.setblocking(False)
        heard = []
        while True:
            try:
                heard.append(manager.recv(4096))
            except BlockingIOError:
                break

    assert heard[0].startswith(b"WATCHDOG=1") or heard[0].startswith(b"READY=1")
    assert heard.count(b"WATCHDOG=1") >= 2
    assert router.chat() == 200


def test_one_that_cannot_be_executed_is_gone_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    async def test() -> None:
        gone: list[Child] = []
        child = Child(0, heard=lambda *_: None, facts=lambda *_: None, gone=gone.append)
        await child.start(Reopen(), fds=[], environ={})

        assert gone == [child]
        assert child.ending.startswith("cannot start a worker")
        with pytest.raises(Lost):
            await child.ask(Collect, 1.0)

    run(test)


def test_one_that_says_what_nobody_understands_is_killed_and_gone_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of the program may have been replaced since its parent was started."""
    nonsense = "import socket, sys; socket.socket(fileno=int(sys.argv[2])).sendall(bytes([0, 0, 0, 2, 0, 9])); input()"
    monkeypatch.setattr(child_module, "PROGRAM", nonsense)

    async def test() -> None:
        gone: list[Child] = []
        child = Child(0, heard=lambda *_: None, facts=lambda *_: None, gone=gone.append)
        await child.start(Reopen(), fds=[], environ=os.environ)
        while not gone:
            await asyncio.sleep(0.01)

        assert gone == [child]
        assert "other code than ours" in child.ending
        assert not is_alive(child.pid)

    run(test)
