"""Rules of looking at what a backend tells of its load, over real sockets."""

import asyncio
import math
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.simple_httpclient import SimpleAsyncHTTPClient
from tornado.web import Application, RequestHandler

from router.backends.backend import BackendSpec, Change, ChangeKind
from router.backends.checker import Checker, plain_request
from router.backends.engine import Engine, Figures
from router.backends.health import HealthRules, HealthState, Seen
from router.backends.load import LONG, MAX_PAGE, STEP, Access, Answers, Load, never, nobody, together
from router.backends.registry import Registry
from router.wire.client import PooledHTTPClient

RULES = HealthRules(interval=0.1, timeout=2.0, load_interval=0.1, hung_after=0.5)
PATIENCE = 20.0  # seconds: far beyond what any of it should take


@dataclass
class Server:
    """A vLLM server whose probe passes, and whose engine may stand still."""

    running: int = 0
    iterations: int = 0
    page: bytes | None = None  # instead of the engine's figures
    status: int = 200
    hangs: bool = False
    looks: list[float] = field(default_factory=list)
    sent: int = 0
    port: int = 0

    def start(self) -> HTTPServer:
        class Health(RequestHandler):
            def get(handler) -> None:  # `self` is the server
                handler.finish(b"")

        class Models(RequestHandler):
            def get(handler) -> None:
                handler.finish({"data": [{"id": "m"}]})

        class Metrics(RequestHandler):
            async def get(handler) -> None:
                self.looks.append(time.monotonic())
                while self.hangs:
                    await asyncio.sleep(0.01)
                handler.set_status(self.status)
                await self.write(handler)

        [listener] = bind_sockets(0, "127.0.0.1")
        self.port = listener.getsockname()[1]
        server = HTTPServer(Application([("/health", Health), ("/v1/models", Models), ("/metrics", Metrics)]))
        server.add_socket(listener)
        return server

    async def write(self, handler: RequestHandler) -> None:
        rows = (
            f'vllm:num_requests_running{{engine="0"}} {self.running}.0\n'
            f'vllm:iteration_tokens_total_count{{engine="0"}} {self.iterations}.0\n'
        )
        page = rows.encode() if self.page is None else self.page
        try:
            for start in range(0, len(page), 2**20):
                handler.write(page[start : start + 2**20])
                await handler.flush()
                self.sent = start
        except StreamClosedError:
            return

    @property
    def spec(self) -> BackendSpec:
        return BackendSpec("a", f"http://127.0.0.1:{self.port}")


@dataclass
class Watched:
    """A registry of one server, and the checker that watches it."""

    server: Server
    registry: Registry
    checker: Checker
    access: Access
    changes: list[Change]

    @property
    def state(self) -> HealthState:
        return self.registry.backends[0].health.state

    async def look(self, engine: Engine | None = None, *, told: bool = True) -> bool:
        return await Load(self.registry, self.access, rules=RULES).look(
            self.registry.backends[0], engine or Engine(), told=told
        )


async def until(condition: Callable[[], bool]) -> None:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < PATIENCE
        await asyncio.sleep(0.005)


NO_ANSWERS = Answers()


def run(
    test: Callable[[Watched], Coroutine[Any, Any, None]],
    *,
    client: type[AsyncHTTPClient] = PooledHTTPClient,
    answers: Answers = NO_ANSWERS,
    rules: HealthRules = RULES,
) -> None:
    """Run a test beside a server that is watched; the checker starts where the test says so."""

    async def whole() -> None:
        server = Server()
        listening = server.start()
        registry = Registry([server.spec], health_rules=rules)
        asked: AsyncHTTPClient = client(force_instance=True)
        changes: list[Change] = []
        rng = random.Random(1)
        checker = Checker(registry, asked, rules=rules, rng=rng, on_change=changes.append, answers=answers)

        async def fetch(request: HTTPRequest) -> int:
            return (await asked.fetch(request, raise_error=False)).code

        access = Access(fetch, plain_request, time.monotonic, rng, answers=answers, tell=changes.extend)
        try:
            await test(Watched(server, registry, checker, access, changes))
        finally:
            server.hangs = False
            await checker.stop()
            asked.close()
            listening.stop()
            await listening.close_all_connections()

    asyncio.run(whole())


@pytest.mark.parametrize("client", [PooledHTTPClient, SimpleAsyncHTTPClient])
def test_a_hung_engine_behind_a_healthy_probe_is_found_and_comes_back_when_it_moves(
    client: type[AsyncHTTPClient],
) -> None:
    async def test(watched: Watched) -> None:
        server, backend = watched.server, watched.registry.backends[0]
        server.running, server.iterations = 3, 100
        watched.checker.start()
        await until(lambda: watched.state is HealthState.UP)
        await until(lambda: watched.state is HealthState.DOWN)
        assert watched.changes[-1] == Change("a", ChangeKind.HEALTH, "up", "down", "hung")
        looks = len(server.looks)
        await until(lambda: len(server.looks) > looks + 10)  # many probes pass meanwhile
        assert backend.is_down
        server.iterations += 1
        await until(lambda: watched.state is HealthState.UP)

    run(test, client=client)


def test_an_engine_that_works_or_is_idle_stays_up() -> None:
    async def test(watched: Watched) -> None:
        server = watched.server
        watched.checker.start()
        for running in (0, 4):
            server.running = running
            started = time.monotonic()
            while time.monotonic() - started < 4 * (RULES.hung_after or 0):
                server.iterations += bool(running)
                await asyncio.sleep(0.02)
        assert [each for each in watched.changes if each.after == "down"] == []

    run(test)


def test_bytes_that_come_from_it_show_that_it_is_not_hung() -> None:
    async def test(watched: Watched) -> None:
        watched.server.running, watched.server.iterations = 1, 100
        watched.checker.start()
        await until(lambda: len(watched.server.looks) > 15)
        assert watched.state is HealthState.UP

    run(test, answers=Answers(last_byte=lambda _: time.monotonic()))


@pytest.mark.parametrize(("awaited", "state"), [(2, HealthState.DOWN), (1, HealthState.UP)])
def test_an_engine_that_hung_while_idle_is_found_by_the_streams_that_wait_for_it(
    awaited: int, state: HealthState
) -> None:
    """Its gauge of running requests stays at 0; one stream alone may wait for a grammar or an adapter."""

    async def test(watched: Watched) -> None:
        watched.server.running, watched.server.iterations = 0, 100
        watched.checker.start()
        await until(lambda: watched.state is HealthState.UP)
        await until(lambda: watched.state is HealthState.DOWN or len(watched.server.looks) > 15)
        assert watched.state is state

    run(test, answers=Answers(awaited=lambda _: awaited))


def test_what_it_tells_is_shown_for_as_long_as_it_tells() -> None:
    async def test(watched: Watched) -> None:
        backend = watched.registry.backends[0]
        watched.registry.probed(backend, Seen.PASSED, now=0)
        watched.server.page = b"vllm:num_requests_running 2\nvllm:num_requests_waiting 7\nvllm:kv_cache_usage_perc 0.5"
        assert await watched.look()
        status = backend.status(0)
        assert (status.running, status.waiting, status.kv_usage) == (2, 7, 0.5)
        watched.server.page = b"nothing"
        assert not await watched.look()
        assert backend.status(0).running is None

    run(test)


@pytest.mark.parametrize("status", [200, 401, 404, 500])
@pytest.mark.parametrize("page", [b"", b"{}", b"\xff\x00", b"vllm:num_requests_running x\n"])
def test_nothing_is_held_against_a_server_that_tells_nothing(status: int, page: bytes) -> None:
    async def test(watched: Watched) -> None:
        watched.registry.probed(watched.registry.backends[0], Seen.PASSED, now=0)
        watched.server.status, watched.server.page = status, page
        engine = Engine()
        assert [await watched.look(engine) for _ in range(3)] == [False] * 3
        assert watched.state is HealthState.UP

    run(test)


def test_a_server_that_tells_nothing_is_asked_more_seldom() -> None:
    async def test(watched: Watched) -> None:
        watched.server.page = b"nothing"
        watched.checker.start()
        await until(lambda: len(watched.server.looks) == 4)
        pauses = [late - early for early, late in zip(watched.server.looks, watched.server.looks[1:], strict=False)]
        assert min(pauses) > 3 * RULES.load_interval

    run(test)


@pytest.mark.parametrize("client", [PooledHTTPClient, SimpleAsyncHTTPClient])
def test_a_page_without_end_is_not_read_to_its_end(client: type[AsyncHTTPClient]) -> None:
    async def test(watched: Watched) -> None:
        watched.registry.probed(watched.registry.backends[0], Seen.PASSED, now=0)
        watched.server.page = b"x" * (8 * MAX_PAGE)
        assert not await watched.look()
        assert watched.server.sent < 4 * MAX_PAGE

    run(test, client=client)


def test_a_look_that_gets_no_answer_changes_nothing_but_what_is_shown() -> None:
    async def test(watched: Watched) -> None:
        backend = watched.registry.backends[0]
        watched.registry.probed(backend, Seen.PASSED, now=0)
        watched.registry.looked(backend, Figures(running=1), now=0)
        watched.server.hangs = True
        load = Load(watched.registry, watched.access, rules=replace(RULES, timeout=0.2))
        assert await load.look(backend, Engine(), told=True)
        assert not await load.look(backend, Engine(), told=False)
        assert (watched.state, backend.figures) == (HealthState.UP, Figures())

    run(test)


def test_the_log_tells_why_there_was_no_answer_in_the_words_of_probes(caplog: pytest.LogCaptureFixture) -> None:
    """And of a fault that is not the wire's no text: it may hold what a backend sent."""

    async def test(watched: Watched) -> None:
        backend = watched.registry.backends[0]
        watched.registry.probed(backend, Seen.PASSED, now=0)
        watched.server.hangs = True
        await Load(watched.registry, watched.access, rules=replace(RULES, timeout=0.2)).look(
            backend, Engine(), told=True
        )

        async def broken(request: HTTPRequest) -> int:
            raise LookupError("canary")

        await Load(watched.registry, replace(watched.access, fetch=broken), rules=RULES).look(
            backend, Engine(), told=True
        )

    caplog.set_level("DEBUG", "router.backends.load")
    run(test)
    said = [record.getMessage() for record in caplog.records if record.name == "router.backends.load"]
    assert [each.partition("its load: ")[2] for each in said] == ["no answer within 0.2 s", "LookupError"]


def test_a_backend_that_is_down_is_not_asked_but_one_that_hangs_is() -> None:
    async def test(watched: Watched) -> None:
        backend = watched.registry.backends[0]
        watched.registry.probed(backend, Seen.REFUSED, now=0)
        await watched.look()
        assert watched.server.looks == []
        watched.registry.probed(backend, Seen.HUNG, now=0)
        await watched.look()
        assert len(watched.server.looks) == 1
        assert not backend.health.is_hung  # it has nothing to do

    run(test)


def test_without_probes_nobody_is_asked() -> None:
    async def test(watched: Watched) -> None:
        load = Load(watched.registry, watched.access, rules=replace(RULES, enabled=False))
        await load.look(watched.registry.backends[0], Engine())
        assert watched.server.looks == []

    run(test)


def test_a_slow_page_delays_no_probe() -> None:
    async def test(watched: Watched) -> None:
        watched.server.hangs = True
        watched.checker.start()
        await until(lambda: len(watched.server.looks) == 1)
        backend = watched.registry.backends[0]
        passes = backend.health.passes
        await until(lambda: backend.health.passes > passes + 5)
        assert len(watched.server.looks) == 1

    run(test)


def test_who_watches_no_answers_knows_of_no_progress() -> None:
    assert never("a") == -math.inf
    assert nobody("a") == 0


# Of many


def test_pauses_of_many_backends_end_together_and_are_no_longer_on_average() -> None:
    dice, now = random.Random(1), 1234.567
    pauses = [dice.uniform(1.6, 2.4) for _ in range(500)]
    ends = [now + together(pause, now) for pause in pauses]

    assert len({round(end / STEP) for end in ends}) <= 17  # 16 steps lie between the least and the most
    assert all(abs(end / STEP - round(end / STEP)) < 1e-6 for end in ends)
    moved = [end - now - pause for end, pause in zip(ends, pauses, strict=True)]
    assert max(map(abs, moved)) <= STEP / 2 + 1e-6
    assert abs(sum(moved) / len(moved)) < STEP / 10  # a failure is seen as soon as before


def test_a_short_pause_is_as_long_as_it_is() -> None:
    assert together(LONG - 0.001, 5.01) == LONG - 0.001
    end = 5.01 + together(LONG, 5.01)
    assert abs(end / STEP - round(end / STEP)) < 1e-6, "from there on it ends on a step"
    assert abs(end - 5.01 - LONG) <= STEP / 2 + 1e-6
