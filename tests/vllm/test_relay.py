"""What lies between: spreading, identity of bytes, ids, and clients that leave. Told by vLLM's own metrics."""

import asyncio
import json
import re

import openai
import pytest
from vllm_cluster import MODEL, Cluster, Router, eventually, fetch
from vllm_streams import SAYS

CHAT = "/v1/chat/completions"
QUESTION = [{"role": "user", "content": "What is the weather in Paris?"}]
STREAM = {"model": MODEL, "messages": QUESTION, "stream": True, "temperature": 0, "seed": 7, "ignore_eos": True}
# Whose text flows: what vLLM makes of other tokens it may hold back to the end.
ENDLESS = {"model": MODEL, "messages": QUESTION, "max_tokens": 4000, "extra_body": {"ignore_eos": True, **SAYS}}


def without_date(body: bytes) -> bytes:
    """Return a stream without what the second it was made in changes."""
    return re.sub(rb'"created":\d+', b'"created":0', body)


def text_of(body: bytes) -> str:
    """Return the whole text of a chat's stream."""
    events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]
    return "".join(choice["delta"].get("content", "") for event in events for choice in event["choices"])


@pytest.mark.through_router
@pytest.mark.parametrize("tokens", [1, 40, 200])
def test_a_stream_is_vllms_byte_for_byte(cluster: Cluster, untranslated: Router, tokens: int) -> None:
    """Where nothing is translated, and asked with the same request id, so that the ids are the same too.

    The text is always the same. How many tokens vLLM puts into one event now and then differs from run to run, so
    some tries are needed until a routed stream and a direct one were cut alike.
    """
    ask = {**STREAM, "max_tokens": tokens, "stream_options": {"include_usage": True}}
    headers = {"X-Request-ID": "byte-for-byte"}
    direct, routed = set(), set()
    for attempt in range(30):
        answer = fetch(cluster.servers[attempt % 2].url + CHAT, ask, headers=headers)
        direct.add(without_date(answer.body))
        answer = fetch(untranslated.url + CHAT, ask, headers=headers)
        routed.add(without_date(answer.body))
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.body.endswith(b"data: [DONE]\n\n")
        if routed & direct:
            break

    assert routed & direct
    assert len({text_of(body) for body in routed | direct}) == 1


@pytest.mark.through_router
def test_a_whole_answer_is_vllms_byte_for_byte(cluster: Cluster, untranslated: Router) -> None:
    """As for streams; here nothing varies but the date."""
    ask = {**STREAM, "stream": False, "max_tokens": 30}
    headers = {"X-Request-ID": "byte-for-byte"}
    answers = [fetch(url + CHAT, ask, headers=headers) for url in (cluster.servers[0].url, untranslated.url)]

    assert [answer.status for answer in answers] == [200, 200]
    assert without_date(answers[0].body) == without_date(answers[1].body)


@pytest.mark.through_router
@pytest.mark.parametrize(
    ("path", "ask"),
    [
        ("/tokenize", {"model": MODEL, "messages": QUESTION}),
        ("/tokenize", {"model": MODEL, "prompt": "Hello router"}),
        ("/detokenize", {"model": MODEL, "tokens": [1, 3, 2000, 2001, 4]}),
        ("/v1/completions", {"model": MODEL, "prompt": [1, 2000, 2001], "max_tokens": 3, "temperature": 0}),
        ("/v1/messages", {"model": MODEL, "max_tokens": 8, "temperature": 0, "messages": QUESTION}),
    ],
    ids=["tokenize-chat", "tokenize-prompt", "detokenize", "token-ids", "messages"],
)
def test_other_paths_are_relayed(cluster: Cluster, path: str, ask: dict) -> None:
    """Same status, same fields, same values but ids and dates."""
    direct, routed = (fetch(url + path, ask) for url in (cluster.servers[0].url, cluster.url))
    varying = {"id", "created"}

    assert routed.status == direct.status == 200
    assert routed.json().keys() == direct.json().keys()
    assert all(routed.json()[key] == direct.json()[key] for key in direct.json().keys() - varying)


def test_the_clients_request_id_reaches_vllm(client: openai.OpenAI) -> None:
    """vLLM makes it the id of the answer."""
    answer = client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=1, extra_headers={"X-Request-ID": "from-the-client-1"}
    )

    assert answer.id == "chatcmpl-from-the-client-1"


@pytest.mark.through_router
def test_every_answer_tells_its_request_id(client: openai.OpenAI) -> None:
    """The client's own, or one made up; either way the one that vLLM knows, also for streams and errors."""
    ask = {"model": MODEL, "messages": QUESTION, "max_tokens": 1}
    create = client.chat.completions.with_raw_response.create
    own = create(**ask, extra_headers={"X-Request-ID": "from-the-client-2"})
    made = create(**ask)
    streamed = create(**ask, stream=True)

    assert own.headers["x-request-id"] == "from-the-client-2"
    assert made.parse().id == "chatcmpl-" + made.headers["x-request-id"]
    assert next(iter(streamed.parse())).id == "chatcmpl-" + streamed.headers["x-request-id"]
    with pytest.raises(openai.BadRequestError) as caught:
        create(**ask, temperature=-1)
    assert caught.value.request_id


@pytest.mark.through_router
def test_a_hundred_requests_are_spread_evenly(cluster: Cluster, client: openai.OpenAI) -> None:
    """One after the other: fifty each, as the servers themselves count."""
    before = cluster.metric_by_server("request_success_total")
    for _ in range(100):
        client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=1)
    counted = sum(before) + 100
    eventually(lambda: cluster.metric("request_success_total") == counted, within=5, what="all are counted")
    after = cluster.metric_by_server("request_success_total")

    assert [new - old for new, old in zip(after, before, strict=True)] == [50, 50]


def test_an_aborted_stream_stops_on_the_server(cluster: Cluster, client: openai.OpenAI) -> None:
    """vLLM's running gauge is 0 within a second, long before the answer would have been whole."""
    made = cluster.metric("generation_tokens_total")
    stream = client.chat.completions.create(**ENDLESS, stream=True)
    for _, _chunk in zip(range(5), stream, strict=False):
        pass
    # vLLM tells its gauges a step late.
    eventually(lambda: cluster.metric("num_requests_running") == 1, within=2, what="the stream runs")
    stream.close()
    took = eventually(cluster.is_idle, within=1, what="the aborted stream has stopped")

    made = cluster.metric("generation_tokens_total") - made
    assert made < 3000, f"stopped by itself: {made} tokens, {took} s"


def test_an_abandoned_whole_answer_stops_on_the_server(cluster: Cluster, client: openai.OpenAI) -> None:
    """The client gives up before a byte of the answer came."""
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.4).chat.completions.create(**ENDLESS)

    eventually(cluster.is_idle, within=1, what="the abandoned request has stopped")


def test_streams_that_wait_in_vllms_queue_are_aborted_too(cluster: Cluster) -> None:
    """Eight run on each server, two more wait there for their turn, and nothing of their answers has begun."""
    running = 8 * len(cluster.servers)
    waiting = 2 * len(cluster.servers)

    async def read(client: openai.AsyncOpenAI) -> None:
        async with await client.chat.completions.create(**ENDLESS, stream=True) as stream:
            async for _ in stream:
                pass

    def are_taken() -> bool:
        return cluster.metric("num_requests_running") == running and cluster.metric("num_requests_waiting") == waiting

    async def ask_and_leave() -> None:
        async with openai.AsyncOpenAI(base_url=cluster.url + "/v1", api_key="none", max_retries=0) as client:
            readers = [asyncio.create_task(read(client)) for _ in range(running + waiting)]
            await asyncio.to_thread(eventually, are_taken, within=5, what="all slots are taken, and the rest wait")
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)

    asyncio.run(ask_and_leave())
    eventually(cluster.is_idle, within=1, what="all have stopped")
