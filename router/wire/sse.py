"""Server-sent events as bytes: any split of a stream into whole events, and events back into bytes. Pure.

The rule: what goes in comes out unchanged and in order; only the places where it is cut change. Lines end with LF,
CRLF or CR (HTML standard, section 9.2.5 "Parsing an event stream"), an empty line ends an event. Nothing here decodes
or checks an event's content: a relay passes on what it does not understand.

A CR that ends the bytes seen so far ends a line at once (waiting for a possible LF could delay an event for ever); an
LF that follows it then stands in front of the next block, where it is a blank line and means nothing.
"""

import re

from router.errors import RouterError

MAX_EVENT = 8 * 1024 * 1024  # bytes held of one unfinished event; a full prompt_logprobs answer of vLLM is a few MB
BOM = b"\xef\xbb\xbf"  # ignored in front of a stream; here: in front of an event, which nothing else gives a meaning
_LF, _CR = 0x0A, 0x0D  # asked for by number: that is far quicker
COMMON_ENDS = (b"\n\n", b"\r\n\r\n")  # how whole events end that nobody has to look at closer
_EVENT_END = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)+")  # a line's end and one empty line or more


class EventTooLong(RouterError):
    """An event did not end within the bound; the stream cannot be followed any further."""


class EventSplitter:
    """Bytes in at any split, whole events out. One per stream."""

    __slots__ = ("_limit", "_rest")

    def __init__(self, limit: int = MAX_EVENT) -> None:
        """`limit`: bytes of one unfinished event that are held at most."""
        self._rest = bytearray()
        self._limit = limit

    def __repr__(self) -> str:
        """Show how much is held."""
        return f"<EventSplitter held={len(self._rest)} limit={self._limit}>"

    @property
    def rest(self) -> bytearray:
        """What is held of the unfinished event: the same object for the splitter's whole life, to be looked at only."""
        return self._rest

    @property
    def held(self) -> int:
        """Bytes of the unfinished event."""
        return len(self._rest)

    def feed(self, data: bytes) -> bytes:
        """Return the longest run of whole events now available, b"" if none.

        When nothing is held and `data` ends an event, `data` itself is returned. Raises `EventTooLong` when the
        unfinished event is longer than the limit; whole events before it have been returned by then.
        """
        if not self._rest and data.endswith(COMMON_ENDS):
            return data
        return self._cut(data)

    def finish(self) -> bytes:
        """Return the unfinished rest and forget it."""
        rest = bytes(self._rest)
        self._rest.clear()
        return rest

    def _cut(self, data: bytes) -> bytes:
        rest = self._rest
        seen = len(rest)
        rest += data
        end = _last_end(rest, max(seen - 1, 0))
        if not end:
            if len(rest) > self._limit:
                raise EventTooLong(f"an event has more than {self._limit} bytes")
            return b""
        with memoryview(rest) as view:
            whole = bytes(view[:end])
        del rest[:end]
        return whole


def _last_end(block: bytearray, start: int) -> int:
    """Return where the last whole event ends, 0 if none does; ends before `start` + 2 need not be found."""
    pair = max(block.rfind(b"\n\n", start), block.rfind(b"\n\r", start), block.rfind(b"\r\r", start))
    if pair >= 0:
        end = pair + 2
    elif start == 0 and block.startswith((b"\n", b"\r")):
        end = 1  # a blank line in front of everything
    else:
        return 0
    if block[end - 1] == _CR and block[end : end + 1] == b"\n":
        end += 1
    return end


def split_events(block: bytes) -> list[bytes]:
    """Return each event of `block` with its terminator; joined they are `block` again.

    `block` is what `EventSplitter.feed` returned. Blank lines belong to the event before them, or to the first one.
    An unfinished rest, if any, comes last.
    """
    if block.find(b"\n\n") == len(block) - 2 and _CR not in block:
        return [block]  # one event
    if _CR not in block and block.find(b"\n\n\n") < 0:  # as nearly all blocks are: a search takes twenty times as long
        *whole, rest = block.split(b"\n\n")
        events = [event + b"\n\n" for event in whole]
        return [*events, rest] if rest else events
    events = []
    start = 0
    for match in _EVENT_END.finditer(block):
        events.append(block[start : match.end()])
        start = match.end()
    if start < len(block):
        events.append(block[start:])
    return events


def data_line(event: bytes) -> bytes | None:
    """Return the data of an event that is one line, as nearly every event of a stream is: "data: ...", and two LF.

    None where it is not.
    """
    data = event[6:-2]
    is_one = b"".join((b"data: ", data, b"\n\n")) == event and _LF not in data and _CR not in data
    return data if is_one else None


def event_data(event: bytes) -> bytes | None:
    """Return the event's data fields joined by LF, None if it has none (a comment, a bare `event:` line)."""
    data = data_line(event)
    if data is not None:
        return data
    values = [value for name, value in _fields(event) if name == b"data"]
    return b"\n".join(values) if values else None


def event_name(event: bytes) -> str | None:
    """Return the value of the event's last `event` field, None if it has none."""
    if data_line(event) is not None:
        return None
    names = [value for name, value in _fields(event) if name == b"event"]
    return names[-1].decode("utf-8", "replace") if names else None


def _fields(event: bytes) -> list[tuple[bytes, bytes]]:
    """Return (name, value) of every line but blank ones; a comment's name is empty."""
    fields = []
    for line in event.removeprefix(BOM).splitlines():  # of bytes: at LF, CRLF and CR only
        if line:
            name, _, value = line.partition(b":")
            fields.append((name, value.removeprefix(b" ")))
    return fields


def encode_event(data: bytes, *, event: str | None = None) -> bytes:
    """Return one event with its terminator; `data` may have several lines. Raises ValueError for a name of several
    lines."""
    lines = [b"data: " + line for line in re.split(rb"\r\n|\n|\r", data)]
    if event is not None:
        if "\n" in event or "\r" in event:
            raise ValueError("an event's name is one line")
        lines.insert(0, b"event: " + event.encode())
    return b"\n".join(lines) + b"\n\n"


def encode_comment(text: str) -> bytes:
    """Return a comment as a block of its own, which clients ignore; it keeps a silent connection alive."""
    if "\n" in text or "\r" in text:
        raise ValueError("a comment is one line")
    return f": {text}\n\n".encode()
