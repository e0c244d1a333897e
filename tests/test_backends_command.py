"""Rules of router/backends_command.py, before a real router process."""

import contextlib
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.processes import free_port
from router import backends_command
from router.cli import DONE, UNUSABLE, USAGE, main

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = 30.0  # seconds, generous, for anything that a process should do at once
TOKEN = "t0ken-of-operators"
Capture = pytest.CaptureFixture[str]


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class Router:
    """A router process, its file and its ports."""

    def __init__(self, folder: Path, port: int, admin_port: int) -> None:
        self.port, self.admin_port = port, admin_port
        self.path = folder / "router.yaml"

    def write(self, *backends: str, more: str = "") -> None:
        entries = "".join(f"  - url: {url}\n" for url in backends)
        self.path.write_text(
            f"server: {{host: 127.0.0.1, port: {self.port}, watch_config: false}}\n"
            f"admin: {{port: {self.admin_port}, token: {TOKEN}}}\n"
            f"backends:\n{entries}{more}"
        )

    def run(self, *words: str) -> int:
        """Run a command that finds the listener by the file."""
        return main([*words, "--config", str(self.path)])


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    """One router for all tests, before two ports where nobody listens."""
    folder = tmp_path_factory.mktemp("router")
    it = Router(folder, free_port(), free_port())
    it.write("http://127.0.0.1:1", "http://127.0.0.1:2")
    environ = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LD_LIBRARY_PATH")}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "router", "--config", str(it.path)],
            cwd=folder,
            env={**environ, "PYTHONPATH": str(ROOT)},
            stderr=log,
        )
    try:
        end = time.monotonic() + TIMEOUT
        while not listens(it.admin_port):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        yield it
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(autouse=True)
def _as_it_began(router: Router, capsys: Capture) -> Iterator[None]:
    """What a test has changed is put back; a second reload waits for a second, so only then."""
    before = router.path.read_text()
    yield
    capsys.readouterr()
    changed = router.path.read_text() != before
    router.path.write_text(before)
    assert router.run("backends", "--json") == DONE
    names = [backend["name"] for backend in json.loads(capsys.readouterr().out)["data"]]
    if changed or names != ["127.0.0.1:1", "127.0.0.1:2"]:
        assert router.run("reload") == DONE


def test_backends_are_a_table_without_colour_where_nobody_looks(router: Router, capsys: Capture) -> None:
    end = time.monotonic() + TIMEOUT
    while True:
        assert router.run("backends") == DONE
        lines = capsys.readouterr().out.splitlines()
        if all("down" in line for line in lines[1:]):
            break
        assert time.monotonic() < end, lines
        time.sleep(0.1)

    assert lines[0].split() == ["NAME", "STATE", "IN", "FLIGHT", "VLLM", "WEIGHT", "MODELS", "DIALECT", "URL"]
    assert [line.split()[0] for line in lines[1:]] == ["127.0.0.1:1", "127.0.0.1:2"]
    assert "\x1b" not in "".join(lines)


def test_a_backend_is_added_drained_undrained_and_removed(router: Router, capsys: Capture) -> None:
    words = ["--name", "gpu/3", "--weight", "4", "--max-connections", "9", "--zone", "b-1"]
    assert router.run("backends", "add", "http://127.0.0.1:3/v1", *words) == DONE
    assert router.run("backends", "drain", "gpu/3") == DONE
    assert router.run("backends", "list") == DONE
    out = capsys.readouterr().out
    assert "Backend gpu/3 was added; it stays until the configuration is read again." in out
    assert "Backend gpu/3 gets no new requests." in out
    (line,) = (line for line in out.splitlines() if line.startswith("gpu/3 "))
    assert line.split()[1:5] == ["drained", "0/9", "-", "4"]
    assert router.run("backends", "--json") == DONE
    assert [one["zone"] for one in json.loads(capsys.readouterr().out)["data"] if one["name"] == "gpu/3"] == ["b-1"]

    assert main(["backends", "undrain", "--config", str(router.path), "gpu/3"]) == DONE, "a flag before the name"
    assert main(["backends", "drain", "--config", str(router.path), "gpu/3", "127.0.0.1:2"]) == USAGE
    assert "not understood by backends: 127.0.0.1:2" in capsys.readouterr().err
    assert router.run("backends", "remove", "gpu/3", "--json") == DONE
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["in_flight"] == 0
    assert router.run("backends", "remove", "gpu/3") == UNUSABLE
    assert "There is no backend 'gpu/3'; there are: 127.0.0.1:1, 127.0.0.1:2." in capsys.readouterr().err


def test_the_last_backend_is_removed_by_force_only(router: Router, capsys: Capture) -> None:
    assert router.run("backends", "remove", "127.0.0.1:1") == DONE
    assert router.run("backends", "remove", "127.0.0.1:2") == UNUSABLE
    assert "must be forced" in capsys.readouterr().err
    assert router.run("backends", "remove", "127.0.0.1:2", "--force") == DONE
    assert router.run("backends") == DONE
    assert "There are no backends." in capsys.readouterr().out


def test_a_refused_entry_is_told_with_every_fault(router: Router, capsys: Capture) -> None:
    assert router.run("backends", "add", "127.0.0.1:3", "--weight", "many") == UNUSABLE

    err = capsys.readouterr().err.splitlines()
    assert err[0] == "devstral-router: The backend was not added."
    assert err[1].startswith("  - url: must start with http://")
    assert err[2].startswith("  - weight: must be a whole number from 1 to 100")


def test_the_level_of_a_running_router_is_changed_until_its_next_reload(router: Router, capsys: Capture) -> None:
    assert router.run("log-level", "debug") == DONE
    assert capsys.readouterr().out.splitlines() == [
        "The log is kept so until the configuration is read again.",
        "  - logging.level: info -> debug",
    ]
    assert router.run("log-level", "loud") == UNUSABLE
    assert "level: must be debug" in capsys.readouterr().err
    assert router.run("reload") == DONE
    assert "logging.level: debug -> info" in capsys.readouterr().out


def test_a_reload_tells_what_is_different(router: Router, capsys: Capture) -> None:
    router.write("http://127.0.0.1:2", "http://127.0.0.1:4", more="retry: {max_attempts: 5}\n")

    assert router.run("reload") == DONE

    assert capsys.readouterr().out.splitlines() == [
        "The configuration was reloaded.",
        "  - backend 127.0.0.1:1 removed",
        "  - backend 127.0.0.1:4 added",
        "  - retry.max_attempts: 3 -> 5",
    ]


def test_a_bad_file_is_told_with_every_fault_and_changes_nothing(router: Router, capsys: Capture) -> None:
    router.write("http://127.0.0.1:1", more="retry: {budget: much, max_atempts: 1}\n")
    listener = ["--admin", f"http://127.0.0.1:{router.admin_port}", "--token", TOKEN]

    assert main(["reload", *listener]) == UNUSABLE

    err = capsys.readouterr().err
    assert "The new configuration has 2 faults; nothing was changed." in err
    assert "  - retry.max_atempts (line 5): unknown key; did you mean max_attempts?" in err
    assert main(["backends", *listener, "--json"]) == DONE
    assert len(json.loads(capsys.readouterr().out)["data"]) == 2


def test_a_fault_that_comes_with_an_example_has_it_on_lines_of_its_own(router: Router, capsys: Capture) -> None:
    router.path.write_text("backends: []\n")

    assert main(["reload", "--admin", f"127.0.0.1:{router.admin_port}", "--token", TOKEN]) == UNUSABLE

    lines = capsys.readouterr().err.splitlines()
    assert "      - url: http://127.0.0.1:8000" in lines


def test_a_token_that_no_header_can_hold_is_told_as_such(router: Router, capsys: Capture) -> None:
    assert main(["backends", "--admin", f"127.0.0.1:{router.admin_port}", "--token", "\u0436"]) == UNUSABLE
    assert "use ASCII characters" in capsys.readouterr().err


def test_who_has_no_token_is_told_what_to_do(router: Router, capsys: Capture) -> None:
    assert main(["backends", "--admin", f"127.0.0.1:{router.admin_port}", "--token", "wrong"]) == UNUSABLE
    assert "--token, or name the file that has it" in capsys.readouterr().err


def test_the_clients_port_is_told_from_the_operators(router: Router, capsys: Capture) -> None:
    assert main(["backends", "--admin", f"127.0.0.1:{router.port}", "--token", TOKEN]) == UNUSABLE
    assert "is not the admin listener" in capsys.readouterr().err


def test_nobody_there_is_told_with_what_to_do(capsys: Capture) -> None:
    assert main(["backends", "--admin", f"http://127.0.0.1:{free_port()}", "--token", "x"]) == UNUSABLE
    assert "is the router running, and admin.enabled not off?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("admin: {enabled: false}\n", "admin.enabled is off in"),
        ("admin: {port: 0}\n", "give it as --admin"),
    ],
)
def test_a_configuration_without_a_listener_is_told_as_such(
    text: str, told: str, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "router.yaml"
    path.write_text(f"{text}backends:\n  - url: http://127.0.0.1:1\n")

    assert main(["backends", "--config", str(path)]) == UNUSABLE

    assert told in capsys.readouterr().err


@pytest.mark.parametrize("words", [["backends"], ["backends", "drain", "x"], ["reload"]])
@pytest.mark.parametrize("text", [None, "admin: {port: x}\n", "admin: {port: ${UNSET}\n", "a: b: c\n"])
def test_a_file_that_does_not_tell_the_listener_is_an_error_and_nobody_is_asked(
    words: list[str], text: str | None, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another router than the one meant may listen at the usual address."""
    monkeypatch.setattr(backends_command, "ask", lambda *_: pytest.fail("somebody was asked"))
    path = tmp_path / "router.yaml"
    if text is not None:
        path.write_text(text)

    assert main([*words, "--config", str(path)]) == UNUSABLE

    err = capsys.readouterr().err
    assert f"{path} does not tell where the router takes admin calls" in err
    assert "Say where: --admin http://127.0.0.1:9001" in err


def test_a_file_found_where_it_usually_is_binds_as_one_that_was_named(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends_command, "ask", lambda *_: pytest.fail("somebody was asked"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "router.yaml").write_text("admin: {port: x}\n")

    assert main(["reload"]) == UNUSABLE
    assert "router.yaml does not tell" in capsys.readouterr().err


@pytest.mark.parametrize(
    "broken", ["retry: {budget: much}\n", "backends: none\n", "a: b: c\n", "x: [\n", "k: ${UNSET}\n"]
)
def test_a_file_with_faults_elsewhere_still_tells_the_listener(router: Router, capsys: Capture, broken: str) -> None:
    text = f"admin:\n  port: {router.admin_port}\n  token: {TOKEN}\n"
    router.path.write_text(f"{text}{broken}")

    assert router.run("backends", "--json") == DONE
    assert len(json.loads(capsys.readouterr().out)["data"]) == 2
    assert router.run("reload") == UNUSABLE
    assert "nothing was changed" in capsys.readouterr().err


def on_a_terminal(router: Router, *words: str, columns: int, environ: dict[str, str], stop: bool = False) -> str:
    """Run a command on a terminal of so many columns; return what it wrote. `stop`: after its second page."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LD_LIBRARY_PATH")}
    process = subprocess.Popen(
        [sys.executable, "-m", "router", "backends", "--config", str(router.path), *words],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        env={**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm", **environ},
    )
    os.close(theirs)
    text = b""
    with contextlib.suppress(OSError):  # EIO: its end
        while piece := os.read(ours, 65536):
            text += piece
            if stop and text.count(b"127.0.0.1:2 ") >= 2:
                process.send_signal(signal.SIGINT)
                stop = False
    os.close(ours)
    assert process.wait(TIMEOUT) == DONE
    return text.decode()


def test_on_a_terminal_the_table_is_coloured_and_fits_unless_no_color_is_set(router: Router) -> None:
    assert "\x1b[" in on_a_terminal(router, columns=200, environ={})
    plain = on_a_terminal(router, columns=40, environ={"NO_COLOR": "1"})
    assert "\x1b[" not in plain
    assert all(len(line) <= 40 for line in plain.splitlines())


def test_watching_goes_on_until_ctrl_c(router: Router) -> None:
    text = on_a_terminal(router, "--watch", columns=100, environ={}, stop=True)

    assert text.count("127.0.0.1:1 ") >= 2


@pytest.mark.parametrize("words", [["add"], ["drain"], ["list", "x"], ["explode", "x"], ["--nonsense"]])
def test_a_wrong_command_line_is_told_as_such(words: list[str], capsys: Capture) -> None:
    assert main(["backends", *words]) == USAGE


@pytest.mark.parametrize("url", ["ftp://a:1", "http://", "http://a:99999", "http://a:1/path", "a b:1"])
def test_a_bad_url_of_the_listener_is_told_as_such(url: str, capsys: Capture) -> None:
    assert main(["backends", "--admin", url, "--token", "x"]) == UNUSABLE
    assert "--admin must be a URL" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--key", "k.pem"), "--key needs --cert beside it"),
        (("--cacert", "/nowhere.pem"), "cannot use /nowhere.pem: No such file or directory"),
        (("--cert", __file__), f"cannot use {__file__}: [SSL"),
    ],
)
def test_files_for_https_that_cannot_be_used_are_told_before_anybody_is_asked(
    flags: tuple[str, ...], said: str, capsys: Capture
) -> None:
    assert main(["backends", "--admin", "https://127.0.0.1:1", "--token", TOKEN, *flags]) == UNUSABLE
    assert said in capsys.readouterr().err
