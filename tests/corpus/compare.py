"""The same requests against nginx, HAProxy and uvicorn: `python -m tests.corpus.compare` prints tables in Markdown.

Each server stands before a recording backend, with limits and times like ours. Of what a case sends only this is asked:
did a request reach the backend, and did the backend see as many as the client got answers for? Themes that are about
our own routes, bodies and header rules are left out: the others were not told any.

nginx and HAProxy are looked for where Debian has them; uvicorn is installed into an environment of its own in the cache
folder (UVICORN: its pip requirement). What is not there is left out, with a line that says so.
"""

import argparse
import asyncio
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench.processes import free_ports
from tests.chaos.figures.fronts import find
from tests.chaos.figures.servers import Server
from tests.chaos.processes import until
from tests.corpus import RequestCase, requests
from tests.corpus.notation import Forever, Step
from tests.corpus.play import HOLDS, Recorder, recorder, send_all
from tests.corpus.stand import stand
from tests.wire.served import Client

THEMES = ("framing", "chunks", "lines", "targets", "hosts", "sizes", "protocols", "timing")
QUIET = 0.15  # seconds without a byte after which nothing more is waited for, once all expected answers have come
LONGEST = 4.0  # seconds that a case may take: longer than all time limits below
UVICORN = "uvicorn[standard]==0.54.0"
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
OURS, NGINX, HAPROXY, ASGI = "devstral-router", "nginx", "HAProxy", "uvicorn"
Commands = dict[str, Callable[[Path, int, int], list[str]]]  # by server: a folder, its port and the backend's

# What each nginx begins with; its http block goes on.
NGINX_BEGINNING = """\
daemon off;
worker_processes 1;
pid {work}/nginx.pid;
error_log {work}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {work}/body;
    proxy_temp_path {work}/proxy;
    fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi;
    scgi_temp_path {work}/scgi;
"""
NGINX_CONF = (
    NGINX_BEGINNING
    + """\
    client_max_body_size 1m;
    client_body_buffer_size 2m;
    client_header_timeout 2s;
    client_body_timeout 2s;
    keepalive_timeout 3s;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{backend};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""
)
HAPROXY_CFG = """\
defaults
    mode http
    timeout connect 2s
    timeout client 3s
    timeout server 5s
    timeout http-request 2s
    timeout http-keep-alive 3s
frontend clients
    bind 127.0.0.1:{port}
    default_backend backends
backend backends
    server b 127.0.0.1:{backend}
"""


@dataclass(frozen=True, slots=True)
class Came:
    """What came of one case at one server."""

    statuses: tuple[int, ...]  # of the answers, without 1xx
    seen: int  # requests that the backend got

    @property
    def refused(self) -> bool:
        """Nothing reached the backend."""
        return not self.seen

    @property
    def split(self) -> bool:
        """The backend saw more requests than the client got answers for: two readers, two readings."""
        return self.seen > len(self.statuses)


async def ask(port: int, done: Sequence[Step], *, expected: int) -> tuple[int, ...]:
    """Send as a case says, read until nothing more comes, and return the statuses."""
    client = await Client.to(port, limit=HOLDS)
    doing = asyncio.ensure_future(send_all(client, done))
    raw = b""
    loop = asyncio.get_running_loop()
    end = loop.time() + LONGEST
    try:
        while (left := end - loop.time()) > 0:
            is_enough = len(finals(raw)) >= expected > 0 and (doing.done() or isinstance(done[-1], Forever))
            data = await asyncio.wait_for(client.reader.read(2**16), min(left, QUIET) if is_enough else left)
            if not data:
                break
            raw += data
    except (TimeoutError, OSError, RuntimeError):
        pass  # RuntimeError: we have closed our own side
    finally:
        doing.cancel()
        await asyncio.gather(doing, return_exceptions=True)
        client.reset()
    return finals(raw)


def finals(raw: bytes) -> tuple[int, ...]:
    """Return the statuses in what a server has sent, without 1xx."""
    return tuple(status for found in STATUS.findall(raw) if (status := int(found)) >= 200)


# ---- the servers


@asynccontextmanager
async def ours() -> AsyncIterator[tuple[int, Recorder]]:
    """Run our own."""
    async with stand() as it:
        yield it.port, it.backend


@asynccontextmanager
async def peer(name: str, commands: Commands | None = None) -> AsyncIterator[tuple[int, Recorder]]:
    """Run nginx, HAProxy or uvicorn. Raises FileNotFoundError where it is not installed."""
    async with recorder() as backend:
        with tempfile.TemporaryDirectory(prefix="corpus-") as folder:
            work, port = Path(folder), free_ports(1)[0]
            server = Server(name, (commands or COMMANDS)[name](work, port, backend.port), port=port, work=work)
            server.start()
            try:
                await until(lambda: answers(port) or not server.is_running, within=30, what=f"{name} listens")
                assert server.is_running, server.said()
                await asyncio.sleep(0.1)
                backend.take()
                yield port, backend
            finally:
                server.end()


def answers(port: int) -> bool:
    """Whether somebody listens on a port."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def nginx(work: Path, port: int, backend: int) -> list[str]:
    """Return what starts nginx."""
    path = work / "nginx.conf"
    path.write_text(NGINX_CONF.format(work=work, port=port, backend=backend))
    return [find("nginx"), "-c", str(path), "-p", str(work), "-e", str(work / "error.log")]


def haproxy(work: Path, port: int, backend: int) -> list[str]:
    """Return what starts HAProxy."""
    path = work / "haproxy.cfg"
    path.write_text(HAPROXY_CFG.format(port=port, backend=backend))
    return [find("haproxy"), "-f", str(path), "-db"]


def uvicorn(work: Path, port: int, backend: int) -> list[str]:
    """Return what starts uvicorn with an application that tells the backend what it was asked; install it first."""
    wanted = os.environ.get("UVICORN", UVICORN)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "devstral-router" / "corpus"
    done = cache / ".installed"
    if not done.exists() or done.read_text() != wanted:
        make = [sys.executable, "-m", "venv", "--clear", str(cache)]
        for command in (make, [str(cache / "bin/pip"), "install", "-q", wanted]):
            if subprocess.run(command, check=False, capture_output=True).returncode:
                raise FileNotFoundError(f"{wanted} could not be installed")
        done.write_text(wanted)
    (work / "app.py").write_text((Path(__file__).parent / "asgi.py").read_text())
    (work / "backend").write_text(str(backend))
    command = [str(cache / "bin/uvicorn"), "app:app", "--app-dir", str(work), "--port", str(port)]
    return [*command, "--timeout-keep-alive", "3"]


COMMANDS: Commands = {NGINX: nginx, HAPROXY: haproxy, ASGI: uvicorn}


# ---- the tables


async def play(port: int, backend: Recorder, cases: Sequence[RequestCase]) -> dict[str, Came]:
    """Play cases one after the other."""
    found = {}
    for case in cases:
        statuses = await ask(port, case.steps, expected=len([status for status in case.answers if status >= 200]))
        await asyncio.sleep(0.01)
        found[case.name] = Came(statuses, len(backend.take()) + len(backend.strays))
        backend.strays.clear()
    return found


async def play_all(names: Sequence[str], cases: Sequence[RequestCase]) -> dict[str, dict[str, Came]]:
    """Play cases against these servers at once; those that are not installed are left out, with a line that says so."""
    async with AsyncExitStack() as stack:
        running = {}
        for name in names:
            try:
                running[name] = await stack.enter_async_context(ours() if name == OURS else peer(name))
            except FileNotFoundError as error:
                print(f"{name} is left out: {error}", file=sys.stderr)
        results = await asyncio.gather(*(play(port, backend, cases) for port, backend in running.values()))
        return dict(zip(running, results, strict=True))


def summary(found: dict[str, dict[str, Came]], cases: Sequence[RequestCase]) -> list[str]:
    """Return the table by theme: how many cases each server let reach its backend."""
    lines = [f"| theme | cases | {' | '.join(found)} |", "|---|---|" + "---|" * len(found)]
    for theme in dict.fromkeys(case.theme for case in cases):
        of_theme = [case for case in cases if case.theme == theme]
        cells = []
        for came in found.values():
            passed = sum(not came[case.name].refused for case in of_theme)
            split = sum(came[case.name].split for case in of_theme)
            cells.append(f"{len(of_theme) - passed} / {passed}" + (f" ({split} split)" if split else ""))
        lines.append(f"| {theme} | {len(of_theme)} | {' | '.join(cells)} |")
    return lines


def differences(found: dict[str, dict[str, Came]], cases: Sequence[RequestCase]) -> list[str]:
    """Return the table of cases on which the servers differ: the statuses, and how many requests the backend saw."""
    lines = [f"| theme | case | {' | '.join(found)} |", "|---|---|" + "---|" * len(found)]
    for case in cases:
        came = [each[case.name] for each in found.values()]
        if len({each.seen for each in came}) > 1 or any(each.split for each in came):
            lines.append(f"| {case.theme} | {case.name} | {' | '.join(map(shown, came))} |")
    return lines


def shown(came: Came) -> str:
    """Return a cell: statuses, then how many requests went on where any did."""
    statuses = " ".join(map(str, came.statuses[:3])) or "closed"
    return statuses + (f", **{came.seen} on**" if came.seen else "")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.corpus.compare", description=__doc__)
    everybody = (OURS, NGINX, HAPROXY, ASGI)
    parser.add_argument("--server", action="append", choices=everybody, help="only this one (repeatable)")
    parser.add_argument("--theme", action="append", choices=THEMES, help="only these cases (repeatable)")
    arguments = parser.parse_args()
    cases = [case for case in requests() if case.theme in (arguments.theme or THEMES)]
    found = uvloop.run(play_all(arguments.server or everybody, cases))
    print("\n".join((*summary(found, cases), "", *differences(found, cases))))


if __name__ == "__main__":
    main()
