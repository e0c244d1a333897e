"""A configuration as text for people: every value with where it came from, keys masked. Pure."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pydantic import BaseModel

from router.config.keys import kind_of, section_of
from router.config.schema import Config

DEFAULT = "default"


class Entry(NamedTuple):
    """One value that holds."""

    key: str  # its dotted path
    value: str  # as it is written in a configuration; keys are masked
    origin: str  # as `env PROXY_PORT`, `router.yaml:12`, `--port`, `default`

    def line(self) -> str:
        """Return it for people: `server.port = 9000  (env PROXY_PORT)`."""
        return f"{self.key} = {self.value}  ({self.origin})"


def entries(config: Config, origins: Mapping[str, str]) -> Iterator[Entry]:
    """Yield every value with where it came from."""
    for path, text in values(config):
        yield Entry(path, text, origins.get(path, DEFAULT))


def print_lines(config: Config, origins: Mapping[str, str]) -> Iterator[str]:
    """Yield one line per value."""
    return (entry.line() for entry in entries(config, origins))


def summary_lines(config: Config) -> Iterator[str]:
    """Yield the few lines that a successful check tells."""
    server = config.server
    host = f"[{server.host}]" if ":" in server.host else server.host
    yield f"  - Server: {host}:{server.port}{'' if server.tls.cert_file is None else ' (TLS)'}"
    for backend in config.backends[:10]:
        yield f"  - Backend: {backend.name} ({backend.dialect}) @ {backend.url}{backend.api_prefix}"
    if len(config.backends) > 10:
        yield f"  - and {len(config.backends) - 10} more backends"


def values(section: BaseModel, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted path and the text of every value, in the order of the schema."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        inner, is_list = section_of(field)
        if inner is None:
            yield prefix + name, str(kind_of(field).render(value))
        elif is_list and not value:
            yield prefix + name, "[]"
        elif is_list:
            for number, item in enumerate(value):
                yield from values(item, f"{prefix}{name}.{number}.")
        else:
            yield from values(value, f"{prefix}{name}.")
