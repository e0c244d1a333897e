"""A cluster of real processes: simulated vLLM servers, a router before them, each signalled and ended by its id.

    async with cluster(3, config={"resume": {"mode": "off"}}, simulate=["--itl", "20ms"]) as it:
        it.backends[0].kill()

At its end it holds that the router has given everything back, and that nothing is left running.
"""

import asyncio
import json
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from tornado.httpclient import HTTPResponse

from bench.processes import free_ports
from router.wire.client import PooledHTTPClient, Request, parse_url
from tests.chaos.processes import START_TIMEOUT, Process, until
from tests.chaos.released import LEDGER, Descriptors, process_released, samples
from tests.front import CHAT, merged

# Quick enough for a test; everything else as shipped.
QUICK: dict[str, Any] = {
    "server": {"host": "127.0.0.1", "reveal_backend": True, "idle_timeout": 5, "drain_timeout": 10},
    "health": {"interval": 0.2, "timeout": 2, "models_interval": 1},
    "pool": {"keepalive": 1},
    "admin": {"enabled": False},
}


class Backend(Process):
    """One simulated vLLM server in a process of its own."""

    def __init__(self, port: int, arguments: Sequence[str], folder: Path) -> None:
        """`arguments` are those of `devstral-router simulate`."""
        command = ["-m", "router", "simulate", "--port", str(port), *arguments]
        super().__init__(command, log=folder / f"backend-{port}.log")
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.name = f"127.0.0.1:{port}"

    async def listens(self) -> None:
        """Wait until it takes connections."""
        await until(
            lambda: connects(self.port) or not self.is_running, within=START_TIMEOUT, what=f"{self.url} listens"
        )
        assert self.is_running, self.said()

    async def faults(self, **described: Any) -> None:
        """Make it misbehave from now on: the fields of router.simulator.faults.Faults; none of them: it behaves."""
        status, body = await post(self.port, "/simulator/faults", described)
        assert status == 200, body

    async def stats(self, *, requests: int = 0) -> dict[str, Any]:
        """Return what it has counted, and the last requests that it got."""
        return dict(json.loads(await get(self.port, f"/simulator/stats?requests={requests}")))


def connects(port: int) -> bool:
    """Whether somebody takes connections on a port."""
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0


class RouterProcess(Process):
    """`devstral-router serve`, configured by a file that a test may rewrite."""

    def __init__(self, config: dict[str, Any], folder: Path, *, command: Sequence[str] = ("-m", "router")) -> None:
        """`config` is the file's content; port and log are chosen here. `command` starts the command line."""
        self.file = folder / "router.yaml"
        self.lines = folder / "router.log"
        self.port, self.admin_port = free_ports(2)
        self.config = merged(config, {"server": {"port": self.port}, "logging": {"file": str(self.lines)}})
        if self.config["admin"]["enabled"]:
            self.config["admin"]["port"] = self.admin_port
        self.write(self.config)
        super().__init__([*command, "serve", "--config", str(self.file)], log=folder / "router.out")
        self.url = f"http://127.0.0.1:{self.port}"

    def write(self, config: dict[str, Any]) -> None:
        """Replace the configuration file, at once for whoever reads it."""
        self.config = config
        self.write_text(yaml.safe_dump(config))

    def write_text(self, text: str) -> None:
        """Replace the configuration file by any text."""
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.replace(self.file)

    async def ready(self) -> None:
        """Wait until it is ready."""
        await until(lambda: not self.is_running or connects(self.port), within=START_TIMEOUT, what="the router listens")
        while True:
            assert self.is_running, self.said() + (self.lines.read_text() if self.lines.exists() else "")
            if (await status_of(self.port, "/readyz"))[0] == 200:
                return
            await asyncio.sleep(0.02)

    async def page(self) -> str:
        """Return its metrics."""
        return (await get(self.port, "/metrics")).decode()

    async def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that carry these labels."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        rows = samples(await self.page())
        return sum(value for found, given, value in rows if found == name and all(each in given for each in wanted))

    def log_lines(self) -> list[dict[str, Any]]:
        """Return its log so far, line by line."""
        text = self.lines.read_text() if self.lines.exists() else ""
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def access(self) -> list[dict[str, Any]]:
        """Return its access log so far."""
        return [line for line in self.log_lines() if line["logger"] == "router.access"]

    async def logged(self, words: str) -> dict[str, Any]:
        """Wait for a line of the application's log that holds these words; return it."""
        await until(lambda: self._find(words), what=f"the log says: {words}")
        return self._find(words)[0]

    def _find(self, words: str) -> list[dict[str, Any]]:
        return [line for line in self.log_lines() if words in line.get("message", "")]


class Cluster:
    """What a test has at hand."""

    def __init__(self, backends: list[Backend], router: RouterProcess, folder: Path) -> None:
        """Made by `cluster`."""
        self.backends = backends
        self.router = router
        self.folder = folder
        self.client = PooledHTTPClient(force_instance=True)
        self.others: list[Process] = []  # ended with the cluster

    async def ask(self, path: str, body: object = None, *, timeout: float = 30.0, **more: Any) -> HTTPResponse:
        """Send a request; `more`: method, headers, streaming_callback ... of an HTTPRequest."""
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {**({} if raw is None else {"Content-Type": "application/json"}), **more.pop("headers", {})}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
        method = more.pop("method", "GET" if raw is None else "POST")
        origin, target = parse_url(self.router.url + path)
        request = Request(
            method=method, origin=origin, target=target, header_lines=lines, body=raw, request_timeout=timeout, **more
        )
        return await self.client.fetch(request, raise_error=False)

    async def chat(
        self, *, timeout: float = 30.0, headers: dict[str, str] | None = None, **fields: Any
    ) -> HTTPResponse:
        """Ask for a chat completion; `fields` are those of its body."""
        return await self.ask("/v1/chat/completions", {**CHAT, **fields}, timeout=timeout, headers=headers or {})

    async def stream(self, *, on_data: Any = None, timeout: float = 60.0, **fields: Any) -> "Answer":
        """Ask for a streamed chat completion, and read it to its end; `on_data` sees each piece as it comes."""
        pieces: list[bytes] = []

        def take(data: bytes) -> None:
            pieces.append(data)
            if on_data is not None:
                on_data(data)

        body = {**CHAT, "stream": True, **fields}
        response = await self.ask("/v1/chat/completions", body, timeout=timeout, streaming_callback=take)
        return Answer(response.code, b"".join(pieces) or response.body or b"")

    def descriptors(self) -> Descriptors:
        """Return what the router's processes hold."""
        ports = (self.router.port, self.router.admin_port)
        return Descriptors.of(self.router.pids, ports=ports, backends=self.asked)

    @property
    def asked(self) -> set[int]:
        """Return the ports that the router connects to, and those that it may have connected to before."""
        named = {int(each["url"].rpartition(":")[2]) for each in self.router.config["backends"]}
        return named | {each.port for each in self.backends}


class Answer:
    """A streamed answer, read."""

    def __init__(self, status: int, raw: bytes) -> None:
        """`raw`: the body as it came."""
        self.status = status
        self.raw = raw
        payloads = [line[6:] for line in raw.split(b"\n") if line.startswith(b"data: ")]
        self.is_whole = bool(payloads) and payloads[-1] == b"[DONE]"
        self.events: list[dict[str, Any]] = [json.loads(each) for each in payloads if each != b"[DONE]"]

    @property
    def text(self) -> str:
        """Return the text of its choices."""
        deltas = (choice.get("delta", {}) for event in self.events for choice in event.get("choices", ()))
        return "".join(delta.get("content") or "" for delta in deltas)

    @property
    def error(self) -> dict[str, Any] | None:
        """Return the error event, which must be the last one."""
        errors = [event["error"] for event in self.events if "error" in event]
        assert not errors or (len(errors) == 1 and "error" in self.events[-1]), self.raw[-1000:]
        return errors[0] if errors else None


# ---- plain requests, each on a connection of its own


async def exchange(port: int, raw: bytes, *, within: float = 15.0) -> bytes:
    """Send bytes and read to the end of the connection."""
    async with asyncio.timeout(within):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(raw)
            return await reader.read()
        finally:
            writer.close()


async def status_of(port: int, path: str) -> tuple[int, bytes]:
    """GET; return status and body, and (0, b"") where nobody answers."""
    try:
        raw = await exchange(port, f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    except OSError:
        return 0, b""
    head, _, body = raw.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]) if head else 0, body


async def get(port: int, path: str) -> bytes:
    """GET, and fail where it is no 200."""
    status, body = await status_of(port, path)
    assert status == 200, (path, status, body)
    return body


async def post(port: int, path: str, body: object) -> tuple[int, bytes]:
    """POST JSON; return status and body."""
    raw = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n"
    answer = await exchange(port, f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
    head_bytes, _, payload = answer.partition(b"\r\n\r\n")
    return int(head_bytes.split(b" ")[1]), payload


# ---- the whole


def described(urls: Sequence[str], options: Sequence[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    """Return the configuration's list of backends, which speak OpenAI's dialect unless `options` say otherwise."""
    more = list(options) or [{}] * len(urls)
    return [{"url": url, "dialect": "openai", **extra} for url, extra in zip(urls, more, strict=True)]


@asynccontextmanager
async def cluster(
    count: int = 3,
    *,
    config: dict[str, Any] | None = None,
    simulate: Sequence[str] = (),
    urls: Sequence[str] | None = None,
    command: Sequence[str] = ("-m", "router"),
    limits: Callable[[], None] | None = None,
) -> AsyncIterator[Cluster]:
    """Start simulated servers and a router before them, all ready.

    `simulate`: arguments of every server. `urls`: what the router is told instead of the servers' own (a proxy before
    them). `command`: what starts the router's command line; `limits` is called in its process before.
    `config` may hold `backend_options`, one per backend.
    """
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        folder = Path(name)
        backends = [Backend(port, simulate, folder) for port in free_ports(count)]
        tree = merged(QUICK, config or {})
        tree["backends"] = described(urls or [each.url for each in backends], tree.pop("backend_options", ()))
        it = Cluster(backends, RouterProcess(tree, folder, command=command), folder)
        it.router.limits = limits
        try:
            for each in backends:
                each.start()
            await asyncio.gather(*(each.listens() for each in backends))
            LEDGER.opened.append(it.router.url)
            it.router.start()
            await it.router.ready()
            usable = len(tree["backends"])
            while await it.router.metric("router_backend_usable") != usable:
                await asyncio.sleep(0.02)
            before = await _at_rest(it)
            yield it
            await _settled(it, before)
        finally:
            it.client.close()
            for process in (it.router, *backends, *it.others):
                await process.end()


async def _at_rest(it: Cluster) -> Descriptors:
    """Return what the router's processes hold once the last of them has started."""
    if it.router.config["server"].get("workers", 1) == 1:
        return it.descriptors()
    before, now = None, it.descriptors()
    while before is None or before.others != now.others or len(it.router.pids) < 2:
        await asyncio.sleep(0.4)
        before, now = now, it.descriptors()
    return now


async def _settled(it: Cluster, before: Descriptors) -> None:
    """Hold that all is back where it was, or that a router which has ended left nobody behind."""
    it.client.close()
    for each in it.backends:
        if each.is_running:
            each.thaw()
    if it.router.code is None or connects(it.router.port):
        await process_released(it.router.page, it.descriptors, before=before, backends=len(it.asked))
    else:
        await until(lambda: not it.router.is_alive, what="no process of the router is left")
    LEDGER.checked.append(it.router.url)
