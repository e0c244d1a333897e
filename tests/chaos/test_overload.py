"""More than can be done: waiting in order, turning away at once, and what memory and descriptors allow."""

import asyncio
import json
import logging
import os
import resource
import time

import pytest
from tornado.httpclient import HTTPResponse

from router.simulator.settings import Settings
from tests.chaos.cluster import cluster
from tests.chaos.inside import inside
from tests.chaos.processes import until
from tests.chaos.raw import RawClient, chat
from tests.front import CHAT, Front, run

ONE_PLACE = {"backend_options": [{"max_connections": 1}]}


async def waiting(it: Front, number: int) -> None:
    """Wait until so many exchanges are open."""
    await until(lambda: it.app.in_flight == number, what=f"{number} exchanges")
    await asyncio.sleep(0.05)


def order_served(it: Front) -> list[str]:
    return [json.loads(seen.body)["user"] for seen in it.backends[0].requests if b'"user"' in seen.body]


@pytest.mark.row(73)
def test_who_finds_the_queue_full_is_turned_away_at_once_and_who_waits_too_long_too() -> None:
    async def test() -> None:
        config = {**ONE_PLACE, "overload": {"queue_size": 2, "queue_timeout": 2}}
        async with inside(Settings(ttft=5.0), config=config) as it:
            asked = [asyncio.ensure_future(it.chat())]
            await waiting(it, 1)
            asked += [asyncio.ensure_future(it.chat()) for _ in range(2)]
            await waiting(it, 3)
            refused = await it.chat()
            assert not any(one.done() for one in asked), "before anybody's time is over"
            assert (refused.code, int(refused.headers["Retry-After"]) >= 1) == (503, True)
            assert json.loads(refused.body)["error"]["message"]
            assert await it.metric("router_queue_rejected_total", reason="full") == 1
            answers = await asyncio.gather(*asked)
            assert [answer.code for answer in answers] == [200, 503, 503]
            assert all("Retry-After" in answer.headers for answer in answers[1:])
            assert await it.metric("router_queue_rejected_total", reason="timeout") == 2

    run(test)


@pytest.mark.row(73)
def test_who_waits_is_served_in_the_order_of_coming() -> None:
    async def test() -> None:
        async with inside(Settings(ttft=0.05), config=ONE_PLACE) as it:
            asked = []
            for number in range(10):
                asked.append(asyncio.ensure_future(it.chat(user=f"n{number}")))
                await asyncio.sleep(0.01)
            assert {answer.code for answer in await asyncio.gather(*asked)} == {200}
            assert order_served(it) == [f"n{number}" for number in range(10)]

    run(test)


@pytest.mark.row(74)
@pytest.mark.parametrize("seconds", [4, pytest.param(60, marks=pytest.mark.long)])
def test_twice_what_can_be_done_leaves_nine_tenths_of_it_done(seconds: int) -> None:
    """Two backends, four places each, a fifth of a second per answer: some 40 a second can be done."""

    async def test() -> None:
        config = {
            "backend_options": [{"max_connections": 4}] * 2,
            "overload": {"queue_size": 40, "queue_timeout": 1},
        }
        async with inside(Settings(ttft=0.2), Settings(ttft=0.2), config=config) as it:
            # What can be done on this machine now, asked for without a pause by just as many clients as fit.
            calm = await worked_off(it, clients=8, seconds=2)
            asked: list[asyncio.Task[HTTPResponse]] = []
            begun = time.monotonic()
            while (passed := time.monotonic() - begun) < seconds:
                while len(asked) < passed * 2 * calm:  # by the clock: who asks may be late as well
                    asked.append(asyncio.ensure_future(it.chat()))
                await asyncio.sleep(1 / 160)
            answers = await asyncio.gather(*asked)
            took = time.monotonic() - begun
            good = sum(answer.code == 200 for answer in answers)
            assert {answer.code for answer in answers} == {200, 503}
            assert good / took >= 0.8 * calm, f"{good / took:.0f} a second of {calm:.0f}"
            after = time.monotonic()
            assert (await it.chat()).code == 200
            assert time.monotonic() - after < 5

    run(test, timeout=120)


async def worked_off(it: Front, *, clients: int, seconds: float) -> float:
    """Return the answers a second that so many clients get, each asking again as soon as it has its answer."""
    end = time.monotonic() + seconds

    async def one() -> int:
        count = 0
        while time.monotonic() < end:
            count += (await it.chat()).code == 200
        return count

    return sum(await asyncio.gather(*(one() for _ in range(clients)))) / seconds


@pytest.mark.row(75)
def test_one_client_that_floods_does_not_make_another_one_wait_behind_it() -> None:
    async def test() -> None:
        async with inside(Settings(ttft=0.05), config=ONE_PLACE) as it:
            greedy = {"Authorization": "Bearer greedy"}
            modest = {"Authorization": "Bearer modest"}
            body = {**CHAT, "user": "greedy"}
            flood = [asyncio.ensure_future(it.ask("/v1/chat/completions", body, headers=greedy)) for _ in range(30)]
            await waiting(it, 30)
            answer = await it.ask("/v1/chat/completions", {**CHAT, "user": "modest"}, headers=modest)
            assert answer.code == 200
            assert sum(each.done() for each in flood) < 15, "it did not stand behind all of them"
            assert {each.code for each in await asyncio.gather(*flood)} == {200}

    run(test)


@pytest.mark.row(76)
def test_uploads_are_work_so_that_above_the_memory_mark_only_one_is_let_in() -> None:
    async def test() -> None:
        async with cluster(1, config={"overload": {"max_memory": "1MB"}}) as it:
            body = chat(CHAT)
            clients = [await RawClient.connect(it.router.port) for _ in range(5)]
            codes = set()
            for client in clients:
                client.send(body[:-10])
                await asyncio.sleep(0.4)  # within the first second nothing is known of memory yet
            for client in clients:
                client.send(body[-10:])
            for client in clients:
                codes.add((await client.read_until(b"\r\n")).split()[1])
                client.close()
            assert codes == {b"200", b"503"}
            rejected = await it.router.metric("router_requests_total", outcome="rejected", status="503")
            assert rejected == await it.router.metric("router_requests_shed_total", reason="memory") >= 1
            assert await it.router.metric("router_requests_total", outcome="no_backend") == 0

    run(test, timeout=60)


@pytest.mark.long
@pytest.mark.row(76)
def test_above_the_memory_mark_new_work_is_turned_away_and_streams_finish() -> None:
    async def test() -> None:
        config = {"overload": {"max_memory": "200MB"}, "server": {"body_timeout": 30}}
        async with cluster(1, simulate=["--itl", "40ms"], config=config) as it:
            running = asyncio.ensure_future(it.stream(max_tokens=150, ignore_eos=True))
            while await it.router.metric("router_requests_in_flight") < 1:
                await asyncio.sleep(0.02)
            large = chat({**CHAT, "stream": False, "user": "x" * (40 << 20)})
            clients = [await RawClient.connect(it.router.port) for _ in range(6)]
            for client in clients:
                client.send(large[:-10])
            codes = set()
            end = time.monotonic() + 15
            while 503 not in codes and time.monotonic() < end:
                answer = await it.chat()
                codes.add(answer.code)
                await asyncio.sleep(0.05)
            assert 503 in codes, codes
            assert "Retry-After" in answer.headers
            assert await it.router.metric("router_requests_shed_total", reason="memory") >= 1
            assert (await running).is_whole
            for client in clients:
                client.reset()
            while (await it.chat()).code != 200:
                await asyncio.sleep(0.1)

    run(test, timeout=90)


@pytest.mark.row(77)
def test_without_descriptors_left_it_neither_ends_nor_spins_and_takes_clients_again_later() -> None:
    async def test() -> None:
        def few() -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (90, 90))

        async with cluster(1, limits=few) as it:
            clients = [await RawClient.connect(it.router.port) for _ in range(150)]
            await asyncio.sleep(1.0)
            used = cpu(it.router.pid)
            await asyncio.sleep(1.0)
            assert cpu(it.router.pid) - used < 0.5, "seconds of CPU in a second: it spins"
            assert it.router.is_running
            lines = [line for line in it.router.log_lines() if line.get("level") in ("warning", "error", "critical")]
            assert len(lines) < 20, "it says so, once in a while"
            for client in clients:
                client.close()
            await asyncio.sleep(0.5)
            assert (await it.chat()).code == 200

    run(test, timeout=60)


def cpu(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.row(78)
def test_a_loop_that_stood_still_is_told_with_where_it_stood(caplog: pytest.LogCaptureFixture) -> None:
    def stand_still() -> None:
        time.sleep(1.2)

    async def test() -> None:
        async with inside(Settings()) as it:
            await asyncio.sleep(0.3)
            with caplog.at_level(logging.WARNING):
                stand_still()
                await until(lambda: "stand_still" in caplog.text, what="the log shows the stack")
            while not (stalls := await it.metric("router_loop_stalls_total")):  # counted by the next beat
                await asyncio.sleep(0.01)
            assert stalls == 1
            assert await it.metric("router_loop_lag_seconds_count") > 0
            assert (await it.chat()).code == 200

    run(test)
