import argparse
import signal
import subprocess
import sys

import pytest

from router.simulator.cli import add_arguments, run, settings_of
from router.simulator.faults import Faults
from router.simulator.settings import Settings


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_without_flags_all_is_as_the_settings_have_it_but_for_the_port() -> None:
    assert settings_of(parsed()) == Settings(port=8000)


def test_flags_say_pace_limits_and_faults() -> None:
    words = "--port 0 --model a --model b --ttft 200ms --itl 0.02 --tokens 7 --max-num-seqs 3 --keepalive off"
    settings = settings_of(parsed(*words.split(), "--faults", '{"status": 503}', "--no-vision"))

    assert settings == Settings(
        models=("a", "b"),
        ttft=0.2,
        itl=0.02,
        tokens=7,
        max_num_seqs=3,
        keepalive=0,
        vision=False,
        faults=Faults(status=503),
    )


@pytest.mark.parametrize("words", [["--ttft", "soon"], ["--tokens", "0"], ["--faults", "{"], ["--faults", '{"x": 1}']])
def test_what_cannot_be_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(*words)

    assert words[0] in capsys.readouterr().err


def test_a_taken_port_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(parsed("--port", str(port))) == 1
    assert f"127.0.0.1:{port}" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_ends_when_told(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "router", "simulate", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        process.send_signal(number)
        assert process.wait(10) == 0
    assert line.startswith("http://127.0.0.1:")
