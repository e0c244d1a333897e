"""Row 63: what is secret stays where it belongs. Canaries go in wherever a secret can, then all outputs are searched.

One router, as processes: two workers, an admin listener with a token, keys of backends in the file and from the
environment, the log at its most talkative. Clients send canaries in every place that is theirs, and make every kind of
failure. What a backend gets, and what a client sent and is told back about itself, is no leak; all else is.
"""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from signal import SIGHUP

import pytest
import uvloop
import yaml

from router.config import load
from tests.chaos.cluster import exchange
from tests.corpus.notation import steps, written
from tests.corpus.play import GOOD, PATIENCE
from tests.corpus.stand import Stand, stand

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
PAGES = ("/", "/health", "/readyz", "/livez", "/version", "/metrics", "/v1/models", "/v1/models/m", "/.env", "/config")
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


async def pages(it: Stand) -> dict[str, bytes]:
    """Return what the router shows to whoever asks."""
    found = {}
    for path in PAGES:
        found[path] = await exchange(it.port, f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    token = f"Authorization: Bearer {ADMIN_TOKEN}\r\n"
    for path, lines in (
        ("/admin/backends", token), ("/admin/config", token), ("/config", token), ("/status", token),
        ("/admin/backends", ""), ("/admin/config", "Authorization: Bearer canary-wrong-token\r\n"),
    ):  # fmt: skip
        raw = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}Connection: close\r\n\r\n".encode()
        found[f"{path} {lines}"] = await exchange(it.router.admin_port, raw)
    assert b"200 OK" in found[f"/admin/config {token}"]
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


@pytest.mark.row(62, 63)
def test_no_secret_comes_out_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, KEY_IN_ENVIRONMENT)
    ours = (KEY_IN_FILE, KEY_IN_ENVIRONMENT, ADMIN_TOKEN)
    config = {
        "server": {"workers": 2, "watch_config": False},
        "admin": {"enabled": True, "token": ADMIN_TOKEN},
        "backend": {"api_key": KEY_IN_FILE},
        "timeouts": {"idle": "1s"},
        "sessions": {"enabled": True},
        "logging": {"level": "debug", "headers": [line.partition(":")[0] for line in CLIENTS.splitlines()]},
    }

    async def test() -> None:
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
        assert b'"authorization":"[redacted]"' in written_down["the log"]
        assert leaks({**told, **shown, **processes, **written_down}, ours) == []
        assert leaks({**shown, **processes, **written_down}, ("canary",)) == []

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test())
