"""What all workers have counted, those that have ended included, so that no count ever goes down or twice in.

A worker's last dump takes the place of the one before. When it ends, what it counted is added to the past, once, and
its gauges are forgotten.
"""

from collections.abc import Iterable

from router.observe.exposition import Families, lasting, merged


class Tally:
    """The counts of workers that have ended."""

    def __init__(self) -> None:
        """Nobody has."""
        self._past: Families = {}

    def bury(self, dump: Families) -> None:
        """Add the last dump of a worker that has ended."""
        self._past = merged([self._past, lasting(dump)])

    def total(self, living: Iterable[Families]) -> Families:
        """Return the counts of all, with the last dumps of those that live."""
        return merged([*living, self._past])
