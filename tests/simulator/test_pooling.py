import base64
import json
import struct
from collections.abc import Callable
from typing import Any

import pytest

from router.simulator.answers import Answer
from router.simulator.body import Body
from router.simulator.pooling import (
    answer_classify,
    answer_embed,
    answer_embeddings,
    answer_pooling,
    answer_rerank,
    answer_score,
    vector,
)
from router.simulator.refusals import Refusal
from router.simulator.settings import Settings

SETTINGS = Settings(models=("m",))


def told(answer: Callable[[Body, Settings], Answer], **body: Any) -> Any:
    return json.loads(answer(body, SETTINGS).body or b"")


def test_an_embedding_is_the_same_for_the_same_text_and_of_length_one() -> None:
    data = told(answer_embeddings, input=["a", "b", "a"])["data"]

    assert data[0]["embedding"] == data[2]["embedding"] != data[1]["embedding"]
    assert sum(value * value for value in data[0]["embedding"]) == pytest.approx(1)


def test_base64_holds_the_same_numbers_and_dimensions_are_followed() -> None:
    plain = told(answer_embeddings, input="a", dimensions=4)["data"][0]["embedding"]
    packed = told(answer_embeddings, input="a", dimensions=4, encoding_format="base64")["data"][0]["embedding"]

    assert struct.unpack("<4f", base64.b64decode(packed)) == pytest.approx(plain)
    with pytest.raises(Refusal):
        told(answer_embeddings, input="a", encoding_format="octal")


def test_a_conversation_can_be_embedded() -> None:
    assert told(answer_embeddings, messages=[{"role": "user", "content": "a"}])["data"][0]["embedding"]


def test_ranked_documents_come_best_first_and_no_more_than_asked_for() -> None:
    documents = ["nothing", "a router routes", {"text": "router"}]
    results = told(answer_rerank, query="a router routes", documents=documents, top_n=2)["results"]
    scores = [result["relevance_score"] for result in results]

    assert len(results) == 2
    assert scores == sorted(scores, reverse=True)


def test_one_text_is_scored_with_many() -> None:
    data = told(answer_score, text_1="a", text_2=["a", "b"])["data"]

    assert [row["index"] for row in data] == [0, 1]


@pytest.mark.parametrize("answer", [answer_classify, answer_pooling])
def test_each_input_has_a_row(answer: Callable[[Body, Settings], Answer]) -> None:
    assert len(told(answer, input=["a", "b"])["data"]) == 2


def test_coheres_form_has_embeddings_by_type() -> None:
    assert told(answer_embed, texts=["a"])["embeddings"]["float"][0] == vector([1, 97 + 256], 8)


@pytest.mark.parametrize("answer", [answer_embeddings, answer_embed, answer_rerank, answer_score, answer_classify])
def test_a_missing_field_is_refused(answer: Callable[[Body, Settings], Answer]) -> None:
    with pytest.raises(Refusal, match="Field required"):
        told(answer)
