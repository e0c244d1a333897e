"""What is told at the beginning and at the end."""

import logging
import socket
from pathlib import Path

import pytest

from router.observe.notify import Notifier
from router.process.sockets import Listening, acquire, close_all
from router.process.telling import (
    GRACE,
    HANDOVER_GRACE,
    STOP_MARGIN,
    Begun,
    announce,
    cannot_open,
    farewell,
    refuse,
    tell_stopping,
)


def test_with_a_successor_nobody_is_warned_and_nobody_is_hurried() -> None:
    listening = Listening(drain_delay=7.0)

    assert farewell(listening, has_successor=False).delay == 7.0
    assert farewell(listening, has_successor=False).grace == GRACE
    assert farewell(listening, has_successor=True).delay == 0.0
    assert farewell(listening, has_successor=True).grace == HANDOVER_GRACE


def test_the_service_manager_is_asked_for_all_the_time_that_an_end_may_take(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        notifier = Notifier(str(tmp_path / "notify"))
        tell_stopping(notifier, Listening(drain_timeout=10.0, drain_delay=5.0))
        notifier.close()

        assert f"EXTEND_TIMEOUT_USEC={int((15 + STOP_MARGIN) * 1_000_000)}" in manager.recv(4096).decode()


def test_the_log_tells_where_is_listened_and_what_to_know(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    listeners, _ = acquire(Listening("127.0.0.1", 0, admin=("127.0.0.1", 0)), [])
    announce(Begun(listeners, Notifier(None), notices=("one thing",)))
    close_all(listeners)

    assert f"listens on {listeners[0].name}\n" in caplog.text, "the operators' address is not that of clients"
    assert f"admin calls are taken on {listeners[1].name}" in caplog.text
    assert "one thing" in caplog.text


def test_a_start_that_fails_says_why_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert refuse(cannot_open(FileNotFoundError(2, "No such file", "/x/log"))) == 1
    assert capsys.readouterr().err == (
        "devstral-router: cannot start, a file that the configuration names cannot be opened: /x/log: No such file\n"
    )
