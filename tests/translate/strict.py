"""Whether an answer is strictly OpenAI's: openai-python's own types, validated strictly, and not one unknown key."""

import types
import typing
from collections.abc import Iterator
from typing import Any

import pydantic
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter, ValidationError

REASONING = frozenset(("reasoning_content", "reasoning"))


def check_answer(payload: Any, *, extra: frozenset[str] = REASONING) -> None:
    """Assert that it is an answer in one piece. `extra`: names of keys that may stand besides OpenAI's."""
    check(ChatCompletion, payload, extra=extra)


def check_chunk(payload: Any, *, extra: frozenset[str] = REASONING) -> None:
    """Assert that it is one chunk of a stream."""
    check(ChatCompletionChunk, payload, extra=extra)


def check(model: type[pydantic.BaseModel], payload: Any, *, extra: frozenset[str] = frozenset()) -> None:
    """Assert that it is what the type declares: nothing coerced, nothing missing, nothing unknown."""
    try:
        model.model_validate(payload, strict=True)
    except ValidationError as error:
        raise AssertionError(f"not a {model.__name__}: {error}") from error
    unknown = [path for path in unknown_keys(model, payload) if path.rpartition(".")[2] not in extra]
    assert not unknown, f"unknown keys: {unknown}"


def unknown_keys(model_class: Any, payload: Any) -> list[str]:
    """Return the dotted paths of all keys that the type does not declare."""
    return list(_unknown(model_class, payload, ""))


def _unknown(annotation: Any, value: Any, path: str) -> Iterator[str]:
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is typing.Annotated:
        yield from _unknown(arguments[0], value, path)
    elif origin in (typing.Union, types.UnionType):
        yield from _unknown(_member(arguments, value), value, path)
    elif origin is list and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown(arguments[0], item, f"{path}{index}.")
    elif isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel) and isinstance(value, dict):
        fields = {field.alias or name: field.annotation for name, field in annotation.model_fields.items()}
        for key, item in value.items():
            if key in fields:
                yield from _unknown(fields[key], item, f"{path}{key}.")
            else:
                yield f"{path}{key}"


def _member(members: tuple[Any, ...], value: Any) -> Any:
    """Return the member of a union that the value is."""
    for member in members:
        try:
            TypeAdapter(member).validate_python(value, strict=True)
        except ValidationError:
            continue
        return member
    return members[0]
