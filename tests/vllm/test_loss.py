"""One of the two servers dies under load, and comes back. It happens once in each way; each test looks at one side.

Two ways to die: SIGKILL to the whole process group; and SIGKILL to the engine alone, after which the API server ends
every answer with an error, streams with an error event and `[DONE]`, and soon exits.

The load: long streams that all run when the server dies, half of them on it, which the other one then finishes; and
workers that go on asking, one short request after the other, whole and streamed in turn. No client tries again by
itself.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import openai
import pytest
from vllm_cluster import MODEL, Cluster, VllmServer, eventually

pytestmark = pytest.mark.through_router

LONG_STREAMS = 4  # one server takes 8 requests at a time: all of these, when it has to finish them, and some more
WORKERS = 8
AFTER = 4.0  # seconds that the workers go on after the kill
PATIENCE = 10.0  # seconds: no short request takes longer, whatever happens to the servers
ASK = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "extra_body": {"ignore_eos": True}}


@dataclass
class Record:
    """What one client saw of one request."""

    sent: float
    is_long: bool
    is_stream: bool
    reads_raw: bool = False  # reads the lines of the body itself; else the SDK does
    backend: str = ""
    has_text: bool = False  # the answer has begun
    is_whole: bool = False
    lines: list[str] = field(default_factory=list)
    error: Exception | None = None
    ended: float = 0.0


@dataclass
class Loss:
    """All that was seen."""

    killed: VllmServer
    die: Callable[[], None]
    kill_began: float = 0.0
    kill_done: float = 0.0
    records: list[Record] = field(default_factory=list, repr=False)

    def was_hit(self, record: Record) -> bool:
        """Whether the answer had begun, on the killed server, when that died."""
        hit = record.backend == self.killed.url.removeprefix("http://")
        return hit and record.has_text and record.sent < self.kill_done and record.ended > self.kill_began


async def read_raw(client: openai.AsyncOpenAI, record: Record) -> None:
    """Read a stream line by line, as it comes over the wire."""
    create = client.chat.completions.with_streaming_response.create
    async with create(**ASK, max_tokens=3000, stream=True) as response:
        record.backend = response.headers["x-router-backend"]
        async for line in response.iter_lines():
            record.lines.append(line)
            record.has_text |= '"content":"' in line and '"content":""' not in line
    record.is_whole = "data: [DONE]" in record.lines


async def read_stream(client: openai.AsyncOpenAI, record: Record, tokens: int) -> None:
    """Read a stream through the SDK."""
    raw = await client.chat.completions.with_raw_response.create(**ASK, max_tokens=tokens, stream=True)
    record.backend = raw.headers["x-router-backend"]
    async for chunk in raw.parse():
        record.has_text |= bool(chunk.choices[0].delta.content)
        record.is_whole |= chunk.choices[0].finish_reason == "length"


async def read_whole(client: openai.AsyncOpenAI, record: Record, tokens: int) -> None:
    """Read an answer that is not streamed."""
    raw = await client.chat.completions.with_raw_response.create(**ASK, max_tokens=tokens)
    record.backend = raw.headers["x-router-backend"]
    record.is_whole = raw.parse().usage.completion_tokens == tokens


async def watch(client: openai.AsyncOpenAI, record: Record) -> None:
    """Run one request to its end; what goes wrong is recorded."""
    try:
        if record.reads_raw:
            await read_raw(client, record)
        elif record.is_stream:
            await read_stream(client, record, 3000 if record.is_long else 30)
        else:
            await read_whole(client, record, 30)
    except openai.OpenAIError as error:
        record.error = error
    record.ended = time.monotonic()


async def run_load(cluster: Cluster, loss: Loss) -> None:
    """Bring the load up, kill the server, and go on for a while."""
    stopping = asyncio.Event()

    async def work(client: openai.AsyncOpenAI, number: int) -> None:
        while not stopping.is_set():
            record = Record(sent=time.monotonic(), is_long=False, is_stream=number % 2 == 0)
            loss.records.append(record)
            number += 1
            await watch(client, record)

    limits = {"base_url": cluster.url + "/v1", "api_key": "none", "max_retries": 0, "timeout": 60}
    async with openai.AsyncOpenAI(**limits) as client, asyncio.TaskGroup() as group:
        long = [Record(time.monotonic(), True, True, reads_raw=i % 4 < 2) for i in range(LONG_STREAMS)]
        loss.records += long
        for record in long:
            group.create_task(watch(client, record))
            await asyncio.sleep(0.05)
        for number in range(WORKERS):
            group.create_task(work(client, number))
        while not all(record.has_text for record in long):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        loss.kill_began = time.monotonic()
        await asyncio.to_thread(loss.die)
        loss.kill_done = time.monotonic()
        await asyncio.sleep(AFTER)
        stopping.set()


@pytest.fixture(scope="module", params=["server", "engine"])
def loss(request: pytest.FixtureRequest, started: Cluster) -> Loss:
    """Kill the first server, or the engine of the second one, under load."""
    started.up()
    first, second = started.servers
    loss = Loss(first, first.kill) if request.param == "server" else Loss(second, second.kill_engine)
    asyncio.run(run_load(started, loss))
    return loss


def test_the_load_was_what_it_should_be(loss: Loss) -> None:
    """Long streams were hit, half of them of each reader; and both kinds of short requests were sent after the kill."""
    hit = [record for record in loss.records if record.is_long and loss.was_hit(record)]
    later = [record for record in loss.records if record.sent > loss.kill_done]

    assert len(hit) == LONG_STREAMS / 2
    assert sum(record.reads_raw for record in hit) == LONG_STREAMS / 4
    assert {record.is_stream for record in later} == {True, False}
    assert len(later) >= 2 * WORKERS


def test_requests_that_had_not_begun_all_succeed(loss: Loss) -> None:
    """Those in flight on the killed server, those that were refused by it, and all that came later."""
    failed = [record for record in loss.records if not record.is_whole and not loss.was_hit(record)]

    assert [f"{record.error!r} {record.sent - loss.kill_done:+.3f} s from the kill" for record in failed] == []


def test_no_short_request_is_held_up(loss: Loss) -> None:
    """The dead server is out at once: nobody waits for a timer."""
    assert max(record.ended - record.sent for record in loss.records if not record.is_long) < PATIENCE


def test_a_broken_stream_is_finished_by_the_other_server(loss: Loss) -> None:
    """To its own end, and with a comment where it was taken up."""
    broken = [record for record in loss.records if record.is_long and record.reads_raw and loss.was_hit(record)]

    for record in broken:
        assert record.error is None, "the body had no regular end"
        assert record.lines.count(": resumed on another backend") == 1
        assert not [line for line in record.lines if line.startswith('data: {"error":')]
        assert [line for line in record.lines if line][-1] == "data: [DONE]"


def test_the_sdk_reads_a_stream_that_broke_to_its_end(loss: Loss) -> None:
    """The program that reads it does not notice."""
    hit = [record for record in loss.records if record.is_stream and not record.reads_raw and loss.was_hit(record)]

    assert sum(record.is_long for record in hit) == LONG_STREAMS / 4
    assert [record.error for record in hit if not record.is_whole] == []


def test_streams_on_the_other_server_are_untouched(loss: Loss) -> None:
    """They run to their end."""
    others = [record for record in loss.records if record.is_long and not loss.was_hit(record)]

    assert len(others) == LONG_STREAMS / 2
    assert all(record.is_whole for record in others)


def test_the_killed_server_comes_back_and_gets_its_share(loss: Loss, started: Cluster) -> None:
    """Started again on its port, it is found by the checks and gets every second request."""
    eventually(lambda: not loss.killed.is_running, within=10, what="it has exited")
    loss.killed.kill()  # what may be left of its group
    loss.killed.start()
    loss.killed.wait_ready()
    name = loss.killed.url.removeprefix("http://")
    eventually(lambda: started.serves() == name, within=15, what="the killed server gets traffic again")

    served = [started.serves() for _ in range(20)]
    assert served.count(name) == 10
