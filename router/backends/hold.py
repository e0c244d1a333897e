"""How long a backend that keeps going down and up again stays down, although its probes pass.

Each time it goes down within STEADY seconds after it came up, it is held down for twice as long as the last time:
1 s, 2 s, 4 s ... up to a limit. After STEADY seconds of staying up all is forgotten. Whether it may be held at all is
its caller's to decide: a bad backend is better than none.
"""

import math

STEADY = 60.0  # seconds of staying up that forgive
FIRST_HOLD = 1.0  # seconds
MAX_DOUBLINGS = 32  # so that no amount of them makes it a huge number


class HoldDown:
    """The memory of one backend's comings and goings. Times are those of its caller's clock."""

    __slots__ = ("came_up", "level", "until")

    def __init__(self) -> None:
        """Nothing has happened yet."""
        self.came_up = -math.inf
        self.level = 0  # how often in a row it did not stay up
        self.until = -math.inf  # held down until then

    def rose(self, now: float) -> None:
        """It came up after it had been down."""
        self.came_up = now

    def fell(self, now: float, *, longest: float) -> None:
        """It went down; it is held for at most `longest` seconds."""
        if now - self.came_up >= STEADY:
            self.level = 0
            return
        self.until = now + min(longest, FIRST_HOLD * 2.0 ** min(self.level, MAX_DOUBLINGS))
        self.level += 1

    def __repr__(self) -> str:
        """Show what decides the next hold."""
        return f"<HoldDown level={self.level} until={self.until}>"
