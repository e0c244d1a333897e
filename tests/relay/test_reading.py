"""Rules of router/relay/reading.py, held against recorded streams of real vLLM at every split.

The pipe runs the parser of answers, the reading, the answer and the client's framing, all but sockets.
"""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from router.exchange import AttemptOutcome
from router.relay.route import Route
from router.wire.client import PooledHTTPClient
from router.wire.sse import EventTooLong
from tests.relay.pipe import CHAT, Pipe, body_of, dechunk

RECORDED = Path(__file__).parent.parent / "data" / "vllm"
EVERY_SPLIT_UP_TO = 16 * 1024
DONE = b"data: [DONE]\n\n"


def recorded() -> dict[str, bytes]:
    streams = {}
    for path in sorted(RECORDED.rglob("*.response")):
        raw = path.read_bytes()
        if b"text/event-stream" in raw[:600]:
            streams[f"{path.parent.name}/{path.stem}"] = raw
    return streams


STREAMS = recorded()
WHOLE = {name: raw for name, raw in STREAMS.items() if DONE in raw and b'"error":' not in raw}
BROKEN = {name: raw for name, raw in STREAMS.items() if name not in WHOLE}


def in_loop(test: Callable[[Pipe], None]) -> None:
    async def inside() -> None:
        test(Pipe(PooledHTTPClient(force_instance=True)))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(inside())


def bytewise(raw: bytes) -> list[bytes]:
    return [raw[place : place + 1] for place in range(len(raw))]


def test_there_are_recorded_streams_of_every_kind() -> None:
    assert len(WHOLE) >= 60
    assert len(BROKEN) >= 5


@pytest.mark.parametrize("name", [name for name, raw in WHOLE.items() if len(raw) <= EVERY_SPLIT_UP_TO])
def test_a_stream_comes_out_as_it_was_wherever_it_is_split(name: str) -> None:
    raw = WHOLE[name]
    body = body_of(raw)

    def test(pipe: Pipe) -> None:
        for place in range(len(raw) + 1):
            out = pipe.relay([raw[:place], raw[place:]] if 0 < place < len(raw) else [raw])
            assert dechunk(out.partition(b"\r\n\r\n")[2]) == body, place

    in_loop(test)


@pytest.mark.parametrize("name", WHOLE)
def test_a_stream_comes_out_as_it_was_byte_by_byte(name: str) -> None:
    raw = WHOLE[name]

    def test(pipe: Pipe) -> None:
        out = pipe.relay(bytewise(raw))
        assert dechunk(out.partition(b"\r\n\r\n")[2]) == body_of(raw)
        assert pipe.ended is not None
        assert pipe.ended.outcome is AttemptOutcome.OK

    in_loop(test)


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("split", [lambda raw: [raw], bytewise], ids=["at once", "byte by byte"])
def test_a_recorded_failure_never_looks_whole(name: str, split: Callable[[bytes], list[bytes]]) -> None:
    """Streams that vLLM cut, let stall, or ended with an error event and [DONE]."""

    def test(pipe: Pipe) -> None:
        out = pipe.relay(split(BROKEN[name]))
        head, _, body = out.partition(b"\r\n\r\n")
        assert DONE not in out
        if head.startswith(b"HTTP/1.1 200"):
            body = dechunk(body)
            told, _, last = body[:-2].rpartition(b"\n\n")
            assert body_of(BROKEN[name]).startswith(told)
            body = last.removeprefix(b"data: ")
        assert json.loads(body)["error"]["message"]

    in_loop(test)


def chunked(*events: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events) + b"0\r\n\r\n"


ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"an \\"error\\": {} [DONE]"},"finish_reason":null}]}\n\n'
ERROR = b'data: {"error":{"message":"dead","type":"InternalServerError","param":null,"code":500}}\n\n'


@pytest.mark.parametrize("place", range(len(ERROR)))
def test_an_error_event_is_found_wherever_it_is_split(place: int) -> None:
    def test(pipe: Pipe) -> None:
        raw = chunked(ROLE, TEXT, ERROR[:place] or b"\n", ERROR[place:], DONE)
        body = dechunk(pipe.relay([raw]).partition(b"\r\n\r\n")[2])
        assert body.startswith(ROLE + TEXT)
        assert b'"message":"dead"' in body
        assert not body.endswith(DONE)

    in_loop(test)


def test_text_that_speaks_of_errors_and_ends_is_passed_on() -> None:
    def test(pipe: Pipe) -> None:
        body = dechunk(pipe.relay([chunked(ROLE, TEXT, TEXT, DONE)]).partition(b"\r\n\r\n")[2])
        assert body == ROLE + TEXT + TEXT + DONE

    in_loop(test)


def test_a_stream_without_its_end_mark_is_cut_however_cleanly_it_ended() -> None:
    def test(pipe: Pipe) -> None:
        out = pipe.relay([chunked(ROLE, TEXT)])
        assert pipe.ended is not None
        assert pipe.ended.outcome is AttemptOutcome.CUT
        assert b"upstream_unavailable" in out

    in_loop(test)


def test_a_route_without_an_end_mark_ends_with_its_framing() -> None:
    def test(pipe: Pipe) -> None:
        body = pipe.relay([chunked(TEXT, b"data: unfinished")], Route("/x", "POST")).partition(b"\r\n\r\n")[2]
        assert dechunk(body) == TEXT + b"data: unfinished"

    in_loop(test)


def test_an_event_that_never_ends_is_refused_and_not_kept() -> None:
    def test(pipe: Pipe) -> None:
        endless = b"data: " + b"x" * (9 * 1024 * 1024)
        raw = chunked(ROLE, TEXT, endless)
        with pytest.raises(EventTooLong):
            pipe.relay([raw[place : place + 65536] for place in range(0, len(raw), 65536)])

    in_loop(test)


def test_a_redirect_is_no_answer() -> None:
    def test(pipe: Pipe) -> None:
        out = pipe.relay([b"HTTP/1.1 302 Found\r\nLocation: http://evil/\r\nContent-Length: 0\r\n\r\n"], CHAT)
        assert out.startswith(b"HTTP/1.1 502 ")
        assert b"evil" not in out

    in_loop(test)


def test_a_large_body_begins_before_it_is_whole_and_is_cut_when_it_breaks() -> None:
    def test(pipe: Pipe) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 3000000\r\n\r\n"
        out = pipe.relay([head, b"x" * 1_500_000, b"x" * 500_000])
        assert out.startswith(b"HTTP/1.1 200 OK")
        assert pipe.aborted, "nothing else tells a broken body from a whole one"

    in_loop(test)


def test_the_cost_of_an_event_does_not_grow_with_the_stream() -> None:
    def test(pipe: Pipe) -> None:
        def seconds(count: int) -> float:
            pieces = [chunked(ROLE, *[TEXT] * count, DONE)]
            started = time.perf_counter()
            pipe.relay(pieces)
            return time.perf_counter() - started

        seconds(100)
        assert min(seconds(8000) for _ in range(3)) < 100 * min(seconds(400) for _ in range(3))

    in_loop(test)
