"""Rules of router/relay/course.py: which backends an exchange tries, and what the client is told in the end."""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import openai
import pytest

from router.backends.backend import Reason
from router.exchange import AttemptOutcome
from router.relay.choosing import WHY_NOT
from router.relay.course import ENDS
from router.simulator.faults import Break
from router.simulator.settings import Settings
from tests.front import CHAT, Front, broken, front, run, until
from tests.relay.scripted import DONE, END, HEAD, ROLE, TEXT, Asked, chunk, gone, plain, says, scripted, stream

TWO = (Settings(), Settings())
NOT_RESUMED = {"resume": {"mode": "off"}}


def served(cluster: Front) -> list[int]:
    return [backend.figures.served for backend in cluster.backends]


def in_flight(cluster: Front) -> int:
    return cluster.backends[0].figures.running + cluster.backends[0].figures.waiting


def error_of(body: bytes) -> dict[str, object]:
    return dict(json.loads(body)["error"])


def test_requests_are_spread_evenly() -> None:
    async def test() -> None:
        async with front(*TWO) as cluster:
            for _ in range(100):
                assert (await cluster.chat()).code == 200
            assert served(cluster) == [50, 50]

    run(test)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
@pytest.mark.parametrize("stream", [False, True])
def test_another_backend_is_tried_while_the_answer_has_not_begun(status: int, stream: bool) -> None:
    async def test() -> None:
        async with front(*TWO) as cluster:
            broken(cluster.backends[0], status=status, retry_after="30")
            answers = [await cluster.chat(stream=stream) for _ in range(6)]
            assert {answer.code for answer in answers} == {200}
            assert {answer.headers["X-Router-Backend"] for answer in answers} == {
                f"127.0.0.1:{cluster.backends[1].port}"
            }

    run(test)


@pytest.mark.parametrize("fault", [{"reset": True}, {"close": True}, {"garbage": True}])
def test_a_backend_that_breaks_off_before_its_answer_is_left_for_another(fault: dict[str, object]) -> None:
    async def test() -> None:
        async with front(*TWO) as cluster:
            broken(cluster.backends[0], **fault)
            assert {(await cluster.chat(stream=True)).code for _ in range(6)} == {200}

    run(test)


def test_a_refused_connection_takes_the_backend_out_at_once() -> None:
    async def test() -> None:
        async with front(*TWO, config={"health": {"interval": 30}}) as cluster:
            broken(cluster.backends[0], refuse=True)
            assert {(await cluster.chat()).code for _ in range(20)} == {200}
            assert await cluster.metric("router_attempts_total", outcome="refused") == 1
            assert await cluster.metric("router_retries_total", cause="refused") == 1

    run(test)


def test_a_500_is_tried_once_more_and_two_alike_end_it() -> None:
    """The request may be what breaks the backends."""

    async def test() -> None:
        async with front(Settings(), Settings(), Settings()) as cluster:
            for backend in cluster.backends:
                broken(backend, status=500)
            answer = await cluster.chat()
            assert (answer.code, answer.headers["X-Router-Attempts"]) == (500, "2")
            assert answer.headers["x-should-retry"] == "false"

    run(test)


def test_a_model_that_one_backend_has_lost_is_asked_for_at_another() -> None:
    async def test() -> None:
        async with front(*TWO) as cluster:
            broken(cluster.backends[0], status=404)
            for _ in range(4):
                assert (await cluster.chat()).code == 200
            broken(cluster.backends[1], status=404)
            answer = await cluster.chat()
            assert (answer.code, answer.headers["X-Router-Attempts"]) == (404, "2")
            assert error_of(answer.body)["code"] == "model_not_found"

    run(test)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_the_requests_own_fault_is_passed_on_and_no_other_backend_bothered(status: int) -> None:
    async def test() -> None:
        async with front(*TWO) as cluster:
            for backend in cluster.backends:
                broken(backend, status=status)
            answer = await cluster.chat()
            assert (answer.code, answer.headers["X-Router-Attempts"]) == (status, "1")
            assert "x-should-retry" not in answer.headers
            assert error_of(answer.body)["message"]

    run(test)


def test_client_errors_do_not_disturb_the_even_spread() -> None:
    async def test() -> None:
        async with front(*TWO) as cluster:
            for _ in range(10):
                assert (await cluster.chat(temperature=-1)).code == 400
                assert (await cluster.chat(temperature=-1)).code == 400
            for _ in range(20):
                await cluster.chat()
            attempts = [
                await cluster.metric("router_attempts_total", backend=f"127.0.0.1:{backend.port}")
                for backend in cluster.backends
            ]
            assert attempts == [20, 20]

    run(test)


def test_when_all_are_full_the_smallest_retry_after_is_passed_on_and_sdks_are_told_not_to_retry() -> None:
    async def test() -> None:
        async with front(*TWO) as cluster:
            broken(cluster.backends[0], status=503, retry_after="40")
            broken(cluster.backends[1], status=503, retry_after="20")
            answer = await cluster.chat()
            assert (answer.code, answer.headers["Retry-After"], answer.headers["x-should-retry"]) == (
                503,
                "20",
                "false",
            )
            refused = await cluster.chat()  # both asked to be left alone: nobody is bothered
            assert (refused.code, error_of(refused.body)["code"]) == (503, "overloaded")
            assert 1 <= int(refused.headers["Retry-After"]) <= 20
            assert await cluster.metric("router_attempts_total") == 2

    run(test)


def test_a_short_retry_after_of_the_only_backend_is_waited_for() -> None:
    async def test() -> None:
        async with front(Settings()) as cluster:
            broken(cluster.backends[0], status=503, retry_after="1", count=1)
            started = time.monotonic()
            assert (await cluster.chat()).code == 200
            assert time.monotonic() - started >= 0.9

    run(test)


@pytest.mark.parametrize("status", [205, 206, 226])
def test_a_part_of_an_answer_is_no_answer(status: int) -> None:
    """Nobody has asked for a part; of a 205 readers differ on where it ends (RFC 9110 section 15.3.6)."""

    async def test() -> None:
        async with scripted(says(plain(status, {"id": "a"}))) as (cluster, _):
            answer = await cluster.chat()
            assert (answer.code, error_of(answer.body)["code"]) == (502, "upstream_unavailable")

    run(test)


@pytest.mark.parametrize("kind", [b"text/event-streamx", b"text/event-stream-like; a=b"])
def test_only_a_stream_of_events_is_one(kind: bytes) -> None:
    async def test() -> None:
        raw = stream(ROLE, TEXT, DONE).replace(b"text/event-stream", kind)
        async with scripted(says(raw)) as (cluster, _):
            answer = await cluster.chat(stream=True)
            assert answer.headers["Content-Type"].startswith(kind.decode())
            assert "X-Accel-Buffering" not in answer.headers

    run(test)


def test_the_sdk_comes_back_while_the_only_backend_starts_anew() -> None:
    async def test() -> None:
        async with front(Settings()) as cluster:
            broken(cluster.backends[0], refuse=True, refuse_for=0.7)
            async with openai.AsyncOpenAI(base_url=f"{cluster.url}/v1", api_key="any") as client:
                answer = await client.chat.completions.create(**CHAT)  # type: ignore[call-overload]
            assert answer.choices[0].message.content

    run(test)


def test_with_no_backend_left_503_comes_at_once_and_service_returns_with_the_first() -> None:
    async def test() -> None:
        async with front(*TWO) as cluster:
            for backend in cluster.backends:
                broken(backend, refuse=True)
            await cluster.chat()
            await until(lambda: cluster.app.registry.usable_count(time.monotonic()) == 0)
            started = time.monotonic()
            answers = [await cluster.chat() for _ in range(10)]
            assert {answer.code for answer in answers} == {503}
            assert all("Retry-After" in answer.headers for answer in answers)
            assert not any("x-should-retry" in answer.headers for answer in answers), "nothing was sent to anybody"
            assert time.monotonic() - started < 2
            assert (await cluster.ask("/health")).code == 503
            assert (await cluster.ask("/readyz")).code == 503
            assert (await cluster.ask("/livez")).code == 200
            broken(cluster.backends[0])
            await until(lambda: cluster.app.registry.usable_count(time.monotonic()) == 1)
            assert (await cluster.chat()).code == 200

    run(test)


@pytest.mark.parametrize("way", [Break.CUT, Break.RESET, Break.ERROR, Break.GARBAGE])
def test_a_stream_that_breaks_ends_with_an_error_event_and_without_its_end_mark(way: Break) -> None:
    async def test() -> None:
        async with front(Settings(), config=NOT_RESUMED) as cluster:
            broken(cluster.backends[0], break_as=way, break_after=4)
            answer = await cluster.chat(stream=True)
            events = answer.body.split(b"\n\n")
            assert answer.code == 200
            assert b"[DONE]" not in answer.body
            assert events[-1] == b""
            assert all(json.loads(event.removeprefix(b"data: ")) for event in events[:-1])
            assert error_of(events[-2].removeprefix(b"data: "))["message"]
            assert await cluster.metric("router_requests_total", outcome="broken") == 1

    run(test)


def test_a_stream_that_stalls_ends_when_the_idle_timer_fires() -> None:
    async def test() -> None:
        async with front(Settings(), config={"timeouts": {"idle": 0.3}, **NOT_RESUMED}) as cluster:
            broken(cluster.backends[0], break_as=Break.STALL, break_after=4)
            answer = await cluster.chat(stream=True)
            assert b'"code":"timeout"' in answer.body
            assert b"[DONE]" not in answer.body
            assert await cluster.metric("router_attempts_total", outcome="stalled") == 1
            await until(lambda: in_flight(cluster) == 0)

    run(test)


@pytest.mark.parametrize("way", [Break.CUT, Break.RESET, Break.ERROR, Break.STALL])
def test_a_stream_that_breaks_after_its_role_event_starts_anew_elsewhere(way: Break) -> None:
    """vLLM sends the role while a request still waits: the client has nothing of the answer yet."""

    async def test() -> None:
        async with front(*TWO, config={"timeouts": {"first_byte": 0.4}}) as cluster:
            broken(cluster.backends[0], break_as=way, break_after=1)
            for _ in range(3):
                answer = await cluster.chat(stream=True)
                assert answer.body.endswith(b"data: [DONE]\n\n")
                assert answer.body.count(b'"role":"assistant"') == 1

    run(test)


def test_an_error_that_comes_first_becomes_a_status() -> None:
    async def test() -> None:
        async with front(Settings(), config={"retry": {"max_attempts": 1}}) as cluster:
            broken(cluster.backends[0], break_as=Break.ERROR, break_after=0)
            answer = await cluster.chat(stream=True)
            assert answer.code == 500
            assert error_of(answer.body)["type"] == "server_error"

    run(test)


def test_a_plain_answer_that_is_cut_is_never_told_as_whole() -> None:
    async def test() -> None:
        async with front(Settings(), config={"retry": {"max_attempts": 1}}) as cluster:
            broken(cluster.backends[0], break_as=Break.CUT)
            answer = await cluster.chat()
            assert (answer.code, error_of(answer.body)["code"]) == (502, "upstream_unavailable")

    run(test)


def test_the_first_byte_timer_moves_a_waiting_request_elsewhere() -> None:
    async def test() -> None:
        async with front(*TWO, config={"timeouts": {"first_byte": 0.3}}) as cluster:
            broken(cluster.backends[0], hang=True)
            for _ in range(4):
                assert (await cluster.chat(stream=True)).code == 200

    run(test)


def test_comments_keep_a_waiting_clients_connection_open_and_do_not_spend_the_retry() -> None:
    async def test() -> None:
        config = {"timeouts": {"keepalive_after": 0.1, "first_byte": 0.5}}
        async with front(*TWO, config=config) as cluster:
            for backend in cluster.backends:
                broken(backend, hang=True, count=1)
            answer = await cluster.chat(stream=True)
            assert answer.body.startswith(b": keepalive\n\n")
            assert answer.body.endswith(b"data: [DONE]\n\n")

    run(test)


def test_after_comments_a_failure_is_told_as_an_event() -> None:
    async def test() -> None:
        config = {"timeouts": {"keepalive_after": 0.1, "first_byte": 0.3}, "retry": {"max_attempts": 1}}
        async with front(Settings(), config=config) as cluster:
            broken(cluster.backends[0], hang=True)
            answer = await cluster.chat(stream=True)
            assert answer.code == 200
            assert b'"code":"timeout"' in answer.body

    run(test)


def test_retries_keep_within_their_budget_when_everything_fails() -> None:
    async def test() -> None:
        config = {"breaker": {"enabled": False}, "retry": {"base_delay": 0.2}}
        async with front(*TWO, config=config) as cluster:
            for backend in cluster.backends:
                broken(backend, status=502)
            answers = await asyncio.gather(*(cluster.chat() for _ in range(100)))
            assert {answer.code for answer in answers} == {502}
            attempts = await cluster.metric("router_attempts_total")
            assert attempts <= 100 * 1.2 * 1.5, "at most a fifth of the live exchanges retries, each at most twice"

    run(test)


def test_a_kept_connection_that_died_is_nobodys_failure() -> None:
    """vLLM closes idle connections after 5 s; a request may meet that moment."""

    async def test() -> None:
        async with front(Settings(keepalive=0.2), config={"health": {"interval": 30}}) as cluster:
            for _ in range(10):
                assert (await cluster.chat()).headers["X-Router-Attempts"] == "1"
                await asyncio.sleep(0.2)
            assert await cluster.metric("router_attempts_total", outcome="ok") == 10

    run(test)


def test_counts_alone_never_take_out_the_last_backend() -> None:
    async def test() -> None:
        async with front(Settings()) as cluster:
            broken(cluster.backends[0], status=500)
            for _ in range(20):
                assert (await cluster.chat()).code == 500
            broken(cluster.backends[0])
            assert (await cluster.chat()).code == 200

    run(test)


def test_a_stored_response_is_looked_for_at_every_backend() -> None:
    async def test() -> None:
        async with front(*TWO) as cluster:
            made = await cluster.ask("/v1/responses", {"model": "simulated-model", "input": "Hello", "store": True})
            assert made.code == 200
            ident = json.loads(made.body)["id"]
            for _ in range(4):
                found = await cluster.ask(f"/v1/responses/{ident}")
                assert (found.code, json.loads(found.body)["id"]) == (200, ident)
            assert (await cluster.ask("/v1/responses/resp_none")).code == 404

    run(test)


def test_the_death_of_one_backend_under_load_fails_nothing_that_had_not_begun() -> None:
    async def test() -> None:
        async with front(Settings(ttft=1.0), Settings(ttft=1.0)) as cluster:
            asking = [asyncio.ensure_future(cluster.chat(stream=number % 2 == 0)) for number in range(60)]
            await until(lambda: in_flight(cluster) == 30)
            await cluster.backends[0].kill()
            answers = await asyncio.gather(*asking)
            assert {answer.code for answer in answers} == {200}
            assert all(answer.body.endswith(b"[DONE]\n\n") for answer in answers[::2])

    run(test)


def test_every_outcome_of_an_attempt_has_an_end_and_every_reason_its_words() -> None:
    assert set(ENDS) == set(AttemptOutcome)
    assert set(WHY_NOT) == set(Reason)


MIB = 1024 * 1024
INVALID = {"error": {"message": "'input': " + "x" * MIB, "type": "Bad Request", "param": None, "code": 400}}
FULL = plain(503, {"error": {"message": "full", "code": 503}}, b"Retry-After: 7")
RETRIED = {"retry": {"max_attempts": 2}}


def failures(cluster: Front) -> list[int]:
    return [backend.breaker.failures for backend in cluster.app.registry.backends]


def test_a_refusal_over_a_mebibyte_is_told_in_short_and_is_the_requests_own_fault() -> None:
    """vLLM's 400 repeats the whole input for each form that it might have had."""

    async def test() -> None:
        answer = plain(400, INVALID)
        async with scripted(says(answer), says(answer), config=RETRIED) as (cluster, asked):
            for number in range(1, 7):
                got = await cluster.chat()
                assert (got.code, got.headers["X-Router-Attempts"]) == (400, "1")
                assert len(got.body) < 10_000
                assert error_of(got.body)["type"] == "invalid_request_error"
                assert len(asked) == number
            assert failures(cluster) == [0, 0]
            assert await cluster.metric("router_attempts_total", outcome="client_error") == 6
            assert await cluster.metric("router_requests_total", outcome="client_error", status="400") == 6

    run(test)


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_that_is_too_large_to_be_passed_on_keeps_its_status_and_blames_no_backend(stream: bool) -> None:
    async def test() -> None:
        async with scripted(says(plain(400, b"x" * (9 * MIB))), config=RETRIED) as (cluster, asked):
            answer = await cluster.chat(stream=stream)
            error = error_of(answer.body)
            assert (answer.code, error["type"], len(asked)) == (400, "invalid_request_error", 1)
            assert "400" in str(error["message"])
            assert failures(cluster) == [0]
            assert await cluster.metric("router_requests_total", outcome="client_error", status="400") == 1

    run(test)


def test_a_5xx_that_is_too_large_to_be_passed_on_is_tried_elsewhere() -> None:
    async def test() -> None:
        async with scripted(says(plain(502, b"x" * (9 * MIB))), says(plain(200, {})), config=RETRIED) as (cluster, _):
            assert {(await cluster.chat()).code for _ in range(4)} == {200}
            assert await cluster.metric("router_attempts_total", outcome="gateway_error") >= 1

    run(test)


@pytest.mark.parametrize("size", [2, 2 * MIB])
def test_after_comments_an_answer_that_is_no_stream_is_told_as_an_error_event(size: int) -> None:
    """The status is spent by then: JSON behind comments would be neither."""

    async def test() -> None:
        async def script(asked: Asked) -> None:
            await asyncio.sleep(0.3)
            asked.writer.write(plain(200, b'"%b"' % (b"y" * size)))

        async with scripted(script, config={"timeouts": {"keepalive_after": 0.1}}) as (cluster, _):
            answer = await cluster.chat(stream=True)
            comments, _, event = answer.body.partition(b"data: ")
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            assert comments.replace(b": keepalive\n\n", b"") == b""
            assert error_of(event)["message"]
            assert b"yy" not in answer.body
            assert await cluster.metric("router_attempts_total", outcome="bad_response") == 1
            assert await cluster.metric("router_requests_total", outcome="broken") == 1

    run(test)


def test_stream_true_means_nothing_on_a_route_without_streams() -> None:
    """No comment stands before its JSON, and it has the time of an answer in one piece."""

    async def test() -> None:
        async def script(asked: Asked) -> None:
            await asyncio.sleep(0.4)
            asked.writer.write(plain(200, {"object": "list"}))

        async with scripted(script, config={"timeouts": {"keepalive_after": 0.1, "first_byte": 0.2}}) as (cluster, _):
            answer = await cluster.ask("/v1/embeddings", {"model": "simulated-model", "input": "a", "stream": True})
            assert (answer.code, answer.body) == (200, b'{"object": "list"}')
            assert answer.headers["Content-Type"] == "application/json"

    run(test)


NOT_HERE = plain(404, {"error": {"message": "no such response", "code": 404}})


@pytest.mark.parametrize("busy", [FULL, plain(429, {}), plain(503, {})], ids=["503 with a time", "429", "503"])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_stored_response_is_not_denied_while_a_backend_that_may_hold_it_is_busy(busy: bytes, is_first: bool) -> None:
    async def test() -> None:
        scripts = [says(busy), says(NOT_HERE)] if is_first else [says(NOT_HERE), says(busy)]
        async with scripted(*scripts, config=RETRIED) as (cluster, asked):
            answer = await cluster.ask("/v1/responses/resp_1")
            assert answer.code in (429, 503)
            assert int(answer.headers["Retry-After"]) >= 1
            assert len(asked) == 2

    run(test)


def test_a_stored_response_is_not_denied_while_a_backend_that_may_hold_it_rests() -> None:
    async def test() -> None:
        async with scripted(says(NOT_HERE), says(NOT_HERE), config=RETRIED) as (cluster, asked):
            registry = cluster.app.registry
            now = time.monotonic()
            registry.report(registry.backends[1], AttemptOutcome.OVERLOADED, now=now, retry_after=50)
            answer = await cluster.ask("/v1/responses/resp_1")
            assert (answer.code, error_of(answer.body)["code"], len(asked)) == (503, "overloaded", 1)

    run(test)


def test_a_stored_response_that_no_backend_holds_is_not_found_however_many_there_are() -> None:
    async def test() -> None:
        async with scripted(*[says(NOT_HERE)] * 5, config=RETRIED) as (cluster, asked):
            answer = await cluster.ask("/v1/responses/resp_1")
            assert (answer.code, len(asked)) == (404, 5)
            assert failures(cluster) == [0] * 5
            assert await cluster.metric("router_retries_total") == 0, "asking further is not trying again"

    run(test)


@pytest.mark.parametrize(
    ("retry", "attempts"),
    [({"max_attempts": 1}, "1"), ({"max_attempts": 3}, "2"), ({"budget": 0, "budget_min": 0}, "1")],
)
def test_a_retryable_failure_that_is_passed_on_tells_sdks_not_to_retry_and_only_we_say_so(
    retry: dict[str, object], attempts: str
) -> None:
    """SDKs must not multiply what was tried here, whatever the reason for which it ended."""

    async def test() -> None:
        answer = plain(500, {"error": {"message": "boom"}}, b"x-should-retry: true")
        async with scripted(says(answer), says(answer), config={"retry": retry}) as (cluster, _):
            got = await cluster.chat()
            assert (got.code, got.headers["X-Router-Attempts"]) == (500, attempts)
            assert got.headers.get_list("x-should-retry") == ["false"]

    run(test)


def test_a_backends_own_word_on_retrying_a_wrong_request_is_not_passed_on() -> None:
    async def test() -> None:
        async with scripted(says(plain(409, {}, b"x-should-retry: true"))) as (cluster, _):
            answer = await cluster.chat()
            assert (answer.code, "x-should-retry" in answer.headers) == (409, False)

    run(test)


@pytest.mark.parametrize("code", [429, 503])
def test_a_stream_that_begins_with_not_now_is_told_with_when_to_come_back(code: int) -> None:
    async def test() -> None:
        event = b'data: {"error":{"message":"full","type":"t","param":null,"code":%d}}\n\n' % code
        async with scripted(says(stream(ROLE, event, DONE))) as (cluster, _):
            answer = await cluster.chat(stream=True)
            assert (answer.code, answer.headers["x-should-retry"]) == (code, "false")
            assert int(answer.headers["Retry-After"]) >= 1
            assert error_of(answer.body)["message"] == "full"
            assert await cluster.metric("router_attempts_total", outcome="overloaded") == 1

    run(test)


CREATED = b'event: response.created\ndata: {"type":"response.created"}\n\n'
FAILED = (
    b'event: response.failed\ndata: {"type":"response.failed","response":'
    b'{"status":"failed","error":{"code":"server_error","message":"boom"}}}\n\n'
)
COMPLETED = b'event: response.completed\ndata: {"type":"response.completed","response":{}}\n\n'
ASK_RESPONSE = {"model": "simulated-model", "input": "a", "stream": True}


def test_a_response_that_failed_before_it_began_is_a_status() -> None:
    async def test() -> None:
        async with scripted(says(stream(CREATED, FAILED))) as (cluster, _):
            answer = await cluster.ask("/v1/responses", ASK_RESPONSE)
            assert (answer.code, error_of(answer.body)["message"]) == (500, "boom")
            assert json.loads(answer.body)["type"] == "error"
            assert await cluster.metric("router_attempts_total", outcome="error_event") == 1

    run(test)


def test_a_response_that_failed_before_it_began_is_tried_elsewhere() -> None:
    async def test() -> None:
        good = stream(CREATED, COMPLETED)
        async with scripted(says(stream(CREATED, FAILED)), says(good), config=RETRIED) as (cluster, _):
            for _ in range(4):
                assert (await cluster.ask("/v1/responses", ASK_RESPONSE)).body == CREATED + COMPLETED
            assert await cluster.metric("router_attempts_total", outcome="error_event") >= 1

    run(test)


@pytest.mark.parametrize(("code", "counted"), [(400, 0), (422, 0), (500, 1)])
def test_an_error_event_counts_for_the_breaker_unless_it_is_the_requests_own_fault(code: int, counted: int) -> None:
    async def test() -> None:
        event = b'data: {"error":{"message":"m","type":"t","param":null,"code":%d}}\n\n' % code
        async with scripted(says(stream(ROLE, TEXT, event, DONE))) as (cluster, _):
            answer = await cluster.chat(stream=True)
            assert answer.body.startswith(ROLE + TEXT + b'data: {"error"')
            assert DONE not in answer.body
            assert failures(cluster) == [counted]

    run(test)


@pytest.mark.parametrize(("worked_for", "sent", "status"), [(0.0, 3, 200), (1.2, 2, 502)])
def test_a_kept_connection_was_dead_before_only_if_it_ends_at_once(worked_for: float, sent: int, status: int) -> None:
    """A backend that breaks while it works has taken the request: sending it again is a retry like any other."""

    async def test() -> None:
        async def script(one: Asked) -> None:
            if len(asked) == 2:
                await asyncio.sleep(worked_for)
                one.writer.close()
            else:
                one.writer.write(plain(200, {}))

        async with scripted(script) as (cluster, asked):
            await cluster.chat()
            answer = await cluster.chat()
            assert (answer.code, answer.headers["X-Router-Attempts"], len(asked)) == (status, "1", sent)
            lost = await cluster.metric("router_attempts_total", outcome="connection_lost")
            assert lost == (0 if status == 200 else 1)

    run(test)


POISON = TEXT.replace(b'"x"', b'"poison"')
ODD_POISON = POISON.replace(b'"index":0', b'"index":0,"logprobs":null')
# Where the router itself may fail at an answer: what is called there, what comes, what the client has by then.
OWN_FAULTS: dict[str, tuple[str, list[bytes], bytes]] = {
    "at the beginning": ("router.relay.reading.sign_of", [HEAD + chunk(ROLE), chunk(POISON)], b""),
    "in the middle": ("router.relay.reading.may_break", [HEAD + chunk(TEXT), chunk(ODD_POISON)], TEXT),
    "at what would pass unparsed": ("router.relay.flow.is_text", [HEAD + chunk(TEXT), chunk(POISON)], TEXT),
    "at the end mark": ("router.relay.flow.tokens_of", [HEAD + chunk(TEXT), chunk(POISON + DONE) + END], TEXT),
    "at an answer in one piece": ("router.relay.flow.tokens_of", [plain(200, {"poison": 1})], b""),
}


def failing(called: Callable[..., object], fault: type[Exception]) -> Callable[..., object]:
    """Return what does as `called` does, but fails at the poison."""

    def instead(data: bytes, *more: object) -> object:
        if b"poison" in data:
            raise fault("a fault")
        return called(data, *more)

    return instead


@pytest.mark.parametrize("headers", [{}, {"X-Request-Timeout": "20"}], ids=["no deadline", "a deadline"])
@pytest.mark.parametrize("fault", [ArithmeticError, TimeoutError])  # a TimeoutError, but none of the deadline
@pytest.mark.parametrize("where", OWN_FAULTS)
def test_a_fault_of_our_own_ends_its_attempt_and_is_not_the_backends(
    where: str,
    fault: type[Exception],
    headers: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Else nobody counts it, and a trial that was spent on it is not given back."""
    name, pieces, told = OWN_FAULTS[where]
    module, _, function = name.rpartition(".")
    monkeypatch.setattr(name, failing(getattr(import_module(module), function), fault))

    async def script(asked: Asked) -> None:
        for piece in pieces:
            asked.writer.write(piece)
            await asyncio.sleep(0.05)  # each is a read of its own

    async def test() -> None:
        more: dict[str, Any] = {"breaker": {"failures": 1}, "retry": {"max_attempts": 3}}
        async with scripted(script, script, config=more) as (cluster, asked):
            asks = {**CHAT, "stream": len(pieces) > 1}
            answer = await cluster.ask("/v1/chat/completions", asks, headers=headers)
            assert (answer.code, answer.body.startswith(told)) == (200 if told else 500, True)
            error = answer.body[len(told) :].removeprefix(b"data: " if told else b"")
            assert error_of(error)["code"] == "internal_error"
            await gone(asked[0])
            assert len(asked) == 1, "the same bytes would meet the same fault"
            assert await cluster.metric("router_attempts_total", outcome="internal") == 1
            assert await cluster.metric("router_attempts_total") == 1
            assert await cluster.metric("router_requests_total", outcome="internal") == 1
            assert [each.failing for each in cluster.app.registry.backends] == [0, 0]

    run(test)
    assert [record.name for record in caplog.records if record.exc_info] == ["router.handlers"]
    assert [record.levelno for record in caplog.records if record.levelno >= logging.ERROR] == [logging.ERROR]
