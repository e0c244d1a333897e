"""What is said of each operation, by path and method: of relayed routes, of our own pages, of what operators may ask.

A route without an entry (`server.extra_routes`) is told of as what it is: passed through.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from router.handlers.openapi.words import EVENTS, JSON, PLAIN, TEXT, Schema, events_of, ref

FORM = "multipart/form-data"
HTML = "text/html"
_CHAT, _TEXT, _POOL, _TOKENS, _AUDIO = "Conversations", "Completions", "Embeddings and rankings", "Tokens", "Audio"
_MODELS, _STATE, _DOCS, _BACKENDS, _PROCESS = "Models", "State", "Documentation", "Backends", "Configuration"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    name: str  # its operationId
    tag: str
    summary: str
    description: str = ""
    takes: tuple[str, str] | None = None  # content type and schema of its body
    gives: tuple[tuple[str, str | None], ...] = ()  # content types and schemas of its answers; None: text
    status: str = "200"
    errors: tuple[str, ...] = ()  # besides what the wire may say to any request
    unhealthy: str | None = None  # schema of its 503, where that is no error
    parameters: tuple[str, ...] = ()  # components


def _json(name: str, tag: str, summary: str, *, takes: str, gives: str, event: str | None = None) -> Operation:
    """Return an operation that takes JSON. `event`: the schema of a stream's events; None: it has no streams."""
    told = "" if event is None else "With `stream`, events; one that breaks ends with an `Error`."
    answers = ((JSON, gives),) if event is None else ((JSON, gives), (EVENTS, event))
    return Operation(name, tag, summary, told, takes=(JSON, takes), gives=answers)


def _rerank(name: str) -> Operation:
    return _json(name, _POOL, "Put documents in order", takes="RerankRequest", gives="Ranking")


def _score(name: str) -> Operation:
    return _json(name, _POOL, "Compare texts", takes="ScoreRequest", gives="Scores")


def _speech(name: str, summary: str) -> Operation:
    return Operation(
        name,
        _AUDIO,
        summary,
        "With `stream`, events; one that breaks ends with an `Error`.",
        takes=(FORM, "SpeechRequest"),
        gives=((JSON, "Speech"), (EVENTS, "SpeechChunk"), (PLAIN, None)),
    )


def _stored(name: str, summary: str, gives: str, *, streams: bool = False) -> Operation:
    answers: tuple[tuple[str, str | None], ...] = (
        ((JSON, gives), (EVENTS, "ResponseEvent")) if streams else ((JSON, gives),)
    )
    told = "Stored answers live in the backend that made them: each is asked until one knows it."
    return Operation(name, _CHAT, summary, told, gives=answers, parameters=("ResponseId",))


RELAYED: dict[tuple[str, str], Operation] = {
    ("/v1/chat/completions", "POST"): _json(
        "chat", _CHAT, "Continue a conversation", takes="ChatRequest", gives="ChatCompletion", event="ChatChunk"
    ),
    ("/v1/responses", "POST"): _json(
        "respond", _CHAT, "Responses API of OpenAI", takes="ResponseRequest", gives="Response", event="ResponseEvent"
    ),
    ("/v1/responses/{id}", "GET"): _stored("getResponse", "A stored answer", "Response", streams=True),
    ("/v1/responses/{id}", "DELETE"): _stored("deleteResponse", "Forget a stored answer", "Stored"),
    ("/v1/responses/{id}/cancel", "POST"): _stored("cancelResponse", "End an answer in the background", "Response"),
    ("/v1/messages", "POST"): _json(
        "message", _CHAT, "Messages API of Anthropic", takes="MessageRequest", gives="Message", event="MessageEvent"
    ),
    ("/v1/messages/count_tokens", "POST"): _json(
        "countTokens", _TOKENS, "How many tokens a conversation has", takes="CountRequest", gives="TokenCount"
    ),
    ("/v1/completions", "POST"): _json(
        "complete", _TEXT, "Continue a text", takes="CompletionRequest", gives="Completion", event="Completion"
    ),
    ("/v1/embeddings", "POST"): _json("embeddings", _POOL, "Embed texts", takes="EmbeddingRequest", gives="Embeddings"),
    ("/v2/embed", "POST"): _json(
        "embed", _POOL, "Embed texts, Cohere's form", takes="EmbedRequest", gives="EmbedAnswer"
    ),
    ("/v1/rerank", "POST"): _rerank("rerank"),
    ("/v2/rerank", "POST"): _rerank("rerankV2"),
    ("/rerank", "POST"): _rerank("rerankV0"),
    ("/v1/score", "POST"): _score("score"),
    ("/score", "POST"): _score("scoreV0"),
    ("/classify", "POST"): _json("classify", _POOL, "Classify texts", takes="ClassifyRequest", gives="Classes"),
    ("/pooling", "POST"): _json("pooling", _POOL, "Hidden states of texts", takes="PoolingRequest", gives="Pooled"),
    ("/tokenize", "POST"): _json(
        "tokenize", _TOKENS, "The tokens of a text or of a conversation", takes="TokenizeRequest", gives="Tokens"
    ),
    ("/detokenize", "POST"): _json(
        "detokenize", _TOKENS, "The text of tokens", takes="DetokenizeRequest", gives="Detokenized"
    ),
    ("/v1/audio/transcriptions", "POST"): _speech("transcribe", "Write down what is said"),
    ("/v1/audio/translations", "POST"): _speech("translate", "Write down in English what is said"),
}

_METRICS = Operation(
    "metrics", _STATE, "All counts, for Prometheus", gives=((PLAIN, None), ("application/openmetrics-text", None))
)
_PING = Operation(
    "ping", _STATE, "Whether the process lives", "As vLLM and SageMaker have it.", gives=((JSON, "Alive"),)
)
_HEALTH = Operation(
    "health",
    _STATE,
    "The state of the cluster",
    "503 while no backend is usable.",
    gives=((JSON, "Health"),),
    unhealthy="Health",
)
_LIVE = Operation("livez", _STATE, "Whether the process lives", gives=((JSON, "Alive"),))
_READY = Operation(
    "readyz",
    _STATE,
    "Whether requests should be sent here",
    "503 while it drains, and without a usable backend.",
    gives=((JSON, "Readiness"),),
    unhealthy="Readiness",
)
_PAGES: dict[tuple[str, str], Operation] = {
    ("/openapi.json", "GET"): Operation("openapi", _DOCS, "This document", gives=((JSON, "Document"),)),
    ("/docs", "GET"): Operation("docs", _DOCS, "This document, to try out", gives=((HTML, None),)),
    ("/redoc", "GET"): Operation("redoc", _DOCS, "This document, to read", gives=((HTML, None),)),
    ("/docs/{file}", "GET"): Operation(
        "docsFile",
        _DOCS,
        "What those pages are made of",
        gives=(("text/javascript", None), ("text/css", None), ("image/svg+xml", None)),
        errors=("NotFound",),
        parameters=("DocsFile",),
    ),
}

_STATUS: dict[tuple[str, str], Operation] = {
    ("/status", "GET"): Operation("status", _STATE, "The status page", gives=((HTML, None),)),
    ("/status/page.css", "GET"): Operation("statusStyle", _STATE, "How it looks", gives=(("text/css", None),)),
    ("/status/page.js", "GET"): Operation("statusScript", _STATE, "What it does", gives=(("text/javascript", None),)),
    ("/status/icon.svg", "GET"): Operation("statusIcon", _STATE, "Its icon", gives=(("image/svg+xml", None),)),
    ("/status/events", "GET"): Operation(
        "statusEvents",
        _STATE,
        "What the status page shows",
        "Events until one side has enough.",
        gives=((EVENTS, "Seen"),),
        errors=("Unauthorized", "Forbidden"),
    ),
}
_LIVEZ_POST = Operation("livezPost", _STATE, "Whether the process lives", gives=((JSON, "Alive"),))

OWN: dict[tuple[str, str], Operation] = {
    ("/", "GET"): Operation("about", _STATE, "What this is", gives=((JSON, "About"),)),
    ("/health", "GET"): _HEALTH,
    ("/ping", "GET"): _PING,
    ("/ping", "POST"): Operation("pingPost", _STATE, "Whether the process lives", gives=((JSON, "Alive"),)),
    ("/livez", "GET"): _LIVE,
    ("/livez", "POST"): _LIVEZ_POST,
    ("/readyz", "GET"): _READY,
    ("/version", "GET"): Operation("version", _STATE, "The router's version", gives=((JSON, "Version"),)),
    ("/metrics", "GET"): _METRICS,
    ("/v1/models", "GET"): Operation("models", _MODELS, "What the backends serve", gives=((JSON, "Models"),)),
    ("/v1/models/{id}", "GET"): Operation(
        "model", _MODELS, "One model", gives=((JSON, "Model"),), errors=("NotFound",), parameters=("ModelId",)
    ),
    **_STATUS,
    **_PAGES,
}

_ASKED = ("Unauthorized", "Forbidden")
_ORDERED = (*_ASKED, "NotFound", "Conflict", "UnsupportedMediaType", "Unprocessable")


def _order(
    name: str,
    summary: str,
    description: str = "",
    *,
    parameters: Sequence[str] = ("BackendName",),
    tag: str = _BACKENDS,
) -> Operation:
    """Return an operation that changes something."""
    told = f"{description} It must be sent as JSON.".strip()
    return Operation(
        name,
        tag,
        summary,
        told,
        takes=(JSON, "Nothing"),
        gives=((JSON, "Done"),),
        errors=_ORDERED,
        parameters=tuple(parameters),
    )


ADMIN: dict[tuple[str, str], Operation] = {
    ("/admin/backends", "GET"): Operation(
        "backends", _BACKENDS, "All backends as they are now", gives=((JSON, "Backends"),), errors=_ASKED
    ),
    ("/admin/backends", "POST"): Operation(
        "addBackend",
        _BACKENDS,
        "One more backend",
        "It holds until the configuration is read anew.",
        takes=(JSON, "NewBackend"),
        gives=((JSON, "Done"),),
        status="201",
        errors=_ORDERED,
    ),
    ("/admin/backends/{name}", "GET"): Operation(
        "backend",
        _BACKENDS,
        "A backend as it is now",
        gives=((JSON, "Backend"),),
        errors=(*_ASKED, "NotFound"),
        parameters=("BackendName",),
    ),
    ("/admin/backends/{name}", "DELETE"): _order(
        "removeBackend", "Remove it", "What it has at work is finished.", parameters=("BackendName", "Force")
    ),
    ("/admin/backends/{name}/drain", "POST"): _order("drain", "Give it no new requests"),
    ("/admin/backends/{name}/undrain", "POST"): _order("undrain", "Give it requests again"),
    ("/admin/reload", "POST"): _order(
        "reload", "Read the configuration anew", "A bad one changes nothing.", parameters=(), tag=_PROCESS
    ),
    ("/admin/config", "GET"): Operation(
        "config",
        _PROCESS,
        "Every value that holds, and where it came from",
        "Keys are masked.",
        gives=((PLAIN, None),),
        errors=_ASKED,
    ),
    ("/config", "GET"): Operation(
        "configObject", _PROCESS, "The same as an object", gives=((JSON, "Configuration"),), errors=_ASKED
    ),
    ("/health", "GET"): _HEALTH,
    ("/livez", "GET"): _LIVE,
    ("/livez", "POST"): _LIVEZ_POST,
    ("/readyz", "GET"): _READY,
    ("/metrics", "GET"): _METRICS,
    **_STATUS,
    **_PAGES,
}


def further(path: str, method: str) -> Operation:
    """Return what is said of a path that was configured."""
    name = method.lower() + "".join(part.title() for part in path.replace("-", "/").split("/"))
    return Operation(
        name,
        "Further routes",
        "Passed through",
        "By `server.extra_routes`: the backend decides what it takes and gives.",
    )


def content_of(kinds: Sequence[tuple[str, str | None]]) -> Mapping[str, Schema]:
    """Return the `content` of a body."""
    return {kind: {"schema": _schema_of(kind, name)} for kind, name in kinds}


def _schema_of(kind: str, name: str | None) -> Schema:
    if name is None:
        return TEXT
    return events_of(name) if kind == EVENTS else ref(name)
