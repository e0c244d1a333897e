"""Schemas of tools become what Draft-7's metaschema takes, held against the jsonschema package."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.translate.mistral.schema import KEYWORDS, MAX_CONTAINERS, MAX_DEPTH, Mender

jsonschema = pytest.importorskip("jsonschema")

TYPES = ["array", "boolean", "integer", "null", "number", "object", "string"]
TYPE_LIKE = st.sampled_from([*TYPES, "any", "String", "int", "float", "", "dict", None, True, 7])
NAMES = st.sampled_from(
    ["a", "b", "^x-", "(", "\\d+", "\\p{L}", "[z-a]", "(?<=a+)b", "[\u4e00-\u9fa5]", "\\u9fa5-[\\u9fa5"]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([0.0, 1.0, -1.0, 0.5, 2.5, 1e300, 10**30]),
    TYPE_LIKE,
    NAMES,
)
STRINGS = st.lists(st.one_of(NAMES, SCALARS), max_size=3)


def values_over(schemas: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Values of a keyword: scalars, lists of scalars, and schemas in all forms that keywords hold them."""
    return st.one_of(
        SCALARS,
        STRINGS,
        st.lists(TYPE_LIKE, max_size=3),
        schemas,
        st.lists(schemas, max_size=3),
        st.dictionaries(NAMES, st.one_of(schemas, STRINGS, SCALARS), max_size=3),
    )


def keyword_objects(values: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.dictionaries(
        st.sampled_from([*sorted(KEYWORDS), "default", "const", "$defs", "x-own"]), values, max_size=5
    )


SCHEMAS = st.recursive(
    st.one_of(st.booleans(), keyword_objects(SCALARS)),
    lambda inner: keyword_objects(values_over(inner)),
    max_leaves=12,
)
OBJECTS = SCHEMAS.filter(lambda schema: isinstance(schema, dict))


def is_taken(schema: object) -> bool:
    """Whether mistral-common's own check takes it."""
    try:
        jsonschema.Draft7Validator.check_schema(schema)
    except jsonschema.SchemaError:
        return False
    return True


def mended(schema: object) -> object:
    return Mender().mend(schema)


@settings(max_examples=200, deadline=None)
@given(OBJECTS)
def test_a_schema_is_left_as_it_is_exactly_where_draft_7_takes_it(schema: object) -> None:
    """Differential: what jsonschema takes stays the same object, what it refuses does not."""
    assert (mended(schema) is schema) == is_taken(schema)


@settings(max_examples=200, deadline=None)
@given(OBJECTS)
def test_what_was_mended_is_taken_and_stays_as_it_is(schema: object) -> None:
    before = copy.deepcopy(schema)
    better = mended(schema)

    assert is_taken(better)
    assert mended(better) is better
    assert schema == before  # the client's is not touched


def test_every_keyword_of_the_metaschema_is_known() -> None:
    """But for those that may be anything."""
    assert jsonschema.Draft7Validator.META_SCHEMA["properties"].keys() - {"default", "const"} == KEYWORDS


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({"properties": {"a": {"type": "any"}}}, {"properties": {"a": {}}}),
        # Draft-3's way to demand a property is said in the list.
        ({"properties": {"a": {"required": True}}}, {"properties": {"a": {}}, "required": ["a"]}),
        (
            {"properties": {"a": {"required": True}, "b": {"required": False}}, "required": ["b"]},
            {"properties": {"a": {}, "b": {}}, "required": ["b", "a"]},
        ),
        ({"minimum": 3, "exclusiveMinimum": True}, {"exclusiveMinimum": 3}),
        ({"maximum": 3, "exclusiveMaximum": False}, {"maximum": 3}),
        ({"type": "STRING"}, {"type": "string"}),
        ({"type": "float"}, {"type": "number"}),
        ({"type": ["string", None]}, {"type": ["string", "null"]}),
        ({"type": ["string", "any"]}, {}),
        ({"type": ["string", "string"]}, {"type": ["string"]}),
        ({"description": None, "title": 7}, {"title": "7"}),
        ({"examples": "x"}, {"examples": ["x"]}),
        ({"required": ["a", 1, "a"]}, {"required": ["a"]}),
        ({"required": "a", "enum": {}, "anyOf": [], "items": None, "minLength": -1}, {}),
        ({"anyOf": [{"type": "string"}, None]}, {"anyOf": [{"type": "string"}, {}]}),
        ({"properties": {"a": None}}, {"properties": {"a": {}}}),
        ({"properties": None}, {}),
        ({"pattern": "\\p{L}"}, {}),
        ({"patternProperties": {"(": {}, "a": {"type": "any"}}}, {"patternProperties": {"a": {}}}),
        ({"dependencies": {"a": ["b", 1], "b": 3}}, {"dependencies": {"a": ["b"], "b": {}}}),
    ],
)
def test_what_other_drafts_and_apis_write_is_said_in_draft_7(given_: object, expected: object) -> None:
    assert mended(given_) == expected


@pytest.mark.parametrize("schema", [None, True, [], "object", 3])
def test_what_is_no_object_takes_any_object(schema: object) -> None:
    assert mended(schema) == {"type": "object"}


def nested(depth: int, key: str = "items") -> dict[str, object]:
    schema: dict[str, object] = {"type": "string"}
    for _ in range(depth - 1):
        schema = {key: schema}
    return schema


def depth_of(text: str) -> int:
    return max(text[:end].count("{") - text[:end].count("}") for end in range(len(text) + 1))


@pytest.mark.parametrize("key", ["items", "default", "not", "x-own"])
def test_what_is_nested_too_deep_is_left_out(key: str) -> None:
    kept, cut = nested(MAX_DEPTH, key), nested(MAX_DEPTH + 900, key)

    assert mended(kept) is kept
    better = mended(cut)
    assert depth_of(json.dumps(better)) == MAX_DEPTH
    assert is_taken(better)
    assert mended(better) is better


def test_a_schema_that_is_too_large_takes_any_object() -> None:
    assert mended({"properties": {str(number): {} for number in range(MAX_CONTAINERS)}}) == {"type": "object"}


def test_patterns_beyond_the_budget_of_a_request_are_left_out() -> None:
    """Compiling patterns is slow, so a request has a budget of them."""
    mender = Mender()
    small, large = {"pattern": "a"}, {"pattern": "a" * 9_990}

    assert mender.mend(large) is large
    assert mender.mend(small) is small
    assert mender.mend({"pattern": "a" * 10}) == {}
