"""What workers tell each other, with a clock that the test turns."""

from collections.abc import Callable

from router.exchange import AttemptOutcome
from router.process.facts import GATHER, PACE, Facts
from router.process.messages import Fact


class Clock:
    """A clock and its timers."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.sent: list[list[Fact]] = []
        self.facts = Facts(self.sent.append, clock=lambda: self.now, call_later=self.call_later)

    def call_later(self, after: float, call: Callable[[], None]) -> None:
        self.timers.append((self.now + after, call))

    def turn(self, seconds: float) -> None:
        self.now += seconds
        due = [call for at, call in self.timers if at <= self.now]
        self.timers = [(at, call) for at, call in self.timers if at > self.now]
        for call in due:
            call()


def test_good_endings_are_gathered_for_a_moment() -> None:
    clock = Clock()
    for _ in range(3):
        clock.facts.add("a:1", AttemptOutcome.OK, None)
    clock.turn(GATHER / 2)
    clock.facts.add("b:1", AttemptOutcome.OK, None)
    assert clock.sent == []

    clock.turn(GATHER / 2)
    assert clock.sent == [
        [Fact("a:1", AttemptOutcome.OK, None, 3), Fact("b:1", AttemptOutcome.OK, None, 1)],
    ]


def test_a_failure_goes_out_at_once_with_the_good_endings_before_it() -> None:
    """A breaker that judges by a share would else see failures alone."""
    clock = Clock()
    clock.facts.add("a:1", AttemptOutcome.OK, None)
    clock.facts.add("a:1", AttemptOutcome.OK, None)
    clock.facts.add("a:1", AttemptOutcome.SERVER_ERROR, None)

    assert clock.sent == [
        [Fact("a:1", AttemptOutcome.OK, None, 2), Fact("a:1", AttemptOutcome.SERVER_ERROR, None, 1)],
    ]
    clock.turn(1.0)
    assert len(clock.sent) == 1, "nothing is told twice"


def test_a_flood_of_failures_is_gathered_as_well() -> None:
    clock = Clock()
    for _ in range(100):
        clock.facts.add("a:1", AttemptOutcome.REFUSED, None)
    assert len(clock.sent) == 1

    clock.turn(PACE)
    assert clock.sent[1] == [Fact("a:1", AttemptOutcome.REFUSED, None, 99)]


def test_how_long_a_full_backend_rests_is_told() -> None:
    clock = Clock()
    clock.facts.add("a:1", AttemptOutcome.OVERLOADED, 7.0)

    assert clock.sent == [[Fact("a:1", AttemptOutcome.OVERLOADED, 7.0, 1)]]


def test_what_says_nothing_of_a_backend_is_not_told() -> None:
    clock = Clock()
    for outcome in (AttemptOutcome.CLIENT_GONE, AttemptOutcome.CLIENT_ERROR, AttemptOutcome.SHUTDOWN):
        clock.facts.add("a:1", outcome, None)
    clock.facts.flush()
    clock.turn(1.0)

    assert clock.sent == []


def test_nothing_is_left_behind_at_the_end() -> None:
    clock = Clock()
    clock.facts.add("a:1", AttemptOutcome.OK, None)
    clock.facts.flush()

    assert clock.sent == [[Fact("a:1", AttemptOutcome.OK, None, 1)]]


def test_a_timer_that_rings_a_moment_early_counts() -> None:
    """As those of a loop do that counts whole milliseconds: it rings but once, and nothing would be told any more."""
    clock = Clock()
    clock.facts.add("a:1", AttemptOutcome.REFUSED, None)
    clock.facts.add("b:1", AttemptOutcome.REFUSED, None)
    (_, ring) = clock.timers.pop()
    clock.now += PACE - 0.0015
    ring()

    assert clock.sent[1:] == [[Fact("b:1", AttemptOutcome.REFUSED, None, 1)]]
