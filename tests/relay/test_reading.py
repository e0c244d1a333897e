"""Rules of router/relay/reading.py, held against recorded streams of real vLLM at every split.

The pipe runs the parser of answers, the reading, the answer and the client's framing, all but sockets.
"""

import asyncio
import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from router.exchange import AttemptOutcome
from router.handlers.routes import RELAYED
from router.relay.reading import MAX_HELD, MAX_REFUSAL
from router.relay.route import Route
from router.wire.client import PooledHTTPClient
from router.wire.sse import EventTooLong
from tests.front import run
from tests.relay.pipe import CHAT, Pipe, body_of, dechunk
from tests.relay.scripted import END, HEAD, Asked, chat, chunk, says, scripted

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
WHOLE = {name: raw for name, raw in STREAMS.items() if DONE in raw and b'"error":' not in raw and b'"abort"' not in raw}
BROKEN = {name: raw for name, raw in STREAMS.items() if name not in WHOLE}


def in_loop(test: Callable[[Pipe], None]) -> None:
    async def inside() -> None:
        test(Pipe(PooledHTTPClient(force_instance=True)))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(inside())


def bytewise(raw: bytes) -> list[bytes]:
    return [raw[place : place + 1] for place in range(len(raw))]


def test_there_are_recorded_streams_of_every_kind() -> None:
    assert len(WHOLE) >= 57
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


BIG = b"x" * 3_000_000


@pytest.mark.parametrize("step", [1 << 16, 1 << 20, 1 << 22])
def test_a_large_body_keeps_the_length_that_its_backend_told(step: int) -> None:
    def test(pipe: Pipe) -> None:
        raw = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(BIG), BIG)
        head, _, body = pipe.relay([raw[place : place + step] for place in range(0, len(raw), step)]).partition(
            b"\r\n\r\n"
        )
        assert head.lower().count(b"content-length: %d" % len(BIG)) == 1
        assert b"chunked" not in head
        assert body == BIG
        assert not pipe.aborted

    in_loop(test)


def test_a_large_body_without_a_length_is_chunked() -> None:
    def test(pipe: Pipe) -> None:
        raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(BIG) + END
        head, _, body = pipe.relay([raw[place : place + 65536] for place in range(0, len(raw), 65536)]).partition(
            b"\r\n\r\n"
        )
        assert b"content-length" not in head.lower()
        assert dechunk(body) == BIG

    in_loop(test)


@pytest.mark.parametrize("framing", [b"Content-Length: 9000000", b"Transfer-Encoding: chunked"])
def test_an_http_1_0_client_sees_a_reset_where_a_body_is_cut(framing: bytes) -> None:
    """Nothing but the end of the connection ends its body: a clean end would make the half look whole."""

    async def test() -> None:
        async def script(asked: Asked) -> None:
            size = b"F00000\r\n" if b"chunked" in framing else b""
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + framing + b"\r\n\r\n"
            asked.writer.write(head + size + BIG)
            await asked.writer.drain()
            await asyncio.sleep(0.1)
            asked.writer.transport.abort()

        async with scripted(script) as (cluster, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port)
            writer.write(chat(stream=False, version=b"1.0"))
            assert b" 200 " in await reader.readline()
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()

    run(test)


def test_an_http_1_0_client_of_a_broken_stream_sees_the_error_event_and_a_clean_end() -> None:
    async def test() -> None:
        async with scripted(says(HEAD + chunk(ROLE) + chunk(TEXT) + b"no chunk")) as (cluster, _):
            body = (await cluster.exchange(chat(version=b"1.0"))).partition(b"\r\n\r\n")[2]
            assert body.startswith(ROLE + TEXT + b'data: {"error"')
            assert body.endswith(b"}\n\n")

    run(test)


RESPONSES = next(route for route in RELAYED if route.path == "/v1/responses")
DELTA = b'data: {"type":"response.output_text.delta","delta":"x"}\n\n'


@pytest.mark.parametrize("last", [b"data: data: [DONE]\n\n", b"data: x\ndata: [DONE]\n\n", TEXT[:-1] + DONE])
def test_what_ends_like_an_end_mark_ends_nothing(last: bytes) -> None:
    def test(pipe: Pipe) -> None:
        out = pipe.relay([chunked(ROLE, last)])
        assert pipe.ended is not None
        assert pipe.ended.outcome is AttemptOutcome.CUT
        assert b"upstream_unavailable" in out

    in_loop(test)


@pytest.mark.parametrize(
    "end", [b"data: [DONE]\n", b"data: [DONE]", b"data: [DONE] \n\n", b"data:[DONE]\n\n", b"data: [DONE]\r\n\r\n"]
)
@pytest.mark.parametrize("split", [lambda raw: [raw], bytewise], ids=["at once", "byte by byte"])
def test_an_end_mark_in_any_spelling_ends_a_whole_stream(end: bytes, split: Callable[[bytes], list[bytes]]) -> None:
    def test(pipe: Pipe) -> None:
        body = dechunk(pipe.relay(split(chunked(ROLE, TEXT, end))).partition(b"\r\n\r\n")[2])
        assert body.rstrip() == (ROLE + TEXT + end).rstrip()  # an LF that comes behind a CR by itself means nothing
        assert pipe.ended is not None
        assert pipe.ended.outcome is AttemptOutcome.OK

    in_loop(test)


@pytest.mark.parametrize("end", [DONE, b"data: [DONE]\r\n\r\n"])
def test_what_a_backend_says_behind_the_end_mark_is_not_passed_on(end: bytes) -> None:
    """Also where it comes in the same read."""

    def test(pipe: Pipe) -> None:
        raw = chunked(ROLE, TEXT, end + b"data: behind\n\n")
        assert dechunk(pipe.relay([raw]).partition(b"\r\n\r\n")[2]) == ROLE + TEXT + end
        assert pipe.ended is not None
        assert pipe.ended.outcome is AttemptOutcome.OK

    in_loop(test)


@pytest.mark.parametrize("kind", ["completed", "incomplete"])
@pytest.mark.parametrize("split", [lambda raw: [raw], bytewise], ids=["at once", "byte by byte"])
def test_a_response_whose_events_have_no_names_is_whole_by_their_types(
    kind: str, split: Callable[[bytes], list[bytes]]
) -> None:
    def test(pipe: Pipe) -> None:
        end = b'data: {"type":"response.%b","response":{}}\n\n' % kind.encode()
        body = dechunk(pipe.relay(split(chunked(DELTA, end)), RESPONSES).partition(b"\r\n\r\n")[2])
        assert body == DELTA + end

    in_loop(test)


def test_a_response_without_its_last_event_is_cut_though_its_text_speaks_of_it() -> None:
    def test(pipe: Pipe) -> None:
        text = DELTA.replace(b'"x"', b'"response.completed"')
        out = pipe.relay([chunked(DELTA, text)], RESPONSES)
        assert pipe.ended is not None
        assert pipe.ended.outcome is AttemptOutcome.CUT
        assert b"event: error\n" in out

    in_loop(test)


@pytest.mark.parametrize("content_type", [b"Text/Event-Stream", b"TEXT/EVENT-STREAM; charset=utf-8"])
def test_a_stream_is_one_in_any_spelling_of_its_type(content_type: bytes) -> None:
    def test(pipe: Pipe) -> None:
        raw = chunked(ROLE, TEXT, DONE).replace(b"text/event-stream", content_type)
        assert dechunk(pipe.relay([raw]).partition(b"\r\n\r\n")[2]) == ROLE + TEXT + DONE
        cut = chunked(ROLE, TEXT).replace(b"text/event-stream", content_type)
        assert b"upstream_unavailable" in pipe.relay([cut])

    in_loop(test)


@pytest.mark.parametrize("coding", [b"gzip", b"GZIP", b"br"])
def test_a_stream_that_its_backend_compresses_is_passed_on_unread(coding: bytes) -> None:
    def test(pipe: Pipe) -> None:
        packed = gzip.compress(TEXT * 50 + DONE)
        raw = chunked(packed[:9], packed[9:]).replace(b"Transfer", b"Content-Encoding: " + coding + b"\r\nTransfer")
        head, _, body = pipe.relay(bytewise(raw)).partition(b"\r\n\r\n")
        assert b"Content-Encoding: " + coding in head
        assert dechunk(body) == packed
        assert pipe.ended is not None
        assert pipe.ended.outcome is AttemptOutcome.OK

    in_loop(test)


def test_a_stream_that_is_compressed_by_its_second_coding_is_passed_on_unread() -> None:
    def test(pipe: Pipe) -> None:
        packed = gzip.compress(TEXT * 50 + DONE)
        lines = b"Content-Encoding: identity\r\nContent-Encoding: identity, gzip\r\nTransfer"
        _, _, body = pipe.relay(bytewise(chunked(packed).replace(b"Transfer", lines))).partition(b"\r\n\r\n")
        assert dechunk(body) == packed

    in_loop(test)


@pytest.mark.parametrize("coding", [b"identity", b"Identity", b""])
def test_a_stream_that_is_not_compressed_is_read_though_its_head_says_so_in_words(coding: bytes) -> None:
    def test(pipe: Pipe) -> None:
        raw = chunked(ROLE, TEXT).replace(b"Transfer", b"Content-Encoding: " + coding + b"\r\nTransfer")
        assert b"upstream_unavailable" in pipe.relay([raw])

    in_loop(test)


def test_an_error_event_of_the_requests_own_fault_blames_no_backend() -> None:
    def test(pipe: Pipe) -> None:
        out = pipe.relay([chunked(ROLE, TEXT, ERROR.replace(b"500", b"400"), DONE)])
        assert pipe.ended is not None
        assert pipe.ended.outcome is AttemptOutcome.CLIENT_ERROR
        assert b'"type":"invalid_request_error"' in out

    in_loop(test)


def test_a_large_refusal_is_read_up_to_its_bound() -> None:
    def test(pipe: Pipe) -> None:
        for size, is_kept in ((MAX_HELD + 1, True), (MAX_REFUSAL, True), (MAX_REFUSAL + 1, False)):
            head = b"HTTP/1.1 422 X\r\nContent-Length: %d\r\n\r\n" % size
            out = pipe.relay([head, b"x" * size])
            assert pipe.ended is not None
            assert pipe.ended.outcome is AttemptOutcome.CLIENT_ERROR
            assert out.startswith(b"HTTP/1.1 422 ")
            assert (pipe.ended.refusal is not None) is is_kept

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
