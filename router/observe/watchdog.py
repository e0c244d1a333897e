"""Tells when the loop stands still: how late its timers are, and where it stands while it does.

A timer in the loop beats; how late each beat comes is the lag that every event of every stream has as well, and a beat
that is late by STALL ends a stall: there each is counted, once, as the beat alone knows all of them and how long they
were. A thread listens for the beats, and when they stay out it logs where the loop's thread stands: afterwards nobody
could tell any more. It may miss a stall, where the whole process stood still and the loop goes on first; of that one
the beat logs that it was. Both sleep nearly always.
"""

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable

BEAT = 0.25  # seconds between two beats
STALL = 0.5  # seconds that a beat is late, before it counts as one that stayed out
MAX_FRAMES = 25  # of the stack, the innermost ones

log = logging.getLogger(__name__)


class Watchdog:
    """Watches one loop from `start` to `stop`."""

    def __init__(
        self,
        *,
        on_lag: Callable[[float], None] = lambda seconds: None,
        on_stall: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_lag(seconds)`: told how late each beat came; `on_stall()`: that a stall is over. Both in the loop."""
        self._on_lag = on_lag
        self._on_stall = on_stall
        self._due = 0.0  # when the next beat should come (monotonic seconds)
        self._told = 0.0  # the beat that was logged last as staying out
        self._telling = threading.Lock()  # over `_told`
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Watch the running loop, whose thread is the one that calls."""
        self._loop = asyncio.get_running_loop()
        self._due = time.monotonic()
        self._beat()
        self._thread = threading.Thread(
            target=self._listen, args=(threading.get_ident(),), name="watchdog", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Watch no more; the thread ends by itself."""
        self._ended.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _beat(self) -> None:
        assert self._loop is not None
        now, due = time.monotonic(), self._due
        late = max(0.0, now - due)
        self._due = now + BEAT
        self._timer = self._loop.call_later(BEAT, self._beat)  # before all else, which takes its time
        self._on_lag(late)
        if late >= STALL:
            self._on_stall()
            if self._is_news(due):
                log.warning("the loop stood still for %.1f s", late)

    def _listen(self, watched: int) -> None:
        while not self._ended.wait(BEAT):
            due = self._due
            late = time.monotonic() - due
            if late < STALL or due == self._told:
                continue
            where = _where(watched)
            # A beat that came meanwhile tells of it itself: `where` may be a place that it has reached since.
            if due == self._due and self._is_news(due):
                log.warning("the loop has stood still for %.1f s:\n%s", late, where)

    def _is_news(self, due: float) -> bool:
        """Return whether nobody has logged yet that this beat stays out; who is told so logs it."""
        with self._telling:
            is_news, self._told = due != self._told, due
            return is_news


def _where(thread: int) -> str:
    """Return where a thread stands, the innermost call last; without what its variables hold."""
    frame = sys._current_frames().get(thread)
    return "" if frame is None else "".join(traceback.format_stack(frame)[-MAX_FRAMES:]).rstrip()
