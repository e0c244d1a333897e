"""Where the backends come from: the file's `backends`, its `llm` block, or a base URL by flag or environment. Pure.

One source may name them. Two that name the same are fine; two that differ are a fault that shows both, because a
wrong silent choice would send prompts and keys to the wrong server. `--base-url` is an open choice and wins.

OPENAI_BASE_URL is also what OpenAI's SDKs read, so on a developer's machine it often points at this very router:
then it is no backend, and beside backends named elsewhere it is passed over with a notice.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from router.compat import Alias, Source
from router.config.address import Address, is_ourselves, parse_address
from router.config.schema import ServerConfig
from router.config.tree import Branch, Leaf, Node, child, find, plain, put
from router.config.values import parse_whole
from router.errors import ConfigFault

_SDK_NAME = "OPENAI_BASE_URL"


@dataclass(frozen=True, slots=True)
class Base:
    """One source that names backends by their URLs."""

    label: str  # "env VLLM_BASE"
    row: Alias
    leaf: Leaf  # for origin and line
    urls: Sequence[str]


def choose_base(
    tree: Branch, bases: Sequence[Base], own_names: Collection[str], faults: list[ConfigFault], notices: list[str]
) -> Source | None:
    """Set `backends` in the tree from the one source, and return which kind it was; None for the file's own list.

    `bases` stand in order of precedence: flags, environment, `.env`, the file's foreign keys.
    """
    by_flag = [base for base in bases if base.row.source is Source.FLAG]
    if by_flag:
        _set(tree, by_flag[0])
        return Source.FLAG
    listed = find(tree, ("backends",))
    own = _places_of_list(listed)
    bases = _without_ourselves(tree, bases, own_names, notices, has_list=bool(own))
    labels = [("backends", listed.line if listed else None, own)] if own else []
    labels += [(base.label, base.leaf.line, _places(base.urls)) for base in bases]
    first_of: dict[frozenset[str], str] = {}
    for label, line, places in labels:
        where = f"{label} (line {line})" if line else label
        first_of.setdefault(frozenset(places), f"{where}: {', '.join(places)}")
    if len(first_of) > 1:
        message = "named differently by " + " and by ".join(first_of.values())
        faults.append(ConfigFault("backends", message, hint="keep one of them, or choose with --base-url"))
    if own or not bases:
        return None
    chosen = next((base for base in bases if base.row.source is Source.YAML), bases[0])
    _set(tree, chosen)
    return chosen.row.source


def apply_to_backends(
    tree: Branch, row: Alias, leaf: Leaf, *, chosen: Source | None, faults: list[ConfigFault], notices: list[str]
) -> None:
    """Lay a key, a dialect or a limit over the backends that it is meant for.

    A key given by flag or environment belongs to the backends given in that way, or to the only one there is: it is
    never sent to several servers of a list that was written with other keys in mind.
    """
    node = find(tree, ("backends",))
    backends = node.items if isinstance(node, Branch) and isinstance(node.items, list) else []
    word = str(row.path).rsplit(".", 1)[-1]
    if row.source is Source.YAML and chosen is None:
        return  # an llm block beside an equal list, which has the say
    if word != "max_connections" and chosen is None and len(backends) > 1:
        message = f"{leaf.typed} has no effect: the file names {len(backends)} backends; give {word} to each of them"
        if row.source is Source.FLAG:
            faults.append(ConfigFault("backends", message))
        else:
            notices.append(message)
        return
    for backend in backends:
        if isinstance(backend, Branch):
            put(backend, (word,), Leaf(leaf.value, leaf.origin, leaf.line, leaf.shown, leaf.typed))


def listener(tree: Branch) -> tuple[str, int]:
    """Return host and port of our own listener as far as they can be read, else the defaults."""
    default = ServerConfig()
    host, port = find(tree, ("server", "host")), find(tree, ("server", "port"))
    name = str(host.value).strip().strip("[]").lower() if isinstance(host, Leaf) and host.value else default.host
    try:
        return name, parse_whole(port.value, 0, 65535) if isinstance(port, Leaf) else default.port
    except ValueError:
        return name, default.port


def _set(tree: Branch, base: Base) -> None:
    """Make the list of backends from URLs. A single one is called `default`."""
    leaf = base.leaf
    entries: list[Node] = []
    for url in base.urls:
        items: dict[str, Node] = {"url": Leaf(url, leaf.origin, leaf.line, url, leaf.typed)}
        if len(base.urls) == 1:
            items["name"] = Leaf("default", leaf.origin, leaf.line, "default", leaf.typed)
        entries.append(Branch(items, leaf.origin, leaf.line))
    put(tree, ("backends",), Branch(entries, leaf.origin, leaf.line))


def _without_ourselves(
    tree: Branch, bases: Sequence[Base], own_names: Collection[str], notices: list[str], *, has_list: bool
) -> list[Base]:
    """Pass over an OPENAI_BASE_URL that means this router, where backends are named elsewhere too."""
    host, port = listener(tree)
    kept = []
    for base in bases:
        addresses = [found for found in map(_address, base.urls) if found is not None]
        ours = bool(addresses) and all(
            is_ourselves(found, host=host, port=port, own_names=own_names) for found in addresses
        )
        if base.row.name == _SDK_NAME and ours and (has_list or len(bases) > 1):
            notices.append(f"{base.label} points at this router itself: passed over")
        else:
            kept.append(base)
    return kept


def _address(url: object) -> Address | None:
    try:
        return parse_address(url)
    except ValueError:
        return None


def _places(urls: Sequence[object]) -> list[str]:
    """Return normal forms that can be compared and shown: never a password."""
    return sorted(_normal(_address(url)) for url in urls)


def _normal(address: Address | None) -> str:
    if address is None:
        return "a bad URL"
    return f"{address.url}{address.place[1]}" if address.host else address.url


def _places_of_list(listed: Node | None) -> list[str]:
    """Return the same of the file's own list."""
    if not isinstance(listed, Branch) or not isinstance(listed.items, list):
        return []
    urls: list[object] = []
    for backend in listed.items:
        url = child(backend, "url")
        prefix = child(backend, "api_prefix")
        text = plain(url) if url is not None else None
        address = _address(text)
        if address is not None and address.api_prefix is None and isinstance(prefix, Leaf) and address.host:
            text = f"{address.url}{prefix.value}"
        urls.append(text)
    return _places(urls)
