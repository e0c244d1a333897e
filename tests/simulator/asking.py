"""Asks a simulated server over a real socket, byte for byte, for the tests of this folder."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvloop

from router.simulator.server import Simulator
from router.simulator.settings import Settings
from tests.captures import Capture

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}
CHAT = "/v1/chat/completions"


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run an async test on uvloop, within a generous deadline."""

    async def bounded() -> None:
        async with asyncio.timeout(30):
            await test()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bounded())


@asynccontextmanager
async def simulated(settings: Settings | None = None) -> AsyncIterator[Simulator]:
    """A running simulator."""
    simulator = Simulator(settings)
    await simulator.start()
    await asyncio.sleep(0)
    try:
        yield simulator
    finally:
        await simulator.kill()


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; `raw` is what came until the end of the connection."""

    raw: bytes
    capture: Capture

    @property
    def status(self) -> int:
        return self.capture.status

    @property
    def headers(self) -> dict[str, str]:
        return self.capture.headers

    @property
    def body(self) -> bytes:
        return self.capture.body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The data of each event, [DONE] left as it is."""
        return events_of(self.body)


def events_of(body: bytes) -> list[Any]:
    """Return the data of each event of a stream, [DONE] left as it is."""
    datas = [line[6:] for line in body.decode().split("\n") if line.startswith("data: ")]
    return [data if data == "[DONE]" else json.loads(data) for data in datas]


def raw_request(method: str, target: str, body: Any = None, headers: dict[str, str] | None = None) -> bytes:
    """Return the bytes of a request; a dict becomes JSON."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    named = {"Host": "sim", "Connection": "close", "Content-Type": "application/json", **(headers or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"{method} {target} HTTP/1.1\r\n{lines}Content-Length: {len(data)}\r\n\r\n".encode() + data


async def send(simulator: Simulator, raw: bytes) -> bytes:
    """Send bytes and return what comes until the end of the connection, however it ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    writer.write(raw)
    got = b""
    try:
        while data := await reader.read(65536):
            got += data
    except ConnectionResetError:
        got += b"<RESET>"
    writer.close()
    return got


async def ask(
    simulator: Simulator,
    method: str,
    target: str,
    body: Any = None,
    *,
    headers: dict[str, str] | None = None,
) -> Reply:
    """Send one request on a connection of its own."""
    raw = await send(simulator, raw_request(method, target, body, headers))
    return Reply(raw, Capture(target, b"", raw))


async def chat(simulator: Simulator, **fields: Any) -> Reply:
    """Ask for a chat completion."""
    return await ask(simulator, "POST", CHAT, {**HELLO, **fields})


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; the test's own deadline bounds it."""
    while not condition():
        await asyncio.sleep(0.005)
