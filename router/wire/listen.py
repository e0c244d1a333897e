"""Listening sockets, made before the loop runs so that a port that is taken is known at start."""

import errno
import os
import socket
import stat

from tornado import netutil

from router.wire.limits import BACKLOG

ALIVE_CHECK_TIMEOUT = 1.0  # seconds; for asking whether somebody still listens on a socket file


def bind_sockets(host: str, port: int, *, backlog: int = BACKLOG) -> list[socket.socket]:
    """Return listening sockets, one per address of `host` (IPv4 and IPv6); "" means every interface.

    With port 0 all get the same free port. Raises OSError.
    """
    return netutil.bind_sockets(port, host or None, backlog=backlog)


def bind_unix_socket(path: str, *, backlog: int = BACKLOG, mode: int = 0o660) -> socket.socket:
    """Return a socket that listens on `path`, which gets the permissions `mode`.

    A file left by a server that has died is replaced. Raises OSError, among others where somebody still listens there
    (EADDRINUSE) or where the path is something else than a socket (EEXIST).
    """
    _clear_path(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.bind(path)
        os.chmod(path, mode)  # nobody can connect before listen()
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock


def _clear_path(path: str) -> None:
    try:
        kind = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise FileExistsError(errno.EEXIST, "is not a socket", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(ALIVE_CHECK_TIMEOUT)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)  # nobody listens: a server died there
            return
    raise OSError(errno.EADDRINUSE, "somebody listens there", path)
