"""What operators change of a router that runs: the same schema and the same faults as in the file. Pure."""

from collections.abc import Collection, Mapping

from pydantic import ValidationError

from router.config.address import is_ourselves, parse_address
from router.config.faults import from_validation
from router.config.schema import MAX_BACKENDS, BackendConfig, Config, LoggingConfig
from router.config.tree import Branch, Leaf, Node
from router.errors import ConfigError, ConfigFault

_PLACE = "backends.0"  # where the entry stands while it is looked at alone
LOG_KEYS = ("level", "sample", "access")  # what may be changed of the log: not where it goes, and not who is told in it
_DEEPEST = 3  # sections of an entry: tls, and one to say that nothing is below


def read_addition(fields: Mapping[str, object], config: Config, own_names: Collection[str] = ()) -> BackendConfig:
    """Return the backend that `fields` describe. Raise ConfigError with every fault.

    `config`: what it is to be added to. `own_names`: names and addresses of this machine, to find a backend that is
    this router.
    """
    try:
        backend = Config.model_validate({"backends": [dict(fields)]}).backends[0]
    except ValidationError as error:
        tree = Branch({"backends": Branch([_node(fields)])})
        raise ConfigError([_moved(fault) for fault in from_validation(error, tree)]) from None
    faults = [*_conflicts(backend, config, own_names)]
    if faults:
        raise ConfigError(faults)
    return backend


def read_logging(fields: Mapping[str, object], logging: LoggingConfig) -> LoggingConfig:
    """Return the section with what `fields`, of LOG_KEYS, say otherwise. Raise ConfigError with every fault."""
    hint = f"these can be changed: {', '.join(LOG_KEYS)}"
    strange = [ConfigFault(str(key)[:100], "cannot be changed so", hint=hint) for key in fields if key not in LOG_KEYS]
    if strange or not fields:
        raise ConfigError(strange or [ConfigFault("", "nothing is to be changed", hint=hint)])
    try:
        changed = Config.model_validate({"logging": dict(fields)}).logging
    except ValidationError as error:
        raise ConfigError(from_validation(error, Branch({"logging": _node(fields)}))) from None
    return logging.model_copy(update={key: getattr(changed, key) for key in fields})


def _node(value: object, depth: int = 0) -> Node:
    if depth < _DEEPEST and isinstance(value, Mapping):
        return Branch({str(key): _node(below, depth + 1) for key, below in value.items()})
    shown = str(value) if isinstance(value, str | int | float) else None
    return Leaf(value, "order", shown=shown)


def _moved(fault: ConfigFault) -> ConfigFault:
    hint = fault.hint and fault.hint.replace(f"{_PLACE}.", "")
    path = fault.path.removeprefix(_PLACE).removeprefix(".")
    return ConfigFault(path or "backend", fault.message, hint=hint)


def _conflicts(backend: BackendConfig, config: Config, own_names: Collection[str]) -> list[ConfigFault]:
    server, address = config.server, parse_address(backend.url)
    if len(config.backends) >= MAX_BACKENDS:
        return [ConfigFault("backends", f"there are {MAX_BACKENDS} already, which are the most")]
    if is_ourselves(address, host=server.host, port=server.port, own_names=own_names) or (
        server.unix_socket is not None and backend.url == f"unix:{server.unix_socket}"
    ):
        return [ConfigFault("url", "is this router itself")]
    for other in config.backends:
        if (other.url, other.api_prefix) == (backend.url, backend.api_prefix):
            return [ConfigFault("url", f"is that of backend {other.name} already")]
        if other.name == backend.name:
            return [ConfigFault("name", f"{other.name!r} is another backend's", hint="give each its own name")]
    return []
