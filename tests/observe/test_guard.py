"""Rules of router/observe/guard.py: what the process uses, and what becomes of new requests when that is too much."""

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bench.processes import free_port
from router.access.overload import REST, Marks, Strain, Usage, Watermarks
from router.handlers.relayed import SPARED
from router.observe.guard import Guard, memory_limit, usage_of_process
from router.simulator.settings import Settings
from tests.front import CHAT, front, run, until


def test_the_process_knows_what_it_uses() -> None:
    before = usage_of_process()
    files = [socket.socket() for _ in range(50)]
    held = bytearray(os.urandom(1 << 20) * 64)
    after = usage_of_process()
    for each in files:
        each.close()

    assert after.descriptors == before.descriptors + 50
    assert after.memory - before.memory > len(held) // 2


@pytest.mark.parametrize(
    ("membership", "files", "limit"),
    [
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": "1000"}, 1000),
        ("0::/a/b\n", {"a/b/memory.max": "500", "a/memory.max": "1000"}, 500),
        ("0::/\n", {"memory.max": "700"}, 700),
        ("0::/not/here\n", {"memory.max": "700"}, 700),  # in a container only its own group is mounted
        ("0::/a\n", {"a/memory.max": "max"}, None),
        ("4:memory:/x\n0::/\n", {"memory/x/memory.limit_in_bytes": "900"}, 900),
        ("4:cpu,memory:/x\n", {"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("", {}, None),
    ],
)
def test_the_limit_is_the_smallest_of_those_above(
    membership: str, files: dict[str, str], limit: int | None, tmp_path: Path
) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")

    assert memory_limit(membership, root=tmp_path) == limit


def test_it_looks_from_its_start_to_its_end_and_tells_what_has_changed(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        usage = Usage(0, 200)
        guard = Guard(Marks(descriptors=100), at_work=lambda: 1, usage=lambda: usage)
        assert guard.refusal() is None
        guard.start()
        assert guard.refusal() is Strain.DESCRIPTORS
        usage = Usage(0, 10)
        await until(lambda: guard.refusal() is None)
        usage = Usage(0, 200)
        guard.stop()
        await asyncio.sleep(1.2)
        assert guard.refusal() is None

    run(test)
    told = [record for record in caplog.records if record.levelname == "WARNING"]
    assert [record.name for record in told if record.name.startswith("router")] == ["router.observe.guard"], told


def test_who_refuses_gives_freed_memory_back_until_it_is_well_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        trimmed: list[int] = []
        monkeypatch.setattr("router.observe.guard.trim", lambda: trimmed.append(1))
        usage = Usage(1001, 0)
        guard = Guard(Marks(memory=1000), at_work=lambda: 1, usage=lambda: usage)
        guard.start()
        assert (guard.refusal(), len(trimmed)) == (Strain.MEMORY, 1)
        usage, guard._trimmed_at = Usage(int(1000 * REST) + 1, 0), None
        await until(lambda: len(trimmed) == 2)  # it is below the mark, and still refused
        guard.stop()

    run(test)


def test_with_no_descriptor_left_to_look_with_all_are_in_use() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        usage = usage_of_process()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    watermarks = Watermarks(Marks(descriptors=100))
    assert watermarks.observe(usage)
    assert watermarks.strain is Strain.DESCRIPTORS


@pytest.mark.row(76)
def test_above_the_memory_mark_new_work_is_refused_and_what_runs_is_finished() -> None:
    async def test() -> None:
        config: dict[str, Any] = {"overload": {"max_memory": "off"}}
        async with front(Settings(ttft=0.1, itl=0.05, tokens=20), config=config) as cluster:
            running = asyncio.ensure_future(cluster.chat(stream=True))
            await until(lambda: cluster.app.in_flight == 1)
            guard = cluster.app._guard
            guard.marks = Marks(memory=1 << 20)  # far below what any process has
            await until(lambda: guard.strain is Strain.MEMORY)

            answer = await cluster.chat()
            assert answer.code == 503
            assert json.loads(answer.body)["error"]["code"] == "overloaded"
            assert int(answer.headers["Retry-After"]) >= 1
            assert [(await cluster.ask(path)).code for path in ("/livez", "/health", "/metrics", "/v1/models")] == [
                200
            ] * 4
            assert (await running).body.endswith(b"data: [DONE]\n\n")
            assert await cluster.metric("router_requests_shed_total", reason="memory") == 1
            assert cluster.backends[0].figures.served == 1
            assert (await cluster.chat()).code == 200  # nothing is at work: what is in use is nobody's work

    run(test)


@pytest.mark.row(76)
def test_a_refused_request_is_told_before_its_body_is_read() -> None:
    async def test() -> None:
        async with front(Settings(ttft=30.0)) as cluster:
            running = asyncio.ensure_future(cluster.chat())
            await until(lambda: cluster.app.relay.live == 1)
            guard = cluster.app._guard
            guard.marks = Marks(memory=1 << 20)
            await until(lambda: guard.strain is Strain.MEMORY)
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            told = await cluster.exchange(head + b"Content-Length: 10000000\r\n\r\n{", until=b"overloaded")
            assert told.startswith(b"HTTP/1.1 503 ")
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    run(test)


@pytest.mark.row(76)
def test_above_the_memory_mark_long_bodies_that_are_still_coming_give_way(tmp_path: Path) -> None:
    """They were taken when there was room: together they may be far more than there is."""
    piece = b'{"a":"' + b"b" * (SPARED // 2)

    async def test() -> None:
        async with front(Settings(), config={"logging": {"file": str(tmp_path / "log")}}) as cluster:
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            clients = [await asyncio.open_connection("127.0.0.1", cluster.port) for _ in range(5)]
            rest = SPARED + 1000 - len(piece)  # of the last one
            for number, (_, writer) in enumerate(clients):
                length = 10_000_000 if number < 4 else SPARED + 1000
                writer.write(head + b"Content-Length: %d\r\n\r\n" % length + piece)
            clients[4][1].write(b"b" * (rest - 2000))
            await until(lambda: cluster.app.metrics.in_flight == 5)
            await asyncio.sleep(0.1)
            guard = cluster.app._guard
            guard.marks = Marks(memory=1 << 20)
            await until(lambda: guard.strain is Strain.MEMORY)
            for reader, writer in clients[1:3]:
                writer.write(piece + b"b" * 1000)
                told = await reader.read()
                assert told.startswith(b"HTTP/1.1 503 ")
                assert b"\r\nConnection: close\r\n" in told
                assert b'"overloaded"' in told
            reader, writer = clients[4]  # it is whole with this: there is nothing to be spared
            writer.write(b"b" * 1998 + b'"}')
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 400 ")
            clients[0][1].close()
            await until(lambda: cluster.app.metrics.in_flight == 1)
            assert await cluster.metric("router_requests_shed_total", reason="memory") == 2

            reader, writer = clients[3]  # nothing else is at work: it may go on
            writer.write(b"b" * (10_000_000 - len(piece) - 2) + b'"}')
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 400 ")
            for _, each in clients:
                each.close()

    run(test)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    refused = [each["bytes_in"] for each in lines if each.get("status") == 503]
    assert len(refused) == 2
    assert all(SPARED < size <= 2 * len(piece) + 1000 for size in refused), "what had come of them is told"


@contextlib.asynccontextmanager
async def router(url: str, tmp_path: Path, *, descriptors: int) -> AsyncIterator[tuple[int, int, Path]]:
    """Run a router with so many file descriptors; yield its id, its port and its log."""
    port = free_port()
    config, log = tmp_path / "router.yaml", tmp_path / "router.log"
    config.write_text(
        f"backends: [{{url: '{url}', dialect: openai}}]\n"
        f"server: {{host: 127.0.0.1, port: {port}}}\nadmin: {{enabled: false}}\n"
    )

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    with log.open("wb") as out:
        command = [sys.executable, "-m", "router", "--config", str(config)]
        child = await asyncio.create_subprocess_exec(*command, stdout=out, stderr=out, preexec_fn=limit)
    try:
        await until(lambda: b"-> up" in log.read_bytes(), timeout=20)
        yield child.pid, port, log
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(signal.SIGTERM)
        await child.wait()


async def chat(port: int) -> bytes:
    """Return the status line of one chat, b"" where there was none."""
    body = json.dumps(CHAT).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n"
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        told = await reader.read()
        writer.close()
        return told.partition(b"\r\n")[0]
    return b""


def ticks(pid: int) -> int:
    """Processor time that a process has used, in hundredths of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.row(77)
def test_a_router_without_free_descriptors_neither_crashes_nor_spins_and_accepts_again(tmp_path: Path) -> None:
    async def test() -> None:
        async with (
            front() as cluster,
            router(f"http://127.0.0.1:{cluster.backends[0].port}", tmp_path, descriptors=64) as (pid, port, log),
        ):
            assert b" 200 " in await chat(port)
            clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
            await asyncio.sleep(0.5)
            before = ticks(pid)
            assert b" 200 " not in await chat(port)
            await asyncio.sleep(2)
            assert ticks(pid) - before < 100
            assert sum(reader.at_eof() or reader.exception() is not None for reader, _ in clients) > 100
            assert 1 <= log.read_bytes().count(b"new connections are reset") <= 6
            for _, writer in clients:
                writer.close()

            for _ in range(100):
                if b" 200 " in await chat(port):
                    break
                await asyncio.sleep(0.1)
            assert b" 200 " in await chat(port)
            assert b"Traceback" not in log.read_bytes()

    run(test, timeout=60)


@pytest.mark.row(77)
def test_requests_on_connections_that_are_there_are_told_to_come_back(tmp_path: Path) -> None:
    async def test() -> None:
        async with (
            front(Settings(ttft=2.0)) as cluster,
            router(f"http://127.0.0.1:{cluster.backends[0].port}", tmp_path, descriptors=256) as (pid, port, log),
        ):
            asked = [asyncio.ensure_future(chat(port)) for _ in range(16)]
            await asyncio.sleep(0.3)
            free = 236 - len(os.listdir(f"/proc/{pid}/fd"))  # between the two marks, 230 and 243
            idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(free)]
            await until(lambda: b"too little descriptors" in log.read_bytes())
            assert b" 503 " in await chat(port)
            assert {(await one).split(b" ")[1] for one in asked} == {b"200"}
            for _, writer in idle:
                writer.close()

    run(test, timeout=60)
