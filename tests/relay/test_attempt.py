"""Rules of router/relay/attempt.py: one try at one backend, over real sockets, with a scripted backend."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.front import Front, front, run, until

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
Script = Callable[[asyncio.StreamWriter, asyncio.Event], Awaitable[None]]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@asynccontextmanager
async def scripted(script: Script, **timeouts: float) -> AsyncIterator[tuple[Front, list[asyncio.Event]]]:
    """A router before one backend that answers requests as the script says; events are set when it is hung up on."""
    left: list[asyncio.Event] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if request.startswith(b"GET "):  # the list of models
            writer.write(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        gone = asyncio.Event()
        left.append(gone)
        length = [line for line in request.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        await reader.readexactly(int(length[0].split(b":")[1]) if length else 0)
        try:
            await script(writer, gone)
            await reader.read()
        except (RuntimeError, ConnectionError):
            pass  # it was hung up on while it wrote
        finally:
            gone.set()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    config = {
        "health": {"enabled": False},
        "timeouts": timeouts,
        "retry": {"max_attempts": 1},
        "backend_options": [{"models": ["simulated-model"]}],
    }
    try:
        async with front(urls=[url], config=config) as cluster:
            yield cluster, left
    finally:
        server.close()


async def gone(left: list[asyncio.Event]) -> None:
    async with asyncio.timeout(5):
        await left[-1].wait()


def test_the_end_mark_ends_the_answer_though_the_backend_keeps_its_connection_open() -> None:
    async def test() -> None:
        async def script(writer: asyncio.StreamWriter, hung_up: asyncio.Event) -> None:
            writer.write(HEAD + chunk(TEXT) + chunk(DONE))

        async with scripted(script) as (cluster, left):
            answer = await cluster.chat(stream=True)
            assert answer.body == TEXT + DONE
            await gone(left)  # and it is closed soon after
            assert await cluster.metric("router_attempts_total", outcome="ok") == 1

    run(test)


def test_silence_before_the_beginning_is_ended_by_the_first_byte_timer_though_the_role_came() -> None:
    async def test() -> None:
        async def script(writer: asyncio.StreamWriter, hung_up: asyncio.Event) -> None:
            writer.write(HEAD + chunk(TEXT.replace(b'"content":"x"', b'"role":"assistant"')))

        async with scripted(script, first_byte=0.3, idle=0.1) as (cluster, left):
            answer = await cluster.chat(stream=True)
            assert answer.code == 504
            await gone(left)
            assert await cluster.metric("router_attempts_total", outcome="first_byte_timeout") == 1

    run(test)


def test_an_answer_in_one_piece_has_a_limit_of_its_own() -> None:
    async def test() -> None:
        async def script(writer: asyncio.StreamWriter, hung_up: asyncio.Event) -> None:
            await asyncio.sleep(0.5)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        async with scripted(script, first_byte=0.1) as (cluster, _):
            assert (await cluster.chat()).body == b"{}"
        async with scripted(script, unstreamed=0.1) as (cluster, _):
            assert (await cluster.chat()).code == 504

    run(test)


def test_bytes_that_drip_are_progress() -> None:
    async def test() -> None:
        async def script(writer: asyncio.StreamWriter, hung_up: asyncio.Event) -> None:
            writer.write(HEAD + chunk(TEXT))
            for place in range(len(TEXT)):
                await asyncio.sleep(0.02)
                writer.write(chunk(TEXT[place : place + 1]))
            writer.write(chunk(DONE) + b"0\r\n\r\n")

        async with scripted(script, idle=0.6) as (cluster, _):
            assert (await cluster.chat(stream=True)).body == TEXT + TEXT + DONE

    run(test)


def test_a_slow_client_is_not_taken_for_a_stalled_backend_and_slows_it_down() -> None:
    async def test() -> None:
        sent = 0

        async def script(writer: asyncio.StreamWriter, hung_up: asyncio.Event) -> None:
            nonlocal sent
            event = b'data: {"choices":[{"index":0,"delta":{"content":"' + b"x" * 60_000 + b'"}}]}\n\n'
            writer.write(HEAD)
            for _ in range(800):
                writer.write(chunk(event))
                await writer.drain()
                sent += 1
            writer.write(chunk(DONE) + b"0\r\n\r\n")
            await writer.drain()

        async with scripted(script, idle=0.3) as (cluster, _):
            body = b'{"model":"simulated-model","stream":true,"messages":[]}'
            reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port)
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            await until(lambda: sent > 0)
            await asyncio.sleep(1.2)  # four times the idle limit, and not a byte read
            held = sent
            assert held < 700, "48 MB were not taken from the backend to be kept here"
            got = b""
            while not got.endswith(b"0\r\n\r\n"):
                got = got[-100:] + await reader.read(1 << 20)
            assert b"[DONE]" in got
            assert sent == 800
            writer.close()

    run(test, timeout=60)


def test_an_endless_event_is_refused() -> None:
    async def test() -> None:
        async def script(writer: asyncio.StreamWriter, hung_up: asyncio.Event) -> None:
            writer.write(HEAD + chunk(TEXT))
            for _ in range(200):
                writer.write(chunk(b"x" * 65536))
                await asyncio.sleep(0)

        async with scripted(script) as (cluster, left):
            answer = await cluster.chat(stream=True)
            assert answer.body.startswith(TEXT + b'data: {"error"')
            assert len(answer.body) < 1000
            await gone(left)

    run(test)
