"""What uvicorn, on which vLLM stands, reads in bytes: its own protocol classes in memory, over h11 and httptools."""

from dataclasses import dataclass
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from tests.wire.memory import Line, Loop

READERS = {"h11": H11Protocol, "httptools": HttpToolsProtocol}


@dataclass(frozen=True, slots=True)
class Read:
    """One request, as an application gets it."""

    method: bytes
    path: bytes  # as sent
    query: bytes
    fields: tuple[tuple[bytes, bytes], ...]  # names in lower case
    body: bytes


class _Quiet(Line):
    """Tells no addresses: uvicorn would ask a socket for them."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class Uvicorn:
    """Reads the bytes of one connection after the other."""

    def __init__(self, loop: Loop, reader: str) -> None:
        """`reader`: "h11" or "httptools"."""
        self._loop = loop
        self._read: list[Read] = []
        options: dict[str, Any] = {"log_config": None, "access_log": False, "lifespan": "off", "proxy_headers": False}
        self._config = Config(self._app, interface="asgi3", **options)
        self._config.load()
        self._protocol: Any = READERS[reader]

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                self._read.append(
                    Read(
                        scope["method"].encode(),
                        scope["raw_path"],
                        scope["query_string"],
                        tuple((bytes(name), bytes(value)) for name, value in scope["headers"]),
                        body,
                    )
                )
                break
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    def read(self, data: bytes) -> list[Read]:
        """Return the requests that it reads in these bytes."""
        self._read = []
        loop = self._loop
        state = ServerState()
        protocol = self._protocol(config=self._config, server_state=state, app_state={}, _loop=loop)
        line = _Quiet(loop, protocol)
        loop.call_soon(protocol.connection_made, line)
        loop.call_soon(line.send, data)
        loop.settle()
        loop.call_soon(line.end)
        loop.settle()
        loop.call_soon(line.abort)
        loop.settle()
        loop.faults.clear()
        return self._read
