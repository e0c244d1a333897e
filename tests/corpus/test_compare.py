"""The comparison tells what it saw: who refused, who passed on, and where two readers differ."""

import asyncio
from collections.abc import Callable

import uvloop

from tests.corpus import requests
from tests.corpus.compare import NGINX, OURS, Came, differences, finals, play_all, summary

HOSTS = [case for case in requests() if case.theme == "hosts"][:5]
ONE, TWO = HOSTS[0], HOSTS[1]


def test_a_backend_that_sees_more_than_the_client_asked_is_a_split() -> None:
    assert not Came((200,), 1).split
    assert not Came((200, 400), 1).split
    assert not Came((400,), 0).split
    assert Came((200,), 2).split
    assert Came((), 1).split


def test_informational_answers_are_no_answers() -> None:
    assert finals(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") == (200,)


def test_the_tables_count_by_theme_and_show_where_servers_differ() -> None:
    refused, passed, split = Came((400,), 0), Came((200,), 1), Came((200,), 2)
    found = {"a": {ONE.name: refused, TWO.name: passed}, "b": {ONE.name: split, TWO.name: passed}}
    assert summary(found, [ONE, TWO])[2:] == ["| hosts | 2 | 1 / 1 | 0 / 2 (1 split) |"]
    assert differences(found, [ONE, TWO])[2:] == [f"| hosts | {ONE.name} | 400 | 200, **2 on** |"]


def test_servers_are_asked_alike(tool: Callable[[str], str]) -> None:
    tool("nginx")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(play_all((OURS, NGINX), HOSTS))
    for case in HOSTS:
        assert found[OURS][case.name] == Came(case.answers, len(case.sees)), case.name
    assert found[NGINX][HOSTS[0].name] == Came((400,), 0)
    assert found[NGINX][HOSTS[1].name] == Came((200,), 1)
