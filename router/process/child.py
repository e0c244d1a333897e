"""One worker as the parent sees it: its process, its end of the bus, what it last said."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

from router.observe.exposition import Families
from router.process.bus import Bus, Channel
from router.process.calls import Calls, Lost
from router.process.handover import how_it_ended
from router.process.messages import Answer, Beat, CannotStart, Message, Serving, pack, unpack

# A worker is executed afresh, so it holds nothing of its parent's; it finds modules where the parent does.
PROGRAM = (
    "import sys; sys.path[:] = sys.argv.pop().split(':'); from router.process.worker import main; sys.exit(main())"
)
END_LIMIT = 5.0  # seconds from the end of its bus to the end of its process
ABORT_LIMIT = 2.0  # seconds that a hung one has to write where it stood

log = logging.getLogger(__name__)


class Child:
    """One worker process, from its start to its end."""

    def __init__(
        self,
        slot: int,
        *,
        heard: Callable[["Child", Message], None],
        facts: Callable[["Child", bytes], None],
        gone: Callable[["Child"], None],
    ) -> None:
        """`slot`: its place. `heard` gets what it says unasked, `facts` what others must know, `gone` its end."""
        self.slot = slot
        self.calls = Calls()
        self.is_serving = False
        self.is_gone = False
        self.refusal: str | None = None  # why it could not start
        self.dump: Families = {}  # its counts, as it last told them
        self.started = self.last_heard = 0.0  # monotonic seconds
        self._told = (heard, facts, gone)
        self._bus = Bus(self._receive, self._bus_lost)
        self._process: subprocess.Popen[bytes] | None = None
        self._unsent: list[Message] | None = []  # said before it was there to hear it; None: it is
        self._exit = -1  # descriptor that becomes readable when the process ends
        self._is_bus_lost = self._has_exited = False

    def __repr__(self) -> str:
        """Show who it is."""
        return f"<Child {self.slot} pid {self.pid}{' serving' if self.is_serving else ''}>"

    @property
    def pid(self) -> int:
        """Its process id; 0 before it was started."""
        return 0 if self._process is None else self._process.pid

    @property
    def ending(self) -> str:
        """How it ended, for people."""
        code = None if self._process is None else self._process.returncode
        return self.refusal or ("nothing" if code is None else how_it_ended(code))

    async def start(self, first: Message, *, fds: Sequence[int], environ: Mapping[str, str]) -> None:
        """Execute it with these descriptors and tell it the first message; `gone` is called where that fails."""
        loop = asyncio.get_running_loop()
        self.started = self.last_heard = loop.time()
        try:
            ours, theirs = socket.socketpair()
            with theirs:
                self._process = self._execute(theirs.fileno(), fds=fds, environ=environ)
            self._exit = os.pidfd_open(self._process.pid)
            loop.add_reader(self._exit, self._exited)
            ours.setblocking(False)
            await self._bus.connect(ours)
        except OSError as error:  # no process, descriptor or memory to be had
            self.refusal = f"cannot start a worker: {error}"
            self.signal(signal.SIGKILL)
            self._is_bus_lost = True
            self._has_exited = self._exit < 0
            self._end_if_over()
            return
        waiting, self._unsent = self._unsent or [], None
        for message in (first, *waiting):
            self.send(message)

    def _execute(self, bus: int, *, fds: Sequence[int], environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-c", PROGRAM, "--bus", str(bus), ":".join(sys.path)]
        # A process group of its own: a terminal's Ctrl-C is for the parent, which tells its workers.
        return subprocess.Popen(  # noqa: S603  # our own code
            command, env=dict(environ), pass_fds=(bus, *fds), process_group=0, stdin=subprocess.DEVNULL
        )

    def send(self, message: Message) -> None:
        """Tell it something, after the first message."""
        if self._unsent is None:
            self._bus.send(pack(message))
        elif not self.is_gone:
            self._unsent.append(message)

    def send_facts(self, payload: bytes) -> None:
        """Pass on what another one has seen."""
        self._bus.send(payload, channel=Channel.FACTS)

    async def ask(self, question: Callable[[int], Message], seconds: float) -> object:
        """Ask it something and return the answer. Raises Lost."""
        if self.is_gone or not self._bus.is_open:
            raise Lost("it has ended")
        number = self.calls.begin()
        self.send(question(number))
        return await self.calls.wait(number, seconds)

    def kill_hung(self) -> None:
        """End one whose loop stands still; it writes where it stood, if it can."""
        self.signal(signal.SIGABRT)
        asyncio.get_running_loop().call_later(ABORT_LIMIT, self.signal, signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self._process is not None and not self._has_exited:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _receive(self, channel: Channel, payload: bytes) -> None:
        heard, facts, _ = self._told
        if channel is Channel.FACTS:
            facts(self, payload)
            return
        try:
            message = unpack(payload)
        except Exception as error:  # of other code than ours: pickle raises what it likes
            self.refusal = f"it speaks other code than ours ({error!r}); SIGUSR2 takes up new code"
            self.signal(signal.SIGKILL)
            return
        self.last_heard = asyncio.get_running_loop().time()
        if isinstance(message, Answer):
            self.calls.answer(message.number, message.value)
        elif isinstance(message, Beat):
            self.dump = message.dump
        elif isinstance(message, CannotStart):
            self.refusal = message.reason
        else:
            self.is_serving = self.is_serving or isinstance(message, Serving)
            heard(self, message)

    def _bus_lost(self) -> None:
        """All that it said has been read."""
        self._is_bus_lost = True
        self.is_serving = False
        self.calls.fail()
        if not self._has_exited:
            asyncio.get_running_loop().call_later(END_LIMIT, self.signal, signal.SIGKILL)
        self._end_if_over()

    def _exited(self) -> None:
        assert self._process is not None
        asyncio.get_running_loop().remove_reader(self._exit)
        os.close(self._exit)
        self._process.wait()
        self._has_exited = True
        self._end_if_over()

    def _end_if_over(self) -> None:
        if self._has_exited and self._is_bus_lost and not self.is_gone:
            self.is_gone = True
            self._told[2](self)
