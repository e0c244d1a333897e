"""One worker among others: what it shares with them, and what it does alone."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.workers import CONNECTIONS, held, split
from router import __version__
from router.config import load
from router.process.child import PROGRAM, Child
from router.process.messages import Collect, Start, Stop
from router.process.sockets import Listening
from tests.front import run
from tests.process.running import (
    CHAT,
    DEADLINE,
    Router,
    Stream,
    ask,
    is_alive,
    refuses,
    stopped,
    two_workers,
    until,
)

Starter = Callable[..., Router]


def test_workers_whose_parent_is_killed_finish_their_work_and_end(start: Starter) -> None:
    router = start(2)
    workers = two_workers(router)
    stream = Stream(router, tokens=60)
    until(stream.has_begun, "a stream")
    os.kill(router.pid, signal.SIGKILL)
    router.process.wait()

    until(lambda: refuses(router), "listening no more")
    assert stream.is_whole
    until(lambda: not any(is_alive(pid) for pid in workers), "the end of both")


def test_what_one_worker_sees_of_a_backend_the_other_one_knows(start: Starter) -> None:
    """Without probes, so that only the exchange of facts can tell it."""
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        url = f"http://127.0.0.1:{dead.getsockname()[1]}"
        model = {"models": ["simulated-model"], "dialect": "openai"}
        router = start(
            2,
            {
                "backends": [{"url": url, **model}, {"url": "http://127.0.0.1:1", **model}],
                "health": {"enabled": False},
            },
        )
        one, other = two_workers(router)
        with stopped(other):
            for _ in range(3):
                router.chat()
            time.sleep(0.2)  # what follows a failure at once is told some milliseconds later
        with stopped(one):
            until(lambda: router.ask("GET", "/health")[1].count(b'"breaker":"open"') == 2, "open breakers")


def test_the_limit_of_a_backend_holds_for_all_workers_together(start: Starter, backends: list[str]) -> None:
    limited = {"url": backends[0], "dialect": "openai", "max_connections": 1}
    router = start(2, {"backends": [limited], "overload": {"queue_size": 0}})
    one, other = two_workers(router)
    until(lambda: router.ask("GET", "/readyz")[0] == 200, "readiness")
    with stopped(one):
        stream = Stream(router, tokens=100)
        until(stream.has_begun, "a stream through the other worker")
    with stopped(other):
        assert router.ask("POST", "/v1/chat/completions", CHAT)[0] in (429, 503)
    assert stream.is_whole
    assert until(lambda: router.chat() == 200, "room again")


def test_a_worker_that_is_told_to_end_finishes_its_work_and_is_replaced(start: Starter) -> None:
    router = start(2)
    one, other = two_workers(router)
    with stopped(other):
        stream = Stream(router, tokens=40)
        until(stream.has_begun, "a stream")
    os.kill(one, signal.SIGTERM)

    assert stream.is_whole
    until(lambda: one not in router.workers() and len(router.workers()) == 2, "another worker")
    assert router.chat() == 200


def test_a_worker_whose_parent_goes_before_its_first_word_ends_at_once() -> None:
    """It has the listening sockets, which nobody would accept from."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-c", PROGRAM, "--bus", str(theirs.fileno()), ":".join(sys.path)]
    worker = subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.DEVNULL)
    theirs.close()
    ours.close()
    try:
        assert worker.wait(DEADLINE) == 1
    finally:
        worker.kill()


def test_what_only_a_worker_can_find_wrong_is_told_where_the_router_was_started(start: Starter, tmp_path: Path) -> None:
    """Middlewares are built in workers, so that the parent has found nothing wrong with the file."""
    (tmp_path / "file").write_text("")

    with pytest.raises(AssertionError) as caught:
        start(2, {"middlewares": [{"type": "trace", "config": {"directory": str(tmp_path / "file")}}]})

    said = str(caught.value)
    fault = f"middlewares.0: cannot be used: {tmp_path / 'file'}: it is there, and no folder"
    assert f"devstral-router: the configuration cannot be used: {fault}" in said
    assert "Traceback" not in said


def test_facts_of_other_code_than_its_own_do_no_harm(tmp_path: Path) -> None:
    """A worker that is started again after an installation has new code, the others the old one."""
    path = tmp_path / "router.yaml"
    path.write_text("backends: [{url: 'http://127.0.0.1:1'}]\nlogging: {file: /dev/null}\n")
    loaded = load(str(path), environ={})
    first = Start(__version__, loaded, Listening.of(loaded.config), (), 0, None, {}, (), 0.0)

    async def test() -> None:
        gone = asyncio.Event()
        child = Child(0, heard=lambda *_: None, facts=lambda *_: None, gone=lambda _: gone.set())
        await child.start(first, fds=[], environ=os.environ)
        child.send_facts(b"nonsense")
        try:
            assert isinstance(await child.ask(Collect, DEADLINE), dict)
            child.send(Stop(0.0, 0.0))
            await asyncio.wait_for(gone.wait(), DEADLINE)
            assert child.ending == "exit code 0"
        finally:
            child.signal(signal.SIGKILL)

    run(test)


@pytest.mark.parametrize("pace", [0.0, 0.002])
def test_two_workers_share_connections_that_stay_open(start: Starter, pace: float) -> None:
    """In a burst and one by one. The bar is 40 of 100, see bench/workers.py; here any machine has to keep the rule."""
    router = start(2)
    two_workers(router)
    raw = b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

    few, many = split(router.pid, router.port, raw, pace=pace)

    assert few + many == CONNECTIONS
    assert few >= 0.3 * CONNECTIONS


def test_a_worker_that_stands_still_holds_up_no_client(start: Starter) -> None:
    """It has fewer connections, so the other one leaves it the next ones: a moment, and no longer."""
    router = start(2)
    one, other = two_workers(router)
    with stopped(one):
        kept = [router.connect() for _ in range(20)]
        for sock in kept:
            assert ask(sock, "GET", "/v1/models")[0] == 200
        assert held(router.pid, router.port) == {one: 0, other: 20}
    for sock in kept:
        sock.close()


def test_log_lines_of_workers_tell_which_one_wrote_them(start: Starter) -> None:
    router = start(2, {"logging": {"format": "text", "access": True}})
    two_workers(router)
    assert router.chat() == 200

    until(lambda: router.said(r" INFO router\.access\[[01]\]: .* /v1/chat/completions "), "an access line")
    assert router.said(r" INFO router\.process\.parent: worker 0"), "the parent is none of them"


@pytest.mark.parametrize(("workers", "numbers"), [(1, {None}), (2, {0, 1})])
def test_the_configuration_tells_which_one_has_counted_what_stands_beside_it(
    start: Starter, workers: int, numbers: set[int | None]
) -> None:
    router = start(workers)
    found = set()

    def all_have_answered() -> bool:
        found.add(router.admin("GET", "/config")[1]["worker"])
        return found == numbers

    until(all_have_answered, "answers of all")


def test_the_only_process_has_no_number_in_its_lines(start: Starter) -> None:
    router = start(1, {"logging": {"format": "text", "access": True}})
    until(lambda: router.ask("GET", "/readyz")[0] == 200, "readiness")
    assert router.chat() == 200

    until(lambda: router.said(r" INFO router\.access: .* /v1/chat/completions "), "an access line")


def test_a_worker_that_starts_later_takes_earlier_orders_without_judging_them_again(
    start: Starter, backends: list[str]
) -> None:
    """A backend that was there when one was removed is gone since: removing that one would need force now."""
    router = start(2)
    first = two_workers(router)
    kept, other = (url.removeprefix("http://") for url in backends)
    assert router.admin("POST", "/admin/backends", {"url": "http://127.0.0.1:9", "name": "new"})[0] == 201
    assert router.admin("POST", f"/admin/backends/{kept}/drain")[0] == 200
    assert router.admin("DELETE", f"/admin/backends/{other}")[0] == 200
    assert router.admin("DELETE", "/admin/backends/new")[0] == 409
    assert router.admin("DELETE", "/admin/backends/new?force=true")[0] == 200
    os.kill(first[0], signal.SIGKILL)
    until(lambda: router.said(r"worker \d \(pid \d+\) serves", times=3), "another worker")

    with stopped((set(first) & set(router.workers())).pop()):
        assert [each["name"] for each in router.admin("GET", "/admin/backends")[1]["data"]] == [kept]
    assert not router.said("could not be carried out here")
