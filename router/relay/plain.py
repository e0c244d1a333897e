"""Plain events: those of a stream that differ in one text only, and so need not be read one by one. Pure.

    before | text | behind        between two quotation marks of a JSON string

Nearly all events of a stream are plain. What stands before and behind the text is learned from one event that was read
as JSON, or from the translator that has repaired one. An event that begins and ends like it, with a text between in
which no quotation mark and no line's end stands, says nothing but more text: no error, no finish_reason, no end.
"""

import re
from typing import NamedTuple

import orjson

from router.relay.transcript import Transcript
from router.translate.mistral.pattern import Pattern

_CHAT_TEXT, _PLAIN_TEXT = b'"content":"', b'"text":"'
_REST = re.compile(rb'(?:[^"\\\n]|\\.)+"')  # of a JSON string that is not empty
# Bytes that stand in no text of a plain event, as they might end it. Asked for by number: that is far quicker.
QUOTE, LF, CR = b'"\n\r'
BACKSLASH = 0x5C  # ends none: it would make the quotation mark behind it a part of the text


class Plain(NamedTuple):
    """What all plain events of one stream have in common."""

    before: bytes  # to the quotation mark that opens the text, with it
    behind: bytes  # from the one that closes it
    pieces: tuple[bytes, ...] | None = None  # what stands around the text as the client gets it; None: the same
    is_watched: bool = False  # a leaked call may begin in the text (S15)

    @property
    def place(self) -> slice:
        """Return where the text stands in an event."""
        return slice(len(self.before), -len(self.behind))

    def size(self, texts: list[bytes]) -> int:
        """Return the bytes of events with these texts as the client gets them."""
        length = sum(map(len, texts))
        if self.pieces is None:
            return length + len(texts) * (len(self.before) + len(self.behind))
        return length * (len(self.pieces) - 1) + len(texts) * sum(map(len, self.pieces))


NONE = Plain(b"\xff", b"\xff")  # no event begins so


def of_pattern(pattern: Pattern) -> Plain:
    """Return the plain events of a translator's pattern, which knows texts with their quotation marks."""
    before, behind, _, _, is_watched, pieces = pattern
    if pieces is None:
        return Plain(before, behind, None, is_watched)
    first, *middle, last = pieces
    around = (first + b'"', *(b'"' + piece + b'"' for piece in middle), b'"' + last)
    return Plain(before, behind, around, is_watched)


def is_text(text: bytes) -> bool:
    """Return whether what stands between `before` and `behind` is the text of a plain event."""
    return bool(text) and text[-1] != BACKSLASH and not (QUOTE in text or LF in text or CR in text)


def mark_of(*, is_chat: bool) -> bytes:
    """Return what stands before the text of an event."""
    return _CHAT_TEXT if is_chat else _PLAIN_TEXT


def learned(event: bytes, *, is_chat: bool) -> Plain | None:
    """Return what one whole event has in common with others, None where it is no plain one."""
    shape = shape_of(event, is_chat=is_chat)
    if shape is None or event.count(b"\n") != 2 or not (event.startswith(shape[0]) and event.endswith(shape[1])):
        return None
    return None if event.find(b'token_ids":[') >= 0 else Plain(*shape)  # ids are another text that changes


def shape_of(block: bytes, *, is_chat: bool) -> tuple[bytes, bytes] | None:
    """Return what stands before and behind the text of a plain event, None where no such event is seen.

    The shape is learned from an event in the middle; what differs from it is left to be read on its own.
    """
    mark = mark_of(is_chat=is_chat)
    place = _text_at(block, len(block) // 2, mark) or _text_at(block, 0, mark)
    if place is None:
        return None
    begin, end = place
    before = block.rfind(b"\n\n", 0, begin)
    start = before + 2 if before >= 0 else 0
    stop = block.find(b"\n\n", end)
    if stop < 0 or CR in block[start:stop]:
        return None
    probe = Transcript()
    probe.take(block[start : stop + 2], is_chat=is_chat)
    literal = block[begin - 1 : end + 1]
    if probe.unfit is not None or probe.finish is not None or probe.text != _text_of(literal):
        return None
    return block[start:begin], block[end : stop + 2]


def _text_at(block: bytes, start: int, mark: bytes) -> tuple[int, int] | None:
    """Return where the next text that is not empty begins and ends, behind `start`."""
    at = block.find(mark, start)
    while at >= 0:
        begin = at + len(mark)
        found = _REST.match(block, begin)
        if found is not None:
            return begin, found.end() - 1
        at = block.find(mark, begin)
    return None


def _text_of(literal: bytes) -> str | None:
    try:
        text = orjson.loads(literal)
    except orjson.JSONDecodeError:
        return None
    return text if isinstance(text, str) else None


def together(block: bytes, before: bytes, behind: bytes) -> bytes:
    """Return events with each run of plain ones, which have `before` and `behind` around their text, as one."""
    seam, events = behind + before, block.split(b"\n\n")
    if not (block.startswith(before) and block.endswith(behind)) or block.count(seam) != len(events) - 2:
        return block.replace(seam, b"")
    # All are plain. This is the same in a third of the time: searching for something long is costly to begin with.
    begin, end = len(before), 2 - len(behind)
    return before + b"".join([event[begin:end] for event in events[:-1]]) + behind
