"""What is told at the beginning and at the end, to log, service manager and standard error; and how an end goes."""

import logging
import sys
from dataclasses import dataclass

from router import __version__
from router.observe.notify import READY, STOPPING, Notifier, extend_timeout, status
from router.process.handover import Predecessor
from router.process.sockets import Listener, Listening, Role, names_of, own_files

STOP_MARGIN = 30.0  # seconds that the service manager is asked for beyond the drain: closing what is left
GRACE = 0.25  # seconds for a request that is on its way while we stop: its connection is new, or was idle until now
SETTLE_TIME = 5.0  # seconds that a successor waits to know all backends before it serves: nobody waits for it meanwhile
HANDOVER_GRACE = 5.0  # the same where a successor serves: there is no hurry, and nobody shall notice

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Farewell:
    """How an end goes."""

    delay: float = 0.0  # seconds of not being ready before listening ends
    grace: float = GRACE


@dataclass(frozen=True, slots=True)
class Begun:
    """What a process begins with; it is that process's to close."""

    listeners: list[Listener]
    notifier: Notifier
    predecessor: Predecessor | None = None
    notices: tuple[str, ...] = ()  # for the log, once there is one


def farewell(listening: Listening, *, has_successor: bool) -> Farewell:
    """Return how the end goes: with a successor there is nobody to be warned, and time to be gentle."""
    return Farewell(0.0, HANDOVER_GRACE) if has_successor else Farewell(listening.drain_delay)


def tell_stopping(notifier: Notifier, listening: Listening) -> None:
    """Tell the service manager that we end, and how long that may take."""
    wanted = listening.drain_delay + listening.drain_timeout + STOP_MARGIN
    notifier.send(STOPPING, status("finishing what is at work"), extend_timeout(wanted))


def announce(begun: Begun) -> None:
    """Say that we serve, and where: in the log, to the service manager, and to who has started us to take over."""
    names = names_of(begun.listeners)
    log.info("devstral-router %s listens on %s", __version__, names)
    for each in begun.listeners:
        if each.role is Role.ADMIN:
            log.info("admin calls are taken on %s", each.name)
    for notice in begun.notices:
        log.warning("%s", notice)
    begun.notifier.send(READY, status(f"listens on {names}"))
    if begun.predecessor is not None:
        own_files(begun.listeners)
        begun.predecessor.tell(begun.listeners)


def cannot_open(error: OSError) -> str:
    """Say which file a start failed for: a log or a certificate."""
    what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return f"cannot start, a file that the configuration names cannot be opened: {what}"


def refuse(message: str, predecessor: Predecessor | None = None) -> int:
    """Tell on standard error, and to who has started us to take over, why the start failed; return the exit code."""
    sys.stderr.write(f"devstral-router: {message}\n")
    if predecessor is not None:
        predecessor.explain([message])
    return 1
