"""A real Prometheus in a process of its own, on 127.0.0.1, with the shipped rules made quick."""

import asyncio
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml

from bench.processes import free_ports
from tests.alerting.rules import quick
from tests.chaos.cluster import exchange, status_of
from tests.chaos.processes import ROOT, START_TIMEOUT, Process, until

JOB = "devstral-router"
RULES = ROOT / "conf" / "rules.yml"
SCRAPE = ROOT / "conf" / "prometheus.yml"
EXEMPLARS = "--enable-feature=exemplar-storage"


@dataclass(frozen=True, slots=True)
class Firing:
    """One alert that fired."""

    severity: str
    since: float  # when an evaluation first found it firing (seconds since 1970)
    labels: dict[str, str]


class Prometheus(Process):
    """Scrapes what `targets` names, evaluates the rules, and answers queries."""

    def __init__(self, program: str, folder: Path, *, factor: float, long_factor: float, interval: float) -> None:
        """`factor`: by which all times of the rules are shorter, `long_factor`: windows of an hour and more.

        `interval`: seconds between two scrapes.
        """
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.interval = interval
        self._targets = folder / "targets.json"
        rules = quick(RULES.read_text(), factor, interval=interval, long_factor=long_factor)
        (folder / "rules.yml").write_text(rules)
        config = folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(self._config()))
        super().__init__([], log=folder / "prometheus.log")
        self.command = [
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            EXEMPLARS,
            "--log.level=warn",
        ]

    def _config(self) -> dict[str, Any]:
        """The shipped configuration, quick, with targets that a test may change."""
        tree: dict[str, Any] = yaml.safe_load(SCRAPE.read_text())
        pace = f"{round(self.interval * 1000)}ms"
        # A scrape may take long on a busy machine, and a late one is no router that is down.
        tree["global"] = {"scrape_interval": pace, "scrape_timeout": pace, "evaluation_interval": pace}
        (job,) = tree["scrape_configs"]
        del job["static_configs"]
        job["file_sd_configs"] = [{"files": [str(self._targets)], "refresh_interval": "1s"}]
        return tree

    def scrape(self, ports: Sequence[int]) -> None:
        """Scrape these ports of this machine from now on."""
        new = self._targets.with_suffix(".new")
        new.write_text(json.dumps([{"targets": [f"127.0.0.1:{port}" for port in ports]}]))
        new.replace(self._targets)

    async def ready(self) -> None:
        """Wait until it answers queries."""
        await until(lambda: self.is_running, what="prometheus runs")
        ends = time.monotonic() + START_TIMEOUT
        while (await status_of(self.port, "/-/ready"))[0] != 200:
            assert self.is_running, self.said()
            assert time.monotonic() < ends, self.said()
            await asyncio.sleep(0.05)

    async def _ask(self, path: str, **given: str) -> Any:
        # HTTP/1.0, so that the answer is not chunked.
        raw = await exchange(self.port, f"GET /api/v1/{path}?{urlencode(given)} HTTP/1.0\r\nHost: a\r\n\r\n".encode())
        answer = json.loads(raw.partition(b"\r\n\r\n")[2])
        assert answer["status"] == "success", answer
        return answer["data"]

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series that an expression has now."""
        found: list[dict[str, Any]] = (await self._ask("query", query=expression))["result"]
        return found

    async def series_since(self, expression: str, begun: float) -> int:
        """Return how many series an expression had since a time (seconds since 1970) with a number in them."""
        given = {"start": f"{begun:.3f}", "end": f"{time.time():.3f}", "step": f"{self.interval:.3f}"}
        found = (await self._ask("query_range", query=expression, **given))["result"]
        return sum(any(math.isfinite(float(value)) for _, value in series["values"]) for series in found)

    async def traces_since(self, expression: str, begun: float) -> set[str]:
        """Return the ids of the traces that are exemplars of what an expression asks for, since a time."""
        given = {"start": f"{begun:.3f}", "end": f"{time.time():.3f}"}
        found = await self._ask("query_exemplars", query=expression, **given)
        return {each["labels"]["trace_id"] for series in found for each in series["exemplars"]}

    async def alerts(self) -> set[str]:
        """Return the names of the alerts that fire, or are about to."""
        return {each["labels"]["alertname"] for each in (await self._ask("alerts"))["alerts"]}

    async def fired_since(self, begun: float) -> dict[str, list[Firing]]:
        """Return, by name, which alerts fired at any evaluation since a time (seconds since 1970), and when first."""
        span = math.ceil((time.time() - begun) * 1000) + 1
        found: dict[str, list[Firing]] = {}
        for series in await self.query(f'ALERTS{{alertstate="firing"}}[{span}ms]'):
            times = [when for when, _ in series["values"] if when >= begun]
            if times:
                labels = series["metric"]
                found.setdefault(labels["alertname"], []).append(Firing(labels["severity"], min(times), labels))
        return found

    async def judge(self) -> None:
        """Wait until what is so now has been scraped, and all rules have been evaluated on that."""
        await self._all_after("targets", "activeTargets", "lastScrape", time.time())
        # An evaluation that comes late is one of a time before it began, by less than the interval.
        await self._all_after("rules", "groups", "lastEvaluation", time.time() + self.interval)

    async def _all_after(self, path: str, every: str, last: str, since: float) -> None:
        while not all(seconds_of(each[last]) > since for each in (await self._ask(path))[every]):
            await asyncio.sleep(self.interval / 5)

    async def faulty_rules(self) -> list[str]:
        """Return the names of the rules that could not be evaluated."""
        groups = (await self._ask("rules"))["groups"]
        return [rule["name"] for group in groups for rule in group["rules"] if rule["health"] == "err"]


def seconds_of(told: str) -> float:
    """Return a time that Prometheus tells as seconds since 1970."""
    return datetime.fromisoformat(told).timestamp()
