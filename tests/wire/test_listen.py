"""Listening sockets."""

import errno
import os
import socket
import stat
from pathlib import Path

import pytest

from router.wire.listen import bind_sockets, bind_unix_socket


def test_port_0_gives_one_free_port_for_all_addresses() -> None:
    sockets = bind_sockets("localhost", 0)
    try:
        assert len({sock.getsockname()[1] for sock in sockets}) == 1
        assert all(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for sock in sockets)
    finally:
        for sock in sockets:
            sock.close()


def test_a_port_that_is_taken_is_known_at_once() -> None:
    (first,) = bind_sockets("127.0.0.1", 0)
    with first, pytest.raises(OSError) as caught:
        bind_sockets("127.0.0.1", first.getsockname()[1])
    assert caught.value.errno == errno.EADDRINUSE


def test_a_unix_socket_has_its_mode(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with bind_unix_socket(path, mode=0o600):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_a_socket_file_that_a_dead_server_left_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    bind_unix_socket(path).close()
    with bind_unix_socket(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def test_a_socket_that_somebody_listens_on_is_not_taken_away(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with bind_unix_socket(path):
        with pytest.raises(OSError) as caught:
            bind_unix_socket(path)
        assert caught.value.errno == errno.EADDRINUSE


def test_another_kind_of_file_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(FileExistsError):
        bind_unix_socket(str(path))
    assert path.read_text() == "data"
