"""Rules of router/changing.py: a configuration is taken up whole while requests go on, and orders hold until then."""

import asyncio
import gc
import json
import time
from pathlib import Path
from typing import Any

import pytest

from router.config import Config, Loaded
from router.errors import ConfigError
from router.orders import Order, OrderKind, Problem
from router.simulator.server import Simulator
from router.simulator.settings import Settings
from tests.front import CHAT, Front, broken, front, run, until
from tests.operating import changed, with_urls

SLOW = Settings(itl=0.02, tokens=40)  # a stream of about a second


def name_of(backend: Simulator) -> str:
    return backend.url.removeprefix("http://")


def all_up(cluster: Front, count: int) -> bool:
    return cluster.app.registry.usable_count(time.monotonic()) == count


def served(backend: Simulator) -> int:
    """Return how many chats have come to a backend."""
    return sum(seen.target.endswith("/chat/completions") for seen in backend.requests)


async def stream(cluster: Front) -> str:
    """Return the body of a whole streamed chat."""
    pieces: list[bytes] = []
    answer = await cluster.ask("/v1/chat/completions", {**CHAT, "stream": True}, streaming_callback=pieces.append)
    assert answer.code == 200
    return b"".join(pieces).decode()


@pytest.mark.row(82)
def test_backends_come_and_go_under_load_and_no_stream_is_cut() -> None:
    async def test() -> None:
        # A backend that starts slowly need not get one of the last six.
        async with front(SLOW, SLOW, config={"health": {"slow_start": 0}}) as cluster:
            third = Simulator(SLOW)
            await third.start()
            one, two = (backend.url for backend in cluster.backends)
            config = cluster.app.config
            streams = [asyncio.create_task(stream(cluster)) for _ in range(20)]
            await until(lambda: all(backend.status(0).in_flight > 1 for backend in cluster.app.registry.backends))
            under_way = {backend.spec.name: backend.in_flight for backend in cluster.app.registry.backends}
            first = name_of(cluster.backends[0])

            lines = cluster.app.apply(with_urls(config, two, third.url))

            removed = f"backend {first} removed, {under_way[first]} requests finish there"
            assert lines == sorted([f"backend {name_of(third)} added", removed])
            assert [backend.spec.url for backend in cluster.app.registry.backends] == [two, third.url]
            streams += [asyncio.create_task(stream(cluster)) for _ in range(20)]
            bodies = await asyncio.gather(*streams)
            assert all(body.endswith("data: [DONE]\n\n") and "error" not in body for body in bodies)
            await until(lambda: all_up(cluster, 2))
            assert await asyncio.gather(*(stream(cluster) for _ in range(6)))
            assert served(third) > 0
            cluster.app.apply(with_urls(config, one, two))
            await third.stop()
            await until(lambda: all_up(cluster, 2))

    run(test, timeout=60)


@pytest.mark.row(82)
def test_a_hundred_reloads_leave_nothing_behind() -> None:
    """No task, pool or entry of a map is left of a backend that is gone, and no request notices."""

    async def test() -> None:
        async with front(Settings(), Settings()) as cluster:
            one, two = (backend.url for backend in cluster.backends)
            app, config = cluster.app, cluster.app.config
            faults: list[Any] = []
            stopping = asyncio.Event()

            async def ask() -> None:
                while not stopping.is_set():
                    answer = await cluster.chat()
                    faults.extend([answer.code] if answer.code != 200 else [])

            app.apply(with_urls(config, one))
            askers = [asyncio.create_task(ask()) for _ in range(4)]
            await asyncio.sleep(0.2)
            before = sizes(cluster)
            for number in range(100):
                other = f"http://127.0.0.1:{1 + number % 50}"  # nobody listens there
                urls = [(one, two), (one, other), (other, two, one), (one,)][number % 4]
                app.apply(with_urls(config, *urls, retry={"max_attempts": 3 + number % 2}))
                await asyncio.sleep(0.01)
            app.apply(with_urls(config, one))
            await asyncio.sleep(0.3)
            stopping.set()
            await asyncio.gather(*askers)
            assert faults == []
            end = time.monotonic() + 10
            while sizes(cluster) != before:
                assert time.monotonic() < end, (before, sizes(cluster))
                await asyncio.sleep(0.05)
            app.apply(with_urls(config, one, two))
            await until(lambda: all_up(cluster, 2))

    def sizes(cluster: Front) -> dict[str, int]:
        app = cluster.app
        running = app._running
        assert running is not None
        gc.collect()
        tasks = [task for task in asyncio.all_tasks() if not task.get_name().startswith("Task-")]
        return {
            "tasks": len(tasks),
            "pools": len(running.client._pools) + len(running.client._retired),
            "endpoints": len(app._endpoints),
            "dialects": len(app._dialects._known),
            "inquiries": len(running.prober._inquiries) + len(running.prober._running),
            "watched": len(running.checker._watched),
            "backends": len(app.registry.backends),
            "names": len(app.registry._by_name),
        }

    run(test, timeout=90)


def test_a_backend_that_stays_keeps_what_is_known_of_it() -> None:
    async def test() -> None:
        async with front(Settings(), Settings()) as cluster:
            one, two = (backend.url for backend in cluster.backends)
            app = cluster.app
            kept = app.registry.backends[0]
            broken(cluster.backends[1], refuse=True)
            await until(lambda: all_up(cluster, 1))
            down = app.registry.backends[1]
            probes = len(cluster.backends[0].requests)
            app.apply(with_urls(app.config, two, one, health={"interval": 0.2}))
            assert app.registry.backends == (down, kept)
            assert down.is_down
            assert not kept.is_down
            await cluster.chat()
            assert len(cluster.backends[0].requests) > probes
            broken(cluster.backends[1])
            await until(lambda: all_up(cluster, 2))

    run(test)


def test_another_url_under_a_name_is_another_server() -> None:
    async def test() -> None:
        async with front(Settings(models=("a",)), Settings(models=("b",))) as cluster:
            one, two = (backend.url for backend in cluster.backends)
            app, config = cluster.app, cluster.app.config
            app.apply(changed(config, backends=[{"name": "gpu", "url": one, "dialect": "openai"}]))
            await until(lambda: all_up(cluster, 1))
            lines = app.apply(changed(config, backends=[{"name": "gpu", "url": two, "dialect": "openai"}]))
            assert lines == [f"backend gpu: url: {one} -> {two}"]
            await until(lambda: app.registry.find("gpu") is not None and all_up(cluster, 1))
            assert (await cluster.chat(model="b")).code == 200
            app.apply(with_urls(config, one, two))
            await until(lambda: all_up(cluster, 2))

    run(test)


def test_what_is_different_is_told_in_words_and_keys_never() -> None:
    async def test() -> None:
        async with front() as cluster:
            app = cluster.app
            url = cluster.backends[0].url
            name = name_of(cluster.backends[0])
            backend = {"url": url, "dialect": "openai", "weight": 3, "api_key": "sk-canary", "max_connections": 5}
            lines = app.apply(changed(app.config, backends=[backend], retry={"max_attempts": 5}))
            assert lines == [
                f"backend {name}: api_key: off -> ********",
                f"backend {name}: max_connections: off -> 5",
                f"backend {name}: weight: 1 -> 3",
                "retry.max_attempts: 3 -> 5",
            ]
            lines = app.apply(changed(app.config, backends=[{**backend, "api_key": "sk-canary-2"}]))
            assert lines == [f"backend {name}: api_key: changed"]
            assert app.apply(Loaded(app.config)) == []
            await cluster.chat()
            assert cluster.backends[0].requests[-1].header("Authorization") == "Bearer sk-canary-2"

    run(test)


def test_what_cannot_change_while_running_is_named_and_left() -> None:
    async def test() -> None:
        async with front() as cluster:
            app = cluster.app
            before = app.config
            lines = app.apply(changed(before, server={"port": 1, "workers": 3}, admin={"enabled": False}))
            assert [line.partition(" -> ")[0] for line in lines] == [
                "needs a restart: server.port: 9000",
                "needs a restart: server.workers: 1",
                "needs a restart: admin.enabled: true",
            ]
            assert app.config == before

    run(test)


def test_settings_hold_from_the_next_request_on(tmp_path: Path) -> None:
    """Routes, limits, timeouts, cross-origin rules, the path of the metrics and the log: all without a restart."""

    async def test() -> None:
        async with front() as cluster:
            app = cluster.app
            cluster.app.on_limits = cluster.server.set_limits
            log = tmp_path / "other.log"
            lines = app.apply(
                changed(
                    app.config,
                    server={
                        "path_prefixes": ["/llm"],
                        "max_body": 2000,
                        "reveal_backend": False,
                        "cors": {"enabled": False},
                        "extra_routes": [{"path": "/extra"}],
                    },
                    metrics={"path": "/numbers"},
                    logging={"file": str(log), "format": "text", "level": "debug"},
                    timeouts={"first_byte": 0.2},
                )
            )
            assert "server.extra_routes: changed" in lines
            assert (await cluster.ask("/llm/chat/completions", CHAT)).code == 200
            assert (await cluster.ask("/api/v1/chat/completions", CHAT)).code == 404
            assert (await cluster.ask("/metrics")).code == 404
            assert (await cluster.ask("/numbers")).code == 200
            answer = await cluster.ask("/v1/chat/completions", b"x" * 3000)
            assert answer.code == 413
            answer = await cluster.ask("/v1/chat/completions", CHAT, headers={"Origin": "http://page"})
            assert "Access-Control-Allow-Origin" not in answer.headers
            assert "X-Router-Backend" not in answer.headers
            broken(cluster.backends[0], hang=True)
            began = time.monotonic()
            assert (await cluster.chat(stream=True)).code >= 500
            assert time.monotonic() - began < 4
            broken(cluster.backends[0])
            await until(lambda: log.exists() and " /v1/chat/completions " in log.read_text())

    run(test)


def test_a_log_file_that_cannot_be_opened_changes_nothing() -> None:
    async def test() -> None:
        async with front(Settings(), Settings()) as cluster:
            app = cluster.app
            before = app.config
            with pytest.raises(ConfigError, match=r"logging\.file"):
                app.apply(
                    with_urls(before, cluster.backends[0].url, logging={"file": "/no/such/place"}, retry={"budget": 0})
                )
            assert app.config is before
            assert len(app.registry.backends) == 2
            assert (await cluster.chat()).code == 200

    run(test)


def test_an_exchange_under_way_is_logged_where_the_log_is_now(tmp_path: Path) -> None:
    path = tmp_path / "second.log"

    async def test() -> None:
        async with front(SLOW, config={"logging": {"file": str(tmp_path / "first.log")}}) as cluster:
            one = asyncio.create_task(stream(cluster))
            await until(lambda: cluster.app.in_flight == 1)
            cluster.app.apply(changed(cluster.app.config, logging={"file": str(path)}))
            await one

    run(test)
    assert json.loads(path.read_text().splitlines()[-1])["logger"] in ("router.access", "router.app")
    assert '"route":"/v1/chat/completions"' in path.read_text()


def test_an_added_backend_holds_until_the_configuration_is_read_again() -> None:
    async def test() -> None:
        async with front(Settings()) as cluster:
            app = cluster.app
            read = app.config
            more = Simulator(Settings(models=("more",)))
            await more.start()
            report = app.carry_out(Order(OrderKind.ADD, fields={"url": more.url, "weight": 2, "dialect": "openai"}))
            assert (report.ok, report.name) == (True, name_of(more))
            await until(lambda: all_up(cluster, 2))
            assert (await cluster.chat(model="more")).code == 200
            lines = app.apply(Loaded(read))
            assert lines == [f"backend {name_of(more)} removed (it was added by order)"]
            await more.stop()

    run(test)


def test_a_removed_backend_comes_back_with_the_next_reload_and_a_drain_stays() -> None:
    async def test() -> None:
        async with front(Settings(), Settings()) as cluster:
            app = cluster.app
            read = app.config
            one, two = (name_of(backend) for backend in cluster.backends)
            assert app.carry_out(Order(OrderKind.DRAIN, one)).ok
            assert app.carry_out(Order(OrderKind.REMOVE, two, is_forced=True)).ok
            assert (await cluster.chat()).code == 503
            assert app.apply(Loaded(read)) == [f"backend {two} added (it was removed by order)"]
            drained = app.registry.find(one)
            assert drained is not None
            assert drained.drained
            await until(lambda: all_up(cluster, 1))
            assert (await cluster.chat()).code == 200
            assert app.carry_out(Order(OrderKind.UNDRAIN, one)).ok
            await until(lambda: all_up(cluster, 2))

    run(test)


@pytest.mark.row(82)
def test_draining_under_load_loses_nothing_and_sends_nothing_new() -> None:
    async def test() -> None:
        async with front(SLOW, SLOW) as cluster:
            app = cluster.app
            first = name_of(cluster.backends[0])
            streams = [asyncio.create_task(stream(cluster)) for _ in range(10)]
            await until(lambda: sum(backend.in_flight for backend in app.registry.backends) == 10)
            report = app.carry_out(Order(OrderKind.DRAIN, first))
            assert report.ok
            assert report.in_flight > 0
            streams += [asyncio.create_task(stream(cluster)) for _ in range(10)]
            bodies = await asyncio.gather(*streams)
            assert all(body.endswith("data: [DONE]\n\n") for body in bodies)
            assert served(cluster.backends[0]) == report.in_flight
            assert app.carry_out(Order(OrderKind.UNDRAIN, first)).ok
            assert await asyncio.gather(*(stream(cluster) for _ in range(4)))
            assert served(cluster.backends[0]) > report.in_flight

    run(test, timeout=60)


def test_an_order_that_cannot_be_carried_out_says_why() -> None:
    async def test() -> None:
        async with front() as cluster:
            app = cluster.app
            name = name_of(cluster.backends[0])
            report = app.carry_out(Order(OrderKind.DRAIN, "nobody"))
            assert (report.problem, name in report.message) == (Problem.UNKNOWN, True)
            report = app.carry_out(Order(OrderKind.REMOVE, name))
            assert report.problem is Problem.CONFLICT
            report = app.carry_out(Order(OrderKind.ADD, fields={"url": "nonsense", "wieght": 1}))
            assert report.problem is Problem.INVALID
            assert len(report.faults) == 2
            report = app.carry_out(Order(OrderKind.ADD, fields={"url": cluster.backends[0].url, "name": "x"}))
            assert report.faults == (f"url: is that of backend {name} already",)
            config: Config = app.config
            assert app.carry_out(Order(OrderKind.REMOVE, name, is_forced=True)).ok
            assert (await cluster.chat()).code == 503
            app.apply(Loaded(config))
            await until(lambda: all_up(cluster, 1))

    run(test)


def test_a_drained_backend_does_not_count_as_one_that_remains() -> None:
    async def test() -> None:
        async with front(Settings(), Settings()) as cluster:
            app = cluster.app
            kept, drained = map(name_of, cluster.backends)
            await until(lambda: all_up(cluster, 2))
            app.carry_out(Order(OrderKind.DRAIN, drained))
            report = app.carry_out(Order(OrderKind.REMOVE, kept))
            assert (report.ok, report.problem) == (False, Problem.CONFLICT)
            assert "the last one that is not drained" in report.message
            assert app.carry_out(Order(OrderKind.REMOVE, drained)).ok, "it takes no requests as it is"
            assert (await cluster.chat()).code == 200

    run(test)


def test_removing_the_only_backend_of_a_model_says_so() -> None:
    async def test() -> None:
        async with front(Settings(), Settings(models=("alone",))) as cluster:
            await until(lambda: all_up(cluster, 2))
            await until(lambda: all(each.models for each in cluster.app.registry.backends))
            report = cluster.app.carry_out(Order(OrderKind.REMOVE, name_of(cluster.backends[1])))
            assert report.ok
            assert report.message.endswith("No other backend that is not drained is known to have alone.")

    run(test)


def test_a_reload_without_changes_opens_no_exchange_twice() -> None:
    """The log and the metrics are the same objects: what was begun is closed once."""

    async def test() -> None:
        async with front(SLOW) as cluster:
            one = asyncio.create_task(stream(cluster))
            await until(lambda: cluster.app.in_flight == 1)
            for _ in range(3):
                cluster.app.apply(Loaded(cluster.app.config))
            await one
            assert await cluster.metric("router_requests_total", route="/v1/chat/completions") == 1

    run(test)
