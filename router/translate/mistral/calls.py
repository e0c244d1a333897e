"""Calls of assistant messages: id, type and function{name, arguments}, and nothing else (R4, R11, R12, R13).

Ids stay the client's own here; `pairing.py` maps them together with those of the results.
"""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from router.translate.mistral.limits import calls_tally
from router.translate.mistral.message import Call, Function, decode, encoded, is_some_text
from router.translate.mistral.names import Names, is_valid_name
from router.translate.mistral.parts import Use, arguments_text, json_text, text_or_none
from router.translate.mistral.values import UNREADABLE, refusal
from router.translate.notes import Notes, Rule

READ_CALL = msgspec.json.Decoder(Call)


def is_plain_call(call: Call, known: Collection[str]) -> bool:
    """Return whether R4, R12 and R13 leave a call as it is; its id is another's matter. `known`: valid names."""
    function = call.function
    return (
        is_some_text(function.arguments)
        and (function.name in known or is_valid_name(function.name))
        and call.index is call.provider_specific_fields is call.extra_content is UNSET
    )


def canonical_call(call: Call, *where: object, names: Names, notes: Notes) -> Call:
    """Return a call as it goes to the backend but for its id, itself where it stays: R4, R12, R13."""
    function = call.function
    name = names.to_backend(function.name)
    if name is not function.name:
        notes.repair(Rule.R12, *where, "function.name")
    arguments = _arguments(function.arguments, *where, notes=notes)
    if not call.index is call.provider_specific_fields is call.extra_content is UNSET:
        notes.repair(Rule.R4, *where)
    elif name is function.name and arguments is function.arguments:
        return call
    return Call(call.id, "function", Function(name, arguments))


def made_call(use: Use, *where: object, names: Names, notes: Notes) -> Call:
    """Return a call that came in another shape (R11, R12)."""
    given = names.to_backend(use.name)
    if given is not use.name:
        notes.repair(Rule.R12, *where)
    return Call(use.id or "", "function", Function(given, encoded(use.arguments)))


def legacy_call(held: Raw) -> Use | None:
    """Return what function_call, which came before tool_calls, calls (R11); None where it calls nothing."""
    value = decode(held)
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    return Use(None, value["name"], arguments_text(value.get("arguments")))


def _arguments(arguments: Raw, *where: object, notes: Notes) -> Raw:
    """R13: arguments become JSON text; strings stay as they are, also broken ones."""
    if is_some_text(arguments):
        return arguments
    notes.repair(Rule.R13, *where, "function.arguments")
    return encoded(arguments_text(decode(arguments)))


def read_calls(raw: Raw, *where: object, notes: Notes) -> list[Call] | None:
    """Return calls of any JSON, None for null: other keys and types of values than OpenAI's too (R4, R11).

    Raises InvalidRequest where it is no list of objects (R37).
    """
    calls_tally().foresee(raw, ".".join(map(str, where)))
    value = decode(raw)
    if value is None:
        return None
    if not isinstance(value, list):
        raise refusal("tool_calls must be a list", ".".join(map(str, where)))
    return [_read_call(entry, *where, number, notes=notes) for number, entry in enumerate(value)]


def _read_call(entry: object, *where: object, notes: Notes) -> Call:
    if not isinstance(entry, dict):
        raise refusal("a tool call must be an object", ".".join(map(str, where)))
    try:
        return READ_CALL.decode(encoded(entry))
    except UNREADABLE:
        notes.repair(Rule.R4, *where)
    ident = text_or_none(entry.get("id")) or ""
    custom, function = entry.get("custom"), entry.get("function")
    if isinstance(custom, dict):
        notes.repair(Rule.R11, *where)
        return Call(ident, "function", _custom(custom))
    if not isinstance(function, dict):
        if "name" not in entry:
            raise refusal("a tool call needs a function", ".".join(map(str, where)))
        function = entry  # flat, as in the Responses API
        notes.repair(Rule.R11, *where)
    return Call(ident, "function", _read_function(function))


def _read_function(function: Mapping[str, Any]) -> Function:
    arguments = function.get("arguments", function.get("input"))
    return Function(text_or_none(function.get("name")) or "", encoded(arguments))


def _custom(custom: Mapping[str, Any]) -> Function:
    """R11: a custom tool's call, whose input is text, is a call with this one argument."""
    arguments = {"input": json_text(custom.get("input"))}
    return Function(text_or_none(custom.get("name")) or "", encoded(json_text(arguments)))
