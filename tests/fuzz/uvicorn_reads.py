"""What uvicorn, on which vLLM stands, reads in bytes: its own protocol classes in memory, over h11 and httptools.

`python -m tests.fuzz.uvicorn_reads [CASES]` sends the same mutated requests to it and to the wire, and counts how
both read them; that what the router forwards is read alike by both is a rule of the target `relayed`.
"""

import logging
import sys
from collections import Counter
from dataclasses import dataclass, replace
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


def compared(wire: list[Read], read: list[Read]) -> str:
    """Return in words how two readings of the same bytes differ."""
    for one, other in zip(wire, read, strict=False):
        if one != other:
            return "READ OTHERWISE"
    if len(wire) == len(read):
        return "the same"
    return "uvicorn reads more requests" if len(read) > len(wire) else "the wire reads more requests"


def main(cases: int) -> None:
    """Print how often the wire and uvicorn read the same."""
    from tests.fuzz import requests
    from tests.fuzz.__main__ import Hang, bounded
    from tests.fuzz.mutate import Mutations

    logging.disable(logging.ERROR)
    counts: dict[str, Counter[str]] = {name: Counter() for name in READERS}
    mutations = Mutations(list(requests.request_seeds().values()), requests.WORDS, seed=1)
    with Loop() as loop:
        readers = {name: Uvicorn(loop, name) for name in READERS}
        for _ in range(cases):
            data = mutations.next()
            wire = [
                Read(one.start[0], *parted(one.start[1]), tuple(_lowered(one.fields)), one.body)
                for one in requests.served([data], requests.LIMITS[0]).whole
            ]
            for name, reader in readers.items():
                try:
                    with bounded(1.0):
                        read = [replace(one, fields=tuple(_lowered(one.fields))) for one in reader.read(data)]
                except Hang:
                    counts[name]["uvicorn does not end"] += 1
                    continue
                kind = compared(wire, read)
                counts[name][kind] += 1
                if kind == "READ OTHERWISE" and counts[name][kind] <= 3:
                    print(name, data, wire, read, sep="\n  ")
    for name, count in counts.items():
        print(f"{name}: {cases:,} cases: " + ", ".join(f"{kind}: {number:,}" for kind, number in count.most_common()))


def parted(target: bytes) -> tuple[bytes, bytes]:
    """Return the path and the query of a target."""
    path, _, query = target.partition(b"?")
    return path, query


def _lowered(fields: tuple[tuple[bytes, bytes], ...]) -> list[tuple[bytes, bytes]]:
    return [(name.lower(), value.strip(b" \t")) for name, value in fields]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000)
