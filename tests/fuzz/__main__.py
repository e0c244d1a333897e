"""Runs targets: `python -m tests.fuzz [--seconds S] [--cases N] [--engine atheris|own|both] [TARGET ...]`.

`own` is our own mutations (mutate.py), from a seed that is printed, so that a run can be repeated with `--seed`;
`atheris` is libFuzzer, guided by the coverage of our Python code. Each target ends with the first of both bounds. What
breaks a rule is written to found/TARGET, where plain tests replay it from then on; the exit status is 1 then.
"""

import argparse
import hashlib
import re
import resource
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fuzz.mutate import Mutations
from tests.fuzz.target import FOUND, Target
from tests.fuzz.targets import TARGETS

HANG = 5  # seconds of the processor for one case, beyond what any takes by a factor of 100
GROWTH = 150 * 1024  # KiB that a run may add to what its process takes
MOST_FOUND = 20  # of one target in one run: more say the same
MEMORY = 2048  # MiB, of a process of libFuzzer
EXECUTED = re.compile(r"stat::number_of_executed_units: +([0-9]+)")
EDGES = re.compile(r" cov: ([0-9]+)")


class Hang(BaseException):
    """A case did not end; nothing of the code under test catches it."""


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Raise Hang when it takes longer, on the processor: a slow machine is no hang."""

    def hang(number: int, frame: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGVTALRM, hang)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def keep(target: Target, data: bytes, why: str) -> None:
    """Write down a case that breaks a rule."""
    folder = FOUND / target.name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(data).hexdigest()[:12]
    path.write_bytes(data)
    print(f"  {path.name}: {why}", flush=True)


def run_own(target: Target, *, cases: int, seconds: float, seed: int) -> bool:
    """Run our own mutations; return whether no rule was broken."""
    cases_of = Mutations(list({**target.seeds(), **target.found()}.values()), target.words, seed=seed)
    began, memory = time.monotonic(), _memory()
    done = hangs = broken = 0
    slowest = 0.0
    while done < cases and time.monotonic() - began < seconds and broken + hangs < MOST_FOUND:
        data = cases_of.next()
        started = time.perf_counter()
        try:
            with bounded(HANG):
                target.run(data)
        except Hang:
            hangs += 1
            keep(target, data, f"does not end within {HANG} s")
        except Exception:
            broken += 1
            keep(target, data, traceback.format_exc().strip().rpartition("\n")[2][:300])
        slowest = max(slowest, time.perf_counter() - started)
        done += 1
        if done == 1000:
            memory = _memory()  # what is loaded and cached once is there by now
    grown = _memory() - memory
    print(
        f"{target.name}: own mutations, seed {seed}: {done:,} cases in {time.monotonic() - began:.0f} s, "
        f"{broken} broken rules, {hangs} hangs, slowest {slowest * 1000:.0f} ms, {max(grown, 0) / 1024:.0f} MiB more",
        flush=True,
    )
    if grown > GROWTH:
        print("  that is more memory than it may take")
    return not (broken or hangs or grown > GROWTH)


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB


def run_atheris(target: Target, *, cases: int, seconds: float, seed: int) -> bool:
    """Run libFuzzer in a process of its own; return whether no rule was broken."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "corpus").mkdir()
        for number, data in enumerate({**target.seeds(), **target.found()}.values()):
            (folder / "corpus" / f"{number:05}").write_bytes(data)
        (folder / "words").write_text("".join(map(_quoted, target.words)))
        options = {
            "max_total_time": int(seconds),
            "runs": cases,
            "seed": seed,
            "timeout": HANG * 4,
            "rss_limit_mb": MEMORY,
            "max_len": 20_000,
            "dict": folder / "words",
            "artifact_prefix": f"{folder}/found-",
            "print_final_stats": 1,
        }
        command = [sys.executable, "-m", "tests.fuzz.under_atheris", target.name]
        command += [*(f"-{key}={value}" for key, value in options.items()), str(folder / "corpus")]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        found = sorted(folder.glob("found-*"))
        for path in found:
            data = path.read_bytes()
            keep(target, data, _why(target, data, path.name.split("-")[1]))
    told = done.stdout + done.stderr
    executed, edges = EXECUTED.findall(told), EDGES.findall(told)
    print(
        f"{target.name}: atheris, seed {seed}: {int(executed[-1]) if executed else 0:,} cases in "
        f"{time.monotonic() - began:.0f} s, {len(found)} broken rules or hangs, "
        f"{edges[-1] if edges else '?'} edges of router/ covered",
        flush=True,
    )
    if done.returncode and not found:
        print(f"  it ended with {done.returncode}:\n{told[-2000:]}")
    return not (done.returncode or found)


def _quoted(word: bytes) -> str:
    """Return a line of libFuzzer's dictionaries."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n'


def _why(target: Target, data: bytes, kind: str) -> str:
    """Say what breaks, by running it once more."""
    try:
        with bounded(HANG):
            target.run(data)
    except Hang:
        return f"does not end within {HANG} s"
    except Exception:
        return traceback.format_exc().strip().rpartition("\n")[2][:300]
    return kind


def main() -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=20.0, help="of each target and engine")
    parser.add_argument("--cases", type=int, help="of each target and engine; by default its own number")
    parser.add_argument("--engine", choices=("atheris", "own", "both"), default="both")
    parser.add_argument("--seed", type=int, help="to repeat a run; by default another each time")
    given = parser.parse_args()
    seed = secrets.randbits(31) if given.seed is None else given.seed
    unknown = set(given.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    is_well = True
    for name in given.targets or TARGETS:
        target = TARGETS[name]
        cases = given.cases or target.cases
        if given.engine != "atheris":
            is_well &= run_own(target, cases=cases, seconds=given.seconds, seed=seed)
        if given.engine != "own":
            is_well &= run_atheris(target, cases=cases, seconds=given.seconds, seed=seed)
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
