"""The log: one access line per exchange and the application's own lines, through one writer.

A line is made where it arises (`observe/lines.py`) and handed to the writer's queue; nothing here waits for a disk.
"""

import logging
import os
import random
from collections.abc import Callable
from typing import Protocol

from router.ended import Ended, sort
from router.observe.access import AccessLines
from router.observe.lines import Clock, json_record, text_record, went_well
from router.observe.writer import LineWriter

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


class LoggingSettings(Protocol):
    """What `setup` reads of the configuration."""

    @property
    def level(self) -> str: ...  # a key of LEVELS
    @property
    def format(self) -> str: ...  # "json" or "text"
    @property
    def file(self) -> str | os.PathLike[str] | None: ...  # None: standard error
    @property
    def max_size(self) -> int | None: ...  # bytes; None or 0: no rotation
    @property
    def backups(self) -> int: ...
    @property
    def access(self) -> bool: ...
    @property
    def sample(self) -> float: ...  # share of good exchanges that have an access line


class AccessLog:
    """One line per closed exchange; of those that went well, a share of them if so configured."""

    def __init__(
        self,
        writer: LineWriter | None,
        *,
        text: bool = False,
        worker: int | None = None,
        sample: float = 1.0,
        dice: Callable[[], float] = random.random,
    ) -> None:
        """`writer` None: switched off; `text`: lines for people instead of JSON; `worker`: who writes, of several.

        `sample`: the share of good exchanges that have a line; `dice`: numbers from 0 to 1 that decide which.
        """
        self._worker = worker
        self._dice = dice
        self.point(writer, text=text, sample=sample)

    def point(self, writer: LineWriter | None, *, text: bool, sample: float = 1.0) -> None:
        """Write there, and so, from now on; exchanges under way too."""
        self._writer = writer
        self._sample = sample if sample < 1.0 else None
        lines = AccessLines(self._worker, self._sample)
        self._made = lines.text if text else lines.json

    def write(self, ended: Ended, ahead: float) -> None:
        """Queue the lines of exchanges that were closed; `ahead`: seconds that the wall clock is ahead of theirs."""
        sample = self._sample
        if self._writer is None:
            return
        if sample is not None:
            ended = sort([one for one in ended.exchanges if not went_well(one) or self._dice() < sample])
        if ended.exchanges:
            self._writer.put(self._made(ended, ahead), len(ended.exchanges))


class LineHandler(logging.Handler):
    """Records of the standard logging module, as lines of the same log."""

    def __init__(self, writer: LineWriter, *, text: bool = False, worker: int | None = None) -> None:
        """`text`: lines for people instead of JSON; `worker`: who writes, of several."""
        super().__init__()
        self._clock = Clock()
        self._worker = worker
        self.point(writer, text=text)

    def point(self, writer: LineWriter, *, text: bool) -> None:
        """Write there, and so, from now on."""
        self._writer = writer
        self._format = text_record if text else json_record

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record's line."""
        try:
            self._writer.put(self._format(record, self._clock.text(record.created), self._worker))
        except Exception:
            self.handleError(record)  # the standard module's own way: standard error, never the caller


class Logs:
    """The log of one process: its writer, the access log, and the handler of the standard logging module."""

    def __init__(
        self,
        settings: LoggingSettings,
        writer: LineWriter,
        *,
        access: AccessLog,
        handler: LineHandler,
        detach: Callable[[], None],
    ) -> None:
        """`detach` takes the handler off the root logger again."""
        self.access = access
        self._place = _place(settings)
        self._writer = writer
        self._handler = handler
        self._detach = detach
        self._dropped_before = 0  # by writers that are closed

    @property
    def dropped(self) -> int:
        """How many lines were never written."""
        return self._dropped_before + self._writer.dropped

    def change(self, settings: LoggingSettings) -> None:
        """Go by other settings from now on. Raises OSError where the file cannot be opened; nothing is changed then."""
        place, writer = _place(settings), self._writer
        if place != self._place:
            writer = _open(settings)
        text = settings.format == "text"
        self._handler.point(writer, text=text)
        self.access.point(writer if settings.access else None, text=text, sample=settings.sample)
        _set_levels(settings)
        if writer is not self._writer:
            self._dropped_before += self._writer.dropped
            self._writer.close(timeout=0.0)  # its thread writes what is queued, and nobody waits for it
            self._writer, self._place = writer, place

    def reopen(self) -> None:
        """Open the file anew, after an external rotation."""
        self._writer.reopen()

    def close(self) -> None:
        """Write what is queued, and hand the standard logging module back."""
        self._detach()
        self._writer.close()


def setup(settings: LoggingSettings, *, worker: int | None = None) -> Logs:
    """Start the log as configured. Raises OSError when its file cannot be opened.

    `worker`: the number of this process among several that serve, which its lines carry; None: it is the only one.
    Our own loggers follow `level`; those of libraries speak from warnings up, or with it where it is higher.
    """
    writer = _open(settings)
    text = settings.format == "text"
    handler = LineHandler(writer, text=text, worker=worker)
    root, ours = logging.getLogger(), logging.getLogger("router")
    before = root.level, ours.level
    root.addHandler(handler)
    _set_levels(settings)

    def detach() -> None:
        root.removeHandler(handler)
        root.setLevel(before[0])
        ours.setLevel(before[1])

    access = AccessLog(writer if settings.access else None, text=text, worker=worker, sample=settings.sample)
    return Logs(settings, writer, access=access, handler=handler, detach=detach)


def _set_levels(settings: LoggingSettings) -> None:
    level = LEVELS[settings.level.lower()]
    logging.getLogger().setLevel(max(level, logging.WARNING))
    logging.getLogger("router").setLevel(level)


def _place(settings: LoggingSettings) -> tuple[str | None, int | None, int]:
    """Return what a writer is made from; a change of it needs another one."""
    path = os.fspath(settings.file) if settings.file is not None else None
    return path, settings.max_size, settings.backups


def _open(settings: LoggingSettings) -> LineWriter:
    path, max_size, backups = _place(settings)
    return LineWriter(path, max_size=max_size, backups=backups)
