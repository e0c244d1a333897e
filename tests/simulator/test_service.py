import asyncio
from typing import Any

import pytest

from router.simulator.faults import Faults
from router.simulator.settings import Settings
from tests.simulator.asking import CHAT, HELLO, ask, chat, raw_request, run, send, simulated, until


def test_a_request_id_becomes_the_answers_id_and_cannot_break_its_json() -> None:
    async def test() -> None:
        async with simulated() as simulator:
            for given in ("abc-1", 'a"b\\c'):
                reply = await ask(simulator, "POST", CHAT, HELLO, headers={"X-Request-Id": given})
                assert reply.json["id"] == f"chatcmpl-{given}"
            ids = [(await chat(simulator)).json["id"] for _ in range(3)]
            assert len(set(ids)) == 3

    run(test)


def test_the_same_request_is_answered_alike_but_for_its_id() -> None:
    async def test() -> None:
        async with simulated(Settings(tokens=5)) as simulator:
            first, second = [(await chat(simulator)).json for _ in range(2)]
            assert first["choices"] == second["choices"]
            assert first["id"] != second["id"]

    run(test)


def test_a_key_is_asked_for_under_v1_only() -> None:
    async def test() -> None:
        async with simulated(Settings(api_key="k")) as simulator:
            assert (await chat(simulator)).status == 401
            assert (await ask(simulator, "GET", "/v1/nope")).status == 401
            assert (await ask(simulator, "POST", "/tokenize", {"prompt": "x"})).status == 200
            assert (await ask(simulator, "GET", "/health")).status == 200
            assert (await ask(simulator, "POST", CHAT, HELLO, headers={"Authorization": "Bearer k"})).status == 200

    run(test)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nope", 404),
        ("GET", CHAT, 405),
        ("POST", "/v1/models", 405),
        ("HEAD", "/health", 405),
        ("DELETE", "/v1/responses/x", 405),
        ("GET", "/v1/responses/x", 404),
        ("POST", "/v1/responses/x/cancel", 404),
        ("POST", "/ping", 200),
        ("GET", "/load", 200),
        ("GET", "/simulator/nope", 404),
    ],
)
def test_other_paths_and_methods_are_answered_as_vllm_does(method: str, path: str, status: int) -> None:
    async def test() -> None:
        async with simulated() as simulator:
            assert (await ask(simulator, method, path)).status == status

    run(test)


def test_a_response_can_be_fetched_again() -> None:
    async def test() -> None:
        async with simulated() as simulator:
            made = (await ask(simulator, "POST", "/v1/responses", {"input": "x"})).json
            assert (await ask(simulator, "GET", f"/v1/responses/{made['id']}")).json == made

    run(test)


def test_a_status_is_answered_with_or_without_retry_after_and_so_many_times() -> None:
    async def test() -> None:
        async with simulated() as simulator:
            simulator.faults = Faults(status=503, retry_after="2.5", count=1)
            first, second = await chat(simulator), await chat(simulator)
            assert (first.status, first.headers["retry-after"], second.status) == (503, "2.5", 200)
            simulator.faults = Faults(status=429)
            limited = await chat(simulator)
            assert (limited.status, "retry-after" in limited.headers) == (429, False)
            assert limited.json["error"]["code"] == 429
            assert simulator.figures.struck == 2

    run(test)


def test_a_share_of_requests_is_struck() -> None:
    async def test() -> None:
        async with simulated() as simulator:
            simulator.faults = Faults(status=500, rate=0.5)
            statuses = [(await chat(simulator)).status for _ in range(40)]
            assert {200, 500} == set(statuses)

    run(test)


@pytest.mark.parametrize(
    ("settings", "faults", "fields"),
    [
        (Settings(), Faults(hang=True), {}),
        (Settings(ttft=30), Faults(), {}),
        (Settings(ttft=30), Faults(), {"stream": True}),
        (Settings(itl=30), Faults(), {"stream": True}),
    ],
)
def test_a_client_that_leaves_is_counted_and_frees_its_place(
    settings: Settings, faults: Faults, fields: dict[str, Any]
) -> None:
    async def test() -> None:
        async with simulated(settings) as simulator:
            simulator.faults = faults
            _, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
            writer.write(raw_request("POST", CHAT, {**HELLO, **fields}))
            await until(lambda: len(simulator.requests) == 1)
            writer.close()
            await until(lambda: simulator.figures.aborted == 1)
            assert simulator.figures.running == 0

    run(test)


def test_health_is_slow_or_ill_when_told_to_and_answers_go_on() -> None:
    async def test() -> None:
        async with simulated() as simulator:
            assert (await ask(simulator, "GET", "/health")).status == 200
            simulator.faults = Faults(health_status=503, health_delay=0.02)
            assert (await ask(simulator, "GET", "/health")).status == 503
            assert (await chat(simulator)).status == 200
            simulator.faults = Faults(health_hang=True)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ask(simulator, "GET", "/health"), 0.05)

    run(test)


def test_the_control_endpoint_sets_shows_and_clears_faults() -> None:
    async def test() -> None:
        async with simulated() as simulator:
            told = await ask(simulator, "POST", "/simulator/faults", {"status": 503})
            assert (told.status, told.json["status"]) == (200, 503)
            assert (await chat(simulator)).status == 503
            assert (await ask(simulator, "GET", "/simulator/faults")).json["status"] == 503
            assert (await ask(simulator, "DELETE", "/simulator/faults")).json["status"] is None
            assert simulator.faults == Faults()
            for wrong in (b"[]", b"{", b'{"x": 1}'):
                assert (await ask(simulator, "POST", "/simulator/faults", wrong)).status == 400

    run(test)


def test_requests_are_kept_as_they_came_but_for_those_to_the_control_endpoint() -> None:
    async def test() -> None:
        async with simulated() as simulator:
            await ask(simulator, "POST", CHAT, HELLO, headers={"X-Odd": "1"})
            stats = (await ask(simulator, "GET", "/simulator/stats")).json
            assert [seen.target for seen in simulator.requests] == [CHAT]
            assert (simulator.requests[-1].header("x-odd"), stats["served"], stats["in_flight"]) == ("1", 1, 0)
            assert stats["requests"][0]["target"] == CHAT

    run(test)


def test_metrics_tell_what_was_served() -> None:
    async def test() -> None:
        async with simulated(Settings(tokens=5)) as simulator:
            await chat(simulator)
            text = (await ask(simulator, "GET", "/metrics")).body.decode()
        assert 'vllm:generation_tokens_total{engine="0",model_name="simulated-model"} 5.0' in text
        assert 'vllm:request_success_total{engine="0",finished_reason="stop",model_name="simulated-model"} 1.0' in text
        assert 'vllm:iteration_tokens_total_count{engine="0",model_name="simulated-model"} 5.0' in text

    run(test)


def test_many_requests_on_one_connection_are_answered_in_order() -> None:
    async def test() -> None:
        async with simulated(Settings(tokens=3)) as simulator:
            first = raw_request("POST", CHAT, {**HELLO, "stream": True}, {"Connection": "keep-alive"})
            second = raw_request("POST", CHAT, HELLO)
            raw = await send(simulator, first + second)
        assert raw.count(b"HTTP/1.1 200 OK") == 2
        assert raw.index(b"data: [DONE]") < raw.index(b'"chat.completion"')

    run(test)
