"""Real vLLM that is ended, killed, stopped, hangs or shuts down under streams: every client gets its whole answer.

The servers that die here are started for it, all at once, while the first tests run; those that take over are the two
that all tests share. Before each of them stands a router of its own: one that goes on by the ids of tokens, where
the answers have to be those of an unbroken greedy run, one by text, where they have to be whole. Beside the streams
somebody goes on asking short questions, none of which may fail.

How long a stream stood still, and what the routers saw of the dying server, is printed (`-s`).
"""

import contextlib
import http.server
import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from test_resume import story
from vllm_cluster import Answer, Cluster, Router, Settings, VllmServer, eventually, fetch, free_ports, running_router
from vllm_streams import CHAT, Asking, Stream, chat

pytestmark = pytest.mark.through_router

STREAMS = 4  # through each router, half of them at the server that dies; all of them can run on one server
TOKENS = 2500  # seconds of generation, which comes in bursts where cores are few: 1000 can be one burst
LONGEST = 3500  # tokens that are left of the model's 4096, a short question taken off
TRIES = 5  # to have all streams under way at once
WHOLE_WITHIN = 60.0  # seconds, until each stream has come to its end: the generation of the rest included
# Probes that find a stopped server soon: for tests only, a busy vLLM answers later than that.
STRICT: dict[str, object] = {"slow_start": 0, "interval": 0.5, "timeout": 1, "fall": 2}
DEFAULT: dict[str, object] = {"slow_start": 0}


@dataclass
class Fleet:
    """Servers that run on, those that are there to die, and what each stream's answer is."""

    survivors: list[VllmServer]
    victims: dict[str, VllmServer]
    folder: Path
    answers: dict[int, tuple[str, object, object]] = field(default_factory=dict)

    def whole(self, number: int) -> tuple[str, object, object]:
        """Return text, finish_reason and usage of a stream that nothing breaks."""
        if number not in self.answers:
            asked = {one: Stream(self.survivors[one % 2].url, chat(one, tokens=TOKENS)) for one in range(STREAMS)}
            for one, stream in asked.items():
                stream.join(WHOLE_WITHIN)
                self.answers[one] = story(stream.body)
        return self.answers[number]

    @contextlib.contextmanager
    def routers(self, *backends: list[VllmServer], health: dict[str, object]) -> Iterator[dict[str, Router]]:
        """Start a router that goes on by ids, before the first of these, and one that does by text, before the last."""
        with contextlib.ExitStack() as stack:
            started = {}
            for mode, behind in (("exact", backends[0]), ("text", backends[-1])):
                settings = Settings(more={"resume": {"mode": mode}, "health": health})
                router = stack.enter_context(running_router(behind, folder=self.folder, settings=settings))
                eventually(lambda one=router: one.metric("router_backend_usable") == 2, within=20, what="both are up")
                started[mode] = router
            yield started


@pytest.fixture(scope="module")
def fleet(started: Cluster) -> Iterator[Fleet]:
    """Start all victims. A server that starts takes the cores for a minute, so that of streams asked for at once some
    are over before others have begun: all are ready before the first test."""
    started.up()
    options = {"ended": (), "without engine": (), "killed": (), "patient": ("--shutdown-timeout", "40")}
    folder = Path(os.environ["ROUTER_VLLM_FOLDER"])
    where = {
        "venv": Path(os.environ["ROUTER_VLLM"]),
        "model": Path(os.environ["ROUTER_VLLM_MODELS"]) / "v13",
        "folder": folder,
    }
    ports = free_ports(len(options))
    victims = {
        name: VllmServer(**where, port=port, options=more)
        for port, (name, more) in zip(ports, options.items(), strict=True)
    }
    try:
        for victim in victims.values():
            victim.start()
        for victim in victims.values():
            victim.wait_ready()
        yield Fleet(started.servers, victims, folder)
    finally:
        for victim in victims.values():
            victim.kill()


@dataclass
class Seen:
    """What was seen of one failure."""

    routers: dict[str, Router]
    streams: dict[str, list[Stream]]  # by the mode of their router
    failed_at: float
    failing: str  # the server, by its name

    def begun_there(self, mode: str) -> list[Stream]:
        """Return those whose server failed."""
        return [stream for stream in self.streams[mode] if stream.backend == self.failing]

    def outcomes(self) -> dict[str, int]:
        """Return how the streams' attempts at the server ended."""
        rows = [
            re.search(rf'^router_attempts_total{{backend="{self.failing}".*outcome="(.*?)".* (\d+)', line)
            for router in self.routers.values()
            for line in fetch(router.url + "/metrics").body.decode().splitlines()
        ]
        found: dict[str, int] = {}
        for row in filter(None, rows):
            found[row[1]] = found.get(row[1], 0) + int(float(row[2]))
        return found


def run_streams(routers: dict[str, Router], failing: VllmServer) -> dict[str, list[Stream]]:
    """Return streams that are well under way, half of them at the server that is going to fail.

    Where cores are few a server can stand still for seconds while another one comes to the end of its answers; then
    all of them are whole, and all are asked for once more.
    """
    for _ in range(TRIES):
        streams = {
            mode: [Stream(router.url, chat(number, tokens=TOKENS)) for number in range(STREAMS)]
            for mode, router in routers.items()
        }
        every = [stream for of_one in streams.values() for stream in of_one]
        eventually(lambda of=every: all(one.has_text for one in of), within=WHOLE_WITHIN, what="all streams have begun")
        time.sleep(0.3)  # so that they are well under way
        for of_one in streams.values():
            assert 0 < sum(one.backend == failing.name for one in of_one) < STREAMS
        if all(one.is_alive() for one in every):
            return streams
        for stream in every:
            stream.join(WHOLE_WITHIN)
            assert (stream.error, stream.resumed, story(stream.body)[1]) == (None, 0, "length")
        print("\nsome streams were over before the last ones were well under way")
    raise AssertionError(f"{TRIES} times some streams were over before anything failed")


def see(routers: dict[str, Router], failing: VllmServer, fail: Callable[[], None]) -> Seen:
    """Let a server fail under streams and short questions; wait for all that is under way to end."""
    streams = run_streams(routers, failing)
    with Asking(routers["exact"].url) as asking, Asking(routers["text"].url) as also_asking:
        failed_at = time.monotonic()
        fail()
        for stream in [one for of_one in streams.values() for one in of_one]:
            stream.join(WHOLE_WITHIN)
            assert not stream.is_alive(), "a client still waits"
    seen = Seen(routers, streams, failed_at, failing.name)
    for mode in routers:
        hit = [one for one in seen.begun_there(mode) if one.resumed]
        moved = ", ".join(f"{one.resumed_after(failed_at):.2f}" for one in hit)
        stood = ", ".join(f"{one.silence_after(failed_at):.2f}" for one in hit)
        print(f"\n{mode}: streams moved after {moved} s; the longest pauses were {stood} s", end="")
    print(f"; its attempts: {seen.outcomes()}; others took {max(asking.longest, also_asking.longest):.2f} s at most")
    assert asking.faults + also_asking.faults == []
    assert len(asking.answers) > STREAMS
    return seen


def assert_nothing_is_lost(fleet: Fleet, seen: Seen, *, moved_within: float) -> None:
    """Each answer is whole, by ids the very one; no client saw how a server ended."""
    for mode, streams in seen.streams.items():
        for number, stream in enumerate(streams):
            assert stream.error is None
            assert b'"abort"' not in stream.body
            assert b'"error"' not in stream.body
            told = story(stream.body)
            assert told[1] == "length"
            assert stream.resumed <= 1
            if stream.backend != seen.failing:
                assert stream.resumed == 0
            if mode == "exact" or not stream.resumed:
                whole = fleet.whole(number)
                at = next(
                    (place for place, pair in enumerate(zip(told[0], whole[0], strict=False)) if len(set(pair)) > 1), -1
                )
                assert told[1:] == whole[1:]
                assert told[0] == whole[0], f"{mode} {number}, resumed {stream.resumed}: differs at character {at}"
        assert all(one.resumed == 1 for one in seen.begun_there(mode))
        assert max(one.silence_after(seen.failed_at) for one in streams) < moved_within


def test_a_hung_engine_behind_a_healthy_server_is_found(fleet: Fleet) -> None:
    """Though requests go on coming, whose heads its API server answers; its streams go on elsewhere; it returns."""
    hangs, other = fleet.survivors
    with fleet.routers([hangs, other], health=DEFAULT) as routers:
        try:
            seen = see(routers, hangs, lambda: hangs.send_to_engine(signal.SIGSTOP))
            assert fetch(hangs.url + "/health").status == 200
            for router in routers.values():
                assert f"backend {hangs.name}: health up -> down (hung)" in router.log.read_text()
        finally:
            hangs.send_to_engine(signal.SIGCONT)
        assert_nothing_is_lost(fleet, seen, moved_within=30 + 5)
        for router in routers.values():
            eventually(lambda one=router: is_up(one, hangs), within=30, what="it is used again")


def is_up(router: Router, server: VllmServer) -> bool:
    """Whether its health is good."""
    return router.metric("router_backend_up", f'"{server.name}"') == 1


def test_streams_of_a_stopped_server_go_on_elsewhere(fleet: Fleet) -> None:
    """Not a process of it runs, but its connections stay open. It is used again when it goes on."""
    other, stopped = fleet.survivors
    with fleet.routers([stopped, other], health=STRICT) as routers:
        try:
            seen = see(routers, stopped, lambda: stopped.send_to_group(signal.SIGSTOP))
            assert not any(is_up(router, stopped) for router in routers.values())
        finally:
            stopped.send_to_group(signal.SIGCONT)
        assert_nothing_is_lost(fleet, seen, moved_within=10)
        for router in routers.values():
            eventually(lambda one=router: is_up(one, stopped), within=20, what="it is used again")


@pytest.mark.parametrize(
    ("name", "fail"),
    [
        ("ended", lambda victim: victim.send(signal.SIGTERM)),
        ("without engine", VllmServer.kill_engine),
        ("killed", VllmServer.kill),
    ],
    ids=["sigterm", "engine-killed", "all-killed"],
)
def test_streams_of_a_server_that_dies_go_on_elsewhere(
    fleet: Fleet, name: str, fail: Callable[[VllmServer], None]
) -> None:
    """At SIGTERM vLLM aborts its answers, or says nothing more of them and keeps the connections open."""
    victim, (one, other) = fleet.victims[name], fleet.survivors
    with fleet.routers([victim, one], [victim, other], health=DEFAULT) as routers:
        seen = see(routers, victim, lambda: fail(victim))
        assert_nothing_is_lost(fleet, seen, moved_within=15)


def test_a_server_in_shutdown_finishes_its_stream_and_gets_nothing_new(fleet: Fleet) -> None:
    """With --shutdown-timeout it is healthy, and answers each new chat with a 500."""
    victim = fleet.victims["patient"]
    with fleet.routers([victim, fleet.survivors[0]], health=DEFAULT) as routers:
        router = routers["text"]
        streams = [Stream(router.url, chat(number, tokens=LONGEST)) for number in range(2)]
        eventually(lambda: all(one.has_text for one in streams), within=20, what="both have begun")
        (stream,) = [one for one in streams if one.backend == victim.name]
        with Asking(router.url) as asking:
            eventually(lambda: any(by(one) == victim.name for one in asking.answers), within=10, what="both are asked")
            victim.send(signal.SIGTERM)
            asked = len(asking.answers)
            took = eventually(lambda: has_open_breaker(router, victim), within=10, what="its breaker is open")
            assert stream.is_alive(), "it was over before anybody could notice"
            assert fetch(victim.url + "/health").status == 200
            for one in streams:
                one.join(WHOLE_WITHIN)

        assert asking.faults == []
        refused = router.metric("router_attempts_total", f'"{victim.name}"', 'outcome="stopping"')
        print(f"\nits breaker opened within {took:.2f} s, after {refused:.0f} refused chats")
        assert refused >= 1
        assert len(asking.answers) > asked + 2
        for one in streams:
            assert (one.error, one.resumed) == (None, 0)
            assert story(one.body)[1] == "length"


@pytest.mark.parametrize("stream", [True, False], ids=["streams", "whole-answers"])
def test_nothing_goes_on_for_clients_that_have_left(cluster: Cluster, stream: bool) -> None:
    """Whatever they had got by then: within a second vLLM's own gauge is 0."""
    ask = json.dumps(chat(1, tokens=LONGEST, stream=stream)).encode()
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: router\r\nContent-Type: application/json\r\nContent-Length: {len(ask)}\r\n\r\n"
    )
    address = cluster.url.removeprefix("http://").split(":")
    for patience in (0.0, 0.003, 0.01, 0.03, 0.1):  # seconds: before anything came, and after the first tokens
        with socket.create_connection((address[0], int(address[1]))) as client:
            client.sendall(head.encode() + ask)
            time.sleep(patience)
    with socket.create_connection((address[0], int(address[1]))) as client:
        client.sendall(head.encode() + ask)
        eventually(lambda: cluster.metric("num_requests_running") >= 1, within=5, what="the last one runs")
    took = eventually(cluster.is_idle, within=1, what="all have stopped")
    print(f"\nnothing runs {took:.2f} s after the last client has left")


class Sick:
    """Stands before a server, and answers completions with 500 for as long as it is ill; all else is the server's."""

    def __init__(self, server: VllmServer) -> None:
        """Begin to listen."""
        self.is_ill = True
        self.asked: dict[str, int] = {}  # by path, while it was ill
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.give(fetch(server.url + self.path))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if outer.is_ill and self.path.endswith("/completions"):
                    outer.asked[self.path] = outer.asked.get(self.path, 0) + 1
                    self.give(Answer(500, {}, b'{"error":{"message":"","type":"InternalServerError","code":500}}'))
                else:
                    self.give(fetch(server.url + self.path, body))

            def give(self, answer: Answer) -> None:
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.headers.get("content-type", "application/json"))
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.name = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.name}"

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()


def test_a_healthy_server_that_completes_nothing_gets_no_request(fleet: Fleet) -> None:
    """With health.warm_up; once it does complete, it gets its share."""
    with contextlib.closing(Sick(fleet.survivors[0])) as sick:
        settings = Settings(more={"health": {"slow_start": 0, "warm_up": True}})
        backends = [sick, fleet.survivors[1]]
        with (
            running_router(backends, folder=fleet.folder, settings=settings) as router,
            Asking(router.url) as asking,
        ):
            eventually(lambda: sick.asked.get("/v1/completions", 0) >= 2, within=20, what="it was warmed up twice")
            eventually(lambda: len(asking.answers) > STREAMS, within=20, what="the other one serves")
            assert sick.name not in {by(one) for one in asking.answers}
            sick.is_ill = False
            eventually(lambda: by(asking.answers[-1]) == sick.name, within=20, what="it is used")
        assert asking.faults == []
        assert CHAT not in sick.asked


def by(answer: Answer) -> str:
    """Return who gave an answer."""
    return answer.headers["x-router-backend"]


def has_open_breaker(router: Router, server: VllmServer) -> bool:
    """Whether nothing new is sent there."""
    return router.metric("router_breaker_state", f'"{server.name}"', 'state="open"') == 1
