"""Schemas of tools: what the metaschema of JSON Schema's Draft-7 demands, and the repair of what it refuses (R26).

mistral-common checks `parameters` against Draft-7 only. What other drafts and other APIs write is said in Draft-7's
words where it has them; else the keyword goes, never the property. Keywords unknown to Draft-7 are not looked at.
"""

import enum
from collections.abc import Callable, Iterable, Mapping
from typing import cast

import msgspec

from router.translate.mistral.regexes import PATTERN_CHARACTERS, compiles
from router.translate.mistral.values import UNREADABLE, is_number, text_of

# Of nested objects and arrays. Checking costs jsonschema some ten frames for a level, and Python has a thousand.
MAX_DEPTH = 64
MAX_CONTAINERS = 10_000  # objects and arrays of one schema; jsonschema takes 0.1 ms for each

# Characters of all schemas of one request that come as JSON text, which nobody has counted the values of.
TEXT_CHARACTERS = 256 * 1024

ANY_OBJECT: Mapping[str, object] = {"type": "object"}


class Gone(enum.Enum):
    """Stands instead of a value: the keyword goes."""

    KEYWORD = enum.auto()


DROP = Gone.KEYWORD

TYPES = frozenset(("array", "boolean", "integer", "null", "number", "object", "string"))
# What Python and other languages call them; None: JSON's null in a list of types.
TYPE_NAMES: Mapping[object, str] = {
    **{name: name for name in TYPES},
    **{"str": "string", "int": "integer", "long": "integer", "float": "number", "double": "number", "bool": "boolean"},
    **{"dict": "object", "map": "object", "list": "array", "tuple": "array", "none": "null", None: "null"},
}


CONTAINERS = (dict, list)
EXCLUSIVE = (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum"))


class Mender:
    """Mends the schemas of one request, within its budgets of patterns and of texts."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._characters = PATTERN_CHARACTERS
        self._unread = TEXT_CHARACTERS

    def read(self, text: str) -> dict[str, object] | None:
        """Return the object that a schema in JSON text is, None where it is none or too long."""
        self._unread -= len(text)
        if self._unread < 0:
            return None
        try:
            schema = msgspec.json.decode(text)
        except UNREADABLE:
            return None
        return schema if isinstance(schema, dict) else None

    def mend(self, schema: object) -> dict[str, object]:
        """Return `schema` itself where it is an object that Draft-7 takes, else one that it takes (R26).

        What is nested too deep is left out; what is too large, or no object at all, becomes {"type": "object"}.
        """
        if not isinstance(schema, dict):
            return dict(ANY_OBJECT)
        depth, containers = _extent(schema)
        if containers > MAX_CONTAINERS:
            return dict(ANY_OBJECT)
        if depth > MAX_DEPTH:
            schema = cast("dict[str, object]", _pruned(schema, MAX_DEPTH))
        return self._object(schema)

    def _object(self, schema: dict[str, object]) -> dict[str, object]:
        told = _in_draft_7(schema)
        mended: dict[str, object] | None = None
        for keyword, value in told.items():
            if PLAIN.get(keyword) is type(value) or (keyword == "type" and type(value) is str and value in TYPES):
                continue
            if keyword in SIMPLE:
                better = SIMPLE[keyword](value)
            elif keyword in NESTED:
                better = NESTED[keyword](self, value)
            else:
                continue
            if better is value:
                continue
            if mended is None:
                mended = dict(told)
            if better is DROP:
                del mended[keyword]
            else:
                mended[keyword] = better
        return told if mended is None else mended

    def _subschema(self, value: object) -> object:
        if isinstance(value, dict):
            return self._object(value)
        return value if isinstance(value, bool) else DROP

    def _member(self, value: object) -> object:
        """Return what stands for one of several schemas: one that is none allows everything."""
        if isinstance(value, dict):
            return self._object(value)
        return value if isinstance(value, bool) else {}

    def _schemas(self, value: object) -> object:
        if not isinstance(value, list) or not value:
            return DROP
        mended = [self._member(schema) for schema in value]
        return mended if _differs(mended, value) else value

    def _items(self, value: object) -> object:
        return self._schemas(value) if isinstance(value, list) else self._subschema(value)

    def _map(self, value: object) -> object:
        if not isinstance(value, dict):
            return DROP
        mended = {name: self._member(schema) for name, schema in value.items()}
        return mended if _differs(mended.values(), value.values()) else value

    def _patterns(self, value: object) -> object:
        mended = self._map(value)
        if not isinstance(mended, dict):
            return mended
        bad = [name for name in mended if not self._compiles(name)]
        return {name: schema for name, schema in mended.items() if name not in bad} if bad else mended

    def _dependencies(self, value: object) -> object:
        if not isinstance(value, dict):
            return DROP
        mended = {
            name: _strings(needed) if isinstance(needed, list) else self._member(needed)
            for name, needed in value.items()
        }
        return mended if _differs(mended.values(), value.values()) else value

    def _pattern(self, value: object) -> object:
        return value if isinstance(value, str) and self._compiles(value) else DROP

    def _compiles(self, pattern: str) -> bool:
        self._characters -= len(pattern)
        return self._characters >= 0 and compiles(pattern)


def _differs(mended: Iterable[object], given: Iterable[object]) -> bool:
    return any(better is not value for better, value in zip(mended, given, strict=True))


def _in_draft_7(schema: dict[str, object]) -> dict[str, object]:
    """Return the schema with what older drafts say otherwise in Draft-7's words; itself where there is nothing.

    Draft-3: a property's `required: true` is its name in the list of required ones. Draft-4: `exclusiveMinimum: true`
    makes the minimum exclusive.
    """
    told = schema
    properties = schema.get("properties")
    if isinstance(properties, dict):
        demanded = [name for name, own in properties.items() if isinstance(own, dict) and own.get("required") is True]
        if demanded:
            listed = schema.get("required")
            told = {**told, "required": [*(listed if isinstance(listed, list) else ()), *demanded]}
    for bound, exclusive in EXCLUSIVE:
        if exclusive in told and told.get(exclusive) is True and is_number(told.get(bound)):
            told = {key: told[bound] if key == exclusive else value for key, value in told.items() if key != bound}
    return told


def _extent(schema: object) -> tuple[int, int]:
    """Return how deep containers are nested and how many there are, as far as either limit is passed."""
    depth, containers, level = 0, 0, [schema]
    while level and depth <= MAX_DEPTH and containers <= MAX_CONTAINERS:
        depth, containers = depth + 1, containers + len(level)
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else cast("list[object]", outer))
            if isinstance(inner, CONTAINERS)
        ]
    return depth, containers


def _pruned(value: object, left: int) -> object:
    """Return the value without what is nested deeper than `left` containers, which stay, empty."""
    if isinstance(value, dict):
        return {key: _pruned(inner, left - 1) for key, inner in value.items()} if left > 1 else {}
    if isinstance(value, list):
        return [_pruned(inner, left - 1) for inner in value] if left > 1 else []
    return value


def _text(value: object) -> object:
    return value if isinstance(value, str) else DROP


def _words(value: object) -> object:
    """Return what the model reads: anything else than text becomes JSON text."""
    if isinstance(value, str):
        return value
    return DROP if value is None else text_of(value)


def _flag(value: object) -> object:
    return value if isinstance(value, bool) else DROP


def _number(value: object) -> object:
    return value if is_number(value) else DROP


def _positive(value: object) -> object:
    return value if is_number(value) and cast("float", value) > 0 else DROP


def _count(value: object) -> object:
    is_count = is_number(value) and cast("float", value) >= 0 and cast("float", value) % 1 == 0
    return value if is_count else DROP


def _array(value: object) -> object:
    return value if isinstance(value, list) else DROP


def _examples(value: object) -> object:
    return value if isinstance(value, list) else DROP if value is None else [value]


def _strings(value: object) -> object:
    """Return a list of different strings."""
    if not isinstance(value, list):
        return DROP
    kept = list(dict.fromkeys(item for item in value if isinstance(item, str)))
    return value if len(kept) == len(value) else kept


def _type(value: object) -> object:
    """Return the names of types; what is not one of them, as "any", allows every type."""
    if not isinstance(value, list):
        return DROP if value is None else _type_name(value) or DROP
    names = [_type_name(item) for item in value]
    if not names or None in names:
        return DROP
    kept = list(dict.fromkeys(names))
    return value if kept == value else kept


def _type_name(value: object) -> str | None:
    if isinstance(value, str):
        return value if value in TYPES else TYPE_NAMES.get(value.lower())
    return TYPE_NAMES[None] if value is None else None


# Keywords whose values hold no schemas -> what becomes of the value: itself where Draft-7 takes it.
SIMPLE: Mapping[str, Callable[[object], object]] = {
    **dict.fromkeys(("$id", "$schema", "$ref", "$comment", "format", "contentMediaType", "contentEncoding"), _text),
    **dict.fromkeys(("title", "description"), _words),
    **dict.fromkeys(("readOnly", "uniqueItems"), _flag),
    **dict.fromkeys(("maximum", "minimum", "exclusiveMaximum", "exclusiveMinimum"), _number),
    **dict.fromkeys(("maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties"), _count),
    "multipleOf": _positive,
    "examples": _examples,
    "enum": _array,
    "required": _strings,
    "type": _type,
}

# Keywords -> a type of which each value is taken: the quickest look at what most schemas have.
PLAIN: Mapping[str, type] = {
    **dict.fromkeys(("title", "description", "$ref", "format"), str),
    **dict.fromkeys(("enum", "examples"), list),
    **dict.fromkeys(("additionalProperties", "uniqueItems"), bool),
}

# Keywords whose values hold schemas or patterns, the same.
NESTED: Mapping[str, Callable[[Mender, object], object]] = {
    **dict.fromkeys(("additionalItems", "contains", "additionalProperties", "propertyNames"), Mender._subschema),
    **dict.fromkeys(("if", "then", "else", "not"), Mender._subschema),
    **dict.fromkeys(("allOf", "anyOf", "oneOf"), Mender._schemas),
    **dict.fromkeys(("properties", "definitions"), Mender._map),
    "items": Mender._items,
    "patternProperties": Mender._patterns,
    "dependencies": Mender._dependencies,
    "pattern": Mender._pattern,
}
KEYWORDS = frozenset((*SIMPLE, *NESTED))  # all of Draft-7's but `default` and `const`, which may be anything
