"""`python -m bench.guard`: what the router does for a request and for an event, counted, beside what is stored.

Counted are system calls (by strace), calls of functions and blocks of memory asked for (by counting.c): they are the
same on a slow machine, on a busy one, and on every run. `--write` stores what is counted; `--check` exits with 1 where
more is done than is stored, beyond a margin, or something cannot be counted.
"""

import argparse
import contextlib
import json
import mmap
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import fronts
from bench.lockstep import Lockstep, body
from bench.processes import free_port, running
from router.wire.shortcut import MANY

STORED = Path(__file__).with_name("guard.json")
MARGIN = 0.07  # of a figure that may be added before it counts as more
SLACK = 0.5  # and by itself: one time in two
TRIES = 3  # counts of everything, before something is called more
SELDOM = 0.05  # times of what comes so seldom that it is the clock's doing
REQUESTS = 8  # that are counted, after one that is not
ROWS, EVENTS = 3, MANY  # so that each row of events has its share of what is done now and then for a stream
SMALL, LARGE = 2 * 1024, 128 * 1024
# What depends on how threads meet, and what the clock decides.
UNCOUNTED = {"futex", "restart_syscall", "sched_yield"}
COUNTS = struct.Struct("=QQQ")  # as counting.c lays them out
CALL = re.compile(r"^(\w+)\((.*)\) += (-?\w+)", re.MULTILINE)
NO_TIME = ", 0, NULL, 8"  # the end of the arguments of a look without sleep
CONFIG = """\
server: {{host: 127.0.0.1, port: {port}}}
admin: {{enabled: false}}
health: {{enabled: false, interval: 1h, models_interval: 1h, load_interval: 1h}}
logging: {{file: '{log}'}}
backends:
  - {{name: plain, url: 'http://127.0.0.1:{backend}', models: [openai], dialect: openai}}
  - {{name: mistral, url: 'http://localhost:{backend}', models: [mistral], dialect: mistral, profile: v13}}
"""
Figures = dict[str, float]  # "request: read" -> times


class Unmeasurable(Exception):
    """Something that counting needs is not there."""


def parse_strace(text: str) -> Counter[str]:
    """Return the calls that strace has written, one a line, without those of turns of the loop that the clock began.

    A turn begins where the loop's sleep ends, without anything to read where its time was over. A look for more with
    no time to sleep belongs to the turn before it. The sleep in which strace finds the loop is told or not, so it is
    not counted.
    """
    found: Counter[str] = Counter()
    is_by_clock = False
    for number, (name, arguments, result) in enumerate(CALL.findall(text)):
        if name.startswith("epoll_") and "wait" in name:
            if result != "0":
                is_by_clock = False
            elif not arguments.endswith(NO_TIME):
                is_by_clock = True
            if number == 0:
                continue
        if not is_by_clock and name not in UNCOUNTED:
            found[name] += 1
    return found


class Calls:
    """Counts the system calls of a process' first thread with strace."""

    def __init__(self, pid: int, work: Path) -> None:
        """Nothing is counted before `start`."""
        self._pid = pid
        self._out = work / "strace"
        self._tracer: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Begin; raises Unmeasurable where that is not allowed."""
        line = ["strace", "-o", str(self._out), "-p", str(self._pid)]
        self._tracer = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
        assert self._tracer.stderr is not None
        said = self._tracer.stderr.readline()
        if "attached" not in said:
            self._tracer.wait()
            raise Unmeasurable(f"strace: {said.strip()}")

    def stop(self) -> Counter[str]:
        """End, and return the calls by name."""
        assert self._tracer is not None
        self._tracer.send_signal(signal.SIGINT)
        self._tracer.communicate(timeout=20)
        return parse_strace(self._out.read_text())


class Page:
    """Reads the counts of counting.c."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        """`names`: of the three counts, in their order; those of None are not looked at."""
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), COUNTS.size, access=mmap.ACCESS_READ)
        self._names = names
        self._before: tuple[int, ...] = ()

    def start(self) -> None:
        """Begin."""
        self._before = COUNTS.unpack(self._map[:])

    def stop(self) -> Counter[str]:
        """Return what was added."""
        now = COUNTS.unpack(self._map[:])
        pairs = zip(self._names, now, self._before, strict=True)
        return Counter({name: late - early for name, late, early in pairs if name})


Counting = Calls | Page


def drive(step: Lockstep, counting: Callable[[], Counting], *, large: bool) -> Figures:
    """Return what each case costs, by "case: what"."""
    requests = {
        "request": body("openai", SMALL, stream=False),
        "request, Mistral": body("mistral", SMALL, stream=False),
    }
    if large:  # how many system calls move so much is for the sockets to decide
        requests["128 KB"] = body("openai", LARGE, stream=False)
        requests["128 KB, five repairs"] = body("mistral", LARGE, stream=False, repairs=True)
    figures: Figures = {}
    for name, raw in requests.items():
        figures.update(least(name, count_requests(step, raw, counting)))
    for name, model in (("event", "openai"), ("event, Mistral", "mistral")):
        figures.update(least(name, count_events(step, body(model, SMALL, stream=True), counting), times=EVENTS))
    return figures


def count_requests(step: Lockstep, raw: bytes, counting: Callable[[], Counting]) -> list[Counter[str]]:
    """Return what each of some requests costs."""
    found = []
    for number in range(1 + REQUESTS):
        counter = counting()
        counter.start()
        step.exchange(raw)
        cost = counter.stop()
        if number:
            found.append(cost)
    return found


def count_events(step: Lockstep, raw: bytes, counting: Callable[[], Counting]) -> list[Counter[str]]:
    """Return what each of some rows of events of one stream costs."""
    found: list[Counter[str]] = []
    counter = counting()

    def between(number: int) -> None:
        if number % EVENTS == 0:
            if number > EVENTS:
                found.append(counter.stop())
            if 0 < number < EVENTS * (ROWS + 1):
                counter.start()

    step.stream(raw, EVENTS * (ROWS + 1), between=between)
    return found


def least(case: str, found: Sequence[Counter[str]], *, times: int = 1) -> Figures:
    """Return the least of each, by "case: what": what runs now and then by the clock only adds."""
    names = sorted(set().union(*found))
    smallest = {name: min(each[name] for each in found) / times for name in names}
    return {f"{case}: {name}": round(value, 2) for name, value in smallest.items() if value >= SELDOM}


@contextlib.contextmanager
def router(work: Path, words: Sequence[str], *, is_blind: bool = False) -> Iterator[tuple[int, Lockstep]]:
    """Run a router with `words` before its own command line; yield its process id and who drives it.

    `is_blind`: as bench/blind.py makes it.
    """
    port, log = free_port(), work / "router.log"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = work / "router.yaml"
        config.write_text(CONFIG.format(port=port, log=log, backend=listener.getsockname()[1]))
        before = ["bench.blind"] if is_blind else []
        command = [sys.executable, "-m", *before, *words, "serve", "--config", str(config)]
        env = {**fronts.environment(), "PYTHONHASHSEED": "0"}
        with running(command, cores=None, log=work / "output", env=env, cwd=work) as process:
            wait_listening(port, work / "output")
            step = Lockstep(process.pid, port, backend=listener, log=None if is_blind else log)
            try:
                step.settle()
                yield process.pid, step
            finally:
                step.close()


def wait_listening(port: int, output: Path) -> None:
    """Return once somebody listens; raises TimeoutError with what was said."""
    deadline = time.monotonic() + fronts.READY_TIMEOUT
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
            return
        time.sleep(0.05)
    raise TimeoutError(f"the router does not listen: {output.read_text()[-500:]}")


def count_system_calls() -> Figures:
    """Return the system calls of each case, by name and together."""
    if shutil.which("strace") is None:
        raise Unmeasurable("strace is not installed (Debian: apt-get install strace)")
    with tempfile.TemporaryDirectory(prefix="devstral-router-guard-") as folder:
        work = Path(folder)
        with router(work, ["router"]) as (pid, step):
            return drive(step, lambda: Calls(pid, work), large=False)


def count_inside(kind: str, names: Sequence[str], *, large: bool = True, is_blind: bool = False) -> Figures:
    """Return the calls or the allocations of each case."""
    with tempfile.TemporaryDirectory(prefix="devstral-router-guard-") as folder:
        work = Path(folder)
        library = work / "counting.so"
        if not fronts.compile_c("counting.c", library, "-shared", "-fPIC"):
            raise Unmeasurable("there is no C compiler (Debian: apt-get install gcc libc6-dev)")
        counts = work / "counts"
        counts.write_bytes(bytes(mmap.PAGESIZE))
        with router(work, ["bench.guarded", kind, str(library), str(counts)], is_blind=is_blind) as (_, step):
            return drive(step, lambda: Page(counts, names), large=large)


def measure() -> dict[str, Figures]:
    """Count everything, side by side; raises Unmeasurable. Calls and blocks are those of this version of Python."""
    python = f"python {sys.version_info.major}.{sys.version_info.minor}"
    with ThreadPoolExecutor() as pool:
        system = pool.submit(count_system_calls)
        calls = pool.submit(count_inside, "calls", ("calls of Python", "calls of C", ""))
        blocks = pool.submit(count_inside, "allocations", ("", "", "allocations"))
        return {"system calls": system.result(), python: {**calls.result(), **blocks.result()}}


def more(found: Mapping[str, float], stored: Mapping[str, float]) -> list[str]:
    """Return a line for each figure that is over what is stored, by more than the margin."""
    lines = []
    for name, value in found.items():
        known = stored.get(name, 0.0)
        if value > known * (1 + MARGIN) + SLACK:
            lines.append(f"{name}: {value:.2f}, stored {known:.2f}")
    return lines


def compare(found: Mapping[str, Figures], stored: Mapping[str, Figures]) -> list[str]:
    """Return what is over, and what nothing is stored for."""
    lines = []
    for kind, figures in found.items():
        if kind not in stored:
            lines.append(f"nothing is stored for {kind}")
        else:
            lines += more(figures, stored[kind])
    return lines


def judged(stored: Mapping[str, Figures], *, tries: int = TRIES) -> tuple[dict[str, Figures], list[str]]:
    """Count, and return what was found and what of it is over; count again before something is called so.

    On a machine so busy that a request takes seconds, each may meet what runs every second.
    """
    found = measure()
    for _ in range(tries - 1):
        if not compare(found, stored):
            break
        again = measure()
        for kind, figures in found.items():
            found[kind] = {name: min(value, again[kind].get(name, 0.0)) for name, value in figures.items()}
    return found, compare(found, stored)


def read_stored() -> dict[str, Figures]:
    """Return what is stored."""
    found: dict[str, Figures] = json.loads(STORED.read_text()) if STORED.exists() else {}
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Count, compare or write."""
    parser = argparse.ArgumentParser(prog="python -m bench.guard", description=__doc__)
    parser.add_argument("--write", action="store_true", help="store what is counted")
    parser.add_argument("--check", action="store_true", help="exit with 1 where it is more than what is stored")
    args = parser.parse_args(argv)
    stored = read_stored()
    try:
        found, over = judged(stored, tries=1 if args.write else TRIES)
    except Unmeasurable as fault:
        print(f"guard: {fault}", file=sys.stderr)
        return 1
    for kind, figures in found.items():
        print(f"{kind:45} {'counted':>10} {'stored':>10}")
        for name, value in sorted(figures.items()):
            known = stored.get(kind, {}).get(name)
            print(f"  {name:43} {value:10.2f} {'-' if known is None else format(known, '10.2f'):>10}")
    if args.write:
        STORED.write_text(json.dumps({**stored, **found}, indent=1, sort_keys=True) + "\n")
        return 0
    print(*over, sep="\n")
    return int(args.check and bool(over))


if __name__ == "__main__":
    sys.exit(main())
