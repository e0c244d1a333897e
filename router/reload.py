"""Reading the configuration anew while the router runs: on SIGHUP, by order, and when one of its files has changed.

The new configuration is read and checked whole before anything is done with it; one that has a fault changes nothing.
However often it is asked for, one is read at a time, and one a second at most: who asks meanwhile shares the next one.
"""

import asyncio
import contextlib
import logging
import os
import stat
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from router.config import Loaded
from router.errors import ConfigError, ConfigFault
from router.orders import Order, OrderKind, Problem, Report
from router.recent import Told

INTERVAL = 1.0  # seconds between two reloads, and between two looks at the files
LOAD_TIMEOUT = 30.0  # seconds for reading: a file on a share that is gone must not hang an order for ever

log = logging.getLogger("router.reload")

Stamp = tuple[tuple[int, ...] | None, ...]  # of each file what tells one state of it from another; None: not there


@dataclass(frozen=True, slots=True)
class Source:
    """Where the configuration came from, and how it is read again."""

    load: Callable[[], Loaded]  # as at the start: the same file, flags and environment. Raises ConfigError
    files: tuple[str, ...] = ()  # what it is read from: looked at for changes, and so are those that it names


class Reloader:
    """Reads the configuration when asked, and hands it on. Of one event loop."""

    def __init__(
        self,
        source: Source,
        *,
        apply: Callable[[Loaded], Awaitable[Report]],
        reloaded: Callable[[bool], None],
        named: tuple[str, ...] = (),
    ) -> None:
        """`apply`: takes up a configuration that has no fault; `reloaded`: told of each reload whether it went well.

        `named`: files that the configuration of the start names.
        """
        self._source = source
        self._files = (*source.files, *named)
        self._apply = apply
        self._reloaded = reloaded
        self._next: asyncio.Task[Report] | None = None  # that waits for its turn, and is shared by all who ask
        self._tasks: set[asyncio.Task[Report]] = set()
        self._turn = asyncio.Lock()
        self._began = -INTERVAL  # monotonic seconds
        self._taken = stamps(self._files)  # the state of the files that was read last
        self._watching: asyncio.Task[None] | None = None
        self._reader: threading.Thread | None = None

    async def reload(self) -> Report:
        """Read and take up the configuration, at once or within a second; return what became of it."""
        return await asyncio.shield(self._soon())  # one who gives up waiting does not end it for the others

    def ask(self) -> None:
        """Reload, without waiting for the report; the log has it. For signals."""
        self._soon()

    def watch(self, is_on: bool) -> None:
        """Look at the files each second from now on, or no more."""
        if not is_on and self._watching is not None:
            self._watching.cancel()
            self._watching = None
        elif is_on and self._watching is None and self._files:
            self._watching = asyncio.get_running_loop().create_task(self._watch(), name="watch configuration")

    async def stop(self) -> None:
        """End what is under way."""
        self.watch(False)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _soon(self) -> "asyncio.Task[Report]":
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._reload(), name="reload")
            self._tasks.add(self._next)
            self._next.add_done_callback(self._tasks.discard)
        return self._next

    async def _reload(self) -> Report:
        async with self._turn:
            await asyncio.sleep(max(0.0, self._began + INTERVAL - time.monotonic()))
            self._next = None  # who asks from now on may mean a file that is written after it was read
            self._began = time.monotonic()
            self._taken = stamps(self._files)
            try:
                loaded = await self._load()
                self._look_at(loaded.files)
                report = await self._take_up(loaded)
            except ConfigError as error:
                self._look_at(error.files or None)
                report = refusal(error)
            except Exception:  # the last line of a task that nobody may be waiting for
                log.exception("reloading failed")
                report = Report(False, "The router failed; its log says why.", problem=Problem.FAILED)
        self._tell(report)
        return report

    def _look_at(self, named: tuple[str, ...] | None) -> None:
        """Look at these files from now on, beside those that the configuration is read from; None: as before."""
        known = dict(zip(self._files, self._taken, strict=True))
        if named is not None:
            self._files = (*self._source.files, *named)
        self._taken = tuple(known[path] if path in known else _stamp(path) for path in self._files)

    async def _take_up(self, loaded: Loaded) -> Report:
        for notice in loaded.notices:
            log.warning("configuration: %s", notice)
        report = await self._apply(loaded)
        if report.ok:
            self.watch(loaded.config.server.watch_config)
        return report

    async def _load(self) -> Loaded:
        """Read the configuration in a thread: a large one takes longer than streams should wait. Raises ConfigError.

        The thread is a daemon: one that hangs on a file of a share that is gone must not keep the process from ending.
        """
        if self._reader is not None and self._reader.is_alive():
            raise ConfigError([ConfigFault("", "it is still being read: a file or share does not answer")])
        _check_files(self._source.files)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Loaded] = loop.create_future()

        def settle(loaded: Loaded | None, error: Exception | None) -> None:
            if future.done():
                return
            if loaded is not None:
                future.set_result(loaded)
            elif error is not None:
                future.set_exception(error)

        def read() -> None:
            loaded, fault = None, None
            try:
                loaded = self._source.load()
            except Exception as error:
                fault = error
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(settle, loaded, fault)

        self._reader = threading.Thread(target=read, name="read-configuration", daemon=True)
        self._reader.start()
        try:
            async with asyncio.timeout(LOAD_TIMEOUT):
                return await future
        except TimeoutError:
            fault = ConfigFault(
                "", f"it could not be read within {LOAD_TIMEOUT:.0f} s: a file or share does not answer"
            )
            raise ConfigError([fault]) from None

    def _tell(self, report: Report) -> None:
        """Count a reload, and say in the log what became of it."""
        self._reloaded(report.ok)
        if report.ok:
            log.info("%s", report.message)
            for line in report.changes:
                log.info("configuration: %s", line)
            return
        log.error("%s", report.message)
        for line in report.faults:
            log.error("configuration: %s", line)

    async def _watch(self) -> None:
        """Reload when the files have changed and then stood still for one look: a half-written one is not read."""
        seen = self._taken
        while True:
            await asyncio.sleep(INTERVAL)
            now = stamps(self._files)
            if now == seen and now != self._taken and self._next is None:
                log.info("the configuration's files have changed")
                self.ask()
            seen = now


def refusal(error: ConfigError) -> Report:
    """Return the report on a configuration that cannot be used."""
    faults = tuple(str(fault) for fault in error.faults)
    many = f"{len(faults)} faults" if len(faults) > 1 else "a fault"
    message = f"The new configuration has {many}; nothing was changed."
    return Report(False, message, faults=faults, problem=Problem.INVALID)


def acceptance(changes: list[str]) -> Report:
    """Return the report on a configuration that was taken up."""
    message = "The configuration was reloaded." if changes else "The configuration was reloaded; nothing is different."
    return Report(True, message, changes=tuple(changes))


def stamps(files: tuple[str, ...]) -> Stamp:
    """Return what tells this state of the files from another; links are followed, as Kubernetes changes them."""
    return tuple(_stamp(path) for path in files)


def _stamp(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev


def _check_files(files: tuple[str, ...]) -> None:
    """Refuse what can be read but once: opening the pipe of `--config <(command)` again would wait for ever."""
    for path in files:
        with contextlib.suppress(OSError, ValueError):
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise ConfigError([ConfigFault("", f"{path} is not a regular file: it cannot be read again")])


class Reloadable(Protocol):
    """One process's application; router.app.App is one."""

    def apply(self, loaded: Loaded) -> list[str]: ...  # what changed, in words; whole or not at all: raises ConfigError
    def carry_out(self, order: Order) -> Report: ...  # ADD, REMOVE, DRAIN, UNDRAIN
    def reloaded(self, ok: bool) -> None: ...  # counts a reload
    def metrics_page(self, accept: str) -> tuple[str, bytes]: ...  # for an Accept header
    def recently(self) -> Told: ...


class LocalControl:
    """The Control of a router of one process."""

    def __init__(self, app: Reloadable, reloader: Reloader | None = None) -> None:
        """Orders go to `app`, but reloads to `reloader`; without one the configuration stays as it is."""
        self._app = app
        self._reloader = reloader

    async def carry_out(self, order: Order) -> Report:
        """Carry out an order."""
        if order.kind is not OrderKind.RELOAD:
            return self._app.carry_out(order)
        if self._reloader is None:
            return Report(False, "This router has no configuration to read again.", problem=Problem.CONFLICT)
        return await self._reloader.reload()

    async def metrics(self, accept: str) -> tuple[str, bytes]:
        """Return the metrics of this process."""
        return self._app.metrics_page(accept)

    async def recent(self) -> Told:
        """Return what happened lately in this process."""
        return self._app.recently()


def reloader_of(app: Reloadable, source: Source, named: tuple[str, ...] = ()) -> Reloader:
    """Return what reads the configuration anew for a router of one process. `named`: see Reloader."""

    async def apply(loaded: Loaded) -> Report:
        return acceptance(app.apply(loaded))

    return Reloader(source, apply=apply, reloaded=app.reloaded, named=named)
