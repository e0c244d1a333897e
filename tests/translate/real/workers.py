"""Several versions of mistral-common beside each other: one process each, started when first asked, ended surely.

    with Fleet(folder, tokenizers) as fleet:
        fleet.encode([Job("1.13.1", "v13", "openai", "test", bodies), ...]) -> one list of results per job

All waits are bounded. Jobs of different versions run at the same time.
"""

import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

WORKER = Path(__file__).with_name("worker.py")
PINS = Path(__file__).with_name("pins.txt")
PATIENCE = 120.0  # seconds for one batch: far more than any takes, on two busy cores
READ = 1 << 20


def pinned_versions() -> list[str]:
    """Return the versions of pins.txt, the newest last."""
    lines = (line.strip() for line in PINS.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


NEWEST = pinned_versions()[-1]


class WorkerError(Exception):
    """A worker process died, hung or was not installed."""


class Worker:
    """One process with one version of mistral-common."""

    def __init__(self, folder: Path, version: str) -> None:
        """Start it; `folder` holds a folder for each version."""
        places = [folder / version] if version == NEWEST else [folder / version, folder / NEWEST]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places)), "PYTHONNOUSERSITE": "1"}
        self.version = version
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
        )
        self._rest = b""

    def ask(self, question: dict[str, Any], *, patience: float = PATIENCE) -> dict[str, Any]:
        """Return its answer to one question; raises WorkerError when it dies, or after `patience` seconds."""
        assert self._process.stdin is not None
        writer = threading.Thread(target=self._write, args=(json.dumps(question).encode() + b"\n",), daemon=True)
        writer.start()
        line = self._line(time.monotonic() + patience)
        writer.join(patience)
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer

    def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            pass  # the reader tells of it

    def _line(self, deadline: float) -> bytes:
        assert self._process.stdout is not None
        pieces = [self._rest]
        while b"\n" not in pieces[-1]:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            piece = os.read(self._process.stdout.fileno(), READ) if ready else b""
            if not piece:
                self.end()
                raise WorkerError(f"mistral-common {self.version}: " + ("died" if ready else "took too long"))
            pieces.append(piece)
        line, _, self._rest = b"".join(pieces).partition(b"\n")
        return line

    @property
    def pid(self) -> int:
        """The process' id."""
        return self._process.pid

    def end(self) -> None:
        """End the process, by force where it does not end by itself."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.kill()  # it holds nothing that could be lost
        self._process.wait(10)
        self._process.stdin.close()
        self._process.stdout.close()


@dataclass(frozen=True, slots=True)
class Job:
    """Bodies for one version, tokenizer, way of construction ("openai", "direct") and mode ("test", "serving")."""

    version: str
    tokenizer: str
    how: str
    mode: str
    bodies: Sequence[dict[str, Any]]
    errors_only: bool = False  # None for what is accepted


@dataclass
class Fleet:
    """The workers of all versions."""

    folder: Path  # a folder for each version
    tokenizers: dict[str, Path]  # name -> file
    workers: dict[str, Worker] = field(default_factory=dict)
    known: dict[str, list[str]] = field(default_factory=dict)  # version -> versions of tokenizers that it knows

    def __enter__(self) -> Self:
        """Nothing is started yet."""
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End what was started."""
        for worker in self.workers.values():
            worker.end()
        self.workers.clear()

    def worker(self, version: str) -> Worker:
        """Return the worker of a version, started if need be."""
        if version not in self.workers:
            self.workers[version] = Worker(self.folder, version)
        return self.workers[version]

    def knows(self, version: str, tokenizer_version: str) -> bool:
        """Return whether this mistral-common has this version of tokenizers."""
        if version not in self.known:
            answer = self.worker(version).ask({"version": True})
            if answer["version"] != version:
                raise WorkerError(f"the folder of {version} holds {answer['version']}")
            self.known[version] = answer["tokenizers"]
        return tokenizer_version in self.known[version]

    def encode(self, jobs: Iterable[Job]) -> list[list[Any]]:
        """Return the results of each job, in order: {"tokens", "text", "images"} or {"error"} for each body."""
        asked = [
            (
                job.version,
                {
                    "tokenizer": str(self.tokenizers[job.tokenizer]),
                    "how": job.how,
                    "mode": job.mode,
                    "bodies": list(job.bodies),
                    "errors_only": job.errors_only,
                },
            )
            for job in jobs
        ]
        return [answer["results"] for answer in self.ask_all(asked)]

    def ask_all(self, asked: Sequence[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
        """Return the answers to questions of several versions, each version's one after the other, versions at once."""
        answers: list[dict[str, Any]] = [{} for _ in asked]
        failures: list[BaseException] = []

        def work(version: str) -> None:
            try:
                for number, (wanted, question) in enumerate(asked):
                    if wanted == version:
                        answers[number] = self.worker(version).ask(question)
            except Exception as error:
                self.workers.pop(version).end()  # the next question gets a fresh one
                failures.append(error)

        versions = dict.fromkeys(version for version, _ in asked)
        for version in versions:
            self.worker(version)
        threads = [threading.Thread(target=work, args=(version,), daemon=True) for version in versions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        return answers
