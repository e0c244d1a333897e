"""Rules of router/handlers/base.py: what every answer carries, whatever is asked. Real sockets."""

import asyncio
import json
from pathlib import Path

import pytest

from router.access.tenant import note_tenants
from router.exchange import Exchange
from tests.front import CHAT, front, run


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/health", "/nope", "/v1/models"])
def test_every_answer_carries_a_request_id_the_clients_if_it_is_harmless(path: str) -> None:
    async def test() -> None:
        async with front() as cluster:
            for asked, harmless in (("req-1:a.b_c", True), ("a b", False), ("x" * 200, False), ("\x1b[31m", False)):
                raw = f"GET {path} HTTP/1.1\r\nHost: a\r\nX-Request-Id: {asked}\r\nConnection: close\r\n\r\n".encode()
                head = (await cluster.exchange(raw)).partition(b"\r\n\r\n")[0].decode()
                if "\x1b" in asked and " 400 " in head:
                    continue  # the wire refuses control bytes in headers
                given = [line for line in head.split("\r\n") if line.lower().startswith("x-request-id:")]
                assert len(given) == 1
                assert (given[0].split(": ")[1] == asked) is harmless

    run(test)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("DELETE", "/v1/models", "GET, HEAD"),
        ("POST", "/health", "GET, HEAD"),
        ("PUT", "/v1/responses/resp_1", "GET, DELETE"),
        ("PATCH", "/metrics", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_with_the_right_ones(method: str, path: str, allow: str) -> None:
    async def test() -> None:
        async with front() as cluster:
            answer = await cluster.ask(path, b"{}" if method in ("PUT", "PATCH", "POST") else None, method=method)
            error = json.loads(answer.body)["error"]
            assert (answer.code, answer.headers["Allow"]) == (405, allow)
            assert (error["type"], error["code"]) == ("invalid_request_error", "method_not_allowed")

    run(test)


def test_the_access_line_tells_whose_a_request_was_and_not_its_key(tmp_path: Path) -> None:
    """Answered by a backend, alone and many at once, by the router, and refused by the wire."""
    log, one = tmp_path / "log", Exchange("", "", "", 0.0, credentials="sk-canary")
    note_tenants([one])
    owner = one.tenant
    key = {"Authorization": "Bearer sk-canary"}

    async def test() -> None:
        async with front(config={"logging": {"file": str(log), "level": "debug"}}) as cluster:
            await cluster.chat()
            path = "/v1/chat/completions"
            await cluster.ask(path, CHAT, headers=key)
            await asyncio.gather(*[cluster.ask(path, CHAT, headers=key) for _ in range(3)])
            await cluster.ask("/nope", headers={"api-key": "sk-canary"})
            head = f"POST {path} HTTP/1.1\r\nHost: a\r\nX-Api-Key: sk-canary\r\n"
            await cluster.exchange(f"{head}Transfer-Encoding: frob\r\n\r\n".encode())

    run(test)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    told = [(line["tenant"], line["status"]) for line in lines if line["logger"] == "router.access"]
    assert told == [("127.0.0.1", 200), *[(owner, 200)] * 4, (owner, 404), (owner, 501)]
    assert "canary" not in log.read_text()


def test_a_method_that_nobody_knows_is_refused() -> None:
    async def test() -> None:
        async with front() as cluster:
            got = await cluster.exchange(b"FROB / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert got.startswith(b"HTTP/1.1 501 ")
            assert json.loads(got.partition(b"\r\n\r\n")[2])["error"]["message"]
            assert (await cluster.ask("/", method="TRACE")).code == 405

    run(test)


def test_an_unknown_path_is_told_in_openais_form() -> None:
    async def test() -> None:
        async with front() as cluster:
            for path in ("/v1/nope", "/sleep", "/v1/load_lora_adapter", "/%2e%2e/etc/passwd", "//v1/models"):
                answer = await cluster.ask(path, b"{}")
                assert (answer.code, json.loads(answer.body)["error"]["code"]) == (404, "unknown_url")

    run(test)


def test_a_preflight_is_answered_and_pages_may_read_the_answers() -> None:
    async def test() -> None:
        async with front() as cluster:
            page = {"Origin": "http://page", "Access-Control-Request-Method": "POST"}
            asked = {**page, "Access-Control-Request-Headers": "authorization,content-type"}
            answer = await cluster.ask("/v1/chat/completions", method="OPTIONS", headers=asked)
            assert answer.code == 200
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert "POST" in answer.headers["Access-Control-Allow-Methods"]
            assert answer.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
            for path, body in (("/v1/models", None), ("/v1/chat/completions", b"{}"), ("/nope", None)):
                answer = await cluster.ask(path, body, headers={"Origin": "http://page"})
                assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert "Access-Control-Allow-Origin" not in (await cluster.ask("/v1/models")).headers

    run(test)


def test_head_is_get_without_the_body() -> None:
    async def test() -> None:
        async with front() as cluster:
            for path in ("/", "/health", "/ping", "/livez", "/readyz", "/version", "/metrics", "/v1/models"):
                answer = await cluster.ask(path, method="HEAD")
                assert (answer.code, answer.body) == (200, b"")

    run(test)
