"""Which tool an answer calls, with which arguments, and how vLLM's tool parsers show that, whole and streamed.

A forced call (`required`, or a named tool) is always made. Under `auto` the model decides: this one calls the tool that
the last user message names.
"""

import zlib
from dataclasses import dataclass
from typing import Any

import orjson

from router.simulator.body import Body
from router.simulator.generation import Generation
from router.simulator.refusals import bad_value
from router.simulator.schemas import smallest

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ID_LENGTH = 9  # what Mistral's tokenizer asks of an id


@dataclass(frozen=True, slots=True)
class Call:
    """One call that an answer makes."""

    name: str
    arguments: str  # JSON
    ident: str
    choice: str  # "auto", "required" or "named"

    @property
    def finish(self) -> str:
        """The finish_reason of a whole call: vLLM says "stop" for a named tool."""
        return "stop" if self.choice == "named" else "tool_calls"

    @property
    def content(self) -> str | None:
        """What stands beside it as text."""
        return None if self.choice == "auto" else ""


def read_call(body: Body, *, prompt: list[int], parser: str, asked: str) -> Call | None:
    """Return the call that the answer makes, or None for text; `asked` is the last user message. Raises Refusal."""
    tools = body.get("tools")
    choice = body.get("tool_choice")
    if tools is not None and not tools:
        text = "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely."
        raise bad_value(text, param="tools")
    if not tools:
        if choice not in (None, "none"):
            raise bad_value("When using `tool_choice`, `tools` must be set.", param="tool_choice")
        return None
    given = [tool.get("function") for tool in tools if isinstance(tool, dict)]
    functions = [function for function in given if isinstance(function, dict)]
    chosen, kind = _choose(functions, choice, asked)
    if chosen is None:
        return None
    schema = chosen.get("parameters") or {"type": "object"}
    arguments = orjson.dumps(smallest(schema)).decode()
    name = str(chosen.get("name", ""))
    return Call(name, arguments, call_ident(repr((prompt, name)), parser=parser), kind)


def _choose(functions: list[dict[str, Any]], choice: Any, asked: str) -> tuple[dict[str, Any] | None, str]:
    if choice is None or choice == "auto":
        named = [function for function in functions if str(function.get("name")) in asked]
        return (named[0] if named else None), "auto"
    if choice == "none":
        return None, "none"
    if choice == "required":
        return (functions[0] if functions else None), "required"
    if isinstance(choice, dict):
        wanted = choice.get("function", {}).get("name") if isinstance(choice.get("function"), dict) else None
        for function in functions:
            if function.get("name") == wanted:
                return function, "named"
        text = "The tool specified in `tool_choice` does not match any of the specified `tools`"
        raise bad_value(text, param="tool_choice")
    text = f'Invalid value for `tool_choice`: {choice}! Only named tools, "none", "auto" or "required" are supported.'
    raise bad_value(text, param="tool_choice")


def call_ident(source: str, *, parser: str) -> str:
    """Return an id in the form that the tool parser gives: nine letters and digits, or hermes' longer one."""
    number = zlib.crc32(source.encode()) << 32 | zlib.adler32(source.encode())
    if parser == "hermes":
        return f"chatcmpl-tool-{number:016x}"
    ident = ""
    for _ in range(_ID_LENGTH):
        number, index = divmod(number, len(_ALPHABET))
        ident += _ALPHABET[index]
    return ident


def whole(call: Call, generation: Generation) -> dict[str, Any]:
    """Return the call as it stands in a plain answer; arguments that were cut off are shown as none."""
    arguments = call.arguments if generation.finish == "stop" else "{}"
    return {"id": call.ident, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def deltas(call: Call, generation: Generation, *, parser: str) -> list[dict[str, Any]]:
    """Return the deltas of a streamed call, one for each token that shows something."""
    pieces = [piece.text for piece in generation.pieces if piece.text]
    first: dict[str, Any] = {"id": call.ident, "type": "function", "index": 0, "function": {"name": call.name}}
    if parser == "hermes":
        rest = [{"content": None, "tool_calls": [_more(piece)]} for piece in pieces]
        ending: list[dict[str, Any]] = [{}] if generation.finish == "stop" else []
        return [{"content": None, "tool_calls": [first]}, *rest, *ending]
    is_cut = generation.finish != "stop"
    first["function"]["arguments"] = "" if is_cut or not pieces else pieces[0]
    return [{"tool_calls": [first]}, *({"tool_calls": [_more(piece)]} for piece in ([] if is_cut else pieces[1:]))]


def _more(piece: str) -> dict[str, Any]:
    return {"index": 0, "function": {"arguments": piece}}
