"""Rules of event streams: nothing is lost or changed, wherever the bytes are split."""

import itertools
import re
import timeit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.wire.sse import (
    BOM,
    EventSplitter,
    EventTooLong,
    data_line,
    encode_comment,
    encode_event,
    event_data,
    event_name,
    split_events,
)

ENDS = [b"\n", b"\r\n", b"\r"]
LINES = st.lists(
    st.one_of(
        st.sampled_from([b"data: {}", b"data:", b"data", b"event: error", b": comment", b"id: 1", BOM, b"", b"\xff"]),
        st.binary(max_size=12).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b"")),
    ),
    max_size=12,
)
STREAM = st.lists(st.tuples(LINES, st.sampled_from(ENDS)), max_size=5).map(
    lambda blocks: b"".join(b"".join(line + end for line in lines) for lines, end in blocks)
)


def fed(pieces: list[bytes]) -> tuple[list[bytes], bytes]:
    """Feed a new splitter; return its blocks and the rest."""
    splitter = EventSplitter()
    blocks = [splitter.feed(piece) for piece in pieces]
    return blocks, splitter.finish()


def meanings(blocks: list[bytes]) -> list[tuple[str | None, bytes | None]]:
    """What a client makes of the blocks: name and data of every event that has data."""
    events = itertools.chain.from_iterable(split_events(block) for block in blocks)
    return [(event_name(event), event_data(event)) for event in events if event_data(event) is not None]


def test_whole_events_pass_as_the_same_object() -> None:
    splitter = EventSplitter()
    for data in (b"data: a\n\n", b"data: a\r\n\r\n", b"data: a\n\ndata: b\n\n", b": keepalive\n\n"):
        assert splitter.feed(data) is data
        assert splitter.held == 0


def test_an_unfinished_event_is_held_until_it_ends() -> None:
    splitter = EventSplitter()
    assert splitter.feed(b"data: a\n\ndata: b") == b"data: a\n\n"
    assert splitter.held == 7
    assert splitter.feed(b"\n") == b""
    assert splitter.feed(b"\ndata: c") == b"data: b\n\n"
    assert splitter.finish() == b"data: c"
    assert splitter.held == 0
    assert "held=0" in repr(splitter)


@pytest.mark.parametrize("end", ENDS, ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("size", [1, 2, 3, None])
def test_events_come_out_whole_at_every_split(end: bytes, size: int | None) -> None:
    """`size`: of the pieces; None: cut in two at every position."""
    lines = [b"event: x", b"data: 1", b"data: 2", b"", b": c", b"", b"data: \xc3\xa9", b""]
    stream = end.join(lines) + end
    wanted = [("x", b"1\n2"), (None, b"\xc3\xa9")]
    cuts = [[stream[i : i + size] for i in range(0, len(stream), size)]] if size else [
        [stream[:i], stream[i:]] for i in range(len(stream) + 1)
    ]  # fmt: skip
    for pieces in cuts:
        blocks, rest = fed(pieces)
        assert b"".join(blocks) + rest == stream
        assert rest == b""
        assert meanings(blocks) == wanted


def test_a_cr_at_the_end_of_a_read_ends_the_event_and_its_lf_comes_later() -> None:
    blocks, rest = fed([b"data: a\r\n\r", b"\ndata: b\r\n\r\n"])
    assert blocks == [b"data: a\r\n\r", b"\ndata: b\r\n\r\n"]
    assert rest == b""
    assert meanings(blocks) == [(None, b"a"), (None, b"b")]


def test_a_line_end_alone_is_no_event_end() -> None:
    for data in (b"data: a\r\n", b"data: a\n", b"data: a\r"):
        assert EventSplitter().feed(data) == b""
    splitter = EventSplitter()
    assert [splitter.feed(piece) for piece in (b"data: a\r", b"\n", b"data: b\r", b"\n\r", b"\n")] == [
        b"", b"", b"", b"data: a\r\ndata: b\r\n\r", b"\n",
    ]  # fmt: skip


def test_a_byte_order_mark_in_front_of_the_stream_is_ignored() -> None:
    assert event_data(BOM + b"data: a\n\n") == b"a"
    assert meanings(fed([BOM[:1], BOM[1:] + b"data: a\n\n"])[0]) == [(None, b"a")]


@settings(max_examples=200, deadline=None)
@given(STREAM, st.data())
def test_any_split_gives_the_same_bytes_and_the_same_events(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in itertools.pairwise([0, *cuts, len(stream)])]
    whole, whole_rest = fed([stream])
    blocks, rest = fed(pieces)
    assert b"".join(blocks) + rest == stream == b"".join(whole) + whole_rest
    assert meanings(blocks) == meanings(whole)
    for block in blocks:
        assert b"".join(split_events(block)) == block


def test_an_event_over_the_bound_is_refused_and_events_before_it_come_out() -> None:
    splitter = EventSplitter(limit=10)
    assert splitter.feed(b"data: a\n\ndata: 6789") == b"data: a\n\n"
    assert splitter.feed(b"") == b""
    with pytest.raises(EventTooLong):
        splitter.feed(b"x")


def test_what_is_held_stays_within_the_bound_and_is_scanned_once() -> None:
    """A line of 2 MiB in small pieces: searching all of it again for each piece would take minutes."""
    splitter = EventSplitter(limit=2**21)
    for _ in range(2**18):
        assert splitter.feed(b"xxxxxxxx") == b""
    with pytest.raises(EventTooLong):
        splitter.feed(b"x")
    assert splitter.held == 2**21 + 1


def test_blank_lines_belong_to_the_event_before_them() -> None:
    assert split_events(b"data: a\n\n\n\ndata: b\n\n") == [b"data: a\n\n\n\n", b"data: b\n\n"]
    assert split_events(b"\ndata: a\r\n\r\ndata: b\r\r") == [b"\ndata: a\r\n\r\n", b"data: b\r\r"]
    assert split_events(b"data: a\n\ndata: rest") == [b"data: a\n\n", b"data: rest"]
    assert split_events(b"") == []


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: x\n\n", b"x"),
        (b"data:x\n\n", b"x"),
        (b"data:  x\n\n", b" x"),
        (b"data\n\n", b""),
        (b"data: a\ndata: b\n\n", b"a\nb"),
        (b"data: a\r\ndata:\r\n\r\n", b"a\n"),
        (b"data: a\rid: 1\n\n", b"a"),
        (b"event: x\ndata: {}\n\n", b"{}"),
        (b"event: x\n\n", None),
        (b": comment\n\n", None),
        (b"database: x\n\n", None),
        (b"\n", None),
    ],
)
def test_data_fields_are_read_as_the_standard_says(event: bytes, data: bytes | None) -> None:
    assert event_data(event) == data


def test_the_last_event_field_is_the_name() -> None:
    assert event_name(b"event: a\nevent:b\ndata: x\n\n") == "b"
    assert event_name(b"data: x\n\n") is None


@given(st.binary(max_size=60), st.sampled_from([None, "error", "é"]))
@settings(max_examples=200, deadline=None)
def test_what_is_encoded_is_read_back(data: bytes, name: str | None) -> None:
    event = encode_event(data, event=name)
    assert EventSplitter().feed(event) is event
    assert split_events(event) == [event]
    assert event_data(event) == data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert event_name(event) == name


def test_a_comment_is_a_block_without_data() -> None:
    comment = encode_comment("keepalive")
    assert comment == b": keepalive\n\n"
    assert event_data(comment) is None


@pytest.mark.parametrize("text", ["a\nb", "a\rb"])
def test_names_and_comments_are_one_line(text: str) -> None:
    with pytest.raises(ValueError, match="one line"):
        encode_comment(text)
    with pytest.raises(ValueError, match="one line"):
        encode_event(b"", event=text)


def test_the_fast_path_costs_next_to_nothing() -> None:
    """No more than twenty calls of an empty function: it runs for every read of every stream."""
    feed, event = EventSplitter().feed, b"data: " + b"x" * 300 + b"\n\n"
    fast = min(timeit.repeat(lambda: feed(event), number=2000, repeat=5))
    empty = min(timeit.repeat(lambda: None, number=2000, repeat=5))
    assert fast < 20 * empty


@pytest.mark.parametrize(
    ("event", "is_one"),
    [
        (b"data: x\n\n", True),
        (b"data: \n\n", True),
        (b"data:x\n\n", False),
        (b"data: x\r\n\r\n", False),
        (b"data: x\rdata: y\n\n", False),
        (b"data: x\ndata: y\n\n", False),
        (b"data: x\n\ndata: y\n\n", False),
        (b"event: x\n\n", False),
        (b"data: x", False),
    ],
)
def test_a_line_of_data_is_told_from_every_other_event(event: bytes, is_one: bool) -> None:
    assert (data_line(event) is not None) is is_one
    assert not is_one or (event_data(event) == event[6:-2] and event_name(event) is None)


@given(st.lists(st.sampled_from([b"data: a", b"\n", b"\n\n", b"\n\n\n", b"\r\n\r\n", b"\r", b"x"]), max_size=12))
def test_an_event_ends_with_all_empty_lines_that_follow_it(pieces: list[bytes]) -> None:
    block = b"".join(pieces)
    expected = re.findall(rb"(?s)(?:.*?(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)+|.+\Z)", block)
    assert split_events(block) == expected
