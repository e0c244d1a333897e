"""The benchmark's own arithmetic and parsers: a wrong figure must not come from the ruler."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # bench/ is no part of the distribution

from bench import __main__ as bench_main
from bench import figures, fronts, growth, idle, load, peers, processes, streams, translation
from bench.bodies import chat_body, dirty
from bench.figures import Sample
from bench.streams import StreamReader
from router.translate.mistral.request import translate


def sample(front: str, phase: str, number: int = 0, **changes: float) -> Sample:
    """Return a sample of one second with 1000 requests at 100 us, changed where asked for."""
    values = {"count": 1000, "elapsed": 1.0, "errors": 0, "p50": 1.0, "p99": 2.0, "cpu": 0.1, "others": 0.0, **changes}
    return Sample(front=front, phase=phase, round=number, **values)


def test_percentile_is_the_nearest_rank() -> None:
    """No value is invented between two that were measured."""
    ordered = [float(number) for number in range(1, 101)]

    assert [figures.percentile(ordered, percent) for percent in (50, 99, 100)] == [50, 99, 100]
    assert figures.percentile([7.0], 1) == 7.0
    assert figures.percentile([], 99) == 0.0


def test_what_a_process_tells_of_its_parent_and_its_ended_children_is_read() -> None:
    """The name in brackets may hold blanks and brackets of its own."""
    line = "42 (a ) (b) S 7 42 42 0 -1 4194560 100 0 0 0 11 22 3 4 20 0 1 0 12345 1000 200"

    assert processes.parse_stat(line) == (7, 7)


def test_cpu_of_a_process_counts_all_its_threads_and_its_ended_children() -> None:
    """A thread that has ended is in no folder of /proc any more."""
    code = (
        "import subprocess, sys, threading, time\n"
        "def spin(seconds):\n"
        "    until = time.thread_time() + seconds\n"
        "    while time.thread_time() < until: pass\n"
        "one = threading.Thread(target=spin, args=(0.1,))\n"
        "one.start(); one.join(); spin(0.1)\n"
        "subprocess.run([sys.executable, '-c', 'import time\\nwhile time.process_time() < 0.2: pass'])\n"
        "print(time.process_time(), flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as one:
        assert one.stdout is not None
        own = float(one.stdout.readline())
        counted = processes.tree_cpu(one.pid)
        assert 0.2 <= own <= processes.own_cpu(one.pid) <= own + 0.1
        assert own + 0.19 <= counted, "and the child's, in ticks"
        one.communicate()

    assert processes.own_cpu(one.pid) == 0.0


def test_a_tree_holds_grandchildren_and_no_strangers() -> None:
    """Workers of workers cost the front too."""
    assert processes.descendants(10, {10: 1, 11: 10, 12: 11, 13: 1, 14: 13}) == {10, 11, 12}


def test_memory_is_read_in_bytes() -> None:
    """The kernel writes kB."""
    text = "00400000-7fff [rollup]\nRss:     2048 kB\nPss:     1024 kB\nPss_Anon: 1 kB\n"

    assert processes.parse_memory(text) == {"rss": 2 << 20, "pss": 1 << 20}


def test_busy_time_leaves_out_idle_and_waiting() -> None:
    """Fields 4 and 5 of the first line are idle and iowait."""
    assert processes.parse_busy("cpu  1 2 3 1000 500 4 5 6 0 0\ncpu0 ...") == 21 / processes.TICKS


@pytest.mark.parametrize(
    ("available", "front", "backend", "load_at"),
    [([0, 1], {0}, {1}, {1}), ([2, 3, 5], {2}, {3}, {5}), ([4], None, None, None)],
)
def test_the_front_has_a_core_of_its_own(
    available: list[int], front: set[int] | None, backend: set[int] | None, load_at: set[int] | None
) -> None:
    """One core is not divided."""
    assert processes.core_plan(available) == {"front": front, "backend": backend, "load": load_at}


def test_the_figures_of_a_load_are_its_last_json_line() -> None:
    """wrk writes its own report before the script's line."""
    text = 'Running 4s test @ http://x/\n  {not json}\nRESULT {"count": 10, "p50": 1.5}\n'

    assert load.parse_load(text) == {"count": 10.0, "p50": 1.5}
    with pytest.raises(ValueError, match="no figures"):
        load.parse_load("unable to connect")


def test_a_ratio_is_taken_within_each_round() -> None:
    """A round in which the whole machine was slow does not change it."""
    samples = [
        *(sample("router", "small", number, cpu=cpu) for number, cpu in enumerate((0.1, 0.4, 0.1))),
        *(sample("vllm-router", "small", number, cpu=cpu) for number, cpu in enumerate((0.05, 0.2, 0.05))),
    ]

    (verdict,) = figures.judge(samples)

    assert (verdict.value, verdict.low, verdict.high, verdict.passed) == (2.0, 2.0, 2.0, False)


def test_a_bar_on_a_difference_is_in_milliseconds() -> None:
    """The tail between events may be 1 ms longer than the peer's, not more."""
    peer = sample("vllm-router", "streams", p99=11.0)
    kept, missed = (sample("router", "streams", p99=p99) for p99 in (11.9, 12.1))

    assert [verdict.passed for verdict in figures.judge([peer, kept]) if verdict.bar.figure == "p99"] == [True]
    assert [verdict.passed for verdict in figures.judge([peer, missed]) if verdict.bar.figure == "p99"] == [False]


def test_a_sample_with_errors_is_left_out_and_named() -> None:
    """Failing fast is no speed."""
    samples = [sample("vllm-router", "small"), sample("router", "small", errors=3)]

    assert figures.judge(samples) == []
    assert figures.faults(samples) == ["router, small, round 0: 3 errors (sample left out)"]


def test_the_table_shows_medians_and_what_a_front_adds() -> None:
    """An added time is the front's less that of the load straight to the backend."""
    samples = [
        *(sample("direct", "paced", number, p50=0.2, cpu=None) for number in range(3)),
        *(sample("router", "paced", number, p50=p50) for number, p50 in enumerate((0.5, 0.7, 9.0))),
    ]

    lines = figures.lines_of(samples, {"router": {"rss": 3 << 20, "pss": 1 << 20}}, [], ["direct", "router"])

    assert lines[1] == ["2 KB: p50 added, ms", "(0.20)", "0.50"]
    assert lines[-2] == ["after all loads: RSS, MiB", "-", "3.0"]


def test_the_table_is_the_same_for_a_terminal_and_for_a_page() -> None:
    """A page is pasted from what was printed, not written anew."""
    lines = [["", "router"], ["2 KB: CPU per request, us", "65.0"]]

    assert figures.table(lines).split() == ["router", "2", "KB:", "CPU", "per", "request,", "us", "65.0"]
    assert figures.markdown(lines) == "|  | router |\n| --- | ---: |\n| 2 KB: CPU per request, us | 65.0 |"


def test_a_bar_of_the_mistral_profile_is_judged_by_the_router_that_translates() -> None:
    """The peer forwards the same bytes; the router as shipped is no part of it."""
    samples = [
        sample("vllm-router", "repairs", cpu=0.5),
        sample("router", "repairs", cpu=0.1),
        sample("mistral", "repairs", cpu=0.6),
    ]

    (verdict,) = figures.judge(samples)

    assert (verdict.bar.front, verdict.value, verdict.passed) == ("mistral", 1.2, False)


def test_memory_of_a_stream_is_what_all_of_them_added() -> None:
    """Divided by those that were open, and a stream that was lost is a bar that was missed."""
    held = figures.Held("router", idle=50 << 20, loaded=(50 << 20) + 900 * 20_480, asked=901, open=900, elapsed=1.0)

    each, rss, missing = figures.judge([], [held])

    assert (each.value, each.passed, rss.value, rss.passed) == (20_480.0, True, 50 << 20, True)
    assert (missing.value, missing.passed) == (1.0, False)


@pytest.mark.parametrize(("limit", "streams"), [(20_000, 9_000), (1 << 20, 9_000), (1024, 460)])
def test_idle_streams_are_as_many_as_the_limit_of_descriptors_allows(limit: int, streams: int) -> None:
    """A front needs two for each."""
    assert idle.possible(limit) == streams


def test_the_report_is_json_with_cost_and_rate() -> None:
    """What the table shows can be worked out again from it."""
    found = json.loads(figures.report([sample("router", "small")], {}, about={"rounds": 1}))

    assert (found["samples"][0]["cost"], found["samples"][0]["rate"], found["bars"]) == (100.0, 1000.0, [])


@pytest.mark.parametrize("size", [300, 2 * 1024, 128 * 1024])
def test_a_body_has_the_size_it_is_named_for(size: int) -> None:
    """And it is JSON, with the model that the backend serves."""
    body = chat_body(size, model="m", stream=True, max_tokens=64)

    assert len(body) == size
    assert json.loads(body)["model"] == "m"


def test_a_body_that_cannot_be_so_small_is_refused() -> None:
    """Rather than measured under a wrong name."""
    with pytest.raises(ValueError, match="no chat body"):
        chat_body(50, model="m", stream=False, max_tokens=64)


STREAM = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'd\r\ndata: {"a"}\n\n\r\nd\r\ndata: {"b"}\n\n\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n'
)


def test_a_stream_has_the_same_events_at_every_split() -> None:
    """Where the network cuts the bytes is no event."""
    for cut in range(len(STREAM) + 1):
        reader = StreamReader()
        ended = [reader.feed(part, float(at)) for at, part in enumerate((STREAM[:cut], STREAM[cut:])) if part]

        assert (reader.events, reader.ok, ended[-1], len(reader.gaps)) == (3, True, True, 2), cut
        assert sum(ended) == 1


def test_a_gap_is_the_time_between_the_reads_that_ended_events() -> None:
    """Events that come together have none between them."""
    reader = StreamReader()
    first, second = STREAM.index(b'data: {"b"}'), STREAM.index(b"data: [DONE]")

    reader.feed(STREAM[:first], 1.0)
    reader.feed(STREAM[first : first + 3], 2.0)
    reader.feed(STREAM[first + 3 : second], 4.0)
    reader.feed(STREAM[second:], 4.5)

    assert reader.gaps == [3.0, 0.5]


def test_a_stream_that_is_no_200_is_not_taken_for_one() -> None:
    """An error that ends quickly would make good figures."""
    reader = StreamReader()

    reader.feed(STREAM.replace(b"200 OK", b"503 No"), 0.0)

    assert not reader.ok


def test_fronts_see_nothing_of_our_environment_that_configures_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The router takes many generic names for configuration; the benchmark measures its defaults."""
    for name in ("HOST", "PORT", "LOG_LEVEL", "OPENAI_BASE_URL", "VLLM_BASE", "LLM_API_KEY"):
        monkeypatch.setenv(name, "9")

    kept = {"PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "PYTHONPATH", "NO_PROXY", "no_proxy"}
    assert fronts.environment().keys() <= kept


@pytest.mark.parametrize(
    ("limit", "streams", "workers"), [(20_000, 10_000, 2), (1 << 20, 10_000, 1), (-1, 10_000, 1), (1024, 924, 3)]
)
def test_streams_are_spread_over_workers_where_one_has_too_few_descriptors(
    limit: int, streams: int, workers: int
) -> None:
    assert growth.holders(10_000, limit) == (streams, workers)
    assert growth.holders(100, limit) == (100, 1)


@pytest.mark.parametrize("serve", growth.BESIDE.values())
def test_a_peer_is_given_all_backends(serve: Any, tmp_path: Path) -> None:
    command = serve("peer", 1000, 2001, tmp_path, others=[2002, 2003]).command

    config = Path(command[[*command].index("-c" if "-c" in command else "-f") + 1]).read_text()
    assert [config.count(f" 127.0.0.1:{port}") for port in (1000, 2001, 2002, 2003)] == [1, 1, 1, 1]


def test_an_exponent_is_the_slope_between_two_points() -> None:
    """1 is linear, 2 square, 0 no growth."""
    found = [growth.exponent(10, 5, 100, cost) for cost in (5, 50, 500)]

    assert found == pytest.approx([0, 1, 2])


@pytest.mark.parametrize(("power", "steep"), [(0.0, False), (1.0, False), (1.5, True)])
def test_a_cost_is_steep_where_it_grows_faster_than_its_size(power: float, steep: bool) -> None:
    """Judged where the size, not what every request costs, decides."""
    sizes = [1, 10, 100, 1000]
    grown = growth.Grown("", ["size", "cost"], [[size, size**power] for size in sizes])

    assert grown.is_steep is steep
    assert grown.exponents == pytest.approx([power] * 3)


def test_what_is_measured_as_choosing_a_backend_chooses_among_all() -> None:
    """Else it would be one backend's cost under the name of many."""
    act = growth.choosing(7)
    for _ in range(70):
        act()

    registry = next(cell.cell_contents for cell in act.__closure__ if isinstance(cell.cell_contents, growth.Registry))
    assert [backend.in_flight for backend in registry.backends] == [0] * 7
    assert len({registry.pick("m", now=100.0) for _ in range(7)}) == 7


def test_peers_are_all_or_those_that_are_named() -> None:
    """A name that nobody knows is told, not passed over."""
    assert peers.chosen("all") == list(peers.PEERS)
    assert peers.chosen("haproxy,nginx") == ["haproxy", "nginx"]
    with pytest.raises(ValueError, match="no peer 'envoy'"):
        peers.chosen("envoy")


def test_a_peer_that_needs_headers_gets_them_from_every_load(tmp_path: Path) -> None:
    """And nobody else does: more headers are more work."""
    target = load.Target("portkey", 1, None, ("a: b",), is_slow=True)
    plan = load.Plan("wrk", 1, 300, None, None)
    wrk, sse = (load.Phase("x", kind, tmp_path, 1) for kind in ("wrk", "streams"))

    assert load.command(wrk, target, plan)[-1] == "a: b"
    assert "--header=a: b" in load.command(sse, target, plan)
    assert b"\r\na: b\r\n\r\n{}" in streams.request_bytes(1, b"{}", target.headers)
    assert load.command(sse, target, plan)[-1] == str(load.STREAMS_AT_ONCE)


def test_no_port_is_given_twice_or_by_two_processes_or_taken_by_outgoing_connections(root: Path) -> None:
    command = [sys.executable, "-c", "from bench.processes import free_ports; print(*free_ports(1100))"]

    mine = processes.free_ports(1100)
    theirs = [int(port) for port in subprocess.check_output(command, cwd=root).split()]

    assert len({*mine, *theirs}) == 2200
    assert max(mine + theirs) < int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


def test_a_port_on_which_somebody_listens_is_passed_over() -> None:
    (port,) = processes.free_ports(1)
    with socket.create_server(("127.0.0.1", port)):
        assert port not in processes.free_ports(len(processes.claims) * processes.PORTS - 1)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the path of the benchmark's backend."""
    program = fronts.build_backend(tmp_path_factory.mktemp("backend"))
    if program is None:
        assert not os.environ.get("ROUTER_CI"), "no C compiler"
        pytest.skip("no C compiler: the benchmark takes the simulator for its backend")
    return program


def test_the_compiled_backend_streams_on_each_of_its_ports(compiled: str, tmp_path: Path) -> None:
    """Role, tokens, finish and end mark, on kept connections; what it served it counts."""
    ports = [processes.free_port(), processes.free_port()]
    body = chat_body(2048, model="m", stream=True, max_tokens=5)
    server = fronts.backend(compiled, ports, model="m", interval_ms=1, tokens=5)
    with processes.running(server.command, cores=None, log=tmp_path / "log", env={}, cwd=tmp_path):
        for port in ports:
            fronts.wait_ready(port, body)
            found = asyncio.run(streams.run(port, body, concurrency=2, total=6, timeout=10))
            assert (found["streams"], found["errors"], found["count"]) == (6, 0, 6 * (1 + 5 + 1 + 1))
        with urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/stats", timeout=5) as answer:
            assert json.load(answer) == {"served": 14, "sent": 70, "aborted": 0}


def test_the_compiled_backend_writes_what_the_simulator_writes(compiled: str, tmp_path: Path) -> None:
    """A translator looks at the order of keys too: what it is measured with must be what it meets."""
    shapes = []
    for program in (compiled, None):
        server = fronts.backend(program, [processes.free_port()], model="m", interval_ms=0, tokens=2)
        log, env = tmp_path / "log", fronts.environment()
        with processes.running(server.command, cores=None, log=log, env=env, cwd=tmp_path):
            fronts.wait_ready(server.port, chat_body(300, model="m", stream=False, max_tokens=2))
            url = f"http://127.0.0.1:{server.port}/v1/chat/completions"
            body = chat_body(300, model="m", stream=True, max_tokens=3)
            asked = urllib.request.Request(url, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(asked, timeout=5) as answer:
                events = [json.loads(line[6:]) for line in answer if line.startswith(b"data: {")]
        # A token may come alone or with what ends the answer: the kinds of events are compared, not their number.
        shapes.append({(*list(event)[:5], *event["choices"][0], *event["choices"][0]["delta"]) for event in events})

    assert len(shapes[0]) == 3
    assert shapes[0] == shapes[1]


def test_what_is_measured_as_needing_no_repair_needs_none() -> None:
    """Else the figure would be that of another case."""
    clean = translation.body(translation.history(translation.LARGE - 4000), offered=8)

    for profile in translation.PROFILES.values():
        assert translate(clean, profile).body is clean


@pytest.mark.parametrize("size", [2 * 1024, 128 * 1024])
def test_a_body_needs_repairs_only_where_it_is_said_so(size: int) -> None:
    """What a front does for the Mistral profile would else be measured as plain forwarding."""
    clean = chat_body(size, model="m", stream=False, max_tokens=1)

    for profile in translation.PROFILES.values():
        assert translate(clean, profile).body is clean


@pytest.mark.parametrize("label", translation.PROFILES)
def test_a_body_that_needs_repairs_needs_five(label: str) -> None:
    """Each in a message of its own, each another rule or place."""
    spoilt = chat_body(128 * 1024, model="m", stream=False, max_tokens=1, repairs=True)

    done = translate(spoilt, translation.PROFILES[label], explain=True)

    assert len(spoilt) == 128 * 1024
    assert done.notes.steps is not None
    assert len({step.where.split(".")[1] for step in done.notes.steps}) == len(done.notes.steps) == 5


def test_what_is_measured_as_needing_repairs_gets_them() -> None:
    """Five messages and no more: the bar is for a few."""
    raw = translation.body(dirty([*translation.history(translation.LARGE - 4000), translation.more()]), offered=8)

    done = translate(raw, translation.PROFILES["v13"], explain=True)

    assert done.notes.steps is not None
    touched = {step.where.split(".")[1] for step in done.notes.steps if step.where.startswith("messages.")}
    assert len(touched) == 5
    assert 120 * 1024 < len(raw) < 140 * 1024


def test_events_that_are_measured_differ_in_what_only_vllm_knows() -> None:
    """One is passed as it is, the other loses just that."""
    plain, extra = (translation.event("x", extra=more) for more in ("", ',"token_ids":null'))

    assert extra.replace(b',"token_ids":null', b"") == plain


@pytest.mark.parametrize("text", ["0", "-1", "1001", "ten", "²"])
def test_streams_are_never_longer_than_their_load_waits(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_main.arguments(["--tokens", "1000"]).tokens == 1000
    with pytest.raises(SystemExit):
        bench_main.arguments(["--tokens", text])
    assert "from 1 to 1000" in capsys.readouterr().err
