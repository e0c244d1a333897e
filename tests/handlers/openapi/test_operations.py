"""Rules of router/handlers/openapi/operations.py: every route has its own words, and nothing else has."""

import pytest

from router.handlers import routes
from router.handlers.openapi.operations import ADMIN, OWN, RELAYED, Operation, content_of, further
from router.handlers.openapi.words import error_components
from tests.handlers.openapi.fitting import admin, public


def test_every_relayed_route_is_described_and_no_other() -> None:
    served = {(route.path, route.method) for route in (*routes.RELAYED, *routes.RESPONSE, routes.CANCEL)}

    assert set(RELAYED) == served


@pytest.mark.parametrize("table", [{**RELAYED, **OWN}, ADMIN], ids=["public", "admin"])
def test_no_two_operations_have_the_same_name(table: dict[tuple[str, str], Operation]) -> None:
    names = [operation.name for operation in table.values()]

    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("table", "document"), [({**RELAYED, **OWN}, public()), (ADMIN, admin())], ids=["public", "admin"]
)
def test_every_schema_is_there_and_is_used(
    table: dict[tuple[str, str], Operation], document: dict[str, object]
) -> None:
    components = document["components"]
    assert isinstance(components, dict)
    text = str(document) + " ".join(operation.description for operation in table.values())
    for operation in table.values():
        named = [name for _, name in (*operation.gives, *([operation.takes] if operation.takes else []))]
        assert {name for name in named if name is not None} <= set(components["schemas"])
        assert set(operation.parameters) <= set(components["parameters"])
        assert set(operation.errors) <= set(error_components())
    unused = {
        name
        for name in components["schemas"]
        if f"#/components/schemas/{name}'" not in text and f"`{name}`" not in text
    }
    assert not unused


def test_a_further_route_is_named_by_its_path() -> None:
    assert further("/v1/images/generations", "POST").name == "postV1ImagesGenerations"


def test_a_kind_without_a_schema_is_text() -> None:
    assert content_of([("text/html", None)]) == {"text/html": {"schema": {"type": "string"}}}


def test_a_stream_is_told_of_event_by_event() -> None:
    schema = content_of([("text/event-stream", "ChatChunk")])["text/event-stream"]["schema"]

    assert schema["properties"]["data"]["contentSchema"]["anyOf"][0] == {"$ref": "#/components/schemas/ChatChunk"}
    assert schema["required"] == ["data"]
