"""What a target is: a function that takes any bytes and raises where a rule is broken, and the bytes to begin with.

Every target is called the same way by libFuzzer (atheris), by our own mutations and by plain tests, so what one of them
finds, the others repeat.
"""

import logging
import random
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FOUND = Path(__file__).resolve().parent / "found"
MOST_CUTS = 6


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that is fuzzed."""

    name: str  # its folder in found/
    run: Callable[[bytes], None]  # raises for a broken rule; keeps nothing from one call to the next
    seeds: Callable[[], Mapping[str, bytes]]
    words: tuple[bytes, ...]  # what mutations put in
    cases: int  # of mutations, in `make fuzz`

    def found(self) -> dict[str, bytes]:
        """Return what has once broken a rule."""
        return {path.name: path.read_bytes() for path in sorted((FOUND / self.name).glob("*"))}


class _Errors(logging.Handler):
    """Collects what is logged as an error: a traceback that nobody sees is one all the same."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(self.format(record))


@contextmanager
def no_errors(*names: str) -> Iterator[None]:
    """Fail where something logs an error to one of these loggers meanwhile."""
    errors = _Errors()
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.addHandler(errors)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, propagate in zip(loggers, before, strict=True):
            logger.removeHandler(errors)
            logger.propagate = propagate
    assert not errors.records, "\n".join(errors.records)


def dice_of(data: bytes) -> random.Random:
    """Return chance that is the same each time for the same bytes."""
    return random.Random(zlib.crc32(data))


def pieces(data: bytes, dice: random.Random) -> list[bytes]:
    """Cut bytes at a few random places, or into single bytes."""
    if len(data) <= 256 and dice.random() < 0.05:
        return [data[at : at + 1] for at in range(len(data))]
    places = sorted(dice.randrange(len(data) + 1) for _ in range(dice.randint(1, MOST_CUTS)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True) if start < end]
