"""The systemd units, judged by systemd's own tools, and where they agree with the code."""

import configparser
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from router.config import ServerConfig
from router.process.sockets import Listening
from router.process.telling import STOP_MARGIN
from router.wire.limits import BACKLOG

UNIT = "devstral-router.service"
SOCKET = "devstral-router.socket"
MOST_EXPOSED = 30  # of 100, as systemd-analyze counts


def settings(path: Path) -> dict[str, str]:
    """Everything but repeated keys, of which the last counts here."""
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(path)
    return {key: value for section in parser.sections() for key, value in parser[section].items()}


@pytest.fixture
def built(root: Path, tmp_path: Path) -> list[str]:
    """The units, with the command of the environment that these tests run in."""
    command = Path(sys.prefix) / "bin" / "devstral-router"
    in_place = str(command) if command.exists() else f"{sys.executable} -m router"
    unit = (root / "systemd" / UNIT).read_text()
    assert unit.count("/opt/devstral-router/bin/devstral-router") == 1
    (tmp_path / UNIT).write_text(unit.replace("/opt/devstral-router/bin/devstral-router", in_place))
    (tmp_path / SOCKET).write_text((root / "systemd" / SOCKET).read_text())
    return [str(tmp_path / UNIT), str(tmp_path / SOCKET)]


@pytest.mark.row(85)
def test_systemd_accepts_the_units_without_a_word(tool: Callable[[str], str], built: list[str]) -> None:
    command = [tool("systemd-analyze"), "verify", "--man=no", *built]
    verified = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    about_us = [line for line in (verified.stdout + verified.stderr).splitlines() if "devstral-router" in line]
    assert (verified.returncode, about_us) == (0, [])


@pytest.mark.row(85)
def test_the_sandbox_is_tight(tool: Callable[[str], str], built: list[str]) -> None:
    command = [tool("systemd-analyze"), "security", "--offline=yes", f"--threshold={MOST_EXPOSED}", built[0]]
    judged = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert judged.returncode == 0, judged.stdout[-500:] + judged.stderr


@pytest.mark.row(85)
def test_the_unit_uses_what_the_process_offers(root: Path) -> None:
    unit = settings(root / "systemd" / UNIT)

    assert unit["Type"] == "notify"
    assert unit["DynamicUser"] == "yes"
    assert unit["Restart"] == "always"
    assert unit["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert unit["NotifyAccess"] == "main", "the old main process names the new one"
    assert unit["KillMode"] == "mixed", "the parent of workers tells them to end"
    assert unit["OOMPolicy"] == "continue", "one worker's end is not that of all"
    assert int(unit["WatchdogSec"]) > 0
    assert int(unit["LimitNOFILE"]) >= 65536
    # Until the extension that we ask for arrives, the manager's own limit must not be over.
    assert int(unit["TimeoutStopSec"]) >= STOP_MARGIN


def test_the_socket_unit_listens_where_the_configuration_does_by_default(root: Path) -> None:
    server, unit = ServerConfig(), settings(root / "systemd" / SOCKET)

    assert unit["ListenStream"] == f"{server.host}:{server.port}"
    assert int(unit["Backlog"]) == server.backlog == Listening().backlog == BACKLOG


def test_the_sandbox_lets_processes_be_started_and_talk(tool: Callable[[str], str], root: Path) -> None:
    """What workers and successors need: a socket family, shared memory, and the calls that start a process."""

    def calls_of(name: str) -> set[str]:
        listed = subprocess.run(
            [tool("systemd-analyze"), "syscall-filter", "--no-pager", name],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        words = [line.strip() for line in listed.splitlines()[1:] if line.strip() and "#" not in line]
        return set().union(*(calls_of(word) if word.startswith("@") else {word} for word in words))

    lines = (root / "systemd" / UNIT).read_text().splitlines()
    filters = [line.partition("=")[2] for line in lines if line.startswith("SystemCallFilter=")]
    assert filters == ["@system-service", "~@privileged @resources"]
    allowed = calls_of("@system-service") - calls_of("@privileged") - calls_of("@resources")
    started = {"vfork", "execve", "setpgid", "wait4", "pidfd_open", "kill", "pipe2"}

    assert started | {"socketpair", "memfd_create", "ftruncate", "mmap", "flock"} <= allowed
    assert "AF_UNIX" in settings(root / "systemd" / UNIT)["RestrictAddressFamilies"]
