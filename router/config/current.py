"""The configuration that holds while the router runs: what was read, and what operators have ordered since. Pure.

Orders hold until the configuration is read again; then it has the say, and the lines tell which orders ended so.
"""

from collections.abc import Iterator, Mapping

from router.config.diff import differences
from router.config.schema import BackendConfig, Config
from router.config.show import Entry, entries

ORDERED = "order"  # the origin of what an operator has added


class Current:
    """What is configured now, and where it came from."""

    def __init__(self, config: Config, origins: Mapping[str, str]) -> None:
        """`origins`: of each key, as `Loaded` has them."""
        self.config = config
        self._origins = origins
        self._places = _places(config)  # of each backend that was read

    def with_one_more(self, backend: BackendConfig) -> Config:
        """Return the configuration with one backend more."""
        return self.config.model_copy(update={"backends": (*self.config.backends, backend)})

    def without(self, name: str) -> Config:
        """Return the configuration with a backend less."""
        kept = tuple(backend for backend in self.config.backends if backend.name != name)
        return self.config.model_copy(update={"backends": kept})

    def read(self, config: Config, origins: Mapping[str, str]) -> None:
        """Take what was read; orders hold no more."""
        self.config, self._origins, self._places = config, origins, _places(config)

    def entries(self) -> list[Entry]:
        """Return every value with where it came from, keys masked."""
        return list(entries(self.config, dict(self._moved_origins())))

    def told(self, config: Config, leaving: Mapping[str, int], *, is_read: bool = False) -> list[str]:
        """Return what is different in `config`, each in a line.

        `leaving`: requests under way by backend. `is_read`: it comes from the file, so that orders end with it.
        """
        before = {backend.name: backend for backend in self.config.backends}
        after = {backend.name: backend for backend in config.backends}
        lines = []
        for name, old in before.items():
            new = after.get(name)
            tail = _finishing(leaving.get(name, 0))
            if new is None:
                why = " (it was added by order)" if is_read and name not in self._places else ""
                lines.append(f"backend {name} removed{why}{tail}")
            elif new.url != old.url:
                lines.append(f"backend {name}: url: {old.url} -> {new.url}{tail}")
        for name in after.keys() - before.keys():
            why = " (it was removed by order)" if is_read and name in self._places else ""
            lines.append(f"backend {name} added{why}")
        for name in [name for name in before.keys() & after.keys() if before[name] != after[name]]:
            shown = differences(before[name], after[name], f"backend {name}: ")
            lines += [line for line in shown if not line.startswith(f"backend {name}: url: ")]
        return [*sorted(lines), *differences(self.config, config)]

    def _moved_origins(self) -> Iterator[tuple[str, str]]:
        """Yield the origins for the places that backends have now."""
        now_at = {}
        for number, backend in enumerate(self.config.backends):
            place = self._places.get(backend.name)
            if place is None:
                yield from ((f"backends.{number}.{key}", ORDERED) for key in backend.model_fields_set)
            else:
                now_at[str(place)] = number
        for path, origin in self._origins.items():
            section, _, rest = path.partition(".")
            place_text, _, key = rest.partition(".")
            if section != "backends" or not key:
                yield path, origin
            elif place_text in now_at:
                yield f"backends.{now_at[place_text]}.{key}", origin


def _places(config: Config) -> dict[str, int]:
    return {backend.name: number for number, backend in enumerate(config.backends)}


def _finishing(count: int) -> str:
    return f", {count} request{' finishes' if count == 1 else 's finish'} there" if count else ""
