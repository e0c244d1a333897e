"""Rules of router/relay/attempt.py: one try at one backend, over real sockets, with a scripted backend."""

import asyncio

from tests.front import run, until
from tests.relay.scripted import DONE, END, HEAD, ROLE, TEXT, Asked, chat, chunk, gone, plain, says, scripted


def test_the_end_mark_ends_the_answer_though_the_backend_keeps_its_connection_open() -> None:
    async def test() -> None:
        async with scripted(says(HEAD + chunk(TEXT) + chunk(DONE))) as (cluster, asked):
            answer = await cluster.chat(stream=True)
            assert answer.body == TEXT + DONE
            await gone(asked[0])  # and it is closed soon after
            assert await cluster.metric("router_attempts_total", outcome="ok") == 1

    run(test)


def test_silence_before_the_beginning_is_ended_by_the_first_byte_timer_though_the_role_came() -> None:
    async def test() -> None:
        timeouts = {"first_byte": 0.3, "idle": 0.1}
        async with scripted(says(HEAD + chunk(ROLE)), config={"timeouts": timeouts}) as (cluster, asked):
            answer = await cluster.chat(stream=True)
            assert answer.code == 504
            await gone(asked[0])
            assert await cluster.metric("router_attempts_total", outcome="first_byte_timeout") == 1

    run(test)


def test_an_answer_in_one_piece_has_a_limit_of_its_own() -> None:
    async def test() -> None:
        async def script(asked: Asked) -> None:
            await asyncio.sleep(0.5)
            asked.writer.write(plain(200, {}))

        async with scripted(script, config={"timeouts": {"first_byte": 0.1}}) as (cluster, _):
            assert (await cluster.chat()).body == b"{}"
        async with scripted(script, config={"timeouts": {"unstreamed": 0.1}}) as (cluster, _):
            assert (await cluster.chat()).code == 504

    run(test)


def test_bytes_that_drip_are_progress() -> None:
    async def test() -> None:
        async def script(asked: Asked) -> None:
            asked.writer.write(HEAD + chunk(TEXT))
            for place in range(len(TEXT)):
                await asyncio.sleep(0.02)
                asked.writer.write(chunk(TEXT[place : place + 1]))
            asked.writer.write(chunk(DONE) + END)

        async with scripted(script, config={"timeouts": {"idle": 0.6}}) as (cluster, _):
            assert (await cluster.chat(stream=True)).body == TEXT + TEXT + DONE

    run(test)


def test_a_slow_client_is_not_taken_for_a_stalled_backend_and_slows_it_down() -> None:
    async def test() -> None:
        sent = 0

        async def script(asked: Asked) -> None:
            nonlocal sent
            event = b'data: {"choices":[{"index":0,"delta":{"content":"' + b"x" * 60_000 + b'"}}]}\n\n'
            asked.writer.write(HEAD)
            for _ in range(800):
                asked.writer.write(chunk(event))
                await asked.writer.drain()
                sent += 1
            asked.writer.write(chunk(DONE) + END)
            await asked.writer.drain()

        async with scripted(script, config={"timeouts": {"idle": 0.3}}) as (cluster, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port)
            writer.write(chat())
            await until(lambda: sent > 0)
            await asyncio.sleep(1.2)  # four times the idle limit, and not a byte read
            held = sent
            assert held < 700, "48 MB were not taken from the backend to be kept here"
            got = b""
            while not got.endswith(END):
                got = got[-100:] + await reader.read(1 << 20)
            assert b"[DONE]" in got
            assert sent == 800
            writer.close()

    run(test, timeout=60)


def test_an_endless_event_is_refused() -> None:
    async def test() -> None:
        async def script(asked: Asked) -> None:
            asked.writer.write(HEAD + chunk(TEXT))
            for _ in range(200):
                asked.writer.write(chunk(b"x" * 65536))
                await asyncio.sleep(0)

        async with scripted(script) as (cluster, asked):
            answer = await cluster.chat(stream=True)
            assert answer.body.startswith(TEXT + b'data: {"error"')
            assert len(answer.body) < 1000
            await gone(asked[0])

    run(test)
