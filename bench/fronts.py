"""What is measured: how each front and the backend are started, with which settings, and why those."""

import hashlib
import http.client
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.figures import MISTRAL, ROUTER

REPOSITORY = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "devstral-router" / "bench"
READY_TIMEOUT = 90.0  # seconds; vllm-router takes 3 s to start, LiteLLM 20, and longer on a busy machine
MODEL = "mock"  # that requests name and the backend serves

NGINX = """\
daemon off;
worker_processes 1;
pid {work}/nginx.pid;
error_log {work}/nginx.error.log warn;
events {{ worker_connections 19900; }}
http {{
    access_log {work}/nginx.access.log;
    client_body_temp_path {work}/nginx-body;
    proxy_temp_path {work}/nginx-proxy;
    fastcgi_temp_path {work}/nginx-fastcgi;
    uwsgi_temp_path {work}/nginx-uwsgi;
    scgi_temp_path {work}/nginx-scgi;
    client_max_body_size 64m;
    client_body_buffer_size 256k;
    keepalive_requests 100000000;
    tcp_nodelay on;
    upstream backend {{
{servers}
        keepalive {kept};
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that the benchmark starts."""

    name: str
    command: tuple[str, ...]
    port: int
    headers: tuple[str, ...] = ()  # that only its load has


def compile_c(source: str, program: Path, *flags: str) -> bool:
    """Compile a file that lies beside this one; return whether there is a C compiler."""
    compiler = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    if compiler is None:
        return False
    program.parent.mkdir(parents=True, exist_ok=True)
    made = program.with_suffix(f".{os.getpid()}")  # whole or not there: others may run it
    subprocess.run([compiler, "-O2", *flags, "-o", made, Path(__file__).with_name(source)], check=True, timeout=60)
    made.replace(program)
    return True


def build_backend(cache: Path) -> str | None:
    """Return the path of the compiled backend.c, or None where there is no C compiler."""
    digest = hashlib.sha256(Path(__file__).with_name("backend.c").read_bytes()).hexdigest()
    program = cache / f"backend-{digest[:16]}"
    return str(program) if program.exists() or compile_c("backend.c", program) else None


def backend(program: str | None, ports: Sequence[int], *, model: str, interval_ms: float, tokens: int) -> Server:
    """Return backend.c listening on all ports or, without it, the project's own simulated vLLM server on the only one.

    Both give the first token at once, take whatever comes, and keep all connections.
    """
    if program is not None:
        words = [model, str(tokens), f"{interval_ms:g}", *map(str, ports)]
        return Server("backend", (program, *words), ports[0])
    (port,) = ports
    command = [sys.executable, "-m", "router", "simulate", "--port", str(port), "--model", model]
    command += ["--host", "127.0.0.1", "--ttft", "0", "--itl", f"{interval_ms:g}ms", "--tokens", str(tokens)]
    command += ["--max-model-len", "1000000", "--max-num-seqs", "16384", "--keepalive", "off"]
    return Server("simulator", tuple(command), port)


def router(port: int, backend: int) -> Server:
    """Return this router for a backend of OpenAI's dialect, else as shipped: one process, metrics, access log."""
    command = [sys.executable, "-m", "router", "serve", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--type", "openai", "--base-url", f"http://127.0.0.1:{backend}"]
    return Server(ROUTER, tuple(command), port)


def mistral_router(port: int, backend: int, *, work: Path) -> Server:
    """Return the same for a backend of the Mistral family. Its tokenizer is told: backend.c cannot be asked for it."""
    config = work / "mistral.yaml"
    url = f"http://127.0.0.1:{backend}"
    config.write_text(f"backends:\n  - {{url: '{url}', dialect: mistral, profile: v13}}\n")
    command = [sys.executable, "-m", "router", "serve", "--host", "127.0.0.1", "--port", str(port)]
    return Server(MISTRAL, (*command, "--config", str(config)), port)


def nginx(program: str, port: int, backend: int, work: Path, *, others: Sequence[int] = ()) -> Server:
    """Return nginx as a plain proxy: one worker, upstream keep-alive, no buffering of answers, access log on.

    `others`: ports of further backends.
    """
    config = work / "nginx.conf"
    servers = "\n".join(f"        server 127.0.0.1:{each};" for each in (backend, *others))
    config.write_text(NGINX.format(work=work, port=port, servers=servers, kept=256 + 2 * len(others)))
    return Server("nginx", (program, "-c", str(config), "-p", str(work), "-e", str(work / "nginx.error.log")), port)


def environment() -> dict[str, str]:
    """Return the servers' environment: nothing of ours that a front would take for its configuration."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def wait_ready(port: int, body: bytes, headers: Sequence[str] = ()) -> None:
    """Return once the server answers a chat request with 200; raise TimeoutError with its last answer."""
    deadline = time.monotonic() + READY_TIMEOUT
    seen = "no connection"
    lines = {"Content-Type": "application/json", "Authorization": "Bearer sk-bench"}
    lines |= dict(line.split(": ", 1) for line in headers)
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("POST", "/v1/chat/completions", body, lines)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status == 200:
                return
            seen = f"{answer.status} {text[:200]!r}"
        except (OSError, http.client.HTTPException) as error:
            seen = repr(error)
        finally:
            connection.close()
        time.sleep(0.1)
    raise TimeoutError(f"127.0.0.1:{port} is not ready after {READY_TIMEOUT:.0f} s: {seen}")
