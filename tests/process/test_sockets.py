"""Listening sockets: which are bound, taken over, left."""

import errno
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.config import load
from router.process.sockets import (
    ACTIVATED,
    Listener,
    ListenError,
    Listening,
    Passed,
    Role,
    acquire,
    close_all,
    inherited,
    names_of,
    own_files,
    remove_files,
    take_over,
)

ANY = Listening("127.0.0.1", 0)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: those of unix sockets have little room."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def passed_on(listeners: list[Listener]) -> list[Listener]:
    """What another process would get: descriptors of its own for the same sockets."""
    return take_over([Passed(os.dup(each.sock.fileno()), each.role.value, each.asked) for each in listeners])


@pytest.mark.parametrize(
    ("error", "where", "words"),
    [
        (OSError(errno.EACCES, "Permission denied"), "h:80", "take a port from 1024 up"),
        (OSError(errno.EADDRINUSE, "x"), "unix:/run/x.sock", "/run/x.sock: already in use; stop the other process"),
        (OSError(errno.EACCES, "Permission denied"), "unix:/run/x.sock", "/run/x.sock: Permission denied"),
        (socket.gaierror(-2, "Name or service not known"), "h:80", "h:80: Name or service not known"),
    ],
)
def test_each_failure_to_listen_has_its_own_words(error: OSError, where: str, words: str) -> None:
    assert words in str(ListenError(error, where, "server.port"))


@pytest.mark.parametrize(
    "environ", [{}, {"LISTEN_FDS": "1"}, {"LISTEN_FDS": "1", "LISTEN_PID": "1"}, {"LISTEN_PID": str(os.getpid())}]
)
def test_sockets_for_another_process_are_left_alone(environ: dict[str, str]) -> None:
    assert inherited(environ) == []


def test_a_successor_takes_what_its_own_configuration_asks_for(folder: Path) -> None:
    old, _ = acquire(Listening("127.0.0.1", 0, str(folder / "s"), admin=("127.0.0.1", 0)), [])
    new, _ = acquire(Listening("127.0.0.1", 0, admin=("127.0.0.1", 0)), passed_on(old))

    assert [(each.role, each.name) for each in new] == [(each.role, each.name) for each in (old[0], old[2])]
    close_all([*old, *new])


def test_a_successor_with_another_address_binds_it_and_leaves_the_old_one(folder: Path) -> None:
    old, _ = acquire(ANY, [])
    had = passed_on(old)
    new, _ = acquire(Listening("127.0.0.1", 0, str(folder / "s")), had)
    other, _ = acquire(Listening("localhost", 0), passed_on(old))

    assert [each.name for each in new] == [old[0].name, f"unix:{folder / 's'}"]
    assert old[0].name not in [each.name for each in other]
    close_all([*old, *new, *other])


def test_a_socket_file_is_removed_by_who_has_it_last(folder: Path) -> None:
    path = folder / "s"
    old, _ = acquire(Listening("127.0.0.1", 0, str(path)), [])
    new, _ = acquire(Listening("127.0.0.1", 0, str(path)), passed_on(old))
    remove_files(new)
    assert path.exists(), "until it serves it is not its to remove"
    own_files(new)
    for each in old:
        each.file = None  # as the handover does
    remove_files(old)
    close_all(old)
    assert path.exists()

    remove_files(new)
    assert not path.exists()
    close_all(new)


def test_what_the_service_manager_holds_stands_for_all_that_is_public() -> None:
    held, _ = acquire(ANY, [])
    held[0].asked = ACTIVATED
    found, _ = acquire(Listening("127.0.0.1", 1, "/nowhere/at/all"), passed_on(held))

    assert names_of(found) == held[0].name
    close_all([*held, *found])


def test_a_socket_of_the_service_manager_may_be_that_of_operators() -> None:
    held, _ = acquire(ANY, [])
    passed = [Passed(os.dup(held[0].sock.fileno()), Role.ADMIN.value, ACTIVATED)]
    found, _ = acquire(Listening("127.0.0.1", 0, admin=("127.0.0.1", 1)), take_over(passed))

    assert [(each.role, each.name) for each in found if each.role is Role.ADMIN] == [(Role.ADMIN, held[0].name)]
    close_all([*held, *found])


def test_an_operators_port_that_nobody_asked_for_may_be_taken() -> None:
    """A second router on one machine serves; it says that it takes no admin calls."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = taken.getsockname()
        found, notices = acquire(Listening("127.0.0.1", 0, admin=where, is_admin_asked=False), [])
        assert [each.role for each in found] == [Role.PUBLIC]
        assert len(notices) == 1
        assert "another admin.port" in notices[0]
        close_all(found)

        with pytest.raises(ListenError, match=r"another admin\.port"):
            acquire(Listening("127.0.0.1", 0, admin=where), [])


def test_where_one_cannot_be_bound_none_is_left_open(folder: Path) -> None:
    (folder / "s").write_text("no socket")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ListenError, match="is not a socket"):
        acquire(Listening("127.0.0.1", 0, str(folder / "s")), [])

    assert len(os.listdir("/proc/self/fd")) == before


def configured(file: Path) -> Listening:
    loaded = load(file)
    return Listening.of(loaded.config, loaded.origins)


def test_the_configuration_says_where_to_listen(tmp_path: Path) -> None:
    file = tmp_path / "router.yaml"
    file.write_text(
        "server: {host: 127.0.0.1, port: 9, drain_timeout: 5s, drain_delay: 2s}\nbackends: [{url: http://h:1}]\n"
    )
    listening = configured(file)
    assert (listening.host, listening.port) == ("127.0.0.1", 9)
    assert (listening.drain_timeout, listening.drain_delay) == (5.0, 2.0)
    assert (listening.admin, listening.is_admin_asked) == (("127.0.0.1", 9001), False)

    file.write_text("admin: {port: 9002}\nbackends: [{url: http://h:1}]\n")
    assert configured(file).is_admin_asked
    file.write_text("admin: {enabled: false}\nbackends: [{url: http://h:1}]\n")
    assert configured(file).admin is None
