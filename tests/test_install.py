"""`make install` and `make uninstall`, into a staged tree."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PREFIX = "/opt/somewhere/devstral-router"
LIMIT = 240  # seconds for one make: it makes an environment and installs into it


@dataclass
class Stage:
    """A staged tree, and make in a copy of the sources."""

    sources: Path
    top: Path

    def make(self, target: str, *, prefix: str = PREFIX) -> subprocess.CompletedProcess[str]:
        # A make or pip that runs these tests must not speak into this one.
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "PIP_"))}
        settings = [f"DESTDIR={self.top}", f"PREFIX={prefix}", f"PYTHON={sys.executable}"]
        return subprocess.run(
            ["make", "--no-print-directory", target, *settings],
            cwd=self.sources,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT,
        )

    def path(self, name: str) -> Path:
        return self.top / name.lstrip("/")

    def files(self) -> set[str]:
        return {str(path.relative_to(self.top)) for path in self.top.rglob("*") if not path.is_dir()}


def copy_sources(root: Path, folder: Path) -> Path:
    """What an installation needs, so that the tests write nothing into the repository."""
    folder.mkdir()
    for name in ("router", "conf", "systemd"):
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "Makefile", "README.md"):
        if (root / name).exists():
            shutil.copy(root / name, folder)
    return folder


@pytest.fixture(scope="module")
def installed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One installation for the tests below; the last of them takes it away."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    folder = tmp_path_factory.mktemp("install")
    stage = Stage(copy_sources(root, folder / "sources"), folder / "stage")
    done = stage.make("install")
    assert done.returncode == 0, done.stdout + done.stderr
    yield stage
    shutil.rmtree(folder, ignore_errors=True)


def test_the_installed_command_runs_from_its_own_environment(installed: Stage) -> None:
    """In place the shebang names the final path, so the staged one is run by the staged interpreter."""
    command = installed.path(f"{PREFIX}/bin/devstral-router")
    interpreter = installed.path(f"{PREFIX}/bin/python")

    assert command.read_text().splitlines()[0] == f"#!{PREFIX}/bin/python"
    told = subprocess.run(
        [interpreter, "-I", command, "version"], capture_output=True, text=True, check=False, cwd="/", timeout=60
    )
    assert told.returncode == 0, told.stderr
    assert "0.1.0" in told.stdout


def test_nothing_that_is_installed_names_the_staging_folder(installed: Stage) -> None:
    paths = [*installed.path(f"{PREFIX}/bin").iterdir(), *installed.path("/etc").rglob("*")]
    files = [path for path in paths if path.is_file() and not path.is_symlink()]

    assert not [path for path in files if str(installed.top).encode() in path.read_bytes()]


def test_the_command_is_linked_and_the_unit_names_it(installed: Stage) -> None:
    unit = installed.path("/etc/systemd/system/devstral-router.service").read_text()

    assert f"ExecStart={PREFIX}/bin/devstral-router serve --config /etc/devstral-router/router.yaml\n" in unit
    assert os.readlink(installed.path("/usr/local/bin/devstral-router")) == f"{PREFIX}/bin/devstral-router"
    assert installed.path("/etc/systemd/system/devstral-router.socket").exists()


def test_the_service_user_can_read_the_config(installed: Stage) -> None:
    """DynamicUser is nobody's group: secrets belong into the environment file that only root reads."""
    config = installed.path("/etc/devstral-router/router.yaml")

    assert config.read_bytes() == (installed.sources / "conf" / "router.yaml").read_bytes()
    assert config.stat().st_mode & 0o777 == 0o644


def test_installing_leaves_the_sources_as_they_were(installed: Stage) -> None:
    names = {path.name for path in installed.sources.iterdir()}

    assert not [name for name in names if name in ("build", "dist") or name.endswith(".egg-info")]


def test_a_folder_that_is_not_ours_is_neither_filled_nor_removed(installed: Stage) -> None:
    other = installed.path("/srv/other")
    other.mkdir(parents=True, exist_ok=True)
    (other / "precious").write_text("data")

    for target in ("install", "uninstall"):
        done = installed.make(target, prefix="/srv/other")
        assert done.returncode != 0
        assert "is no" in done.stderr
    assert (other / "precious").read_text() == "data"
    shutil.rmtree(installed.path("/srv"))


def test_updating_keeps_a_changed_config_and_uninstalling_says_so(installed: Stage) -> None:
    config = installed.path("/etc/devstral-router/router.yaml")
    config.write_text("backends:\n  - url: http://10.0.0.11:8000\n")
    (installed.sources / "router" / "newer.py").write_text('"""Comes with the update."""\n')

    again = installed.make("install")
    assert again.returncode == 0, again.stderr
    assert "kept" in again.stdout
    assert any(name.endswith("site-packages/router/newer.py") for name in installed.files())
    gone = installed.make("uninstall")
    assert gone.returncode == 0, gone.stderr
    assert f"kept {config}: it was changed" in gone.stdout
    assert installed.files() == {"etc/devstral-router/router.yaml"}
    assert config.read_text().startswith("backends:")

    assert installed.make("uninstall").returncode != 0, "there is nothing to take away any more"
