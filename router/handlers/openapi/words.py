"""What the whole document is written with: schemas in a line each, the headers, the error answers."""

from collections.abc import Mapping, Sequence
from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
TEXT_OR_NONE: Schema = {"type": ["string", "null"]}
NUMBER: Schema = {"type": "number"}
NUMBER_OR_NONE: Schema = {"type": ["number", "null"]}
WHOLE: Schema = {"type": "integer"}
COUNT: Schema = {"type": "integer", "minimum": 0}
COUNT_OR_NONE: Schema = {"type": ["integer", "null"], "minimum": 0}
FLAG: Schema = {"type": "boolean"}
FLAG_OR_NONE: Schema = {"type": ["boolean", "null"]}
OBJECT: Schema = {"type": "object", "additionalProperties": True}
OBJECT_OR_NONE: Schema = {"type": ["object", "null"], "additionalProperties": True}
MODEL: Schema = {
    "type": ["string", "null"],
    "description": "One of /v1/models. It may be left out where exactly one model is served.",
}

JSON = "application/json"
EVENTS = "text/event-stream"
PLAIN = "text/plain"


def ref(name: str, *, kind: str = "schemas") -> Schema:
    """Return the reference to a component."""
    return {"$ref": f"#/components/{kind}/{name}"}


def listed(items: Schema, *, least: int | None = None) -> Schema:
    """Return the schema of a list; `least`: how many items it must have."""
    return {"type": "array", "items": items, **({} if least is None else {"minItems": least})}


def one_of(*words: str) -> Schema:
    """Return the schema of one of these words."""
    return {"type": "string", "enum": list(words)}


def either(*schemas: Schema) -> Schema:
    """Return the schema of what fits at least one of these."""
    return {"anyOf": list(schemas)}


def record(
    properties: Mapping[str, Schema],
    *,
    needs: Sequence[str] = (),
    tells: str = "",
    example: Mapping[str, Any] | None = None,
) -> Schema:
    """Return the schema of an object. Fields that are not named are allowed: they are passed on as they are.

    `needs`: fields that must be there; `tells`: its description; `example`: what to begin with.
    """
    schema: Schema = {"type": "object", "properties": dict(properties), "additionalProperties": True}
    if needs:
        schema["required"] = list(needs)
    if tells:
        schema["description"] = tells
    if example is not None:
        schema["examples"] = [dict(example)]
    return schema


def events_of(name: str) -> Schema:
    """Return the schema of each event of a stream; its data is of the schema `name`, or an error."""
    data = {"contentMediaType": JSON, "contentSchema": either(ref(name), ref("Error"))}
    properties = {
        "event": told(TEXT, "Its name, where the API names its events."),
        "data": {**TEXT, **data, "description": "JSON; of OpenAI's APIs the last one is `[DONE]`."},
    }
    return record(properties, needs=("data",), tells="Each event.")


def told(schema: Schema, description: str) -> Schema:
    """Return the schema with a description."""
    return {**schema, "description": description}


ERROR = record(
    {
        "error": record(
            {
                "message": told(TEXT, "What is wrong, for people."),
                "type": told(TEXT, "`invalid_request_error`: the request's fault; `server_error`: not the request's."),
                "param": told(TEXT_OR_NONE, "The field that it is about."),
                "code": told(TEXT_OR_NONE, "A word for programs, as `model_not_found` or `context_length_exceeded`."),
            },
            needs=("message", "type", "param", "code"),
        ),
        "type": {"const": "error", "description": "Of the Messages and the Responses API only, as theirs have it."},
    },
    needs=("error",),
    tells="Every error that a client is told, whoever has found it: OpenAI's form.",
)

HEADERS: dict[str, Schema] = {
    "X-Request-Id": {
        "description": "Of this exchange: the client's own, or a new one. It stands in the log, and backends get it.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"},
    },
    "X-Router-Translation": {
        "description": "The rules of translation by which something of the request got lost; docs/translation.md.",
        "schema": TEXT,
    },
    "X-Router-Backend": {
        "description": "The backend that answers; with `server.reveal_backend` only.",
        "schema": TEXT,
    },
    "X-Router-Attempts": {
        "description": "How many attempts it took; with `server.reveal_backend` only.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "X-Router-Session": {
        "description": "The conversation that it belongs to; with `sessions.enabled` only.",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
    },
    "Retry-After": {
        "description": "Seconds after which it may be tried again.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "X-Should-Retry": {
        "description": "`false`: the router has tried again already, so clients should not. SDKs of OpenAI read it.",
        "schema": {"type": "string", "enum": ["true", "false"]},
    },
    "Allow": {"description": "The methods that the path takes.", "required": True, "schema": TEXT},
    "WWW-Authenticate": {"description": "How to say who one is.", "required": True, "schema": TEXT},
}

# Of every error: name of the component -> (status, what it means, further headers).
_ERRORS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "BadRequest": ("400", "The request cannot be understood, or its backend refuses it.", ()),
    "Unauthorized": ("401", "The token is missing or wrong.", ("WWW-Authenticate",)),
    "Forbidden": ("403", "Not from there: the Host is not one of this listener.", ()),
    "NotFound": ("404", "There is no such thing, or no such model.", ()),
    "MethodNotAllowed": ("405", "The path does not take this method.", ("Allow",)),
    "RequestTimeout": ("408", "The request did not come in time.", ()),
    "Conflict": ("409", "It cannot be done as things are.", ()),
    "TooLarge": ("413", "The body is too large (`server.max_body`).", ()),
    "UriTooLong": ("414", "The request line is too long (`server.max_start_line`).", ()),
    "UnsupportedMediaType": ("415", "Another Content-Type or Content-Encoding than the route takes.", ()),
    "Unprocessable": ("422", "It is understood, and not valid.", ()),
    "TooMany": ("429", "The backends say: not now.", ("Retry-After", "X-Should-Retry")),
    "HeadersTooLarge": ("431", "Too many headers, or too long ones.", ()),
    "Refused": ("4XX", "Any other refusal of the backend, in the same form.", ()),
    "Failed": ("500", "The router or its backend has failed.", ("X-Should-Retry",)),
    "BadGateway": ("502", "The backend could not be reached, or broke before its answer began.", ("X-Should-Retry",)),
    "Unavailable": (
        "503",
        "No backend can take it now, or there is too much at work.",
        ("Retry-After", "X-Should-Retry"),
    ),
    "GatewayTimeout": ("504", "The backend, or the whole exchange, took too long.", ("X-Should-Retry",)),
}
# What the wire may say to any request.
ANYWHERE = ("BadRequest", "RequestTimeout", "UriTooLong", "HeadersTooLarge", "TooLarge", "Failed", "Unavailable")


def headers(*names: str) -> dict[str, Schema]:
    """Return the headers of an answer; the request's id is one of each."""
    return {name: ref(name, kind="headers") for name in ("X-Request-Id", *names)}


def error_components() -> dict[str, Schema]:
    """Return the answers that are errors, by name."""
    return {
        name: {
            "description": description,
            "headers": headers(*further),
            "content": {JSON: {"schema": ref("Error")}},
        }
        for name, (_, description, further) in _ERRORS.items()
    }


def errors(*names: str) -> dict[str, Schema]:
    """Return the `responses` of an operation for these errors, by status."""
    return {_ERRORS[name][0]: ref(name, kind="responses") for name in sorted(names, key=lambda each: _ERRORS[each][0])}
