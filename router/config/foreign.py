"""Middlewares of users: a class found by its import path, and a section made of its constructor's parameters.

The class is imported while the configuration is read, so that `check` tells what is wrong with it. What was imported
stays so: other code in the same file needs a restart.
"""

import importlib
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Annotated, Any, ClassVar

from pydantic import SecretStr, create_model

from router.config.section import Section
from router.config.values import FLAG, Kind, is_off, list_of, parse_text, show, whole
from router.middleware.interface import HOOKS, Middleware
from router.observe.redaction import MAX_VALUE, is_secret, masked

LARGEST = 10**15  # a whole number that is meant is less


class Options(Section):
    """Base of what one kind of middleware may be told."""


class ForeignOptions(Options):
    """Base of the sections that are made here."""

    path: ClassVar[str] = ""  # "package.module:Class"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, dict[str, Any]]]:
        """Let another process make it anew: it has no class of this name, but the import path."""
        return _again, (self.path, {name: getattr(self, name) for name in type(self).model_fields})

    def given(self) -> dict[str, Any]:
        """Return the arguments for the constructor."""
        return {name: _bare(getattr(self, name)) for name in type(self).model_fields}


def _again(path: str, values: Mapping[str, Any]) -> ForeignOptions:
    return options_of(path).model_validate(values)


def class_at(path: str) -> type:
    """Return the class at "package.module:Class". Raises ValueError that says why there is none to use."""
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # of code that is not ours: SystemExit too
        raise ValueError(f"{module_name} cannot be imported: {type(error).__name__}: {error}") from error
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type):
        raise ValueError(f"{module_name} has no class {name}")
    hooks = [hook for hook in HOOKS if getattr(found, hook, None) not in (None, getattr(Middleware, hook))]
    if not hooks:
        raise ValueError(f"{name} has none of the hooks {', '.join(HOOKS)}")
    for hook in hooks:
        method = getattr(found, hook)
        if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
            raise ValueError(f"{name}.{hook} is async: hooks are plain functions, which do not wait")
        if not callable(method):
            raise ValueError(f"{name}.{hook} is no function")
    return found


@lru_cache(64)
def options_of(path: str) -> type[ForeignOptions]:
    """Return the section of the options of the class at a path. Raises ValueError as `class_at` does."""
    fields: dict[str, Any] = {}
    for parameter in _parameters(class_at(path)):
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise ValueError(f"its constructor takes {parameter}: each option must be a keyword parameter of its own")
        if parameter.name.startswith(("_", "model_")) or hasattr(ForeignOptions, parameter.name):
            raise ValueError(f"its constructor's parameter {parameter.name} cannot be an option: take another name")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (Annotated[Any, _kind_of(parameter)], default)
    made: type[ForeignOptions] = create_model(f"Options of {path}", __base__=ForeignOptions, **fields)
    made.path = path
    return made


def _parameters(kind: type) -> list[inspect.Parameter]:
    if kind.__init__ is object.__init__ or kind.__init__ is Middleware.__init__:  # type: ignore[misc]
        return []
    try:
        return list(inspect.signature(kind, eval_str=True).parameters.values())
    except (ValueError, TypeError, NameError) as error:
        raise ValueError(f"its constructor's parameters cannot be read: {error}") from error


def _kind_of(parameter: inspect.Parameter) -> Kind:
    """Return how an option is read: by the parameter's type, a text where it tells none."""
    wanted = str if parameter.annotation is parameter.empty else parameter.annotation
    may_be_off = False
    if isinstance(wanted, types.UnionType) or typing.get_origin(wanted) is typing.Union:
        others = [each for each in typing.get_args(wanted) if each is not type(None)]
        may_be_off, wanted = len(others) < len(typing.get_args(wanted)), others[0] if len(others) == 1 else wanted
    kind = _simple_kind(wanted, parameter.name)
    if kind is None:
        raise ValueError(
            f"its option {parameter.name} is of a type that a configuration cannot give:"
            " str, int, float, bool and list[str] can be, each with | None"
        )
    return _or_off(kind) if may_be_off else kind


def _simple_kind(wanted: object, name: str) -> Kind | None:
    if wanted is bool:
        return FLAG
    if wanted is int:
        return whole(-LARGEST, LARGEST)
    if wanted is float:
        return Kind(_parse_number, show)
    if wanted is str:
        return Kind(lambda value: _hidden(_parse_any_text(value), name), show)
    if typing.get_origin(wanted) in (list, tuple) and typing.get_args(wanted)[0] is str:
        parse = list_of(_parse_any_text).parse
        return Kind(lambda value: tuple(_hidden(each, name) for each in parse(value)), show)
    return None


def _or_off(kind: Kind) -> Kind:
    def parse(value: object) -> Any:
        return None if value is None or (isinstance(value, str) and is_off(value)) else kind.parse(value)

    return Kind(parse, lambda value: show(None) if value is None else kind.render(value))


def _parse_number(value: object) -> float:
    try:
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            number = float(value)
            if abs(number) < float("inf"):
                return number
    except ValueError:
        pass
    raise ValueError("must be a number")


def _parse_any_text(value: object) -> str:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return "" if value is None or value == "" else parse_text(value)


def _hidden(text: str, name: str) -> str | SecretStr:
    """Return a text in a form that shows itself to nobody, where it is a secret by its name, or looks like one."""
    return SecretStr(text) if is_secret(name) or masked(name, text) != text[:MAX_VALUE] else text


def _bare(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return [_bare(each) for each in value] if isinstance(value, tuple) else value
