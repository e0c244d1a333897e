"""What is wrong with a request reaches the SDK as the right class, and as vLLM said it."""

import openai
import pytest
from vllm_cluster import MODEL, Cluster, fetch

ASK = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
TOO_LONG = {"messages": [{"role": "user", "content": "word " * 6000}]}
BAD_REQUESTS = {
    "prompt too long": TOO_LONG,
    "prompt too long, streamed": {**TOO_LONG, "stream": True},
    "max_tokens too large": {"max_tokens": 9000},
    "negative temperature": {"temperature": -1},
    "temperature of the wrong type": {"temperature": "warm"},
    "unknown tool choice": {"tool_choice": "sometimes", "tools": [{"type": "function", "function": {"name": "f"}}]},
    "tool choice without tools": {"tool_choice": "required"},
    "schema that is none": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nope"}}}
    },
    "role that nobody knows": {"messages": [{"role": "alien", "content": "Hello"}]},
    "answer that was not to be continued": {"messages": [*ASK["messages"], {"role": "assistant", "content": "One"}]},
}
FAULTS = pytest.mark.parametrize("change", BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())


@FAULTS
def test_a_bad_request_is_a_bad_request_error(client: openai.OpenAI, change: dict) -> None:
    """Status 400, with a message; also for a stream, which is a status and not an event."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**ASK | change)

    assert caught.value.body["message"]


@pytest.mark.through_router
@FAULTS
def test_vllms_own_words_are_passed_on(cluster: Cluster, change: dict) -> None:
    """The body is what vLLM answers, byte for byte, under the same status."""
    urls = (cluster.servers[0].url, cluster.url)
    direct, routed = (fetch(url + "/v1/chat/completions", ASK | change) for url in urls)

    assert (routed.status, routed.body) == (direct.status, direct.body)
    assert routed.headers["content-type"] == direct.headers["content-type"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_model_is_not_found(client: openai.OpenAI, stream: bool) -> None:
    """The message names the model that is asked for, and the one that there is."""
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(**ASK | {"model": "no-such-model", "stream": stream})

    assert "no-such-model" in caught.value.body["message"]
    assert MODEL in caught.value.body["message"]


@pytest.mark.through_router
def test_an_unknown_model_bothers_no_backend(cluster: Cluster, client: openai.OpenAI) -> None:
    """The router answers it in OpenAI's form: code model_not_found."""
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(**ASK | {"model": "no-such-model"})

    assert caught.value.code == "model_not_found"
    assert "x-router-backend" not in caught.value.response.headers


@pytest.mark.through_router
def test_an_unknown_path_is_not_found_in_openais_form(client: openai.OpenAI) -> None:
    """vLLM itself says {"detail": ...}, which SDKs cannot read."""
    with pytest.raises(openai.NotFoundError) as caught:
        client.get("/no-such-path", cast_to=object)

    assert caught.value.body["message"]


@pytest.mark.parametrize("body", [b'{"model": "tiny-mistral",', b"[]", b""], ids=["cut", "array", "empty"])
def test_a_body_that_is_no_json_object_is_a_bad_request(cluster: Cluster, body: bytes) -> None:
    """In OpenAI's form."""
    answer = fetch(cluster.url + "/v1/chat/completions", body)

    assert answer.status == 400
    assert answer.json()["error"]["message"]


def test_the_connection_survives_an_error(cluster: Cluster, client: openai.OpenAI) -> None:
    """The same client goes on after errors of every kind."""
    for _ in range(3):
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(**ASK | {"temperature": -1})
        assert client.chat.completions.create(**ASK).choices
