"""The harms, each with the alerts that it must bring. STAGES is the one list; a name in it is one of conf/rules.yml."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.alerting.stand import CLIENTS, Stand
from tests.alerting.traffic import MODELS
from tests.chaos.cluster import Backend, status_of

Deed = Callable[[Stand], Awaitable[None]]

# Budgets remember: these may fire after any stage in which clients were told of failures.
REMEMBER = frozenset({"RouterErrorBudgetBurnsFast", "RouterErrorBudgetBurnsSlowly"})
DEAD_ENGINE = "EngineCore encountered an issue. See stack trace (above) for the root cause."
CROWD = 50  # clients: more than all places and the queues of both models
MOST_KILLS = 8
LATE, LATE_CLIENTS = 5.4, 12  # seconds until an answer begins: more than the objective allows


@dataclass(frozen=True, slots=True)
class Stage:
    """One harm."""

    name: str
    harm: Deed
    mend: Deed
    brings: frozenset[str] = frozenset()  # alerts that must fire; "name=page": with this severity
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
    await _started_anew(here.backends[:1])
    while not await here.router.metric("router_backend_usable", backend=here.backends[0].name):
        await asyncio.sleep(0.1)


async def _started_anew(backends: list[Backend]) -> None:
    for each in backends:
        await each.end()
        each.start()
    for each in backends:
        await each.listens()


async def _all_gone(here: Stand) -> None:
    await here.faults(refuse=True)


async def _all_back(here: Stand) -> None:
    await _started_anew(here.backends)
    while await here.router.metric("router_backend_usable") < len(here.backends):
        await asyncio.sleep(0.1)


async def _one_broken(here: Stand) -> None:
    await here.faults(0, status=500)


async def _one_refuses(here: Stand) -> None:
    await here.faults(0, status=401)


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


async def _late(here: Stand) -> None:
    """Answers begin late, one after the other: clients that all wait alike would be told nothing of in between."""
    await here.configure({"timeouts": {"first_byte": 30, "unstreamed": 30}, "health": {"hung_after": 30}})
    await here.traffic.clients(0)
    await here.faults(ttft=LATE)
    for number in range(LATE_CLIENTS):
        await here.traffic.clients(number + 1)
        await asyncio.sleep(LATE / LATE_CLIENTS)


async def _quick_again(here: Stand) -> None:
    # In this order: what still waits for a late answer would make an engine look hung by the usual settings.
    await here.traffic.clients(0)
    await here.faults()
    await here.configure({})
    await here.traffic.clients(CLIENTS)


async def _loop_stalls(here: Stand) -> None:
    for times in range(1, 4):
        count = len(here.workers) * times
        await here.stop_for(0.8)  # a beat comes late by that, less the quarter of a second until it was due
        while await here.router.metric("router_loop_stalls_total") < count:
            await asyncio.sleep(0.05)


async def _descriptors_used(here: Stand) -> None:
    await here.connect(300)  # many beside those that come and go with the traffic
    here.allow_descriptors(0.83)  # of which 90 % are the mark
    await here.configure({})


async def _descriptors_free(here: Stand) -> None:
    here.leave()
    here.allow_descriptors(None)
    await here.configure({})


async def _disk_full(here: Stand) -> None:
    await here.configure({"logging": {"file": "/dev/full"}})


async def _short_of_memory(here: Stand) -> None:
    await here.configure({"overload": {"max_memory": "1MB"}})


async def _as_configured(here: Stand) -> None:
    await here.configure({})


async def _bad_file(here: Stand) -> None:
    await here.configure("server: {port: much}\n")


def _certificate_ends(days: int) -> Deed:
    async def harm(here: Stand) -> None:
        await here.traffic.clients(0)  # they speak plain HTTP
        await here.configure({"server": {"tls": here.authority.issue(days=days).config()}})

    return harm


async def _plain_again(here: Stand) -> None:
    await here.configure({})
    while (await status_of(here.router.port, "/livez"))[0] != 200:
        await asyncio.sleep(0.1)
    await here.traffic.clients(CLIENTS)


async def _workers_die(here: Stand) -> None:
    here.scrape(here.backends[0].port)
    for _ in range(MOST_KILLS):  # by the third it should be told, or soon after where a scrape was missed
        await here.kill_worker()
        if "RouterWorkersDie" in await here.prometheus.alerts():
            break


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
    _stage("all backends gone", _all_gone, _all_back, "RouterNoBackend RouterBackendDown",
           "RouterQueueFilling RouterQueueOverflows RouterRetriesStorm"),
    _stage("all engines dead", _engines_dead, _well,
           "RouterAllBreakersOpen RouterErrorBudgetBurnsFast RouterErrorBudgetBurnsSlowly",
           "RouterRetriesStorm RouterBreakerOpen"),
    _stage("one backend broken", _one_broken, _well, "RouterBreakerOpen", "RouterRetriesStorm"),
    _stage("one backend refuses the key", _one_refuses, _well, "RouterBackendRefusesKey", "RouterRetriesStorm"),
    _stage("backends often full", _often_full, _well, "RouterRetriesStorm"),
    _stage("a backend slow, then streams cut", _slow_and_cut, _well, "",
           "RouterRetriesStorm RouterBreakerOpen RouterAllBreakersOpen"),
    _stage("more than backends may take", _slow_and_crowded, _quick_and_calm,
           "RouterQueueFilling RouterQueueOverflows",
           "RouterRetriesStorm"),  # those of the stage before are many beside the few that are answered now
    _stage("answers begin late", _late, _quick_again, "RouterFirstTokensLate",
           "RouterRetriesStorm RouterQueueFilling RouterQueueOverflows"),
    _stage("loops stand still", _loop_stalls, _nothing, "RouterLoopStalls",
           "RouterDown RouterMetricsMissing RouterBackendDown RouterNoBackend RouterEngineHung RouterRetriesStorm"),
    _stage("few descriptors left", _descriptors_used, _descriptors_free, "RouterDescriptorsRunOut"),
    _stage("a disk that is full", _disk_full, _as_configured, "RouterLogLinesLost"),
    _stage("no memory for more", _short_of_memory, _as_configured, "RouterShedsLoad"),
    _stage("a bad configuration", _bad_file, _as_configured, "RouterConfigReloadFailed"),
    _stage("a certificate that ends next week", _certificate_ends(7), _plain_again, "RouterCertificateExpires=ticket"),
    _stage("a certificate that ends tomorrow", _certificate_ends(1), _plain_again, "RouterCertificateExpires=page"),
    _stage("workers die, and a wrong target", _workers_die, _right_targets, "RouterWorkersDie RouterMetricsMissing",
           "RouterDown"),  # the page waits for the worker that was killed, longer than a quick scrape
    _stage("the router gone", _router_gone, _router_back, "RouterDown"),
)  # fmt: skip
