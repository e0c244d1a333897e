"""A whole router in memory: the App with its own configuration, a client and a backend that are the test, no sockets.

One App serves one case after the other; clients and backends get new connections each time.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from router.app import App
from router.config import Config
from router.wire.server_connection import ServerConnection
from router.wire.service import Service
from tests.fuzz.reference import read_requests
from tests.wire.memory import Line, Loop

CONFIG = {
    "backends": [
        {"url": "http://127.0.0.1:8001", "dialect": "openai", "models": ["simulated-model", "tiny-mistral", "m"]}
    ],
    "health": {"enabled": False},
    "docs": {"enabled": False},  # they are read by a thread, for which nobody here waits
    "breaker": {"enabled": False},
    "retry": {"max_attempts": 1},
    "resume": {"mode": "off"},
    "logging": {"file": "/dev/null"},
}
TURNS = 50  # of looking whether somebody has more to say


@dataclass(slots=True)
class Outcome:
    """What went out of the router on both sides."""

    to_client: bytes = b""
    is_closed: bool = False  # by the router
    to_backend: list[bytes] = field(default_factory=list)  # by connection


class InMemory:
    """See the module's docstring; to be used in `with`."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.app = App(Config.model_validate(CONFIG))

    def __enter__(self) -> "InMemory":
        self.loop.__enter__()
        self.loop.run_until_complete(self.app.start())
        done = self.loop.create_future()
        done.set_result(None)
        self._service = Service(self.app.delegate, self.app.limits, self.app.render_error, self.loop, done)
        self.loop.peers = lambda protocol: Line(self.loop, protocol)  # what is asked at the start is not answered
        self.loop.settle()
        return self

    def __exit__(self, *error: Any) -> None:
        self.loop.run_until_complete(self.app.stop())
        self.loop.__exit__(*error)

    def exchange(self, data: list[bytes], backend: Callable[[Line, int], bool]) -> Outcome:
        """Send bytes as a client; `backend` answers the next request on a connection, or returns False: not now.

        Then both sides leave, and nothing may be left.
        """
        loop = self.loop
        lines: list[Line] = []
        loop.peers = lambda protocol: lines.append(Line(loop, protocol)) or lines[-1]
        connection = ServerConnection(self._service)
        client = Line(loop, connection)
        connection.connection_made(client)
        answered: dict[int, int] = {}
        for piece in data:
            loop.call_soon(client.send, piece)
            self._converse(lines, answered, backend)
        outcome = Outcome(bytes(client.got), client.has_eof or client.is_closing())
        loop.call_soon(client.end)
        for line in lines:
            loop.call_soon(line.end)
        loop.settle()
        client.release()
        outcome.to_backend = [bytes(line.got) for line in lines]
        assert not client.late, "written to a client that was left"
        assert client.is_lost
        assert not self._service.connections
        assert not loop.faults, loop.faults
        relay = self.app.relay
        assert relay.live == 0
        assert self.app.in_flight == 0
        return outcome

    def _converse(self, lines: list[Line], answered: dict[int, int], backend: Callable[[Line, int], bool]) -> None:
        """Let the router run, and the backend answer whole requests, until nobody has more to say."""
        for _ in range(TURNS):
            self.loop.settle()
            is_quiet = True
            for number, line in enumerate(list(lines)):
                told = answered.get(number, 0)
                if len(read_requests(bytes(line.got)).messages) > told and backend(line, told):
                    answered[number] = told + 1
                    is_quiet = False
            if is_quiet:
                return
        raise AssertionError("they never come to an end")
