"""What the router finds out about real vLLM by asking it, and what a client sees of the translation."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from vllm_cluster import MODEL, Cluster, Router, Settings, fetch, running_router

from router.translate.asked import AnswerForm, Asked
from tests.translate.client import view_of_stream

pytestmark = pytest.mark.through_router
CHAT = "/v1/chat/completions"
QUESTION = [{"role": "user", "content": "What is the weather in Paris?"}]
FOREIGN_NAME = "mcp.weather/get current"  # vLLM refuses it
WEATHER = {
    "type": "function",
    "function": {
        "name": FOREIGN_NAME,
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
SPACIOUS = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather in a city",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
FORCED = pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": FOREIGN_NAME}}], ids=["required", "named"]
)


CALLED = {"name": "read", "arguments": json.dumps({"path": "a.txt"})}


def step(call_id: str, result: str = "text") -> list[dict]:
    """Return one step of an agent: a call and its result."""
    return [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": call_id, "type": "function", "function": CALLED}],
        },
        {"role": "tool", "tool_call_id": call_id, "content": result},
    ]


def found(cluster: Cluster) -> list[tuple[str, str]]:
    """Return dialect and profile of every backend, as the router tells them."""
    assert cluster.router
    return [(backend["dialect"], backend["profile"]) for backend in fetch(cluster.url + "/health").json()["backends"]]


def test_the_profile_of_a_v13_tokenizer_is_found(started: Cluster) -> None:
    """Of both servers: what renders, its version, no pictures; with this mistral-common, ids and order are free."""
    started.up()
    assert found(started) == [("mistral", "mistral-common v13, text only, free ids, no bridge, strict tools")] * 2


def test_the_profile_of_a_v11_tokenizer_is_found(older: Cluster) -> None:
    """Its ids must be nine letters or digits."""
    assert found(older) == [("mistral", "mistral-common v11, text only, no bridge, strict tools")]


def test_a_loss_is_told_in_a_header_and_counted(started: Cluster) -> None:
    """R10: the model has no tokens for the reasoning of an earlier turn."""
    started.up()
    thought = {"role": "assistant", "content": "Hello.", "reasoning_content": "They greet me."}
    lossy, lossless = ([QUESTION[0], answer, QUESTION[0]] for answer in (thought, {**thought, "reasoning_content": ""}))
    answers = [
        fetch(started.url + CHAT, {"model": MODEL, "messages": messages, "max_tokens": 1})
        for messages in (lossy, lossless)
    ]

    assert [answer.status for answer in answers] == [200, 200]
    assert [answer.headers.get("x-router-translation") for answer in answers] == ["R10", None]


@FORCED
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_client_gets_its_own_names_back(client: openai.OpenAI, choice: object, stream: bool) -> None:
    """Also where vLLM could not take them, and its history with them is understood."""
    ask = {"model": MODEL, "tools": [WEATHER], "messages": QUESTION, "max_tokens": 200, "seed": 3}
    if stream:
        with client.chat.completions.stream(**ask, tool_choice=choice) as events:
            message = events.get_final_completion().choices[0].message
    else:
        message = client.chat.completions.create(**ask, tool_choice=choice).choices[0].message
    assert message.tool_calls
    assert {call.function.name for call in message.tool_calls} == {FOREIGN_NAME}
    assert all(json.loads(call.function.arguments)["city"] in {"Paris", "Rome"} for call in message.tool_calls)

    results = [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in message.tool_calls]
    ask["messages"] = [*QUESTION, message.model_dump(), *results]
    assert client.chat.completions.create(**ask, tool_choice="none").choices[0].finish_reason in {"stop", "length"}


def test_a_translated_stream_says_what_vllms_says(started: Cluster) -> None:
    """The same text, finish reason and usage; but strictly OpenAI's, which vLLM's own is not."""
    started.up()
    ask = {
        **{"model": MODEL, "messages": QUESTION, "stream": True, "temperature": 0, "max_tokens": 60},
        **{"ignore_eos": True, "stream_options": {"include_usage": True}},
    }
    asked = Asked(stream=True, include_usage=True)
    routed = view_of_stream(fetch(started.url + CHAT, ask).body, asked, AnswerForm())
    chunks = [
        json.loads(line.removeprefix(b"data: "))
        for line in fetch(started.servers[0].url + CHAT, ask).body.splitlines()
        if line.startswith(b"data: {")
    ]

    assert routed["choices"][0]["content"] == "".join(
        chunk["choices"][0]["delta"].get("content", "") for chunk in chunks[:-1]
    )
    assert routed["choices"][0]["finish"] == "length"
    assert routed["usage"] == [chunks[-1]["usage"]["prompt_tokens"], 60]


def test_a_growing_conversation_is_found_in_vllms_prefix_cache(older: Cluster) -> None:
    """Ids of calls stand in a v11 prompt: made from the client's own, they are the same in every turn.

    vLLM's blocks hold 128 tokens on a CPU; all blocks of the first prompt but the last are found again.
    """
    (server,) = older.servers
    messages = [{"role": "user", "content": "Count. " + "one two three four " * 100}]
    hits, prompts = [], []
    for turn in range(3):
        messages += step(f"call_{turn}", "five six seven eight " * 50)
        before = server.metric("prefix_cache_hits_total")
        answer = fetch(older.url + CHAT, {"model": MODEL, "messages": messages, "max_tokens": 1})
        hits.append(server.metric("prefix_cache_hits_total") - before)
        prompts.append(answer.json()["usage"]["prompt_tokens"])

    assert hits[1] > prompts[0] - 2 * 128
    assert hits[2] > prompts[1] - 2 * 128


def test_each_server_of_a_mixed_pool_gets_what_it_takes(started: Cluster, older: Cluster) -> None:
    """A v11 tokenizer refuses the client's id, a v13 one takes it: behind one router both answer."""
    started.up()
    servers = [started.servers[0], older.servers[0]]
    ask = {"model": MODEL, "messages": [*QUESTION, *step("call_1")], "max_tokens": 1}
    assert [fetch(server.url + CHAT, ask).status for server in servers] == [200, 400]

    with running_router(servers, folder=Path(os.environ["ROUTER_VLLM_FOLDER"])) as router:
        answers = [fetch(router.url + CHAT, ask) for _ in range(6)]
    assert [answer.status for answer in answers] == [200] * 6
    assert len({answer.headers["x-router-backend"] for answer in answers}) == 2


@pytest.fixture(scope="module")
def otherwise(started: Cluster) -> Iterator[Router]:
    """A router in front of the servers of `started` that is told to do otherwise than by default."""
    started.up()
    settings = Settings(
        backend={"stream_tools": "emulate"}, translation={"tool_call_index": True, "last_assistant": "continue"}
    )
    with running_router(started.servers, folder=Path(os.environ["ROUTER_VLLM_FOLDER"]), settings=settings) as router:
        yield router


def test_a_stream_made_from_a_whole_answer_is_strictly_openais(otherwise: Router) -> None:
    """And it says what the stream of vLLM says."""
    ask = {**{"model": MODEL, "tools": [WEATHER], "messages": QUESTION}, **{"max_tokens": 200, "seed": 3}}
    ask |= {"tool_choice": "required", "stream": True, "stream_options": {"include_usage": True}}
    asked = Asked(tools=frozenset((FOREIGN_NAME,)), stream=True, include_usage=True)
    answer = fetch(otherwise.url + CHAT, ask)
    view = view_of_stream(answer.body, asked, AnswerForm())

    assert answer.headers["content-type"].startswith("text/event-stream")
    (choice,) = view["choices"]
    assert choice["finish"] == "tool_calls"
    assert {name for _, name, _ in choice["calls"]} == {FOREIGN_NAME}
    assert all(json.loads(arguments).keys() == {"city"} for _, _, arguments in choice["calls"])
    assert view["usage"][1] > 0


def test_calls_of_whole_answers_have_an_index_when_that_is_configured(otherwise: Router) -> None:
    """For clients that insist on it."""
    ask = {"model": MODEL, "tools": [WEATHER], "messages": QUESTION, "max_tokens": 200, "seed": 8}
    calls = fetch(otherwise.url + CHAT, ask | {"tool_choice": "required"}).json()["choices"][0]["message"]["tool_calls"]

    assert [call["index"] for call in calls] == list(range(len(calls)))


def test_a_conversation_that_ends_with_the_assistant_is_continued_when_that_is_configured(
    started: Cluster, otherwise: Router
) -> None:
    """As vLLM continues it when it is asked to in its own way; by default the model gets a new turn."""
    ask = {
        **{"model": MODEL, "messages": [*QUESTION, {"role": "assistant", "content": "It is "}]},
        **{"temperature": 0, "max_tokens": 12, "ignore_eos": True},
    }
    by_itself = fetch(
        started.servers[0].url + CHAT, ask | {"continue_final_message": True, "add_generation_prompt": False}
    )
    continued, new = (fetch(router.url + CHAT, ask) for router in (otherwise, started))
    texts = [answer.json()["choices"][0]["message"]["content"] for answer in (by_itself, continued, new)]

    assert texts[0] == texts[1]
    assert texts[1] != texts[2]


def test_arguments_of_streamed_calls_begin_with_their_json(client: openai.OpenAI) -> None:
    """The model may write blanks in front; openai-python parses after every piece, and fails on nothing but blanks."""
    for seed in range(15, 45):  # where the CPU rounds as it did here, 23 is one with blanks
        ask = {"model": MODEL, "messages": QUESTION, "tools": [SPACIOUS], "seed": seed, "max_tokens": 1000}
        with client.chat.completions.stream(**ask, tool_choice="required") as events:
            message = events.get_final_completion().choices[0].message
        assert message.tool_calls
        assert all(call.function.arguments.startswith("{") for call in message.tool_calls)
