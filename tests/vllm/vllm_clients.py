"""Client SDKs as programs of their own (clients/), which hold conversations that tests ask for, line by line."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = Path(__file__).parent / "clients"
NAMES = ("openai", "langchain", "litellm", "ai-compatible", "ai-openai")


def command(name: str, installed: Path) -> list[str]:
    """Return how a client is started. `installed`: the folder that run.sh has installed the SDKs into.

    openai-python is the one that the tests themselves use: newer than what the others insist on.
    """
    if name == "openai":
        return [sys.executable, str(PROGRAMS / "openai_sdk.py")]
    if name.startswith("ai-"):
        return ["node", str(installed / "ai_sdk.mjs"), name.removeprefix("ai-")]
    return [str(installed / "venv" / "bin" / "python"), str(PROGRAMS / f"{name}_sdk.py")]


class Clients:
    """The programs that were started so far."""

    def __init__(self, installed: Path, *, log: Path) -> None:
        """Nothing is started yet. `log`: gets what the programs write besides their answers."""
        self._installed = installed
        self._log = log
        self._started: dict[str, subprocess.Popen[str]] = {}

    def has(self, name: str) -> bool:
        """Whether that client is installed: those for node may not be."""
        return not name.startswith("ai-") or (self._installed / "node_modules").is_dir()

    def converse(self, name: str, **asked: object) -> list[dict]:
        """Hold a conversation as clients/conversation.py tells, and return what was seen of each turn."""
        program = self._started.get(name) or self._start(name)
        assert program.stdin
        assert program.stdout
        program.stdin.write(json.dumps(asked) + "\n")
        program.stdin.flush()
        answer = program.stdout.readline()
        assert answer, f"the client {name} has ended; its last words are in {self._log}"
        told = json.loads(answer)
        assert "error" not in told, told["trace"]
        return told["turns"]

    def _start(self, name: str) -> subprocess.Popen[str]:
        environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "NO_PROXY": "127.0.0.1", "PYTHONPATH": ""}
        with self._log.open("ab") as log:
            program = subprocess.Popen(
                command(name, self._installed),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environ,
                text=True,
            )
        self._started[name] = program
        return program

    def end(self) -> None:
        """End all of them: they stop when nothing more can be asked."""
        for program in self._started.values():
            assert program.stdin
            program.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.wait(5)
            program.kill()
            program.wait()


@contextlib.contextmanager
def ready_clients(installed: Path, *, log: Path) -> Iterator[Clients]:
    """Give the clients, and end those that were started, whatever happens in between."""
    clients = Clients(installed, log=log)
    try:
        yield clients
    finally:
        clients.end()
