"""Real vLLM servers, and the router in front of them, as processes that the tests start, kill and start again.

Every process leads a process group of its own and is ended by that group: vLLM's engine outlives its API server. The
ids of the groups that run are kept in a file, so that run.sh can end them when pytest itself is killed.
"""

import contextlib
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

MODEL = "tiny-mistral"
RECIPE = Path(__file__).parent / "recipe" / "vllm.sh"
START_TIMEOUT = 180  # seconds; 15 on an idle machine
POLL = 0.02  # seconds between two looks at something that is waited for


def eventually(holds: Callable[[], bool], *, within: float, what: str) -> float:
    """Wait until it holds; return the seconds that took. Fails, naming `what`, after `within` seconds."""
    start = time.monotonic()
    while not holds():
        assert time.monotonic() - start < within, f"not within {within} s: {what}"
        time.sleep(POLL)
    return time.monotonic() - start


def free_ports(count: int) -> list[int]:
    """Return free ports below the range that outgoing connections take theirs from.

    A port in that range could be taken while its server is down, even by the connection that looks for the server.
    """
    floor = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports: list[int] = []
    for port in random.sample(range(10_000, floor), 200):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports.append(port)
        if len(ports) == count:
            return ports
    raise RuntimeError(f"no {count} free ports below {floor}")


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, read to its end."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes

    def json(self) -> dict:
        """Return the body as a JSON object."""
        return json.loads(self.body)


def fetch(url: str, body: object = None, *, headers: dict[str, str] | None = None, timeout: float = 30) -> Answer:
    """GET, or POST where there is a body: bytes as they are, anything else as JSON. Raises OSError, HTTPException."""
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=timeout)
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    send = {"Content-Type": "application/json"} if content is not None else {}
    try:
        connection.request("GET" if content is None else "POST", "/" + path, content, send | (headers or {}))
        answer = connection.getresponse()
        lower = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, lower, answer.read())
    finally:
        connection.close()


class Service:
    """One process group that listens on one port of 127.0.0.1."""

    def __init__(self, command: list[str], *, port: int, folder: Path) -> None:
        """`folder` is where its log and the list of running groups are."""
        self.command = command
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / f"{port}.log"
        self._groups = folder / "groups"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether the process that was started still lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, in a session and process group of its own; does not wait."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._note(running=True)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process that was started, and to none of its children."""
        assert self._process is not None
        os.kill(self._process.pid, number)

    def send_to_group(self, number: signal.Signals) -> None:
        """Send a signal to every process of the group."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """SIGKILL to the whole group, which is gone when this returns."""
        self._end(signal.SIGKILL, patience=10)

    def stop(self) -> None:
        """SIGTERM to the whole group, and SIGKILL to what is left of it after five seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._end(signal.SIGTERM, patience=5)
        self.kill()

    def answers(self) -> bool:
        """Whether it is healthy and does what it is there for."""
        raise NotImplementedError

    def wait_ready(self) -> None:
        """Wait until it answers. Fails with the end of its log."""
        start = time.monotonic()
        while not self._try_answers():
            late = time.monotonic() - start > START_TIMEOUT
            if late or not self.is_running:
                log = self.log.read_text(errors="replace")[-4000:]
                raise AssertionError(f"{self.url} {'is not ready' if late else 'ended'}; its log ends:\n{log}")
            time.sleep(0.1)

    def _try_answers(self) -> bool:
        try:
            return self.answers()
        except (OSError, http.client.HTTPException):
            return False

    def _end(self, number: signal.Signals, *, patience: float) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
        self._process.wait(patience)
        if number is signal.SIGKILL:
            eventually(lambda: not self._has_group(), within=patience, what=f"the group of {self.url} is gone")
            self._note(running=False)
            self._process = None

    def _has_group(self) -> bool:
        assert self._process is not None
        try:
            os.killpg(self._process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def _note(self, *, running: bool) -> None:
        """Keep the list of running groups that run.sh reads."""
        assert self._process is not None
        groups = set(self._groups.read_text().split()) if self._groups.exists() else set()
        own = {str(self._process.pid)}
        self._groups.write_text("\n".join(sorted(groups | own if running else groups - own)) + "\n")


class VllmServer(Service):
    """One real vLLM server."""

    def __init__(self, *, venv: Path, model: Path, port: int, folder: Path, options: Sequence[str] = ()) -> None:
        """`venv` is where vLLM is installed; `model` is a folder that recipe/vllm.sh made; `options` are vLLM's."""
        command = [str(RECIPE), "serve", str(venv), str(model), str(port), *options]
        super().__init__(command, port=port, folder=folder)

    @property
    def name(self) -> str:
        """What a router calls it."""
        return self.url.removeprefix("http://")

    def answers(self) -> bool:
        """Whether it is healthy and completes: health alone also comes from a server whose every answer is a 500."""
        if fetch(self.url + "/health").status != 200:
            return False
        return fetch(self.url + "/v1/completions", {"model": MODEL, "prompt": "x", "max_tokens": 1}).status == 200

    def kill_engine(self) -> None:
        """SIGKILL to the engine alone; the API server notices by itself."""
        self.send_to_engine(signal.SIGKILL)

    def send_to_engine(self, number: signal.Signals) -> None:
        """Send a signal to the engine's process, in which the model runs, and not to the API server."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        engines = [pid for pid in children if b"EngineCore" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        assert engines, "vLLM has no engine process"
        os.kill(int(engines[0]), number)

    def metric(self, name: str) -> float:
        """Return the sum over all labels of one of vLLM's own counters or gauges; `name` is without "vllm:"."""
        text = fetch(self.url + "/metrics").body.decode()
        values = re.findall(rf"^vllm:{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
        assert values, f"vLLM has no metric {name}"
        return sum(map(float, values))


@dataclass(frozen=True)
class Settings:
    """What differs from the router's defaults."""

    backend: dict[str, object] = field(default_factory=dict)  # of every backend
    translation: dict[str, object] = field(default_factory=dict)
    more: dict[str, object] = field(default_factory=dict)  # further sections


class Router(Service):
    """The router, started by its command line."""

    def __init__(
        self, *, backends: list[VllmServer], port: int, folder: Path, settings: Settings | None = None
    ) -> None:
        """All but `settings` is at its default, except that answers tell who gave them, and nobody starts slowly."""
        settings = settings or Settings()
        config = folder / f"{port}.yaml"
        config.write_text(
            json.dumps(  # JSON is YAML
                {
                    "server": {"host": "127.0.0.1", "port": port, "reveal_backend": True},
                    "admin": {"enabled": False},
                    "backends": [{"url": backend.url, **settings.backend} for backend in backends],
                    "translation": settings.translation,
                    "health": {"slow_start": 0},  # who comes back gets its whole share at once
                    **settings.more,
                },
                indent=1,
            )
        )
        super().__init__([sys.executable, "-m", "router", "serve", "--config", str(config)], port=port, folder=folder)

    def answers(self) -> bool:
        """Whether it takes requests."""
        return fetch(self.url + "/readyz").status == 200

    def metric(self, name: str, *labels: str) -> float:
        """Return the sum over the rows of a metric that have all these labels (as `state="open"`); 0 without any."""
        rows = [line for line in fetch(self.url + "/metrics").body.decode().splitlines() if line.startswith(name + "{")]
        return sum(float(row.rpartition(" ")[2]) for row in rows if all(label in row for label in labels))


@dataclass
class Cluster:
    """vLLM servers behind the router; or, to check what the tests expect, one vLLM server and no router."""

    servers: list[VllmServer]
    router: Router | None

    @property
    def url(self) -> str:
        """What clients talk to."""
        return (self.router or self.servers[0]).url

    def up(self) -> None:
        """Start what does not run, and wait until every server gets requests."""
        services: list[Service] = [*self.servers, *([self.router] if self.router else [])]
        down = [service for service in services if not service.is_running]
        for service in down:
            service.start()
        for service in down:
            service.wait_ready()
        if self.router and down:
            eventually(self._all_serve, within=20, what="every server gets requests")

    def down(self) -> None:
        """End everything."""
        with contextlib.ExitStack() as ending:
            for service in [*self.servers, *([self.router] if self.router else [])]:
                ending.callback(service.stop)

    def serves(self) -> str | None:
        """Ask for one token; return the name of the backend that gave it."""
        answer = fetch(self.url + "/v1/completions", {"model": MODEL, "prompt": "x", "max_tokens": 1})
        return answer.headers.get("x-router-backend")

    def _all_serve(self) -> bool:
        return len({self.serves() for _ in self.servers}) == len(self.servers)

    def metric(self, name: str) -> float:
        """Return the sum over all servers."""
        return sum(server.metric(name) for server in self.servers)

    def is_idle(self) -> bool:
        """Whether no server runs a request, and none waits."""
        return self.metric("num_requests_running") == 0 and self.metric("num_requests_waiting") == 0

    def metric_by_server(self, name: str) -> list[float]:
        """Return the values in the order of the servers."""
        return [server.metric(name) for server in self.servers]


@contextlib.contextmanager
def running_cluster(*, venv: Path, model: Path, folder: Path, count: int, direct: bool) -> Iterator[Cluster]:
    """Start `count` servers with the router, or one without it, and end them, whatever happens in between."""
    ports = free_ports(1 if direct else count + 1)
    servers = [VllmServer(venv=venv, model=model, port=port, folder=folder) for port in ports[:count]]
    router = None if direct else Router(backends=servers, port=ports[count], folder=folder)
    cluster = Cluster(servers, router)
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()


@contextlib.contextmanager
def running_router(backends: list[VllmServer], *, folder: Path, settings: Settings | None = None) -> Iterator[Router]:
    """Start one more router in front of servers that run, and end it, whatever happens in between."""
    (port,) = free_ports(1)
    router = Router(backends=backends, port=port, folder=folder, settings=settings)
    router.start()
    try:
        router.wait_ready()
        yield router
    finally:
        router.stop()
