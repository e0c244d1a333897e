"""Tools: in whatever shape they came, as functions that every backend takes (R12, R24 to R27).

Agents send the same tools with every request, often many kilobytes of them. So both judgements, "they may stay the
bytes they are" and "this is what becomes of them", are kept by the bytes they are about.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from router.translate.mistral.limits import MAX_TOOLS, check_raw_tools, check_tools, is_longer
from router.translate.mistral.names import Names, is_valid_name
from router.translate.mistral.schema import Mender
from router.translate.mistral.values import UNREADABLE, refusal, text_of, value_of
from router.translate.notes import Notes, Rule
from router.translate.profile import Profile

# Tools above this many bytes are judged anew each time, but not again where they are mended; a coding agent's are 10
# to 200 KB.
JUDGED_BYTES = 512 * 1024
MENDED_BYTES = 128 * 1024  # the oddest become seven times as long, so both caches hold 50 MiB at the worst
CACHED_ENTRIES = 32  # of each cache

SCHEMA_KEYS = ("parameters", "input_schema", "inputSchema")  # of OpenAI, of Anthropic, of the Model Context Protocol


class _Function(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    description: str
    parameters: dict[str, object]


class _StrictFunction(_Function, forbid_unknown_fields=True):
    strict: bool | UnsetType = UNSET


class _Tool(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["function"]
    function: _Function


class _StrictTool(_Tool, forbid_unknown_fields=True):
    function: _StrictFunction


# By whether `strict` is understood; either ends with the first tool that is otherwise.
READ_CANONICAL: dict[bool, msgspec.json.Decoder[Sequence[_Tool]]] = {
    False: msgspec.json.Decoder(list[_Tool]),
    True: msgspec.json.Decoder(list[_StrictTool]),
}


@dataclass(frozen=True, slots=True)
class Tools:
    """What became of a request's tools."""

    encoded: Raw | None  # for the backend; None where none is left
    functions: frozenset[str]  # the client's names of them
    repaired: frozenset[Rule]  # as of Notes; the steps are not kept, they could be many times as long as the tools
    lost: frozenset[Rule]


def judge_tools(raw: bytes, strict_tools: bool) -> frozenset[str] | None:
    """Return the names of the functions where the JSON array needs no change at all (R24 to R27, R12), else None.

    Raises InvalidRequest where there is too much of it (R37).
    """
    return (_judged if len(raw) <= JUDGED_BYTES else _judge)(raw, strict_tools)


def mend_tools(raw: bytes, strict_tools: bool) -> Tools:
    """Return what becomes of a JSON value of tools. Raises InvalidRequest (R37)."""
    return (_mended if len(raw) <= MENDED_BYTES else _mend)(raw, strict_tools)


def translate_tools(
    tools: object, profile: Profile, *, names: Names, notes: Notes, where: str = "tools"
) -> list[dict[str, object]] | None:
    """Return parsed tools as the backend takes them, None where none is left; their names are declared in `names`.

    R24: nothing but type and function{name, description, parameters}; `strict` where the backend understands it.
    R25: missing descriptions and parameters are filled in. R26: parameters become valid Draft-7.
    R27: what is no function is left out; functions in other shapes become OpenAI's. R12: names become valid.
    Raises InvalidRequest where a tool is no object or has no name (R37).
    """
    if tools is None:
        notes.repair(Rule.R27, where)
        return None
    if not isinstance(tools, list):
        raise refusal(f"{where} must be an array", where)
    check_tools(len(tools), where)
    if not tools:
        notes.repair(Rule.R27, where)
    read = [(f"{where}.{number}", tool) for number, tool in enumerate(tools)]
    functions = [(path, _function_of(tool, path, notes)) for path, tool in read]
    kept = [(path, function) for path, function in functions if function is not None]
    names.declare(_name_of(function, path) for path, function in kept)
    writer = _Writer(names, notes, Mender(), profile.strict_tools)
    return [writer.tool(function, f"{path}.function") for path, function in kept] or None


def _judge(raw: bytes, strict_tools: bool) -> frozenset[str] | None:
    if is_longer(raw, MAX_TOOLS):
        return None
    try:
        tools = READ_CANONICAL[strict_tools].decode(raw)
    except UNREADABLE:
        return None
    check_raw_tools(raw)
    mender = Mender()
    for tool in tools:
        function = tool.function
        if not is_valid_name(function.name) or mender.mend(function.parameters) is not function.parameters:
            return None
    return frozenset(tool.function.name for tool in tools) or None


def _mend(raw: bytes, strict_tools: bool) -> Tools:
    check_raw_tools(raw)
    names, notes = Names(), Notes()
    tools = translate_tools(value_of(Raw(raw), "tools"), Profile(strict_tools=strict_tools), names=names, notes=notes)
    if tools is None:
        encoded = None
    else:
        encoded = Raw(msgspec.json.encode(tools) if notes.repaired else raw)
    return Tools(encoded, names.declared, frozenset(notes.repaired), frozenset(notes.lost))


@lru_cache(maxsize=CACHED_ENTRIES)
def _judged(raw: bytes, strict_tools: bool) -> frozenset[str] | None:
    return _judge(raw, strict_tools)


@lru_cache(maxsize=CACHED_ENTRIES)
def _mended(raw: bytes, strict_tools: bool) -> Tools:
    return _mend(raw, strict_tools)


def _function_of(tool: object, where: str, notes: Notes) -> Mapping[str, object] | None:
    """Return the object that describes the function, None for a tool that no backend serves (R27)."""
    if tool is None:
        notes.repair(Rule.R27, where)
        return None
    if not isinstance(tool, dict):
        raise refusal(f"{where} must be an object", where)
    kind, function = tool.get("type"), tool.get("function")
    if kind in (None, "function") and isinstance(function, dict):
        if kind is None or tool.keys() - {"type", "function"}:
            notes.repair(Rule.R24, where)
        return function
    if kind == "function" and "name" not in tool:
        raise refusal(f"{where}.function must be an object", f"{where}.function")
    is_flat = "name" in tool and (kind in (None, "function") or not tool.keys().isdisjoint(SCHEMA_KEYS[1:]))
    if not is_flat:
        notes.lose(Rule.R27, where)
        return None
    notes.repair(Rule.R27, where)
    schema = next((tool[key] for key in SCHEMA_KEYS if key in tool), None)
    flat = {key: tool[key] for key in ("name", "description", "strict") if key in tool}
    return flat if schema is None else {**flat, "parameters": schema}


def _name_of(function: Mapping[str, object], where: str) -> str:
    name = function.get("name")
    if not isinstance(name, str):
        raise refusal(f"{where}.function.name must be a string", f"{where}.function.name")
    return name


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes functions in the form that the backend takes."""

    names: Names
    notes: Notes
    mender: Mender
    strict_tools: bool

    def tool(self, function: Mapping[str, object], where: str) -> dict[str, object]:
        """Return OpenAI's tool for a function whose name is text (R12, R24)."""
        own = str(function["name"])
        described: dict[str, object] = {
            "name": self.names.to_backend(own),
            "description": self._description(function, where),
            "parameters": self._parameters(function, where),
        }
        if described["name"] != own:
            self.notes.repair(Rule.R12, where, "name")
        strict = function.get("strict")
        if self.strict_tools and isinstance(strict, bool):
            described["strict"] = strict
        if function.keys() - described.keys():
            self.notes.repair(Rule.R24, where)
        return {"type": "function", "function": described}

    def _description(self, function: Mapping[str, object], where: str) -> str:
        """R25: text, or "" where there is none."""
        description = function.get("description")
        if isinstance(description, str):
            return description
        self.notes.repair(Rule.R25, where, "description")
        return "" if description is None else text_of(description)

    def _parameters(self, function: Mapping[str, object], where: str) -> object:
        """R25: {} where they are missing. R26: valid Draft-7; a schema as JSON text is read first."""
        parameters = function.get("parameters")
        if parameters is None:
            self.notes.repair(Rule.R25, where, "parameters")
            return {}
        if isinstance(parameters, str):
            parsed = self.mender.read(parameters)
            if parsed is not None:
                self.notes.repair(Rule.R26, where, "parameters")
                parameters = parsed
        mended = self.mender.mend(parameters)
        if mended is not parameters:
            self.notes.lose(Rule.R26, where, "parameters")
        return mended
