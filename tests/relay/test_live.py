"""Rules of router/relay/live.py: who leaves a backend that is down, and who stays."""

import asyncio
import contextlib
import json
import math
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from router.relay.live import MOVE_AFTER, Live
from tests.front import Front, front, run, until
from tests.relay.scripted import DONE, HEAD, ROLE, TEXT, Asked, chunk, gone, says, scripted, stream

# Probes find a dead one within a second.
STRICT = {"health": {"interval": 0.5, "timeout": 0.5, "fall": 2}}


class One:
    """An attempt whose bytes came when the test says."""

    def __init__(self, last_byte: float, *, stays: bool = False) -> None:
        self.last_byte = self.progress = last_byte
        self._stays = stays
        self.has_left = False

    def leave(self) -> bool:
        self.has_left = not self._stays
        return self.has_left


def live(now: float, *down: str) -> Live:
    return Live(asyncio.get_running_loop(), clock=lambda: now, is_down=lambda name: name in down)


def test_the_last_byte_of_a_backend_is_that_of_its_latest_attempt() -> None:
    async def test() -> None:
        attempts = live(100.0)
        assert attempts.last_byte("a") == -math.inf
        for one in (One(7.0), One(-math.inf), One(9.0)):
            attempts.add("a", one)
        attempts.add("b", One(50.0))

        assert attempts.last_byte("a") == 9.0

    run(test)


def test_only_silent_attempts_at_that_backend_leave() -> None:
    async def test() -> None:
        attempts = live(100.0)
        never, long_ago, just_now, elsewhere = One(-math.inf), One(98.9), One(99.5), One(1.0)
        for one in (never, long_ago, just_now):
            attempts.add("a", one)
        attempts.add("b", elsewhere)

        assert attempts.move_silent("a", 1.0) == 2
        assert [one.has_left for one in (never, long_ago, just_now, elsewhere)] == [True, True, False, False]

    run(test)


def test_one_that_does_not_end_is_not_counted() -> None:
    async def test() -> None:
        attempts = live(100.0)
        attempts.add("a", One(1.0, stays=True))

        assert attempts.move_silent("a", 1.0) == 0

    run(test)


def test_nothing_is_kept_of_attempts_that_have_ended() -> None:
    async def test() -> None:
        attempts, one, other = live(0.0), One(0.0), One(0.0)
        attempts.add("a", one)
        attempts.add("a", other)
        attempts.discard("a", one)
        attempts.discard("a", other)
        attempts.discard("a", other)

        assert len(attempts) == 0
        assert attempts._attempts == {}

    run(test)


@pytest.mark.parametrize("is_still_down", [True, False])
def test_one_that_spoke_just_before_is_looked_at_again_while_its_backend_is_down(is_still_down: bool) -> None:
    async def test() -> None:
        attempts = Live(
            asyncio.get_running_loop(), clock=time.monotonic, is_down=lambda name: is_still_down and name == "a"
        )
        one = One(time.monotonic())
        attempts.add("a", one)
        attempts.backend_down("a")
        assert not one.has_left
        await asyncio.sleep(MOVE_AFTER + 0.2)

        assert one.has_left == is_still_down
        attempts.close()
        assert attempts._timers == {}

    run(test)


@contextlib.asynccontextmanager
async def process(*flags: str) -> AsyncIterator[tuple[int, str]]:
    """Run a simulated server as a process of its own; yield its id and its URL."""
    command = [sys.executable, "-m", "router", "simulate", "--port", "0", *flags]
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    try:
        yield child.pid, (await child.stdout.readline()).split()[0].decode()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGCONT)
            child.kill()
        await child.wait()


def attempts_at(cluster: Front, url: str) -> int:
    name = url.removeprefix("http://")
    return sum(backend.in_flight for backend in cluster.app.registry.backends if backend.spec.name == name)


def text_of(body: bytes) -> str:
    """Return the text of a stream of chat events."""
    events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


@pytest.mark.row(6)
@pytest.mark.parametrize("stream", [False, True])
def test_what_waits_for_a_process_that_is_stopped_is_answered_elsewhere(stream: bool) -> None:
    async def test() -> None:
        async with (
            process("--ttft", "600") as (pid, slow),
            process() as (_, quick),
            front(urls=[slow, quick], config=STRICT) as cluster,
        ):
            asked = [asyncio.ensure_future(cluster.chat(stream=stream)) for _ in range(8)]
            await until(lambda: attempts_at(cluster, slow) == 4)
            os.kill(pid, signal.SIGSTOP)
            answers = await asyncio.gather(*asked)

            assert {answer.code for answer in answers} == {200}
            assert attempts_at(cluster, slow) == 0

    run(test, timeout=60)


@pytest.mark.row(7)
def test_streams_of_a_process_that_is_stopped_go_on_elsewhere_and_lose_nothing() -> None:
    async def test() -> None:
        pace = ("--itl", "0.05", "--tokens", "60", "--seed", "1")
        async with (
            process(*pace) as (pid, one),
            process(*pace) as (_, other),
            front(urls=[one, other], config=STRICT) as cluster,
        ):
            whole = text_of((await cluster.chat(stream=True)).body)
            asked = [asyncio.ensure_future(cluster.chat(stream=True)) for _ in range(8)]
            await until(lambda: attempts_at(cluster, one) == 4)
            await asyncio.sleep(1)
            os.kill(pid, signal.SIGSTOP)
            answers = await asyncio.gather(*asked)

            assert {text_of(answer.body) for answer in answers} == {whole}
            assert all(answer.body.endswith(DONE) for answer in answers)
            assert attempts_at(cluster, one) == 0

    run(test, timeout=60)


def test_streams_that_have_a_head_and_nothing_else_are_awaited() -> None:
    async def test() -> None:
        said = asyncio.Event()

        async def waits(asked: Asked) -> None:
            asked.writer.write(HEAD + chunk(ROLE))
            await said.wait()
            asked.writer.write(chunk(TEXT) + chunk(DONE) + b"0\r\n\r\n")

        async with scripted(waits) as (cluster, _):
            asked = [asyncio.ensure_future(cluster.chat(stream=True)) for _ in range(2)]
            relay, name = cluster.app.relay, cluster.app.registry.backends[0].spec.name
            assert relay is not None
            await until(lambda: relay.answers.awaited(name) == 2)
            assert relay.answers.last_byte(name) == -math.inf
            said.set()
            await asyncio.gather(*asked)
            assert relay.answers.awaited(name) == 0

    run(test)


def test_a_stream_that_makes_progress_is_left_alone_though_its_backend_is_down() -> None:
    async def test() -> None:
        async def drips(asked: Asked) -> None:
            asked.writer.write(HEAD + chunk(ROLE) + chunk(TEXT))
            for _ in range(6):
                await asyncio.sleep(MOVE_AFTER / 2)
                asked.writer.write(chunk(TEXT))
            asked.writer.write(chunk(DONE) + b"0\r\n\r\n")

        async with scripted(drips) as (cluster, _):
            asked = asyncio.ensure_future(cluster.chat(stream=True))
            relay, name = cluster.app.relay, cluster.app.registry.backends[0].spec.name
            assert relay is not None
            await until(lambda: relay.answers.last_byte(name) > 0)
            relay.backend_down(name)
            body = (await asked).body

            assert body.count(b'"x"') == 7
            assert body.endswith(DONE)

    run(test)


def test_what_comes_before_an_answer_begins_is_no_progress() -> None:
    """vLLM's API server takes requests, and tells their role, while its engine hangs."""

    async def test() -> None:
        works = asyncio.Event()

        async def script(asked: Asked) -> None:
            asked.writer.write(HEAD + chunk(ROLE))
            await works.wait()
            asked.writer.write(chunk(TEXT))

        async with scripted(script) as (cluster, _):
            asked = asyncio.ensure_future(cluster.chat(stream=True))
            relay, name = cluster.app.relay, cluster.app.registry.backends[0].spec.name
            assert relay is not None
            attempts = relay._shared.running._attempts
            await until(lambda: name in attempts and next(iter(attempts[name])).last_byte > 0)
            assert relay.answers.last_byte(name) == -math.inf

            works.set()
            await until(lambda: relay.answers.last_byte(name) > 0)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)

    run(test)


def test_leaving_a_backend_closes_its_connection() -> None:
    async def test() -> None:
        left_alone: list[Asked] = []

        async def silent(asked: Asked) -> None:
            left_alone.append(asked)

        config: dict[str, Any] = {"retry": {"max_attempts": 2}}
        async with scripted(silent, says(stream(ROLE, TEXT, DONE)), config=config) as (cluster, _):
            answers = [asyncio.ensure_future(cluster.chat(stream=True)) for _ in range(2)]
            await until(lambda: len(left_alone) == 1)
            relay, backends = cluster.app.relay, cluster.app.registry.backends
            assert relay is not None
            relay.backend_down(backends[0].spec.name)

            assert [(await answer).body[-len(DONE) :] for answer in answers] == [DONE, DONE]
            await gone(left_alone[0])
            assert await cluster.metric("router_attempts_total", outcome="first_byte_timeout") == 1

    run(test)
