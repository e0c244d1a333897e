"""The smallest JSON value that a JSON schema allows: what a constrained model writes here."""

from typing import Any

from router.simulator.refusals import Refusal, bad

_DEEPEST = 64  # nested schemas; deeper ones (also those that refer to themselves) become null
_TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
_FORMATS = {
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "date-time": "2026-01-01T00:00:00Z",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "email": "a@example.com",
    "uri": "http://example.com/",
    "ipv4": "192.0.2.1",
}


def smallest(schema: Any, *, root: Any = None, depth: int = 0) -> Any:
    """Return a value that conforms: what is required, and no more. Raises Refusal for a type that does not exist.

    `pattern`, `not`, `if` and the like are not looked at.
    """
    root = schema if root is None else root
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return None
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    inner = _inner(schema, root)
    if inner is not None:
        return smallest(inner, root=root, depth=depth + 1)
    kind = _kind(schema)
    if kind == "object":
        return _object(schema, root, depth)
    if kind == "array":
        return _array(schema, root, depth)
    return _scalar(schema, kind)


def _inner(schema: dict[str, Any], root: Any) -> Any:
    """Return the schema that stands in for this one, or None."""
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        found = root
        for name in reference.lstrip("#/").split("/") if reference != "#" else ():
            found = found.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        return found
    for name in ("anyOf", "oneOf"):
        if isinstance(schema.get(name), list) and schema[name]:
            return schema[name][0]
    parts = schema.get("allOf")
    if isinstance(parts, list) and parts:
        return _merged([part for part in parts if isinstance(part, dict)], schema)
    return None


def _merged(parts: list[dict[str, Any]], schema: dict[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {name: value for name, value in schema.items() if name != "allOf"}
    for part in parts:
        for name, value in part.items():
            if name == "properties":
                merged[name] = {**merged.get(name, {}), **value}
            elif name == "required":
                merged[name] = [*merged.get(name, []), *value]
            else:
                merged.setdefault(name, value)
    return merged


def _kind(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    if kind is None:
        kind = "array" if "items" in schema else "string" if "minLength" in schema else "object"
    if kind not in _TYPES:
        raise invalid_type(kind)
    return str(kind)


def invalid_type(kind: Any) -> Refusal:
    """Return the 400 of a schema that cannot be compiled."""
    return bad(f"Grammar error: failed to compile JSON schema: Invalid type: {kind}")


def _object(schema: dict[str, Any], root: Any, depth: int) -> dict[str, Any]:
    properties = schema.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    needed = [name for name in schema.get("required") or () if isinstance(name, str)]
    return {name: smallest(properties.get(name, {"type": "string"}), root=root, depth=depth + 1) for name in needed}


def _array(schema: dict[str, Any], root: Any, depth: int) -> list[Any]:
    count = schema.get("minItems")
    count = count if isinstance(count, int) and 0 <= count <= 1000 else 0
    return [smallest(schema.get("items", {"type": "null"}), root=root, depth=depth + 1) for _ in range(count)]


def _scalar(schema: dict[str, Any], kind: str) -> Any:
    if kind in ("integer", "number"):
        lowest = schema.get("minimum", 0)
        if "exclusiveMinimum" in schema:
            lowest = schema["exclusiveMinimum"] + 1
        highest = schema.get("maximum", lowest)
        value = lowest if lowest > 0 or "minimum" in schema or "exclusiveMinimum" in schema else min(0, highest)
        return int(value) if kind == "integer" else value
    if kind == "string":
        text = _FORMATS.get(str(schema.get("format")), "")
        least = schema.get("minLength")
        return text.ljust(min(least, 10_000), "x") if isinstance(least, int) else text
    return {"boolean": False, "null": None}[kind]
