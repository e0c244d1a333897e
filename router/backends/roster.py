"""Which backends a new configuration keeps, adds and takes away. Pure; nothing is changed here.

A backend is the same one while its name and its URL are: whatever else is configured of it may change, and what is
known of it is kept. Under another URL there is another server, of which nothing is known.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from router.backends.backend import Backend, BackendSpec


@dataclass(frozen=True, slots=True)
class Updated:
    """What a new configuration has changed: names of backends. One under another URL is both removed and added."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What a new configuration asks for."""

    order: tuple[tuple[BackendSpec, Backend | None], ...]  # None: one to be made
    removed: tuple[Backend, ...]

    def told(self) -> Updated:
        """Return it in names. To be asked before anything is changed."""
        return Updated(
            added=tuple(spec.name for spec, kept in self.order if kept is None),
            removed=tuple(backend.spec.name for backend in self.removed),
            changed=tuple(spec.name for spec, kept in self.order if kept is not None and kept.spec != spec),
        )


def compare(current: Mapping[str, Backend], specs: Iterable[BackendSpec]) -> Plan:
    """Return how to come from `current`, by name, to `specs`. Raises ValueError where two of them share a name."""
    order: list[tuple[BackendSpec, Backend | None]] = []
    for spec in specs:
        known = current.get(spec.name)
        order.append((spec, known if known is not None and known.spec.url == spec.url else None))
    if len({spec.name for spec, _ in order}) < len(order):
        raise ValueError("two backends share a name")
    kept = {backend for _, backend in order if backend is not None}
    return Plan(tuple(order), tuple(backend for backend in current.values() if backend not in kept))
