"""Which backends that a new configuration takes away go on for a moment: until those that come instead are known.

A backend that has just been added has not been asked yet, neither for its health nor for its models. Where all that
serve a model are replaced at once, requests of the next moment would find nobody; so those that go stay until each that
comes has been asked once. Whoever comes under the name of one that goes takes its place at once: names are unique.
"""

import asyncio
import time
from collections.abc import Callable, Iterable

from router.backends.backend import Backend, Listing
from router.backends.health import HealthState
from router.backends.registry import Registry
from router.config import BackendConfig, Config

LONGEST = 10.0  # seconds; a backend that does not answer its first probe is known by then
LOOK_INTERVAL = 0.05  # seconds between two looks at whether it is time


def is_known(backend: Backend) -> bool:
    """Return whether a backend was asked once: it is down, or up and has told its models."""
    if backend.is_down:
        return True
    return backend.health.state is not HealthState.UNKNOWN and backend.listing is not Listing.PENDING


def bridge(
    registry: Registry, wanted: Config, held: Iterable[BackendConfig], *, now: float
) -> tuple[BackendConfig, ...]:
    """Return those of `held`, beyond `wanted`, whose models nobody else can serve yet, while somebody comes who may."""
    names = {backend.name: backend for backend in wanted.backends}
    found = (registry.find(name) for name in names)
    kept = [backend for backend in found if backend is not None and backend.spec.url == names[backend.spec.name].url]
    if len(kept) == len(names) and all(map(is_known, kept)):
        return ()
    served = {model for backend in kept if backend.is_usable(now) for model in backend.models}
    going = ((each, registry.find(each.name)) for each in held if each.name not in names)
    return tuple(
        each
        for each, backend in going
        if backend is not None and backend.is_usable(now) and not backend.models.keys() <= served
    )


class Bridge:
    """Holds them, and looks again and again at whether it is time for them to go."""

    def __init__(self, registry: Registry, *, config: Callable[[], Config], take: Callable[[Config], None]) -> None:
        """`config`: that holds now; `take`: has it taken up anew, without those that are needed no more."""
        self.held: tuple[BackendConfig, ...] = ()  # that are configured no more, and still needed
        self._registry = registry
        self._config = config
        self._take = take
        self._until = 0.0  # monotonic seconds
        self._timer: asyncio.TimerHandle | None = None

    def needed(self, wanted: Config) -> tuple[BackendConfig, ...]:
        """Return the backends that go, but not before those that come are known."""
        now = time.monotonic()
        self._until = self._until if self.held else now + LONGEST
        if now >= self._until:
            return ()
        return bridge(self._registry, wanted, (*self._config().backends, *self.held), now=now)

    def watch(self) -> None:
        """Look again in a moment, as long as any are held."""
        self.stop()
        if self.held:
            self._timer = asyncio.get_running_loop().call_later(LOOK_INTERVAL, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        if self.needed(self._config()) != self.held:
            self._take(self._config())
        else:
            self.watch()
