"""The harms, each with the alerts that it must bring. STAGES is the one list; a name in it is one of conf/rules.yml."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.alerting.stand import CLIENTS, Stand
from tests.alerting.traffic import MODELS
from tests.chaos.cluster import status_of

Deed = Callable[[Stand], Awaitable[None]]

# Budgets remember: these may fire after any stage in which clients were told of failures.
REMEMBER = frozenset({"RouterErrorBudgetBurnsFast", "RouterErrorBudgetBurnsSlowly"})
DEAD_ENGINE = "EngineCore encountered an issue. See stack trace (above) for the root cause."
CROWD = 50  # clients: more than all places and the queues of both models


@dataclass(frozen=True, slots=True)
class Stage:
    """One harm."""

    name: str
    harm: Deed
    mend: Deed
    brings: frozenset[str] = frozenset()  # alerts that must fire
    may: frozenset[str] = frozenset()  # alerts that are as right


async def _nothing(here: Stand) -> None:
    """All is well."""


async def _well(here: Stand) -> None:
    await here.faults()


async def _one_gone_one_hung(here: Stand) -> None:
    await here.faults(0, refuse=True)  # until it is started anew: one that refuses cannot be asked to stop that
    await here.faults(1, freeze=True)
    await here.wait_at(here.backends[1].port)  # the router takes its own requests away from it


async def _well_again(here: Stand) -> None:
    here.leave()
    await here.faults(1, 2)
    await here.backends[0].end()
    here.backends[0].start()
    await here.backends[0].listens()
    while not await here.router.metric("router_backend_usable", backend=here.backends[0].name):
        await asyncio.sleep(0.1)


async def _engines_dead(here: Stand) -> None:
    await here.faults(status=500, message=DEAD_ENGINE)


async def _often_full(here: Stand) -> None:
    await here.faults(status=503, rate=0.5)


async def _slow_and_cut(here: Stand) -> None:
    await here.faults(0, hang=True)
    short = {"model": MODELS[0], "input": "Hello"}  # hedged beside the attempt that hangs
    await asyncio.gather(*(here.it.ask("/v1/embeddings", short) for _ in range(9)))
    await here.faults(0)
    await here.faults(1, 2, break_as="cut", break_after=4, rate=0.5)


async def _slow_and_crowded(here: Stand) -> None:
    await here.faults(ttft=0.6)
    await here.traffic.clients(CROWD)


async def _quick_and_calm(here: Stand) -> None:
    await here.traffic.clients(CLIENTS)
    await here.faults()


async def _short_of_memory(here: Stand) -> None:
    here.configure({"overload": {"max_memory": "1MB"}})


async def _as_configured(here: Stand) -> None:
    here.configure({})


async def _bad_file(here: Stand) -> None:
    here.configure("server: {port: much}\n")


async def _certificate_ends(here: Stand) -> None:
    await here.traffic.clients(0)  # they speak plain HTTP
    here.configure({"server": {"tls": here.ending.config()}})


async def _plain_again(here: Stand) -> None:
    here.configure({})
    while (await status_of(here.router.port, "/livez"))[0] != 200:
        await asyncio.sleep(0.1)
    await here.traffic.clients(CLIENTS)


async def _workers_die(here: Stand) -> None:
    here.scrape(here.backends[0].port)
    await here.kill_workers(4)


async def _right_targets(here: Stand) -> None:
    here.scrape()


async def _router_gone(here: Stand) -> None:
    await here.router.end()


async def _router_back(here: Stand) -> None:
    here.router.start()
    await here.router.ready()


def _stage(name: str, harm: Deed, mend: Deed, brings: str = "", may: str = "") -> Stage:
    return Stage(name, harm, mend, frozenset(brings.split()), frozenset(may.split()))


STAGES = (
    _stage("all is well", _nothing, _nothing),
    _stage("one backend gone, one hung", _one_gone_one_hung, _well_again, "RouterBackendDown RouterEngineHung",
           "RouterQueueFilling RouterQueueOverflows RouterRetriesStorm"),
    _stage("all engines dead", _engines_dead, _well, "RouterAllBreakersOpen RouterErrorBudgetBurnsFast",
           "RouterNoBackend RouterRetriesStorm RouterBreakerOpen"),
    _stage("backends often full", _often_full, _well, "RouterRetriesStorm"),
    _stage("a backend slow, then streams cut", _slow_and_cut, _well, "",
           "RouterRetriesStorm RouterBreakerOpen RouterAllBreakersOpen"),
    _stage("more than backends may take", _slow_and_crowded, _quick_and_calm,
           "RouterQueueFilling RouterQueueOverflows",
           "RouterRetriesStorm"),  # those of the stage before are many beside the few that are answered now
    _stage("no memory for more", _short_of_memory, _as_configured, "RouterShedsLoad"),
    _stage("a bad configuration", _bad_file, _as_configured, "RouterConfigReloadFailed"),
    _stage("a certificate that ends", _certificate_ends, _plain_again, "RouterCertificateExpires"),
    _stage("workers die, and a wrong target", _workers_die, _right_targets, "RouterWorkersDie RouterMetricsMissing",
           "RouterDown"),  # the page waits for the worker that was killed, longer than a quick scrape
    _stage("the router gone", _router_gone, _router_back, "RouterDown"),
)  # fmt: skip
