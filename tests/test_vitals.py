"""What the metrics are told of the parts that run, through a whole router."""

import asyncio

import pytest

from router.access.overload import Marks, Usage
from router.config import Config
from router.config.show import values
from router.observe.guard import Guard
from router.simulator.settings import Settings
from router.vitals import Looking, config_hash
from tests.front import front, run, until


def config(**backend: object) -> Config:
    return Config.model_validate({"backends": [{"url": "http://127.0.0.1:8000", **backend}]})


def test_the_hash_tells_configurations_apart() -> None:
    assert config_hash(config()) == config_hash(config())
    assert config_hash(config()) != config_hash(config(weight=2))


def test_keys_are_no_part_of_the_hash() -> None:
    """Whoever sees it could try keys until one fits."""
    one, other = config(api_key="one-secret"), config(api_key="another-secret")

    assert config_hash(one) == config_hash(other)
    assert not any("secret" in value for _, value in values(one))


def test_the_hash_is_made_once_for_each_configuration() -> None:
    looking = Looking(Guard(Marks(), at_work=lambda: 0, usage=lambda: Usage(1, 2)))
    one = config()
    first, again = (looking.look(one, is_ready=True).config_hash for _ in range(2))

    assert first is again
    assert looking.look(config(weight=3), is_ready=True).config_hash != first


def test_before_the_start_nothing_is_at_work() -> None:
    vitals = Looking(Guard(Marks(7, 8), at_work=lambda: 0, usage=lambda: Usage(1, 2))).look(config(), is_ready=False)

    assert (vitals.streams, vitals.waiting, vitals.connections, vitals.is_ready) == (0, 0, 0, False)
    assert (vitals.usage, vitals.marks) == (Usage(1, 2), Marks(7, 8))


def test_streams_waits_and_limits_are_told_while_they_last() -> None:
    more = {"overload": {"queue_size": 5}, "backend_options": [{"max_connections": 1}]}

    async def test() -> None:
        async with front(Settings(itl=0.02), config=more) as cluster:
            cluster.app.looking.connections = lambda: cluster.server.connections
            first = asyncio.ensure_future(cluster.chat(stream=True, max_tokens=40))
            await until(lambda: cluster.app.relay.streams == 1)
            second = asyncio.ensure_future(cluster.chat(max_tokens=1))
            await until(lambda: cluster.app.relay.waiting == 1)
            names = ("streams_in_flight", "queue_length", "queue_limit", "connections", "backend_in_flight_limit")
            told = [await cluster.metric(f"router_{name}") for name in names]
            assert told == [1, 1, 5, 2, 1]
            assert await cluster.metric("router_saturation_ratio", resource="queue") == pytest.approx(0.2)
            assert await cluster.metric("router_saturation_ratio", resource="backends") == 1
            assert await cluster.metric("router_ready") == 1
            assert await cluster.metric("router_memory_used_bytes") > 1e6
            used, limit = [await cluster.metric(f"router_descriptors_{name}") for name in ("used", "limit")]
            assert 0 < used < limit
            assert [(await each).code for each in (first, second)] == [200, 200]
            await until(lambda: cluster.app.relay.streams == 0)
            cluster.app.drain()
            assert await cluster.metric("router_ready") == 0

    run(test)


def test_connections_learn_that_memory_is_short() -> None:
    async def test() -> None:
        async with front(Settings()) as cluster:
            looking, guard = cluster.app.looking, cluster.app._guard
            assert not looking.is_short_of_memory()
            guard.marks = Marks(memory=1)
            await until(looking.is_short_of_memory)

    run(test)
