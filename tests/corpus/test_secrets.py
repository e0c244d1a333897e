"""Row 63: what is secret stays where it belongs. Canaries go in wherever a secret can, then all outputs are searched.

One router, as processes: two workers, an admin listener with a token, keys of backends in the file and from the
environment, the log at its most talkative; sessions, tracing and middlewares are on. Clients send canaries in every
place that is theirs, and make every kind of failure. What a backend gets, and what a client sent and is told back about
itself, is no leak; all else is.
"""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGHUP
from typing import Any

import pytest
import uvloop
import yaml

from router.config import load
from tests.chaos.cluster import exchange
from tests.corpus.notation import steps, written
from tests.corpus.play import GOOD, PATIENCE
from tests.corpus.stand import Stand, stand
from tests.tracing.test_tracer import Collector

KEY_IN_FILE, KEY_IN_ENVIRONMENT, ADMIN_TOKEN = "canary-key-file", "canary-key-env", "canary-admin-token"
VARIABLE = "CORPUS_BACKEND_KEY"
CLIENTS = """\
Authorization: Bearer canary-authorization
X-Api-Key: canary-x-api-key
X-Session-Id: canary-session-id
Api-Key: canary-api-key
Proxy-Authorization: Basic canary-proxy
Cookie: session=canary-cookie
X-Auth-Token: canary-other-header
Referer: https://a/?token=canary-referer"""
CHAT = '{"model":"m","messages":[{"role":"user","content":"canary-prompt"}],"user":"canary-user"'
ASKED = {
    "a good request": "POST /v1/chat/completions?api_key=canary-query HTTP/1.1",
    "a path that is not served": "POST /v1/nothing?api_key=canary-query HTTP/1.1",
    "a method that is not served": "PUT /v1/chat/completions?api_key=canary-query HTTP/1.1",
}
BODIES = {
    "JSON that is cut": CHAT,
    "JSON with a bad value": CHAT + ',"stream":"canary-value"}',
    "a model that is not served": CHAT.replace('"m"', '"other"') + "}",
    "bytes that are no UTF-8": CHAT + ',"x":"\\xff canary-utf8"}',
    "half of a surrogate pair": CHAT + ',"x":"\\ud800 canary-surrogate"}',
    "an empty list": "[]",
}
# What backends answer; their words about keys and prompts are theirs to a client, but no business of a log.
ANSWERS = {
    "good": "<<whole>>",
    "a cookie": "<<ok>>\nSet-Cookie: session=canary-set-cookie\nContent-Length: 41\n\n<<answer>>",
    "text": '<<ok>>\nContent-Length: <<length>>\n\n{"choices":[{"message":{"content":"canary-answer"}}]}\\\n',
    "our key is refused": "HTTP/1.1 401 X\nContent-Type: application/json\nContent-Length: <<length>>\n\n"
    '{"error":{"message":"Incorrect API key provided: canary-key-file canary-key-env","code":401}}\\\n',
    "it is forbidden": "HTTP/1.1 403 X\nContent-Type: text/plain\nContent-Length: <<length>>\n\ncanary-forbidden\\\n",
    "500": "HTTP/1.1 500 X\nContent-Type: text/plain\nContent-Length: <<length>>\n\nTraceback canary-traceback\\\n",
    "garbage": "canary-garbage\n\n",
    "a bad header": "<<ok>>\nX-A: canary-\\0header\n\n",
    "cut": '<<ok>>\nContent-Length: 400\n\n{"choices":[{"message":{"content":"canary-answer<<close>>',
    "a stream that breaks": "<<sse>>\n\n<<chunk <<one>>data: canary-event>>zz\n",
    "an error event": '<<sse>>\n\n<<chunk <<one>>data: {"error":{"message":"canary-error-event","code":500}}\\n\\n>>',
}


MALFORMED = (b"GET /canary-line HTTP/1.1\nX\n\n", b"\x16\x03canary-tls", b"GET canary HTTP/1.1\r\n\r\n")
PAGES = (
    *("/", "/health", "/readyz", "/livez", "/version", "/v1/models", "/v1/models/m", "/.env", "/config"),
    *("/status", "/openapi.json"),
)
FORMS = {"text/plain": b"# TYPE router_requests_total", "application/openmetrics-text": b"# EOF",
         "application/json": b'"router_requests"'}  # of /metrics, and what shows that it is in this form
EVENT_LIMIT = 1 << 22  # bytes; an event is one line
RELOADS = "router_config_reloads_total"


def request(first: str, body: str) -> bytes:
    """Return a request with a canary in every header."""
    head = f"{first}\nHost: canary-host\n{CLIENTS}\nConnection: close\nContent-Type: application/json\n"
    return written(steps(f"{head}Content-Length: <<length>>\n\n{body}"))


async def provoke(it: Stand) -> dict[str, bytes]:
    """Make good requests and all kinds of failures; return what clients were told."""
    told = {}
    for name, first in ASKED.items():
        told[name] = await exchange(it.port, request(first, CHAT + "}"), within=PATIENCE)
    for name, body in BODIES.items():
        told[name] = await exchange(it.port, request(ASKED["a good request"], body), within=PATIENCE)
    for name, text in ANSWERS.items():
        it.backend.answer = steps(text)
        for stream in (',"stream":false}', ',"stream":true}'):
            told[f"{name}{stream}"] = await exchange(it.port, request(ASKED["a good request"], CHAT + stream))
    it.backend.answer = GOOD
    for raw in MALFORMED:
        told[repr(raw)] = await exchange(it.port, raw, within=PATIENCE)
    return told


def head_of(path: str, lines: str = "") -> bytes:
    """Return a request for a page."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}Connection: close\r\n\r\n".encode()


async def event(port: int, lines: str = "") -> bytes:
    """Return all that the status page shows: it comes in one event, and what follows are changes."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=EVENT_LIMIT)
        try:
            writer.write(head_of("/status/events", lines))
            return await reader.readuntil(b"event: whole\n") + await reader.readuntil(b"\n\n")
        finally:
            writer.close()


async def pages(it: Stand) -> dict[str, bytes]:
    """Return what the router shows to whoever asks."""
    found = {path: await exchange(it.port, head_of(path)) for path in PAGES}
    token = f"Authorization: Bearer {ADMIN_TOKEN}\r\n"
    for path, lines in (
        ("/admin/backends", token), ("/admin/config", token), ("/config", token), ("/status", token),
        ("/admin/backends", ""), ("/admin/config", "Authorization: Bearer canary-wrong-token\r\n"),
    ):  # fmt: skip
        found[f"{path} {lines}"] = await exchange(it.router.admin_port, head_of(path, lines))
    for form, sign in FORMS.items():
        for port, lines in ((it.port, ""), (it.router.admin_port, token)):
            page = found[f"/metrics at {port}: {form}"] = await exchange(
                port, head_of("/metrics", f"{lines}Accept: {form}\r\n")
            )
            assert sign in page, page[:500]
    for port, lines in ((it.port, ""), (it.router.admin_port, token)):
        whole = found[f"/status/events at {port}"] = await event(port, lines)
        for part in (b'"incidents":[{', b'"turns":[{', b'"backends":[{', b'"sessions":{'):
            assert part in whole, "there is something to tell of it"
    assert b"200 OK" in found[f"/admin/config {token}"]
    assert b"200 OK" in found["/status"]
    return found


def commands(it: Stand) -> dict[str, bytes]:
    """Return what the command line prints with this configuration."""
    found = {}
    token = {"ROUTER_ADMIN_TOKEN": ADMIN_TOKEN}
    for words in (
        ["--print-config"], ["check", str(it.router.file)], ["backends", "--config", str(it.router.file)],
        ["logs", str(it.router.lines)],
    ):  # fmt: skip
        given = words if words[0] != "--print-config" else ["--config", str(it.router.file), *words]
        done = subprocess.run(
            [sys.executable, "-m", "router", *given], capture_output=True, check=False, env={**os.environ, **token}
        )
        assert done.returncode == 0, done
        found[" ".join(words)] = done.stdout + done.stderr
    return found


async def reloaded(it: Stand, text: str, result: str) -> None:
    """Have it read another file, and wait until it has."""
    before = await it.router.metric(RELOADS, result=result)
    it.router.write_text(text)
    it.router.signal(SIGHUP)
    end = time.monotonic() + PATIENCE
    while await it.router.metric(RELOADS, result=result) == before:
        assert time.monotonic() < end, it.router.lines.read_text()[-3000:]
        await asyncio.sleep(0.02)


async def break_the_file(it: Stand) -> None:
    """Have it read a file with faults beside its secrets."""
    good = it.router.file.read_text()
    for bad in (
        good.replace(f"api_key: {KEY_IN_FILE}", f"api_key: [{KEY_IN_FILE}]"),
        good.replace(f"token: {ADMIN_TOKEN}", f"token: {{a: {ADMIN_TOKEN}}}"),
    ):
        assert bad != good
        await reloaded(it, bad, "failed")
    it.router.write_text(good)


def leaks(outputs: dict[str, bytes], words: tuple[str, ...]) -> list[str]:
    """Return which words stand in which outputs."""
    found = ((word, name, text) for name, text in outputs.items() for word in words if word.encode() in text)
    return [f"{word} in {name}: {text.partition(word.encode())[0][-200:]!r}" for word, name, text in found]


@contextmanager
def collecting() -> Iterator[Collector]:
    """Take spans."""
    collector = Collector()
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    try:
        yield collector
    finally:
        collector.shutdown()
        collector.server_close()


def middlewares(folder: Path) -> list[dict[str, object]]:
    """Return ours, without bodies, and users' own ones: one that breaks, and one with a secret."""
    return [
        {"type": "trace", "config": {"directory": str(folder), "include_body": False}},
        {"type": "printer"},
        {"type": "tests.middleware.samples:Raising"},
        {"type": "tests.middleware.samples:Strict", "config": {"word": "a", "api_key": "${" + VARIABLE + "}"}},
    ]


async def searched(config: dict[str, Any], ours: tuple[str, ...]) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return what clients were told, and all else that came out of a router with these secrets."""
    async with stand(config) as it:
        first = it.router.config["backends"][0]
        second = {**first, "api_key": "${" + VARIABLE + "}", "url": first["url"].replace("127.0.0.1", "localhost")}
        tree = {**it.router.config, "backends": [first, second]}
        await reloaded(it, yaml.safe_dump(tree), "ok")
        told = await provoke(it)
        keys = {line for each in it.backend.requests for line in each.split(b"\r\n") if b"uthorization" in line}
        assert keys == {f"Authorization: Bearer {key}".encode() for key in ours[:2]}  # and never a client's
        await break_the_file(it)
        shown = {**await pages(it), **commands(it)}
        processes = {
            f"the command line of {pid}": Path(f"/proc/{pid}/cmdline").read_bytes() for pid in it.router.pids
        }
        loaded = load(it.router.file, environ=os.environ)
        written_down = {
            "the log": it.router.lines.read_bytes(),
            "what the process said": it.router.said().encode(),
            "repr of the configuration": f"{loaded!r} {loaded.config!s} {loaded.config.backends!r}".encode(),
        }
    assert len(processes) >= 3
    return told, {**shown, **processes, **written_down}


@pytest.mark.row(62, 63)
def test_no_secret_comes_out_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, KEY_IN_ENVIRONMENT)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    traces = tmp_path / "traces"
    ours = (KEY_IN_FILE, KEY_IN_ENVIRONMENT, ADMIN_TOKEN)
    config: dict[str, Any] = {
        "server": {"workers": 2, "watch_config": False, "public_status": True},
        "admin": {"enabled": True, "token": ADMIN_TOKEN},
        "backend": {"api_key": KEY_IN_FILE},
        "timeouts": {"idle": "1s"},
        "sessions": {"enabled": True},
        "middlewares": middlewares(traces),
        "logging": {"level": "debug", "headers": [line.partition(":")[0] for line in CLIENTS.splitlines()]},
    }

    async def test() -> None:
        with collecting() as collector:
            config["tracing"] = {"enabled": True, "endpoint": f"http://127.0.0.1:{collector.server_port}"}
            told, shown = await searched(config, ours)
            shown["spans"] = b"".join(collector.requests)
        found = [each.read_bytes() for each in traces.iterdir()]
        shown["traces"] = b"".join(found).replace(b"canary-host", b"")  # whom a client has asked is no secret
        assert len(found) > 20
        assert all(json.loads(each)["request"]["headers"]["authorization"] == "[redacted]" for each in found)
        assert sum("session" in json.loads(each) for each in found) > 5
        assert b"/v1/chat/completions" in shown["spans"]
        assert b" <- 200 ok /v1/chat/completions " in shown["what the process said"]
        assert b'"authorization":"[redacted]"' in shown["the log"]
        assert leaks({**told, **shown}, ours) == []
        assert leaks(shown, ("canary",)) == []

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test())
