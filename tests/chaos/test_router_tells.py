"""What the router tells of itself and of its backends while things go wrong; and names that do not resolve."""

import asyncio
import json
import re
import socket
import time
from typing import Any

import pytest

from router.simulator.faults import Break
from router.simulator.settings import Settings
from tests.chaos.cluster import cluster
from tests.chaos.inside import byte_by_byte, inside, simulators
from tests.chaos.processes import until
from tests.chaos.raw import plain, says
from tests.front import broken, run


@pytest.mark.row(88)
def test_the_list_of_models_is_everybodys_and_comes_at_once_whoever_is_dead_or_hangs() -> None:
    async def test() -> None:
        some = Settings(models=("a", "b"))
        other = Settings(models=("b", "c"))
        async with inside(some, other, Settings(models=("d",))) as it:
            begun = time.monotonic()
            listed = {each["id"] for each in json.loads((await it.ask("/v1/models")).body)["data"]}
            assert listed == {"a", "b", "c", "d"}
            broken(it.backends[2], refuse=True)
            broken(it.backends[1], health_hang=True)
            await until(lambda: not it.app.registry.snapshot(time.monotonic())[2].usable)
            answer = await it.ask("/v1/models")
            assert {each["id"] for each in json.loads(answer.body)["data"]} == listed
            assert time.monotonic() - begun < 10
            refused = await it.chat(model="d")
            assert refused.code == 503, "a model whose backends are down still is one that exists"
            broken(it.backends[1])

    run(test)


@pytest.mark.row(88)
@pytest.mark.parametrize("listing", [b"[1, 2", b'{"data": [{"id": 5}, null]}'])
def test_a_list_of_models_that_is_none_spoils_nobody_elses(listing: bytes) -> None:
    async def test() -> None:
        async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while head := await reader.readuntil(b"\r\n\r\n"):
                writer.write(plain(200, listing if b"/v1/models" in head else {}))

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await odd(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with simulators(Settings()) as (there,), inside(urls=[url, there.url], ready=False) as it:
            await until(lambda: "simulated-model" in it.app.registry.known_models())
            listed = [each["id"] for each in json.loads((await it.ask("/v1/models")).body)["data"]]
            assert listed == ["simulated-model"]
        server.close()

    run(test)


@pytest.mark.row(89)
@pytest.mark.parametrize("streams", [100, pytest.param(2000, marks=pytest.mark.long)])
def test_metrics_come_while_many_streams_run(streams: int) -> None:
    async def test() -> None:
        async with cluster(2, simulate=["--itl", "100ms", "--max-num-seqs", "4000"]) as it:
            asked = [asyncio.ensure_future(it.stream(max_tokens=20, ignore_eos=True)) for _ in range(streams)]
            while await it.router.metric("router_requests_in_flight") < streams:
                await asyncio.sleep(0.02)
            times = []
            for _ in range(5):
                begun = time.monotonic()
                assert f"router_requests_in_flight {streams}" in await it.router.page()
                times.append(time.monotonic() - begun)
            assert sorted(times)[2] < 2.0
            assert all(answer.is_whole for answer in await asyncio.gather(*asked))

    run(test, timeout=120)


# ---- names


class System:
    """What the system's resolver answers for names that end in .test."""

    def __init__(self) -> None:
        self.address: str | None = "127.0.0.1"
        self.delay = 0.0
        self.asked = 0
        self.answered = 0
        self._real = socket.getaddrinfo

    def __call__(self, host: Any, port: Any, *args: Any, **more: Any) -> Any:
        if not str(host).endswith(".test"):
            return self._real(host, port, *args, **more)
        self.asked += 1
        time.sleep(self.delay)
        self.answered += 1
        if self.address is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self._real(self.address, port, *args, **more)


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    """The system's resolver, which a test may slow down, change and break."""
    found = System()
    monkeypatch.setattr(socket, "getaddrinfo", found)
    return found


NAMED = {"pool": {"dns_ttl": 0.2}}


@pytest.mark.row(87)
def test_a_slow_name_server_holds_up_nobody(system: System) -> None:
    async def test() -> None:
        system.delay = 0.5
        async with simulators(Settings(), Settings()) as (one, two):
            urls = [f"http://vllm.test:{one.port}", two.url]
            async with inside(urls=urls, config=NAMED, ready=False) as it:
                await until(lambda: it.app.registry.usable_count(time.monotonic()) >= 1)
                meanwhile = 0  # requests that came and were answered within one look-up
                while meanwhile < 3:
                    await until(lambda: system.asked > system.answered, what="a name is looked up")
                    before = system.answered
                    assert (await it.ask("/livez")).code == 200
                    meanwhile += system.answered == before
                await until(lambda: it.app.registry.usable_count(time.monotonic()) == 2)
                assert {(await it.chat()).code for _ in range(10)} == {200}

    run(test)


@pytest.mark.row(87)
def test_a_name_that_resolves_no_more_keeps_its_address_and_one_that_changes_is_followed(system: System) -> None:
    async def test() -> None:
        async with simulators(Settings()) as (there,):
            urls = [f"http://vllm.test:{there.port}"]
            async with inside(urls=urls, config=NAMED) as it:
                assert (await it.chat()).code == 200
                system.address, asked = None, system.asked
                await until(lambda: system.asked > asked)
                for _ in range(5):
                    assert (await it.chat()).code == 200
                assert it.app.registry.usable_count(time.monotonic()) == 1

    run(test)


@pytest.mark.row(87)
def test_a_name_that_never_resolved_is_a_backend_that_is_down(system: System) -> None:
    async def test() -> None:
        system.address = None
        async with simulators(Settings()) as (there,):
            urls = ["http://nowhere.test:1", there.url]
            async with inside(urls=urls, config=NAMED, ready=False) as it:
                await until(lambda: it.app.registry.usable_count(time.monotonic()) == 1)
                assert {(await it.chat()).code for _ in range(10)} == {200}

    run(test)


# ---- requests with an effect at the backend


@pytest.mark.row(92)
@pytest.mark.parametrize("path", ["/v1/files", "/v1/batches", "/v1/fine_tuning/jobs"])
def test_what_keeps_things_at_a_backend_for_good_is_not_served(path: str) -> None:
    async def test() -> None:
        async with byte_by_byte(says(plain(200, {}))) as (it, asked):
            assert (await it.ask(path, {"a": 1})).code == 404
            assert asked == []

    run(test)


@pytest.mark.row(92)
@pytest.mark.parametrize("events", [None, 0, 1, 2, 3, 4, 8])
def test_of_a_response_that_is_lost_and_made_again_the_client_is_told_of_one(events: int | None) -> None:
    """What its first backend had stored has an id that never left the router: nobody can ask for it.

    `events`: of a stream, after which it is cut; None: not streamed. Once the id was told, nothing is made again.
    """

    async def test() -> None:
        async with inside(Settings(), Settings()) as it:
            for backend in it.backends:
                broken(backend, break_as=Break.CUT, break_after=events or 0)
            broken(it.backends[1])
            body = {"model": "simulated-model", "input": "Hello", "store": True, "stream": events is not None}
            for _ in range(4):
                answer = await it.ask("/v1/responses", body)
                told = set(re.findall(rb'"(resp_[^"]+)"', answer.body))
                assert answer.code == 200
                assert len(told) == 1
                found = await it.ask(f"/v1/responses/{told.pop().decode()}")
                assert found.code == (200 if events is None else 404), "the simulated server keeps no streamed one"
            assert it.backends[0].figures.struck > 0

    run(test)
