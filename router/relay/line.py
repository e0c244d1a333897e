"""Who waits for a backend of one model, and who is next. Pure: no futures, no clocks.

Retries first, in their order: their clients have waited once already. Then everybody else: first come first served
per key, and keys take turns, so that one that floods the line delays itself only. A place that is given up is free at
once. Waiters leave in any order; nobody is forgotten and nobody is named twice.

Who can make no use of what is free is passed over, and asked again when something else may be free: the first of them
at once, all of them the more seldom the more they are, so that many who cannot be served cost little.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from itertools import chain

LEAST_WAIT, MOST_WAIT = 1.0, 60.0  # seconds that a client is told to wait
LOOK_PAUSE = 0.001  # seconds for each who was passed over, before all of them are asked again
SMOOTHING = 0.2  # weight of the latest gap between two that were served


class Place:
    """The place of one waiter. Compared by identity."""

    __slots__ = ("is_called", "is_passed_over", "key")

    def __init__(self, key: Hashable) -> None:
        """`key`: whoever shares it shares one turn; of a retry it means nothing."""
        self.key = key
        self.is_called = False  # it was told that it is its turn, and has not yet answered
        self.is_passed_over = False  # what is free now is of no use to it


class Line:
    """The waiters of one model."""

    __slots__ = ("_again_at", "_gap", "_has_passed", "_keys", "_last_served", "_retries", "called", "newcomers")

    def __init__(self) -> None:
        """Nobody waits."""
        self._retries: dict[Place, None] = {}  # in order
        self._keys: OrderedDict[Hashable, dict[Place, None]] = OrderedDict()  # in the order of their turns
        self.newcomers = 0
        self.called = 0  # waiters that were told, and have not yet answered
        self._gap: float | None = None  # seconds between two that were served, smoothed
        self._last_served: float | None = None
        self._has_passed = False  # somebody may be passed over
        self._again_at = 0.0  # nobody passed over is asked again before, but the first one

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._retries) + self.newcomers

    def join(self, key: Hashable, *, is_retry: bool) -> Place:
        """Take a place behind those of the same kind."""
        place = Place(key)
        if is_retry:
            self._retries[place] = None
        else:
            self._keys.setdefault(key, {})[place] = None
            self.newcomers += 1
        return place

    def leave(self, place: Place, *, served_at: float | None) -> None:
        """Give a place up; `served_at`: when it was served, None where it gave up. No effect the second time."""
        mine = self._keys.get(place.key, {})
        if place in self._retries:
            del self._retries[place]
        elif place in mine:
            del mine[place]
            self.newcomers -= 1
            if not mine:
                del self._keys[place.key]
            elif served_at is not None:
                self._keys.move_to_end(place.key)
        else:
            return
        self.answered(place)
        if served_at is not None:
            self._note_served(served_at)

    def call(self) -> Place | None:
        """Return whose turn it is and count it as told; None where nobody is left to be told."""
        for place in self._all():
            if not (place.is_called or place.is_passed_over):
                place.is_called = True
                self.called += 1
                return place
        return None

    def answered(self, place: Place) -> None:
        """It was told, and could take what is free, or not; in the latter case it keeps its place."""
        if place.is_called:
            place.is_called = False
            self.called -= 1

    def pass_over(self, place: Place) -> None:
        """What is free now is of no use to it: others are told, until `look_at_all`."""
        self.answered(place)
        place.is_passed_over = True
        self._has_passed = True

    def look_at_first(self) -> None:
        """Somebody else is free now: whoever is first is no longer passed over."""
        if self._has_passed:
            for place in self._all():
                place.is_passed_over = False
                break

    def look_at_all(self, now: float) -> None:
        """Something else may be free now: nobody is passed over any more, unless all were asked just before."""
        if self._has_passed and now >= self._again_at:
            self._has_passed = False
            passed = [place for place in self._all() if place.is_passed_over]
            for place in passed:
                place.is_passed_over = False
            self._again_at = now + len(passed) * LOOK_PAUSE

    def retry_after(self) -> float:
        """Return the seconds after which whoever finds the line full may come back: until half of it is served."""
        gap = LEAST_WAIT if self._gap is None else self._gap
        return min(MOST_WAIT, max(LEAST_WAIT, gap * len(self) / 2))

    def _all(self) -> Iterator[Place]:
        """Give everybody, in the order of their turns."""
        yield from self._retries
        yield from chain.from_iterable(self._keys.values())

    def _note_served(self, now: float) -> None:
        if self._last_served is not None:
            gap = now - self._last_served
            self._gap = gap if self._gap is None else self._gap + SMOOTHING * (gap - self._gap)
        self._last_served = now
