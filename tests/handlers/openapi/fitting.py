"""Both documents, as a router with the shipped configuration serves them; whether a value fits one of their schemas."""

from typing import Any

from jsonschema import Draft202012Validator

from router.handlers.openapi.document import admin_document, public_document
from router.handlers.openapi.operations import ADMIN, OWN
from router.handlers.routes import RouteTable


def public(extra: tuple[tuple[str, str], ...] = ()) -> dict[str, Any]:
    """Return the clients' document. `extra`: (method, path) of further routes."""
    table = RouteTable(("/v1", "/api/v1", "/"), extra)
    paths = [path for path, _ in OWN if "models" not in path]
    return public_document(table, paths, metrics_path="/metrics", deadline_header="X-Request-Timeout")


def admin() -> dict[str, Any]:
    """Return the operators' document."""
    return admin_document([path for path, _ in ADMIN])


def faults(name: str, value: object, document: dict[str, Any]) -> list[str]:
    """Return what of a value does not fit the schema called `name`."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(value)]
