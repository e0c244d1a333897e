"""Rules of router/relay/shared.py: what every exchange may ask of the backends and of the rules."""

import asyncio
from typing import Any

from router.relay.hedge import HedgeRules
from router.relay.queue import QueueRules
from router.relay.retry import RetryRules
from router.relay.shared import Shared
from router.simulator.settings import Settings
from tests.front import Front, front, run, until

MODEL = "simulated-model"
ONE_PLACE: dict[str, Any] = {"backend_options": [{"max_connections": 1}]}


def shared_by(cluster: Front) -> Shared:
    return cluster.app.relay._shared


def test_a_full_backend_is_usable_but_not_free() -> None:
    async def test() -> None:
        async with front(Settings(ttft=0.5), config=ONE_PLACE) as cluster:
            shared, backend = shared_by(cluster), cluster.app.registry.backends[0]
            assert shared.has_free(MODEL)
            assert shared.has_usable(MODEL)
            assert not shared.has_full(MODEL, tried=())
            running = asyncio.ensure_future(cluster.chat())
            await until(lambda: backend.in_flight == 1)

            for model in (MODEL, None):
                assert not shared.has_free(model)
                assert shared.has_usable(model)
                assert shared.has_full(model, tried=())
            assert not shared.has_full(MODEL, tried=[backend])
            assert not shared.has_usable("another-model")
            assert not shared.has_full("another-model", tried=())
            await running

    run(test)


def test_a_backend_that_is_down_is_neither() -> None:
    async def test() -> None:
        async with front(config=ONE_PLACE) as cluster:
            shared, name = shared_by(cluster), cluster.app.registry.backends[0].spec.name
            assert not shared.is_down(name)
            await cluster.backends[0].kill()
            await until(lambda: shared.is_down(name))

            assert not shared.has_free(MODEL)
            assert not shared.has_usable(MODEL)
            assert not shared.has_full(MODEL, tried=())
            assert not shared.is_down("of whom nobody knows")

    run(test)


def test_new_rules_hold_from_then_on_and_what_is_counted_stays_counted() -> None:
    async def test() -> None:
        async with front(Settings(ttft=1.0), config=ONE_PLACE) as cluster:
            shared = shared_by(cluster)
            asked = [asyncio.ensure_future(cluster.chat()) for _ in range(3)]
            await until(lambda: len(shared.queue) == 2)
            shared.set_rules(RetryRules(budget=0.0, budget_min=0), QueueRules(size=2), HedgeRules(after=7.0))

            assert not shared.budget.has_room(shared.outside.clock())
            assert shared.hedge_rules.after == 7.0
            assert (await cluster.chat()).code == 503
            assert not any(one.done() for one in asked), "it was not waited for them"
            assert {(await one).code for one in asked} == {200}

    run(test)
