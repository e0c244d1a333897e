"""Rules of router/relay/relay.py: the attempts of an exchange, and its end. Real sockets, simulated backends."""

import asyncio
import gc
import json
import time

import pytest

from router.simulator.faults import Break
from router.simulator.settings import Settings
from tests.front import CHAT, Front, broken, front, run, until

TWO = (Settings(), Settings())
SLOW = (Settings(itl=0.02), Settings(itl=0.02))


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


@pytest.mark.parametrize("status", [400, 404, 422])
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
        async with front(Settings()) as cluster:
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
        async with front(Settings(), config={"timeouts": {"idle": 0.3}}) as cluster:
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


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("waiting", [False, True])
def test_a_client_that_leaves_frees_its_backend_at_once(stream: bool, waiting: bool) -> None:
    async def test() -> None:
        async with front(Settings(itl=0.05, tokens=1000)) as cluster:
            if waiting:
                broken(cluster.backends[0], hang=True)
            body = json.dumps({**CHAT, "stream": stream, "max_tokens": 900}).encode()
            reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port)
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            if stream and not waiting:
                assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            else:
                await until(lambda: in_flight(cluster) == 1 or cluster.backends[0].figures.struck == 1)
            writer.close()
            started = time.monotonic()
            await until(lambda: cluster.backends[0].figures.aborted == 1 and in_flight(cluster) == 0)
            assert time.monotonic() - started < 2
            await until(lambda: cluster.app.in_flight == 0)
            assert await cluster.metric("router_requests_total", outcome="client_gone") == 1
            assert await cluster.metric("router_attempts_total", outcome="client_gone") == 1

    run(test)


def test_a_client_that_leaves_during_a_back_off_causes_no_further_attempt() -> None:
    async def test() -> None:
        async with front(Settings()) as cluster:
            broken(cluster.backends[0], status=503, retry_after="1")
            asking = asyncio.ensure_future(cluster.chat())
            await until(lambda: cluster.backends[0].figures.served >= 1 or cluster.app.in_flight == 1)
            await asyncio.sleep(0.3)
            asking.cancel()
            await until(lambda: cluster.app.in_flight == 0)
            await asyncio.sleep(1.2)
            assert await cluster.metric("router_attempts_total") == 1

    run(test)


def test_a_deadline_of_the_client_ends_the_exchange_and_blames_nobody() -> None:
    async def test() -> None:
        async with front(Settings()) as cluster:
            broken(cluster.backends[0], hang=True)
            answer = await cluster.ask("/v1/chat/completions", CHAT, headers={"X-Request-Timeout": "0.3"})
            assert (answer.code, error_of(answer.body)["code"]) == (504, "timeout")
            assert await cluster.metric("router_attempts_total", outcome="deadline") == 1

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


@pytest.mark.parametrize("begun", [True, False])
def test_when_the_router_stops_its_clients_are_told(begun: bool) -> None:
    async def test() -> None:
        async with front(Settings(itl=0.05, tokens=1000)) as cluster:
            if not begun:
                broken(cluster.backends[0], hang=True)
            asking = asyncio.ensure_future(cluster.chat(stream=True, max_tokens=900))
            await until(lambda: in_flight(cluster) == 1 or cluster.backends[0].figures.struck == 1)
            await asyncio.sleep(0.2)
            await cluster.app.stop()
            answer = await asking
            assert answer.code == (200 if begun else 503)
            assert "shutting down" in answer.body.decode()
            assert b"[DONE]" not in answer.body
            assert await cluster.metric("router_requests_total", outcome="shutdown") == 1

    run(test)


@pytest.mark.parametrize("stream", [False, True])
def test_an_exchange_leaves_no_circle_of_references(stream: bool) -> None:
    """A circle would keep a request's body, often the largest thing there is, until the collector comes by."""

    async def test() -> None:
        async with front(Settings(), config={"health": {"interval": 60}}) as cluster:
            for _ in range(5):
                await cluster.chat(stream=stream)
            await asyncio.sleep(0.1)
            gc.collect()
            gc.disable()
            try:
                for _ in range(50):
                    await cluster.chat(stream=stream)
                await asyncio.sleep(0.1)
                assert gc.collect() < 50
            finally:
                gc.enable()

    run(test)


def test_the_death_of_one_backend_under_load_fails_nothing_that_had_not_begun() -> None:
    async def test() -> None:
        async with front(Settings(ttft=0.3), Settings(ttft=0.3)) as cluster:
            asking = [asyncio.ensure_future(cluster.chat(stream=number % 2 == 0)) for number in range(60)]
            await until(lambda: in_flight(cluster) == 30)
            await cluster.backends[0].kill()
            answers = await asyncio.gather(*asking)
            assert {answer.code for answer in answers} == {200}
            assert all(answer.body.endswith(b"[DONE]\n\n") for answer in answers[::2])

    run(test)
