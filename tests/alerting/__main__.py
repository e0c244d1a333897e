"""`python -m tests.alerting [--once] [--hold SECONDS] [--json FILE]` (make observe): harms, and the alerts they bring.

Starts simulated backends, a router and a real Prometheus, all on 127.0.0.1, with the shipped rules made quick. Every
stage does one harm, waits for its alerts, mends it, and waits until they are gone; then every query of the dashboard
is asked, and exemplars where it wants them. Exit status: 0 where all came as it must, 1 where not. Rounds go on until
Ctrl-C; --once: one round.
"""

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

from tests.alerting.dashboard import queries, read
from tests.alerting.prometheus import Firing
from tests.alerting.stages import REMEMBER, STAGES, Stage
from tests.alerting.stand import FACTOR, INTERVAL, Stand, stand

WITHIN = 40.0  # seconds for an alert to fire, or to be gone
LONGEST = 150.0  # seconds for a whole stage: what it waits for otherwise has never come
CALM = 1.5  # seconds for which a stage that brings no alert is watched
FILLED = "3s"  # of $__rate_interval


async def play(here: Stand, stage: Stage, *, hold: float) -> dict[str, Any]:
    """Do it, and return what came of it: seconds to each alert, alerts that were wrong, seconds until all were gone.

    What fires while the harm is being done counts as well, however briefly: Prometheus remembers it.
    """
    begun = time.time()

    async def all_fired() -> bool:
        return stage.brings <= told_of(await here.prometheus.fired_since(begun)).keys() and time.time() - begun > CALM

    await stage.harm(here)
    await until_so(all_fired)
    await asyncio.sleep(hold)
    await stage.mend(here)
    mended = time.time()

    async def all_answered() -> bool:
        return here.traffic.asked_since(mended)

    async def all_gone() -> bool:
        return await here.prometheus.alerts() <= REMEMBER

    # What is pending, or not scraped yet, would be the next stage's.
    answered = await until_so(all_answered)
    await here.prometheus.judge()
    gone = await until_so(all_gone) and answered
    gone_after = round(time.time() - mended, 2)
    firing = await here.prometheus.fired_since(begun)
    fired = told_of(firing)
    return {
        "stage": stage.name,
        "fired": {name: round(fired[name] - begun, 2) for name in sorted(stage.brings & fired.keys())},
        "missing": sorted(stage.brings - fired.keys()),
        "wrong": wrong(firing, stage.brings | stage.may | REMEMBER),
        "gone": gone_after if gone else None,
    }


async def until_so(holds: Callable[[], Awaitable[bool]]) -> bool:
    """Wait until it holds; return whether it came about."""
    ends = time.monotonic() + WITHIN
    while not await holds():
        if time.monotonic() > ends:
            return False
        await asyncio.sleep(INTERVAL / 2)
    return True


def told_of(firing: dict[str, list[Firing]]) -> dict[str, float]:
    """Return the alerts that fired by name, and each with its severity, as "name=page"; with the time of the first."""
    every = [(name, each) for name, several in firing.items() for each in several]
    told = [pair for name, each in every for pair in ((name, each.since), (f"{name}={each.severity}", each.since))]
    return {name: min(since for other, since in told if other == name) for name, _ in told}


def wrong(firing: dict[str, list[Firing]], right: frozenset[str]) -> dict[str, list[dict[str, str]]]:
    """Return the labels of the alerts that fired and are none of those, which may be named with a severity."""
    return {
        name: faults
        for name, several in firing.items()
        if (faults := [each.labels for each in several if not {name, f"{name}={each.severity}"} & right])
    }


async def empty_queries(here: Stand, begun: float) -> list[str]:
    """Return the dashboard's queries that had no number since `begun`."""
    found = []
    for query in queries(read()):
        if not await here.prometheus.series_since(query.filled(interval=FILLED), begun):
            found.append(f"{query.row} / {query.panel}: {query.expression}")
    return found


async def without_exemplars(here: Stand, begun: float) -> list[str]:
    """Return the dashboard's queries that want exemplars and had none since `begun`."""
    found = []
    for query in queries(read()):
        asked = query.filled(interval=FILLED)
        if query.wants_exemplars and not await here.prometheus.traces_since(asked, begun):
            found.append(f"{query.row} / {query.panel}: {query.expression}")
    return found


async def budgets_end(here: Stand) -> bool:
    """Wait until the alerts on the spending of budgets are gone; return whether they went."""

    async def are_gone() -> bool:
        return not await here.prometheus.alerts() & REMEMBER

    return await until_so(are_gone)


async def observe(*, once: bool, hold: float) -> dict[str, Any]:
    """Run rounds; return what came of the last one."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # as Ctrl-C: all is ended in order
    async with stand() as here:
        print(what_to_look_at(here), flush=True)
        while True:
            begun = time.time()
            stages = []
            for stage in STAGES:
                async with asyncio.timeout(LONGEST + hold):
                    told = await play(here, stage, hold=hold)
                print(line_of(told), flush=True)
                stages.append(told)
            report = {
                "stages": stages,
                "budgets_end": await budgets_end(here),
                "empty": await empty_queries(here, begun),
                "without_exemplars": await without_exemplars(here, begun),
                "faulty_rules": await here.prometheus.faulty_rules(),
                "seconds": round(time.time() - begun, 1),
            }
            print(f"queries of the dashboard without data: {report['empty'] or 'none'}", flush=True)
            print(f"queries of the dashboard without exemplars: {report['without_exemplars'] or 'none'}", flush=True)
            if once:
                return report


def what_to_look_at(here: Stand) -> str:
    """Return it, for somebody with a browser."""
    return f"""Running, until Ctrl-C:
  {here.prometheus.url}/alerts      the alerts of conf/rules.yml, {FACTOR:g} times as quick or more
  {here.prometheus.url}/graph       any query, as job:router_failures:ratio5m
  http://127.0.0.1:{here.router.admin_port}/status      the router's own page
  {here.router.url}/metrics         what is scraped;  {here.router.url}/health
  conf/grafana/dashboards/devstral-router.json     the dashboard, for a Grafana with this Prometheus as its source
"""


def line_of(told: dict[str, Any]) -> str:
    """Return one line on a stage."""
    fired = ", ".join(f"{name} after {seconds:.1f} s" for name, seconds in told["fired"].items()) or "no alert"
    faults = "".join(f"  {what}: {told[what]}" for what in ("missing", "wrong") if told[what])
    gone = "never gone" if told["gone"] is None else f"all gone {told['gone']:.1f} s after mending"
    return f"{told['stage']:32} {fired}; {gone}{faults}"


def is_right(report: dict[str, Any]) -> bool:
    """Return whether all came as it must."""
    stages = all(not told["missing"] and not told["wrong"] and told["gone"] is not None for told in report["stages"])
    faults = [each for name in ("empty", "without_exemplars", "faulty_rules") for each in report[name]]
    return bool(stages and report["budgets_end"] and not faults)


def main() -> int:
    """Run as the flags say."""
    parser = argparse.ArgumentParser(prog="python -m tests.alerting", description=__doc__.split("\n\n")[0])
    parser.add_argument("--once", action="store_true", help="end after one round")
    parser.add_argument("--hold", type=float, default=0.0, metavar="SECONDS", help="how long each harm lasts longer")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what came of the round there")
    flags = parser.parse_args()
    try:
        report = uvloop.run(observe(once=flags.once, hold=flags.hold))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("\nended")
        return 0
    if flags.json:
        flags.json.write_text(json.dumps(report, indent=1))
    return 0 if is_right(report) else 1


if __name__ == "__main__":
    sys.exit(main())
