"""Rules of router/handlers/openapi/calls.py: its schemas hold for what is asked and what a backend answers."""

import json
from typing import Any

import pytest

from tests.captures import load
from tests.front import front, run
from tests.handlers.openapi.fitting import faults, public

DOCUMENT = public()
MESSAGES = [{"role": "user", "content": "Hi"}]
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("/v1/embeddings", {"input": "Hi"}),
    ("/v1/embeddings", {"input": [[1, 2], [3]], "encoding_format": "base64", "model": "simulated-model"}),
    ("/v1/embeddings", {"messages": MESSAGES}),
    ("/v2/embed", {"texts": ["a", "b"]}),
    ("/v1/rerank", {"query": "a", "documents": ["a", {"text": "b"}], "top_n": 1}),
    ("/v2/rerank", {"query": "a", "documents": ["a"]}),
    ("/rerank", {"query": "a", "documents": ["a"]}),
    ("/v1/score", {"text_1": "a", "text_2": ["b", "c"]}),
    ("/score", {"queries": "a", "documents": ["b"]}),
    ("/classify", {"input": ["a", "b"]}),
    ("/pooling", {"input": "a"}),
    ("/tokenize", {"prompt": "a"}),
    ("/tokenize", {"messages": MESSAGES, "return_token_strs": True}),
    ("/detokenize", {"tokens": [1, 2, 3]}),
    ("/v1/messages/count_tokens", {"messages": MESSAGES}),
]


def schemas(path: str) -> tuple[str, str]:
    """Return the names of the schemas of a request and of its answer."""
    operation = DOCUMENT["paths"][path]["post"]
    parts = operation["requestBody"], operation["responses"]["200"]
    named = [part["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2] for part in parts]
    return named[0], named[1]


def test_requests_and_answers_through_the_router_fit() -> None:
    async def test() -> None:
        async with front() as cluster:
            for path, body in ASKED:
                request, answer = schemas(path)
                got = await cluster.ask(path, body)
                assert got.code == 200, got.body
                assert not faults(request, body, DOCUMENT)
                assert not faults(answer, json.loads(got.body), DOCUMENT), path

    run(test)


def test_every_request_of_json_has_an_example_that_is_answered() -> None:
    """It is what a reader of the pages begins with."""

    async def test() -> None:
        async with front() as cluster:
            for path, item in DOCUMENT["paths"].items():
                content = item.get("post", {}).get("requestBody", {}).get("content", {})
                if "application/json" not in content:
                    continue
                name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
                (example,) = DOCUMENT["components"]["schemas"][name]["examples"]
                assert not faults(name, example, DOCUMENT)
                assert (await cluster.ask(path, example)).code == 200, path

    run(test)


def test_tokens_of_a_real_server_fit() -> None:
    recorded = [
        one for one in load() if one.request and one.target in ("/tokenize", "/detokenize") and one.status == 200
    ]

    assert recorded
    for one in recorded:
        assert not faults(schemas(one.target)[1], json.loads(one.body), DOCUMENT), one.name


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ("EmbeddingRequest", {"model": "m"}),
        ("EmbeddingRequest", {"input": "a", "encoding_format": "int7"}),
        ("ScoreRequest", {"text_1": "a"}),
        ("TokenizeRequest", {}),
        ("RerankRequest", {"query": "a"}),
        ("Embeddings", {"object": "list", "data": [{"index": 0, "object": "score"}]}),
    ],
)
def test_what_is_wrong_does_not_fit(schema: str, value: object) -> None:
    assert faults(schema, value, DOCUMENT)
