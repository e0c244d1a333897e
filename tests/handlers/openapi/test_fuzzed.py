"""The running router keeps to its own document: schemathesis asks by it, rightly and wrongly, and reads the answers.

Every answer has a status, a type, headers and a body that the document names; with healthy backends none is a 5xx.
"""

import asyncio
import logging
import os
import sys
from pathlib import Path

import pytest

from router.handlers.openapi.operations import RELAYED
from tests.front import Front, front, run
from tests.operating import operator

DOCUMENTED = (
    *("status_code_conformance", "content_type_conformance", "response_headers_conformance"),
    *("response_schema_conformance", "unsupported_method", "allow_header_conformance"),
)
# Adding backends would have the router ask whatever address was made up; the events of the status page have no end.
NOT_FUZZED = ("addBackend", "statusEvents")
NIGHTLY = os.environ.get("ROUTER_NIGHTLY") == "1"
# Routes that differ from another one by little but the path: at night only.
TWINS = () if NIGHTLY else ("rerankV0", "rerankV2", "scoreV0", "classify", "translate")
# Of random requests of each operation, beside those that its schemas ask for.
EXAMPLES = 100 if NIGHTLY else 1
LIMIT = 600.0 if NIGHTLY else 300.0  # seconds; a machine that is busy otherwise took 120


async def fuzz(url: str, root: Path, folder: Path, *, checks: tuple[str, ...]) -> None:
    """Run schemathesis against a listener; `folder`: where it may write."""
    left_out = [flag for name in (*NOT_FUZZED, *TWINS) for flag in ("--exclude-operation-id", name)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--checks", ",".join(checks)),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), "--seed", "1", "--no-shrink"),
        *(
            "--continue-on-failure",
            "--warnings",
            "off",
            "--output-sanitize",
            "false",
            "--suppress-health-check",
            "all",
            *left_out,
        ),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(root), "SCHEMATHESIS_HOOKS": "tests.handlers.openapi.hooks"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), LIMIT)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, output.decode()


async def answered(cluster: Front, path: str) -> float:
    """Return how many requests of a route were answered well."""
    return await cluster.metric("router_requests_total", route=path, outcome="ok")


def test_answers_to_clients_are_those_of_the_document(root: Path, tmp_path: Path) -> None:
    async def test() -> None:
        async with front() as cluster:
            await fuzz(cluster.url, root, tmp_path, checks=("not_a_server_error", *DOCUMENTED))
            for (path, method), operation in RELAYED.items():
                if method == "POST" and "{" not in path and operation.name not in TWINS:
                    assert await answered(cluster, path) > 0, path

    run(test, timeout=LIMIT + 20)


def test_answers_to_operators_are_those_of_the_document(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It drains and removes backends too, so probes say 503; the router itself must not fail."""

    async def test() -> None:
        async with front() as cluster, operator(cluster) as one:
            await fuzz(one.url, root, tmp_path, checks=DOCUMENTED)

    run(test, timeout=LIMIT + 20)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
