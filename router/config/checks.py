"""Rules that need more than one key: who is listed twice, who is our own listener. Pure.

They look at the tree and pass over what they cannot read, so that their faults come together with all others.
"""

import importlib.util
from collections.abc import Collection

from router.config.address import Address, is_ourselves, parse_address, parse_host
from router.config.backend_sources import listener
from router.config.faults import fault_at
from router.config.schema import MAX_BACKENDS, AdminConfig, Config
from router.config.tree import Branch, Leaf, child, find
from router.config.values import parse_flag, show_seconds
from router.errors import ConfigFault

TRACING_SDK = "opentelemetry.exporter.otlp.proto.http"
TRACING_HINT = "pip install 'devstral-router[otel]'"
SMALLEST = "backends:\n  - url: http://127.0.0.1:8000\n"
_NO_BACKENDS_HINT = (
    "the smallest configuration is a file router.yaml with\n\n"
    + "".join(f"    {line}\n" for line in SMALLEST.splitlines())
    + "\n  or: devstral-router --base-url http://127.0.0.1:8000"
    "\n  or: VLLM_BASE=http://127.0.0.1:8000 in the environment or in .env"
    "\n  (devstral-router init writes a file to start from)"
)


def check(tree: Branch, own_names: Collection[str] = ()) -> list[ConfigFault]:
    """Return what is wrong between keys. `own_names`: names and addresses of this machine."""
    return [*_of_backends(tree, own_names), *_of_listeners(tree), *_of_extras(tree)]


def _of_backends(tree: Branch, own_names: Collection[str]) -> list[ConfigFault]:
    node = find(tree, ("backends",))
    if node is None or (isinstance(node, Leaf) and node.is_empty) or (isinstance(node, Branch) and not node.items):
        return [ConfigFault("backends", "none is configured", line=node.line if node else None, hint=_NO_BACKENDS_HINT)]
    if not isinstance(node, Branch) or not isinstance(node.items, list):
        return []  # the schema says so
    if len(node.items) > MAX_BACKENDS:
        return [fault_at(tree, ("backends",), f"has {len(node.items)} entries, {MAX_BACKENDS} are the most")]
    return [*_twice(tree, len(node.items)), *_loops(tree, len(node.items), own_names)]


def _of_listeners(tree: Branch) -> list[ConfigFault]:
    """Find a port that was asked for twice. Where admin.port is the default, that gives way: see `notices`."""
    given = find(tree, ("admin", "port"))
    host, enabled = find(tree, ("admin", "host")), find(tree, ("admin", "enabled"))
    try:
        admin = AdminConfig.model_validate({"port": given.value if isinstance(given, Leaf) else None})
        is_on = parse_flag(enabled.value) if isinstance(enabled, Leaf) else admin.enabled
        name = parse_host(host.value) if isinstance(host, Leaf) else admin.host
    except ValueError:
        return []  # the schema says so
    if not is_on or not _meet((name, admin.port), listener(tree)):
        return []
    hint = "give each its own, or set admin.enabled: false"
    return [fault_at(tree, ("admin", "port"), "is server.port too", hint=hint)]


def _of_extras(tree: Branch) -> list[ConfigFault]:
    """Find what is switched on and was not installed."""
    enabled = find(tree, ("tracing", "enabled"))
    try:
        is_on = isinstance(enabled, Leaf) and parse_flag(enabled.value)
    except ValueError:
        return []  # the schema says so
    if not is_on or _is_installed(TRACING_SDK):
        return []
    return [fault_at(tree, ("tracing", "enabled"), "needs OpenTelemetry's SDK", hint=TRACING_HINT)]


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a package around it
        return False


def _meet(one: tuple[str, int], other: tuple[str, int]) -> bool:
    """Return whether two listeners would want the same port of the same address."""
    hosts = {one[0], other[0]}
    return one[1] == other[1] != 0 and (len(hosts) == 1 or bool(hosts & {"0.0.0.0", "::", ""}))


def notices(config: Config) -> list[str]:
    """Return what is allowed, but worth a line."""
    found = [
        f"backends.{number}: the certificate of {backend.name} is not verified (tls.verify is off)"
        for number, backend in enumerate(config.backends)
        if backend.url.startswith("https:") and not backend.tls.verify
    ]
    keyless = [one.name for one in config.backends if one.url.startswith("https:") and one.api_key is None]
    if keyless and not config.server.forward_authorization:
        found.append(
            f"no api_key for {', '.join(keyless[:3])}{' ...' if len(keyless) > 3 else ''}: clients' own keys are"
            " not passed on either, unless server.forward_authorization is true"
        )
    server, admin = config.server, config.admin
    if admin.enabled and _meet((admin.host, admin.port), (server.host, server.port)):
        found.append(f"admin.port is {admin.port} unless set, and so is server.port: there is no admin listener")
    retry = config.retry
    if retry.base_delay > retry.max_delay:
        found.append(f"retry.base_delay is above retry.max_delay: the waits are {show_seconds(retry.max_delay)}")
    return found


def _address(tree: Branch, number: int) -> Address | None:
    leaf = find(tree, ("backends", number, "url"))
    try:
        return parse_address(leaf.value) if isinstance(leaf, Leaf) else None
    except ValueError:
        return None


def _twice(tree: Branch, count: int) -> list[ConfigFault]:
    """Find backends with the URL or the name of an earlier one."""
    faults = []
    places: dict[tuple[str, str], int] = {}
    names: dict[str, int] = {}
    for number in range(count):
        address = _address(tree, number)
        given = find(tree, ("backends", number, "name"))
        prefix = child(find(tree, ("backends", number)), "api_prefix")
        if address is not None:
            api = str(prefix.value) if isinstance(prefix, Leaf) and address.api_prefix is None else address.place[1]
            first = places.setdefault((address.place[0], api.rstrip("/")), number)
            if first != number:
                faults.append(fault_at(tree, ("backends", number, "url"), f"is the same as backends.{first}.url"))
                continue
        name = str(given.value) if isinstance(given, Leaf) else address.name if address else None
        if name is not None and (first := names.setdefault(name, number)) != number:
            key = "name" if given is not None else "url"
            message = f"has the name {name!r} of backends.{first}"
            faults.append(fault_at(tree, ("backends", number, key), message, hint="give each its own name"))
    return faults


def _loops(tree: Branch, count: int, own_names: Collection[str]) -> list[ConfigFault]:
    """Find backends that are our own listener: a request would go round until every connection is used up."""
    host, port = listener(tree)
    socket = find(tree, ("server", "unix_socket"))
    own_socket = f"unix:{socket.value}" if isinstance(socket, Leaf) and socket.value else None
    faults = []
    for number in range(count):
        address = _address(tree, number)
        if address is None:
            continue
        if is_ourselves(address, host=host, port=port, own_names=own_names) or address.url == own_socket:
            where = own_socket if address.url == own_socket else f"{host}:{port}"
            message = f"is this router itself, which listens on {where}"
            hint = "name the server behind it, or change server.port"
            faults.append(fault_at(tree, ("backends", number, "url"), message, hint=hint))
    return faults
