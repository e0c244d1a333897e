from typing import Any

import pytest

from router.simulator.refusals import Refusal
from router.simulator.schemas import smallest


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "object", "properties": {"a": {"type": "string"}, "b": {}}, "required": ["a"]}, {"a": ""}),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [0, 0]),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "integer", "exclusiveMinimum": 3}, 4),
        ({"type": "number", "maximum": -2.5}, -2.5),
        ({"type": "string", "minLength": 3}, "xxx"),
        ({"type": "string", "format": "date"}, "2026-01-01"),
        ({"enum": ["celsius", "kelvin"]}, "celsius"),
        ({"const": 7}, 7),
        ({"type": ["null", "string"]}, None),
        ({"type": "boolean"}, False),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, 0),
        ({"allOf": [{"required": ["a"]}, {"properties": {"a": {"const": 1}}}], "type": "object"}, {"a": 1}),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"type": "string"}}}, ""),
        ({}, {}),
    ],
)
def test_the_smallest_value_conforms(schema: Any, value: Any) -> None:
    assert smallest(schema) == value


def test_a_schema_that_refers_to_itself_ends() -> None:
    smallest({"type": "object", "properties": {"me": {"$ref": "#"}}, "required": ["me"]})


def test_a_type_that_does_not_exist_is_refused_as_by_a_grammar() -> None:
    with pytest.raises(Refusal, match="Invalid type: nope"):
        smallest({"type": "nope"})
