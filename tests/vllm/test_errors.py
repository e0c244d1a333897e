"""What is wrong with a request reaches the SDK as the right class, in OpenAI's form and in vLLM's words."""

import openai
import pytest
from vllm_cluster import MODEL, Cluster, Router, fetch

from tests.translate.client import check_error

ASK = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
TOO_LONG = {"messages": [{"role": "user", "content": "word " * 6000}]}
LENGTH = "context_length_exceeded"  # at which agents shorten their history and go on
# What vLLM refuses: the change to ASK, and what the error says of it besides vLLM's message: param and code.
BAD_REQUESTS: dict[str, tuple[dict, str | None, str | None]] = {
    "prompt too long": (TOO_LONG, "messages", LENGTH),
    "prompt too long, streamed": ({**TOO_LONG, "stream": True}, "messages", LENGTH),
    "max_tokens too large": ({"max_tokens": 9000}, "max_tokens", None),
    "negative temperature": ({"temperature": -1}, "temperature", None),
    "temperature of the wrong type": ({"temperature": "warm"}, "temperature", None),
    "no tokens wanted": ({"max_tokens": 0}, "max_tokens", None),
    "top_logprobs without logprobs": ({"top_logprobs": 2}, "top_logprobs", None),
    "token that does not exist": ({"logit_bias": {"99999999": 1}}, "logit_bias", None),
    "schema that is none": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nope"}}}},
        None,
        None,
    ),
}
# What the router refuses itself, as no backend could take it: the change to ASK, and param.
UNTRANSLATABLE: dict[str, tuple[dict, str]] = {
    "unknown tool choice": (
        {"tool_choice": "sometimes", "tools": [{"type": "function", "function": {"name": "f"}}]},
        "tool_choice",
    ),
    "role that nobody knows": ({"messages": [{"role": "alien", "content": "Hello"}]}, "messages.0.role"),
    "no messages": ({"messages": []}, "messages"),
}
CHANGES = [change for change, *_ in (*BAD_REQUESTS.values(), *UNTRANSLATABLE.values())]


@pytest.mark.parametrize("change", CHANGES, ids=[*BAD_REQUESTS, *UNTRANSLATABLE])
def test_a_bad_request_is_a_bad_request_error(client: openai.OpenAI, change: dict) -> None:
    """Status 400, with a message; also for a stream, which is a status and not an event."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**ASK | {"extra_body": change})

    assert caught.value.body["message"]


@pytest.mark.through_router
@pytest.mark.parametrize(("change", "param", "code"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_vllms_own_words_are_passed_on_in_openais_form(
    cluster: Cluster, untranslated: Router, change: dict, param: str | None, code: str | None
) -> None:
    """Status and message are vLLM's, whether the router translates or not; the rest is as OpenAI has it."""
    urls = (cluster.servers[0].url, cluster.url, untranslated.url)
    direct, routed, passed = (fetch(url + "/v1/chat/completions", ASK | change) for url in urls)

    assert routed.status == passed.status == direct.status
    message = direct.json()["error"]["message"]
    expected = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    assert routed.json() == passed.json() == {"error": expected}
    assert routed.headers["content-type"] == direct.headers["content-type"]


@pytest.mark.through_router
@pytest.mark.parametrize(("change", "param"), UNTRANSLATABLE.values(), ids=UNTRANSLATABLE)
def test_what_no_backend_could_take_bothers_none(cluster: Cluster, change: dict, param: str) -> None:
    """The router refuses it, and tells where the fault is."""
    answer = fetch(cluster.url + "/v1/chat/completions", ASK | change)

    assert answer.status == 400
    check_error(answer.json())
    assert answer.json()["error"]["param"] == param
    assert "x-router-backend" not in answer.headers


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
