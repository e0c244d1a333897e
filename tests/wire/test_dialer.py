"""Rules of connecting: every address in turn, TLS verified, every failure in our own words."""

import asyncio
import os
import resource
import ssl
import time
from pathlib import Path

import pytest

from bench.processes import free_port
from router.errors import ConnectError, ConnectionLost, ConnectTimeout, TotalTimeout, WireError
from router.wire.client import Origin, Request, TLSOptions
from router.wire.dialer import make_context
from router.wire.resolver import Resolver
from tests.authority import Authority, Issued
from tests.wire.upstream import OK, PATIENCE, Peer, answering, black_hole, client, on_uvloop, upstream

SHORT = 0.2
NAME = "backend.test"


@pytest.fixture(scope="module")
def backend(authority: Authority) -> Issued:
    """The certificate of a backend."""
    return authority.issue(NAME)


def server_context(issued: Issued, seen: list[str | None] | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.cert, issued.key)
    if seen is not None:
        context.sni_callback = lambda _socket, name, _context: seen.append(name)
    return context


def options(ca: Authority, *, server_name: str | None = NAME, verify: bool = True) -> TLSOptions:
    return TLSOptions(ca_file=str(ca.ca), server_name=server_name, verify=verify)


@on_uvloop
async def test_a_port_without_a_listener_refuses() -> None:
    async with client() as http:
        with pytest.raises(ConnectError, match="refused") as failed:
            await http.fetch(Request(origin=Origin("http", "127.0.0.1", free_port()), connect_timeout=PATIENCE))
        assert failed.value.refused


@on_uvloop
async def test_a_shortage_of_file_descriptors_is_our_own() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with upstream(answering(OK)) as server, client() as http:
        request = Request(origin=server.origin, connect_timeout=PATIENCE)
        held = os.dup(0)
        os.close(held)
        resource.setrlimit(resource.RLIMIT_NOFILE, (held, hard))  # the next descriptor would be this one
        try:
            with pytest.raises(ConnectError) as failed:
                await http.fetch(request)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert failed.value.ours
        assert not failed.value.refused


@on_uvloop
async def test_a_host_that_takes_no_connection_ends_with_the_connect_timeout_or_the_total() -> None:
    async with black_hole() as port, client() as http:
        origin = Origin("http", "127.0.0.1", port)
        with pytest.raises(ConnectTimeout):
            await http.fetch(Request(origin=origin, connect_timeout=SHORT))
        with pytest.raises(TotalTimeout):
            await http.fetch(Request(origin=origin, connect_timeout=9, request_timeout=SHORT))
        with pytest.raises(TotalTimeout):
            await http.fetch(Request(origin=origin, request_timeout=SHORT))


@on_uvloop
async def test_cancelling_while_connecting_ends_it_at_once() -> None:
    async with black_hole() as port, client() as http:
        for delay in (0.0, 0.05):
            fetch = http.fetch(Request(origin=Origin("http", "127.0.0.1", port)))
            await asyncio.sleep(delay)
            fetch.cancel()
            assert "open=0" in repr(http)
            await asyncio.sleep(0.01)
            assert fetch.cancelled()


@on_uvloop
async def test_a_fetch_that_is_cancelled_before_it_began_to_connect_leaves_nothing() -> None:
    async with upstream(answering(OK)) as server, client() as http:
        http.fetch(server.request()).cancel()
        await asyncio.sleep(0.05)
        assert server.peers == []
        assert "open=0" in repr(http)


@on_uvloop
async def test_every_address_is_tried_in_turn() -> None:
    async with upstream(answering(OK), name=NAME) as server:
        for addresses in (("127.0.0.2", "127.0.0.1"), ("::1", "127.0.0.3", "127.0.0.1")):
            async with client(resolver=Resolver(lookup=lambda host, port, found=addresses: found)) as http:  # type: ignore[misc]
                assert (await http.fetch(server.request())).code == 200


@on_uvloop
async def test_an_address_that_does_not_answer_leaves_time_for_the_next() -> None:
    async with black_hole() as port:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)

        server = await asyncio.start_server(serve, "127.0.0.2", port)
        found = Resolver(lookup=lambda host, port: ("127.0.0.1", "127.0.0.2"))
        async with client(resolver=found) as http:
            response = await http.fetch(Request(origin=Origin("http", NAME, port), connect_timeout=1.0))
            assert response.body == b"ok"
        server.close()


@on_uvloop
async def test_refused_is_said_only_when_every_address_refused() -> None:
    async with black_hole() as port, client(resolver=Resolver(lookup=lambda *_: ("127.0.0.1", "127.0.0.2"))) as http:
        with pytest.raises(ConnectTimeout):
            await http.fetch(Request(origin=Origin("http", NAME, port), connect_timeout=SHORT))
        with pytest.raises(ConnectError) as failed:
            await http.fetch(Request(origin=Origin("http", NAME, free_port()), connect_timeout=SHORT))
        assert failed.value.refused


@on_uvloop
async def test_ipv6_works_and_its_host_stands_in_brackets() -> None:
    async with upstream(answering(OK), host="::1") as server, client() as http:
        assert (await http.fetch(server.request())).code == 200
        assert b"\r\nHost: [::1]:%d\r\n" % server.port in server.peers[0].requests[0]


def test_a_unix_socket_works_and_a_missing_one_refuses(tmp_path: Path) -> None:
    @on_uvloop
    async def run() -> None:
        path = str(tmp_path / "s")
        async with upstream(answering(OK), unix_path=path, name="localhost") as server, client() as http:
            for _ in range(3):
                assert (await http.fetch(server.request())).code == 200
            assert len(server.peers) == 1
            assert b"\r\nHost: localhost\r\n" in server.peers[0].requests[0]
        async with client() as http:
            for missing in (path + "x", str(tmp_path / "no" / "s")):
                with pytest.raises(ConnectError) as failed:
                    await http.fetch(Request(origin=Origin("http", "localhost", 80, unix_path=missing)))
                assert failed.value.refused

    run()


@on_uvloop
async def test_a_certificate_of_the_own_authority_is_accepted_and_the_server_name_asked_for(
    authority: Authority, backend: Issued
) -> None:
    names: list[str | None] = []
    server_tls = server_context(backend, names)
    async with upstream(answering(OK), tls=server_tls, client_tls=options(authority)) as server, client() as http:
        for _ in range(3):
            assert (await http.fetch(server.request(method="POST", body=b"x" * 300_000))).body == b"ok"
        assert (names, len(server.peers)) == ([NAME], 1)
        assert b"Host: 127.0.0.1:" in server.peers[0].requests[0]


@pytest.mark.parametrize(
    ("ca", "server_name"), [("stranger", NAME), ("authority", None), ("authority", "another.test")]
)
@on_uvloop
async def test_a_certificate_of_another_authority_or_name_is_refused(
    request: pytest.FixtureRequest, backend: Issued, ca: str, server_name: str | None
) -> None:
    tls = options(request.getfixturevalue(ca), server_name=server_name)
    async with upstream(answering(OK), tls=server_context(backend), client_tls=tls) as server, client() as http:
        with pytest.raises(ConnectError, match="TLS failed") as failed:
            await http.fetch(server.request())
        assert not failed.value.refused
        assert "open=0" in repr(http)
        assert server.peers == [] or not server.peers[0].requests


@on_uvloop
async def test_a_certificate_that_has_ended_is_refused_and_the_error_says_so(authority: Authority) -> None:
    ended = server_context(authority.issue(NAME, days=-1))
    async with upstream(answering(OK), tls=ended, client_tls=options(authority)) as server, client() as http:
        with pytest.raises(ConnectError, match="certificate has expired"):
            await http.fetch(server.request())


@on_uvloop
async def test_without_verification_any_certificate_is_accepted(stranger: Authority, backend: Issued) -> None:
    tls = options(stranger, server_name=None, verify=False)
    async with upstream(answering(OK), tls=server_context(backend), client_tls=tls) as server, client() as http:
        assert (await http.fetch(server.request())).code == 200


@on_uvloop
async def test_a_context_can_be_given_and_a_client_certificate_shown(authority: Authority, backend: Issued) -> None:
    server_tls = server_context(backend)
    server_tls.verify_mode = ssl.CERT_REQUIRED
    server_tls.load_verify_locations(authority.ca)
    shown = TLSOptions(str(authority.ca), True, NAME, str(backend.cert), str(backend.key))
    context = make_context(TLSOptions(shown.ca_file, True, None, shown.cert_file, shown.key_file))
    context.check_hostname = False
    for tls in (shown, context):
        async with upstream(answering(OK), tls=server_tls, client_tls=tls) as server, client() as http:
            assert (await http.fetch(server.request())).code == 200


@on_uvloop
async def test_without_the_client_certificate_that_a_backend_wants_nothing_is_sent_to_it(
    authority: Authority, backend: Issued, stranger: Authority
) -> None:
    """In TLS 1.3 the refusal comes after our own side is done: the request may be on its way, but is not read."""
    server_tls = server_context(backend)
    server_tls.verify_mode = ssl.CERT_REQUIRED
    server_tls.load_verify_locations(authority.ca)
    wrong = stranger.issue()
    for shown in ((None, None), (str(wrong.cert), str(wrong.key))):
        tls = TLSOptions(str(authority.ca), True, NAME, *shown)
        async with upstream(answering(OK), tls=server_tls, client_tls=tls) as server, client() as http:
            with pytest.raises(WireError):
                await http.fetch(server.request())
            assert server.peers == []


@on_uvloop
async def test_files_that_cannot_be_read_are_a_connect_error_but_no_refusal() -> None:
    origin = Origin("https", "127.0.0.1", free_port(), tls=TLSOptions(ca_file="/nowhere/ca.pem"))
    async with client() as http:
        with pytest.raises(ConnectError, match="TLS files") as failed:
            await http.fetch(Request(origin=origin))
        assert not failed.value.refused


@on_uvloop
async def test_a_server_that_speaks_no_tls_is_a_connect_error() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with upstream(script) as server, client() as http:
        with pytest.raises(ConnectError):
            await http.fetch(Request(origin=Origin("https", "127.0.0.1", server.port), connect_timeout=PATIENCE))


async def silent(peer: Peer) -> None:
    await peer.wait_gone()


@on_uvloop
async def test_a_handshake_that_stands_still_ends_with_the_connect_timeout() -> None:
    ready = make_context(TLSOptions())  # reading the system's authorities may take all of a short time
    async with upstream(silent) as server, client() as http:
        origin = Origin("https", "127.0.0.1", server.port, tls=ready)
        with pytest.raises(ConnectTimeout):
            await http.fetch(Request(origin=origin, connect_timeout=SHORT))
        await server.gone()


@on_uvloop
async def test_cancelling_within_a_handshake_closes_the_connection_at_once() -> None:
    async with upstream(silent) as server, client() as http:
        fetch = http.fetch(Request(origin=Origin("https", "127.0.0.1", server.port)))
        while not server.peers:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        started = time.monotonic()
        fetch.cancel()
        await server.gone()
        assert time.monotonic() - started < 1


@pytest.mark.parametrize("framing", [b"", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"])
@on_uvloop
async def test_by_tls_the_end_of_the_connection_is_no_end_of_an_answer(
    authority: Authority, backend: Issued, framing: bytes
) -> None:
    """Whoever stands between can end it: nothing tells that the backend did."""

    async def script(peer: Peer) -> None:
        await peer.request()
        body = b"5\r\nwhole\r\n0\r\n\r\n" if b"chunked" in framing else b"whole"
        await peer.send(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n" + body)

    async with (
        upstream(script, tls=server_context(backend), client_tls=options(authority)) as server,
        client() as http,
    ):
        if framing:
            assert (await http.fetch(server.request())).body == b"whole"
        else:
            with pytest.raises(ConnectionLost):
                await http.fetch(server.request())


@on_uvloop
async def test_a_tls_stream_can_be_cancelled_and_held_back(authority: Authority, backend: Issued) -> None:
    received = 0
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 26214400\r\n\r\n")
        for _ in range(400):
            await peer.send(b"x" * 65536)
        await peer.wait_gone()

    def deliver(chunk: bytes) -> asyncio.Future[None]:
        nonlocal received
        received += len(chunk)
        return gate

    tls = options(authority)
    async with upstream(script, tls=server_context(backend), client_tls=tls) as server, client() as http:
        fetch = http.fetch(server.request(streaming_callback=deliver))
        await asyncio.sleep(0.2)
        assert received <= 2**19
        gate.set_result(None)
        assert (await fetch).code == 200
        assert received == 26214400
        gate = asyncio.get_running_loop().create_future()
        second = http.fetch(server.request(streaming_callback=deliver, fresh=True))
        await asyncio.sleep(0.2)
        second.cancel()
        await server.gone(1)


def test_files_are_read_anew_when_that_is_asked_for(
    authority: Authority, stranger: Authority, backend: Issued, tmp_path: Path
) -> None:
    """A certificate that was renewed under the same name is used without a restart."""

    @on_uvloop
    async def run() -> None:
        trusted = tmp_path / "ca.pem"
        trusted.write_bytes(stranger.ca.read_bytes())
        given = TLSOptions(ca_file=str(trusted), server_name=NAME)
        async with upstream(answering(OK), tls=server_context(backend), client_tls=given) as server, client() as http:
            with pytest.raises(ConnectError):
                await http.fetch(server.request())
            trusted.write_bytes(authority.ca.read_bytes())
            with pytest.raises(ConnectError):
                await http.fetch(server.request())
            http.keep_only([server.origin])
            assert (await http.fetch(server.request())).code == 200

    run()


def test_what_is_just_being_read_when_files_are_to_be_read_anew_is_not_kept(
    authority: Authority, stranger: Authority, backend: Issued, tmp_path: Path
) -> None:
    """Else a reload at the wrong moment would leave the old authority in use until the next one."""

    @on_uvloop
    async def run() -> None:
        trusted = tmp_path / "ca.pem"
        os.mkfifo(trusted)  # whoever reads it waits for us
        given = TLSOptions(ca_file=str(trusted), server_name=NAME)
        async with upstream(answering(OK), tls=server_context(backend), client_tls=given) as server, client() as http:
            first = http.fetch(server.request())
            loop = asyncio.get_running_loop()
            pipe = await loop.run_in_executor(None, trusted.open, "wb")  # it is being read
            http.keep_only([server.origin])
            trusted.unlink()
            trusted.write_bytes(authority.ca.read_bytes())
            pipe.write(stranger.ca.read_bytes())
            pipe.close()
            with pytest.raises(ConnectError):
                await first
            assert (await http.fetch(server.request())).code == 200

    run()
