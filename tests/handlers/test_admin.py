"""Rules of router/handlers/admin.py: what operators are told and may do, and whom the listener keeps out."""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from router.handlers.admin import is_ours, same
from router.relay.headers import HARMLESS_ID
from router.simulator.server import Simulator
from router.simulator.settings import Settings
from tests.front import Front, front, run, until
from tests.operating import JSON, Operator, changed, operator

Test = Callable[[Front, Operator], Any]
ERROR_FIELDS = {"message", "type", "param", "code"}


def with_operator(test: Test, *settings: Settings, config: dict[str, Any] | None = None) -> None:
    """Run a test before a router and its admin listener."""

    async def whole() -> None:
        async with front(*settings, config=config) as cluster, operator(cluster) as one:
            await test(cluster, one)

    run(whole)


def test_each_backend_is_told_with_all_that_decides_about_it() -> None:
    async def test(cluster: Front, one: Operator) -> None:
        told = (await one.backends())[cluster.backends[0].url.removeprefix("http://")]
        assert told["url"] == cluster.backends[0].url
        known = {
            "models",
            "health",
            "breaker",
            "standing",
            "drained",
            "busy",
            "in_flight",
            "zone",
            "weight",
            "share",
            "dialect",
        }
        assert known | {"running", "waiting", "resting_for", "held_for", "max_connections", "usable"} <= told.keys()
        assert (told["health"], told["models"], told["in_flight"]) == ("up", ["simulated-model"], 0)
        name = told["name"]
        assert (await one.fields("GET", f"/admin/backends/{name}"))["name"] == name
        assert (await one.ask("GET", "/admin/backends/nobody")).code == 404

    with_operator(test)


def test_neither_the_token_of_operators_nor_a_hash_of_it_is_in_the_log(tmp_path: Path) -> None:
    """A token that somebody made up could be tried until one has the hash."""
    log, token = tmp_path / "log", "canary-token"
    allowed = {**JSON, "Authorization": f"Bearer {token}"}

    async def test(cluster: Front, one: Operator) -> None:
        answers = [
            await one.ask("POST", "/admin/reload", headers=allowed),
            await one.ask("POST", "/admin/log", {"level": "debug"}, headers=allowed),
            await one.ask("GET", "/admin/nothing", headers=allowed),
            await one.ask("FROB", "/admin/reload", headers=allowed),
        ]
        assert [answer.code for answer in answers[1:]] == [200, 404, 501]

    with_operator(test, config={"admin": {"token": token}, "logging": {"file": str(log), "level": "debug"}})
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    told = [line["tenant"] for line in lines if line["logger"] == "router.access"]
    assert told == ["127.0.0.1"] * 4
    assert token not in log.read_text()


def test_a_backend_is_added_drained_and_removed() -> None:
    async def test(cluster: Front, one: Operator) -> None:
        more = Simulator(Settings())
        await more.start()
        added = {"url": more.url, "name": "gpu/7[a]", "weight": 2, "zone": "b-1"}
        answer = await one.ask("POST", "/admin/backends", added)
        assert (answer.code, json.loads(answer.body)["name"]) == (201, "gpu/7[a]")
        await until(lambda: cluster.app.registry.usable_count(time.monotonic()) == 2)
        assert (await one.backends())["gpu/7[a]"]["weight"] == 2
        assert (await one.backends())["gpu/7[a]"]["zone"] == "b-1"
        for path in ("gpu%2F7%5Ba%5D", "gpu/7%5ba%5d"):
            fields = await one.fields("POST", f"/admin/backends/{path}/drain")
            assert (fields["name"], fields["in_flight"]) == ("gpu/7[a]", 0)
            assert (await one.backends())["gpu/7[a]"]["drained"] is True
            await one.fields("POST", f"/admin/backends/{path}/undrain")
        assert (await one.backends())["gpu/7[a]"]["drained"] is False
        fields = await one.fields("DELETE", "/admin/backends/gpu%2F7%5Ba%5D")
        assert fields["changes"] == ["backend gpu/7[a] removed"]
        assert list(await one.backends()) == [cluster.backends[0].url.removeprefix("http://")]
        await more.stop()

    with_operator(test)


def test_an_entry_is_refused_with_the_faults_of_the_configuration() -> None:
    async def test(cluster: Front, one: Operator) -> None:
        answer = await one.ask("POST", "/admin/backends", {"url": "10.0.0.1:8000", "wieght": 2, "api_key": 5})
        assert answer.code == 422
        fields = json.loads(answer.body)
        assert fields["error"].keys() == ERROR_FIELDS
        assert fields["error"]["code"] == "invalid"
        assert fields["faults"][0].startswith("url: must start with http://")
        assert "wieght: unknown key; did you mean weight?" in fields["faults"]
        assert len(fields["faults"]) == 3
        assert (await one.ask("POST", "/admin/backends", {})).code == 422
        assert (await one.ask("POST", "/admin/backends", b"[1]")).code == 400
        assert (await one.ask("POST", "/admin/backends", b"{")).code == 400
        assert (await one.ask("POST", "/admin/backends", b'{"url":' + b"[" * 50_000)).code == 400
        deep = {"url": {"a": {"b": {"c": [[[[[1]]]]]}}}}
        assert (await one.ask("POST", "/admin/backends", deep)).code == 422
        assert len(cluster.app.registry.backends) == 1

    with_operator(test)


def test_a_body_of_more_than_64_kb_is_refused() -> None:
    async def test(cluster: Front, one: Operator) -> None:
        answer = await one.ask("POST", "/admin/backends", {"url": "x" * 70_000})
        assert answer.code == 413

    with_operator(test)


def test_a_query_of_more_arguments_than_are_read_is_the_clients_fault() -> None:
    async def test(cluster: Front, one: Operator) -> None:
        name = cluster.backends[0].url.removeprefix("http://")
        answer = await one.ask("DELETE", f"/admin/backends/{name}?{'a&' * 1001}")
        assert answer.code == 400
        assert b"Invalid query string" in answer.body

    with_operator(test)


def test_the_last_backend_is_removed_only_if_that_is_forced() -> None:
    async def test(cluster: Front, one: Operator) -> None:
        name = cluster.backends[0].url.removeprefix("http://")
        answer = await one.ask("DELETE", f"/admin/backends/{name}")
        assert (answer.code, json.loads(answer.body)["error"]["code"]) == (409, "conflict")
        assert (await one.fields("DELETE", f"/admin/backends/{name}?force=true"))["in_flight"] == 0
        assert (await cluster.chat()).code == 503
        assert (await one.ask("DELETE", f"/admin/backends/{name}?force=true")).code == 404

    with_operator(test)


def test_a_removed_backend_finishes_what_it_has_at_work() -> None:
    async def test(cluster: Front, one: Operator) -> None:
        pieces: list[bytes] = []
        chat = {"model": "simulated-model", "stream": True, "messages": [{"role": "user", "content": "x"}]}
        asking = asyncio.create_task(cluster.ask("/v1/chat/completions", chat, streaming_callback=pieces.append))
        await until(lambda: any(backend.in_flight for backend in cluster.app.registry.backends))
        busy = next(backend for backend in cluster.app.registry.backends if backend.in_flight)
        assert (await one.fields("DELETE", f"/admin/backends/{busy.spec.name}"))["in_flight"] == 1
        assert (await asking).code == 200
        assert b"".join(pieces).endswith(b"data: [DONE]\n\n")
        await until(lambda: busy.in_flight == 0)

    with_operator(test, Settings(itl=0.02), Settings(itl=0.02))


def test_what_changes_anything_must_come_as_json() -> None:
    """A page of another origin may send a form or text without asking first; JSON it may not."""

    async def test(cluster: Front, one: Operator) -> None:
        name = cluster.backends[0].url.removeprefix("http://")
        for kind in ({}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}):
            for method, path in (
                ("POST", "/admin/backends"),
                ("POST", f"/admin/backends/{name}/drain"),
                ("DELETE", f"/admin/backends/{name}?force=true"),
                ("POST", "/admin/reload"),
            ):
                answer = await one.ask(method, path, b"{}" if method == "POST" else None, headers=kind)
                assert answer.code == 415, (kind, method, path)
        assert (await one.backends())[name]["drained"] is False

    with_operator(test)


def test_no_page_of_another_origin_is_told_that_it_may_ask() -> None:
    async def test(cluster: Front, one: Operator) -> None:
        asked = {"Origin": "http://page", "Access-Control-Request-Method": "DELETE"}
        for method in ("OPTIONS", "GET"):
            answer = await one.ask(method, "/admin/backends", headers=asked)
            assert not [name for name in answer.headers if name.lower().startswith("access-control-")]

    with_operator(test)


def test_a_name_that_was_pointed_at_us_is_not_answered() -> None:
    async def test(cluster: Front, one: Operator) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        writer.write(b"GET /admin/config HTTP/1.1\r\nHost: evil.example:9001\r\nConnection: close\r\n\r\n")
        got = await reader.read()
        writer.close()
        assert got.startswith(b"HTTP/1.1 403 ")
        assert json.loads(got.partition(b"\r\n\r\n")[2])["error"]["code"] == "host_not_allowed"

    with_operator(test)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "10.0.0.9", "[::1]", "router.lan", "a.localhost"])
def test_addresses_this_machine_and_the_configured_name_are_answered(host: str) -> None:
    assert is_ours(host, "Router.lan")


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "1.2.3"])
def test_other_names_are_not(host: str) -> None:
    assert not is_ours(host, "router.lan")


def test_where_a_token_is_configured_nothing_is_told_without_it() -> None:
    async def test(cluster: Front, one: Operator) -> None:
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic s3cret-token"}):
            for method, path in (("GET", "/admin/backends"), ("GET", "/admin/config"), ("POST", "/admin/reload")):
                answer = await one.ask(method, path, headers={**JSON, **given})
                assert answer.code == 401
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert json.loads(answer.body)["error"].keys() == ERROR_FIELDS
        right = {**JSON, "Authorization": "Bearer s3cret-token"}
        assert (await one.ask("GET", "/admin/backends", headers=right)).code == 200
        page = (await one.ask("GET", "/admin/config", headers=right)).body.decode()
        assert "s3cret" not in page
        assert "admin.token = ********" in page
        assert (await one.ask("GET", "/readyz", headers={})).code == 200, "probes have no token"
        cluster.app.apply(changed(cluster.app.config, admin={"token": "an0ther-token"}))
        assert (await one.ask("GET", "/admin/backends", headers=right)).code == 401

    with_operator(test, config={"admin": {"token": "s3cret-token"}})


def test_tokens_are_compared_whole() -> None:
    assert same("token", "token")
    assert not same("token", "tokem")
    assert not same("", "token")
    assert not same("token2", "token")
    assert not same("t\udcffken", "token")


def test_the_state_of_the_router_is_told_there_too() -> None:
    async def test(cluster: Front, one: Operator) -> None:
        for path in ("/livez", "/readyz", "/health", "/metrics"):
            assert (await one.ask("GET", path)).code == 200, path
        for path in ("/v1/models", "/v1/chat/completions", "/", "/admin", "/admin/backends/"):
            assert (await one.ask("GET", path)).code == 404, path
        assert (await cluster.ask("/admin/backends")).code == 404, "not on the clients' port"

    with_operator(test)


def test_a_wrong_method_is_told_the_right_ones() -> None:
    async def test(cluster: Front, one: Operator) -> None:
        answer = await one.ask("DELETE", "/admin/backends")
        assert (answer.code, answer.headers["Allow"]) == (405, "GET, HEAD, POST")
        assert (await one.ask("GET", "/admin/reload")).headers["Allow"] == "POST"

    with_operator(test)


def test_the_configuration_is_told_with_what_was_ordered() -> None:
    async def test(cluster: Front, one: Operator) -> None:
        await one.fields("POST", "/admin/backends", {"url": "http://127.0.0.1:9", "api_key": "sk-canary"})
        lines = (await one.ask("GET", "/admin/config")).body.decode().splitlines()
        assert "backends.1.url = http://127.0.0.1:9  (order)" in lines
        assert "backends.1.api_key = ********  (order)" in lines
        assert "server.port = 9000  (default)" in lines

    with_operator(test)


def test_every_change_is_logged_with_who_asked(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "router.admin")

    async def test(cluster: Front, one: Operator) -> None:
        name = cluster.backends[0].url.removeprefix("http://")
        await one.ask("POST", f"/admin/backends/{name}/drain")
        await one.ask("POST", "/admin/backends/nobody%0Ainjected/drain")
        said = [record.getMessage() for record in caplog.records if record.name == "router.admin"]
        assert said[0].startswith(f"drain {name} asked by 127.0.0.1: Backend {name} gets no new requests.")
        assert [record.levelname for record in caplog.records if record.name == "router.admin"] == ["INFO", "WARNING"]
        assert await cluster.metric("router_requests_total", route="/admin/backends/{name}/drain") == 2
        await one.ask("POST", f"/admin/backends/{name}/undrain")

    with_operator(test)


def test_a_router_without_a_file_says_that_there_is_nothing_to_reload() -> None:
    async def test(cluster: Front, one: Operator) -> None:
        answer = await one.ask("POST", "/admin/reload")
        assert (answer.code, json.loads(answer.body)["error"]["code"]) == (409, "conflict")
        assert HARMLESS_ID.fullmatch(answer.headers["X-Request-Id"])

    with_operator(test)
