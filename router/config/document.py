"""From the text of a YAML file to a tree with line numbers; every fault of the document at once. Pure.

Built from the parser's events and not from yaml.load: scalars keep the text that was written, doubled keys are seen,
nothing is constructed from a tag, depth and the expansion of aliases are bounded, and no recursion follows the input.
"""

import re
from collections.abc import Iterator

import yaml

from router.config.tree import Branch, Leaf, Node
from router.errors import ConfigError, ConfigFault

MAX_TEXT = 1 << 20  # characters; 500 backends with every key are 150 KB
MAX_DEPTH = 16  # the schema needs 5
MAX_NODES = 100_000  # after expansion of aliases: a "billion laughs" file ends here

_PLAIN_TAGS = {"!", *(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq"))}
_NULLS = frozenset({"null", "Null", "NULL", "~"})
_QUOTE = 'inside braces or brackets, or with a colon and a space in it, it needs quotes: "${VAR}"'


def parse_document(text: str, name: str) -> Branch:
    """Return the tree of the file called `name`; raises ConfigError with everything that is wrong."""
    root, faults = read_document(text, name)
    if faults:
        raise ConfigError(faults)
    return root


def read_document(text: str, name: str) -> tuple[Branch, list[ConfigFault]]:
    """Return the tree of the file called `name`, with what is wrong in it and leaves a tree to be looked at.

    Of a key that is given twice the first value stays, and of a section what the second one adds. Raises ConfigError
    with everything that is wrong where there is no tree.
    """
    if len(text) > MAX_TEXT:
        raise ConfigError([ConfigFault("", f"{name} is larger than {MAX_TEXT >> 20} MB: is it the right file?")])
    builder = _Builder(name)
    try:
        root = builder.build(yaml.parse(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        builder.faults.append(_syntax_fault(error, text))
        root = None
    except _TooMuch as error:
        builder.faults.append(ConfigFault("", str(error), line=error.line))
        root = None
    if root is None:
        raise ConfigError(builder.faults)
    return root, builder.faults


def parse_section(text: str, name: str, section: str) -> Branch:
    """Return the tree of a file with one of its sections alone, if it has that; the rest may have faults.

    Where the file as a whole is no YAML, the section is read by itself: from its line to the next one that is not
    indented. Raises ConfigError where that is none either, or where it is not told once.
    """
    try:
        whole = parse_document(text, name)
    except ConfigError:
        lines = text.splitlines()
        heads = [number for number, line in enumerate(lines) if re.match(rf"""(["']?){section}\1\s*:""", line)]
        if len(heads) != 1:
            raise
        first = heads[0]
        end = next((n for n in range(first + 1, len(lines)) if re.match(r"[^\s#]", lines[n])), len(lines))
        whole = parse_document("\n" * first + "\n".join(lines[first:end]), name)
    assert isinstance(whole.items, dict)
    return Branch({word: node for word, node in whole.items.items() if word == section}, name)


class _TooMuch(Exception):
    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


class _Builder:
    """Nodes from events."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.faults: list[ConfigFault] = []
        self.anchors: dict[str, Node] = {}
        self.nodes = 0

    def build(self, events: Iterator[yaml.Event]) -> Branch | None:
        documents = 0
        root: Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self.fault("holds more than one document (a second ---); only one is read", event)
                    return None
            elif isinstance(event, yaml.NodeEvent):
                root = self.node(event, events, 0)
        if root is None or (isinstance(root, Leaf) and root.value in (None, "")):
            return Branch(origin=self.name)
        if isinstance(root, Branch) and isinstance(root.items, dict):
            return root
        self.faults.append(
            ConfigFault(
                "", "must consist of sections", line=1, hint="such as backends: and, below it, - url: http://..."
            )
        )
        return None

    def node(self, event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> Node:
        line = _line(event)
        self.count(line)
        if depth > MAX_DEPTH:
            raise _TooMuch(f"is nested deeper than {MAX_DEPTH} levels", line)
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, line)
        tag = getattr(event, "tag", None)
        if tag is not None and tag not in _PLAIN_TAGS:
            self.fault(f"the tag {tag} is not supported", event)
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            is_null = event.style is None and event.value in _NULLS
            node = Leaf(None if is_null else event.value, f"{self.name}:{line}", line, event.value)
        elif isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(below := next(events), yaml.SequenceEndEvent):
                items.append(self.node(below, events, depth + 1))
            node = Branch(items, f"{self.name}:{line}", line)
        else:
            node = self.mapping(events, line, depth)
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def mapping(self, events: Iterator[yaml.Event], line: int, depth: int) -> Branch:
        items: dict[str, Node] = {}
        merged: list[Node] = []
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self.node(event, events, depth + 1)
            value = self.node(next(events), events, depth + 1)
            if not isinstance(key, Leaf):
                self.fault("a key must be a plain word", event, hint=_QUOTE if _is_variable(key) else None)
                continue
            if isinstance(value, Branch):
                value.line, value.origin = key.line, key.origin  # where a reader looks for the section
            word = "null" if key.value is None else str(key.value)
            if word == "<<":
                merged.append(value)
            elif word in items:
                self.fault(f"the key {word!r} is given twice (first on line {items[word].line})", event)
                _add(items[word], value)
            else:
                items[word] = value
        for node in merged:
            self.merge(items, node, line)
        return Branch(items, f"{self.name}:{line}", line)

    def merge(self, items: dict[str, Node], node: Node, line: int) -> None:
        """Fill in what `<<: *anchor` brings; keys that are written out win."""
        sources = node.items if isinstance(node, Branch) and isinstance(node.items, list) else [node]
        for source in sources:
            if isinstance(source, Branch) and isinstance(source.items, dict):
                for word, value in source.items.items():
                    items.setdefault(word, value)
            else:
                self.faults.append(ConfigFault("", "<< must name a section: <<: *anchor", line=line))

    def alias(self, event: yaml.AliasEvent, line: int) -> Node:
        known = self.anchors.get(event.anchor or "")
        if known is None:
            self.fault(f"the alias *{event.anchor} has no anchor before it", event)
            return Leaf(None, f"{self.name}:{line}", line)
        return self.copy(known, line)

    def copy(self, node: Node, line: int) -> Node:
        self.count(line)
        if isinstance(node, Leaf):
            return Leaf(node.value, node.origin, node.line, node.shown)
        if isinstance(node.items, dict):
            return Branch({word: self.copy(below, line) for word, below in node.items.items()}, node.origin, node.line)
        return Branch([self.copy(below, line) for below in node.items], node.origin, node.line)

    def count(self, line: int) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise _TooMuch(f"has more than {MAX_NODES} values once its aliases are expanded", line)

    def fault(self, message: str, event: yaml.Event, *, hint: str | None = None) -> None:
        self.faults.append(ConfigFault("", message, line=_line(event), hint=hint))


def _line(event: yaml.Event) -> int:
    """Return the 1-based line on which an event begins."""
    return event.start_mark.line + 1 if event.start_mark is not None else 1


def _add(section: Node, other: Node) -> None:
    """Add what a second section of the same name has, so that its faults are told too."""
    if isinstance(section, Branch) and isinstance(other, Branch):
        for word, node in other.items.items() if isinstance(other.items, dict) else ():
            if isinstance(section.items, dict):
                section.items.setdefault(word, node)


def _is_variable(key: Node) -> bool:
    """Tell whether a key that is no word may come from `{${VAR}: ...}`."""
    return isinstance(key, Branch) and isinstance(key.items, dict) and len(key.items) == 1


def _syntax_fault(error: yaml.YAMLError, text: str) -> ConfigFault:
    """Translate an error of the YAML reader."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return ConfigFault("", f"has the character U+{int(error.character):04X}, which YAML does not allow", line=line)
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or "is no YAML"
    if mark is None:
        return ConfigFault("", f"is no valid YAML: {problem}")
    lines = text.splitlines()
    context = getattr(error, "context_mark", None) or mark
    near = lines[context.line : mark.line + 1]
    hint = None
    if any("${" in line for line in near):
        hint = _QUOTE
    elif any("\t" in line for line in near):
        hint = "YAML is indented with spaces, never with tabs"
    return ConfigFault("", f"is no valid YAML: {problem}", line=min(mark.line + 1, max(len(lines), 1)), hint=hint)
