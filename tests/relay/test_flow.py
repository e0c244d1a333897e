"""Rules of router/relay/flow.py: that some events take a short way changes nothing that anybody can see."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from router.exchange import Exchange
from router.relay.answer import Answer
from router.relay.flow import MAX_USUAL, USUAL_LENGTH
from router.relay.kept import Kept
from router.relay.reading import Reading
from router.relay.route import Job
from router.relay.translation import Repair
from router.translate.asked import AnswerForm, Asked
from router.wire.client import Head, PooledHTTPClient
from router.wire.shortcut import MANY
from tests.relay.pipe import CHAT, FromBackend, MemoryTransport, Pipe, Verdicts, body_of, dechunk

HEAD = {"id": "chatcmpl-a", "object": "chat.completion.chunk", "created": 1, "model": "m"}
DONE = b"data: [DONE]\n\n"
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(["a", " word", "[", "TOOL", "[TOOL_CALLS]", '"', "\\", "\n", '"error"', "[DONE]", '"abort"']),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    ),
    max_size=20,
)


def event(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish, **more}
    return b"data: " + json.dumps({**HEAD, "choices": [choice]}, separators=(",", ":")).encode() + b"\n\n"


def stream(texts: list[str], **more: Any) -> list[bytes]:
    first = event({"role": "assistant", "content": ""}, **more)
    return [first, *(event({"content": text}, **more) for text in texts), event({}, "stop", **more), DONE]


class Told:
    """One stream through a reading, each event a read of its own: what the client got, and what is known of it."""

    def __init__(self, pipe: Pipe, events: list[bytes], *, framed: bool, asked: Asked | None, keeps: bool) -> None:
        transport = MemoryTransport()
        connection = pipe.connect(transport)
        self.exchange = Exchange("id", CHAT.path, "POST", 0.0)
        answer = Answer(connection, self.exchange, b"", named_events=False)
        self.kept = Kept(is_chat=True, max_length=1 << 20) if keeps else None
        repair = None if asked is None else Repair(asked, AnswerForm(), lambda: "abcDEF123")
        job = Job(CHAT, "", (), "", b"", stream=True)
        reading = Reading(
            job, self.exchange, answer, pipe.outside, Verdicts([]), repair=repair, kept=self.kept
        )
        backend = FromBackend(reading, shortcut=framed)
        self.short = sum(map(backend.read_event, events))
        reading.release()
        backend.close()
        self.is_whole = reading.whole
        self.body = dechunk(b"".join(transport.written).partition(b"\r\n\r\n")[2]) if self.is_whole else b""
        if self.kept is not None:
            self.kept.fold()
        connection.connection_lost(None)


def in_loop(test: Callable[[Pipe], Awaitable[None] | None]) -> None:
    async def inside() -> None:
        waiting = test(Pipe(PooledHTTPClient(force_instance=True)))
        if waiting is not None:
            await waiting

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(inside())


@settings(deadline=None)
@given(TEXTS, st.booleans(), st.booleans())
def test_a_stream_that_passes_as_it_is_comes_out_so_and_its_text_is_kept(
    texts: list[str], framed: bool, keeps: bool
) -> None:
    events = stream(texts)

    def test(pipe: Pipe) -> None:
        told = Told(pipe, events, framed=framed, asked=None, keeps=keeps)
        assert told.is_whole
        assert told.body == b"".join(events)
        assert told.exchange.bytes_out == len(told.body)
        assert told.exchange.events == len(events)
        if told.kept is not None:
            assert told.kept.unfit is None
            assert told.kept.transcript.text == "".join(texts)
            assert 0 <= told.kept.transcript.pieces - sum(map(bool, texts)) <= 1 + sum(not text for text in texts)

    in_loop(test)


ASKED = [Asked(), Asked(tools=frozenset({"f"}))]


@settings(deadline=None)
@given(TEXTS, st.booleans(), st.sampled_from(ASKED), st.sampled_from([{}, {"token_ids": None}]))
def test_a_translated_stream_is_the_same_whichever_way_its_events_took(
    texts: list[str], framed: bool, asked: Asked, more: dict[str, Any]
) -> None:
    events = stream(texts, **more)

    def test(pipe: Pipe) -> None:
        repair = Repair(asked, AnswerForm(), lambda: "abcDEF123")
        translator = repair.start_stream()
        expected = b"".join(map(translator.feed, events))
        told = Told(pipe, events, framed=framed, asked=asked, keeps=True)
        assert told.is_whole
        assert told.body == expected
        assert told.exchange.bytes_out == len(told.body)
        assert told.exchange.events == expected.count(b"\n\n")

    in_loop(test)


@settings(deadline=None)
@given(TEXTS)
def test_a_text_that_has_passed_in_one_stream_passes_in_another_only_where_it_may(texts: list[str]) -> None:
    """In one, it may begin a call; in the other, none is possible."""
    events = stream(texts)

    def test(pipe: Pipe) -> None:
        assert Told(pipe, events, framed=True, asked=None, keeps=True).body == b"".join(events)
        translator = Repair(ASKED[1], AnswerForm(), lambda: "abcDEF123").start_stream()
        told = Told(pipe, events, framed=True, asked=ASKED[1], keeps=True)
        assert told.body == b"".join(map(translator.feed, events))

    in_loop(test)


def test_of_texts_that_have_passed_a_bounded_number_is_remembered_and_no_long_one() -> None:
    def test(pipe: Pipe) -> None:
        usual = pipe.outside.usual_texts
        texts = [f" {number}" for number in range(MAX_USUAL + 500)]
        texts += ["x" * USUAL_LENGTH, "y" * (USUAL_LENGTH + 1), "["]
        Told(pipe, stream(texts), framed=True, asked=None, keeps=True)
        assert 0 < len(usual) <= MAX_USUAL
        assert b"x" * USUAL_LENGTH in usual
        assert usual.isdisjoint([b"y" * (USUAL_LENGTH + 1), b"["])

    in_loop(test)


@pytest.mark.parametrize("asked", [None, *ASKED])
def test_plain_events_do_take_the_short_way(asked: Asked | None) -> None:
    def test(pipe: Pipe) -> None:
        told = Told(pipe, stream([" word"] * 600), framed=True, asked=asked, keeps=True)
        assert told.short > 500
        assert told.kept is not None
        assert told.kept.transcript.text == " word" * 600
        assert len(told.kept.blocks) <= MANY

    in_loop(test)


@pytest.mark.parametrize("last", [b'{"error":{"message":"dead","code":500}}', b"[DONE]", b": comment"])
def test_what_follows_plain_events_is_seen(last: bytes) -> None:
    """Also where it comes in the middle of what looks like the text of one."""
    before, _, behind = event({"content": "|"}).partition(b"|")
    hidden = before + b"x\n\ndata: " + last.replace(b'"', b"") + b"\n\n" + behind

    def test(pipe: Pipe) -> None:
        events = [*stream([" word"] * 9)[:-2], hidden]
        told = Told(pipe, events, framed=True, asked=None, keeps=True)
        assert told.short == len(events) - 3, "all but the role, the first word, and this"
        assert told.exchange.events == b"".join(events).count(b"\n\n") or told.is_whole

    in_loop(test)


def test_a_slow_client_is_waited_for() -> None:
    async def test(pipe: Pipe) -> None:
        transport = MemoryTransport()
        connection = pipe.connect(transport)
        exchange = Exchange("id", CHAT.path, "POST", 0.0)
        answer = Answer(connection, exchange, b"", named_events=False)
        kept = Kept(is_chat=True, max_length=1 << 20)
        job = Job(CHAT, "", (), "", b"", stream=True)
        reading = Reading(job, exchange, answer, pipe.outside, Verdicts([]), kept=kept)
        backend = FromBackend(reading)
        for one in stream([" word"] * 3)[:-2]:
            backend.read_event(one)
        one = event({"content": " word"})
        assert backend.read_event(one)
        assert not backend.transport.is_paused
        transport.when_written = connection.pause_writing
        assert backend.read_event(one)
        assert backend.transport.is_paused, "nothing more is read while the client is slow"
        transport.when_written = None
        connection.resume_writing()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not backend.transport.is_paused
        assert backend.read_event(one)
        assert body_of(b"".join(transport.written)).count(one) == 6, "each once"
        reading.release()
        before = len(transport.written)
        assert not backend.read_event(one), "nobody wants it any more"
        assert len(transport.written) == before
        backend.close()
        connection.connection_lost(None)

    in_loop(test)


@pytest.mark.parametrize("asked", [None, Asked()], ids=["as it is", "translated"])
@pytest.mark.parametrize("is_begun", [True, False])
def test_long_events_that_come_in_short_reads_are_not_kept_as_they_came(asked: Asked | None, is_begun: bool) -> None:
    """What is kept of a stream is its text, whatever stands in its events beside that."""
    long = event({"role": "assistant", "content": "" if not is_begun else "a"}, more="x" * 10_000)

    def test(pipe: Pipe) -> None:
        connection, kept = pipe.connect(MemoryTransport()), Kept(is_chat=True, max_length=1 << 20)
        exchange = Exchange("id", CHAT.path, "POST", 0.0)
        answer = Answer(connection, exchange, b"", named_events=False)
        repair = None if asked is None else Repair(asked, AnswerForm(), lambda: "abcDEF123")
        job = Job(CHAT, "", (), "", b"", stream=True)
        reading = Reading(job, exchange, answer, pipe.outside, Verdicts([]), repair=repair, kept=kept)
        reading.on_head(Head(200, "OK", [(b"Content-Type", b"text/event-stream")]))
        for piece in [long[at : at + 1000] for _ in range(20) for at in range(0, len(long), 1000)]:
            reading.on_chunk(piece)
            assert sum(len(block) for block in kept.blocks if isinstance(block, bytes)) <= 2 * len(long)
        kept.fold()
        assert kept.transcript.text == "a" * 20 * is_begun
        reading.release()
        connection.connection_lost(None)

    in_loop(test)
