"""Rules of probing, over real sockets."""

import asyncio
import json
import random
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.simple_httpclient import SimpleAsyncHTTPClient
from tornado.web import Application, RequestHandler

from bench.processes import free_port
from router.backends.backend import Backend, BackendSpec, Change, ChangeKind, Listing, Standing
from router.backends.breaker import BreakerRules
from router.backends.checker import Checker, plain_request
from router.backends.health import HealthRules, HealthState, Seen
from router.backends.load import STEP, Answers, never
from router.backends.registry import Registry
from router.config import Config
from router.parts import endpoint, probe_request
from router.wire.client import Origin, PooledHTTPClient, Request

CLIENT: ContextVar[type[AsyncHTTPClient]] = ContextVar("client")  # with which the test at hand probes
RULES = HealthRules(interval=0.2, timeout=0.3, fall=2, rise=2, models_interval=0.2)
PATIENCE = 10.0  # seconds: far beyond what any of it should take


@dataclass
class Server:
    """A backend whose answers can be changed, and which can be stopped and started on its port."""

    status: int = 200
    hangs: bool = False
    models: Any = field(default_factory=lambda: {"object": "list", "data": [{"id": "m"}]})
    models_status: int = 200
    completions: dict[str, int] = field(default_factory=dict)  # path -> status
    asked: list[tuple[str, Any, str | None]] = field(default_factory=list)  # (path, body, Authorization)
    port: int = 0
    seen: list[tuple[str, str | None]] = field(default_factory=list)  # (path, Authorization)
    server: HTTPServer | None = None

    def start(self) -> None:
        class Health(RequestHandler):
            async def get(handler) -> None:  # `self` is the server
                self.seen.append((handler.request.path, handler.request.headers.get("Authorization")))
                while self.hangs:
                    await asyncio.sleep(0.01)
                handler.set_status(self.status)

        class Models(RequestHandler):
            def get(handler) -> None:
                self.seen.append((handler.request.path, handler.request.headers.get("Authorization")))
                handler.set_status(self.models_status)
                handler.finish(self.models if isinstance(self.models, bytes) else json.dumps(self.models))

        class Completions(RequestHandler):
            def post(handler) -> None:
                path, key = handler.request.path, handler.request.headers.get("Authorization")
                assert handler.request.headers["Content-Type"] == "application/json"
                self.asked.append((path, json.loads(handler.request.body), key))
                handler.set_status(self.completions.get(path, 200))

        self.port = self.port or free_port()
        [listener] = bind_sockets(self.port, "127.0.0.1")
        routes = [("/health", Health), ("/v1/models", Models), ("/api/v1/models", Models)]
        posts = ("/v1/completions", "/v1/chat/completions", "/v1/embeddings")
        self.server = HTTPServer(Application([*routes, *((path, Completions) for path in posts)]))
        self.server.add_socket(listener)

    async def stop(self) -> None:
        if self.server is not None:
            self.server.stop()
            await self.server.close_all_connections()
            self.server = None

    def spec(self, name: str, **fields: Any) -> BackendSpec:
        return replace(BackendSpec(name, f"http://127.0.0.1:{self.port}"), **fields)

    def count(self, path: str) -> int:
        return sum(each == path for each, _ in self.seen)


@dataclass
class Watched:
    """A running checker and what it watches."""

    registry: Registry
    checker: Checker
    changes: list[Change]

    @property
    def states(self) -> list[HealthState]:
        return [backend.health.state for backend in self.registry.backends]

    def of(self, kind: ChangeKind) -> list[tuple[str, str, str]]:
        return [(each.backend, each.before, each.after) for each in self.changes if each.kind is kind]


@asynccontextmanager
async def watching(
    *specs: BackendSpec, rules: HealthRules = RULES, progress: Callable[[str], float] = never
) -> AsyncIterator[Watched]:
    registry, changes = Registry(specs, health_rules=rules), []
    client = CLIENT.get()(force_instance=True)
    checker = Checker(
        registry,
        client,
        rules=rules,
        rng=random.Random(1),
        on_change=changes.append,
        answers=Answers(last_byte=progress),
    )
    checker.start()
    try:
        yield Watched(registry, checker, changes)
    finally:
        await checker.stop()
        client.close()


async def until(condition: Callable[[], bool]) -> float:
    """Return after how many seconds the condition held."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < PATIENCE
        await asyncio.sleep(0.005)
    return time.monotonic() - started


def run(test: Callable[[Server, Server], Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a test of a coroutine that gets two running servers, once with our client and once with Tornado's."""

    @pytest.mark.parametrize("client", [PooledHTTPClient, SimpleAsyncHTTPClient])
    def wrapped(client: type[AsyncHTTPClient]) -> None:
        async def with_servers() -> None:
            CLIENT.set(client)
            servers = (Server(), Server())
            for server in servers:
                server.start()
            try:
                await test(*servers)
            finally:
                for server in servers:
                    server.hangs = False
                    await server.stop()

        asyncio.run(with_servers())

    wrapped.__name__ = test.__name__
    return wrapped


@run
async def test_healthy_backends_come_up_at_once_and_tell_their_models(a: Server, b: Server) -> None:
    b.models = {"data": [{"id": "m"}, {"id": "n", "max_model_len": 7}]}
    async with watching(a.spec("a"), b.spec("b"), rules=replace(RULES, interval=60)) as watched:
        await until(lambda: watched.states == [HealthState.UP] * 2)

        assert watched.registry.models(now=time.monotonic()) == [{"id": "m"}, {"id": "n", "max_model_len": 7}]
        assert sorted(watched.of(ChangeKind.MODELS)) == [("a", "", "m"), ("b", "", "m,n")]
        assert isinstance(watched.registry.pick("n", now=time.monotonic()), Backend)


@run
async def test_a_backend_that_answers_503_goes_down_and_comes_back(a: Server, b: Server) -> None:
    async with watching(a.spec("a"), b.spec("b")) as watched:
        await until(lambda: watched.states == [HealthState.UP] * 2)
        a.status = 503
        await until(lambda: watched.states == [HealthState.DOWN, HealthState.UP])
        a.status = 200
        await until(lambda: watched.states == [HealthState.UP] * 2)

        assert watched.of(ChangeKind.HEALTH)[-2:] == [("a", "up", "down"), ("a", "down", "up")]


def why_down(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Level and message of each line about a failed probe."""
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    return [(level, message) for level, message in lines if "its probe failed" in message]


@pytest.mark.parametrize(
    ("how", "cause", "why"),
    [
        ({"status": 503}, "bad_status", "status 503"),
        ({"hangs": True}, "timeout", "no answer within 0.3 s"),
        ({"port": 1}, "refused", None),
    ],
)
def test_why_a_backend_goes_down_is_told_at_the_default_level(
    how: dict[str, Any], cause: str, why: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Once: what each of the probes showed that changed nothing is for who debugs."""

    @run
    async def test(a: Server, b: Server) -> None:
        a.status, a.hangs = how.get("status", 200), how.get("hangs", False)
        spec = a.spec("a") if "port" not in how else BackendSpec("a", f"http://127.0.0.1:{free_port()}")
        async with watching(spec) as watched:
            await until(lambda: watched.states == [HealthState.DOWN])
            await until(lambda: watched.registry.backends[0].health.fails > RULES.fall)
            causes.extend(each.cause for each in watched.changes if each.kind is ChangeKind.HEALTH)

    causes: list[str] = []
    caplog.set_level("DEBUG", "router.backends.checker")
    test(PooledHTTPClient)
    assert causes == [cause]
    told = [("WARNING", f"backend a: its probe failed: {why}")] if why is not None else []
    assert [line for line in why_down(caplog) if line[0] != "DEBUG"] == told
    assert {message for _, message in why_down(caplog)} == {message for _, message in told}


@contextmanager
def dropping() -> Iterator[int]:
    """Listen on a port whose queue is full: the kernel drops who else would connect, as a firewall does."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def ours(spec: BackendSpec, path: str, timeout: float) -> HTTPRequest:
    """Build what the router's own client is asked with."""
    config = Config.model_validate({"backends": [{"url": spec.url}]})
    return probe_request(endpoint(config.backends[0], config), path, timeout)


@pytest.mark.parametrize("build", [plain_request, ours])
def test_a_host_that_drops_packets_is_no_server_that_is_late(
    build: Callable[[BackendSpec, str, float], HTTPRequest], caplog: pytest.LogCaptureFixture
) -> None:
    """The network is to be looked at, and not the server."""

    async def test(port: int) -> float:
        spec, changes = BackendSpec("a", f"http://127.0.0.1:{port}"), list[Change]()
        registry, client = Registry([spec], health_rules=rules), PooledHTTPClient(force_instance=True)
        checker = Checker(
            registry, client, rules=rules, rng=random.Random(1), on_change=changes.append, build_request=build
        )
        started = time.monotonic()
        await checker.check(registry.backends[0])
        took = time.monotonic() - started
        client.close()
        assert [each.cause for each in changes if each.kind is ChangeKind.HEALTH] == ["connect_failed"]
        return took

    rules = replace(RULES, fall=1)
    with dropping() as port:
        assert asyncio.run(test(port)) < rules.timeout + 0.2, "no longer than a probe may take"
    assert any("no connection to" in message for _, message in why_down(caplog))


@pytest.mark.parametrize(
    "answer",
    [
        b"canary\r\n\r\n",
        b"HTTP/1.1 canary\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncan\0ary: canary\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: canary\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: canary\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ncanary\r\n",
        b"HTTP/1.1 101 canary\r\nUpgrade: canary\r\nConnection: upgrade\r\n\r\n",
    ],
)
def test_of_what_is_no_answer_no_byte_is_logged(answer: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async def test() -> None:
        server = await asyncio.start_server(say, "127.0.0.1", 0)
        spec = BackendSpec("a", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        CLIENT.set(PooledHTTPClient)
        async with server, watching(spec) as watched:
            await until(lambda: watched.states == [HealthState.DOWN])
        assert watched.registry.backends[0].down_by == "bad_response"

    asyncio.run(test())
    assert why_down(caplog)
    assert "canary" not in caplog.text


def test_a_client_whose_timers_are_silent_is_not_waited_for_for_ever() -> None:
    class Silent:
        def fetch(self, request: HTTPRequest, raise_error: bool = True) -> asyncio.Future[Any]:
            return asyncio.get_running_loop().create_future()

    async def test() -> None:
        client: Any = Silent()
        checker = Checker(registry, client, rules=rules, rng=random.Random(1), on_change=changes.append)
        await asyncio.wait_for(checker.check(registry.backends[0]), PATIENCE)

    spec, rules, changes = BackendSpec("a", "http://a:1"), replace(RULES, fall=1), list[Change]()
    registry = Registry([spec], health_rules=rules)
    asyncio.run(test())
    assert [each.cause for each in changes] == ["timeout"]


@run
async def test_a_server_without_such_a_probe_counts_as_up(a: Server, b: Server) -> None:
    """Public APIs have no /health; what they answer to it still shows that they live."""
    a.status, b.status = 404, 401
    async with watching(a.spec("a"), b.spec("b")) as watched:
        await until(lambda: watched.states == [HealthState.UP] * 2)


@run
async def test_a_backend_that_hangs_goes_down_while_others_are_probed_on(a: Server, b: Server) -> None:
    async with watching(a.spec("a"), b.spec("b")) as watched:
        await until(lambda: watched.states == [HealthState.UP] * 2)
        a.hangs = True
        probes = b.count("/health")
        await until(lambda: watched.states == [HealthState.DOWN, HealthState.UP])

        assert b.count("/health") > probes


@run
async def test_a_refused_probe_takes_a_backend_out_at_once(a: Server, b: Server) -> None:
    spec = BackendSpec("gone", f"http://127.0.0.1:{free_port()}")
    rules = replace(RULES, fall=99, interval=60)
    async with watching(spec, a.spec("a"), rules=rules) as watched:
        await until(lambda: watched.states == [HealthState.DOWN, HealthState.UP])

        assert watched.registry.backends[0].health.fails == 1


@run
async def test_a_backend_that_returns_is_back_in_use_within_two_intervals(a: Server, b: Server) -> None:
    rules = replace(RULES, interval=0.6)
    async with watching(a.spec("a"), rules=rules) as watched:
        await until(lambda: watched.states == [HealthState.UP])
        await a.stop()
        await until(lambda: watched.states == [HealthState.DOWN])
        a.start()

        assert await until(lambda: watched.states == [HealthState.UP]) < 2 * rules.interval


@run
async def test_a_backend_that_returns_with_another_model_is_not_picked_for_the_old_one(a: Server, b: Server) -> None:
    rules = replace(RULES, models_interval=60)
    async with watching(a.spec("a"), rules=rules) as watched:
        await until(lambda: watched.states == [HealthState.UP])
        await a.stop()
        await until(lambda: watched.states == [HealthState.DOWN])
        a.models = {"data": [{"id": "new"}]}
        a.start()
        await until(lambda: watched.states == [HealthState.UP])

        assert list(watched.registry.backends[0].models) == ["new"]
        kinds = [each.kind for each in watched.changes[-2:]]
        assert kinds == [ChangeKind.MODELS, ChangeKind.HEALTH]


@run
async def test_models_are_listed_again_as_time_goes_by(a: Server, b: Server) -> None:
    async with watching(a.spec("a")) as watched:
        await until(lambda: watched.registry.is_known("m"))
        a.models = {"data": [{"id": "m"}, {"id": "adapter"}]}
        await until(lambda: watched.registry.is_known("adapter"))

        assert watched.of(ChangeKind.MODELS) == [("a", "", "m"), ("a", "m", "m,adapter")]


@run
async def test_a_list_that_is_none_leaves_the_backend_up_and_without_models(a: Server, b: Server) -> None:
    for junk in (b"", b"{", b"[]", b'{"data": 5}', b"\xff", b'{"data":' * 5000, b"[" * 100_000):
        a.models = junk
        async with watching(a.spec("a")) as watched:
            await until(lambda: watched.states == [HealthState.UP])

            assert watched.registry.backends[0].listing is Listing.FAILED
            assert watched.registry.known_models() == []


@run
async def test_the_key_is_sent_and_the_prefix_is_used(a: Server, b: Server) -> None:
    async with watching(a.spec("a", api_key="sk-test", api_prefix="/api/v1"), b.spec("b")) as watched:
        await until(lambda: watched.states == [HealthState.UP] * 2)

    assert set(a.seen) == {("/health", "Bearer sk-test"), ("/api/v1/models", "Bearer sk-test")}
    assert set(b.seen) == {("/health", None), ("/v1/models", None)}


@run
async def test_a_wrong_key_raises_an_alarm_and_takes_nobody_out(a: Server, b: Server) -> None:
    a.models_status, a.models = 401, {"error": "Unauthorized"}
    async with watching(a.spec("a", api_key="sk-wrong")) as watched:
        await until(lambda: watched.of(ChangeKind.ALARM) == [("a", "", "unauthorized")])
        await until(lambda: a.count("/v1/models") > 2)

        assert watched.states == [HealthState.UP]
        assert len(watched.of(ChangeKind.ALARM)) == 1


@run
async def test_without_health_checks_models_are_still_listed(a: Server, b: Server) -> None:
    async with watching(a.spec("a"), rules=replace(RULES, enabled=False)) as watched:
        await until(lambda: watched.registry.is_known("m"))

    assert a.count("/health") == 0


@run
async def test_no_task_is_left_after_stop_also_while_a_probe_hangs(a: Server, b: Server) -> None:
    a.hangs = True
    async with watching(a.spec("a"), b.spec("b"), rules=replace(RULES, timeout=60)) as watched:
        await until(lambda: a.count("/health") == 1 and watched.states[1] is HealthState.UP)
        await watched.checker.stop()

        assert [each for each in asyncio.all_tasks() if each.get_name().startswith("checker ")] == []
        before = len(b.seen)
        await asyncio.sleep(0.3)
        assert len(b.seen) == before


@run
async def test_it_can_be_started_again_and_starting_twice_starts_once(a: Server, b: Server) -> None:
    async with watching(a.spec("a")) as watched:
        watched.checker.start()
        assert len([each for each in asyncio.all_tasks() if each.get_name() == "checker a"]) == 1
        await watched.checker.stop()
        watched.checker.start()
        await until(lambda: watched.states == [HealthState.UP])


@run
async def test_a_fault_of_the_client_is_a_failed_probe_and_not_the_end_of_probing(a: Server, b: Server) -> None:
    class Faulty(SimpleAsyncHTTPClient):
        def fetch(self, *_: object, **__: object) -> Awaitable[Any]:  # type: ignore[override]
            raise LookupError("a fault")

    registry = Registry([a.spec("a")], health_rules=RULES)
    client = Faulty(force_instance=True)
    checker = Checker(registry, client, rules=RULES, rng=random.Random(1))
    checker.start()
    try:
        await until(lambda: registry.backends[0].health.fails > 2)
        assert registry.backends[0].health.state is HealthState.DOWN
    finally:
        await checker.stop()
        client.close()


def test_the_text_of_a_fault_that_is_not_the_wires_is_logged_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(SimpleAsyncHTTPClient):
        def fetch(self, *_: object, **__: object) -> Awaitable[Any]:  # type: ignore[override]
            raise LookupError("canary")

    async def test() -> None:
        checker = Checker(registry, Faulty(force_instance=True), rules=RULES, rng=random.Random(1))
        await checker.check(registry.backends[0])

    registry = Registry([BackendSpec("a", "http://a:1")], health_rules=RULES)
    caplog.set_level("DEBUG", "router.backends.checker")
    asyncio.run(test())
    assert "LookupError" in caplog.text
    assert "canary" not in caplog.text


def test_a_kept_connection_that_had_died_is_not_a_failed_probe() -> None:
    async def answer_once_per_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"data":[]}')
        with suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
        writer.close()  # the second request on a connection gets no answer

    async def test() -> None:
        CLIENT.set(PooledHTTPClient)
        server = await asyncio.start_server(answer_once_per_connection, "127.0.0.1", 0)
        spec = BackendSpec("a", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with server, watching(spec, rules=replace(RULES, interval=0.05)) as watched:
            backend = watched.registry.backends[0]
            for _ in range(10):
                passes = backend.health.passes
                await until(lambda passes=passes: backend.health.passes > passes)
                assert backend.health.fails == 0

    asyncio.run(test())


def test_a_unix_socket_that_does_not_exist_refuses(tmp_path: Path) -> None:
    def to_socket(spec: BackendSpec, path: str, timeout: float) -> Request:
        origin = Origin("http", "localhost", 80, unix_path=str(tmp_path / "missing"))
        return Request(origin=origin, target=path, request_timeout=timeout)

    async def test() -> None:
        registry = Registry([BackendSpec("a", "unix:/missing")], health_rules=RULES)
        client = PooledHTTPClient(force_instance=True)
        checker = Checker(registry, client, rules=RULES, rng=random.Random(1), build_request=to_socket)
        await checker.check(registry.backends[0])
        client.close()

        assert registry.backends[0].health.state is HealthState.DOWN

    asyncio.run(test())


# Busy


@run
async def test_a_backend_whose_probes_are_late_while_its_streams_go_on_is_busy_and_stays(a: Server, b: Server) -> None:
    async with watching(a.spec("a"), rules=replace(RULES, fall=1), progress=lambda _: time.monotonic()) as watched:
        await until(lambda: watched.states == [HealthState.UP])
        a.hangs = True
        await until(lambda: watched.registry.snapshot(0)[0].busy)
        probes = a.count("/health")
        await until(lambda: a.count("/health") > probes + 3)
        assert watched.states == [HealthState.UP]
        a.hangs = False
        await until(lambda: not watched.registry.snapshot(0)[0].busy)

        assert len(watched.of(ChangeKind.HEALTH)) == 1


@run
async def test_bytes_of_long_ago_do_not_make_a_backend_busy(a: Server, b: Server) -> None:
    began = time.monotonic() - 5.5
    async with watching(a.spec("a"), progress=lambda _: began) as watched:
        await until(lambda: watched.states == [HealthState.UP])
        a.hangs = True
        await until(lambda: watched.states == [HealthState.DOWN])


@run
async def test_nobody_who_refuses_is_busy(a: Server, b: Server) -> None:
    rules = replace(RULES, fall=99)
    async with watching(a.spec("a"), rules=rules, progress=lambda _: time.monotonic()) as watched:
        await until(lambda: watched.states == [HealthState.UP])
        await a.stop()
        await until(lambda: watched.states == [HealthState.DOWN])


@run
async def test_a_backend_whose_probe_is_late_is_picked_last_before_it_counts_as_down(a: Server, b: Server) -> None:
    rules = replace(RULES, interval=0.1, timeout=5.0)
    async with watching(a.spec("a"), b.spec("b"), rules=rules) as watched:
        await until(lambda: watched.states == [HealthState.UP] * 2)
        late, now = watched.registry.backends[0], watched.checker._clock
        a.hangs = True
        await until(lambda: late.standing(now()) is Standing.EASED)

        picked = {watched.registry.pick("m", now=now()) for _ in range(6)}
        assert picked == {watched.registry.backends[1]}
        assert watched.states == [HealthState.UP] * 2
        a.hangs = False


# Warming up

WARM = replace(RULES, warm_up=True, warm_up_timeout=5.0)


@run
async def test_where_that_is_configured_a_backend_answers_one_completion_before_it_is_up(a: Server, b: Server) -> None:
    async with watching(a.spec("a", api_key="k"), b.spec("b"), rules=WARM) as watched:
        await until(lambda: watched.states == [HealthState.UP] * 2)
        probes = a.count("/health")
        await until(lambda: a.count("/health") > probes + 3)

        asked = {"model": "m", "prompt": "Hi", "max_tokens": 1}
        assert a.asked == [("/v1/completions", asked, "Bearer k")]
        assert b.asked == [("/v1/completions", asked, None)]
        await a.stop()
        await until(lambda: watched.states[0] is HealthState.DOWN)
        a.start()
        await until(lambda: watched.states[0] is HealthState.UP)
        assert len(a.asked) == 2


@run
async def test_a_backend_that_is_healthy_and_fails_its_completion_does_not_come_up(a: Server, b: Server) -> None:
    a.completions["/v1/completions"] = 500
    async with watching(a.spec("a"), b.spec("b"), rules=WARM) as watched:
        await until(lambda: watched.states == [HealthState.UNKNOWN, HealthState.UP])
        await until(lambda: len(a.asked) == 2)
        assert a.count("/health") > 4  # the pauses between completions grow, those between probes do not
        assert watched.states[0] is not HealthState.UP
        a.completions.clear()
        await until(lambda: watched.states == [HealthState.UP] * 2)


@run
async def test_a_backend_that_has_hung_answers_one_completion_before_it_is_up_again(a: Server, b: Server) -> None:
    a.completions["/v1/completions"] = 500
    async with watching(a.spec("a"), b.spec("b"), rules=RULES) as watched:
        await until(lambda: watched.states == [HealthState.UP] * 2)
        hung, now = watched.registry.backends[0], watched.checker._clock
        watched.registry.probed(hung, Seen.HUNG, now=now())
        watched.registry.probed(hung, Seen.MOVED, now=now())  # its requests are gone, so nothing stands still any more
        await until(lambda: len(a.asked) == 2)
        assert watched.states == [HealthState.DOWN, HealthState.UP]
        a.completions.clear()
        await until(lambda: watched.states == [HealthState.UP] * 2)

        assert b.asked == []
        assert not hung.health.must_prove


@run
async def test_a_backend_that_has_hung_and_takes_only_keys_of_clients_comes_up_again(a: Server, b: Server) -> None:
    a.completions["/v1/completions"] = 401
    async with watching(a.spec("a"), b.spec("b"), rules=RULES) as watched:
        await until(lambda: watched.states == [HealthState.UP] * 2)
        hung, now = watched.registry.backends[0], watched.checker._clock
        watched.registry.probed(hung, Seen.HUNG, now=now())
        watched.registry.probed(hung, Seen.MOVED, now=now())
        await until(lambda: watched.states == [HealthState.UP] * 2)

    assert [path for path, _, _ in a.asked] == ["/v1/completions"]


@run
async def test_another_form_is_asked_where_a_server_does_not_know_one(a: Server, b: Server) -> None:
    a.completions["/v1/completions"] = 404
    b.completions |= {"/v1/completions": 400, "/v1/chat/completions": 405}
    async with watching(a.spec("a"), b.spec("b"), rules=WARM) as watched:
        await until(lambda: watched.states == [HealthState.UP] * 2)

    assert [path for path, _, _ in a.asked] == ["/v1/completions", "/v1/chat/completions"]
    assert [path for path, _, _ in b.asked] == ["/v1/completions", "/v1/chat/completions", "/v1/embeddings"]


@run
async def test_between_two_completions_a_backend_is_not_asked_for_its_models_with_each_probe(
    a: Server, b: Server
) -> None:
    a.completions["/v1/completions"] = 500
    async with watching(a.spec("a"), b.spec("b"), rules=replace(WARM, models_interval=60)) as watched:
        await until(lambda: len(a.asked) == 2)  # the next is asked two seconds later
        listings, probes = a.count("/v1/models"), a.count("/health")
        await until(lambda: a.count("/health") > probes + 3)
        assert (len(a.asked), a.count("/v1/models")) == (2, listings)
        assert watched.states[0] is not HealthState.UP


@run
async def test_a_backend_that_lists_no_model_cannot_be_warmed_up_and_comes_up(a: Server, b: Server) -> None:
    a.models = {"data": []}
    async with watching(a.spec("a"), rules=WARM) as watched:
        await until(lambda: watched.states == [HealthState.UP])

    assert a.asked == []


@run
async def test_no_answer_is_a_failed_warm_up(a: Server, b: Server) -> None:
    gone = replace(a.spec("a"), models=("m",))
    async with watching(gone, rules=replace(WARM, interval=60)) as watched:
        await until(lambda: watched.states == [HealthState.UP])
        await a.stop()
        status = await watched.checker._post(watched.registry.backends[0], "/v1/completions", b"{}")

    assert status == 0


# Backends that come and go


@run
async def test_a_backend_that_is_added_is_watched_and_one_that_is_removed_is_not(a: Server, b: Server) -> None:
    async with watching(a.spec("a")) as watched:
        await until(lambda: watched.states == [HealthState.UP])
        watched.registry.update([b.spec("b")])
        watched.checker.sync()
        watched.checker.sync()
        await until(lambda: watched.states == [HealthState.UP])
        await until(lambda: {each.get_name() for each in asyncio.all_tasks() if " " in each.get_name()} == NEEDED)
        before = len(a.seen)
        probes = b.count("/health")
        await until(lambda: b.count("/health") > probes + 3)

        assert len(a.seen) == before
        assert watched.checker._ending == set()


NEEDED = {"checker b", "load b"}


@run
async def test_a_hundred_reloads_leave_one_watch_for_each_backend(a: Server, b: Server) -> None:
    a.hangs = True  # so that probes are under way when their backends go
    async with watching(a.spec("a"), b.spec("b")) as watched:
        for number in range(100):
            watched.registry.update([a.spec(f"a{number}"), b.spec("b")])
            watched.checker.sync()
            await asyncio.sleep(0.002)
        names = {"checker a99", "load a99", "checker b", "load b"}
        await until(lambda: {each.get_name() for each in asyncio.all_tasks() if " " in each.get_name()} == names)

        assert set(watched.checker._watched) == set(watched.registry.backends)


@run
async def test_many_backends_are_asked_in_few_turns_of_the_loop(a: Server, b: Server) -> None:
    loop, rules = asyncio.get_running_loop(), replace(RULES, interval=5.0, models_interval=60.0, load_interval=5.0)

    def asleep() -> int:
        """How many sleep until a step; of the client's timeouts a few end at one by chance."""
        due = [timer.when() for timer in loop._scheduled if not timer.cancelled() and timer.when() > loop.time() + 1]  # type: ignore[attr-defined]
        return sum(abs(when / STEP - round(when / STEP)) < 0.1 for when in due)

    async with watching(*(a.spec(f"a{number}") for number in range(40)), rules=rules) as watched:
        await until(lambda: set(watched.states) == {HealthState.UP})
        await until(lambda: asleep() >= 70)  # of 80: a busy machine sets some late


def test_nothing_is_watched_before_the_start() -> None:
    async def test() -> None:
        registry = Registry([BackendSpec("a", "http://127.0.0.1:1")])
        client = PooledHTTPClient(force_instance=True)
        Checker(registry, client, rules=RULES, rng=random.Random(1)).sync()
        client.close()

        assert len(asyncio.all_tasks()) == 1

    asyncio.run(test())


@run
async def test_a_slow_probe_of_one_backend_delays_no_other(a: Server, b: Server) -> None:
    a.hangs = True
    rules = replace(RULES, timeout=60, interval=0.05)
    async with watching(a.spec("a"), b.spec("b"), rules=rules) as watched:
        await until(lambda: b.count("/health") > 20)

        assert a.count("/health") == 1
        assert watched.states == [HealthState.UNKNOWN, HealthState.UP]


@run
async def test_other_rules_hold_from_the_next_probe_on(a: Server, b: Server) -> None:
    async with watching(a.spec("a")) as watched:
        await until(lambda: a.count("/health") > 2)
        rules = replace(RULES, enabled=False)
        watched.registry.set_rules(health_rules=rules, breaker_rules=BreakerRules())
        watched.checker.set_rules(rules)
        await until(lambda: a.count("/v1/models") > 3)
        probes = a.count("/health")
        lists = a.count("/v1/models")
        await until(lambda: a.count("/v1/models") > lists + 2)

        assert a.count("/health") <= probes + 1


@run
async def test_a_backend_that_is_held_down_is_not_listed_at_each_probe(a: Server, b: Server) -> None:
    rules = replace(RULES, models_interval=60, interval=0.1)
    async with watching(a.spec("a"), b.spec("b"), rules=rules) as watched:
        await until(lambda: watched.states == [HealthState.UP] * 2)
        backend = watched.registry.backends[0]
        backend.hold.until = time.monotonic() + 60
        watched.registry.probed(backend, Seen.REFUSED, now=time.monotonic())
        lists, probes = a.count("/v1/models"), a.count("/health")
        await until(lambda: a.count("/health") > probes + 8)

        assert backend.is_down
        assert a.count("/v1/models") == lists


def test_a_probe_follows_no_redirect_and_is_bounded_in_time() -> None:
    request = plain_request(BackendSpec("a", "http://a:1/", api_key="k"), "/health", 3.0)

    assert request.url == "http://a:1/health"
    assert (request.follow_redirects, request.connect_timeout, request.request_timeout) == (False, 3.0, 3.0)
