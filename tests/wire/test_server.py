"""The server: sockets of every kind, TLS, drain and closing."""

import asyncio
import os
import ssl
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import uvloop
from tornado.httpclient import AsyncHTTPClient
from tornado.web import Application, RequestHandler

from router.wire.server import HTTPServer, bind_sockets, bind_unix_socket
from tests.wire.served import GET, PATIENCE, Client, ask, on_uvloop, serving, until


class Who(RequestHandler):
    """Tells what it knows of its client; slowly on request."""

    async def get(self) -> None:
        self.settings["served"].events.append(self)
        await asyncio.sleep(float(self.get_argument("for", "0")))
        self.write(f"{self.request.protocol} {self.request.remote_ip}")


@pytest.fixture
def app() -> Application:
    class Hello(RequestHandler):
        def get(self) -> None:
            self.write("hello")

    return Application([("/", Hello)])


@pytest.mark.gen_test
async def test_tornados_own_client_is_served(http_client: AsyncHTTPClient, base_url: str) -> None:
    response = await http_client.fetch(base_url + "/")

    assert response.body == b"hello"
    assert (await http_client.fetch(base_url + "/none", raise_error=False)).code == 404


@on_uvloop
async def test_ipv6_is_served() -> None:
    try:
        sockets = bind_sockets("::1", 0)
    except OSError:
        pytest.skip("no IPv6 here")
    async with serving(Who) as served:
        served.server.add_sockets(sockets)
        reader, writer = await asyncio.open_connection("::1", sockets[0].getsockname()[1])
        client = Client(reader, writer)
        await client.send(GET)
        assert (await client.answer()).body == b"http ::1"
        await client.close()


@on_uvloop
async def test_unix_sockets_are_served_and_leaving_is_noticed_there_too(tmp_path: Path) -> None:
    async with serving(Who) as served:
        served.server.add_socket(bind_unix_socket(str(tmp_path / "s")))
        client = Client(*await asyncio.open_unix_connection(str(tmp_path / "s")))
        await client.send(GET)
        assert (await client.answer()).body == b"http 0.0.0.0"
        await client.send(GET.replace(b"/ ", b"/?for=9 ") + b"x" * 100_000)
        await until(lambda: len(served.events) == 2)
        client.reset()
        assert await until(lambda: not served.server.connections) < 0.5


@on_uvloop
async def test_listen_binds_and_serves() -> None:
    async with serving(Who) as served:
        (sock,) = served.server.listen(0)
        assert (await ask(sock.getsockname()[1], GET)).status == 200


@pytest.fixture
def certificate(tmp_path: Path, tool) -> dict[str, str]:
    key, cert = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    command = [tool("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert]
    names = ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, *names], check=True, capture_output=True)
    return {"certfile": cert, "keyfile": key}


def test_tls_is_served(certificate: dict[str, str]) -> None:
    @on_uvloop
    async def test() -> None:
        trusting = ssl.create_default_context(cafile=certificate["certfile"])
        async with serving(Who, ssl_options=certificate) as served:
            client = await Client.to(served.port, ssl=trusting, server_hostname="localhost")
            for _ in range(2):
                await client.send(GET)
                assert (await client.answer()).body == b"https 127.0.0.1"
            await client.send(GET.replace(b"/ ", b"/?for=9 "))
            await until(lambda: len(served.events) == 3)
            client.writer.close()
            assert await until(lambda: not served.server.connections) < 0.5

            client = await Client.to(served.port, ssl=trusting, server_hostname="localhost")
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n" + bytes(1_000_000))
            assert (await client.answer()).status == 413
            await client.close()

    test()


def test_plain_bytes_on_a_tls_port_are_refused(certificate: dict[str, str]) -> None:
    @on_uvloop
    async def test() -> None:
        async with serving(Who, ssl_options=certificate) as served:
            client = await Client.to(served.port)
            await client.send(GET)
            await asyncio.wait_for(client.reader.read(), PATIENCE)
            assert not served.events

    test()


@on_uvloop
async def test_stop_refuses_new_connections_and_leaves_open_ones() -> None:
    async with serving(Who) as served:
        client = await Client.to(served.port)
        await client.send(GET)
        await client.answer()
        served.server.stop()
        await asyncio.sleep(0.01)
        with pytest.raises(OSError):
            await Client.to(served.port)
        await client.send(GET)
        assert (await client.answer()).status == 200
        await client.close()


@on_uvloop
async def test_stop_before_the_loop_ran_leaves_no_socket() -> None:
    server = HTTPServer(Application([]))
    (sock,) = server.listen(0)
    server.stop()
    await asyncio.sleep(0.01)
    assert sock.fileno() == -1


@on_uvloop
async def test_drain_closes_idle_connections_and_makes_every_answer_the_last() -> None:
    async with serving(Who) as served:
        fresh, idle, busy = [await Client.to(served.port) for _ in range(3)]
        await idle.send(GET)
        await idle.answer()
        await busy.send(GET.replace(b"/ ", b"/?for=0.1 "))
        await until(lambda: len(served.events) == 2)
        served.server.close_idle_connections()

        assert await idle.is_closed()
        assert await fresh.is_closed()
        answer = await busy.answer()
        assert (answer.status, answer.headers[b"connection"]) == (200, b"close")
        assert await busy.is_closed()

        late = await ask(served.port, GET)
        assert (late.status, late.headers[b"connection"]) == (200, b"close")
        await until(lambda: not served.server.connections)


@on_uvloop
async def test_close_all_connections_ends_what_runs() -> None:
    class Endless(RequestHandler):
        async def get(self) -> None:
            self.settings["served"].events.append(self)
            self.write(b"x")
            await self.flush()
            await asyncio.sleep(1000)

        def on_connection_close(self) -> None:
            self.settings["served"].events.append("left")

    async with serving(Endless) as served:
        clients = [await Client.to(served.port) for _ in range(3)]
        await clients[0].send(GET)
        await clients[1].send(GET[:9])
        await until(lambda: served.events)
        await served.server.close_all_connections()
        assert served.server.connections == 0
        assert served.events[1:] == ["left"]
        await served.server.close_all_connections()


@on_uvloop
async def test_close_all_connections_does_not_wait_for_a_client_that_reads_nothing() -> None:
    class Large(RequestHandler):
        def get(self) -> None:
            self.write(bytes(32 << 20))

    async with serving(Large) as served:
        client = await Client.to(served.port, limit=1024)
        await client.send(GET)
        await asyncio.sleep(0.05)
        await asyncio.wait_for(served.server.close_all_connections(), PATIENCE)
        assert served.server.connections == 0
        client.reset()


def test_it_runs_on_asyncios_own_loop() -> None:
    async def main() -> None:
        async with serving(Who) as served:
            assert (await ask(served.port, GET)).body == b"http 127.0.0.1"

    asyncio.run(main())


@on_uvloop
async def test_repr_shows_what_a_server_does() -> None:
    async with serving(Who) as served:
        await ask(served.port, GET)
        await until(lambda: not served.server.connections)
        assert repr(served.server) == "<HTTPServer sockets=1 connections=0>"


EXHAUSTED = """
import asyncio, resource, sys, uvloop
from tornado.web import Application, RequestHandler
from router.wire.server import HTTPServer

class Ok(RequestHandler):
    def get(self):
        self.write("ok")

async def main():
    server = HTTPServer(Application([("/", Ok)]))
    (sock,) = server.listen(0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
    print(sock.getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

uvloop.run(main())
"""


def test_accepting_goes_on_after_file_descriptors_ran_out() -> None:
    """libuv accepts and closes what it has no descriptor for: no spinning, no dead listener."""
    root = str(Path(__file__).resolve().parents[2])
    server = subprocess.Popen(
        [sys.executable, "-c", EXHAUSTED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    try:
        port = int(server.stdout.readline())

        async def crowd() -> None:
            clients = []
            for _ in range(100):
                with suppress(OSError):
                    clients.append(await Client.to(port))
            await asyncio.sleep(0.2)
            before = _cpu(server.pid)
            await asyncio.sleep(0.3)
            assert _cpu(server.pid) - before < 0.2
            for client in clients:
                client.reset()
            for _ in range(50):
                await asyncio.sleep(0.02)
                try:
                    assert (await ask(port, GET)).body == b"ok"
                    return
                except (OSError, asyncio.IncompleteReadError):
                    pass
            raise AssertionError("nothing is accepted any more")

        uvloop.run(crowd())
        assert server.poll() is None
    finally:
        server.kill()
        server.communicate()


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
