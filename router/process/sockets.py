"""Listening sockets: bound by us, held by the service manager, or taken over from the process before us.

Each carries for which address it was asked, so that a successor takes those that its own configuration asks for, binds
what is missing, and leaves the rest.
"""

import contextlib
import enum
import errno
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from router.config import Config
from router.config.show import DEFAULT
from router.wire.limits import BACKLOG
from router.wire.listen import bind_sockets, bind_unix_socket

FIRST_INHERITED = 3  # file descriptors of socket activation begin here (sd_listen_fds(3))
ADMIN_NAME = "admin"  # FileDescriptorName= of the service manager's socket for operators
ACTIVATED = "service manager"  # what a socket of the service manager was asked for: it replaces what is configured


class Role(enum.Enum):
    """What is served on a socket."""

    PUBLIC = "public"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Listening:
    """Where and how the process listens, and how long it drains."""

    host: str = "127.0.0.1"
    port: int = 0
    unix_socket: str | None = None  # beside the port
    backlog: int = BACKLOG
    drain_timeout: float = 600.0  # seconds; 0: what is at work is cut at once
    drain_delay: float = 0.0  # seconds of not being ready before listening ends
    admin: tuple[str, int] | None = None  # host and port of the operators' listener
    is_admin_asked: bool = True  # False: by default only, so we serve without it where its port is taken

    @classmethod
    def of(cls, config: Config, origins: Mapping[str, str] | None = None) -> "Listening":
        """Take the settings from the configuration. `origins`: where each key came from."""
        server, admin = config.server, config.admin
        return cls(
            server.host,
            server.port,
            server.unix_socket,
            server.backlog,
            server.drain_timeout,
            server.drain_delay,
            (admin.host, admin.port) if admin.enabled else None,
            (origins or {}).get("admin.port", DEFAULT) != DEFAULT,
        )


@dataclass(frozen=True, slots=True)
class Passed:
    """A listening socket as another process is told of it."""

    fd: int
    role: str  # value of a Role
    asked: str


@dataclass(eq=False, slots=True)
class Listener:
    """One listening socket."""

    sock: socket.socket
    role: Role
    asked: str  # the address in the configuration's words, or ACTIVATED
    file: str | None = None  # of a unix socket of ours: to be removed at the end
    name: str = field(init=False)  # its address as a person writes it

    def __post_init__(self) -> None:
        self.name = address_name(self.sock)

    def passed(self) -> Passed:
        """Return what another process needs to know, which gets the descriptor under the same number."""
        return Passed(self.sock.fileno(), self.role.value, self.asked)


def take_over(passed: Iterable[Passed]) -> list[Listener]:
    """Return the sockets that this process was born with; files of unix sockets stay those of who had them before."""
    return [_taken(each.fd, Role(each.role), each.asked) for each in passed]


def inherited(environ: Mapping[str, str]) -> list[Listener]:
    """Return the listening sockets that the service manager passed to this process; [] if it passed none."""
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(os.getpid()) or not count.isascii() or not count.isdigit():
        return []
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    return [
        _taken(
            FIRST_INHERITED + number,
            Role.ADMIN if names[number : number + 1] == [ADMIN_NAME] else Role.PUBLIC,
            ACTIVATED,
        )
        for number in range(int(count))
    ]


def _taken(fd: int, role: Role, asked: str) -> Listener:
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    sock.set_inheritable(False)
    return Listener(sock, role, asked)


def acquire(listening: Listening, had: list[Listener]) -> tuple[list[Listener], list[str]]:
    """Return the sockets to serve on, and what an operator should be told of them.

    Of `had` those are taken that are asked for, and new ones are bound for the rest; what is not asked for is closed.
    Raises ListenError, after which all of them are closed.
    """
    found: list[Listener] = []
    notices: list[str] = []
    try:
        is_activated = any(each.asked == ACTIVATED and each.role is Role.PUBLIC for each in had)
        for wanted in _wanted(listening, is_activated=is_activated):
            match = [each for each in had if each.role is wanted.role and each.asked in (wanted.asked, ACTIVATED)]
            try:
                found += match or wanted.bind(listening.backlog)
            except ListenError as error:
                if wanted.is_needed:
                    raise
                notices.append(f"no admin calls here: {error}")
    except ListenError:
        close_all([*found, *had])
        raise
    close_all(each for each in had if each not in found)
    return found, notices


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One address that is to be listened on."""

    role: Role
    address: tuple[str, int] | str  # host and port, or the path of a unix socket
    is_needed: bool = True

    @property
    def asked(self) -> str:
        return f"unix:{self.address}" if isinstance(self.address, str) else f"{self.address[0]}:{self.address[1]}"

    @property
    def key(self) -> str:
        if isinstance(self.address, str):
            return "server.unix_socket"
        return "server.port (--port)" if self.role is Role.PUBLIC else "admin.port"

    def bind(self, backlog: int) -> list[Listener]:
        """Bind it. Raises ListenError."""
        try:
            if isinstance(self.address, str):
                sock = bind_unix_socket(self.address, backlog=backlog)
                return [Listener(sock, self.role, self.asked, self.address)]
            return [Listener(sock, self.role, self.asked) for sock in bind_sockets(*self.address, backlog=backlog)]
        except OSError as error:
            raise ListenError(error, self.asked, self.key) from error


def _wanted(listening: Listening, *, is_activated: bool) -> list[_Wanted]:
    """Return what is to be listened on. What the service manager holds stands for all that is configured as public."""
    wanted = [_Wanted(Role.PUBLIC, (listening.host, listening.port))]
    if listening.unix_socket is not None and not is_activated:
        wanted.append(_Wanted(Role.PUBLIC, listening.unix_socket))
    if listening.admin is not None:
        wanted.append(_Wanted(Role.ADMIN, listening.admin, is_needed=listening.is_admin_asked))
    return wanted


class ListenError(OSError):
    """Nobody can be served at an address; its text says why, in one line, and what to do."""

    def __init__(self, error: OSError, where: str, key: str) -> None:
        """`where`: the address; `key`: of the configuration."""
        is_path = where.startswith("unix:")
        where = where.removeprefix("unix:")
        if error.errno == errno.EADDRINUSE:
            text = f"cannot listen on {where}: already in use; stop the other process, or set another {key}"
        elif error.errno == errno.EACCES and not is_path:
            text = f"cannot listen on {where}: not permitted; take a port from 1024 up, or grant CAP_NET_BIND_SERVICE"
        else:
            text = f"cannot listen on {where}: {error.strerror or error}"
        super().__init__(text)


def address_name(sock: socket.socket) -> str:
    """Return the address of a listening socket as a person writes it."""
    address = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{address}"
    return f"[{address[0]}]:{address[1]}" if sock.family == socket.AF_INET6 else f"{address[0]}:{address[1]}"


def names_of(listeners: Iterable[Listener]) -> str:
    """Return the public addresses, as a person writes them."""
    return ", ".join(each.name for each in listeners if each.role is Role.PUBLIC)


def own_files(listeners: Iterable[Listener]) -> None:
    """Take over the files of the unix sockets that were taken over: from now on we are who removes them."""
    for each in listeners:
        path = each.sock.getsockname() if each.sock.family == socket.AF_UNIX and each.asked != ACTIVATED else None
        each.file = path if isinstance(path, str) else each.file


def close_all(listeners: Iterable[Listener]) -> None:
    """Close our descriptors; another process that has them goes on listening."""
    for each in listeners:
        each.sock.close()


def remove_files(listeners: Iterable[Listener]) -> None:
    """Remove the files of our unix sockets, once: later the path may be that of our successor."""
    for each in listeners:
        if each.file is not None:
            with contextlib.suppress(OSError):  # gone already, or its directory is not ours: the next start replaces it
                os.unlink(each.file)
            each.file = None
