"""Whole and streamed answers, through the real OpenAI SDK."""

import asyncio
import json
from itertools import pairwise

import openai
import pytest
from vllm_cluster import MODEL, Cluster

QUESTION = [{"role": "user", "content": "What is the weather in Paris?"}]
LONG = {"ignore_eos": True}  # an answer of exactly max_tokens
WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}


def test_models_are_listed(client: openai.OpenAI) -> None:
    """One model, once, although two servers have it."""
    assert [model.id for model in client.models.list()] == [MODEL]


@pytest.mark.through_router
def test_one_model_is_retrieved(client: openai.OpenAI) -> None:
    """vLLM itself has no such route."""
    assert client.models.retrieve(MODEL).id == MODEL


def test_a_chat_is_completed(client: openai.OpenAI) -> None:
    """Text, finish reason and usage arrive."""
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=12, extra_body=LONG)

    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 12
    assert answer.usage.total_tokens == 12 + answer.usage.prompt_tokens


def test_a_chat_is_streamed(client: openai.OpenAI) -> None:
    """The same text arrives in pieces as arrives at once, under one id and with one finish reason."""
    ask = {"model": MODEL, "messages": QUESTION, "max_tokens": 200, "temperature": 0, "extra_body": LONG}
    whole = client.chat.completions.create(**ask).choices[0].message.content
    chunks = list(client.chat.completions.create(**ask, stream=True))

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["length"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert sum(bool(chunk.choices[0].delta.content) for chunk in chunks) > 2  # 100 here; fewer on a busy machine


def test_events_arrive_as_they_are_made(cluster: Cluster, client: openai.OpenAI) -> None:
    """The first text is here while vLLM still generates: nothing holds the stream back."""
    with client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=3000, stream=True, extra_body=LONG
    ) as stream:
        assert any(chunk.choices[0].delta.content for chunk in stream)
        assert cluster.metric("num_requests_running") == 1


def test_a_stream_ends_with_its_usage_when_asked(client: openai.OpenAI) -> None:
    """The last chunk has no choices; it has the usage."""
    ask = {"model": MODEL, "messages": QUESTION, "max_tokens": 9, "extra_body": LONG}
    chunks = list(client.chat.completions.create(**ask, **WITH_USAGE))

    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 9
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_a_prompt_is_completed_and_streamed(client: openai.OpenAI) -> None:
    """/v1/completions, both ways."""
    ask = {"model": MODEL, "prompt": "Once upon a time", "max_tokens": 20, "temperature": 0, "extra_body": LONG}
    whole = client.completions.create(**ask)
    chunks = list(client.completions.create(**ask, **WITH_USAGE))

    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == whole.choices[0].text
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens == 20


def test_a_response_is_created_and_streamed(client: openai.OpenAI) -> None:
    """/v1/responses, both ways; its events have names."""
    ask = {"model": MODEL, "input": "Hello", "max_output_tokens": 8}
    whole = client.responses.create(**ask)
    events = [event.type for event in client.responses.create(**ask, stream=True)]

    assert whole.output_text
    assert events[0] == "response.created"
    assert "response.output_text.delta" in events
    assert events[-1] in {"response.completed", "response.incomplete"}


def test_an_answer_keeps_to_a_json_schema(client: openai.OpenAI) -> None:
    """The random model says nothing sensible, but it says it in the form asked for."""
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}, "unit": {"enum": ["celsius", "fahrenheit"]}},
        "required": ["city", "unit"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "weather", "strict": True, "schema": schema}}
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=2000, response_format=form)

    assert answer.choices[0].finish_reason == "stop"
    found = json.loads(answer.choices[0].message.content)
    assert found.keys() == {"city", "unit"}
    assert found["city"] in {"Paris", "Rome"}


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs_are_given(client: openai.OpenAI, stream: bool) -> None:
    """One entry per token, with the alternatives asked for."""
    answer = client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=3, logprobs=True, top_logprobs=2, stream=stream, extra_body=LONG
    )
    choices = [chunk.choices[0] for chunk in answer] if stream else [answer.choices[0]]
    tokens = [token for choice in choices if choice.logprobs for token in choice.logprobs.content]

    assert len(tokens) == 3
    assert all(token.logprob <= 0 and len(token.top_logprobs) >= 2 for token in tokens)


def test_several_choices_are_streamed(client: openai.OpenAI) -> None:
    """Their chunks may mix; each choice ends once."""
    chunks = list(
        client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=5, n=3, stream=True, extra_body=LONG)
    )
    ends = [chunk.choices[0].index for chunk in chunks if chunk.choices[0].finish_reason]

    assert sorted(ends) == [0, 1, 2]


def test_twenty_streams_at_once_are_all_whole(cluster: Cluster) -> None:
    """More than two servers run at a time: some wait in vLLM's queue, none gets another's events."""

    async def one(client: openai.AsyncOpenAI, number: int) -> None:
        stream = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": f"Question {number}"}],
            max_tokens=50 + number,
            extra_body=LONG,
            **WITH_USAGE,
        )
        chunks = [chunk async for chunk in stream]
        assert all(one.id == other.id for one, other in pairwise(chunks))
        assert [c.choices[0].finish_reason for c in chunks[:-1] if c.choices[0].finish_reason] == ["length"]
        assert chunks[-1].usage.completion_tokens == 50 + number

    async def all_of_them() -> None:
        async with openai.AsyncOpenAI(base_url=cluster.url + "/v1", api_key="none", max_retries=0) as client:
            await asyncio.gather(*(one(client, number) for number in range(20)))

    asyncio.run(all_of_them())
