"""Rules of router/handlers/application.py."""

import json

from tests.front import front, run


def test_a_configured_metrics_path_replaces_the_usual_one() -> None:
    async def test() -> None:
        async with front(config={"metrics": {"path": "/internal/metrics"}}) as cluster:
            assert (await cluster.ask("/internal/metrics")).code == 200
            assert (await cluster.ask("/metrics")).code == 404

    run(test)


def test_metrics_may_be_switched_off() -> None:
    async def test() -> None:
        async with front(config={"metrics": {"enabled": False}}) as cluster:
            assert (await cluster.ask("/metrics")).code == 404

    run(test)


def test_further_routes_by_configuration_are_exact() -> None:
    async def test() -> None:
        extra = [{"method": "GET", "path": "/load"}]
        async with front(config={"server": {"extra_routes": extra}}) as cluster:
            assert "server_load" in json.loads((await cluster.ask("/load")).body)
            assert (await cluster.ask("/load/")).code == 404
            assert (await cluster.ask("/load", b"{}")).code == 405

    run(test)
