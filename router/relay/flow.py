"""What a stream that flows goes through, and which of its events are plain (see plain.py). No sockets and no timers.

A plain event is neither translated nor kept on its own: its text is noted, and counted, kept and told of with those of
the events before it, now and then. Every other event is looked at, and may change what is plain from then on.
"""

import asyncio
from collections.abc import Awaitable, Callable

from router.exchange import Exchange
from router.observe.exposition import ENOUGH
from router.relay.kept import Kept
from router.relay.outside import Outside
from router.relay.plain import BACKSLASH, CR, LF, NONE, QUOTE, Plain, learned, of_pattern
from router.relay.translation import Repair
from router.relay.usage import tokens_of
from router.translate.mistral.leaked import has_no_mark
from router.translate.mistral.pattern import Pattern
from router.translate.mistral.stream import StreamTranslator
from router.wire.server import ServerConnection

MAX_TEXTS = 128  # plain events of a stream before what is kept of it is folded
MAX_LESSONS = 4  # events of a stream that are looked at to learn what its plain ones are, at most


class Flow:
    """The part of a reading that is the same for every event; see the module's docstring."""

    __slots__ = (
        *("_before", "_behind", "_behind_framed", "_blocks", "_clock", "_exchange", "_gaps", "_counted"),
        *("_is_flowing", "_kept", "_lessons", "_outside", "_passes", "_pattern", "_pieces", "_place", "_plain"),
        *("_repair", "_rest", "_text_begin", "_text_end", "_texts", "_told", "_translate", "_translator"),
        *("client", "last"),
    )

    def __init__(
        self,
        exchange: Exchange,
        outside: Outside,
        client: ServerConnection | None,
        *,
        repair: Repair | None,
        kept: Kept | None,
    ) -> None:
        """Nothing has come. `client`: who may get whole chunks; for the other parameters see `Reading`."""
        self._exchange = exchange
        self._outside = outside
        self.client = client
        self._repair = repair
        self._kept = kept
        self._blocks = None if kept is None or self.continues else kept.blocks
        self._translate: Callable[[bytes], bytes] | None = None
        self._translator: StreamTranslator | None = None  # whose patterns tell which events are plain
        self._pattern: Pattern | None = None  # that was taken from it
        self._lessons = 0  # that may still be taken, where nothing is translated
        self._told = b""  # the last block for the client that was not plain
        self._texts: list[bytes] = []  # of plain events that are not yet counted
        self._rest = bytearray()  # of an event that is not whole: the splitter's
        self._clock = outside.clock
        self._is_flowing = False  # a stream that has begun and not ended: events pass on as they come
        self.last = outside.clock()  # when the last byte came

    @property
    def continues(self) -> bool:
        """Return whether it is a continuation: of an answer that the client has a part of."""
        return self._kept is not None and self._kept.splice is not None

    def _open_path(self) -> None:
        """Find out what the events of a stream go through, and who tells which of them are plain."""
        self._counted = self._outside.event_gaps(self._exchange)
        # Seconds between reads: of many streams, so that it is in the processor's caches, as one of each stream is not.
        self._gaps = self._counted.waiting
        kept, repair = self._kept, self._repair
        self._look_for(NONE)
        if kept is not None:
            self._translate = kept.path(repair)
        elif repair is not None:
            self._translate = repair.start_stream().feed
        if self.continues or (kept is not None and kept.hides_ids):
            return
        if repair is not None:
            self._translator = repair.translator
        elif kept is not None:
            self._lessons = MAX_LESSONS

    def on_whole_chunk(self, data: bytes, start: int) -> Awaitable[None] | bool:
        """Take a read that is one chunk, if a plain event is in it: by far the most frequent case, in as few steps as
        may be. Its content begins at `start`."""
        client = self.client
        if client is None or not self._is_flowing:  # of another answer than a stream there is no path: see _open_path
            return False
        if not (data.startswith(self._before, start) and data.endswith(self._behind_framed)):
            return False
        pipe, text = client.pipe, data[start + self._text_begin : self._text_end]
        if pipe is None or QUOTE in text or LF in text or CR in text or not self._passes(text):
            return False
        if text[-1] == BACKSLASH or self._rest:
            return False
        now = self._clock()
        gaps = self._gaps
        gaps.append(now - self.last)
        self.last = now
        if len(gaps) >= ENOUGH:
            self._counted.settle()
        texts = self._texts
        texts.append(text)
        if len(texts) >= MAX_TEXTS:
            self._look_back()
        pieces = self._pieces
        if pieces is not None:
            event = text.join(pieces)
            data = b"%x\r\n%b\r\n" % (len(event), event)
        pipe(data)
        if client.pipe is not None:
            return True
        return self._slow(client.drained()) or True

    def _slow(self, waiting: Awaitable[None] | None) -> Awaitable[None] | None:
        """Note that the client is slow: meanwhile the backend is not to blame for silence."""
        if waiting is not None:
            asyncio.ensure_future(waiting).add_done_callback(self._on_client_ready)
        return waiting

    def _on_client_ready(self, waiting: "asyncio.Future[None]") -> None:
        self.last = self._outside.clock()

    def _learn(self, block: bytes) -> None:
        """See which events are plain from now on. `block`: the last one that was not."""
        if self._translator is not None:
            pattern = self._translator.passing
            if pattern is not self._pattern:
                self._pattern = pattern
                self._look_for(NONE if pattern is None else of_pattern(pattern))
        elif self._lessons and self._kept is not None:
            self._lessons -= 1
            plain = learned(block, is_chat=self._kept.is_chat)
            if plain is not None:
                self._lessons = 0
                self._look_for(plain)

    def _look_for(self, plain: Plain) -> None:
        self._plain = plain
        self._before, self._behind, self._place, self._pieces = plain.before, plain.behind, plain.place, plain.pieces
        # The same for a chunk with its framing.
        self._behind_framed = plain.behind + b"\r\n"
        self._text_begin, self._text_end = len(plain.before), -len(self._behind_framed)
        self._passes = has_no_mark if plain.is_watched else bool

    def _settle(self) -> None:
        """Count and keep the plain events since the last time."""
        texts = self._texts
        if texts:
            self._exchange.events += len(texts)
            self._exchange.bytes_out += self._plain.size(texts)
            if self._blocks is not None:
                assert self._kept is not None
                self._kept.add(texts)
            self._texts = []

    def _look_back(self) -> None:
        """Do what need not be done for each event, but now and then."""
        self._settle()
        if self._kept is not None and not self._kept.fold():
            self._blocks = None

    def _count_tokens(self, answer: bytes) -> None:
        """Put down what an answer, or the end of a stream, tells of its tokens."""
        self._exchange.tokens = tokens_of(answer, self._exchange.tokens)
