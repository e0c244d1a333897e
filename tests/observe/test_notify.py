"""sd_notify over real datagram sockets."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.observe.notify import READY, STOPPING, WATCHDOG, Notifier, extend_timeout, status


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A service manager's socket, and its address as the environment names it."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    if request.param == "path":
        address = str(tmp_path / "notify")
        sock.bind(address)
    else:
        address = f"@router-test-{os.getpid()}-{id(sock)}"
        sock.bind("\0" + address[1:])
    sock.settimeout(5)
    yield sock, address
    sock.close()


def test_each_message_arrives_as_one_datagram(manager: tuple[socket.socket, str]) -> None:
    sock, address = manager
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address})

    assert notifier.send(READY, status("listens\non 9000"))
    assert notifier.send(WATCHDOG)
    assert notifier.send(STOPPING, extend_timeout(1.5))

    assert sock.recv(4096) == b"READY=1\nSTATUS=listens on 9000"
    assert sock.recv(4096) == b"WATCHDOG=1"
    assert sock.recv(4096) == b"STOPPING=1\nEXTEND_TIMEOUT_USEC=1500000"
    notifier.close()


@pytest.mark.parametrize("address", ["", "/", "@", "relative/path", "vsock:2:1234"])
def test_without_a_usable_address_nothing_is_sent(address: str) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"})

    assert notifier.send(READY) is False
    assert notifier.watchdog is None


def test_a_manager_that_is_gone_does_no_harm(tmp_path: Path) -> None:
    notifier = Notifier(str(tmp_path / "nobody"))

    assert notifier.send(READY) is False
    notifier.close()
    assert notifier.send(READY) is False


def test_a_manager_that_does_not_read_blocks_nobody(tmp_path: Path) -> None:
    """Its socket's queue is short: a blocking send would stop the loop for ever."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address)
        notifier = Notifier(address)
        sent = [notifier.send(WATCHDOG) for _ in range(10_000)]
        notifier.close()

    assert sent[0] is True
    assert sent[-1] is False


@pytest.mark.parametrize(
    ("usec", "pid", "expected"),
    [
        ("20000000", None, 20.0),
        pytest.param("20000000", str(os.getpid()), 20.0, id="own"),
        ("20000000", "1", None),  # meant for another process
        ("0", None, None),
        ("soon", None, None),
        ("-5", None, None),
        ("", None, None),
    ],
)
def test_the_watchdog_interval_is_the_managers_own(usec: str, pid: str | None, expected: float | None) -> None:
    environ = {"NOTIFY_SOCKET": "@router-test", "WATCHDOG_USEC": usec, **({"WATCHDOG_PID": pid} if pid else {})}
    notifier = Notifier.from_environment(environ)

    assert notifier.watchdog == expected
    notifier.close()
