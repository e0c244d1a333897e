"""A successor: new code that takes over the listening sockets while the process before it finishes its work.

    we                                              the successor
    spawn: our command line, our sockets  ────────> reads its configuration, takes the sockets it asks for
    serve on                                        serves
    MAINPID= to the service manager       <──────── "pid, sockets taken" through the pipe
    drain

Until that line has come nothing has changed for us. A successor that ends, or takes longer than START_LIMIT, is killed.
One that cannot serve says why through the pipe, without a line's end: its own log is not open yet.
"""

import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass

from router.observe.notify import Notifier
from router.process.sockets import Listener, Passed

VARIABLE = "DEVSTRAL_ROUTER_HANDOVER"  # what a successor finds in its environment
START_LIMIT = 60.0  # seconds
TELLINGS, TELL_AGAIN = 100, 0.05  # how often the service manager is told of a successor, and the seconds between
MAX_LINE = 64 * 1024  # bytes of what a successor says
MAX_REASONS, MAX_REASON = 50, 500  # lines of why it cannot serve, and characters of each
NOT_PASSED_ON = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID")  # they name our own process

log = logging.getLogger(__name__)


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what is meant for this process alone."""
    return {name: value for name, value in environ.items() if name not in (*NOT_PASSED_ON, VARIABLE)}


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The process that has started us to take over."""

    sockets: tuple[Passed, ...]
    pipe: int  # descriptor; one line through it tells that we serve
    drained: tuple[str, ...] = ()  # backends that operators keep requests from: new code is no reason to use them
    earlier: tuple[int, ...] = ()  # process ids: its own, and of those that it took over from and that still live

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> "Predecessor | None":
        """Return who has started us, None if nobody did; our own children shall not find it any more."""
        text = environ.pop(VARIABLE, None)
        if text is None:
            return None
        try:
            fields = json.loads(text)
            found = cls(
                tuple(Passed(**each) for each in fields["sockets"]),
                int(fields["pipe"]),
                tuple(fields["drained"]),
                tuple(int(pid) for pid in fields.get("earlier", ())),  # code from before does not tell it
            )
            os.set_inheritable(found.pipe, False)
        except (ValueError, TypeError, KeyError, OSError):  # not from us
            return None
        return found

    def tell(self, listeners: Sequence[Listener]) -> None:
        """Say that we serve, and on which of the sockets. Whether somebody still listens does not matter."""
        taken = {each.asked for each in listeners}
        line = json.dumps({"pid": os.getpid(), "taken": [each.fd for each in self.sockets if each.asked in taken]})
        with contextlib.suppress(OSError):
            os.write(self.pipe, line.encode() + b"\n")
        os.close(self.pipe)

    def explain(self, reasons: Sequence[str]) -> None:
        """Say why we shall not serve."""
        told = [reason[:MAX_REASON] for reason in reasons[:MAX_REASONS]]
        while len(line := json.dumps(told, ensure_ascii=False).encode(errors="replace")) >= MAX_LINE:
            told.pop()  # what is cut short could not be read
        with contextlib.suppress(OSError):
            os.write(self.pipe, line)


def explain(environ: MutableMapping[str, str], reasons: Sequence[str]) -> None:
    """Say to who has started us, if somebody has, why we shall not serve."""
    predecessor = Predecessor.take(environ)
    if predecessor is not None:
        predecessor.explain(reasons)


class HandoverFailed(Exception):
    """The successor does not serve; the text says why."""


class Handover:
    """Starts a successor when asked, one at a time."""

    def __init__(
        self,
        listeners: Sequence[Listener],
        notifier: Notifier,
        *,
        done: Callable[[], None],
        drained: Callable[[], Sequence[str]] = tuple,
        earlier: Callable[[], Sequence[int]] = tuple,
    ) -> None:
        """`done` is called when a successor serves: our own end may begin.

        `drained`: names for it, see Predecessor. `earlier`: the processes before us that still live.
        """
        self._listeners = listeners
        self._notifier = notifier
        self._done = done
        self._drained = drained
        self._earlier = earlier
        self._task: asyncio.Task[None] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._is_over = False
        self.start_limit = START_LIMIT

    def begin(self) -> None:
        """Start a successor, unless one is being started or we must not end."""
        if self._is_over:
            log.warning("SIGUSR2: we are stopping already: no successor is started")
        elif self._task is not None:
            log.warning("SIGUSR2: a successor is there already, or being started")
        elif os.getpid() == 1:
            log.warning("SIGUSR2: we are process 1, whose end would end the container: start a new container instead")
        else:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def cancel(self) -> None:
        """Kill a successor that does not serve yet, and start none any more."""
        self._is_over = True
        task = self._task
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        log.info("SIGUSR2: a successor is started")
        try:
            pid, taken = await self._succeed()
        except (OSError, HandoverFailed) as error:
            log.error("the successor does not serve: %s; we go on as before", error)
            self._task = None
            return
        except BaseException:
            self._kill()
            raise
        for each in self._listeners:
            if each.sock.fileno() in taken:
                each.file = None  # the successor's from now on
        await self._name(pid)
        log.info("process %d serves; this one finishes what is at work", pid)
        self._done()

    async def _name(self, pid: int) -> None:
        """Tell the service manager of the successor, until it takes it: else it would end both of us when we end."""
        for _ in range(TELLINGS):
            if self._notifier.address is None or self._notifier.send(f"MAINPID={pid}", "READY=1"):
                return
            await asyncio.sleep(TELL_AGAIN)  # its socket is full
        log.error("the service manager could not be told that process %d is the main one now", pid)

    async def _succeed(self) -> tuple[int, frozenset[int]]:
        """Return the successor's process id and the sockets that it took, once it serves."""
        readable, writable = os.pipe()
        try:
            try:
                self._spawn(writable)
            finally:
                os.close(writable)
            async with asyncio.timeout(self.start_limit):
                line = await _read_line(readable)
        except TimeoutError as error:
            self._kill()
            raise HandoverFailed(f"it was not ready within {self.start_limit:.0f} s") from error
        finally:
            os.close(readable)
        if not line.endswith(b"\n"):
            for reason in reasons_of(line):
                log.error("the successor: %s", reason)
            raise HandoverFailed(f"it ended with {await self._ended()}")
        try:
            fields = json.loads(line)
            return int(fields["pid"]), frozenset(fields["taken"])
        except (ValueError, TypeError, KeyError) as error:  # of other code than ours
            self._kill()
            raise HandoverFailed(f"what it says is not understood: {error!r}") from error

    def _spawn(self, pipe: int) -> None:
        passed = [each.passed() for each in self._listeners]
        environ = environment(os.environ)
        sockets, drained = [asdict(each) for each in passed], list(self._drained())
        earlier = [os.getpid(), *self._earlier()]
        environ[VARIABLE] = json.dumps({"pipe": pipe, "sockets": sockets, "drained": drained, "earlier": earlier})
        self._process = subprocess.Popen(  # noqa: S603  # our own command line
            [sys.executable, *sys.orig_argv[1:]], env=environ, pass_fds=(pipe, *(each.fd for each in passed))
        )

    async def _ended(self) -> str:
        """Return how a successor that has closed its pipe ends, for people."""
        assert self._process is not None
        for _ in range(20):
            if self._process.poll() is not None:
                break
            await asyncio.sleep(0.05)
        return self._kill()

    def _kill(self) -> str:
        """End it for certain; return how it ended, for people."""
        if self._process is None:
            return "nothing"
        self._process.kill()
        return how_it_ended(self._process.wait())


def how_it_ended(code: int) -> str:
    """Return a process's exit in words; `code` as subprocess has it."""
    return f"exit code {code}" if code >= 0 else f"signal {-code}"


def reasons_of(told: bytes) -> list[str]:
    """Return what a successor says of why it cannot serve; nothing where it was cut short."""
    try:
        found = json.loads(told)
    except ValueError:
        return []
    return [str(each) for each in found] if isinstance(found, list) else []


async def _read_line(fd: int) -> bytes:
    """Return what comes up to a line's end, or to the end of all."""
    loop = asyncio.get_running_loop()
    os.set_blocking(fd, False)
    data = b""
    while len(data) < MAX_LINE and not data.endswith(b"\n"):
        ready = asyncio.Event()
        loop.add_reader(fd, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(fd)
        try:
            piece = os.read(fd, MAX_LINE)
        except BlockingIOError:
            continue
        if not piece:
            break
        data += piece
    return data
