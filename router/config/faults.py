"""From what is wrong with a tree to faults that a person can act on: path, line, the name typed, a hint. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError

from router.config.keys import suggestion
from router.config.middlewares import names_of
from router.config.schema import Config
from router.config.tree import Branch, Leaf, Path, dotted, find, nearest
from router.errors import ConfigFault
from router.observe.redaction import is_secret

_SECRET_KEYS = frozenset({"api_key", "token"})  # never quoted
_SWITCHES = {  # the key that a scalar in the place of a section is likely meant for
    "admin": "enabled",
    "breaker": "enabled",
    "health": "enabled",
    "hedge": "after",
    "metrics": "enabled",
    "resume": "mode",
    "server.cors": "enabled",
    "tracing": "enabled",
}
_MAX_QUOTED = 80  # characters of a value that a fault quotes


def fault_at(tree: Branch, path: Path, message: str, *, hint: str | None = None) -> ConfigFault:
    """Return a fault for the key at `path`, with the line, and the foreign name if it came by one."""
    node = nearest(tree, path)
    typed = f" ({node.typed})" if isinstance(node, Leaf) and node.typed else ""
    return ConfigFault(dotted(path), message + typed, line=node.line, hint=hint)


def quoted(leaf: Leaf, path: Path) -> str:
    """Return ", not 'value'" where the value may be shown: a URL with a user or a query may hold a secret."""
    is_secret_option = path[0] == "middlewares" and is_secret(str(path[-1]))
    if leaf.shown is None or path[-1] in _SECRET_KEYS or is_secret_option or set("@?") & set(leaf.shown):
        return ""
    return f", not {leaf.shown[:_MAX_QUOTED]!r}" if leaf.shown else ", not empty"


def from_validation(error: ValidationError, tree: Branch) -> list[ConfigFault]:
    """Return one fault per error that pydantic found in the tree's values."""
    return [_fault(item, tree) for item in error.errors(include_url=False, include_input=False)]


def _fault(item: Any, tree: Branch) -> ConfigFault:
    path: Path = tuple(item["loc"])
    kind: str = item["type"]
    node = find(tree, path)
    if kind == "extra_forbidden":
        return fault_at(tree, path, "unknown key", hint=suggestion(path, _options(tree, path)))
    if kind == "missing":
        return fault_at(tree, path, "is missing")
    if kind == "value_error":
        tail = quoted(node, path) if isinstance(node, Leaf) else ""
        return fault_at(tree, path, f"{item['ctx']['error']}{tail}")
    if kind in ("tuple_type", "list_type"):
        return fault_at(tree, path, "must be a list", hint="each item on a line of its own, after a dash")
    if kind.startswith(("model_", "dict_")):
        hint = "write - url: http://..." if path[0] == "backends" and len(path) == 2 else "keys below it, indented"
        return fault_at(tree, path, "must be a section", hint=_switch(node, path) or hint)
    return fault_at(tree, path, str(item["msg"]))


def _options(tree: Branch, path: Path) -> Sequence[str]:
    """Return the names beside an option of a middleware, which depend on its type; none for any other key."""
    if path[0] != "middlewares" or len(path) != 4:
        return ()
    kind = find(tree, (*path[:2], "type"))
    return names_of(kind.value) if isinstance(kind, Leaf) else ()


def _switch(node: object, path: Path) -> str | None:
    """Return the hint for `resume: off`, where resume.mode: off is meant; None where the value would be none for it."""
    key = _SWITCHES.get(dotted(path))
    if key is None or not isinstance(node, Leaf) or not node.shown:
        return None
    tree: object = {key: node.value}
    for part in reversed(path):
        tree = {part: tree}
    try:
        Config.model_validate(tree)
    except ValidationError:
        return None
    return f"did you mean {dotted(path)}.{key}: {node.shown[:_MAX_QUOTED]}?"


def without_repeats(faults: Iterable[ConfigFault]) -> list[ConfigFault]:
    """Return the first fault of every path, in the order of the file; those without a line come last."""
    first: dict[str, ConfigFault] = {}
    whole_file = [fault for fault in faults if not fault.path]
    for fault in faults:
        if fault.path:
            first.setdefault(fault.path, fault)
    found = [*dict.fromkeys(whole_file), *first.values()]
    return sorted(found, key=lambda fault: (fault.line is None, fault.line or 0))
