"""Whether everything is back where it was: gauges, sockets, descriptors, tasks, timers.

Of a router process: through its metrics and /proc. Of a router in this process: directly. `LEDGER` notes which routers
were started and which were looked at, so that no test can leave the look out.
"""

import asyncio
import gc
import os
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bench.processes import claims
from tests.front import Front

WITHIN = 20.0  # seconds: longer than the pool and the clients' connections may stay idle in these tests
GAUGES = ("router_requests_in_flight", "router_backend_in_flight", "router_queue_length", "router_streams_in_flight")
PROBES = 3  # connections to one backend that watching it may hold: /health, /v1/models, /metrics
LISTENS = "0A"  # of /proc/net/tcp

Sample = tuple[str, str, float]  # name, labels, value


@dataclass
class Ledger:
    """Which routers a test has started, and which of them were found clean."""

    opened: list[str] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)

    def clear(self) -> None:
        """Begin a new test."""
        self.opened.clear()
        self.checked.clear()


LEDGER = Ledger()


def samples(page: str) -> list[Sample]:
    """Return what a page of metrics says."""
    found = []
    for line in page.splitlines():
        if line and not line.startswith("#"):
            head, _, value = line.rpartition(" ")
            name, _, labels = head.partition("{")
            found.append((name, labels.rstrip("}"), float(value)))
    return found


def left_over(page: str) -> list[Sample]:
    """Return the gauges of work that are not zero."""
    return [sample for sample in samples(page) if sample[0] in GAUGES and sample[2] != 0]


def pending_timers() -> Counter[str]:
    """Return the loop's timers that will still fire, by what they call."""
    found = (each for each in gc.get_objects() if type(each).__name__ == "TimerHandle" and not each.cancelled())
    # A timer that has fired has lost its callback; what is called is told apart by its code, not by its object.
    return Counter(
        re.sub(r" at 0x\w+|0x\w+|\d+", "", text) for each in found if (text := repr(each)) != "<TimerHandle>"
    )


def tasks() -> Counter[str]:
    """Return the tasks of the running loop but the current one, by their coroutine."""
    current = asyncio.current_task()
    return Counter(
        getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks() if task not in (current,)
    )


# ---- descriptors, from /proc


@dataclass(frozen=True)
class Descriptors:
    """The open descriptors of some processes, by what they are."""

    clients: int  # connections that were accepted
    backends: int  # connections to backends
    others: Counter[str]

    @classmethod
    def of(cls, pids: Iterable[int], *, ports: Iterable[int], backends: Iterable[int]) -> "Descriptors":
        """Count; `ports`: where the processes listen, `backends`: the ports that they connect to."""
        listening, asked = set(ports), set(backends)
        clients = outgoing = 0
        others: Counter[str] = Counter()
        for pid in pids:
            known = _tcp(pid)
            for link in _links(pid):
                local, remote, state = known.get(link, (0, 0, ""))
                if state and state != LISTENS and local in listening:
                    clients += 1
                elif state and remote in asked:
                    outgoing += 1
                else:
                    others["listening" if state == LISTENS else re.sub(r"\[\d+\]", "[]", link)] += 1
        return cls(clients, outgoing, others)


def _links(pid: int) -> list[str]:
    folder = Path(f"/proc/{pid}/fd")
    found = []
    try:
        for name in os.listdir(folder):
            try:
                found.append(os.readlink(folder / name))
            except OSError:
                continue  # closed meanwhile
    except OSError:
        return []  # the process has ended
    return found


def _tcp(pid: int) -> dict[str, tuple[int, int, str]]:
    """Return (local port, remote port, state) of every TCP socket, by the link that a descriptor of it shows."""
    found = {}
    for name in ("tcp", "tcp6"):
        try:
            rows = Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            local, remote = (int(address.rpartition(":")[2], 16) for address in fields[1:3])
            found[f"socket:[{fields[9]}]"] = (local, remote, fields[3])
    return found


# ---- a router process


async def process_released(
    page: Callable[[], Awaitable[str]], descriptors: Callable[[], Descriptors], *, before: Descriptors, backends: int
) -> None:
    """Wait until a router process holds what it held before, and fail with what it still holds."""
    end = time.monotonic() + WITHIN
    while True:
        work = left_over(await page())
        now = descriptors()
        more = now.others - before.others
        # One client is whoever asked for the page.
        if not work and now.clients <= 1 and now.backends <= PROBES * backends and not more:
            return
        assert time.monotonic() < end, (
            f"not released: {work}, {now.clients} connections of clients, {now.backends} to {backends} backends, {more}"
        )
        await asyncio.sleep(0.05)


# ---- a router in this process


@dataclass(frozen=True)
class Inside:
    """What a router in this process held when it was ready."""

    tasks: Counter[str]
    timers: Counter[str]

    @classmethod
    def now(cls) -> "Inside":
        """Look at the running loop."""
        return cls(tasks(), pending_timers())


async def inside_released(cluster: Front, *, before: Inside) -> None:
    """Wait until a router in this process holds what it held before, and fail with what it still holds."""
    end = time.monotonic() + WITHIN
    while True:
        held = _held(cluster) + _grown("task", tasks(), before.tasks)
        held = held or _grown("timer", pending_timers(), before.timers)
        if not held:
            return
        assert time.monotonic() < end, f"not released: {held}"
        await asyncio.sleep(0.05)


def _held(cluster: Front) -> list[str]:
    page = cluster.app.metrics.render("")[1].decode()
    held = [f"{name}{{{labels}}} {value}" for name, labels, value in left_over(page)]
    if cluster.server.connections:
        held.append(f"{cluster.server.connections} connections of clients")
    held += [
        f"{backend.spec.name}: {backend.in_flight}" for backend in cluster.app.registry.backends if backend.in_flight
    ]
    assert cluster.app.relay is not None
    if cluster.app.relay.live:
        held.append(f"{cluster.app.relay.live} exchanges")
    return held


def _grown(kind: str, now: Counter[str], before: Counter[str]) -> list[str]:
    """Return what is more than before. Watching backends sets timers and tasks of its own, a few at a time."""
    return [f"{kind} {name} +{count}" for name, count in (now - before).items() if count > PROBES and name]


def own_descriptors() -> Counter[str]:
    """Return the open descriptors of the process that runs the tests, by what they are."""
    gc.collect()
    found = Counter(re.sub(r"\[\d+\]", "[]", link) for link in _links(os.getpid()))
    return found - Counter({"socket:[]": len(claims)})  # kept on purpose
