"""Makes the OpenAPI document: every path that is served, with its methods and under its other names.

What is served is read from the table of routes and from the paths that handlers have; `operations` has the words.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from router import __version__
from router.handlers.openapi import calls, chats, own
from router.handlers.openapi.operations import ADMIN, OWN, RELAYED, Operation, content_of, further
from router.handlers.openapi.words import (
    ANYWHERE,
    HEADERS,
    JSON,
    TEXT,
    Schema,
    error_components,
    errors,
    headers,
    ref,
    told,
)
from router.handlers.routes import CANCEL, MODELS, RESPONSE, RouteTable
from router.relay.route import Body, Route

OPENAPI = "3.1.0"
ALSO_AT = "x-router-also-at"  # further paths that lead to the same
ANY_FILE = "/docs/{file}"

_OF_RELAYED = (
    *("NotFound", "UnsupportedMediaType", "TooMany", "Refused", "BadGateway", "GatewayTimeout"),
    *ANYWHERE,
)
_ABOUT = """\
One OpenAI-compatible base URL in front of a cluster of vLLM servers. Fields that a schema does not name are passed to
the backend as they are, and what an answer says besides to the client.

- Every GET that the router answers itself takes HEAD as well, unless it streams; every path takes OPTIONS.
- `x-router-also-at` lists further paths of the same route: any base URL that a client is used to works.
- Every error has the form of OpenAI's: the schema `Error`.
- A stream is whole only when its end mark has come (`data: [DONE]`); one that breaks ends with an `Error` instead.
  Comment lines (`: keepalive`) may stand between events.
"""
_ABOUT_ADMIN = """\
For operators: the backends, the configuration, the state. What changes anything must be sent with
`Content-Type: application/json`. Where `admin.token` is set, nothing under /admin goes without it.
"""
_KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "The router asks for none. It is passed to backends with `server.forward_authorization` only, "
    "unless they have a key of their own (`backends.*.api_key`).",
}
_TOKEN = {"type": "http", "scheme": "bearer", "description": "`admin.token`, where one is configured."}


def public_document(
    table: RouteTable, paths: Iterable[str], *, metrics_path: str | None, deadline_header: str
) -> dict[str, Any]:
    """Return the document of the clients' listener. `paths`: those that the router answers itself."""
    relayed = {**_relayed(table), **_objects(table)}
    pages = _pages(paths, OWN, metrics_path)
    return _document(
        "devstral-router",
        _ABOUT,
        {**relayed, **{path: pages[path] for path in pages if path not in relayed}},
        schemas={**own.SHARED, **own.PUBLIC, **chats.SCHEMAS, **calls.SCHEMAS},
        security=("apiKey", _KEY),
        deadline_header=deadline_header,
    )


def admin_document(paths: Iterable[str]) -> dict[str, Any]:
    """Return the document of the operators' listener. `paths`: those that it has."""
    return _document(
        "devstral-router, for operators",
        _ABOUT_ADMIN,
        _pages(paths, ADMIN, "/metrics"),
        schemas={**own.SHARED, **own.ADMIN},
        security=("adminToken", _TOKEN),
        deadline_header=None,
    )


def _document(
    title: str,
    about: str,
    paths: Mapping[str, Schema],
    *,
    schemas: Mapping[str, Schema],
    security: tuple[str, Schema],
    deadline_header: str | None,
) -> dict[str, Any]:
    name, scheme = security
    used = [operation["tags"][0] for path in paths.values() for operation in path.values() if "tags" in operation]
    return {
        "openapi": OPENAPI,
        "info": {
            "title": title,
            "version": __version__,
            "description": about,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": ".", "description": "where this document lies, whatever stands in front"}],
        "security": [{}, {name: []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(used)],
        "paths": dict(paths),
        "components": {
            "schemas": dict(schemas),
            "headers": HEADERS,
            "parameters": _parameters(deadline_header),
            "responses": error_components(),
            "securitySchemes": {name: scheme},
        },
    }


# Paths


def _relayed(table: RouteTable) -> dict[str, Schema]:
    """Return the path items of routes with exact paths."""
    items: dict[str, Schema] = {}
    others: dict[str, list[str]] = {}
    for path, match in table.exact.items():
        for method, route in match.routes.items():
            if path == route.path:
                item = items.setdefault(path, {"parameters": _asked()})
                item[method.lower()] = _relayed_operation(route)
            elif path not in others.setdefault(route.path, []):
                others[route.path].append(path)
    for path, names in others.items():
        items[path][ALSO_AT] = names
    return items


def _objects(table: RouteTable) -> dict[str, Schema]:
    """Return the path items of what is asked for by its name: models, and stored answers."""
    items: dict[str, Schema] = {}
    for route in (*RESPONSE, CANCEL):
        item = items.setdefault(route.path, {"parameters": _asked(), ALSO_AT: _elsewhere(table, route.path)})
        item[route.method.lower()] = _relayed_operation(route)
    for path in (MODELS, f"{MODELS}/{{id}}"):
        items[path] = {
            "parameters": _asked(deadline=False),
            ALSO_AT: _elsewhere(table, path),
            "get": _operation(OWN[path, "GET"]),
        }
    return items


def _elsewhere(table: RouteTable, path: str) -> list[str]:
    rest = path.removeprefix("/v1")
    return [prefix + rest for prefix in table.prefixes if prefix != "/v1"]


def _pages(
    paths: Iterable[str], operations: Mapping[tuple[str, str], Operation], metrics_path: str | None
) -> dict[str, Schema]:
    """Return the path items of what is answered here. `metrics_path`: where the metrics are, if not at /metrics."""
    items: dict[str, Schema] = {}
    for path in paths:
        known = "/metrics" if path == metrics_path else path
        for (named, method), operation in operations.items():
            if named == known:
                items.setdefault(path, {"parameters": _asked(deadline=False)})[method.lower()] = _operation(operation)
    return items


def _asked(*, deadline: bool = True) -> list[Schema]:
    """Return the parameters that a request may carry, whatever it asks."""
    names = ("RequestId", "Deadline", "Traceparent") if deadline else ("RequestId",)
    return [ref(name, kind="parameters") for name in names]


# Operations


def _relayed_operation(route: Route) -> Schema:
    known = RELAYED.get((route.path, route.method)) if route.body is not Body.ANY else None
    operation = known or further(route.path, route.method)
    answer: Schema = {
        "description": "The backend's answer.",
        "headers": headers("X-Router-Translation", "X-Router-Backend", "X-Router-Attempts", "X-Router-Session"),
    }
    if known is None:
        body: Schema = {"requestBody": {"content": {"*/*": {}}}} if route.method != "GET" else {}
        return {
            **_head(operation),
            **body,
            "responses": {"2XX": answer, **errors(*_OF_RELAYED, "MethodNotAllowed")},
        }
    answer["content"] = content_of(operation.gives)
    return {
        **_head(operation),
        "responses": {operation.status: answer, **errors(*_OF_RELAYED, "MethodNotAllowed")},
    }


def _operation(operation: Operation) -> Schema:
    """Return an operation that is answered here."""
    answer: Schema = {
        "description": operation.summary + ".",
        "headers": headers(),
        "content": content_of(operation.gives),
    }
    responses: dict[str, Schema] = {
        operation.status: answer,
        **errors("MethodNotAllowed", *ANYWHERE, *operation.errors),
    }
    if operation.unhealthy is not None:
        responses["503"] = {
            "description": operation.description,
            "headers": headers(),
            "content": content_of(((JSON, operation.unhealthy),)),
        }
    return {**_head(operation), "responses": responses}


def _head(operation: Operation) -> Schema:
    """Return what an operation is called, and what it takes."""
    found: Schema = {"operationId": operation.name, "tags": [operation.tag], "summary": operation.summary}
    if operation.description:
        found["description"] = operation.description
    if operation.parameters:
        found["parameters"] = [ref(name, kind="parameters") for name in operation.parameters]
    if operation.takes is not None:
        found["requestBody"] = {"required": True, "content": content_of([operation.takes])}
    return found


def _parameters(deadline_header: str | None) -> dict[str, Schema]:
    found: dict[str, Schema] = {
        "Traceparent": {
            "name": "traceparent",
            "in": "header",
            "description": "Of W3C Trace Context: the trace that this is part of. Backends get it.",
            "schema": TEXT,
        },
        "RequestId": {
            "name": "X-Request-Id",
            "in": "header",
            "description": "Names the exchange in the answer, the log and at the backend. Another form is passed over.",
            "schema": HEADERS["X-Request-Id"]["schema"],
        },
        "ModelId": _path_parameter("id", "The name of a model.", {"type": "string", "minLength": 1}),
        "ResponseId": _path_parameter(
            "id", "Of a stored answer.", {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,128}$"}
        ),
        "BackendName": _path_parameter("name", "The name of a backend.", {"type": "string", "minLength": 1}),
        "DocsFile": _path_parameter("file", "The name of a file.", TEXT),
        "Force": {
            "name": "force",
            "in": "query",
            "description": "`true`: also the last one.",
            "schema": {"type": "string", "enum": ["true", "false"]},
        },
    }
    if deadline_header is None:
        return found
    deadline = told({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1_000_000}, "Seconds.")
    found["Deadline"] = {
        "name": deadline_header,
        "in": "header",
        "description": "How long the whole exchange may take; then 504, or an error event in a stream.",
        "schema": deadline,
    }
    return found


def _path_parameter(name: str, description: str, schema: Schema) -> Schema:
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}
