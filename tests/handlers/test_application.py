"""Rules of router/handlers/application.py."""

import asyncio
import json

import pytest

from tests.front import front, run
from tests.relay.scripted import plain, says, scripted


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


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"model": "a"}', "application/json"),
        (b"{}", "application/json"),
        (b"{not json", "application/json"),
        (b"\x00\xff", "application/octet-stream"),
        (b"a=b", "application/x-www-form-urlencoded"),
        (b"--b--", "multipart/form-data; boundary=b"),
        (b"", ""),
    ],
)
def test_a_further_route_passes_any_body_as_it_is(method: str, body: bytes, content_type: str) -> None:
    """With several models too: none is asked for, and none filled in."""

    async def test() -> None:
        route = {"method": method, "path": "/v1/things"}
        config = {"server": {"extra_routes": [route]}, "backend_options": [{"models": ["a", "b"]}]}
        async with scripted(says(plain(200, {"done": True})), config=config) as (cluster, asked):
            headers = {"Content-Type": content_type} if content_type else {}
            raw = f"{method} /v1/things?x=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            got = await cluster.exchange(f"{raw}{lines}\r\n".encode() + body)
            assert got.startswith(b"HTTP/1.1 200 ")
            assert asked[0].head.startswith(f"{method} /v1/things?x=1 HTTP/1.1\r\n".encode())
            assert asked[0].body == body
            assert asked[0].headers(b"content-length") == [b"%d" % len(body)] or not body
            assert asked[0].headers(b"content-type") == ([content_type.encode()] if content_type else [])

    run(test)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"model":"other","x":NaN}', "application/json"),
        (b' {"model":"other","x":-Infinity}', "text/plain"),
        (b'\xef\xbb\xbf{"model":"other"}', ""),
        ('{"model":"other"}'.encode("utf-16"), "application/json"),
        ('{"model":"other"}'.encode("utf-32-be"), "application/json"),
        (b'{"model":"other","x":NaN,"y":"' + b"a" * 100_000 + b'"}', "application/json"),
        (
            b"--b\r\nContent-Disposition: form-data; name=j; name*0=model\r\n\r\nother\r\n--b--",
            "multipart/form-data; boundary=b",
        ),
        (  # Python's `email` takes what stands before "=" for the type
            b"--b\r\nContent-Disposition: form-data; name=model\r\n\r\nother\r\n--b--",
            "multipart/form-data=x; boundary=b",
        ),
        (
            b"--b\r\nContent-Disposition: form-data; name=model\r\n\r\nother\r\n--b--",
            'Multipart/Form-Data = "x;y"; boundary=b',
        ),
    ],
)
def test_a_body_in_which_others_find_a_model_is_refused_on_a_further_route_too(body: bytes, content_type: str) -> None:
    async def test() -> None:
        config = {"server": {"extra_routes": [{"method": "POST", "path": "/v1/things"}]}}
        async with front(config=config) as cluster:
            answer = await cluster.ask(
                "/v1/things", body, headers={"Content-Type": content_type} if content_type else {}
            )
            assert (answer.code, json.loads(answer.body)["error"]["type"]) == (400, "invalid_request_error")
            assert not [one for one in cluster.backends[0].requests if one.method == "POST"]

    run(test)


def test_the_model_that_a_form_names_is_looked_for_on_a_further_route_too() -> None:
    async def test() -> None:
        config = {"server": {"extra_routes": [{"method": "POST", "path": "/v1/things"}]}}
        async with front(config=config) as cluster:
            body = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nother\r\n--b--'
            headers = {"Content-Type": "multipart/form-data; boundary=b"}
            assert (await cluster.ask("/v1/things", body, headers=headers)).code == 404

    run(test)


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/responses/resp_1"), ("POST", "/v1/responses/resp_1/cancel")])
def test_a_body_that_nobody_reads_stays_here(method: str, path: str) -> None:
    """A server that leaves it in its connection would take it for the next request."""

    async def test() -> None:
        async with scripted(says(plain(200, {"id": "resp_1"}))) as (cluster, asked):
            smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
            assert (await cluster.ask(path, smuggled, method=method)).code == 200
            assert asked[0].body == b""
            assert asked[0].headers(b"content-length") in ([], [b"0"])

    run(test)


def test_a_further_route_goes_to_a_backend_of_the_model_that_its_json_names() -> None:
    async def test() -> None:
        config = {
            "server": {"extra_routes": [{"method": "PUT", "path": "/things"}]},
            "backend_options": [{"models": ["a"]}, {"models": ["b"]}],
        }
        first, second = says(plain(200, {"by": "a"})), says(plain(200, {"by": "b"}))
        async with scripted(first, second, config=config) as (cluster, _):
            for model in ("a", "b", "a", "b", "b"):
                answer = await cluster.ask("/things", {"model": model}, method="PUT")
                assert json.loads(answer.body) == {"by": model}

    run(test)


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"])
@pytest.mark.parametrize("sent", [4000, 60_000])
def test_an_unknown_path_is_told_before_its_body_is_there(content_type: str, sent: int) -> None:
    """A form would else be collected and parsed, however large it is, for nobody."""

    async def test() -> None:
        async with front() as cluster:
            head = f"POST /no/such HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type}\r\nContent-Length: 60000\r\n\r\n"
            reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port)
            writer.write(head.encode() + b"a=1&" * (sent // 4))
            async with asyncio.timeout(5):
                got = await reader.readuntil(b"unknown_url")
            assert got.startswith(b"HTTP/1.1 404 ")
            writer.close()

    run(test)
