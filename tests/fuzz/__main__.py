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
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.fuzz.bounds import HANG, SILENCE, Hang, bounded, watched
from tests.fuzz.mutate import Mutations
from tests.fuzz.target import FOUND, Target
from tests.fuzz.targets import TARGETS

GROWTH = 150 * 1024  # KiB that a run may add to what its process takes
MOST_FOUND = 20  # of one target in one run: more say the same
SIGN = 100  # cases, after which a run shows that it is alive
MEMORY = 2048  # MiB, of a process of libFuzzer
EXECUTED = re.compile(r"stat::number_of_executed_units: +([0-9]+)")
EDGES = re.compile(r" cov: ([0-9]+)")


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
    with watched() as alive:
        while done < cases and time.monotonic() - began < seconds and broken + hangs < MOST_FOUND:
            data = cases_of.next()
            started = time.perf_counter()
            why, is_hang = _broken(target, data)
            slowest = max(slowest, time.perf_counter() - started)
            if why:
                broken, hangs = broken + (not is_hang), hangs + is_hang
                keep(target, data, why)
            done += 1
            if done % SIGN == 0:
                alive()
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
            "report_slow_units": HANG * 4,  # they look at the clock: a busy machine is slow
            "rss_limit_mb": MEMORY,
            "max_len": 20_000,
            "dict": folder / "words",
            "artifact_prefix": f"{folder}/found-",
            "print_final_stats": 1,
        }
        command = [sys.executable, "-m", "tests.fuzz.under_atheris", target.name]
        command += [*(f"-{key}={value}" for key, value in options.items()), str(folder / "corpus")]
        status, told = _ended(command, within=seconds + SILENCE * 3)  # to begin takes some
        found = sorted(folder.glob("found-*"))
        for path in found:
            data = path.read_bytes()
            keep(target, data, _broken(target, data)[0] or path.name.split("-")[1])
    executed, edges = EXECUTED.findall(told), EDGES.findall(told)
    print(
        f"{target.name}: atheris, seed {seed}: {int(executed[-1]) if executed else 0:,} cases in "
        f"{time.monotonic() - began:.0f} s, {len(found)} broken rules or hangs, "
        f"{edges[-1] if edges else '?'} edges of router/ covered",
        flush=True,
    )
    if status and not found:
        print(f"  it ended with {status}:\n{told[-2000:]}")
    return not (status or found)


def _ended(command: list[str], *, within: float) -> tuple[int, str]:
    """Run a command, for so many seconds at most; return its status and what it has said."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            status = process.wait(within)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        output.seek(0)
        return status, output.read().decode(errors="replace")


def _quoted(word: bytes) -> str:
    """Return a line of libFuzzer's dictionaries."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n'


def _broken(target: Target, data: bytes) -> tuple[str, bool]:
    """Run a case; return which rule it breaks, "" for none, and whether it is that it has no end."""
    try:
        with bounded(HANG):
            target.run(data)
    except Hang:
        return f"does not end within {HANG} s", True
    except Exception:
        return traceback.format_exc().strip().rpartition("\n")[2][:300], False
    return "", False


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
