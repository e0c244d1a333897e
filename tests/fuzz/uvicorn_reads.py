"""What uvicorn, on which vLLM stands, reads in bytes: its own protocol classes in memory, over h11 and httptools.

`python -m tests.fuzz.uvicorn_reads [CASES [SEED]]` sends the same mutated requests to it and to the wire, and counts
how both read them; that what the router forwards is read alike by both is a rule of the target `relayed`.
"""

import argparse
import enum
import logging
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from tests.fuzz import requests
from tests.fuzz.bounds import HANG, Hang, bounded, watched
from tests.fuzz.mutate import Mutations
from tests.wire.memory import Line, Loop

READERS = {"h11": H11Protocol, "httptools": HttpToolsProtocol}


MOST_SHOWN = 3  # of a kind


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
        if data:  # no loop tells of nothing: to h11 it would be the client's end, again and again without an end
            loop.call_soon(line.send, data)
        loop.settle()
        loop.call_soon(line.end)
        loop.settle()
        loop.call_soon(line.abort)
        loop.settle()
        loop.faults.clear()
        return self._read


class Kind(enum.Enum):
    """How two readings of the same bytes differ."""

    SAME = "the same"
    MORE = "uvicorn reads more requests"
    FEWER = "the wire reads more requests"
    UPGRADE = "httptools leaves out what follows a request for an upgrade"
    TRAILERS = "httptools adds trailers to the headers"
    OTHERWISE = "READ OTHERWISE"
    ENDLESS = "UVICORN DOES NOT END"


BAD = (Kind.OTHERWISE, Kind.ENDLESS)


def compared(wire: list[Read], read: list[Read]) -> Kind:
    """Say how uvicorn's reading differs from the wire's."""
    for one, other in zip(wire, read, strict=False):
        if one != other:
            return _difference(one, other)
    if len(wire) == len(read):
        return Kind.SAME
    return Kind.MORE if len(read) > len(wire) else Kind.FEWER


def _difference(one: Read, other: Read) -> Kind:
    fields = [name for name, _ in one.fields]
    if b"upgrade" in fields and other == replace(one, body=b""):
        return Kind.UPGRADE
    if b"transfer-encoding" in fields and one == replace(other, fields=other.fields[: len(fields)]):
        return Kind.TRAILERS
    return Kind.OTHERWISE


def read_by_wire(data: bytes) -> list[Read]:
    """Return the requests that the wire reads in these bytes."""
    return [
        alike(Read(one.start[0], *parted(one.start[1]), one.fields, one.body))
        for one in requests.served([data], requests.LIMITS[0]).whole
    ]


def alike(read: Read) -> Read:
    """Return a reading with what means nothing made equal: h11 tells of codings in small letters."""
    fields = [(name.lower(), value.strip(b" \t")) for name, value in read.fields]
    fields = [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in fields]
    return replace(read, fields=tuple(fields))


def main(cases: int, seed: int) -> int:
    """Print how often the wire and uvicorn read the same; 1 where they read something otherwise."""
    counts: dict[str, Counter[Kind]] = {name: Counter() for name in READERS}
    mutations = Mutations(list(requests.request_seeds().values()), requests.WORDS, seed=seed)
    began = time.monotonic()
    with Loop() as loop, watched() as alive:
        readers = {name: Uvicorn(loop, name) for name in READERS}
        for number in range(cases):
            data = mutations.next()
            wire = read_by_wire(data)
            for name, reader in readers.items():
                kind = _kind(reader, data, wire)
                counts[name][kind] += 1
                if kind in BAD and counts[name][kind] <= MOST_SHOWN:
                    print(name, kind.value, data, wire, sep="\n  ", flush=True)
            if number % 100 == 0:
                alive()
    for name, count in counts.items():
        kinds = ", ".join(f"{kind.value}: {number:,}" for kind, number in count.most_common())
        print(f"{name}, seed {seed}: {cases:,} cases in {time.monotonic() - began:.0f} s: {kinds}")
    return int(any(count[kind] for count in counts.values() for kind in BAD))


def _kind(reader: Uvicorn, data: bytes, wire: list[Read]) -> Kind:
    try:
        with bounded(HANG):
            return compared(wire, [alike(one) for one in reader.read(data)])
    except Hang:
        return Kind.ENDLESS


def parted(target: bytes) -> tuple[bytes, bytes]:
    """Return the path and the query of a target."""
    path, _, query = target.partition(b"?")
    return path, query


if __name__ == "__main__":
    given = argparse.ArgumentParser(prog="python -m tests.fuzz.uvicorn_reads", description=__doc__.split("\n")[0])
    given.add_argument("cases", type=int, nargs="?", default=20_000)
    given.add_argument("seed", type=int, nargs="?", default=1)
    logging.disable(logging.ERROR)  # uvicorn tells of every request that it refuses
    sys.exit(main(**vars(given.parse_args())))
