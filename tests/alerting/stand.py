"""What the alerts are tried on: simulated backends, a router of two workers before them, and Prometheus."""

import asyncio
import json
import resource
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGCONT, SIGHUP, SIGKILL, SIGSTOP
from typing import Any

from bench.processes import free_ports
from tests.alerting.prometheus import Prometheus
from tests.alerting.traffic import MODELS, Traffic, traffic
from tests.authority import Authority
from tests.chaos.cluster import QUICK, Backend, Cluster, RouterProcess, described, get
from tests.chaos.processes import PROC, until
from tests.chaos.released import samples
from tests.front import CHAT, merged

BACKENDS = 3
CLIENTS = 8
FACTOR = 150.0  # five minutes become two seconds
LONG_FACTOR = 1500.0  # and six hours, in which a budget's failures are remembered, fourteen
INTERVAL = 0.5  # seconds between two scrapes, and the time of each; five minutes have four, as a rate needs
SIMULATED = [
    *("--ttft", "20ms", "--itl", "4ms", "--tokens", "8"),
    *(part for model in MODELS for part in ("--model", model)),
]
# Quick to see, and quick to forget: a stage must not shadow the next one.
CONFIG: dict[str, Any] = {
    # Connections that ask for nothing must outlast their stage.
    "server": {"workers": 2, "watch_config": False, "drain_timeout": 1, "idle_timeout": 60},
    "admin": {"enabled": True},
    "health": {"timeout": 1, "hung_after": 1, "load_interval": 0.3, "slow_start": 0, "max_down_for": 0.5},
    "breaker": {"open_for": 0.5, "max_open_for": 1},
    "timeouts": {"first_byte": 4, "unstreamed": 4, "idle": 2},
    "hedge": {"after": 0.2},
    "sessions": {"enabled": True},
    "overload": {"queue_size": 8, "queue_timeout": 4},
}


@dataclass
class Stand:
    """All that runs."""

    it: Cluster
    prometheus: Prometheus
    traffic: Traffic
    authority: Authority
    config: dict[str, Any]
    waiting: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def backends(self) -> list[Backend]:
        """Return the simulated servers."""
        return self.it.backends

    @property
    def router(self) -> RouterProcess:
        """Return the router."""
        return self.it.router

    async def faults(self, *numbers: int, **described: Any) -> None:
        """Make these backends misbehave, all if none is named; no fault: they behave."""
        chosen = [self.backends[number] for number in numbers] or self.backends
        await asyncio.gather(*(each.faults(**described) for each in chosen))

    @property
    def workers(self) -> list[int]:
        """Return the ids of the router's processes that serve."""
        return [pid for pid in self.router.pids if pid != self.router.pid]

    async def stop_for(self, seconds: float) -> None:
        """Have all workers stand still for so long."""
        workers = self.workers
        for pid in workers:
            self.router.told(pid, SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            for pid in workers:
                self.router.told(pid, SIGCONT)

    def allow_descriptors(self, share: float | None) -> None:
        """Let each worker have so many descriptors that those in use are this share; None: as many as it may.

        It goes by that when it reads its configuration.
        """
        for pid in self.workers:
            _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            used = len(list((PROC / str(pid) / "fd").iterdir()))
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard if share is None else int(used / share), hard))

    async def connect(self, count: int) -> None:
        """Open connections to the router that ask for nothing, until `leave`; return once it has taken them."""
        for _ in range(count):
            self.waiting.append((await asyncio.open_connection("127.0.0.1", self.router.port))[1])
        while await self.router.metric("router_connections") < count:
            await asyncio.sleep(0.05)

    async def wait_at(self, port: int) -> None:
        """Ask a backend for an answer, past the router, and wait for it until `leave`."""
        body = json.dumps({**CHAT, "model": MODELS[0]}).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        self.waiting.append(writer)

    def leave(self) -> None:
        """Close what waits."""
        while self.waiting:
            self.waiting.pop().close()

    async def configure(self, over: dict[str, Any] | str) -> None:
        """Have the router take up its configuration with what is otherwise, or a text that is none; wait for that."""
        before = await self._reloads()
        if isinstance(over, str):
            self.router.write_text(over)
        else:
            self.router.write(merged(self.config, over))
        self.router.signal(SIGHUP)
        while await self._reloads() == before:
            await asyncio.sleep(0.05)

    async def _reloads(self) -> float:
        # From the admin listener: what it speaks is not changed by any of this.
        rows = samples((await get(self.router.admin_port, "/metrics")).decode())
        return sum(value for name, _, value in rows if name == "router_config_reloads_total")

    def scrape(self, *more: int) -> None:
        """Scrape the router's admin listener, which is plain whatever clients speak, and these ports."""
        self.prometheus.scrape([self.router.admin_port, *more])

    async def kill_worker(self) -> None:
        """Kill the youngest worker, once all run."""
        await until(lambda: len(self.workers) >= 2, what="all workers run")
        victim = max(self.workers)
        self.router.told(victim, SIGKILL)
        await until(lambda: victim not in self.router.pids, what="it is gone")


@asynccontextmanager
async def stand() -> AsyncIterator[Stand]:
    """Start everything, with traffic; end it by the ids of its processes."""
    with tempfile.TemporaryDirectory(prefix="alerting-") as name:
        folder = Path(name)
        backends = [Backend(port, SIMULATED, folder) for port in free_ports(BACKENDS)]
        config = merged(QUICK, CONFIG)
        options = [{"dialect": "mistral", "profile": "v13", "max_connections": 6}] * BACKENDS
        config["backends"] = described([each.url for each in backends], options)
        router = RouterProcess(config, folder)
        it = Cluster(backends, router, folder)
        prometheus = Prometheus(
            _program("prometheus"), folder, factor=FACTOR, long_factor=LONG_FACTOR, interval=INTERVAL
        )
        authority = Authority(folder, _program("openssl"))
        try:
            prometheus.scrape([router.admin_port])
            for process in (prometheus, *backends, router):
                process.start()
            await asyncio.gather(*(each.listens() for each in backends))
            await router.ready()
            while await router.metric("router_backend_usable") != BACKENDS:
                await asyncio.sleep(0.05)
            await prometheus.ready()
            # It looks for its first target after five seconds, and misses the router until then.
            while not await prometheus.query("up == 1") or await prometheus.alerts():
                await asyncio.sleep(0.1)
            async with traffic(it, CLIENTS) as clients:
                yield Stand(it, prometheus, clients, authority, dict(router.config))
        finally:
            it.client.close()
            for process in (prometheus, router, *backends):
                await process.end()


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} is not installed (Debian: apt-get install {name})")
    return found
