"""Whether what came out is what a case states."""

import json
from typing import Any


def agrees(got: Any, stated: Any) -> bool:
    """Whether it is what a case states, where "*" stands for any text or null, and an object in the place of text for
    the JSON text of it."""
    if stated == "*":
        return got is None or isinstance(got, str)
    if isinstance(stated, dict):
        if isinstance(got, str):
            return json.loads(got) == stated
        return isinstance(got, dict) and got.keys() == stated.keys() and all(agrees(got[k], stated[k]) for k in stated)
    if isinstance(stated, list):
        return isinstance(got, list) and len(got) == len(stated) and all(map(agrees, got, stated))
    return bool(got == stated)


def assert_view(got: dict[str, Any], stated: dict[str, Any]) -> None:
    """A stated view has no `usage` where the case is not about it; its ending "any" is not judged."""
    stated = {"ending": "done", **stated}
    assert agrees(got["choices"], stated["choices"]), got["choices"]
    if stated["ending"] != "any":
        assert got["ending"] == stated["ending"]
    if "usage" in stated:
        assert got["usage"] == stated["usage"]
    for key, value in stated.get("error", {}).items():
        assert got["error"][key] == value
