"""Frames at any split, and both ends of a real socket pair."""

import asyncio
import socket

import pytest

from router.process.bus import HEAD, MAX_FRAME, Bus, Channel, Frames, frame
from tests.front import run


def test_frames_come_out_whole_at_every_split() -> None:
    raw = frame(Channel.MESSAGE, b"one") + frame(Channel.FACTS, b"") + frame(Channel.MESSAGE, b"three")
    for cut in range(len(raw) + 1):
        frames = Frames()
        found = frames.feed(raw[:cut]) + frames.feed(raw[cut:])
        assert found == [(Channel.MESSAGE, b"one"), (Channel.FACTS, b""), (Channel.MESSAGE, b"three")]


@pytest.mark.parametrize("raw", [HEAD.pack(0), HEAD.pack(MAX_FRAME + 1), HEAD.pack(1) + b"\x09"])
def test_what_is_no_frame_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):
        Frames().feed(raw)


def test_a_message_that_the_other_end_would_refuse_is_not_sent() -> None:
    with pytest.raises(ValueError):
        frame(Channel.MESSAGE, bytes(MAX_FRAME))


class End:
    """One end and what it heard."""

    def __init__(self) -> None:
        self.heard: list[tuple[Channel, bytes]] = []
        self.lost = asyncio.Event()
        self.bus = Bus(lambda channel, payload: self.heard.append((channel, payload)), self.lost.set)


async def pair() -> tuple[End, End]:
    one, other = End(), End()
    for end, sock in zip((one, other), socket.socketpair(), strict=True):
        sock.setblocking(False)
        await end.bus.connect(sock)
    return one, other


def test_what_was_sent_before_closing_still_arrives_and_then_the_end_is_told() -> None:
    async def test() -> None:
        one, other = await pair()
        one.bus.send(b"x" * 1_000_000)
        one.bus.send(b"last", channel=Channel.FACTS)
        one.bus.close()
        await other.lost.wait()

        assert other.heard == [(Channel.MESSAGE, b"x" * 1_000_000), (Channel.FACTS, b"last")]
        assert not other.bus.is_open
        assert not one.lost.is_set(), "who closes knows of it"

    run(test)


def test_last_words_arrive_though_the_other_end_goes_on_talking() -> None:
    """A write to a socket that is closed would end the reading, too: the counts of a worker would be lost with it."""

    async def test() -> None:
        one, other = await pair()
        reading = other.bus._transport
        assert reading is not None
        reading.pause_reading()
        one.bus.send(b"last")
        one.bus.close()
        await asyncio.sleep(0.05)
        for _ in range(3):
            other.bus.send(b"news", channel=Channel.FACTS)
            await asyncio.sleep(0.05)
        reading.resume_reading()
        await other.lost.wait()
        await one.bus.ended()

        assert other.heard == [(Channel.MESSAGE, b"last")]
        assert one.heard == []

    run(test)


def test_one_can_wait_until_all_is_read() -> None:
    """A process that ended before would take its last words with it."""

    async def test() -> None:
        end = End()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        await end.bus.connect(ours)
        end.bus.send(b"x" * 4_000_000)
        end.bus.close()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await end.bus.ended()

        def read() -> bytes:
            with theirs, theirs.makefile("rb") as file:
                return file.read()

        reading = asyncio.get_running_loop().run_in_executor(None, read)
        await end.bus.ended()
        theirs_heard = await reading

        assert len(theirs_heard) > 4_000_000

    run(test)


def test_nonsense_ends_the_connection() -> None:
    async def test() -> None:
        end = End()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        await end.bus.connect(ours)
        theirs.sendall(HEAD.pack(0))
        await end.lost.wait()
        theirs.close()

    run(test)


def test_one_that_reads_nothing_is_cut_off() -> None:
    """The parent must not fill its memory for a worker that hangs."""

    async def test() -> None:
        end = End()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        await end.bus.connect(ours)
        for _ in range(70):
            end.bus.send(bytes(1 << 20))
        await end.lost.wait()
        end.bus.send(b"goes nowhere")
        theirs.close()

    run(test)
