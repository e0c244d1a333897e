"""A configuration before it has types: leaves with their texts, each knowing where it came from. Pure.

Leaf      one value, its origin (`router.yaml:3`, `env PROXY_PORT`), and what a fault may show of it
Branch    a section (names to nodes) or a list
path      names and list positions from the root: ("backends", 0, "url"), written `backends.0.url`
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

Path = tuple[str | int, ...]


@dataclass(slots=True)
class Leaf:
    """One value."""

    value: object  # text mostly; None for an explicit null
    origin: str
    line: int | None = None  # 1-based line of the YAML file
    shown: str | None = None  # what a fault may quote; None: nothing (it may be a secret)
    typed: str = ""  # the name that the user typed, where it is not the path: "env PROXY_PORT"

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing was written."""
        return self.value is None or self.value == ""


@dataclass(slots=True)
class Branch:
    """A section or a list of nodes."""

    items: dict[str, "Node"] | list["Node"] = field(default_factory=dict)
    origin: str = ""
    line: int | None = None


Node = Leaf | Branch


def dotted(path: Path) -> str:
    """Write a path as `backends.0.url`."""
    return ".".join(str(part) for part in path)


def child(node: Node | None, part: str | int) -> Node | None:
    """Return the node below `node`, or None."""
    if not isinstance(node, Branch):
        return None
    if isinstance(node.items, dict):
        return node.items.get(str(part))
    return node.items[part] if isinstance(part, int) and 0 <= part < len(node.items) else None


def find(root: Node, path: Path) -> Node | None:
    """Return the node at `path`, or None."""
    node: Node | None = root
    for part in path:
        node = child(node, part)
    return node


def nearest(root: Node, path: Path) -> Node:
    """Return the deepest node that exists on the way to `path`."""
    node = root
    for part in path:
        below = child(node, part)
        if below is None:
            return node
        node = below
    return node


def put(root: Branch, path: Path, node: Node) -> None:
    """Set the node at `path`; sections on the way are made. A value where a section belongs stays: it is a fault."""
    at = root
    for part in path[:-1]:
        below = child(at, part)
        if isinstance(below, Leaf) and not below.is_empty:
            return
        if not isinstance(below, Branch):
            below = Branch(origin=node.origin)
            _set(at, part, below)
        at = below
    _set(at, path[-1], node)


def _set(branch: Branch, part: str | int, node: Node) -> None:
    if isinstance(branch.items, dict):
        branch.items[str(part)] = node
    elif isinstance(part, int):
        branch.items[part] = node


def take(root: Branch, path: Path) -> Node | None:
    """Remove the node at `path` of a section, and return it."""
    parent = find(root, path[:-1])
    if not isinstance(parent, Branch) or not isinstance(parent.items, dict):
        return None
    return parent.items.pop(str(path[-1]), None)


def plain(node: Node) -> object:
    """Return the values alone, as dicts, lists and texts."""
    if isinstance(node, Leaf):
        return node.value
    if isinstance(node.items, dict):
        return {name: plain(below) for name, below in node.items.items()}
    return [plain(below) for below in node.items]


def origins(node: Node, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Yield where each value came from; a list of texts is one value."""
    if isinstance(node, Leaf):
        yield path, node.origin
    elif isinstance(node.items, dict):
        for name, below in node.items.items():
            yield from origins(below, (*path, name))
    elif any(isinstance(below, Branch) for below in node.items):
        for number, below in enumerate(node.items):
            yield from origins(below, (*path, number))
    else:
        yield path, node.items[0].origin if node.items else node.origin


def leaves(node: Node, path: Path = ()) -> Iterator[tuple[Path, Leaf]]:
    """Yield every leaf with its path."""
    if isinstance(node, Leaf):
        yield path, node
        return
    pairs = node.items.items() if isinstance(node.items, dict) else enumerate(node.items)
    for part, below in pairs:
        yield from leaves(below, (*path, part))
