"""Flags, environment, `.env` and foreign YAML keys laid over the file's tree, by the rows of `compat`. Pure.

Precedence: flags, environment, `.env`, the YAML file, generic names (HOST, PORT ...; environment before `.env`),
defaults. Where backends come from is never chosen silently: see `backend_sources`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from router import compat
from router.compat import Alias, Source, Unused
from router.config.backend_sources import Base, apply_to_backends, choose_base
from router.config.faults import fault_at
from router.config.substitute import expand
from router.config.tree import Branch, Leaf, Node, Path, child, dotted, find, leaves, put, take
from router.errors import ConfigFault

_FOREIGN = ("llm", "session")  # sections of another proxy's file


@dataclass(frozen=True, slots=True)
class Given:
    """What was said outside of the file."""

    flags: Mapping[str, Sequence[str]] = field(default_factory=dict)  # "--base-url" to its values
    environ: Mapping[str, str] = field(default_factory=dict)
    dotenv: Mapping[str, str] = field(default_factory=dict)
    own_names: frozenset[str] = frozenset()  # names and addresses of this machine


@dataclass(frozen=True, slots=True)
class Statement:
    """One row of the alias table that was used, with its value."""

    row: Alias
    value: object
    text: str
    origin: str
    typed: str
    line: int | None = None

    def leaf(self) -> Leaf:
        """Return the value as a leaf of the tree."""
        return Leaf(self.value, self.origin, self.line, self.text, self.typed)

    def node(self) -> Node:
        """Return the value as a node: a list of texts is a branch."""
        if not isinstance(self.value, list):
            return self.leaf()
        items: list[Node] = [Leaf(item, self.origin, self.line, self.text, self.typed) for item in self.value]
        return Branch(items, self.origin, self.line)


@dataclass(slots=True)
class Report:
    """What came of it, beside the changed tree."""

    faults: list[ConfigFault] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def fill_variables(tree: Branch, given: Given, report: Report) -> None:
    """Replace every ${VAR} in the tree's texts; the process environment is asked before `.env`."""
    known = {**given.dotenv, **given.environ}
    for path, leaf in leaves(tree):
        if not isinstance(leaf.value, str) or "$" not in leaf.value:
            continue
        expansion = expand(leaf.value, known)
        leaf.value = expansion.text
        for message, hint in expansion.problems:
            report.faults.append(ConfigFault(dotted(path), message, line=leaf.line, hint=hint))
        if expansion.names:
            names = [f"env {name}" if name in given.environ else f".env {name}" for name in expansion.names]
            leaf.typed = ", ".join(names)
            leaf.origin = f"{leaf.origin}, {leaf.typed}"


def drop_unused(tree: Branch, given: Given, report: Report) -> None:
    """Take out what is accepted without effect, and say so."""
    for row in compat.rows(Source.YAML):
        if row.path is None and (node := take(tree, _path(row.name))) is not None:
            report.notices.append(f"{row.name} ({node.origin}): {row.note}")
    for row in compat.rows(Source.ENV):
        if row.path is None and (given.environ.get(row.name) or given.dotenv.get(row.name)):
            report.notices.append(f"{row.name}: {row.note}")
    _rename_sections(tree, report)
    _drop_unused_options(tree, report)


def _rename_sections(tree: Branch, report: Report) -> None:
    """Take sections of other proxies for ours; both at once are a fault."""
    for name, ours in compat.SECTIONS.items():
        node = take(tree, (name,))
        if node is None:
            continue
        if find(tree, (ours,)) is not None:
            message = f"is given here and as {name} (line {node.line})"
            report.faults.append(fault_at(tree, (ours,), message, hint="keep one"))
        else:
            put(tree, (ours,), node)


def _drop_unused_options(tree: Branch, report: Report) -> None:
    """Take out options of middlewares that are accepted without effect, and say so."""
    entries = find(tree, ("middlewares",))
    for number, entry in enumerate(entries.items if isinstance(entries, Branch) else ()):
        kind = child(entry, "type") if isinstance(entry, Leaf | Branch) else None
        for name in compat.WITHOUT_EFFECT.get(str(kind.value), ()) if isinstance(kind, Leaf) else ():
            path: Path = ("middlewares", number, "config", name)
            if (node := take(tree, path)) is not None:
                report.notices.append(f"{dotted(path)} ({node.origin}): it has no effect here")


def lay_over(tree: Branch, given: Given, report: Report) -> None:
    """Lay everything that was said outside of the schema's own keys over the tree."""
    flags = list(_from_mapping({name: ",".join(values) for name, values in given.flags.items()}, Source.FLAG, report))
    env = list(_from_mapping(given.environ, Source.ENV, report))
    dotenv = list(_from_mapping(given.dotenv, Source.ENV, report, kind=".env"))
    from_yaml = list(_from_yaml(tree, report))
    above = [*flags, *(said for said in (*env, *dotenv) if not said.row.generic)]
    below = [said for said in (*env, *dotenv) if said.row.generic]

    for said in from_yaml:
        _enter(tree, said, report)
    for said in reversed([said for said in above if _is_plain(said)]):
        put(tree, _path(str(said.row.path)), said.node())
    for said in below:
        if find(tree, _path(str(said.row.path))) is None:
            put(tree, _path(str(said.row.path)), said.node())

    said_of_backends = [said for said in (*above, *from_yaml) if not _is_plain(said)]
    _backends(tree, said_of_backends, given, report)


def _path(text: str) -> Path:
    return tuple(text.split("."))


def _is_plain(said: Statement) -> bool:
    """Tell whether the row stands for one key, and not for backends."""
    return not str(said.row.path).startswith("backends")


def _from_mapping(
    texts: Mapping[str, str], source: Source, report: Report, *, kind: str = "env"
) -> Iterable[Statement]:
    """Yield what flags or variables say, in order of precedence. An empty variable says nothing."""
    for row in compat.rows(source):
        text = texts.get(row.name, "")
        if row.path is None or (not text.strip() and source is Source.ENV) or row.name not in texts:
            continue
        typed = row.name if source is Source.FLAG else f"{kind} {row.name}"
        try:
            yield Statement(row, row.convert(text), text, typed, typed)
        except Unused:
            continue
        except ValueError as error:
            report.faults.append(ConfigFault(row.path, f"{error}, not {text!r} ({typed})"))


def _from_yaml(tree: Branch, report: Report) -> Iterable[Statement]:
    """Take foreign keys out of the tree and yield what they say."""
    for row in compat.rows(Source.YAML):
        node = take(tree, _path(row.name)) if row.path is not None else None
        if node is None or (isinstance(node, Leaf) and node.is_empty):
            continue
        if not isinstance(node, Leaf):
            report.faults.append(ConfigFault(row.name, "must be one value", line=node.line))
            continue
        text, typed = str(node.value), f"{node.typed}, {row.name}".removeprefix(", ")
        try:
            value = row.convert(text)
        except ValueError as error:
            report.faults.append(ConfigFault(row.name, f"{error}", line=node.line))
            continue
        place, mark, variables = node.origin.partition(", ")
        origin = f"{place} {row.name}{mark}{variables}"
        yield Statement(row, value, node.shown or "", origin, typed, node.line)
    _drop_emptied(tree, report)


def _drop_emptied(tree: Branch, report: Report) -> None:
    """Take out foreign sections whose keys have all been read; what is left in them is unknown."""
    for section in _FOREIGN:
        known = [row.name for row in compat.rows(Source.YAML) if row.name.startswith(f"{section}.") and row.path]
        node = take(tree, (section,))
        if isinstance(node, Leaf) and not node.is_empty:
            report.faults.append(ConfigFault(section, "must be a section", line=node.line))
        elif isinstance(node, Branch) and isinstance(node.items, dict):
            for word, below in node.items.items():
                if f"{section}.{word}" not in known:
                    hint = f"{section} may have: " + ", ".join(name.removeprefix(f"{section}.") for name in known)
                    report.faults.append(ConfigFault(f"{section}.{word}", "unknown key", line=below.line, hint=hint))


def _enter(tree: Branch, said: Statement, report: Report) -> None:
    """Set our key from a foreign one of the same file; both at once are a fault."""
    if not _is_plain(said):
        return
    path = _path(str(said.row.path))
    if find(tree, path) is not None:
        message = f"is given here and as {said.row.name} (line {said.line})"
        report.faults.append(fault_at(tree, path, message, hint="keep one"))
    else:
        put(tree, path, said.node())


def _backends(tree: Branch, said: Sequence[Statement], given: Given, report: Report) -> None:
    """Decide where the backends come from, then lay keys, dialects and limits over them."""
    named = [item for item in said if item.row.path == "backends"]
    bases = [Base(item.typed, item.row, item.leaf(), _texts(item.value)) for item in named]
    chosen = choose_base(tree, bases, given.own_names, report.faults, report.notices)
    for item in reversed([item for item in said if item.row.path != "backends"]):
        apply_to_backends(tree, item.row, item.leaf(), chosen=chosen, faults=report.faults, notices=report.notices)


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
