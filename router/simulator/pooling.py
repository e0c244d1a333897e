"""Embeddings, rankings and the like: figures that are invented, but the same for the same text."""

import base64
import itertools
import struct
import zlib
from typing import Any

from router.simulator.answers import CREATED, IDENT, Answer, plain
from router.simulator.body import Body, choice_of, integer, items, model_of, required
from router.simulator.completions import prompts_of
from router.simulator.prompt import render
from router.simulator.refusals import bad_value
from router.simulator.settings import Settings
from router.simulator.tokens import BEGIN, encode

_DIMENSIONS = 8
_MOST_DIMENSIONS = 65536
_LABELS = ("LABEL_0", "LABEL_1")


def vector(ids: list[int], dimensions: int) -> list[float]:
    """Return the embedding of some ids: of length 1, and never zero."""
    raw = [1 + zlib.crc32(repr((ids, index)).encode()) % 1000 for index in range(dimensions)]
    length = sum(value * value for value in raw) ** 0.5
    return [value / length for value in raw]


def _inputs(body: Body, settings: Settings) -> list[list[int]]:
    if body.get("messages") is not None:
        return [render(body, settings)]
    return prompts_of({"prompt": required(body, "input")})


def _listed(body: Body, settings: Settings, *, ident: str, rows: list[Any], tokens: int) -> Answer:
    payload = {
        "id": f"{ident}-{IDENT}",
        "object": "list",
        "created": CREATED,
        "model": model_of(body, settings),
        "data": rows,
        "usage": {
            "prompt_tokens": tokens,
            "total_tokens": tokens,
            "completion_tokens": 0,
            "prompt_tokens_details": None,
        },
    }
    return plain(payload, prompt=tokens)


def _encoded(values: list[float], body: Body) -> list[float] | str:
    wanted = choice_of(body, "encoding_format", ("float", "base64"), default="float")
    if wanted == "float":
        return values
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


def answer_embeddings(body: Body, settings: Settings) -> Answer:
    """Return the answer to an embeddings request. Raises Refusal."""
    model_of(body, settings)
    inputs = _inputs(body, settings)
    dimensions = integer(body, "dimensions", _DIMENSIONS) or _DIMENSIONS
    if not 0 < dimensions <= _MOST_DIMENSIONS:
        raise bad_value("dimensions must be greater than 0", param="dimensions", value=dimensions)
    rows = [
        {"index": index, "object": "embedding", "embedding": _encoded(vector(ids, dimensions), body)}
        for index, ids in enumerate(inputs)
    ]
    return _listed(body, settings, ident="embd", rows=rows, tokens=sum(map(len, inputs)))


def answer_embed(body: Body, settings: Settings) -> Answer:
    """Return the answer to a request of Cohere's embed API. Raises Refusal."""
    model_of(body, settings)
    texts = [str(text) for text in items(body, "texts")]
    inputs = [[BEGIN, *encode(text)] for text in texts]
    payload = {
        "id": f"embd-{IDENT}",
        "embeddings": {"float": [vector(ids, _DIMENSIONS) for ids in inputs]},
        "texts": texts,
        "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": sum(map(len, inputs))}},
        "response_type": "embeddings_by_type",
    }
    return plain(payload, prompt=sum(map(len, inputs)))


def answer_pooling(body: Body, settings: Settings) -> Answer:
    """Return the answer to a pooling request. Raises Refusal."""
    inputs = _inputs(body, settings)
    rows = [{"index": index, "object": "pooling", "data": vector(ids, _DIMENSIONS)} for index, ids in enumerate(inputs)]
    return _listed(body, settings, ident="pool", rows=rows, tokens=sum(map(len, inputs)))


def answer_classify(body: Body, settings: Settings) -> Answer:
    """Return the answer to a classification request. Raises Refusal."""
    inputs = _inputs(body, settings)
    rows = []
    for index, ids in enumerate(inputs):
        share = _similarity(ids, [])
        probs = [share, 1 - share]
        label = _LABELS[probs.index(max(probs))]
        rows.append({"index": index, "label": label, "probs": probs, "num_classes": len(_LABELS)})
    return _listed(body, settings, ident="classify", rows=rows, tokens=sum(map(len, inputs)))


def _similarity(left: list[int], right: list[int]) -> float:
    """Return a figure between 0 and 1: higher the more ids both have, told apart by a checksum."""
    shared = len(set(left) & set(right)) / (1 + len(set(left)))
    return (shared + zlib.crc32(repr((left, right)).encode()) / 2**32) / 2


def _texts(value: Any) -> list[str]:
    return [_text(item) for item in value] if isinstance(value, list) else [_text(value)]


def _text(value: Any) -> str:
    return str(value.get("text", "")) if isinstance(value, dict) else str(value)


def answer_score(body: Body, settings: Settings) -> Answer:
    """Return the answer to a score request: one text with many, or pair by pair. Raises Refusal."""
    left = _texts(required(body, "text_1") if "queries" not in body else body["queries"])
    right = _texts(required(body, "text_2") if "documents" not in body else body["documents"])
    pairs = list(zip(itertools.cycle(left) if len(left) == 1 else left, right, strict=False))
    scored = [(encode(one), encode(two)) for one, two in pairs]
    rows = [{"index": index, "object": "score", "score": _similarity(*pair)} for index, pair in enumerate(scored)]
    return _listed(body, settings, ident="score", rows=rows, tokens=sum(len(one) + len(two) for one, two in scored))


def answer_rerank(body: Body, settings: Settings) -> Answer:
    """Return the answer to a rerank request: the best documents first. Raises Refusal."""
    model = model_of(body, settings)
    query = encode(_text(required(body, "query")))
    documents = _texts(required(body, "documents"))
    scores = [_similarity(query, encode(document)) for document in documents]
    order = sorted(range(len(documents)), key=lambda index: -scores[index])[: integer(body, "top_n") or None]
    tokens = sum(len(query) + len(encode(document)) for document in documents)
    payload = {
        "id": f"rerank-{IDENT}",
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "results": [
            {
                "index": index,
                "document": {"text": documents[index], "multi_modal": None},
                "relevance_score": scores[index],
            }
            for index in order
        ],
    }
    return plain(payload, prompt=tokens)
