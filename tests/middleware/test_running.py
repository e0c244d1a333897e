"""Middlewares in real processes: the shipped example, two workers, reloads, and no secret in what they write."""

import asyncio
import json
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGHUP
from typing import Any

import pytest
import yaml

from bench.processes import free_ports
from tests.chaos.cluster import Backend, RouterProcess, cluster, exchange, post, status_of
from tests.chaos.processes import Process, until
from tests.corpus.stand import stand
from tests.corpus.test_secrets import ADMIN_TOKEN, KEY_IN_ENVIRONMENT, KEY_IN_FILE, VARIABLE, leaks, provoke, reloaded
from tests.front import CHAT, merged, run

SAMPLES = "tests.middleware.samples"
# What clients send as credentials, and a backend sets as a cookie; prompts and answers are no secrets of a trace.
SECRETS = (
    *(KEY_IN_FILE, KEY_IN_ENVIRONMENT, ADMIN_TOKEN, "canary-authorization", "canary-x-api-key", "canary-api-key"),
    *("canary-proxy", "canary-cookie", "canary-other-header", "canary-referer", "canary-query", "canary-set-cookie"),
)
ON_A_BROKEN_PIPE = """\
import os, sys
ends = os.pipe()
os.dup2(ends[1], 1)
for end in ends:
    os.close(end)
from router.cli import main
sys.exit(main(sys.argv[1:]))
"""


def traces(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(each.read_bytes()) for each in sorted(folder.glob("trace-*.json"))]


async def written(folder: Path, count: int) -> list[dict[str, Any]]:
    await until(lambda: len(list(folder.glob("trace-*.json"))) >= count, what=f"{count} traces are written")
    return traces(folder)


def chat_bytes(ident: str, **fields: object) -> bytes:
    raw = json.dumps({**CHAT, **fields}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX-Request-Id: {ident}\r\nConnection: close\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n".encode() + raw


async def configured(router: RouterProcess) -> bytes:
    """Return the answer to GET /config."""
    lines = f"Host: 127.0.0.1\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\nConnection: close\r\n"
    return await exchange(router.admin_port, f"GET /config HTTP/1.1\r\n{lines}\r\n".encode())


@asynccontextmanager
async def example(tmp_path: Path, root: Path) -> AsyncIterator[tuple[int, Process]]:
    """The command of conf/examples/middlewares.yaml, before a simulated server."""
    (backend_port,), (port,) = free_ports(1), free_ports(1)
    backend = Backend(backend_port, [], tmp_path)
    environ = {"PYTHONPATH": "conf/examples", "BACKEND": backend.url, "TRACES": str(tmp_path / "traces")}
    command = ["-m", "router", "serve", "--config", str(root / "conf/examples/middlewares.yaml"), "--port", str(port)]
    router = Process(command, log=tmp_path / "router.out", environ={**environ, "ROUTER_ADMIN_PORT": "0"})
    backend.start()
    router.start()
    try:
        await backend.listens()
        while (await status_of(port, "/readyz"))[0] != 200:
            assert router.is_running, router.said()
            await asyncio.sleep(0.05)
        yield port, router
    finally:
        await router.end()
        await backend.end()


def test_the_example_runs_as_its_comment_says(tmp_path: Path, root: Path) -> None:
    async def test() -> None:
        async with example(tmp_path, root) as (port, router):
            good, _ = await post(port, "/v1/chat/completions", CHAT)
            refused, body = await post(
                port, "/v1/chat/completions", {**CHAT, "messages": [{"role": "user", "content": "Classified!"}]}
            )
            assert (good, refused) == (200, 403)
            assert json.loads(body)["error"]["code"] == "word_not_allowed"
            found = await written(tmp_path / "traces", 2)
            assert sorted(each["response"]["status_code"] for each in found) == [200, 403]
            await until(lambda: router.said().count(" <- ") == 2, what="both answers are printed")
            assert " <- 403 rejected /v1/chat/completions " in router.said()

    run(test, timeout=90)


def test_check_tells_what_is_wrong_with_a_class_and_its_options(tmp_path: Path, root: Path) -> None:
    path = tmp_path / "router.yaml"
    path.write_text((root / "conf/examples/middlewares.yaml").read_text().replace("team:", "taem:"))
    line = [sys.executable, "-m", "router", "check", str(path)]

    with_it, without = (
        subprocess.run(line, capture_output=True, text=True, check=False, cwd=root, env={**os.environ, **more})
        for more in ({"PYTHONPATH": "conf/examples"}, {})
    )

    assert (with_it.returncode, without.returncode) == (1, 1)
    assert "middlewares.2.config.taem (line 15): unknown key; did you mean team?" in with_it.stderr
    assert "middlewares.2.type (line 12): word_filter cannot be imported: ModuleNotFoundError" in without.stderr


@pytest.mark.row(66)
def test_two_workers_trace_every_exchange_once_and_a_reload_is_taken_up_by_both(tmp_path: Path) -> None:
    async def test() -> None:
        folder = tmp_path / "t"
        bad = {"type": f"{SAMPLES}:Raising", "config": {"what": "SystemExit"}}
        traced = {"type": "trace", "config": {"directory": str(folder)}}
        config = {
            "server": {"workers": 2, "watch_config": False},
            "admin": {"enabled": True},
            "logging": {"level": "debug"},
            "middlewares": [traced, bad],
        }
        before = set(tmp_path.rglob("*"))
        async with cluster(1, config=config) as it:
            idents = [f"..x{number}" for number in range(20)]
            answers = await asyncio.gather(
                *(exchange(it.router.port, chat_bytes(each, stream=True, max_tokens=8)) for each in idents)
            )
            assert all(answer.startswith(b"HTTP/1.1 200") and b"data: [DONE]" in answer for answer in answers)
            found = await written(folder, 20)
            assert sorted(each["request_id"] for each in found) == sorted(idents)
            assert all(each["response"]["chunks"][-1] == "data: [DONE]\n\n" for each in found)
            assert {each.parent for each in set(tmp_path.rglob("*")) - before} == {tmp_path, folder}
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert {stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()} == {0o600}
            assert await it.router.metric("router_middleware_calls_total", middleware="trace", hook="on_end") == 20
            errors = await it.router.metric("router_middleware_errors_total", middleware=bad["type"], hook="on_end")
            assert errors == 20

            state = json.loads((await configured(it.router)).partition(b"\r\n\r\n")[2])
            assert [each["name"] for each in state["middlewares"]] == ["trace", bad["type"]]
            assert sum(each["calls"] for each in state["middlewares"]) > 0
            values = {each["key"]: (each["value"], each["origin"].partition(":")[0]) for each in state["data"]}
            assert values["middlewares.0.config.directory"] == (str(folder), "router.yaml")
            assert values["middlewares.0.config.max_files"] == ("10000", "default")

            it.router.write(merged(it.router.config, {"middlewares": [{**traced, "enabled": False}]}))
            it.router.signal(SIGHUP)
            await it.router.logged("The configuration was reloaded.")
            for number in range(10):
                assert b" 200 OK" in await exchange(it.router.port, chat_bytes(f"after-{number}"))
            assert len(traces(folder)) == 20
            lines = it.router.lines.read_text()
            assert "raised SystemExit at samples.py:" in lines
            assert "canary" not in lines
            assert "Traceback" not in lines

    run(test, timeout=90)


@pytest.mark.row(63)
def test_no_secret_stands_in_traces_or_on_the_console(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, KEY_IN_ENVIRONMENT)
    full, bare = tmp_path / "full", tmp_path / "bare"

    async def test() -> None:
        config = {
            "admin": {"enabled": True, "token": ADMIN_TOKEN},
            "backend": {"api_key": KEY_IN_FILE},
            "timeouts": {"idle": "1s"},
            "logging": {"level": "debug"},
            "server": {"watch_config": False},
            "middlewares": [
                {"type": "trace", "config": {"directory": str(full)}},
                {"type": "trace", "config": {"directory": str(bare), "include_body": False}},
                {"type": "printer", "config": {"log_body": True}},
                {"type": f"{SAMPLES}:Raising"},
                {"type": f"{SAMPLES}:Strict", "config": {"word": "a", "api_key": "${" + VARIABLE + "}"}},
            ],
        }
        async with stand(config) as it:
            await provoke(it)
            await reloaded(it, yaml.safe_dump(it.router.config), "ok")
            state = await configured(it.router)
            assert b" 200 OK" in state
            await until(lambda: len(list(bare.glob("t*"))) == len(list(full.glob("t*"))) > 20, what="all is written")
            outputs = {
                "the traces": b"".join(each.read_bytes() for each in full.iterdir()),
                "the console": it.router.said().encode(),
                "the log": it.router.lines.read_bytes(),
                "/config": state,
            }
        assert leaks(outputs, SECRETS) == []
        assert b"canary-prompt" in outputs["the traces"]  # they were looked at, and this is what they are for
        assert b"canary-prompt" in outputs["the console"]
        without = {"traces without bodies": b"".join(each.read_bytes() for each in bare.iterdir())}
        told = ("canary-prompt", "canary-user", "canary-answer", "canary-event", "canary-value", "canary-forbidden")
        assert leaks(without, (*SECRETS, *told)) == []
        assert leaks({"the log": outputs["the log"], "/config": state}, ("canary",)) == []

    run(test, timeout=90)


def test_a_console_that_breaks_and_a_client_that_leaves_break_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        config = {"middlewares": [{"type": "printer"}, {"type": "trace", "config": {"directory": str(tmp_path / "t")}}]}
        async with cluster(1, config=config, simulate=["--itl", "20ms"], command=("-c", ON_A_BROKEN_PIPE)) as it:
            reader, writer = await asyncio.open_connection("127.0.0.1", it.router.port)
            writer.write(chat_bytes("leaves", stream=True, max_tokens=1000))
            while b'"content":" ' not in (await reader.read(65536)):
                continue
            writer.close()
            (found,) = await written(tmp_path / "t", 1)
            assert (found["outcome"], found["response"]["status_code"]) == ("client_gone", 200)
            assert found["response"]["chunks"]
            assert "data: [DONE]\n\n" not in found["response"]["chunks"]
            assert (await it.chat(max_tokens=2)).code == 200
            assert await it.router.metric("router_middleware_records_dropped_total", middleware="printer") >= 2
            assert await it.router.metric("router_middleware_records_dropped_total", middleware="trace") == 0
            await it.router.logged("printer: a record could not be written: Broken pipe")

    run(test, timeout=90)
