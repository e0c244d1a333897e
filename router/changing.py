"""Changes of a router that runs: a configuration read anew, and what operators order of single backends.

Both end in `take`, which makes a configuration the one that holds, whole or not at all.
"""

import time
from collections.abc import Callable, Collection

from router.backends.backend import Change
from router.backends.registry import Registry
from router.config import Config, Loaded
from router.config.addition import read_addition, read_logging
from router.config.current import Current
from router.config.diff import in_effect, waiting
from router.errors import ConfigError
from router.orders import Order, OrderKind, Problem, Report


class Changing:
    """Carries out what is ordered of one process."""

    def __init__(
        self,
        current: Current,
        registry: Registry,
        *,
        take: Callable[[Config], None],
        changed: Callable[[Change], None],
        own_names: Collection[str],
    ) -> None:
        """`take` raises ConfigError, before anything has changed; `changed` is told what becomes of a backend.

        `own_names`: names and addresses of this machine, to find a backend that is this router.
        """
        self._current = current
        self._registry = registry
        self._take = take
        self._changed = changed
        self._own_names = own_names

    def apply(self, loaded: Loaded) -> list[str]:
        """Take up a configuration that was read anew; return what is different now. Raises ConfigError."""
        before, wanted = self._current.config, loaded.config
        config = in_effect(before, wanted)
        lines = self._current.told(config, self._under_way(), is_read=True)
        self._take(config)
        self._current.read(config, loaded.origins)
        return [*lines, *waiting(before, wanted)]

    def carry_out(self, order: Order) -> Report:
        """Carry out an order on a backend, or on the log."""
        if order.kind is OrderKind.LOG:
            return self._log(order)
        if order.kind is OrderKind.ADD:
            return self._add(order)
        name = order.name or ""
        if self._registry.find(name) is None:
            known = ", ".join(backend.spec.name for backend in self._registry.backends[:20])
            message = f"There is no backend {name[:200]!r}; there are: {known or 'none'}."
            return Report(False, message, problem=Problem.UNKNOWN, name=name)
        if order.kind is OrderKind.REMOVE:
            return self._remove(name, is_forced=order.is_forced)
        return self._drain(name) if order.kind is OrderKind.DRAIN else self._undrain(name)

    def _log(self, order: Order) -> Report:
        try:
            config = self._current.with_logging(read_logging(order.fields or {}, self._current.config.logging))
            lines = self._current.told(config, {})
            self._take(config)
        except ConfigError as error:
            faults = tuple(str(fault) for fault in error.faults)
            return Report(False, "The log is kept as before.", faults=faults, problem=Problem.INVALID)
        until = "until the configuration is read again" if lines else "already"
        return Report(True, f"The log is kept so {until}.", changes=tuple(lines))

    def _add(self, order: Order) -> Report:
        try:
            backend = read_addition(order.fields or {}, self._current.config, self._own_names)
            config = self._current.with_one_more(backend)
            lines = self._current.told(config, {})
            self._take(config)
        except ConfigError as error:
            faults = tuple(str(fault) for fault in error.faults)
            return Report(False, "The backend was not added.", faults=faults, problem=Problem.INVALID)
        message = f"Backend {backend.name} was added; it stays until the configuration is read again."
        return Report(True, message, changes=tuple(lines), name=backend.name)

    def _remove(self, name: str, *, is_forced: bool) -> Report:
        if not is_forced and (why := self._needed(name)) is not None:
            message = f"Backend {name} is the last one{why}: every request would fail. Removing it must be forced."
            return Report(False, message, problem=Problem.CONFLICT, name=name)
        under_way, lost = self._under_way(), self._only_at(name)
        config = self._current.without(name)
        lines = self._current.told(config, under_way)
        self._take(config)
        message = f"Backend {name} was removed; it is gone until the configuration is read again."
        if lost:
            names = ", ".join(lost[:3]) + (" ..." if lost[3:] else "")
            message += f" No other backend that is not drained is known to have {names}."
        return Report(True, message, changes=tuple(lines), name=name, in_flight=under_way[name])

    def _needed(self, name: str) -> str | None:
        """Return of which backends it is the last one, None where it is not.

        Health and lists of models have no say: an order must come out alike in all processes.
        """
        drained = {backend.spec.name for backend in self._registry.backends if backend.drained}
        others = {backend.name for backend in self._current.config.backends} - {name}
        if not others:
            return ""
        return " that is not drained" if name not in drained and others <= drained else None

    def _only_at(self, name: str) -> list[str]:
        """Return the models that no other backend is known to have."""
        backends = self._registry.backends
        elsewhere = {model for each in backends if each.spec.name != name and not each.drained for model in each.models}
        return [model for each in backends if each.spec.name == name for model in each.models.keys() - elsewhere]

    def _drain(self, name: str) -> Report:
        changes = self._tell(self._registry.drain(name))
        message = f"Backend {name} gets no new requests{'' if changes else ', as before'}."
        if not self._registry.usable_count(time.monotonic()):
            message += " No backend is usable now."
        return Report(True, message, changes=changes, name=name, in_flight=self._under_way()[name])

    def _undrain(self, name: str) -> Report:
        changes = self._tell(self._registry.undrain(name))
        message = f"Backend {name} gets requests{' again' if changes else ', as before'}."
        return Report(True, message, changes=changes, name=name, in_flight=self._under_way()[name])

    def _tell(self, changes: list[Change]) -> tuple[str, ...]:
        for change in changes:
            self._changed(change)
        return tuple(f"backend {change.backend}: {change.before} -> {change.after}" for change in changes)

    def _under_way(self) -> dict[str, int]:
        """Return how many attempts are under way at each backend, in all processes."""
        counts = self._registry.counts
        return {
            backend.spec.name: backend.in_flight + (counts.elsewhere(backend.spec.name) if counts is not None else 0)
            for backend in self._registry.backends
        }
