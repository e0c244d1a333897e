"""Simulated backends for the whole package, and routers that do not outlive their test."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.front import merged
from tests.process.running import Router, until

ROOT = Path(__file__).resolve().parents[2]
SAY_OTHERWISE = {"backends", "health", "logging"}  # what a test sets so that no backend may come up, or be told of


@pytest.fixture(scope="session")
def backends() -> Iterator[list[str]]:
    """Addresses of two simulated backends, as processes: a token every 20 ms."""
    command = [sys.executable, "-m", "router", "simulate", "--port", "0", "--itl", "20ms", "--tokens", "4000"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(2)]
    try:
        found: list[str] = []
        for process in processes:
            assert process.stdout is not None
            seen = ""
            while (match := re.search(r"http://127\.0\.0\.1:\d+", seen)) is None:
                line = process.stdout.readline()
                assert line, f"a simulated backend ended: {seen}"
                seen += line
            found.append(match.group())
        yield found
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.fixture
def start(tmp_path: Path, backends: list[str]) -> Iterator[Callable[..., Router]]:
    """Start a router with so many workers before both backends; `config` goes over the usual one."""
    routers: list[Router] = []

    def start(workers: int, config: dict[str, Any] | None = None, **environ: str) -> Router:
        tree = {
            "server": {"workers": workers},
            "backends": [{"url": url, "dialect": "openai"} for url in backends],
        }
        router = Router(tmp_path, merged(tree, config or {}), environ)
        routers.append(router)
        if workers == 1 and not SAY_OTHERWISE & (config or {}).keys():
            # It listens at once, and knows nobody who could answer until the first probe has come back.
            until(lambda: router.said("health unknown -> up"), "a backend that is up")
        return router

    yield start
    for router in routers:
        router.close()
