"""The command line."""

import http.client
import os
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from bench.processes import free_port
from router import __version__, cli, compat
from router.cli import DONE, UNUSABLE, USAGE, main, own_names
from router.compat import Source as Foreign
from router.reload import Source
from tests.authority import Authority

ROOT = Path(__file__).resolve().parents[1]
VALID = "backends:\n  - url: http://10.0.0.11:8000\n  - url: http://10.0.0.12:8000\n"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory, and no variable that means something to us."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "find_config", lambda: "router.yaml" if os.path.exists("router.yaml") else None)
    for row in compat.rows(Foreign.ENV):
        monkeypatch.delenv(row.name, raising=False)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The configurations that `serve` was given; nothing listens."""
    given: list[object] = []
    server = types.ModuleType("router.server")
    server.serve = lambda loaded, source: given.append(loaded) or 0  # type: ignore[attr-defined, func-returns-value]
    monkeypatch.setitem(sys.modules, "router.server", server)
    return given


Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("words", [["check", "f.yaml"], ["--validate-config", "f.yaml"]])
def test_a_valid_file_is_told_in_few_lines(words: list[str], tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "f.yaml").write_text(VALID)

    assert main(words) == DONE

    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "✓ Configuration is valid: f.yaml",
        "  - Server: 0.0.0.0:9000",
        "  - Backend: 10.0.0.11:8000 (auto) @ http://10.0.0.11:8000/v1",
        "  - Backend: 10.0.0.12:8000 (auto) @ http://10.0.0.12:8000/v1",
    ]
    assert err == ""


def test_a_certificate_is_checked_with_the_rest_and_its_origin_shown(
    tmp_path: Path, capsys: Capture, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = authority.issue()
    (tmp_path / "f.yaml").write_text(f"{VALID}server:\n  tls:\n    cert_file: ${{OURS}}\n    key_file: {issued.key}\n")
    monkeypatch.setenv("OURS", str(issued.cert))
    assert main(["check", "f.yaml"]) == DONE
    assert "  - Server: 0.0.0.0:9000 (TLS)\n" in capsys.readouterr().out
    assert main(["--config", "f.yaml", "--print-config"]) == DONE
    out = capsys.readouterr().out
    assert f"server.tls.cert_file = {issued.cert}  (f.yaml:6, env OURS)\n" in out
    assert "server.tls.client_auth = off  (default)\n" in out

    words = ["--config", "f.yaml", "--ssl-certfile", str(issued.key), "--ssl-keyfile", "/nowhere.pem"]
    assert main(words) == UNUSABLE
    assert capsys.readouterr().err.splitlines()[1:] == [
        "  - server.tls.key_file: there is no such file: /nowhere.pem (--ssl-keyfile)"
    ]
    assert main([*words[:3], str(issued.key)]) == UNUSABLE
    assert "server.tls.cert_file: holds no certificate" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [["check", "f.yaml"], ["--validate-config", "f.yaml"], ["--config", "f.yaml"], ["serve", "--config", "f.yaml"]],
)
def test_everything_wrong_with_a_file_is_told_on_stderr(words: list[str], tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "f.yaml").write_text("server:\n  prot: 1\n  port: x\n")

    assert main(words) == UNUSABLE

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(
        "✗ Configuration is invalid: f.yaml\n  - server.prot (line 2): unknown key; did you mean port?\n"
    )
    assert len([line for line in err.splitlines() if line.startswith("  - ")]) >= 3


def test_a_missing_file_is_named(capsys: Capture) -> None:
    assert main(["check", "missing.yaml"]) == UNUSABLE
    assert "missing.yaml cannot be read: No such file" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["--generate-config", "init"])
def test_a_written_file_is_valid_and_never_overwritten_unless_forced(
    name: str, tmp_path: Path, capsys: Capture
) -> None:
    assert main([name, "new.yaml"]) == DONE
    out = capsys.readouterr().out
    assert out == "Example configuration written to: new.yaml\n" if name != "init" else "new.yaml is written" in out
    assert main(["check", "new.yaml"]) == DONE

    (tmp_path / "new.yaml").write_text(VALID)
    assert main([name, "new.yaml"]) == UNUSABLE
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "new.yaml").read_text() == VALID
    assert main([name, "new.yaml", "--force"]) == DONE
    assert (tmp_path / "new.yaml").read_text() != VALID


def test_init_writes_router_yaml_which_is_then_found(tmp_path: Path, served: list[object], capsys: Capture) -> None:
    assert main(["init"]) == DONE
    assert main([]) == DONE

    assert served[0].path == "router.yaml"  # type: ignore[attr-defined]


def test_a_file_that_cannot_be_written_is_named(capsys: Capture) -> None:
    for path in ("nowhere/x.yaml", ".", "a\0b"):
        assert main(["init", path, "--force"]) == UNUSABLE
        assert "cannot be written" in capsys.readouterr().err


def test_flags_are_laid_over_everything(served: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_BASE", "http://z")
    flags = "--base-url http://a --base-url http://b --type openai --api-key k --host ::1 --port 1 --log-level DEBUG"

    assert main(flags.split()) == main(["serve", *flags.split()]) == DONE

    for loaded in served:
        config = loaded.config  # type: ignore[attr-defined]
        assert [(one.url, one.dialect, one.api_key.get_secret_value()) for one in config.backends] == [
            ("http://a", "openai", "k"),
            ("http://b", "openai", "k"),
        ]
        assert (config.server.host, config.server.port, config.logging.level) == ("::1", 1, "debug")


def test_flags_work_before_and_after_serve(served: list[object]) -> None:
    assert main(["--base-url", "http://a", "serve", "--port", "7"]) == DONE

    config = served[0].config  # type: ignore[attr-defined]
    assert (config.backends[0].url, config.server.port) == ("http://a", 7)


def test_the_environment_alone_is_enough_to_serve(served: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_BASE", "http://127.0.0.1:8000")

    assert main([]) == DONE
    assert served


def test_the_configuration_is_read_again_as_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same file, flags and environment; and the files that are looked at for changes are named."""
    given: list[Source] = []
    server = types.ModuleType("router.server")
    server.serve = lambda loaded, source: given.append(source) or 0  # type: ignore[attr-defined, func-returns-value]
    monkeypatch.setitem(sys.modules, "router.server", server)
    (tmp_path / "r.yaml").write_text(VALID)
    assert main(["--config", "r.yaml", "--port", "9100"]) == DONE
    assert main(["--base-url", "http://a:1", "--env-file", "r.yaml"]) == DONE

    (tmp_path / "r.yaml").write_text(VALID + "server:\n  port: 9300\n  max_headers: 7\n")
    again = given[0].load()

    assert (again.config.server.port, again.config.server.max_headers) == (9100, 7)
    assert given[0].files == (str(tmp_path / "r.yaml"), str(tmp_path / ".env"))
    assert given[1].files == (str(tmp_path / "r.yaml"),)


def test_without_any_backend_the_smallest_configuration_is_shown(served: list[object], capsys: Capture) -> None:
    assert main([]) == UNUSABLE

    err = capsys.readouterr().err
    assert "- url: http://127.0.0.1:8000" in err
    assert "--base-url" in err
    assert not served


def test_every_value_is_printed_with_its_origin(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_PORT", "9001")

    assert main(["--base-url", "http://a", "--api-key", "canary", "--print-config"]) == DONE

    out = capsys.readouterr().out
    assert "server.port = 9001  (env PROXY_PORT)\n" in out
    assert "backends.0.url = http://a  (--base-url)\n" in out
    assert "backends.0.api_key = ********  (--api-key)\n" in out
    assert "canary" not in out


def test_a_named_env_file_is_read(tmp_path: Path, served: list[object]) -> None:
    (tmp_path / "my.env").write_text("VLLM_BASE=http://a\n")

    assert main(["--env-file", "my.env"]) == main(["serve", "--env-file", "my.env"]) == DONE
    assert len(served) == 2


def test_notices_go_to_stderr(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_THREADS", "4")

    assert main(["--base-url", "http://a", "--print-config"]) == DONE
    assert (
        capsys.readouterr().err
        == "note: WORKER_THREADS: no threads serve requests: it has no effect; server.workers sets processes\n"
    )


@pytest.mark.parametrize(
    "words", [["frobnicate"], ["--prot", "1"], ["check"], ["--config"], ["init", "a", "b"], ["--por", "1"]]
)
def test_a_wrong_command_line_is_told_with_code_2(words: list[str], capsys: Capture) -> None:
    assert main(words) == USAGE
    assert "usage: devstral-router" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["version"], ["--version"]])
def test_the_version_is_told(words: list[str], capsys: Capture) -> None:
    assert main(words) == DONE
    assert capsys.readouterr().out == f"devstral-router {__version__}\n"


def test_help_names_every_command_and_promised_flag(capsys: Capture) -> None:
    assert main(["--help"]) == DONE

    out = capsys.readouterr().out
    words = "serve check init demo simulate translate version --config --base-url --type --api-key --host --port"
    for word in f"{words} --log-level --validate-config --generate-config --print-config --env-file".split():
        assert word in out


def test_our_own_names_are_found_without_asking_anybody() -> None:
    assert own_names()
    assert "" not in own_names()


def run(*words: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
    clean = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ}
    command = [sys.executable, "-m", "router", *words]
    return subprocess.run(command, env=clean, capture_output=True, timeout=30, check=False)


def test_a_terminal_without_our_signs_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text(VALID)

    done = run("check", "f.yaml", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"Configuration is valid: f.yaml" in done.stdout
    assert b"Configuration is invalid" in run("check", "none.yaml", PYTHONIOENCODING="ascii").stderr


def test_no_failure_shows_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(bytes(range(256)))
    (tmp_path / "deep.yaml").write_text("{" * 50_000)

    for words in (["check", "bytes.yaml"], ["check", "deep.yaml"], ["check", "/"], ["--config", "/dev/null"], []):
        done = run(*words)
        assert done.returncode == UNUSABLE
        assert b"Traceback" not in done.stderr
        assert b"Configuration is invalid" in done.stderr


def test_a_reader_that_leaves_early_is_no_failure_of_ours(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text(VALID)
    command = f"{sys.executable} -m router --config f.yaml --print-config | head -n 1"

    done = subprocess.run(
        ["sh", "-c", command], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, timeout=30
    )

    assert done.stdout == b"server.host = 0.0.0.0  (default)\n"
    assert done.stderr == b""


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_it_serves_without_standard_streams_and_no_connection_becomes_one(
    closed: str, workers: int, tmp_path: Path
) -> None:
    port = free_port()
    own = f"server: {{host: 127.0.0.1, port: {port}, workers: {workers}}}\nadmin: {{enabled: false}}\n"
    (tmp_path / "f.yaml").write_text(own + VALID)
    command = f'exec "{sys.executable}" -m router serve --config f.yaml {closed}'
    router = subprocess.Popen(["sh", "-c", command], env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        assert asked(port, "/v1/nothing") == 404  # which is logged
        served_by = Path(f"/proc/{router.pid}/task/{router.pid}/children").read_text().split()
        for pid in (str(router.pid), *served_by):
            assert os.readlink(f"/proc/{pid}/fd/2") == os.devnull
        assert len(served_by) == (workers if workers > 1 else 0)
    finally:
        router.terminate()
    assert router.wait(30) == DONE


def asked(port: int, path: str) -> int:
    """Return the status of an answer, once somebody listens."""
    end = time.monotonic() + 30
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", path)
            return connection.getresponse().status
        except ConnectionError:
            assert time.monotonic() < end
            time.sleep(0.05)
        finally:
            connection.close()
