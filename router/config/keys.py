"""Which keys the schema has: read from the models, so that nothing lists them a second time. Pure."""

import difflib
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from router.config.schema import Config
from router.config.tree import Path, dotted
from router.config.values import Kind


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the schema."""

    path: str  # dotted; `*` stands for the position in a list: "backends.*.url"
    kind: Kind
    default: object  # None where it must be given, too

    @property
    def shown(self) -> str:
        """Return the default as the documents write it."""
        return str(self.kind.render(self.default))


def keys(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[Key]:
    """Yield every key that holds a value, in the order of the schema."""
    for name, field in model.model_fields.items():
        inner, is_list = section_of(field)
        if inner is not None:
            yield from keys(inner, f"{prefix}{name}.*." if is_list else f"{prefix}{name}.")
        else:
            yield Key(prefix + name, kind_of(field), None if field.is_required() else field.default)


def kind_of(field: FieldInfo) -> Kind:
    """Return the kind in a field's annotation."""
    for item in field.metadata:
        if isinstance(item, Kind):
            return item
    raise TypeError("every field of the schema has a Kind")


def section_of(field: FieldInfo) -> tuple[type[BaseModel] | None, bool]:
    """Return the model of a section, and whether the field is a list of such; (None, False) for a value."""
    annotation = field.annotation
    if _is_section(annotation):
        return annotation, False
    for argument in typing.get_args(annotation):
        if _is_section(argument):
            return argument, True
    return None, False


def _is_section(annotation: object) -> typing.TypeGuard[type[BaseModel]]:
    """Tell whether it is a model; a generic alias such as tuple[str, ...] only looks like a class."""
    return typing.get_origin(annotation) is None and isinstance(annotation, type) and issubclass(annotation, BaseModel)


def names_at(path: Path) -> list[str]:
    """Return the keys that the section at `path` may have; empty where there is none."""
    model: type[BaseModel] | None = Config
    for part in path:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part) if model is not None else None
        model = section_of(field)[0] if field is not None else None
    return list(model.model_fields) if model is not None else []


def suggestion(path: Path, names: Sequence[str] = ()) -> str | None:
    """Return a hint for the unknown key at `path`: a like one beside it, the same one elsewhere, or all there are.

    `names`: the keys beside it, where the schema does not tell them.
    """
    word, names = str(path[-1]), names or names_at(path[:-1])
    like = difflib.get_close_matches(word.lower().replace("-", "_"), names, n=1, cutoff=0.6)
    if like:
        return f"did you mean {like[0]}?"
    elsewhere = [] if path[0] == "middlewares" else [key.path for key in keys() if key.path.rsplit(".", 1)[-1] == word]
    tops = [name for name in Config.model_fields if word == name]
    if elsewhere or tops:
        return f"did you mean {(tops + elsewhere)[0].replace('.*.', '.0.')}?"
    where = dotted(path[:-1]) or "the file"
    return f"{where} may have: {', '.join(names)}" if names else None
