"""Server-sent events: any bytes at any split through `EventSplitter`, against the HTML standard's own words.

What goes in comes out unchanged and in order; each block ends where an event ends; the events are those of the
standard (section 9.2.6); what is held is bounded.
"""

import re

from router.wire.sse import EventSplitter, EventTooLong, encode_event, event_data, event_name, split_events
from tests.fuzz.seeds import event_seeds
from tests.fuzz.target import Target, dice_of, pieces

BOM = b"\xef\xbb\xbf"
SMALL = 200  # bytes of an event, in some runs
WORDS = (
    *(b"data: ", b"data:", b"data", b"event: error\n", b"event:", b"id: 1\n", b"retry: 5\n", b": comment\n", b"\n\n"),
    *(b"\r\r", b"\r\n\r\n", b"\n\r", b"\r\n\n", b"\n\r\n", b"data: [DONE]\n\n", b"data:  x\n", BOM, b"\xe2\x80\xa8"),
)
Event = tuple[str | None, bytes]  # its name, where it has one, and its data


def standard(stream: bytes) -> list[Event]:
    """Return the events that a client dispatches; a BOM means nothing in front of any of them, as in sse.py."""
    events: list[Event] = []
    data: list[bytes] = []
    name = None
    is_first = True  # line of an event
    for line in re.split(rb"\r\n|\n|\r", stream)[:-1]:
        if not line:
            if data:
                events.append((name, b"\n".join(data)))
            data, name, is_first = [], None, True
            continue
        field, _, value = (line.removeprefix(BOM) if is_first else line).partition(b":")
        is_first = False
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace")
    return events


def read(stream: bytes) -> list[Event]:
    """Return the events of whole blocks, by our own functions."""
    found = [(event_name(event), event_data(event)) for event in split_events(stream)]
    return [(name, data) for name, data in found if data is not None]


def run(data: bytes) -> None:
    """See the module's docstring."""
    dice = dice_of(data)
    splitter = EventSplitter(SMALL) if dice.random() < 0.2 else EventSplitter()
    out = []
    for piece in pieces(data, dice):
        try:
            block = splitter.feed(piece)
        except EventTooLong:
            assert splitter.held > splitter._limit
            return
        assert splitter.held <= splitter._limit or block
        assert not block or b"".join(split_events(block)) == block
        out.append(block)
    whole, rest = b"".join(out), splitter.finish()
    assert whole + rest == data, "it is not what came"
    assert not splitter.held
    expected = standard(data)
    got = [event for block in out for event in read(block)]
    assert got == expected, (got, expected)
    assert read(whole) == expected, "it depends on where it was cut"
    for name, value in got:
        if b"\r" not in value and (name is None or not set("\r\n") & set(name)):
            assert read(encode_event(value, event=name)) == [(name, value)]


TARGET = Target("events", run, event_seeds, WORDS, cases=150_000)
