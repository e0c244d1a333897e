"""Which of two attempts of one exchange may speak to the client: the one that claims its answer first.

A `Contender` is what an attempt knows of the client's answer while another may run beside it. Its first write claims
the answer; from then on the other one's writes go nowhere, and the other one is told to end. An attempt that fails
claims nothing.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from router.exchange import AttemptOutcome
from router.relay.answer import Answer
from router.relay.outcomes import Ended
from router.relay.route import Route

SUPERSEDED = Ended(AttemptOutcome.SUPERSEDED)


@dataclass(frozen=True, slots=True)
class HedgeRules:
    """The configured limits; see `hedge` in docs/configuration.md."""

    after: float | None = None  # seconds without the beginning of an answer, before a second attempt; None: never
    chat: bool = False  # also for what generates texts

    def wait_for(self, route: Route) -> float | None:
        """Return after how many seconds a second attempt may run beside the first, None: not at all."""
        return self.after if route.is_short or (self.chat and route.generates) else None


class Claim:
    """Who may write to the client; nobody at first."""

    def __init__(self) -> None:
        """Nobody contends yet."""
        self._contenders: list[Contender] = []
        self.owner: Contender | None = None

    def add(self, contender: "Contender") -> None:
        """Let one contend."""
        self._contenders.append(contender)

    def take(self, contender: "Contender") -> bool:
        """Return whether the answer is this one's, from now on if it was nobody's."""
        if self.owner is None:
            self.owner = contender
            for other in self._contenders:
                if other is not contender and other.on_lost is not None:
                    other.on_lost(SUPERSEDED)
            if contender.on_won is not None:
                contender.on_won()
        return self.owner is contender

    def release(self) -> None:
        """Let go of everybody: they know each other."""
        for contender in self._contenders:
            contender.on_lost = contender.on_won = None
        self._contenders.clear()
        self.owner = None


class Contender:
    """A client's answer, as one of two attempts may use it. Has of `Answer` what reading a backend's answer needs."""

    def __init__(self, answer: Answer, claim: Claim) -> None:
        """`claim`: the one that both share."""
        self._answer = answer
        self._claim = claim
        claim.add(self)
        self.on_won: Callable[[], None] | None = None  # called before the first write
        self.on_lost: Callable[[Ended], None] | None = None  # called when the other one writes first
        self.sink = answer.sink  # for streams that have begun, which is after the claim

    @property
    def started(self) -> bool:
        """Return whether a head was sent, be it that of keepalive comments."""
        return self._answer.started

    @property
    def finished(self) -> bool:
        """Return whether nothing more is to be told."""
        return self._answer.finished

    @property
    def is_blocked(self) -> bool:
        """Return whether the client reads slower than this one writes."""
        return self._claim.owner is self and self._answer.is_blocked

    def whole(self, status: int, lines: bytes, body: bytes) -> None:
        """Send a complete answer."""
        if self._claim.take(self):
            self._answer.whole(status, lines, body)

    def begin(
        self, status: int, lines: bytes, chunk: bytes, *, is_stream: bool, length: int | None = None
    ) -> Awaitable[None] | None:
        """Send the head and the first part of a body."""
        if not self._claim.take(self):
            return None
        return self._answer.begin(status, lines, chunk, is_stream=is_stream, length=length)

    def write(self, chunk: bytes) -> Awaitable[None] | None:
        """Send more of the body."""
        return self._answer.write(chunk) if self._claim.take(self) else None

    def finish(self, chunk: bytes = b"") -> None:
        """End a body that is whole with this last piece."""
        if self._claim.take(self):
            self._answer.finish(chunk)
