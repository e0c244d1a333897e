"""Rules of router/relay/race.py: when a second attempt runs beside the first, and what becomes of both."""

import asyncio
import gc
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from router.exchange import Attempt as AttemptRecord
from router.exchange import AttemptOutcome, Exchange
from router.observer import Observer
from router.relay import flow
from router.relay.attempt import Attempt
from router.relay.course import Course
from router.relay.race import Race
from tests.front import CHAT, Front, merged, run, until
from tests.leftover import Leftover
from tests.relay.scripted import DONE, HEAD, ROLE, TEXT, Asked, Script, chunk, gone, plain, says, scripted, stream

HEDGED: dict[str, Any] = {"hedge": {"after": 0.1}, "retry": {"budget": 1.0}}
GOOD = {"object": "list", "data": [{"embedding": [1.0]}]}
EMBEDDINGS = "/v1/embeddings"
INPUT = {"model": "simulated-model", "input": "x"}


async def silent(asked: Asked) -> None:
    """Answer nothing."""


def after(seconds: float, answer: bytes) -> Script:
    async def script(asked: Asked) -> None:
        await asyncio.sleep(seconds)
        asked.writer.write(answer)

    return script


async def embed(cluster: Front) -> tuple[int, Any]:
    answer = await cluster.ask(EMBEDDINGS, INPUT)
    return answer.code, json.loads(answer.body)


def outcomes(cluster: Front) -> Callable[[str], Awaitable[float]]:
    return lambda outcome: cluster.metric("router_attempts_total", outcome=outcome)


def test_a_slow_answer_is_asked_for_elsewhere_and_the_slow_one_is_hung_up_on() -> None:
    async def test() -> None:
        async with scripted(silent, says(plain(200, GOOD)), config=HEDGED) as (cluster, asked):
            assert await embed(cluster) == (200, GOOD)
            assert len(asked) == 2
            await gone(asked[0])
            count = outcomes(cluster)
            assert (await count("superseded"), await count("ok")) == (1, 1)
            assert await cluster.metric("router_hedges_total", result="won") == 1

    run(test)


def test_the_first_one_wins_where_it_is_faster_after_all() -> None:
    async def test() -> None:
        async with scripted(after(0.3, plain(200, GOOD)), silent, config=HEDGED) as (cluster, asked):
            assert await embed(cluster) == (200, GOOD)
            await gone(asked[1])
            assert await cluster.metric("router_hedges_total", result="lost") == 1
            assert await outcomes(cluster)("superseded") == 1

    run(test)


def test_a_quick_answer_is_asked_for_once() -> None:
    async def test() -> None:
        async with scripted(says(plain(200, GOOD)), says(plain(200, GOOD)), config=HEDGED) as (cluster, asked):
            assert await embed(cluster) == (200, GOOD)
            await asyncio.sleep(0.2)
            assert len(asked) == 1

    run(test)


class Turns:
    """Which of two backends answers first, whatever the machine does."""

    def __init__(self) -> None:
        self.first, self.second = asyncio.Event(), asyncio.Event()

    def scripts(self, first: bytes, second: bytes) -> list[Script]:
        def when(turn: asyncio.Event, answer: bytes) -> Script:
            async def script(asked: Asked) -> None:
                await turn.wait()
                asked.writer.write(answer)

            return script

        return [when(self.first, first), when(self.second, second)]


async def fails_then(cluster: Front, asked: list[Asked], turns: Turns) -> tuple[int, Any]:
    """Ask, let the one answer when both are asked, and the other one when that failure is known."""
    answer = asyncio.ensure_future(embed(cluster))
    await until(lambda: len(asked) == 2)
    turns.first.set()
    while await outcomes(cluster)("gateway_error") == 0:
        await asyncio.sleep(0.005)
    assert not answer.done()
    turns.second.set()
    return await answer


@pytest.mark.parametrize("which", [0, 1])
def test_one_that_fails_ends_nobody(which: int) -> None:
    async def test() -> None:
        turns = Turns()
        scripts = turns.scripts(plain(502, {}), plain(200, GOOD))
        async with scripted(*(scripts if which == 0 else scripts[::-1]), config=HEDGED) as (cluster, asked):
            assert await fails_then(cluster, asked, turns) == (200, GOOD)
            assert len(asked) == 2
            assert await outcomes(cluster)("gateway_error") == 1

    run(test)


@pytest.fixture
def poisonous(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """An answer that we meet a fault of our own at."""
    counted = flow.tokens_of

    def failing(answer: bytes, *more: Any) -> Any:
        if b"poison" in answer:
            raise ArithmeticError
        return counted(answer, *more)

    monkeypatch.setattr(flow, "tokens_of", failing)
    return plain(200, {"poison": 1})


def test_a_fault_of_our_own_at_the_first_one_is_told_of_the_second_as_nobodys(poisonous: bytes) -> None:
    """Its client has not left."""

    async def test() -> None:
        async with scripted(after(0.3, poisonous), silent, config=HEDGED) as (cluster, asked):
            code, body = await embed(cluster)
            assert (code, body["error"]["code"], len(asked)) == (500, "internal_error", 2)
            await gone(asked[1])
            count = outcomes(cluster)
            assert [await count(each) for each in ("internal", "superseded", "client_gone")] == [1, 1, 0]
            assert await cluster.metric("router_hedges_total", result="lost") == 1

    run(test)


def test_a_fault_of_our_own_at_the_second_one_spoils_no_answer_of_the_first(
    poisonous: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with scripted(after(0.5, plain(200, GOOD)), says(poisonous), config=HEDGED) as (cluster, asked):
            assert (await embed(cluster), len(asked)) == ((200, GOOD), 2)
            assert [await outcomes(cluster)(each) for each in ("ok", "internal")] == [1, 1]
            assert await cluster.metric("router_requests_total", outcome="ok") == 1
            assert await cluster.metric("router_hedges_total", result="lost") == 1
            assert [each.exc_info[0] for each in caplog.records if each.exc_info] == [ArithmeticError]

    run(test)


def test_a_fault_of_our_own_as_the_first_one_is_ended_cuts_no_answer_of_the_second(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told = Observer.attempt_closed

    def failing(self: Observer, attempt: AttemptRecord, exchange: Exchange) -> None:
        told(self, attempt, exchange)
        if attempt.outcome is AttemptOutcome.SUPERSEDED:
            raise ArithmeticError

    monkeypatch.setattr(Observer, "attempt_closed", failing)

    async def slowly(asked: Asked) -> None:
        asked.writer.write(HEAD + chunk(ROLE))
        await asyncio.sleep(0.3)
        asked.writer.write(chunk(TEXT) + chunk(DONE) + b"0\r\n\r\n")

    async def test() -> None:
        config = merged(HEDGED, {"hedge": {"chat": True}})
        async with scripted(silent, slowly, config=config) as (cluster, _):
            answer = await cluster.chat(stream=True)
            assert answer.body.endswith(DONE)
            assert await cluster.metric("router_requests_total", outcome="ok") == 1
            assert await cluster.metric("router_hedges_total", result="won") == 1
            assert [each.exc_info[0] for each in caplog.records if each.exc_info] == [ArithmeticError]

    run(test)


def test_faults_of_our_own_at_both_are_told(poisonous: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        scripts = after(0.3, poisonous), says(poisonous)
        async with scripted(*scripts, config=HEDGED) as (cluster, asked):
            assert ((await embed(cluster))[0], len(asked)) == (500, 2)
            assert await outcomes(cluster)("internal") == 2
            assert await cluster.metric("router_requests_total", outcome="internal") == 1
            assert [each.exc_info[0] for each in caplog.records if each.exc_info] == [ArithmeticError] * 2

    run(test)


def test_where_both_fail_what_says_most_about_the_request_is_told() -> None:
    async def test() -> None:
        turns = Turns()
        scripts = turns.scripts(plain(502, {}), plain(422, {"error": {"message": "no such dimension"}}))
        async with scripted(*scripts, config=HEDGED) as (cluster, asked):
            code, body = await fails_then(cluster, asked, turns)
            assert code == 422
            assert body["error"]["message"] == "no such dimension"

    run(test)


def test_two_that_are_ready_at_the_same_moment_give_one_answer() -> None:
    async def test() -> None:
        ready = asyncio.Event()

        async def both(asked: Asked) -> None:
            await ready.wait()
            asked.writer.write(plain(200, GOOD))

        async with scripted(both, both, config=HEDGED) as (cluster, asked):
            for _ in range(20):
                ready.clear()
                started = len(asked)
                answer = asyncio.ensure_future(embed(cluster))
                await until(lambda started=started: len(asked) == started + 2)
                ready.set()
                assert await answer == (200, GOOD)
            count = outcomes(cluster)
            assert (await count("ok"), await count("superseded")) == (20, 20)

    run(test)


def test_a_client_that_leaves_ends_both() -> None:
    async def test() -> None:
        async with scripted(silent, silent, config=HEDGED) as (cluster, asked):
            body = json.dumps(INPUT).encode()
            head = b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            _, writer = await asyncio.open_connection("127.0.0.1", cluster.port)
            writer.write(head % (EMBEDDINGS.encode(), len(body)) + body)
            await until(lambda: len(asked) == 2)
            writer.close()
            await asyncio.gather(gone(asked[0]), gone(asked[1]))
            await until(lambda: cluster.app.relay.live == 0)
            assert await outcomes(cluster)("client_gone") == 2

    run(test)


def test_a_deadline_ends_both() -> None:
    async def test() -> None:
        async with scripted(silent, silent, config=HEDGED) as (cluster, asked):
            answer = await cluster.ask(EMBEDDINGS, INPUT, headers={"X-Request-Timeout": "0.4"})
            assert answer.code == 504
            await asyncio.gather(gone(asked[0]), gone(asked[1]))
            assert await outcomes(cluster)("deadline") == 2

    run(test)


@pytest.mark.parametrize("config", [{"hedge": {"after": "off"}}, {"retry": {"budget": 0, "budget_min": 0}}])
def test_nothing_is_hedged_where_it_is_off_or_the_budget_is_spent(config: dict[str, Any]) -> None:
    async def test() -> None:
        scripts = after(0.4, plain(200, GOOD)), silent
        async with scripted(*scripts, config=merged(HEDGED, config)) as (cluster, asked):
            assert await embed(cluster) == (200, GOOD)
            assert len(asked) == 1

    run(test)


def test_nothing_is_hedged_while_somebody_waits_for_a_backend() -> None:
    async def test() -> None:
        options = {"models": ["simulated-model"], "max_connections": 1}
        config = {**HEDGED, "backend_options": [options] * 2}
        scripts = after(0.5, plain(200, GOOD)), after(0.5, plain(200, GOOD))
        async with scripted(*scripts, config=config) as (cluster, asked):
            answers = await asyncio.gather(*(embed(cluster) for _ in range(4)))
            assert {code for code, _ in answers} == {200}
            assert len(asked) == 4

    run(test)


@pytest.mark.parametrize("is_on", [False, True])
def test_chats_are_hedged_only_where_that_is_configured(is_on: bool) -> None:
    async def test() -> None:
        scripts = after(0.4, stream(ROLE, TEXT, DONE)), says(stream(ROLE, TEXT, DONE))
        config = merged(HEDGED, {"hedge": {"chat": is_on}})
        async with scripted(*scripts, config=config) as (cluster, asked):
            answer = await cluster.chat(stream=True)
            assert answer.body == ROLE + TEXT + DONE
            assert len(asked) == 1 + is_on

    run(test)


def test_of_two_streams_the_first_that_begins_goes_on_alone() -> None:
    async def test() -> None:
        async def late(asked: Asked) -> None:
            asked.writer.write(HEAD + chunk(ROLE))
            await asyncio.sleep(0.5)
            asked.writer.write(chunk(b'data: {"choices":[{"index":0,"delta":{"content":"wrong"}}]}\n\n'))

        async def slow(asked: Asked) -> None:
            asked.writer.write(HEAD + chunk(ROLE) + chunk(TEXT))
            for _ in range(5):
                await asyncio.sleep(0.15)
                asked.writer.write(chunk(TEXT))
            asked.writer.write(chunk(DONE) + b"0\r\n\r\n")

        config = merged(HEDGED, {"hedge": {"chat": True}})
        async with scripted(late, slow, config=config) as (cluster, asked):
            answer = await cluster.chat(stream=True)
            assert answer.body == ROLE + TEXT * 6 + DONE
            await gone(asked[0])
            assert answer.headers["X-Router-Attempts"] == "2"

    run(test)


def test_a_body_that_is_not_streamed_is_taken_from_one_backend_only() -> None:
    """One that is larger than what is held back begins before it is whole."""

    async def test() -> None:
        large = b'"' + b"x" * (3 << 20) + b'"'
        whole = plain(200, large)

        async def dribbles(asked: Asked) -> None:
            asked.writer.write(whole[: 1 << 19])
            await asyncio.sleep(2)

        async with scripted(dribbles, says(whole), config=HEDGED) as (cluster, asked):
            answer = await cluster.ask(EMBEDDINGS, INPUT)
            assert answer.body == large
            await gone(asked[0])

    run(test)


def test_a_hedge_blames_nobody() -> None:
    async def test() -> None:
        config = merged(HEDGED, {"breaker": {"failures": 2}})
        async with scripted(silent, says(plain(200, GOOD)), config=config) as (cluster, _):
            started = time.monotonic()
            for _ in range(12):
                assert await embed(cluster) == (200, GOOD)
            assert time.monotonic() - started < 10
            states = {str(each.breaker.value) for each in cluster.app.registry.snapshot(time.monotonic())}
            assert states == {"closed"}

    run(test)


def test_the_list_of_models_asks_no_backend() -> None:
    async def test() -> None:
        async with scripted(silent, silent, config=HEDGED) as (cluster, asked):
            answer = await cluster.ask("/v1/models")
            assert json.loads(answer.body)["data"][0]["id"] == CHAT["model"]
            assert asked == []

    run(test)


@pytest.mark.parametrize("is_hedged", [False, True])
def test_it_leaves_no_circle_of_references(is_hedged: bool) -> None:
    """A circle would keep a request's body, often the largest thing there is, until the collector comes by."""

    async def test() -> None:
        answer = plain(200, GOOD)
        first = after(0.05, answer) if is_hedged else says(answer)
        config = {"hedge": {"after": 0.02 if is_hedged else 10}}
        async with scripted(first, says(answer), config=config) as (cluster, asked):
            for _ in range(5):
                await embed(cluster)
            left = Leftover(Race, Attempt, Course)
            gc.disable()
            try:
                before = len(asked)
                for _ in range(30):
                    assert await embed(cluster) == (200, GOOD)
                assert (len(asked) - before > 30) == is_hedged
                await asyncio.sleep(0.1)
                assert left.found() == []
            finally:
                gc.enable()

    run(test)
