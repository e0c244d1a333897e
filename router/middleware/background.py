"""Work that must not hold the loop up: records in a bounded queue, and a thread of its own that deals with each.

`put` never waits. What finds no room is dropped and counted; so is what the thread fails at, and that is said once in a
while, not each time.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

RECORDS = 2000  # that wait
BYTES = 64 << 20  # that they hold
QUIET = 60.0  # seconds between two lines of the log about failures
GATHER = 0.05  # seconds that records gather: a thread that is woken for each takes the loop's time
BATCH = 256  # records that are taken out of the queue at a time ...
BATCH_BYTES = 1 << 20  # ... but no more than make up so many bytes
CLOSE_TIMEOUT = 5.0  # seconds that the end waits for a disk or a pipe that has stalled

Record = TypeVar("Record")

log = logging.getLogger("router.middleware")


class Background(Generic[Record]):
    """The queue and its thread."""

    def __init__(
        self,
        name: str,
        work: Callable[[Record], None],
        *,
        merge: Callable[[list[Record]], Record] | None = None,
        records: int = RECORDS,
        most_bytes: int = BYTES,
    ) -> None:
        """`work` deals with one record in the thread, and may raise. The thread starts with the first record.

        `merge`: makes one record of several, so that they are dealt with together; None: each by itself.
        """
        self.dropped = 0  # records that were not dealt with
        self._name = name
        self._work = work
        self._merge = merge
        self._records = records
        self._most_bytes = most_bytes
        self._queue: deque[tuple[Record, int]] = deque()
        self._held = 0  # bytes of what waits
        self._lock = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_ending = False
        self._complained = -QUIET

    def __len__(self) -> int:
        """Return how many records wait."""
        return len(self._queue)

    @property
    def has_ended(self) -> bool:
        """Return whether it was ended and has dealt with all that it had."""
        return self._is_ending and (self._thread is None or not self._thread.is_alive())

    def put(self, record: Record, size: int) -> bool:
        """Queue a record of so many bytes; return whether there was room. Never waits for the work."""
        with self._lock:
            is_full = len(self._queue) >= self._records or (self._queue and self._held + size > self._most_bytes)
            if is_full or self._is_ending:
                self.dropped += 1
                return False
            if not self._queue:
                self._lock.notify()
            self._queue.append((record, size))
            self._held += size
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
        return True

    def end(self) -> None:
        """Take no further record; the thread ends when the last one is dealt with. Does not wait."""
        with self._lock:
            self._is_ending = True
            self._lock.notify()

    def join(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """Wait for the end; gives up after `timeout` seconds."""
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        while records := self._take():
            if self._merge is not None:
                self._deal_with(self._merge(records), len(records))
            else:
                for record in records:
                    self._deal_with(record, 1)

    def _take(self) -> list[Record]:
        """Return what is next, after a moment in which more may gather; nothing at the end."""
        with self._lock:
            while not self._queue:
                if self._is_ending:
                    return []
                self._lock.wait()
            if not self._is_ending:
                self._lock.wait(GATHER)  # only the end cuts it short
            taken: list[Record] = []
            left = BATCH_BYTES
            while self._queue and len(taken) < BATCH and left > 0:
                record, size = self._queue.popleft()
                taken.append(record)
                left -= size
                self._held -= size
        return taken

    def _deal_with(self, record: Record, count: int) -> None:
        try:
            self._work(record)
        except Exception as error:  # the last line of a thread
            with self._lock:
                self.dropped += count
            self._complain(error)

    def _complain(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._complained >= QUIET:
            self._complained = now
            # The text of an OSError names a file; that of another could hold what a client has said.
            what = f"{error.strerror or error}" if isinstance(error, OSError) else type(error).__name__
            log.warning("%s: a record could not be written: %s; it is dropped", self._name, what)
