"""Row 48: whatever a client or a backend names, the router connects to its backends and to nobody else."""

import asyncio

import pytest
import uvloop

from tests.chaos.cluster import exchange
from tests.corpus.notation import steps, written
from tests.corpus.stand import stand

# SPY is the address of a server that nobody has configured.
REQUESTS = {
    "an absolute target": "POST http://SPY/v1/chat/completions HTTP/1.1\nHost: SPY",
    "an absolute target of another kind": "GET https://SPY/ HTTP/1.1\nHost: SPY",
    "CONNECT": "CONNECT SPY HTTP/1.1\nHost: SPY",
    "a user's name": "POST @SPY/v1/chat/completions HTTP/1.1\nHost: a",
    "two slashes": "POST //SPY/v1/chat/completions HTTP/1.1\nHost: a",
    "a Host": "POST /v1/chat/completions HTTP/1.1\nHost: SPY",
    "headers": "POST /v1/chat/completions HTTP/1.1\nHost: a\nX-Forwarded-Host: SPY\nForwarded: host=SPY"
    "\nX-Router-Backend: SPY\nX-Original-URL: http://SPY/\nX-Rewrite-URL: http://SPY/\nReferer: http://SPY/",
    "a query": "POST /v1/chat/completions?url=http://SPY/&base_url=http://SPY HTTP/1.1\nHost: a",
    "an upgrade": "POST /v1/chat/completions HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: h2c",
    "the name of a model": "GET /v1/models/http://SPY/ HTTP/1.1\nHost: a",
    "the id of an answer": "GET /v1/responses/http://SPY/ HTTP/1.1\nHost: a",
}
BODIES = {
    "fields that other routers obey": '{"model":"m","api_base":"http://SPY","base_url":"http://SPY","api_key":"x",'
    '"model_list":[{"litellm_params":{"api_base":"http://SPY"}}],"proxy":"http://SPY","callback":"http://SPY"}',
    "a model": '{"model":"http://SPY/m"}',
    "an image": '{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://SPY/"}}]}]}',
}
ANSWERS = {
    **{
        f"a redirect, {status}": f"HTTP/1.1 {status} X\nLocation: http://SPY/\nContent-Length: 0\n\n"
        for status in (301, 302, 303, 307, 308)
    },
    "headers of a backend": "<<ok>>\nLink: <http://SPY/>; rel=preload\nAlt-Svc: http/1.1=SPY\nRefresh: 0; url=http://SPY/\n"
    "Content-Location: http://SPY/\nContent-Length: 41\n\n<<answer>>",
    "use a proxy": "HTTP/1.1 305 Use Proxy\nLocation: http://SPY/\nContent-Length: 0\n\n",
}


@pytest.mark.row(48, 70)
@pytest.mark.parametrize("dialect", ["openai", "mistral"])
def test_nobody_but_the_configured_backends_is_ever_connected_to(dialect: str) -> None:
    met: list[object] = []

    async def met_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.append(await reader.read(100))
        writer.close()

    async def test() -> None:
        spy = await asyncio.start_server(met_one, "127.0.0.1", 0)
        address = f"127.0.0.1:{spy.sockets[0].getsockname()[1]}"
        async with stand({"backend": {"dialect": dialect, "profile": "v13"}}) as it:

            async def ask(head: str, body: str) -> bytes:
                lines = "Connection: close\nContent-Type: application/json\nContent-Length: <<length>>"
                text = f"{head}\n{lines}\n\n{body}\\\n"
                return await exchange(it.port, written(steps(text.replace("SPY", address))))

            good = "POST /v1/chat/completions HTTP/1.1\nHost: a"
            for head in REQUESTS.values():
                assert (await ask(head, "<<chat>>")).startswith(b"HTTP/1.1 ")
            for body in BODIES.values():
                assert (await ask(good, body)).startswith(b"HTTP/1.1 ")
            for answer in ANSWERS.values():
                it.backend.answer = steps(answer.replace("SPY", address))
                assert (await ask(good, "<<chat>>")).startswith(b"HTTP/1.1 ")
            assert it.backend.requests, "no request reached the backend: the test has tried nothing"
        spy.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test())
    assert met == []
