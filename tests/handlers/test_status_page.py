"""Rules of router/handlers/status_page.py: who sees what of it, for how long, and who is kept out."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tornado.httpclient import HTTPResponse

from router.config import Loaded
from router.handlers.board import Board
from router.handlers.status_page import EVENTS, FILES
from router.handlers.watching import WATCHERS, Watch
from router.simulator.settings import Settings
from router.wire.sse import event_data
from tests.front import broken, front, run, until
from tests.operating import JSON, changed, operator

PUBLIC = {"server": {"public_status": True}}
TOKEN = {"admin": {"token": "hush"}}


@asynccontextmanager
async def watching(port: int, *lines: str) -> AsyncIterator[tuple[asyncio.StreamReader, bytes]]:
    """Ask for the events on a connection of our own; give its reader and the head of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
    head = "".join(f"{line}\r\n" for line in ("GET /status/events HTTP/1.1", "Host: 127.0.0.1", *lines))
    writer.write(f"{head}\r\n".encode())
    try:
        yield reader, await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.close()


async def first_board(reader: asyncio.StreamReader) -> dict[str, Any]:
    """Return the whole that comes first."""
    raw = await reader.readuntil(b"event: whole\n")
    raw = await reader.readuntil(b"\n\n")
    data = event_data(raw)
    assert data is not None
    board: dict[str, Any] = json.loads(data)
    return board


async def board_at(port: int) -> dict[str, Any]:
    async with watching(port) as (reader, head):
        assert head.startswith(b"HTTP/1.1 200 ")
        return await first_board(reader)


def policy(answer: HTTPResponse) -> dict[str, str]:
    parts = (part.strip().partition(" ") for part in answer.headers["Content-Security-Policy"].split(";"))
    return {name: value for name, _, value in parts}


def test_the_page_may_load_nothing_from_elsewhere_and_stand_in_no_other_page() -> None:
    async def test() -> None:
        async with front() as cluster, operator(cluster) as one:
            for path in FILES:
                answer = await one.ask("GET", path)
                assert answer.code == 200, path
                rules = policy(answer)
                assert rules["default-src"] == rules["frame-ancestors"] == rules["form-action"] == "'none'"
                assert {rules[name] for name in ("script-src", "style-src", "connect-src", "img-src")} == {"'self'"}
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert "Access-Control-Allow-Origin" not in answer.headers
                assert b"://" not in answer.body.replace(b"http://www.w3.org/2000/svg", b""), "asks somebody else"

    run(test)


def test_the_events_tell_all_that_the_page_shows() -> None:
    async def test() -> None:
        async with front(Settings(), Settings()) as cluster, operator(cluster) as one:
            assert (await cluster.chat()).code == 200
            for backend in cluster.backends:
                broken(backend, status=500)
            assert (await cluster.chat()).code >= 500
            board = await board_at(one.port)
            assert (board["usable"], board["workers"], board["worker"], board["operators"]) == (2, 1, None, True)
            assert board["in_flight"] == 0
            row = board["backends"][0]
            assert row["url"] == f"http://{row['name']}"
            assert {"health", "breaker", "in_flight", "running", "first", "weight", "share", "dialect"} <= row.keys()
            assert sum(each["failed"] for each in board["backends"]) == 2
            assert board["turns"] == []
            (incident,) = board["incidents"]
            assert (incident["outcome"], incident["model"]) == ("backend_error", "simulated-model")
            assert [outcome for _, outcome in incident["tries"]] == ["server_error", "server_error"]

    run(test)


def test_a_watcher_is_told_what_changes() -> None:
    async def test() -> None:
        async with front() as cluster, operator(cluster) as one, watching(one.port) as (reader, _):
            board = await first_board(reader)
            name = board["backends"][0]["name"]
            await one.fields("POST", f"/admin/backends/{name}/drain")
            while True:
                await reader.readuntil(b"event: news\n")
                news = json.loads(event_data(await reader.readuntil(b"\n\n")) or b"")
                if news["backends"]:
                    break
            assert [(each["name"], each["drained"]) for each in news["backends"]] == [(name, True)]

    run(test)


def test_with_a_token_the_page_is_shown_and_its_figures_are_not() -> None:
    async def test() -> None:
        async with front(config=TOKEN) as cluster, operator(cluster) as one:
            assert (await one.ask("GET", "/status")).code == 200
            assert (await one.ask("GET", EVENTS)).code == 401
            assert (await one.ask("GET", "/config")).code == 401
            async with watching(one.port, "Authorization: Bearer hush") as (reader, _):
                assert (await first_board(reader))["operators"]

    run(test)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_of_another_origin_gets_nothing_and_changes_nothing(site: str) -> None:
    async def test() -> None:
        async with front(config=PUBLIC) as cluster, operator(cluster) as one:
            name = (await board_at(one.port))["backends"][0]["name"]
            foreign = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
            for path in (EVENTS, "/config", "/admin/backends"):
                assert (await one.ask("GET", path, headers=foreign)).code == 403
            for headers in ({**JSON, **foreign}, {**JSON, **foreign, "Sec-Fetch-Mode": "navigate"}):
                assert (await one.ask("POST", f"/admin/backends/{name}/drain", headers=headers)).code == 403
            assert (await cluster.ask(EVENTS, headers=foreign)).code == 403
            link = {**foreign, "Sec-Fetch-Mode": "navigate"}
            assert (await one.ask("GET", "/config", headers=link)).code == 200, "a link may be followed"
            assert not (await one.backends())[name]["drained"]

    run(test)


def test_clients_see_no_page_unless_that_is_wanted() -> None:
    async def test() -> None:
        async with front() as cluster:
            for path in (*FILES, EVENTS):
                assert (await cluster.ask(path)).code == 404

    run(test)


def test_clients_see_no_address_and_no_configuration_and_can_order_nothing() -> None:
    async def test() -> None:
        async with front(config=PUBLIC) as cluster:
            assert (await cluster.ask("/status")).code == 200
            board = await board_at(cluster.port)
            assert not board["operators"]
            (row,) = board["backends"]
            assert "url" not in row
            for path in ("/config", "/admin/config", f"/admin/backends/{row['name']}/drain"):
                assert (await cluster.ask(path, {})).code == 404

    run(test)


def test_no_page_of_another_origin_may_read_what_clients_see() -> None:
    async def test() -> None:
        async with front(config=PUBLIC) as cluster, watching(cluster.port, "Origin: http://other") as (_, head):
            assert b"HTTP/1.1 200 " in head
            assert b"access-control" not in head.lower()

    run(test)


def test_a_reload_takes_the_page_from_clients_again() -> None:
    async def test() -> None:
        async with front(config=PUBLIC) as cluster, watching(cluster.port) as (reader, _):
            await first_board(reader)
            loaded: Loaded = changed(cluster.app.config, server={"public_status": False})
            cluster.app.apply(loaded)
            async with asyncio.timeout(10):
                assert b"0\r\n\r\n" in await reader.readuntil(b"0\r\n\r\n"), "the stream ends in order"
            assert (await cluster.ask("/status")).code == 404

    run(test)


def test_so_many_may_watch_and_the_next_one_is_told_when_to_come_again() -> None:
    async def test() -> None:
        async with front(config=PUBLIC) as cluster, operator(cluster) as one:
            pairs = [watching(cluster.port) for _ in range(WATCHERS)]
            for each in pairs:
                await each.__aenter__()
            answer = await cluster.ask(EVENTS)
            assert (answer.code, answer.headers["Retry-After"]) == (503, "1")
            assert (await board_at(one.port))["operators"], "operators have places of their own"
            await pairs[0].__aexit__(None, None, None)
            await until(lambda: len(cluster.app.delegate._watch) < WATCHERS)
            await board_at(cluster.port)
            for each in pairs[1:]:
                await each.__aexit__(None, None, None)
            await until(lambda: len(cluster.app.delegate._watch) == 0)

    run(test)


def test_who_watches_does_not_keep_a_router_from_ending() -> None:
    async def test() -> None:
        async with front() as cluster, operator(cluster) as one, watching(one.port) as (reader, _):
            await first_board(reader)
            cluster.app.drain()
            async with asyncio.timeout(10):
                await reader.readuntil(b"0\r\n\r\n")
            assert (await one.ask("GET", EVENTS)).code == 503

    run(test)


def test_of_500_backends_the_whole_is_told_once_and_then_what_is_new() -> None:
    async def test() -> None:
        many = [f"http://127.0.0.1:{port}" for port in range(20_000, 20_500)]
        quiet = {"health": {"interval": "60s"}}
        async with front(urls=many, config=quiet, ready=False) as cluster, operator(cluster) as one:
            await until(lambda: all(backend.is_down for backend in cluster.app.registry.backends))
            async with watching(one.port) as (reader, _):
                board = await first_board(reader)
                assert len(board["backends"]) == 500
                await reader.readuntil(b"event: news\n")
                news = json.loads(event_data(await reader.readuntil(b"\n\n")) or b"")
                assert (news["backends"], news["gone"]) == ([], [])
            await until(lambda: len(cluster.app.admin_delegate._watch) == 0)

    run(test)


def test_who_reads_nothing_gets_one_message_and_does_not_keep_a_router_from_ending() -> None:
    async def much() -> Board:
        return {"much": "x" * (16 << 20), "backends": []}  # more than the kernel takes

    async def test() -> None:
        async with front() as cluster, operator(cluster) as one:
            door = cluster.app.admin_delegate
            watch = door._watch = Watch(much, is_over=lambda: not cluster.app.ready)
            reader, writer = await asyncio.open_connection("127.0.0.1", one.port, limit=1024)
            writer.write(b"GET /status/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            await until(lambda: watch.number > 2)
            (watcher,) = watch._watchers
            assert watcher._seen == 1, "the first one is still on its way"
            cluster.app.drain()
            await until(lambda: not watch and not one.connections)  # long before the wire would give it up
            writer.close()
            del reader

    run(test)


def test_the_configuration_is_told_as_an_object_with_origins_and_without_secrets() -> None:
    async def test() -> None:
        config = {**TOKEN, "backend_options": [{"api_key": "sk-canary"}]}
        async with front(config=config) as cluster, operator(cluster) as one:
            answer = await one.ask("GET", "/config", headers={"Authorization": "Bearer hush"})
            told = json.loads(answer.body)
            assert told["object"] == "config"
            entries = {each["key"]: each for each in told["data"]}
            assert entries["server.reveal_backend"] == {
                "key": "server.reveal_backend",
                "value": "true",
                "origin": "default",  # of a configuration that no file was read for
            }
            assert b"hush" not in answer.body
            assert b"canary" not in answer.body
            assert {"admin.token", "backends.0.api_key"} <= entries.keys()
            text = (await one.ask("GET", "/admin/config", headers={"Authorization": "Bearer hush"})).body.decode()
            lines = [f"{each['key']} = {each['value']}  ({each['origin']})" for each in told["data"]]
            assert text.splitlines() == lines

    run(test)
