"""Backends are asked for their dialect over real sockets; their answers are those recorded of vLLM 0.32."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from router.backends.backend import Backend, BackendSpec
from router.backends.breaker import BreakerRules
from router.backends.health import HealthRules
from router.relay.dialects import Configured, Dialects
from router.relay.endpoint import Endpoint
from router.relay.probing import MAX_TRIES, REFRESH, Prober, names_of
from router.translate.mistral.probes import MESSAGES, Probe
from router.translate.profile import STRICTEST, Renderer
from router.wire.client import PooledHTTPClient, parse_url
from tests.front import run

RECORDED = json.loads((Path(__file__).parents[1] / "data/tokenize.json").read_text())


@dataclass
class Server:
    """Answers probes as a vLLM server with this tokenizer does."""

    tokenizer: str = "v13"
    version: str | None = "0.32.0"
    has_tokenize: bool = True
    hangs: bool = False
    fails: int = 0  # so many probes get a 500
    asked: list[str] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)

    def application(self) -> Application:
        class Version(RequestHandler):
            def get(handler) -> None:  # `self` is the server
                self.asked.append("version")
                handler.finish({"version": self.version} if self.version is not None else "none")

        class Tokenize(RequestHandler):
            async def post(handler) -> None:
                body: dict[str, Any] = json.loads(handler.request.body)
                [probe] = [probe for probe in Probe if MESSAGES[probe] == body["messages"]]
                self.asked.append(probe.value)
                self.keys.add(handler.request.headers.get("Authorization"))
                if self.hangs:
                    await asyncio.sleep(60)
                if self.fails:
                    self.fails -= 1
                    handler.set_status(500)
                    return
                answer = RECORDED[self.tokenizer][probe.value] if self.has_tokenize else {"status": 404, "body": "{}"}
                handler.set_status(answer["status"])
                handler.finish(answer["body"])

        return Application([("/version", Version), ("/tokenize", Tokenize)])


@dataclass
class Scene:
    """One backend, what is known of it, and who asks it."""

    server: Server
    backend: Backend
    dialects: Dialects
    prober: Prober
    endpoints: dict[str, Endpoint]
    now: list[float] = field(default_factory=lambda: [0.0])

    async def inspect(self, *, rises: bool) -> None:
        """Let it be asked, and wait until it has been."""
        await self.prober.inspect(self.backend, list(self.backend.models.values()), rises)
        await asyncio.gather(*self.prober._running.values())


@asynccontextmanager
async def scene(
    server: Server, *, model: str = "coder", configured: Configured | None = None, timeout: float = 2.0
) -> AsyncIterator[Scene]:
    """Start a server, and what asks it."""
    listener = HTTPServer(server.application())
    [found] = bind_sockets(0, "127.0.0.1")
    listener.add_socket(found)
    url = f"http://127.0.0.1:{found.getsockname()[1]}"
    client = PooledHTTPClient(force_instance=True)
    backend = Backend(BackendSpec("a", url), health_rules=HealthRules(), breaker_rules=BreakerRules())
    backend.models = {model: {"id": model, "root": f"/models/{model}"}}
    dialects = Dialects({"a": configured or Configured()})
    endpoints = {"a": Endpoint(parse_url(url)[0], api_key="k")}
    try:
        now = [0.0]
        prober = Prober(client, endpoints, dialects, timeout=timeout, clock=lambda: now[0])
        yield Scene(server, backend, dialects, prober, endpoints, now)
        await prober.stop()
    finally:
        client.close()
        listener.stop()
        await listener.close_all_connections()


@pytest.mark.parametrize(("tokenizer", "version"), [("v3", 3), ("v7", 7), ("v11", 11), ("v13", 13), ("v15", 15)])
def test_a_backend_tells_its_tokenizer_when_it_comes_up(tokenizer: str, version: int) -> None:
    async def test() -> None:
        async with scene(Server(tokenizer)) as stage:
            await stage.inspect(rises=True)

            known = stage.dialects.of("a")
            assert known.translates
            assert (known.profile.renderer, known.profile.version) == (Renderer.MISTRAL_COMMON, version)
            assert known.version == "0.32.0"
            assert stage.server.keys == {"Bearer k"}

    run(test)


def test_a_template_of_another_family_is_left_as_it_is() -> None:
    async def test() -> None:
        async with scene(Server("template"), model="qwen") as stage:
            await stage.inspect(rises=True)

            assert not stage.dialects.of("a").translates

    run(test)


def test_it_is_asked_again_only_when_it_comes_up_or_is_another() -> None:
    async def test() -> None:
        async with scene(Server()) as stage:
            await stage.inspect(rises=True)
            await stage.inspect(rises=False)
            assert stage.server.asked.count("call") == 1

            stage.server.version = "0.33.0"
            await stage.inspect(rises=False)
            assert stage.server.asked.count("call") == 2

            stage.backend.models = {"other": {"id": "other"}}
            await stage.inspect(rises=False)
            assert stage.server.asked.count("call") == 3

            stage.server.tokenizer = "v7"
            await stage.inspect(rises=True)
            assert stage.dialects.of("a").profile.version == 7

    run(test)


def test_a_server_without_tokenize_is_asked_once_and_known_by_its_name() -> None:
    async def test() -> None:
        async with scene(Server(has_tokenize=False), model="devstral-small") as stage:
            await stage.inspect(rises=True)

            assert stage.dialects.of("a").translates
            assert stage.dialects.of("a").profile == STRICTEST
            assert stage.server.asked == ["version", "last_assistant"]

    run(test)


def test_a_server_that_hangs_does_not_keep_a_backend_down() -> None:
    async def test() -> None:
        async with scene(Server(hangs=True), model="devstral", timeout=0.1) as stage:
            await stage.inspect(rises=True)

            assert stage.dialects.of("a").profile == STRICTEST

    run(test)


def test_a_dead_server_is_nothing_to_fail_of() -> None:
    async def test() -> None:
        async with scene(Server()) as stage:
            endpoint = Endpoint(parse_url("http://127.0.0.1:1")[0])
            client = PooledHTTPClient(force_instance=True)
            prober = Prober(client, {"a": endpoint}, stage.dialects, timeout=1, clock=lambda: 0.0)
            await prober.inspect(stage.backend, (), True)

            assert not stage.dialects.of("a").translates

    run(test)


def test_a_kept_connection_that_had_died_is_no_missing_answer() -> None:
    connections = 0

    async def answer_once_per_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        head = await reader.readuntil(b"\r\n\r\n")
        body = b'{"version":"0.32.0"}' if head.startswith(b"GET /version ") else b"{}"
        status = 404 if body == b"{}" else 200
        writer.write(b"HTTP/1.1 %d OK\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
        with suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
        writer.close()  # the second request on a connection gets no answer

    async def test() -> None:
        server = await asyncio.start_server(answer_once_per_connection, "127.0.0.1", 0)
        async with server, scene(Server(), model="devstral") as stage:
            stage.endpoints["a"] = Endpoint(parse_url(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")[0])
            await stage.inspect(rises=True)

            assert stage.dialects.describe("a")["version"] == "0.32.0"
            assert connections == 2  # the second question went out again

    run(test)


def test_who_is_configured_to_speak_openai_is_not_asked() -> None:
    async def test() -> None:
        async with scene(Server(), configured=Configured("openai")) as stage:
            await stage.inspect(rises=True)

            assert stage.server.asked == []

    run(test)


def test_a_backend_without_models_is_asked_later() -> None:
    async def test() -> None:
        async with scene(Server()) as stage:
            stage.backend.models = {}
            await stage.inspect(rises=True)

            assert stage.server.asked == []

    run(test)


def test_a_model_has_its_own_name_and_those_of_what_it_was_made_from() -> None:
    assert names_of({"id": "coder", "root": "mistralai/Devstral", "parent": None}) == ("coder", "mistralai/Devstral")
    assert names_of({"id": "lora", "parent": "coder", "odd": 1}) == ("lora", "coder")


def test_a_missing_answer_is_asked_for_again_and_changes_nothing_that_is_known() -> None:
    async def test() -> None:
        async with scene(Server()) as stage:
            await stage.inspect(rises=True)
            before = stage.dialects.of("a")

            stage.server.fails = 1
            await stage.inspect(rises=True)
            assert stage.dialects.of("a") == before

            stage.server.tokenizer = "v7"
            await stage.inspect(rises=False)
            assert stage.dialects.of("a").profile.version == 13, "what was sure is not asked for again"

    run(test)


def test_a_first_answer_that_is_missing_is_asked_for_with_the_next_listing() -> None:
    async def test() -> None:
        async with scene(Server()) as stage:
            stage.server.fails = 1
            await stage.inspect(rises=True)
            assert not stage.dialects.of("a").translates

            await stage.inspect(rises=False)
            assert stage.dialects.of("a").profile.version == 13

    run(test)


def test_an_answer_that_is_always_missing_is_believed_in_the_end() -> None:
    async def test() -> None:
        async with scene(Server(fails=100), model="devstral") as stage:
            for _ in range(6):
                await stage.inspect(rises=False)

            assert stage.dialects.of("a").profile == STRICTEST
            assert stage.server.asked.count("last_assistant") == MAX_TRIES

    run(test)


def test_a_backend_is_asked_anew_now_and_then() -> None:
    """Another server may stand behind the same address, with the same version and model."""

    async def test() -> None:
        async with scene(Server()) as stage:
            await stage.inspect(rises=True)
            stage.server.tokenizer = "v7"
            stage.now[0] = REFRESH + 1
            await stage.inspect(rises=False)

            assert stage.dialects.of("a").profile.version == 7

    run(test)


def test_asking_a_backend_that_works_holds_up_nobody() -> None:
    async def test() -> None:
        async with scene(Server(hangs=True), timeout=5) as stage:
            async with asyncio.timeout(1):
                await stage.prober.inspect(stage.backend, list(stage.backend.models.values()), False)
                await stage.prober.inspect(stage.backend, list(stage.backend.models.values()), False)
            await stage.prober.stop()

            assert stage.server.asked.count("last_assistant") <= 1

    run(test)


def test_a_length_that_is_listed_is_taken_where_no_renderer_tells_one() -> None:
    async def test() -> None:
        async with scene(Server(has_tokenize=False), model="devstral") as stage:
            stage.backend.models["devstral"]["max_model_len"] = 1000
            await stage.inspect(rises=True)

            assert stage.dialects.of("a").profile.max_model_len == 1000

    run(test)


def test_who_is_given_up_is_asked_no_more_and_forgotten() -> None:
    async def test() -> None:
        async with scene(Server(hangs=True), timeout=60.0) as stage:
            await stage.prober.inspect(stage.backend, list(stage.backend.models.values()), False)
            await asyncio.sleep(0.05)
            asking = list(stage.prober._running.values())
            stage.prober.forget(["a", "unknown"])
            await asyncio.gather(*asking, return_exceptions=True)
            assert not stage.prober._running
            assert not stage.prober._inquiries

    run(test)


def test_the_log_tells_why_there_was_no_answer_in_the_words_of_probes(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with scene(Server(hangs=True), timeout=0.2) as stage:
            await stage.inspect(rises=True)

    caplog.set_level("DEBUG", "router.relay")
    run(test)
    said = {record.getMessage() for record in caplog.records if "no answer" in record.getMessage()}
    assert said == {"backend a gave no answer to /tokenize: no answer within 0.2 s"}
