"""The Makefile and the script of continuous integration, with stand-ins for the tools that they call."""

import os
import subprocess
from pathlib import Path

import pytest

TARGETS = (
    *("demo", "observe", "test", "test-vllm", "chaos", "fuzz", "nightly", "bench", "lint", "install", "uninstall"),
    "clean",
)


def stand_in(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def run_ci(root: Path, tools: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(root / ".ci" / "run")],
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", **environ},
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """Commands that only say that they were called; nothing is built or installed."""
    stand_in(tmp_path, "make", 'echo "make $* ROUTER_CI=$ROUTER_CI in $PWD"; [ "$1" != "$FAILING" ]')
    stand_in(tmp_path, "apt-get", 'echo "apt-get $*"')
    return tmp_path


def test_ci_runs_every_test_from_the_top_with_no_skipping_allowed(root: Path, tools: Path) -> None:
    done = run_ci(root, tools)

    made = [line for line in done.stdout.splitlines() if line.startswith("make ")]
    steps = (".venv/.for-testing", "test", "test-vllm")
    assert made == [f"make {target} ROUTER_CI=1 in {root}" for target in steps]
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("target", ["test", "test-vllm"])
def test_ci_fails_loudly_with_whatever_fails(root: Path, tools: Path, target: str) -> None:
    done = run_ci(root, tools, FAILING=target)

    assert done.returncode != 0
    assert "ci: FAILED" in done.stderr
    assert "ci: passed" not in done.stdout
    assert done.stdout.splitlines()[-1].startswith(f"make {target} ")


@pytest.mark.parametrize("target", TARGETS)
def test_every_promised_target_exists(root: Path, target: str) -> None:
    dry = subprocess.run(
        ["make", "--dry-run", target], cwd=root, capture_output=True, text=True, check=False, timeout=30
    )

    assert dry.returncode == 0, dry.stderr


def test_the_environment_is_built_once(root: Path, tmp_path: Path) -> None:
    """And again only when what it is built from changes."""
    for name in ("Makefile", "setup.py", "pyproject.toml"):
        (tmp_path / name).write_text((root / name).read_text())
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    for name in ("python", "ruff", "mypy"):
        stand_in(folder, name, f'echo "{name} $*"')

    def installs() -> int:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        done = subprocess.run(
            ["make", "lint"], cwd=tmp_path, env=environ, capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout.count("python -m pip ")

    assert installs() == 1
    assert installs() == 0
    (tmp_path / ".venv" / ".for-testing").unlink()
    assert installs() == 1
