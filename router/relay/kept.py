"""What is kept of a stream while it runs, so that another backend can finish it if its own one breaks.

    blocks, appended as they come -> `fold`, now and then: runs of plain events become one -> `Transcript`

Keeping costs one append for each read. Of a plain event (see plain.py) only the text is kept. Where several came in
one read, they are put together by cutting out what stands between two texts (the end of one event and the beginning
of the next). So no JSON is read but that of the few events that are left.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from router.backends.backend import Backend
from router.relay.plain import mark_of, shape_of, together
from router.relay.splice import Splice, told_once
from router.relay.transcript import Transcript, Unfit
from router.relay.translation import Repair
from router.wire.shortcut import MANY
from router.wire.sse import split_events

# Neither can be mistaken for a part of a text: quotation marks are escaped there.
_IDS = re.compile(rb'"token_ids":\s?\[([0-9, ]*)\]')
_PROMPT_IDS = re.compile(rb'"prompt_token_ids":\s?\[([0-9, ]*)\]')
_NO_IDS, _NO_PROMPT_IDS = b'"token_ids":null', b'"prompt_token_ids":null'
LONG = 4096  # bytes of a block that is not kept as it came until others follow
# Bytes of ids for each of the text that may be kept: a token has one of text at least, its id seven and a comma at
# most. As much again, for those that say nothing.
IDS_SHARE = 16
WORTH_A_SHAPE = 4  # events; to read so many one by one costs more than to learn what they have in common
Feed = Callable[[bytes], bytes]


class Run(NamedTuple):
    """Plain events, one after another."""

    text: bytes  # of all of them, as it stands in JSON
    events: int


def cut_ids(block: bytes) -> bytes:
    """Return events without the ids of tokens, as they are where nobody has asked for ids."""
    if b'"prompt_token_ids":[' in block:
        block = _PROMPT_IDS.sub(_NO_PROMPT_IDS, block)
    at = block.find(b'"token_ids":[')
    if at < 0:
        return block
    end = block.find(b"]", at)
    if block.find(b'"token_ids":[', end) < 0:  # one event
        return block[:at] + _NO_IDS + block[end + 1 :]
    return _IDS.sub(_NO_IDS, block)


class Kept:
    """One client's stream, over all attempts that tell it."""

    __slots__ = (
        *("_ids_length", "_mark", "_max_length", "_may_have_ids", "backend", "blocks", "hides_ids", "is_chat"),
        *("on_resumed", "repair", "splice", "transcript"),
    )

    def __init__(self, *, is_chat: bool, max_length: int, hides_ids: bool = False) -> None:
        """`max_length`: bytes of text. `hides_ids`: we have asked for the ids of tokens, the client has not."""
        self.is_chat = is_chat
        self.repair: Repair | None = None  # of the first attempt: its translator goes on to the end of the stream
        self.backend: Backend | None = None  # that began it
        self.on_resumed: Callable[[], None] | None = None  # told when a continuation begins
        self.hides_ids = hides_ids
        self.blocks: list[bytes | Run] = []  # as they came since the last fold; the same list for the whole life
        self.transcript = Transcript()
        self.splice: Splice | None = None  # of the continuation that runs
        self._max_length = max_length
        self._may_have_ids = True
        self._ids_length = 0  # bytes of all ids so far
        self._mark = mark_of(is_chat=is_chat)

    @property
    def unfit(self) -> Unfit | None:
        """Return why nobody else can finish it, None as long as somebody might."""
        return self.transcript.unfit

    def path(self, repair: Repair | None) -> Feed | None:
        """Return what the blocks of an attempt go through on their way to the client, None where they go as they are.

        `repair`: of this attempt. A continuation goes through the translator of the first one, which so knows all that
        was said before; where there was none, its own comes first.
        """
        splice = self.splice
        if splice is None:
            self.repair = repair
            feed = None if repair is None else repair.start_stream().feed
            return _chain(cut_ids, feed) if self.hides_ids else feed
        own = None if repair is None or repair is self.repair else repair.start_stream().feed
        first = None if self.repair is None or self.repair.translator is None else self.repair.translator.feed
        rest = _chain(cut_ids if self.hides_ids else partial(told_once, self.transcript.again), first)

        def path(block: bytes) -> bytes:
            told = splice.feed(block if own is None else own(block))
            if not told:
                return b""
            self._go_on(told)
            return rest(told)

        return path

    def _go_on(self, told: bytes) -> None:
        """Keep whole events of a continuation: it may break too."""
        if self.transcript.unfit is None:
            self.blocks.append(told)
            if len(told) > LONG or len(self.blocks) >= MANY:
                self.fold()

    def translated(self, events: list[bytes]) -> bytes:
        """Return events of our own as the client gets them."""
        translator = None if self.repair is None else self.repair.translator
        return b"".join(events if translator is None else map(translator.feed, events))

    def give_up(self, why: Unfit) -> None:
        """Keep nothing from now on."""
        self.transcript = Transcript()
        self.transcript.unfit = why
        self.blocks.clear()

    def add(self, texts: list[bytes]) -> None:
        """Keep a run of plain events, of which these are the texts, behind what has come so far."""
        self.blocks.append(Run(b"".join(texts), len(texts)))

    def fold(self) -> bool:
        """Put together what has come since the last time. Return whether more should be kept."""
        block: list[bytes] = []
        for entry in self.blocks:
            if isinstance(entry, Run):
                self._fold_block(b"".join(block))
                block.clear()
                self.transcript.take_text(entry.text, entry.events)
            else:
                block.append(entry)
        self._fold_block(b"".join(block))
        self.blocks.clear()
        transcript = self.transcript
        if transcript.length > self._max_length or self._ids_length > IDS_SHARE * self._max_length:
            transcript.unfit = Unfit.TOO_LONG
        if transcript.unfit is not None:
            self.give_up(transcript.unfit)
        return transcript.unfit is None

    def _fold_block(self, block: bytes) -> None:
        transcript = self.transcript
        if not block or transcript.unfit is not None:
            return
        if self._may_have_ids:
            if b'token_ids":[' in block:
                self._take_ids(block)
                block = cut_ids(block)
            elif not self._ids_length:  # they come from the first event on, or not at all
                self._may_have_ids = False
        shape = shape_of(block, is_chat=self.is_chat) if block.count(b"\n\n") >= WORTH_A_SHAPE else None
        short = block if shape is None else together(block, *shape)
        for event in split_events(short):
            transcript.take(event, is_chat=self.is_chat)
        if shape is not None:
            transcript.pieces += (len(block) - len(short)) // sum(map(len, shape))

    def _take_ids(self, block: bytes) -> None:
        """Take the ids out of events, and see how many of them have come behind the last text."""
        transcript = self.transcript
        prompt = _PROMPT_IDS.search(block)
        if prompt is not None and len(prompt[1]) <= self._max_length:
            transcript.prompt_ids = prompt[1]
        ids = [found for found in _IDS.findall(block) if found]
        if ids:
            transcript.generated_ids.append(b",".join(ids))
            self._ids_length += len(transcript.generated_ids[-1])
        last = self._last_text(block)
        if last is None:
            transcript.trailing += _count(ids)
            return
        transcript.trailing = _count(_IDS.findall(block, block.find(b"\n\n", last)))

    def _last_text(self, block: bytes) -> int | None:
        """Return where the last text that is not empty begins."""
        at = len(block)
        while (at := block.rfind(self._mark, 0, at)) >= 0:
            begin = at + len(self._mark)
            if block[begin : begin + 1] != b'"':
                return begin
        return None


def _chain(first: Feed, then: Feed | None) -> Feed:
    return first if then is None else lambda block: then(first(block))


def _count(ids: list[bytes]) -> int:
    return sum(one.count(b",") + 1 for one in ids if one)
