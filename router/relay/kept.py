"""What is kept of a stream while it runs, so that another backend can finish it if its own one breaks.

    blocks, appended as they come -> `fold`, now and then: runs of plain events become one -> `Transcript`

Keeping costs one append for each read. Events of one shape differ in their text only, so a run of them is put together
by cutting out what stands between two texts (the end of one event and the beginning of the next): no JSON is read but
that of the few events that are left. Blocks are kept as they came until the next fold; from then on, it is the text.
"""

import enum
import re
from collections.abc import Callable
from typing import Any

import orjson

from router.backends.backend import Backend
from router.relay.beginning import DONE
from router.relay.splice import Splice
from router.relay.translation import Repair
from router.wire.sse import event_data, split_events

_BARE = frozenset(("role", "content"))
_CHAT_TEXT, _PLAIN_TEXT = b'"content":"', b'"text":"'
_REST = re.compile(rb'(?:[^"\\\n]|\\.)+"')  # of a JSON string that is not empty
# Neither can be mistaken for a part of a text: quotation marks are escaped there.
_IDS = re.compile(rb'"token_ids":\s?\[([0-9, ]*)\]')
_PROMPT_IDS = re.compile(rb'"prompt_token_ids":\s?\[([0-9, ]*)\]')
_NO_IDS, _NO_PROMPT_IDS = b'"token_ids":null', b'"prompt_token_ids":null'
Feed = Callable[[bytes], bytes]


class Unfit(enum.Enum):
    """Why a stream cannot be finished by another backend."""

    CHOICES = "it has several choices"
    NOT_TEXT = "it is more than text: a tool call, reasoning, log probabilities"
    UNREAD = "one of its events was not understood"
    TOO_LONG = "it is too long to be kept"


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


def together(block: bytes, before: bytes, behind: bytes) -> bytes:
    """Return events with each run of plain ones, which have `before` and `behind` around their text, as one."""
    seam, events = behind + before, block.split(b"\n\n")
    if not (block.startswith(before) and block.endswith(behind)) or block.count(seam) != len(events) - 2:
        return block.replace(seam, b"")
    # All are plain. This is the same in a third of the time: searching for something long is costly to begin with.
    begin, end = len(before), 2 - len(behind)
    return before + b"".join([event[begin:end] for event in events[:-1]]) + behind


class Transcript:
    """What the events of a stream have said so far."""

    __slots__ = (
        *("_texts", "completion_tokens", "finish", "generated_ids", "head", "last_ids", "length", "pieces"),
        *("prompt_ids", "prompt_tokens", "trailing", "unfit", "usage_told"),
    )

    def __init__(self) -> None:
        """Nothing has come."""
        self.head: dict[str, Any] = {}  # id, object, created and model of its first event
        self._texts: list[str] = []
        self.length = 0  # bytes of the text
        self.pieces = 0  # events with text: hardly more than there are tokens
        self.finish: str | None = None  # the finish_reason
        self.prompt_tokens: int | None = None  # by the usage that came last
        self.completion_tokens: int | None = None
        self.prompt_ids = b""  # with commas between, as they came
        self.generated_ids: list[bytes] = []  # of each fold
        self.trailing = 0  # ids that have come behind the last text: more text of theirs may be held back
        self.last_ids = 0  # ids in the event with the last text: of several, the last ones may have no text yet
        self.usage_told = False  # in the event behind the last choice
        self.unfit: Unfit | None = None

    @property
    def text(self) -> str:
        """Return the whole text."""
        if len(self._texts) > 1:
            self._texts = ["".join(self._texts)]
        return self._texts[0] if self._texts else ""

    def told_ids(self) -> list[bytes]:
        """Return the ids of the tokens so far, and forget those whose text has not come: they are generated again."""
        if self.trailing and self.finish is None:
            self.drop_ids(self.trailing)
        return b",".join(self.generated_ids).split(b",") if self.generated_ids else []

    def drop_ids(self, count: int) -> None:
        """Forget the last ids: another backend generates these tokens again, and tells their ids again."""
        ids = b",".join(self.generated_ids).split(b",")[:-count]
        self.generated_ids, self.trailing = [b",".join(ids)] if ids else [], 0

    def take(self, event: bytes, *, is_chat: bool) -> None:
        """Take in what one event says, ids apart."""
        data = event_data(event)
        if data is None or data.strip() == DONE:
            return
        try:
            chunk = orjson.loads(data)
            self._take_usage(chunk.get("usage"))
            if not self.head:
                self.head = {key: chunk[key] for key in ("id", "object", "created", "model") if key in chunk}
            choices = chunk["choices"]
            if choices:
                self._take_choice(choices, is_chat=is_chat)
            else:
                self.usage_told |= chunk.get("usage") is not None
        except (ValueError, LookupError, TypeError, AttributeError):
            self.unfit = self.unfit or Unfit.UNREAD

    def _take_choice(self, choices: list[dict[str, Any]], *, is_chat: bool) -> None:
        choice = choices[0]
        if len(choices) > 1 or choice.get("index", 0) != 0:
            self.unfit = Unfit.CHOICES
            return
        delta = (choice.get("delta") or {}) if is_chat else {"content": choice.get("text")}
        text = delta.get("content") or ""
        is_more = any(value for key, value in delta.items() if key not in _BARE)
        if is_more or choice.get("logprobs") is not None or not isinstance(text, str):
            self.unfit = Unfit.NOT_TEXT
            return
        self.finish = choice.get("finish_reason") or self.finish
        if text:
            self.pieces += 1
            self.length += len(text.encode())
            self._texts.append(text)

    def _take_usage(self, usage: Any) -> None:
        if isinstance(usage, dict) and type(usage.get("completion_tokens")) is int:
            self.prompt_tokens, self.completion_tokens = usage.get("prompt_tokens"), usage["completion_tokens"]


class Kept:
    """One client's stream, over all attempts that tell it."""

    def __init__(self, *, is_chat: bool, max_length: int, hides_ids: bool = False) -> None:
        """`max_length`: bytes of text. `hides_ids`: we have asked for the ids of tokens, the client has not."""
        self.is_chat = is_chat
        self.repair: Repair | None = None  # of the first attempt: its translator goes on to the end of the stream
        self.backend: Backend | None = None  # that began it
        self.on_resumed: Callable[[], None] | None = None  # told when a continuation begins
        self.hides_ids = hides_ids
        self.blocks: list[bytes] = []  # as they came since the last fold; the same list for the whole life
        self.transcript = Transcript()
        self.splice: Splice | None = None  # of the continuation that runs
        self._max_length = max_length
        self._may_have_ids = True
        self._mark = _CHAT_TEXT if is_chat else _PLAIN_TEXT

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
        rest = _chain(cut_ids, first) if self.hides_ids else first

        def path(block: bytes) -> bytes:
            told = splice.feed(block if own is None else own(block))
            if not told:
                return b""
            self.blocks.append(told)
            return told if rest is None else rest(told)

        return path

    def translated(self, events: list[bytes]) -> bytes:
        """Return events of our own as the client gets them."""
        translator = None if self.repair is None else self.repair.translator
        return b"".join(events if translator is None else map(translator.feed, events))

    def give_up(self, why: Unfit) -> None:
        """Keep nothing from now on."""
        self.transcript = Transcript()
        self.transcript.unfit = why
        self.blocks.clear()

    def fold(self) -> bool:
        """Put together what has come since the last time. Return whether more should be kept."""
        block, transcript = b"".join(self.blocks), self.transcript
        self.blocks.clear()
        if not block or transcript.unfit is not None:
            return transcript.unfit is None
        if self._may_have_ids:
            if b'token_ids":[' in block:
                self._take_ids(block)
                block = cut_ids(block)
            else:  # they come from the first event on, or not at all
                self._may_have_ids = False
        shape = self._shape(block)
        short = block if shape is None else together(block, *shape)
        for event in split_events(short):
            transcript.take(event, is_chat=self.is_chat)
        if shape is not None:
            transcript.pieces += (len(block) - len(short)) // sum(map(len, shape))
        if transcript.length > self._max_length:
            transcript.unfit = Unfit.TOO_LONG
        if transcript.unfit is not None:
            self.give_up(transcript.unfit)
        return transcript.unfit is None

    def _text_at(self, block: bytes, start: int) -> tuple[int, int] | None:
        """Return where the next text that is not empty begins and ends, behind `start`."""
        at = block.find(self._mark, start)
        while at >= 0:
            begin = at + len(self._mark)
            found = _REST.match(block, begin)
            if found is not None:
                return begin, found.end() - 1
            at = block.find(self._mark, begin)
        return None

    def _shape(self, block: bytes) -> tuple[bytes, bytes] | None:
        """Return what stands before and behind the text of a plain event, None where no such event is seen.

        The shape is learned from an event in the middle; what differs from it is left to be read on its own.
        """
        place = self._text_at(block, len(block) // 2) or self._text_at(block, 0)
        if place is None:
            return None
        begin, end = place
        start = block.rfind(b"\n\n", 0, begin) + 2 if b"\n\n" in block[:begin] else 0
        stop = block.find(b"\n\n", end)
        if stop < 0 or b"\r" in block[start:stop]:
            return None
        probe = Transcript()
        probe.take(block[start : stop + 2], is_chat=self.is_chat)
        literal = block[begin - 1 : end + 1]
        if probe.unfit is not None or probe.finish is not None or probe.text != _text_of(literal):
            return None
        return block[start:begin], block[end : stop + 2]

    def _take_ids(self, block: bytes) -> None:
        """Take the ids out of events, and see how many of them have come behind the last text."""
        transcript = self.transcript
        prompt = _PROMPT_IDS.search(block)
        if prompt is not None and len(prompt[1]) <= self._max_length:
            transcript.prompt_ids = prompt[1]
        ids = [found for found in _IDS.findall(block) if found]
        if ids:
            transcript.generated_ids.append(b",".join(ids))
        last = self._last_text(block)
        if last is None:
            transcript.trailing += _count(ids)
            return
        behind = block.find(b"\n\n", last)
        beside = _IDS.search(block, block.rfind(b"\n\n", 0, last) + 1, behind)
        transcript.last_ids = 0 if beside is None else _count([beside[1]])
        transcript.trailing = _count(_IDS.findall(block, behind))

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


def _text_of(literal: bytes) -> str | None:
    try:
        text = orjson.loads(literal)
    except orjson.JSONDecodeError:
        return None
    return text if isinstance(text, str) else None


def _count(ids: list[bytes]) -> int:
    return sum(one.count(b",") + 1 for one in ids if one)
