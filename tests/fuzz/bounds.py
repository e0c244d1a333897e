"""How long a case may take, and a run of them: nothing that is fuzzed can keep fuzzing from its end."""

import faulthandler
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

HANG = 5  # seconds of the processor for one case, beyond what any takes by a factor of 100
AGAIN = 0.2  # seconds: who catches a Hang gets the next one
SILENCE = 120.0  # seconds without a sign of life, of a machine that may be busy


class Hang(KeyboardInterrupt):
    """A case did not end. The one kind of error that asyncio's callbacks and tasks pass on at once."""


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Raise Hang when it takes longer, on the processor: a slow machine is no hang. Also where a Hang was caught."""
    is_over = False

    def hang(number: int, frame: object) -> None:
        nonlocal is_over
        is_over = True
        raise Hang

    before = signal.signal(signal.SIGVTALRM, hang)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, AGAIN)
    try:
        yield
    except Exception:
        if not is_over:
            raise  # else it is what somebody made of a Hang
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    if is_over:
        raise Hang


@contextmanager
def watched() -> Iterator[Callable[[], None]]:
    """End the process, with a traceback, where what this yields is not called within `SILENCE`.

    For what hears no signals: code in C.
    """

    def alive() -> None:
        faulthandler.dump_traceback_later(SILENCE, exit=True, file=sys.__stderr__)

    alive()
    try:
        yield alive
    finally:
        faulthandler.cancel_dump_traceback_later()
