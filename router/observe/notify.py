"""What a service manager is told (sd_notify(3)): a datagram to the socket that it named, or nothing at all.

Never fails and never blocks: a manager that does not listen must not take the router down.
"""

import os
import socket
from collections.abc import Mapping

READY = "READY=1"
STOPPING = "STOPPING=1"
WATCHDOG = "WATCHDOG=1"


class Notifier:
    """The line to the service manager, as the environment names it; silent where there is none."""

    def __init__(self, address: str | None, *, watchdog: float | None = None) -> None:
        """`address`: path of a datagram socket, "@..." for an abstract one; `watchdog`: seconds, None for none."""
        self.address = address
        self.watchdog = watchdog
        self._socket: socket.socket | None = None
        if address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Notifier":
        """Read NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID; what is not understood counts as not set."""
        address = environ.get("NOTIFY_SOCKET", "")
        if address[:1] not in ("/", "@") or len(address) < 2:
            return cls(None)
        return cls(address, watchdog=_watchdog_seconds(environ))

    def send(self, *lines: str) -> bool:
        """Send assignments such as READY or "STATUS=..." in one message; return whether it went out."""
        if self._socket is None or self.address is None:
            return False
        target = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            self._socket.sendto("\n".join(lines).encode(), target)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the socket; later messages go nowhere."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def status(text: str) -> str:
    """Return the assignment of one line that `systemctl status` shows."""
    return "STATUS=" + " ".join(text.split())


def extend_timeout(seconds: float) -> str:
    """Return the assignment that asks for so many more seconds to start or to stop."""
    return f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}"


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    usec = environ.get("WATCHDOG_USEC", "")
    pid = environ.get("WATCHDOG_PID", "")
    if not usec.isascii() or not usec.isdigit() or int(usec) == 0:
        return None
    if pid and pid != str(os.getpid()):
        return None  # meant for another process
    return int(usec) / 1_000_000
