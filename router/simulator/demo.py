"""`devstral-router demo`: two simulated servers, the router before them, and one streamed answer to look at.

All three run as child processes on 127.0.0.1 and are ended, by their process ids, when the demo ends.
"""

import argparse
import contextlib
import http.client
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

HOST = "127.0.0.1"
DEFAULT_PORT = 9000
MODEL = "devstral-small"
CONFIG = "router.yaml"  # of the demo's router, in its directory
_PACES = (("60ms", "25ms"), ("90ms", "35ms"))  # time to first token, between tokens
_START_TIME = 20.0  # seconds until everything must be up
_STOP_TIME = 5.0  # seconds that a child gets to end by itself
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH")


class DemoError(Exception):
    """The demo cannot go on; the text says why, and what to do."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="port of the router; 0: any free one (%(default)s)"
    )
    parser.add_argument("--once", action="store_true", help="end after the streamed answer")


def run(arguments: argparse.Namespace) -> int:
    """Run the demo, and return the exit code: 1 when it could not be started."""
    asked = getattr(arguments, "port", None)
    port = DEFAULT_PORT if asked is None else int(asked)
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with tempfile.TemporaryDirectory(prefix="devstral-router-demo-") as directory:
            _run(port, Path(directory), once=bool(getattr(arguments, "once", False)))
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nended")
    finally:
        for number, action in before.items():
            signal.signal(number, action)
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(port: int, directory: Path, *, once: bool) -> None:
    port, admin = free_port(port), free_port(0)
    with contextlib.ExitStack() as stack:
        backends = [stack.enter_context(simulator(directory, number)) for number in range(len(_PACES))]
        urls = [_where(backend) for backend in backends]
        router = stack.enter_context(_router(directory, port, urls, admin=admin))
        _wait_until_ready(router, port, len(urls))
        print(f"Running: the router on http://{HOST}:{port}, before {' and '.join(urls)}\n", flush=True)
        for _ in urls:
            show_stream(port)
        _show_spread(urls)
        print(what_to_try(port, urls, file=directory / CONFIG, admin=admin, command=_command()), flush=True)
        if once:
            return
        print("\nCtrl-C ends everything.", flush=True)
        _watch([router, *backends])


@dataclass(frozen=True, slots=True)
class Child:
    """A process of ours, and where its output goes."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def fate(self) -> str:
        """Say how it ended, with the end of what it wrote."""
        text = self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""
        return f"{self.name} has ended with code {self.process.returncode}\n{text}".rstrip()


@contextlib.contextmanager
def child(name: str, arguments: list[str], *, directory: Path) -> Iterator[Child]:
    """Run `python -m router ...` in an empty directory, and end it at the end.

    Neither a configuration file nor variables meant for another router reach it.
    """
    log = directory / f"{name}.log"
    variables = {key: value for key, value in os.environ.items() if key in _KEPT_VARIABLES}
    source = str(Path(__file__).resolve().parents[2])
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, (source, variables.get("PYTHONPATH"))))
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "router", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if "simulate" in arguments else output,
            stderr=output,
            cwd=directory,
            env=variables,
            start_new_session=True,  # Ctrl-C is for the demo, which then ends its children in order
        )
    try:
        yield Child(name, process, log)
    finally:
        _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(_STOP_TIME)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def simulator(directory: Path, number: int) -> contextlib.AbstractContextManager[Child]:
    """Run one simulated server on a free port."""
    ttft, itl = _PACES[number]
    flags = ["--port", "0", "--model", MODEL, "--ttft", ttft, "--itl", itl, "--tokens", "40"]
    return child(f"simulator-{number + 1}", ["simulate", *flags], directory=directory)


def _router(directory: Path, port: int, urls: list[str], *, admin: int) -> contextlib.AbstractContextManager[Child]:
    backends = "".join(f"  - url: {url}\n" for url in urls)
    text = f"server: {{host: {HOST}, port: {port}}}\nadmin: {{port: {admin}}}\nbackends:\n{backends}"
    (directory / CONFIG).write_text(text)
    return child("router", ["serve", "--config", CONFIG], directory=directory)


def _where(backend: Child) -> str:
    """Return the URL that a simulated server has printed. Raises DemoError."""
    stream = backend.process.stdout
    assert stream is not None
    readable, _, _ = select.select([stream], [], [], _START_TIME)
    line = stream.readline().decode() if readable else ""
    if not line.startswith("http://"):
        backend.process.poll()
        raise DemoError(backend.fate())
    return line.split()[0]


def free_port(port: int) -> int:
    """Return the port (0: any free one) if nobody listens there. Raises DemoError."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise DemoError(f"port {port}: {error.strerror}. Choose another one: --port {port + 1}") from error
        return int(probe.getsockname()[1])


def _wait_until_ready(router: Child, port: int, backends: int) -> None:
    """Wait until the router has seen every backend. Raises DemoError."""
    end = time.monotonic() + _START_TIME
    while time.monotonic() < end:
        if router.process.poll() is not None:
            raise DemoError(router.fate())
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            status, body = fetch(port, "GET", "/health")
            known = json.loads(body).get("backends", ())
            if status == 200 and sum(bool(backend.get("usable")) for backend in known) >= backends:
                return
        time.sleep(0.05)
    raise DemoError(f"the router is not ready after {_START_TIME:.0f} s\n{router.log.read_text(errors='replace')}")


def fetch(port: int, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
    """Ask something of one of our servers, and return status and body. Raises OSError, HTTPException."""
    with contextlib.closing(http.client.HTTPConnection(HOST, port, timeout=10)) as connection:
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, path, data, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()


def show_stream(port: int) -> str:
    """Print one streamed answer as it comes, and return it. Raises DemoError."""
    question = "What does a router do?"
    body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": question}]}
    print(f"> {question}")
    began = time.monotonic()
    texts: list[str] = []
    with contextlib.closing(http.client.HTTPConnection(HOST, port, timeout=30)) as connection:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise DemoError(f"the router answered {answer.status}: {answer.read().decode(errors='replace')}")
        first = 0.0
        for text in texts_of(answer):
            first = first or time.monotonic() - began
            texts.append(text)
            print(text if len(texts) > 1 else text.lstrip(), end="", flush=True)
    whole = time.monotonic() - began
    print(
        f"\n  ({len(texts)} tokens; the first after {first * 1000:.0f} ms, all after {whole * 1000:.0f} ms)\n",
        flush=True,
    )
    return "".join(texts)


def texts_of(lines: Any) -> Iterator[str]:
    """Yield the texts of a chat stream, given its lines. Raises DemoError for one that is not whole."""
    for line in lines:
        data = line.strip().removeprefix(b"data:").strip()
        if data == b"[DONE]":
            return
        if not line.startswith(b"data:"):
            continue
        event = json.loads(data)
        if "error" in event:
            raise DemoError(f"the stream ended with an error: {event['error']}")
        for choice in event["choices"]:
            if choice["delta"].get("content"):
                yield choice["delta"]["content"]
    raise DemoError("the stream was cut")


def _show_spread(urls: list[str]) -> None:
    for url in urls:
        status, body = fetch(int(url.rpartition(":")[2]), "GET", "/simulator/stats?requests=0")
        if status == 200:
            print(f"  {url} has served {json.loads(body)['served']} of them")


def _command() -> str:
    """Return how the command is called: by its name where the shell finds it, else by its path, from here if it can."""
    beside = Path(sys.executable).parent / "devstral-router"
    if shutil.which("devstral-router") is not None or not beside.exists():
        return "devstral-router"
    return str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)


def what_to_try(port: int, urls: list[str], *, file: Path, admin: int, command: str) -> str:
    """Return what a reader can paste into another terminal.

    `file`: the router's configuration; `admin`: the port for operators; `command`: how devstral-router is called.
    """
    base = f"http://{HOST}:{port}"
    name = urls[0].removeprefix("http://")
    return f"""
Try, in another terminal:

  curl -N {base}/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{{"model": "{MODEL}", "stream": true, "messages": [{{"role": "user", "content": "Hello"}}]}}'
  curl {base}/v1/models
  curl {base}/health
  curl {base}/metrics

With a browser: http://{HOST}:{admin}/status for operators, {base}/docs for clients.

Models of the Mistral family have a dialect of their own; {base}/health tells the `dialect` of each
backend. A request that is translated, for its role, its `name` and its tool with a dot; X-Router-Translation
names the rule by which something of it got lost (R1: the `name`; docs/translation.md):

  curl -i {base}/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{{"model": "{MODEL}", "tool_choice": "required",
         "messages": [{{"role": "developer", "content": "Be brief."}},
                      {{"role": "user", "name": "bob", "content": "Hi"}}],
         "tools": [{{"type": "function", "function": {{"name": "files.read"}}}}]}}'

From Python (pip install openai):

  from openai import OpenAI
  client = OpenAI(base_url="{base}/v1", api_key="any")
  for event in client.chat.completions.create(
      model="{MODEL}", stream=True, messages=[{{"role": "user", "content": "Hello"}}]
  ):
      print(event.choices[0].delta.content or "", end="", flush=True)

See the backends, take one out and back in, and change {file} while it runs:

  {command} backends --config {file} --watch
  {command} backends --config {file} drain {name}
  {command} backends --config {file} undrain {name}

Break a backend, ask again, and look at {base}/health:

  curl {urls[0]}/simulator/faults -d '{{"status": 503, "retry_after": 5}}'       # full
  curl {urls[0]}/simulator/faults -d '{{"break_as": "cut", "break_after": 5}}'   # cut in the middle of a stream
  curl {urls[0]}/simulator/faults -d '{{"refuse": true, "refuse_for": 20}}'      # gone for 20 seconds
  curl {urls[0]}/simulator/faults -X DELETE                                    # well again
  curl {urls[0]}/simulator/stats"""


def _watch(children: list[Child]) -> None:
    """Wait until a child ends. Raises DemoError then."""
    while True:
        for one in children:
            if one.process.poll() is not None:
                raise DemoError(one.fate())
        time.sleep(0.3)
