import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from router.simulator.demo import DemoError, add_arguments, free_port, run, texts_of, what_to_try
from router.translate.mistral.request import translate
from router.translate.notes import Rule
from router.translate.profile import STRICTEST


@pytest.mark.alone  # a port that the demo finds free could be taken before its router listens there
def test_once_it_shows_streamed_answers_and_leaves_nothing_behind(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(argparse.Namespace(port=0, once=True)) == 0
    shown = capfd.readouterr().out

    assert len(re.findall(r"\(39 tokens; the first after \d+ ms", shown)) == 2
    assert shown.count("has served 1 of them") == 2
    for port in {int(found) for found in re.findall(r"127\.0\.0\.1:(\d+)", shown)}:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()


@pytest.mark.alone  # a port that the demo finds free could be taken before its router listens there
def test_ctrl_c_ends_it_and_its_children() -> None:
    # What a shell runs in the background ignores Ctrl-C, and so would this.
    heeding = "import argparse, signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    source = f"{heeding}; from router.simulator.demo import run; run(argparse.Namespace(port=0, once=False))"
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        text = ""
        while "Ctrl-C" not in text:
            line = process.stdout.readline().decode()
            assert line, text
            text += line
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(20) == 0
    port = int(re.search(r"router on http://127\.0\.0\.1:(\d+)", text).group(1))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port)).close()


def test_a_taken_port_is_told_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        began = time.monotonic()
        assert run(argparse.Namespace(port=port, once=True)) == 1
        assert time.monotonic() - began < 5  # before anything is started
    assert f"--port {port + 1}" in capsys.readouterr().err


def test_a_free_port_is_found() -> None:
    assert free_port(0) > 0


def test_flags_have_defaults() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)

    assert parser.parse_args([]) == argparse.Namespace(port=9000, once=False)


def test_texts_of_a_stream_end_at_done() -> None:
    lines = [b'data: {"choices": [{"delta": {"content": "a"}}]}\n', b"\n", b": comment\n", b"data: [DONE]\n", b"x"]

    assert list(texts_of(lines)) == ["a"]


@pytest.mark.parametrize("lines", [[b'data: {"choices": []}\n'], [b'data: {"error": {"message": "x"}}\n']])
def test_a_broken_stream_is_told(lines: list[bytes]) -> None:
    with pytest.raises(DemoError):
        list(texts_of(lines))


def test_what_to_try_names_the_router_and_a_backend_to_break() -> None:
    text = what_to_try(
        9000, ["http://127.0.0.1:1"], file=Path("demo/router.yaml"), admin=9001, command="bin/devstral-router"
    )

    assert "http://127.0.0.1:9000/v1" in text
    assert "http://127.0.0.1:1/simulator/faults" in text
    assert "  bin/devstral-router backends --config demo/router.yaml drain 127.0.0.1:1" in text
    assert "http://127.0.0.1:9001/status" in text
    assert "http://127.0.0.1:9000/docs" in text


def test_what_to_try_has_a_request_that_loses_something() -> None:
    text = what_to_try(
        9000, ["http://127.0.0.1:1"], file=Path("demo/router.yaml"), admin=9001, command="bin/devstral-router"
    )
    body = re.search(r"curl -i .*?-d '(.*?)'\n", text, re.DOTALL).group(1)

    done = translate(body.encode(), STRICTEST)

    assert done.notes.lost == {Rule.R1}
    assert {Rule.R2, Rule.R12} <= done.notes.repaired
    assert json.loads(body)["tools"][0]["function"]["name"] in done.asked.names.values()
