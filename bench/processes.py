"""Processes that the benchmark starts: pinned, bounded, ended by their own id; and what they cost, read from /proc."""

import contextlib
import os
import random
import resource
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")  # unit of the times in /proc/PID/stat, per second
PROC = Path("/proc")
END_TIMEOUT = 5.0  # seconds from SIGTERM to SIGKILL: longer than any front needs when idle
FIRST_PORT = 10_000  # what is below has customary owners
PORTS = 1000  # that a process takes for itself at a time

claims: list[socket.socket] = []  # one for each range of ports that this process has taken for itself
_own: deque[int] = deque()  # all ports of those ranges: the next one to be given first, the last one given last


def free_ports(count: int) -> list[int]:
    """Return so many TCP ports of 127.0.0.1 on which nobody listens now.

    No other process that asks here is given the same ones (tests run side by side), and this one only after all others
    that it has: who got one may not listen yet, or listen no more and want to be refused. They are below the range that
    port 0 and outgoing connections take theirs from: one in that range could be taken while its server is down, even
    by the connection that looks for the server.
    """
    ports: list[int] = []
    tried = 0
    while len(ports) < count:
        if tried == len(_own):
            _own.extendleft(_claimed())
        port = _own.popleft()
        _own.append(port)
        tried += 1
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports.append(port)
    return ports


def _claimed() -> list[int]:
    """Take a range of ports for this process, by a name that the kernel gives to one process alone, until it ends."""
    floor = int((PROC / "sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    starts = range(FIRST_PORT, floor - PORTS + 1, PORTS)
    for start in random.sample(starts, len(starts)):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0devstral-router-ports-{start}")
        except OSError:
            claim.close()
            continue
        claims.append(claim)
        return random.sample(range(start, start + PORTS), PORTS)
    raise RuntimeError(f"no free ports below {floor}: {len(starts)} ranges are taken")


def free_port() -> int:
    """Return one of them."""
    return free_ports(1)[0]


def parse_stat(text: str) -> tuple[int, int]:
    """Return (parent's id, ticks of CPU that ended children took) of one /proc/PID/stat line.

    Those are cutime + cstime: a worker that is replaced during a run does not take its time with it. The name (field 2)
    may hold blanks and brackets.
    """
    fields = text[text.rindex(")") + 2 :].split()
    return int(fields[1]), int(fields[13]) + int(fields[14])


def own_cpu(pid: int) -> float:
    """Return the CPU seconds of all threads of a process, ended ones too; 0.0 where there is no such process.

    By its CPU clock, in nanoseconds (clock_getcpuclockid(3), whose number Linux makes so). /proc/PID/stat tells the
    same in ticks of 10 ms, of which one is 0.13 us an event where 77,000 are counted.
    """
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0.0


def descendants(root: int, parents: Mapping[int, int]) -> set[int]:
    """Return `root` and everything below it; `parents` maps a process to its parent."""
    found = {root}
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found


def _stats() -> dict[int, tuple[int, int]]:
    stats = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile
                stats[int(entry.name)] = parse_stat((entry / "stat").read_text())
    return stats


def parents() -> dict[int, int]:
    """Return the parent of every process."""
    return {pid: parent for pid, (parent, _) in _stats().items()}


def tree_cpu(root: int) -> float:
    """Return the CPU seconds that a process and its descendants have used."""
    stats = _stats()
    tree = descendants(root, {pid: parent for pid, (parent, _) in stats.items()})
    return sum(own_cpu(pid) + stats[pid][1] / TICKS for pid in tree if pid in stats)


def parse_memory(text: str) -> dict[str, int]:
    """Return {"rss": bytes, "pss": bytes} of one smaps_rollup."""
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in text.splitlines()[1:] if ":" in line}
    return {"rss": sizes["Rss"], "pss": sizes["Pss"]}


def tree_memory(root: int) -> dict[str, int]:
    """Return the memory of a process and its descendants, in bytes.

    Shared pages count in the RSS of each, and once, divided, in the PSS.
    """
    total = {"rss": 0, "pss": 0}
    for pid in descendants(root, parents()):
        with contextlib.suppress(OSError):
            for name, size in parse_memory((PROC / str(pid) / "smaps_rollup").read_text()).items():
                total[name] += size
    return total


def parse_busy(text: str) -> float:
    """Return the seconds all cores together have been busy, from /proc/stat.

    All but idle and waiting: user, nice, system, irq, softirq, steal.
    """
    fields = [int(field) for field in text.splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS


def machine_busy() -> float:
    """Return the seconds all cores together have been busy since the machine started."""
    return parse_busy((PROC / "stat").read_text())


@contextlib.contextmanager
def running(
    command: Sequence[str],
    *,
    cores: set[int] | None,
    log: Path,
    env: Mapping[str, str],
    cwd: Path,
    descriptors: int | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server for the length of the block, its output in `log`; end it and its children after.

    It leads a process group of its own, and only that group is ended.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
            preexec_fn=pin(cores, descriptors=descriptors),
        )
    try:
        yield process
    finally:
        _end(process)


def pin(cores: set[int] | None, *, descriptors: int | None = None) -> Callable[[], None] | None:
    """Return a function that binds the calling process to `cores` and sets its limit of open files; None for neither.

    Where the hard limit is lower than `descriptors`, that is taken.
    """
    if cores is None and descriptors is None:
        return None

    def bind() -> None:
        if cores is not None:
            os.sched_setaffinity(0, cores)
        if descriptors is not None:
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            limit = descriptors if hard == resource.RLIM_INFINITY else min(descriptors, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    return bind


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(END_TIMEOUT)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def core_plan(available: Sequence[int]) -> dict[str, set[int] | None]:
    """Return which cores front, backend and load get; None for all where there are fewer than two.

    The front has a core of its own; with two cores, backend and load share the other.
    """
    if len(available) < 2:
        return {"front": None, "backend": None, "load": None}
    return {"front": {available[0]}, "backend": {available[1]}, "load": {available[2 if len(available) > 2 else 1]}}
