"""The shape of JSON: which paths it has, and of which types. Answers of one shape are alike to a client's parser."""

from typing import Any


def shape(value: Any, path: str = "") -> frozenset[str]:
    """Return the set of paths with the type at their end; elements of a list share a path."""
    if isinstance(value, dict):
        found = {f"{path}: object"}
        for key, inner in value.items():
            found |= shape(inner, f"{path}.{'*' if key.isdigit() else key}")
        return frozenset(found)
    if isinstance(value, list):
        found = {f"{path}: array"}
        for inner in value:
            found |= shape(inner, f"{path}[]")
        return frozenset(found)
    kinds = {bool: "boolean", int: "number", float: "number", str: "string", type(None): "null"}
    return frozenset({f"{path}: {kinds[type(value)]}"})
