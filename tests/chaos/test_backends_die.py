"""Backends that refuse, are killed, cut an answer short or hang: real processes, real signals, a proxy that resets."""

import asyncio
import signal
import socket
import time

import pytest

from router.simulator.settings import Settings
from tests.chaos.cluster import Answer, Cluster, cluster
from tests.chaos.inside import byte_by_byte, inside, simulators
from tests.chaos.proxy import Toxic, proxies
from tests.chaos.raw import HEAD, ROLE, TEXT, Asked, RawClient, chat, chunk, plain, then_close, then_reset
from tests.front import run

OFF = {"resume": {"mode": "off"}}
SLOW = ["--itl", "10ms"]  # an answer of a hundred tokens takes a second
FIRST_HELLO = {"messages": [{"role": "user", "content": "Count."}], "max_tokens": 100, "ignore_eos": True}


def broken_well(answer: Answer) -> bool:
    """Whether a stream that broke says so: an error event last, and no end mark."""
    return answer.status == 200 and not answer.is_whole and answer.error is not None and b"[DONE]" not in answer.raw


async def begun(it: Cluster, number: int) -> None:
    """Wait until so many streams are at work."""
    while await it.router.metric("router_backend_in_flight") < number:
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)  # text has come


@pytest.mark.row(1)
def test_a_backend_that_refuses_is_left_at_once_and_nobody_notices() -> None:
    async def test() -> None:
        async with cluster(3, config={"health": {"interval": 30}}) as it:
            it.backends[0].kill()
            answers = await asyncio.gather(*(it.chat() for _ in range(100)))
            assert [answer.code for answer in answers] == [200] * 100
            assert await it.router.metric("router_retries_total", cause="refused") >= 1
            assert await it.router.metric("router_backend_usable", backend=it.backends[0].name) == 0

    run(test, timeout=120)


@pytest.mark.row(2)
def test_a_backend_killed_before_its_first_byte_costs_the_client_nothing() -> None:
    async def test() -> None:
        async with cluster(2, simulate=["--ttft", "1500ms"], config={"health": {"interval": 30}}) as it:
            asked = [asyncio.ensure_future(it.chat()) for _ in range(10)]
            asked += [asyncio.ensure_future(it.chat(stream=True)) for _ in range(10)]
            while await it.router.metric("router_backend_in_flight") < 20:
                await asyncio.sleep(0.02)
            it.backends[0].kill()
            answers = await asyncio.gather(*asked)
            assert [answer.code for answer in answers] == [200] * 20
            texts = {Answer(200, answer.body).text for answer in answers[10:]}
            assert len(texts) == 1, "one answer each, whole, and not a piece of another one"
            assert await it.router.metric("router_requests_total", outcome="ok") == 20

    run(test, timeout=120)


@pytest.mark.row(3)
@pytest.mark.parametrize("streams", [30, pytest.param(200, marks=pytest.mark.long)])
def test_a_backend_killed_in_mid_stream_ends_each_of_its_streams_with_an_error_event(streams: int) -> None:
    async def test() -> None:
        async with cluster(3, simulate=SLOW, config=OFF) as it:
            ended: list[float] = []

            async def ask() -> Answer:
                answer = await it.stream(**FIRST_HELLO)
                ended.append(time.monotonic())
                return answer

            asked = [asyncio.ensure_future(ask()) for _ in range(streams)]
            await begun(it, streams)
            lost = await it.router.metric("router_backend_in_flight", backend=it.backends[0].name)
            it.backends[0].kill()
            killed = time.monotonic()
            answers = await asyncio.gather(*asked)
            broken = [answer for answer in answers if not answer.is_whole]
            assert len(broken) == lost > 0
            assert all(broken_well(answer) for answer in broken)
            assert max(sorted(ended)[: len(broken)]) - killed < 2, "at once; tests/chaos/figures has the figure"
            assert await it.router.metric("router_requests_total", outcome="broken") == lost
            assert await it.router.metric("router_attempts_total", outcome="cut") == lost

    run(test, timeout=120)


@pytest.mark.row(3, 7, 91)
@pytest.mark.parametrize(
    ("way", "mode", "streams"),
    [
        (signal.SIGKILL, "text", 30),
        pytest.param(signal.SIGKILL, "exact", 30, marks=pytest.mark.long),
        (signal.SIGSTOP, "text", 30),
        *(
            pytest.param(way, mode, 200, marks=pytest.mark.long)
            for way in (signal.SIGKILL, signal.SIGSTOP)
            for mode in ("text", "exact")
        ),
    ],
)
def test_streams_of_a_dead_backend_are_finished_by_another_one(way: signal.Signals, mode: str, streams: int) -> None:
    """Each client gets the text that an unbroken run gives, one role, one end mark, and the usage of the whole."""

    async def test() -> None:
        config = {"resume": {"mode": mode}, "timeouts": {"idle": 1}}
        async with cluster(3, simulate=SLOW, config=config) as it:
            want = {**FIRST_HELLO, "stream_options": {"include_usage": True}}
            unbroken = await it.stream(**want)
            asked = [asyncio.ensure_future(it.stream(**want)) for _ in range(streams)]
            await begun(it, streams)
            it.backends[0].signal(way)
            answers = await asyncio.gather(*asked)
            assert all(answer.is_whole and answer.error is None for answer in answers)
            assert {answer.text for answer in answers} == {unbroken.text}
            assert {answer.raw.count(b'"role":"assistant"') for answer in answers} == {1}
            counted = unbroken.events[-1]["usage"]["completion_tokens"]
            assert {answer.events[-1]["usage"]["completion_tokens"] for answer in answers} == {counted}
            assert await it.router.metric("router_streams_resumed_total", mode=mode, result="ok") > 0
            assert await it.router.metric("router_requests_total", outcome="broken") == 0

    run(test, timeout=120)


@pytest.mark.row(4)
def test_a_reset_in_mid_stream_is_told_and_never_hangs() -> None:
    async def test() -> None:
        async with (
            simulators(Settings()) as (there,),
            proxies(there.port) as (proxy,),
            inside(urls=[proxy.url], config=OFF) as it,
        ):
            proxy.toxic = Toxic(reset_after=2000)
            answer = await it.chat(stream=True, max_tokens=100, ignore_eos=True)
            assert broken_well(Answer(answer.code, answer.body))
            assert await it.metric("router_requests_total", outcome="broken") == 1

    run(test)


@pytest.mark.row(4, 5)
@pytest.mark.parametrize("end", [then_close, then_reset])
def test_a_stream_cut_within_a_chunk_is_told_as_broken(end) -> None:
    async def test() -> None:
        async with byte_by_byte(end(HEAD + chunk(ROLE + TEXT) + b"ff\r\ndata: {"), config=OFF) as (it, _):
            answer = await it.chat(stream=True)
            assert broken_well(Answer(answer.code, answer.body))
            assert await it.metric("router_requests_total", outcome="ok") == 0

    run(test)


@pytest.mark.row(5)
@pytest.mark.parametrize("size", [100, 3 << 20])
def test_a_body_shorter_than_its_length_is_never_told_as_whole(size: int) -> None:
    """A small one becomes a status, since nothing of it was sent; of a large one the client sees the cut."""

    async def test() -> None:
        raw = plain(200, b'"' + b"x" * size + b'"')[:-10]
        async with byte_by_byte(then_close(raw)) as (it, _):
            client = await RawClient.connect(it.port)
            client.send(chat(stream=False, lines=b"Connection: close\r\n"))
            got = await client.read_all()
            client.close()
            if size == 100:
                assert got.startswith(b"HTTP/1.1 502 ")
            else:
                head, _, body = got.partition(b"\r\n\r\n")
                assert b"content-length: %d" % (size + 2) in head.lower()
                assert len(body) < size + 2
            assert await it.metric("router_requests_total", outcome="ok") == 0

    run(test)


@pytest.mark.row(6)
def test_a_backend_that_hangs_idle_gets_no_new_requests_and_those_that_wait_move_on() -> None:
    async def test() -> None:
        config = {"health": {"timeout": 0.5}, "timeouts": {"first_byte": 20, "unstreamed": 20}}
        async with cluster(3, config=config) as it:
            it.backends[0].freeze()
            begun_at = time.monotonic()
            answers = await asyncio.gather(*(it.chat() for _ in range(12)))
            assert [answer.code for answer in answers] == [200] * 12
            assert time.monotonic() - begun_at < 15, "moved when it was found hung, not by the timer of 20 s"
            while await it.router.metric("router_backend_usable", backend=it.backends[0].name):
                await asyncio.sleep(0.05)
            taken = await it.router.metric("router_attempts_total", backend=it.backends[0].name)
            assert {(await it.chat()).code for _ in range(12)} == {200}
            assert await it.router.metric("router_attempts_total", backend=it.backends[0].name) == taken
            it.backends[0].thaw()
            while not await it.router.metric("router_backend_usable", backend=it.backends[0].name):
                await asyncio.sleep(0.05)

    run(test, timeout=120)


@pytest.mark.long
@pytest.mark.row(7)
def test_streams_of_a_backend_that_hangs_end_by_the_idle_timer_and_it_comes_back() -> None:
    async def test() -> None:
        config = {**OFF, "health": {"timeout": 0.5}, "timeouts": {"idle": 1}, "breaker": {"open_for": 1}}
        async with cluster(2, simulate=SLOW, config=config) as it:
            asked = [asyncio.ensure_future(it.stream(**FIRST_HELLO)) for _ in range(10)]
            await begun(it, 10)
            it.backends[0].freeze()
            answers = await asyncio.gather(*asked)
            broken = [answer for answer in answers if not answer.is_whole]
            assert len(broken) == 5
            assert all(broken_well(answer) for answer in broken)
            assert await it.router.metric("router_backend_usable", backend=it.backends[0].name) == 0
            it.backends[0].thaw()
            while not await it.router.metric("router_backend_usable", backend=it.backends[0].name):
                await asyncio.sleep(0.05)
            assert {(await it.chat()).code for _ in range(4)} == {200}

    run(test, timeout=120)


@pytest.mark.row(13)
def test_with_all_backends_dead_503_comes_at_once_and_service_returns_with_the_first() -> None:
    async def test() -> None:
        async with cluster(2) as it:
            for backend in it.backends:
                backend.kill()
            await it.chat()
            begun_at = time.monotonic()
            answers = [await it.chat() for _ in range(10)]
            assert time.monotonic() - begun_at < 5
            assert {answer.code for answer in answers} == {503}
            assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers)
            assert [(await it.ask(path)).code for path in ("/readyz", "/livez")] == [503, 200]
            it.backends[1].start()
            await it.backends[1].listens()
            listened = time.monotonic()
            while (await it.chat()).code != 200:
                await asyncio.sleep(0.02)
            assert time.monotonic() - listened < 5
            it.backends[0].start()
            await it.backends[0].listens()

    run(test, timeout=120)


@pytest.mark.row(18)
def test_a_backend_that_takes_no_connection_is_left_when_the_connect_timer_fires() -> None:
    """A listener whose queue is full drops what comes: the SYN is never answered."""

    async def test() -> None:
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            port = full.getsockname()[1]
            stuffing = [socket.socket() for _ in range(4)]
            for each in stuffing:
                each.setblocking(False)
                each.connect_ex(("127.0.0.1", port))
            await asyncio.sleep(0.2)
            async with simulators(Settings()) as (there,):
                config = {
                    "health": {"enabled": False},
                    "timeouts": {"connect": 0.5},
                    "backend_options": [{"models": ["simulated-model"]}] * 2,
                }
                urls = [f"http://127.0.0.1:{port}", there.url]
                async with inside(urls=urls, config=config, ready=False) as it:
                    assert {(await it.chat()).code for _ in range(4)} == {200}
                    assert await it.metric("router_attempts_total", outcome="connect_failed") >= 1
            for each in stuffing:
                each.close()

    run(test)


@pytest.mark.row(19)
def test_a_head_without_a_body_ends_by_the_first_byte_timer_and_is_a_504() -> None:
    async def test() -> None:
        async def silent(asked: Asked) -> None:
            asked.writer.write(HEAD)

        async with byte_by_byte(silent, config={"timeouts": {"first_byte": 0.3}}) as (it, _):
            answer = await it.chat(stream=True)
            assert answer.code == 504
            assert b'"error"' in answer.body

    run(test)


@pytest.mark.row(19)
def test_a_stream_that_falls_silent_after_it_began_ends_with_an_error_event() -> None:
    async def test() -> None:
        async def silent(asked: Asked) -> None:
            asked.writer.write(HEAD + chunk(ROLE + TEXT))

        async with byte_by_byte(silent, config={**OFF, "timeouts": {"idle": 0.3}}) as (it, _):
            answer = await it.chat(stream=True)
            assert broken_well(Answer(answer.code, answer.body))

    run(test)


@pytest.mark.row(31)
def test_a_backend_that_closes_idle_connections_just_then_costs_no_request() -> None:
    """vLLM closes after five seconds; here after 0.2, with a request each 0.2 s, so that they meet again and again."""

    async def test() -> None:
        async with inside(Settings(keepalive=0.2), config={"health": {"interval": 30}, "pool": {"keepalive": 4}}) as it:
            for _ in range(8):
                answers = await asyncio.gather(*(it.chat() for _ in range(4)))
                assert [answer.code for answer in answers] == [200] * 4
                await asyncio.sleep(0.2)
            assert await it.metric("router_attempts_total", outcome="ok") == 32
            assert await it.metric("router_attempts_total") == 32

    run(test)
