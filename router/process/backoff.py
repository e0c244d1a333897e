"""When a worker that has ended is started again: at once, and ever later while it does not live long."""

FIRST = 0.1  # seconds before the second restart in a row; doubled from then on
LONGEST = 10.0  # seconds
LONG_LIFE = 10.0  # seconds of life after which an end counts as the first one again


class Backoff:
    """The restarts of one worker. Pure: times come in as seconds of one monotonic clock."""

    def __init__(self) -> None:
        """It has never ended."""
        self.in_a_row = 0  # ends without a long life between them

    def after(self, lived: float) -> float:
        """Return the seconds to wait before the next start of a worker that has ended after `lived` seconds."""
        self.in_a_row = 1 if lived >= LONG_LIFE else self.in_a_row + 1
        if self.in_a_row == 1:
            return 0.0
        return float(min(LONGEST, FIRST * 2 ** min(self.in_a_row - 2, 16)))
