"""Rules of the client as Tornado code uses it."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPClient, HTTPError, HTTPRequest, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from bench.processes import free_port
from router.errors import BadResponse, ConnectError, ConnectionLost, TotalTimeout
from router.wire.client import MAX_POOLS, Origin, PooledHTTPClient, Request
from tests.wire.upstream import CHUNKED, OK, Peer, answering, client, on_uvloop, sending, upstream


@pytest.fixture
def _configured() -> Iterator[None]:
    """Make it Tornado's default, by its name."""
    AsyncHTTPClient.configure("router.wire.client.PooledHTTPClient")
    yield
    AsyncHTTPClient.configure(None)


class Echo(RequestHandler):
    """Tells what it was asked."""

    def get(self) -> None:
        if self.get_argument("status", None):
            self.set_status(int(self.get_argument("status")))
            self.set_header("Location", "/elsewhere")
        self.write({"uri": self.request.uri, "agent": self.request.headers["User-Agent"]})

    def post(self) -> None:
        self.write(self.request.body)

    put = post

    def head(self) -> None:
        self.set_header("X-Head", "yes")


@pytest.fixture
def app() -> Application:
    return Application([("/.*", Echo)])


@pytest.fixture
def served(app: Application, io_loop: Any) -> Iterator[str]:
    """The base URL of Tornado's own server."""
    sock, port = bind_unused_port()
    server = HTTPServer(app)
    server.add_socket(sock)
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.mark.usefixtures("_configured")
@pytest.mark.gen_test
async def test_plain_tornado_code_works(served: str) -> None:
    http = AsyncHTTPClient()
    assert isinstance(http, PooledHTTPClient)
    assert AsyncHTTPClient() is http
    response = await http.fetch(f"{served}/x?y=1")
    assert (response.code, response.reason) == (200, "OK")
    assert b'"/x?y=1"' in response.body
    assert response.headers["Content-Type"] == "application/json; charset=UTF-8"
    assert response.effective_url == f"{served}/x?y=1"
    for method in ("POST", "PUT"):
        assert (await http.fetch(served, method=method, body="é" * 70_000)).body == ("é" * 70_000).encode()
    assert (await http.fetch(HTTPRequest(served, method="HEAD"))).headers["X-Head"] == "yes"
    assert "open=1 idle=1" in repr(http)
    http.close()
    http.close()
    with pytest.raises(RuntimeError):
        http.fetch(served)


@pytest.mark.usefixtures("_configured")
@pytest.mark.gen_test
async def test_errors_by_status_are_tornados_and_redirects_are_not_followed(served: str) -> None:
    http = AsyncHTTPClient()
    for status in (302, 404, 500):
        with pytest.raises(HTTPError) as failed:
            await http.fetch(f"{served}/?status={status}", follow_redirects=True)
        assert failed.value.code == status
        response = await http.fetch(f"{served}/?status={status}", raise_error=False)
        assert (response.code, response.headers["Location"]) == (status, "/elsewhere")
    http.close()


@pytest.mark.usefixtures("_configured")
@pytest.mark.gen_test
async def test_tornados_callbacks_work(served: str) -> None:
    http = AsyncHTTPClient()
    lines: list[str] = []
    chunks: list[bytes] = []
    response = await http.fetch(f"{served}/", header_callback=lines.append, streaming_callback=chunks.append)
    assert lines[0] == "HTTP/1.1 200 OK\r\n"
    assert lines[-1] == "\r\n"
    assert any(line.startswith("Content-Length: ") for line in lines)
    assert b'"uri"' in b"".join(chunks)
    assert (response.body, list(response.headers)) == (b"", [])
    http.close()


@pytest.mark.usefixtures("_configured")
@pytest.mark.gen_test
async def test_defaults_of_the_client_apply_to_plain_requests(served: str) -> None:
    http = AsyncHTTPClient(force_instance=True, defaults={"user_agent": "mine"})
    assert b'"mine"' in (await http.fetch(served)).body
    http.close()


@pytest.mark.usefixtures("_configured")
@pytest.mark.gen_test
async def test_errors_below_http_are_ours_whatever_raise_error_says(io_loop: Any) -> None:
    http = AsyncHTTPClient()
    for raise_error in (True, False):
        with pytest.raises(ConnectError) as failed:
            await http.fetch(f"http://127.0.0.1:{free_port()}/", raise_error=raise_error)
        assert failed.value.refused
    http.close()


@on_uvloop
async def test_tornados_total_timeout_is_the_total() -> None:
    async with upstream(sending(b"")) as server, client() as http:
        with pytest.raises(TotalTimeout):
            await http.fetch(f"http://127.0.0.1:{server.port}/", request_timeout=0.1)
        await server.gone()


@on_uvloop
async def test_what_is_wrong_with_a_request_is_said_at_once() -> None:
    async with client() as http:
        for url in ("ftp://a/", "nothing"):
            with pytest.raises(ValueError, match="URL"):
                http.fetch(url)
        with pytest.raises(ValueError, match="kwargs"):
            http.fetch(HTTPRequest("http://a"), method="POST")
        with pytest.raises(ValueError, match="printable"):
            http.fetch(Request(origin=Origin("http", "a", 80), target="/a b"))


@on_uvloop
async def test_a_cut_body_without_a_callback_is_an_error_too() -> None:
    async with upstream(sending(CHUNKED + b"5\r\nhel", then="close")) as server, client() as http:
        with pytest.raises(ConnectionLost):
            await http.fetch(server.request())


@on_uvloop
async def test_a_collected_body_over_the_bound_is_refused_and_a_streamed_one_is_not() -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000
    async with upstream(answering(raw)) as server, client(max_body_size=1_000_000) as http:
        with pytest.raises(BadResponse):
            await http.fetch(server.request())
        size: list[int] = []
        await http.fetch(server.request(streaming_callback=lambda chunk: size.append(len(chunk))))
        assert sum(size) == 3_000_000


@on_uvloop
async def test_header_bytes_are_bounded_as_configured() -> None:
    raw = b"HTTP/1.1 200 OK\r\nA: " + b"x" * 5000 + b"\r\nContent-Length: 0\r\n\r\n"
    async with upstream(answering(raw)) as server:
        async with client(max_header_bytes=4000) as http:
            with pytest.raises(BadResponse):
                await http.fetch(server.request())
        async with client(max_header_bytes=6000) as http:
            assert (await http.fetch(server.request())).code == 200


@on_uvloop
async def test_closing_the_client_ends_everything() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number == 0:
            await peer.send(OK)
        await peer.wait_gone()

    async with upstream(script) as server, client(max_connections_per_origin=2) as http:
        await http.fetch(server.request())
        running, other, waiting = (http.fetch(server.request(fresh=True)) for _ in range(3))
        dialing = http.fetch(Request(origin=Origin("http", "127.0.0.2", server.port)))
        await asyncio.sleep(0.05)
        http.close()
        results = await asyncio.gather(running, other, waiting, dialing, return_exceptions=True)
        assert all(isinstance(result, ConnectionLost | ConnectError) for result in results)
        for number in range(len(server.peers)):
            await server.gone(number)


@on_uvloop
async def test_tornados_inner_seam_reports_responses_and_errors() -> None:
    loop = asyncio.get_running_loop()
    async with upstream(answering(OK)) as server, client() as http:
        for url, code in ((f"http://127.0.0.1:{server.port}/", 200), (f"http://127.0.0.1:{free_port()}/", 599)):
            reported: asyncio.Future[HTTPResponse] = loop.create_future()
            http.fetch_impl(HTTPRequest(url), reported.set_result)
            response = await reported
            assert response.code == code
            assert (response.error is None) == (code == 200)


@on_uvloop
async def test_pools_that_are_not_used_are_forgotten() -> None:
    async with client() as http:
        for number in range(MAX_POOLS + 10):
            http.fetch(Request(origin=Origin("http", "127.0.0.1", 1 + number))).cancel()
        assert len(http._pools) <= MAX_POOLS


def test_tornados_blocking_client_works_too() -> None:
    blocking = HTTPClient(async_client_class=PooledHTTPClient)
    with pytest.raises(ConnectError):
        blocking.fetch(f"http://127.0.0.1:{free_port()}/")
    blocking.close()
