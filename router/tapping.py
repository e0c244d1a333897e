"""The middlewares of one process: built from the configuration, kept over reloads where nothing of them has changed.

A new configuration is prepared first, whole, and taken up then; exchanges under way end with the middlewares that they
began with.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from router.config.foreign import ForeignOptions, class_at
from router.config.middlewares import MiddlewareConfig, PrinterOptions, TraceOptions
from router.config.values import MASK
from router.errors import ConfigError, ConfigFault
from router.middleware.background import CLOSE_TIMEOUT, Background
from router.middleware.printer import Printer
from router.middleware.slot import Counts, Slot
from router.middleware.trace import Trace
from router.observe.states import OTHER, Hooked

MAX_NAMES = 64  # that are told apart in the metrics, over all reloads


@dataclass(frozen=True, slots=True)
class Built:
    """One middleware that is used."""

    entry: MiddlewareConfig
    slot: Slot
    background: Background[Any] | None  # of our own ones


class Tapping:
    """What is used now, and what has been counted since the start."""

    def __init__(self, entries: Sequence[MiddlewareConfig] = ()) -> None:
        """Use these. Raises ConfigError where one cannot be built."""
        self._built: tuple[Built, ...] = ()
        self._entries: tuple[MiddlewareConfig, ...] = ()
        self._counts: dict[str, Counts] = {}
        self._ending: list[tuple[str, Background[Any]]] = []  # of those that are used no more
        self.slots: tuple[Slot, ...] = ()  # what new exchanges go through, in order
        self.take(self.prepare(entries), entries)

    def prepare(self, entries: Sequence[MiddlewareConfig]) -> tuple[Built, ...]:
        """Build what is new of these; nothing is used yet. Raises ConfigError where one cannot be built."""
        free = list(self._built)
        found: list[Built] = []
        names: Counter[str] = Counter()
        try:
            for number, entry in enumerate(entries):
                if not entry.enabled:
                    continue
                names[entry.type] += 1
                name = entry.type if names[entry.type] == 1 else f"{entry.type}#{names[entry.type]}"
                kept = next((each for each in free if each.entry == entry and each.slot.name == name), None)
                if kept is not None:
                    free.remove(kept)
                found.append(kept or self._build(entry, name, number))
        except ConfigError:
            self.drop(found)
            raise
        return tuple(found)

    def drop(self, built: Sequence[Built]) -> None:
        """Close what was prepared and is not to be used after all."""
        for each in built:
            if each not in self._built:
                each.slot.close()

    def take(self, built: Sequence[Built], entries: Sequence[MiddlewareConfig]) -> None:
        """Use these from the next exchange on. `entries`: all that are configured."""
        self._forget_ended()
        before, self._built, self._entries = self._built, tuple(built), tuple(entries)
        self.slots = tuple(each.slot for each in built)
        for each in before:
            if each not in self._built:
                if each.background is not None:
                    self._ending.append((each.slot.name, each.background))
                each.slot.retire()

    def close(self) -> None:
        """Close all; their threads go on until what they have is written."""
        for each in self._built:
            each.slot.close()

    def join(self) -> None:
        """Wait for those threads, but not for long: a disk may have stalled."""
        backgrounds = [each.background for each in self._built if each.background is not None]
        end = time.monotonic() + CLOSE_TIMEOUT
        for background in (*backgrounds, *(each for _, each in self._ending)):
            background.end()
            background.join(max(0.0, end - time.monotonic()))

    def told(self) -> list[dict[str, object]]:
        """Return the state of each that is configured, for operators."""
        rows: list[dict[str, object]] = []
        left = list(self._built)
        for entry in self._entries:
            each = next((one for one in left if one.entry == entry), None)
            if each is not None:
                left.remove(each)
            counts = Counts() if each is None else each.slot.counts
            rows.append(
                {
                    "name": entry.type if each is None else each.slot.name,
                    "type": entry.type,
                    "enabled": entry.enabled,
                    "calls": sum(counts.calls.copy().values()),
                    "errors": sum(counts.errors.copy().values()),
                    "slow": sum(counts.slow.copy().values()),
                    "dropped": 0 if each is None else self._dropped(each.slot.name),
                }
            )
        return rows

    def counted(self) -> Iterator[Hooked]:
        """Yield what was counted, by name; may be asked in any thread."""
        for name, counts in self._counts.copy().items():
            calls, errors, slow = counts.calls.copy(), counts.errors.copy(), counts.slow.copy()
            yield Hooked(name, calls, {hook: errors.get(hook, 0) for hook in calls} | errors, slow, self._dropped(name))

    def _dropped(self, name: str) -> int:
        living = ((each.slot.name, each.background) for each in self._built if each.background is not None)
        counts = self._counts.get(name)
        before = 0 if counts is None else counts.dropped
        return before + sum(each.dropped for label, each in (*living, *self._ending) if label == name)

    def _forget_ended(self) -> None:
        """Let go of what has written all that it had."""
        for name, background in [each for each in self._ending if each[1].has_ended]:
            if name in self._counts:
                self._counts[name].dropped += background.dropped
            self._ending.remove((name, background))

    def _build(self, entry: MiddlewareConfig, name: str, number: int) -> Built:
        label = name if name in self._counts or len(self._counts) < MAX_NAMES else OTHER
        try:
            middleware, background = _made(entry)
            return Built(entry, Slot(name, middleware, self._counts.setdefault(label, Counts())), background)
        except OSError as error:
            what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            raise ConfigError([ConfigFault(f"middlewares.{number}", f"cannot be used: {what}")]) from error
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # of a constructor that is not ours
            what = _without_secrets(f"its constructor raised {type(error).__name__}: {error}", entry)
            raise ConfigError([ConfigFault(f"middlewares.{number}", what)]) from error


def _without_secrets(text: str, entry: MiddlewareConfig) -> str:
    for name in type(entry.config).model_fields:
        value = getattr(entry.config, name)
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, SecretStr) and each.get_secret_value():
                text = text.replace(each.get_secret_value(), MASK)
    return text


def _made(entry: MiddlewareConfig) -> tuple[object, Background[Any] | None]:
    options = entry.config
    if isinstance(options, TraceOptions):
        trace = Trace(options)
        return trace, trace.background
    if isinstance(options, PrinterOptions):
        printer = Printer(options)
        return printer, printer.background
    given: Mapping[str, Any] = options.given() if isinstance(options, ForeignOptions) else {}
    return class_at(entry.type)(**given), None
