"""Rules of router/relay/choosing.py: who takes an exchange, and how it waits where all are full."""

import asyncio
import json
import time
from typing import Any

import pytest

from router.simulator.settings import Settings
from tests.front import CHAT, Front, broken, front, merged, run, until
from tests.relay.scripted import DONE, TEXT, Asked, chat, scripted, stream

ONE_PLACE: dict[str, Any] = {"backend_options": [{"max_connections": 1}]}
SLOW = Settings(ttft=0.3)


def full(cluster: Front) -> bool:
    return all(backend.in_flight == 1 for backend in cluster.app.registry.backends)


def waiting(cluster: Front) -> int:
    return len(cluster.app.relay._shared.queue)


async def metric(cluster: Front, name: str, **labels: str) -> float:
    return await cluster.metric(name, **labels)


def test_an_exchange_waits_for_a_place_and_is_answered() -> None:
    async def test() -> None:
        async with front(SLOW, config=ONE_PLACE) as cluster:
            answers = await asyncio.gather(*(cluster.chat() for _ in range(4)))
            assert [answer.code for answer in answers] == [200] * 4
            assert cluster.backends[0].figures.served == 4
            assert await metric(cluster, "router_queue_wait_seconds_count") == 3
            assert await metric(cluster, "router_queue_length") == 0

    run(test)


@pytest.mark.row(73)
def test_who_finds_the_queue_full_is_told_so_at_once() -> None:
    async def test() -> None:
        config = merged(ONE_PLACE, {"overload": {"queue_size": 2}})
        async with front(Settings(ttft=1.0), config=config) as cluster:
            running = [asyncio.ensure_future(cluster.chat()) for _ in range(3)]
            await until(lambda: full(cluster) and waiting(cluster) == 2)
            for _ in range(10):
                answer = await cluster.chat()
                assert answer.code == 503
                assert json.loads(answer.body)["error"]["code"] == "overloaded"
                assert 1 <= int(answer.headers["Retry-After"]) <= 60
            assert not any(one.done() for one in running), "nobody was waited for"
            assert {(await one).code for one in running} == {200}
            assert await metric(cluster, "router_queue_rejected_total", reason="full") == 10

    run(test)


@pytest.mark.row(73)
@pytest.mark.parametrize("stream", [False, True])
def test_who_waits_too_long_is_told_when_to_come_back(stream: bool) -> None:
    async def test() -> None:
        config = merged(ONE_PLACE, {"overload": {"queue_timeout": 0.2}})
        async with front(Settings(ttft=3.0), config=config) as cluster:
            running = asyncio.ensure_future(cluster.chat())
            await until(lambda: full(cluster))
            answer = await cluster.chat(stream=stream)
            assert answer.code == 503
            assert int(answer.headers["Retry-After"]) >= 1
            assert await metric(cluster, "router_queue_rejected_total", reason="timeout") == 1
            assert (await running).code == 200

    run(test)


def test_a_queue_of_no_places_lets_nobody_wait() -> None:
    async def test() -> None:
        config = merged(ONE_PLACE, {"overload": {"queue_size": 0}})
        async with front(SLOW, config=config) as cluster:
            running = asyncio.ensure_future(cluster.chat())
            await until(lambda: full(cluster))
            assert (await cluster.chat()).code == 503
            assert (await running).code == 200

    run(test)


@pytest.mark.row(37)
def test_a_client_that_leaves_while_it_waits_is_never_sent_upstream() -> None:
    async def test() -> None:
        async with front(SLOW, config=ONE_PLACE) as cluster:
            running = asyncio.ensure_future(cluster.chat())
            await until(lambda: full(cluster))
            reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port)
            writer.write(chat())
            await until(lambda: waiting(cluster) == 1)
            writer.close()
            await until(lambda: waiting(cluster) == 0)
            assert (await running).code == 200
            assert (await cluster.chat()).code == 200
            assert cluster.backends[0].figures.served == 2
            assert await metric(cluster, "router_requests_total", outcome="client_gone") == 1
            assert await reader.read() == b""

    run(test)


def test_the_deadline_of_a_request_goes_on_while_it_waits() -> None:
    async def test() -> None:
        async with front(Settings(ttft=1.0), config=ONE_PLACE) as cluster:
            running = asyncio.ensure_future(cluster.chat())
            await until(lambda: full(cluster))
            answer = await cluster.ask("/v1/chat/completions", CHAT, headers={"X-Request-Timeout": "0.2"})
            assert answer.code == 504
            assert waiting(cluster) == 0
            assert (await running).code == 200

    run(test)


def test_a_stream_that_waits_is_kept_alive_by_comments() -> None:
    async def test() -> None:
        config = merged(ONE_PLACE, {"timeouts": {"keepalive_after": 0.1}})
        async with front(Settings(ttft=0.6), config=config) as cluster:
            running = asyncio.ensure_future(cluster.chat())
            await until(lambda: full(cluster))
            answer = await cluster.chat(stream=True)
            assert answer.body.startswith(b": keepalive")
            assert answer.body.endswith(DONE)
            assert (await running).code == 200

    run(test)


def test_who_waits_when_the_router_stops_is_told_so() -> None:
    async def test() -> None:
        async with front(Settings(ttft=30.0), config=ONE_PLACE) as cluster:
            asked = [asyncio.ensure_future(cluster.chat()) for _ in range(3)]
            await until(lambda: full(cluster) and waiting(cluster) == 2)
            await cluster.app.relay.stop()
            assert [(await one).code for one in asked] == [503] * 3
            assert waiting(cluster) == 0

    run(test)


def test_who_waits_for_a_backend_that_dies_is_told_at_once() -> None:
    async def test() -> None:
        async with front(Settings(ttft=30.0), config=ONE_PLACE) as cluster:
            asked = [asyncio.ensure_future(cluster.chat()) for _ in range(3)]
            await until(lambda: full(cluster) and waiting(cluster) == 2)
            await cluster.backends[0].kill()
            assert {(await one).code for one in asked} <= {502, 503}

    run(test)


def test_what_a_dead_backend_leaves_waits_for_a_full_one_before_newcomers() -> None:
    async def test() -> None:
        order: list[bytes] = []

        async def dies(asked: Asked) -> None:
            await dead.wait()
            asked.writer.transport.abort()

        async def serves(asked: Asked) -> None:
            order.append(asked.headers(b"x-request-id")[0])
            await finish.wait()
            asked.writer.write(stream(TEXT, DONE))

        dead, finish = asyncio.Event(), asyncio.Event()
        options = {"models": ["simulated-model"], "max_connections": 1}
        config = {"retry": {"max_attempts": 2}, "backend_options": [options] * 2, "timeouts": {"connect": 0.5}}
        async with scripted(dies, serves, config=config) as (cluster, asked):
            answers = {}
            for name in ("first", "second", "newcomer"):
                answers[name] = asyncio.ensure_future(
                    cluster.ask("/v1/chat/completions", {**CHAT, "stream": True}, headers={"X-Request-Id": name})
                )
                await until(lambda: len(asked) + waiting(cluster) == len(answers))
            dead.set()
            await until(lambda: waiting(cluster) + len(order) >= 2)
            finish.set()
            codes = {name: (await answer).code for name, answer in answers.items()}
            assert codes["first"] == codes["second"] == 200
            assert order[0] == b"second"

    run(test)


@pytest.mark.row(75)
@pytest.mark.parametrize("flooding", [{"Authorization": "Bearer flood"}, {"x-api-key": "flood"}, {}])
def test_a_key_that_floods_delays_no_other_key(flooding: dict[str, str]) -> None:
    """Without credentials the address is the key."""

    async def test() -> None:
        async with front(Settings(ttft=0.02), config=ONE_PLACE) as cluster:

            async def ask(headers: dict[str, str]) -> float:
                started = time.monotonic()
                answer = await cluster.ask("/v1/chat/completions", CHAT, headers=headers)
                assert answer.code == 200
                return time.monotonic() - started

            flood = [asyncio.ensure_future(ask(flooding)) for _ in range(60)]
            await until(lambda: waiting(cluster) > 50)
            others = [await ask({"Authorization": "Bearer other"}) for _ in range(5)]
            done = sum(one.done() for one in flood)

            assert done < 40  # the flood still waits: who came later was served first
            assert sorted(others)[2] < 1.0
            await asyncio.gather(*flood)

    run(test)


@pytest.mark.row(74)
def test_twice_as_much_as_can_be_done_keeps_the_backends_at_work() -> None:
    async def test() -> None:
        places, seconds = 4, 0.05
        options = {"max_connections": places}
        config = {"backend_options": [options], "overload": {"queue_size": 8}, "retry": {"max_attempts": 1}}
        async with front(Settings(ttft=seconds, tokens=1), config=config) as cluster:
            codes: list[int] = []

            async def client() -> None:
                while time.monotonic() < end:
                    answer = await cluster.chat()
                    codes.append(answer.code)
                    if answer.code == 503:
                        await asyncio.sleep(0.02)

            async def goodput(clients: int) -> int:
                codes.clear()
                await asyncio.gather(*(client() for _ in range(clients)))
                return codes.count(200)

            end = time.monotonic() + 1.5
            usual = await goodput(places)
            end = time.monotonic() + 1.5
            overloaded = await goodput(places * 5)
            assert set(codes) == {200, 503}
            assert overloaded >= 0.8 * usual

    run(test)


def test_a_broken_backend_is_not_waited_for() -> None:
    async def test() -> None:
        async with front(Settings(), config=ONE_PLACE) as cluster:
            broken(cluster.backends[0], status=503, retry_after="30")
            started = time.monotonic()
            assert (await cluster.chat()).code == 503
            assert (await cluster.chat()).code == 503
            assert time.monotonic() - started < 5

    run(test)


@pytest.mark.parametrize("stream", [False, True])
def test_a_backend_that_stops_is_left_for_another_whatever_the_budget(stream: bool) -> None:
    """Its /health may be good for as long as it takes to stop."""

    async def test() -> None:
        config = {"retry": {"budget": 0, "budget_min": 0}, "health": {"interval": 30}}
        async with front(Settings(), Settings(), config=config) as cluster:
            broken(cluster.backends[0], status=500, message="cannot schedule new futures after shutdown")
            assert {(await cluster.chat(stream=stream)).code for _ in range(10)} == {200}
            assert await metric(cluster, "router_attempts_total", outcome="stopping") == 1
            assert await metric(cluster, "router_retries_total", cause="stopping") == 1

    run(test)
