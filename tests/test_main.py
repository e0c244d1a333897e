"""`python -m router`."""

import os
import subprocess
import sys
from pathlib import Path

from router import __version__

ROOT = Path(__file__).resolve().parents[1]


def test_the_package_runs_as_the_command(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "router", "version"]

    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=30)

    assert (done.returncode, done.stdout) == (0, f"devstral-router {__version__}\n")
