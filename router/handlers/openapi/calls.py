"""Schemas of the shorter calls: embeddings, rankings, classes, tokens, speech. What they do not name is passed on."""

from router.handlers.openapi.words import (
    COUNT,
    COUNT_OR_NONE,
    FLAG_OR_NONE,
    MODEL,
    NUMBER,
    OBJECT,
    OBJECT_OR_NONE,
    TEXT,
    TEXT_OR_NONE,
    WHOLE,
    Schema,
    either,
    listed,
    one_of,
    record,
    ref,
    told,
)

_TEXTS = told(either(TEXT, listed(TEXT), listed(COUNT), listed(listed(COUNT))), "Texts, or token ids; one or several.")
_TEXT_OR_PART = either(TEXT, OBJECT)
_INPUT: dict[str, Schema] = {
    "model": MODEL,
    "input": _TEXTS,
    "messages": told(listed(ref("ChatMessage"), least=1), "A conversation instead of `input`."),
}
_CHOICE_OF_INPUT = [{"required": ["input"]}, {"required": ["messages"]}]


def _of_input(more: dict[str, Schema]) -> Schema:
    return {**record({**_INPUT, **more}, example={"input": "Hello"}), "anyOf": _CHOICE_OF_INPUT}


def _rows(properties: dict[str, Schema], *needs: str) -> Schema:
    """Return the schema of a list of results, one for each input."""
    row = record({"index": COUNT, **properties}, needs=("index", *needs))
    return record(
        {"object": {"const": "list"}, "model": TEXT, "data": listed(row), "usage": ref("Usage")},
        needs=("object", "data"),
    )


SCHEMAS: dict[str, Schema] = {
    "EmbeddingRequest": _of_input(
        {
            "encoding_format": one_of("float", "base64"),
            "dimensions": {"type": ["integer", "null"], "minimum": 1},
            "user": TEXT_OR_NONE,
        }
    ),
    "Embeddings": _rows({"object": {"const": "embedding"}, "embedding": either(listed(NUMBER), TEXT)}, "embedding"),
    "EmbedRequest": record(
        {
            "model": MODEL,
            "texts": listed(TEXT, least=1),
            "input_type": TEXT_OR_NONE,
            "embedding_types": either(listed(TEXT), {"type": "null"}),
        },
        needs=("texts",),
        tells="Of Cohere's embed API.",
        example={"texts": ["Hello"]},
    ),
    "EmbedAnswer": record({"id": TEXT, "embeddings": OBJECT, "texts": listed(TEXT)}, needs=("embeddings",)),
    "RerankRequest": record(
        {
            "model": MODEL,
            "query": _TEXT_OR_PART,
            "documents": either(listed(_TEXT_OR_PART, least=1), OBJECT),
            "top_n": COUNT_OR_NONE,
        },
        needs=("query", "documents"),
        tells="Of the APIs of Jina and Cohere.",
        example={"query": "A greeting", "documents": ["Hello", "Goodbye"]},
    ),
    "Ranking": record(
        {
            "id": TEXT,
            "model": TEXT,
            "results": listed(
                record(
                    {"index": COUNT, "relevance_score": NUMBER, "document": OBJECT_OR_NONE},
                    needs=("index", "relevance_score"),
                )
            ),
            "usage": OBJECT_OR_NONE,
        },
        needs=("results",),
    ),
    "ScoreRequest": {
        **record(
            {
                "model": MODEL,
                "text_1": either(_TEXT_OR_PART, listed(_TEXT_OR_PART)),
                "text_2": either(_TEXT_OR_PART, listed(_TEXT_OR_PART)),
                "queries": either(_TEXT_OR_PART, listed(_TEXT_OR_PART)),
                "documents": either(_TEXT_OR_PART, listed(_TEXT_OR_PART)),
            },
            tells="One text beside many, or pairs.",
            example={"text_1": "A greeting", "text_2": ["Hello", "Goodbye"]},
        ),
        "anyOf": [{"required": ["text_1", "text_2"]}, {"required": ["queries", "documents"]}],
    },
    "Scores": _rows({"object": {"const": "score"}, "score": NUMBER}, "score"),
    "ClassifyRequest": _of_input({}),
    "Classes": _rows({"label": TEXT_OR_NONE, "probs": listed(NUMBER), "num_classes": COUNT}, "probs"),
    "PoolingRequest": _of_input({"encoding_format": one_of("float", "base64")}),
    "Pooled": _rows({"object": {"const": "pooling"}, "data": {}}, "data"),
    "TokenizeRequest": {
        **record(
            {
                "model": MODEL,
                "prompt": TEXT,
                "messages": listed(ref("ChatMessage"), least=1),
                "add_special_tokens": FLAG_OR_NONE,
                "return_token_strs": FLAG_OR_NONE,
            },
            tells="A text, or a conversation.",
            example={"prompt": "Hello"},
        ),
        "anyOf": [{"required": ["prompt"]}, {"required": ["messages"]}],
    },
    "Tokens": record(
        {
            "count": COUNT,
            "max_model_len": COUNT,
            "tokens": listed(WHOLE),
            "token_strs": either(listed(TEXT), {"type": "null"}),
        },
        needs=("count", "tokens"),
    ),
    "DetokenizeRequest": record(
        {"model": MODEL, "tokens": listed(COUNT)}, needs=("tokens",), example={"tokens": [72, 105]}
    ),
    "Detokenized": record({"prompt": TEXT}, needs=("prompt",)),
    "SpeechRequest": record(
        {
            "model": told(TEXT, MODEL["description"]),
            "file": told({"type": "string", "contentMediaType": "application/octet-stream"}, "The recording."),
            "language": TEXT,
            "prompt": TEXT,
            "response_format": told(TEXT, "`json`, `text`, `verbose_json` ..."),
            "temperature": NUMBER,
            "stream": told({"type": "boolean"}, "Answer with server-sent events."),
        },
        needs=("file",),
    ),
    "Speech": record({"text": TEXT, "usage": OBJECT_OR_NONE}, needs=("text",)),
    "SpeechChunk": record({"object": TEXT, "choices": listed(OBJECT)}, needs=("choices",)),
}
