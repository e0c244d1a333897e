"""What the metrics are told of the parts that run, and of the configuration they go by."""

import hashlib
from collections.abc import Callable

from router import parts
from router.access.overload import Strain
from router.config import Config
from router.config.show import values
from router.observe.guard import Guard
from router.observe.states import Vitals
from router.relay.relay import Relay

HASH_DIGITS = 12


class Looking:
    """Looks at each dump; what takes long is remembered for as long as the configuration holds."""

    def __init__(self, guard: Guard) -> None:
        """`guard` knows what the process uses."""
        self._guard = guard
        self._hashed: tuple[Config, str] | None = None
        self.relay: Relay | None = None  # from the start on
        self.connections: Callable[[], int] = int  # how many clients hold; none until somebody listens

    def is_short_of_memory(self) -> bool:
        """Return whether more is in use than may be."""
        return self._guard.strain is Strain.MEMORY

    def look(self, config: Config, *, is_ready: bool) -> Vitals:
        """Return how the process fares."""
        relay = self.relay
        return Vitals(
            self._hash_of(config),
            is_ready,
            streams=0 if relay is None else relay.streams,
            waiting=0 if relay is None else relay.waiting,
            queue_size=parts.queue_rules(config).size,
            connections=self.connections(),
            max_connections=parts.limits(config).connections,
            usage=self._guard.usage(),
            marks=self._guard.marks,
            sessions=None if relay is None else relay.sessions.figures,
        )

    def sessions(self) -> dict[str, int] | None:
        """Return what people are shown of sessions, None where they are off."""
        figures = None if self.relay is None else self.relay.sessions.figures
        return None if figures is None else figures.told()

    def _hash_of(self, config: Config) -> str:
        if self._hashed is None or self._hashed[0] is not config:
            self._hashed = (config, config_hash(config))
        return self._hashed[1]


def config_hash(config: Config) -> str:
    """Return what tells a configuration apart from others. Keys are masked before: nobody can try to guess them."""
    text = "\n".join(f"{path} = {value}" for path, value in values(config))
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]
