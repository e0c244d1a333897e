"""Over real sockets: what a client sees of each way to end an answer."""

import pytest

from router.simulator.faults import Break, Faults
from router.simulator.outlet import GARBAGE
from router.simulator.settings import Settings
from tests.captures import Capture
from tests.simulator.asking import CHAT, HELLO, ask, chat, raw_request, run, send, simulated


def test_each_event_is_one_chunk() -> None:
    async def test() -> None:
        async with simulated(Settings(tokens=5)) as simulator:
            reply = await chat(simulator, stream=True)
        assert all(chunk.startswith(b"data: ") and chunk.endswith(b"\n\n") for chunk in reply.capture.chunks)
        assert len(reply.capture.chunks) == len(reply.events) == 7
        assert reply.capture.is_whole

    run(test)


@pytest.mark.parametrize(("stream", "is_chunked"), [(True, True), (False, False)])
def test_heads_are_those_of_uvicorn(stream: bool, is_chunked: bool) -> None:
    async def test() -> None:
        async with simulated() as simulator:
            reply = await chat(simulator, stream=stream)
        assert list(reply.headers)[:2] == ["date", "server"]
        assert reply.headers["server"] == "uvicorn"
        assert ("transfer-encoding" in reply.headers) is is_chunked

    run(test)


@pytest.mark.parametrize("stream", [True, False])
def test_a_cut_answer_ends_without_its_end(stream: bool) -> None:
    async def test() -> None:
        async with simulated() as simulator:
            simulator.faults = Faults(break_as=Break.CUT, break_after=3)
            reply = await chat(simulator, stream=stream)
        assert reply.status == 200
        assert not reply.capture.is_whole
        assert not reply.raw.endswith(b"<RESET>")

    run(test)


def test_a_reset_is_seen_as_one() -> None:
    async def test() -> None:
        async with simulated() as simulator:
            for faults in (Faults(break_as=Break.RESET, break_after=2), Faults(reset=True)):
                simulator.faults = faults
                raw = await send(simulator, raw_request("POST", CHAT, {**HELLO, "stream": True}))
                assert raw.endswith(b"<RESET>")

    run(test)


def test_an_error_event_is_followed_by_done_and_a_regular_end() -> None:
    """As a vLLM whose engine died does: whoever looks for [DONE] alone takes it for success."""

    async def test() -> None:
        async with simulated() as simulator:
            simulator.faults = Faults(break_as=Break.ERROR, break_after=2)
            reply = await chat(simulator, stream=True)
        assert (reply.events[-2]["error"]["code"], reply.events[-1]) == (500, "[DONE]")
        assert reply.capture.is_whole

    run(test)


def test_garbage_is_sent_within_a_stream_and_instead_of_an_answer() -> None:
    async def test() -> None:
        async with simulated() as simulator:
            simulator.faults = Faults(break_as=Break.GARBAGE, break_after=1)
            assert (await chat(simulator, stream=True)).raw.endswith(GARBAGE)
            simulator.faults = Faults(garbage=True)
            assert await send(simulator, raw_request("POST", CHAT, HELLO)) == GARBAGE
            simulator.faults = Faults(break_as=Break.GARBAGE)
            raw = await send(simulator, raw_request("POST", CHAT, HELLO))
        assert Capture("", b"", raw.removesuffix(GARBAGE)).is_whole  # bytes after an answer that is whole

    run(test)


def test_a_connection_closed_instead_of_an_answer_says_nothing() -> None:
    async def test() -> None:
        async with simulated() as simulator:
            simulator.faults = Faults(close=True)
            assert await send(simulator, raw_request("POST", CHAT, HELLO)) == b""
            simulator.faults = Faults()
            assert (await ask(simulator, "POST", CHAT, HELLO)).status == 200

    run(test)
