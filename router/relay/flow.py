"""What a stream that flows goes through, and which of its events are plain (see plain.py). No sockets and no timers.

A plain event is neither translated nor kept on its own: its text is noted, and counted, kept and told of with those of
the events before it, now and then. Every other event is looked at, and may change what is plain from then on.
"""

import asyncio
from collections.abc import Awaitable, Callable

from router.exchange import Exchange
from router.relay.kept import LONG, Kept
from router.relay.outside import Outside
from router.relay.plain import NONE, Plain, is_text, learned, of_pattern
from router.relay.translation import Repair
from router.relay.usage import tokens_of
from router.translate.mistral.leaked import has_no_mark
from router.translate.mistral.pattern import Pattern
from router.translate.mistral.stream import StreamTranslator
from router.wire.server import ServerConnection
from router.wire.shortcut import MANY, NEVER, Shortcut

MAX_LESSONS = 4  # events of a stream that are looked at to learn what its plain ones are, at most
MAX_USUAL = 4096  # texts that are known to be fine; they are learned anew when there are more
USUAL_LENGTH = 16  # bytes of such a text at most: longer ones hardly come twice


class Nobody:
    """Stands for a client who gets no chunks as they come."""

    pipe: Callable[[bytes], None] | None = None


NOBODY = Nobody()


class Flow(Shortcut):
    """The part of a reading that is the same for every event; see the module's docstring."""

    __slots__ = (
        *("_blocks", "_counted", "_exchange", "_is_flowing", "_kept", "_lessons", "_outside", "_pattern", "_place"),
        *("_plain", "_repair", "_rest", "_told", "_translate", "_translator"),
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
        super().__init__(NOBODY if client is None else client, outside.usual_texts, outside.clock)
        self._exchange = exchange
        self._outside = outside
        self._repair = repair
        self._kept = kept
        self._blocks = None if kept is None or self.continues else kept.blocks
        self._translate: Callable[[bytes], bytes] | None = None
        self._translator: StreamTranslator | None = None  # whose patterns tell which events are plain
        self._pattern: Pattern | None = None  # that was taken from it
        self._lessons = 0  # that may still be taken, where nothing is translated
        self._told = b""  # the last block for the client that was not plain
        self._rest = bytearray()  # of an event that is not whole: the splitter's
        self._is_flowing = False  # a stream that has begun and not ended: events pass on as they come

    @property
    def continues(self) -> bool:
        """Return whether it is a continuation: of an answer that the client has a part of."""
        return self._kept is not None and self._kept.splice is not None

    def _open_path(self) -> None:
        """Find out what the events of a stream go through, and who tells which of them are plain."""
        self._counted = self._outside.event_gaps(self._exchange)
        # Of many streams, so that it is in the processor's caches, as one of each stream is not. `_settle` has it
        # counted, and the metrics now and then: with each event nobody looks how much it is.
        self.gaps = self._counted.waiting
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

    def is_fine(self, text: bytes) -> bool:
        """Return whether an event with this text says nothing but it; one fine in any stream is remembered."""
        if not is_text(text):
            return False
        if len(text) <= USUAL_LENGTH and has_no_mark(text):
            if len(self.usual) >= MAX_USUAL:
                self.usual.clear()
            self.usual.add(text)
            return True
        return not self._plain.is_watched or has_no_mark(text)

    def look_back(self) -> Awaitable[None] | None:
        """Keep the texts, and wait for a client who is slow, as each is due."""
        if len(self.texts) >= MANY:
            self._fold()
        client = self.client
        return self._slow(client.drained()) if isinstance(client, ServerConnection) and client.pipe is None else None

    def _slow(self, waiting: Awaitable[None] | None) -> Awaitable[None] | None:
        """Note that the client is slow: meanwhile the backend is not to blame for silence."""
        if waiting is not None:
            asyncio.ensure_future(waiting).add_done_callback(self._on_client_ready)
        return waiting

    def _on_client_ready(self, waiting: "asyncio.Future[None]") -> None:
        self.last = self.clock()

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
        self._place = plain.place
        self.behind = plain.behind + b"\r\n"  # with the line end of its chunk
        self.begin, self.end = len(plain.before), -len(self.behind)
        self.pieces = None if plain.pieces is None else (*plain.pieces[:-1], plain.pieces[-1] + b"\r\n")
        self._open()

    def _open(self) -> None:
        """Let plain events take the shortcut from now on, unless there is one that is not whole, or no stream."""
        self.before = self._plain.before if self._is_flowing and not self._rest else NEVER

    def _settle(self) -> None:
        """Count and keep the plain events since the last time; have times between events counted where many wait."""
        if len(self.gaps) >= MANY:
            self._counted.settle()
        texts = self.texts
        if texts:
            self._exchange.events += len(texts)
            self._exchange.bytes_out += self._plain.size(texts)
            if self._blocks is not None:
                assert self._kept is not None
                self._kept.add(texts)
            self.texts = []

    def _keep(self, block: bytes) -> None:
        """Keep whole events that are not plain, as they came until more have come."""
        blocks = self._blocks
        if blocks is not None:
            blocks.append(block)
            if len(block) > LONG or len(blocks) >= MANY:
                self._fold()

    def _fold(self) -> None:
        """Do what need not be done for each event, but now and then."""
        self._settle()
        if self._kept is not None and not self._kept.fold():
            self._blocks = None

    def _count_tokens(self, answer: bytes) -> None:
        """Put down what an answer, or the end of a stream, tells of its tokens."""
        self._exchange.tokens = tokens_of(answer, self._exchange.tokens)
