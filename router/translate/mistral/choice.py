"""Which tools there are, and whether the model must call one: OpenAI's form of what other APIs say otherwise (R28)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from msgspec import Raw

from router.translate.asked import ToolChoice
from router.translate.mistral.limits import MAX_TOOLS, is_longer, too_many
from router.translate.mistral.names import Names
from router.translate.mistral.tools import JUDGED_BYTES, judge_tools, mend_tools, translate_tools
from router.translate.mistral.values import refusal, value_of
from router.translate.notes import Notes, Rule
from router.translate.profile import Profile

# A request without these keys needs nothing of this module.
DECISIVE = frozenset(("tools", "tool_choice", "functions", "function_call"))
CONCERNED = DECISIVE | {"parallel_tool_calls"}

PARAM = "tool_choice"
SHOWN = 80  # characters of a client's name in an error
FUNCTION_KINDS = ("function", "tool")  # of OpenAI, of Anthropic
OPENAI_WORDS = {b'"none"': ToolChoice.NONE, b'"auto"': ToolChoice.AUTO, b'"required"': ToolChoice.REQUIRED}

# Of OpenAI, of Mistral and Anthropic ("any").
WORDS = {"none": ToolChoice.NONE, "auto": ToolChoice.AUTO, "required": ToolChoice.REQUIRED, "any": ToolChoice.REQUIRED}


@dataclass(frozen=True, slots=True)
class Choice:
    """The tools that go to the backend, and what the model is told about them."""

    tools: frozenset[str] = frozenset()  # names of functions at the backend
    tool_choice: ToolChoice = ToolChoice.NONE


NO_TOOLS = Choice()


def judge_choice(fields: Mapping[str, object], profile: Profile) -> Choice | None:
    """Return what the fields say where R24 to R28 leave them as they are, else None. Values may be `msgspec.Raw`."""
    if fields.keys().isdisjoint(DECISIVE):
        return NO_TOOLS
    tools = fields.get("tools")
    if not isinstance(tools, Raw) or "functions" in fields or "function_call" in fields:
        return None
    functions = judge_tools(bytes(tools), profile.strict_tools)
    if functions is None:
        return None
    if "tool_choice" not in fields:
        return Choice(functions, ToolChoice.AUTO)
    said = fields["tool_choice"]
    known = OPENAI_WORDS.get(bytes(said)) if isinstance(said, Raw) else None
    if known is None:
        known = _named_choice(value_of(said, "tool_choice"), functions)
    return None if known is None else Choice(functions, known)


def translate_choice(fields: dict[str, object], profile: Profile, *, names: Names, notes: Notes) -> Choice:
    """Carry out R24 to R28 in place on tools, functions, tool_choice, function_call and parallel_tool_calls.

    Values may be parsed or `msgspec.Raw`; those that stay are left as they came. The tools' names are declared in
    `names`, so this comes before the messages. Raises InvalidRequest for a choice that cannot be met (R37).
    """
    if fields.keys().isdisjoint(DECISIVE):
        return NO_TOOLS
    _take_legacy(fields, notes)
    had_tools = "tools" in fields
    functions = _translate_tools(fields, profile, names, notes)
    said = value_of(fields.get("tool_choice"), "tool_choice")
    wanted = _wanted(said, functions)
    if wanted.allowed is not None:
        functions = _filter(fields, wanted, names, notes)
    if not functions:
        return _without_tools(fields, notes, had_tools=had_tools)
    form = _openai_form(wanted, names)
    if form is None and "tool_choice" in fields:
        del fields["tool_choice"]
        notes.repair(Rule.R28, "tool_choice")
    elif form != said:
        fields["tool_choice"] = form
        notes.repair(Rule.R28, "tool_choice")
    if wanted.single and value_of(fields.get("parallel_tool_calls"), "parallel_tool_calls") is None:
        fields["parallel_tool_calls"] = False
    sent = frozenset(map(names.to_backend, functions)) if names.back else functions
    return Choice(sent, wanted.kind)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a tool_choice says, in whatever form."""

    kind: ToolChoice
    is_said: bool = True  # false: there is no tool_choice, or null, which is OpenAI's "auto"
    name: str | None = None  # the client's, of the one function that must be called
    allowed: frozenset[str] | None = None  # the client's names; None: all
    single: bool = False  # no more than one call


def _named_choice(said: object, functions: Collection[str]) -> ToolChoice | None:
    """Return NAMED for OpenAI's own form of one of these functions, without anything else in it."""
    if not isinstance(said, dict) or said.keys() != {"type", "function"} or said["type"] != "function":
        return None
    function = said["function"]
    if not isinstance(function, dict) or function.keys() != {"name"}:
        return None
    name = function["name"]
    return ToolChoice.NAMED if isinstance(name, str) and name in functions else None


def _openai_form(wanted: _Wanted, names: Names) -> object:
    if wanted.name is not None:
        return {"type": "function", "function": {"name": names.to_backend(wanted.name)}}
    return wanted.kind.value if wanted.is_said else None


def _wanted(said: object, functions: Collection[str]) -> _Wanted:
    """Read OpenAI's, Mistral's, Anthropic's and the Responses API's forms. Raises InvalidRequest for any other."""
    if said is None:
        return _Wanted(ToolChoice.AUTO, is_said=False)
    if isinstance(said, str):
        return _Wanted(WORDS[said]) if said in WORDS else _named(said, functions)
    if not isinstance(said, dict):
        raise refusal("tool_choice must be a string or an object", PARAM)
    kind = said.get("type")
    if kind == "allowed_tools":
        return _allowed(said, functions)
    single = said.get("disable_parallel_tool_use") is True
    if isinstance(kind, str) and kind in WORDS:
        return _Wanted(WORDS[kind], single=single)
    if kind not in (None, *FUNCTION_KINDS):
        raise refusal("tool_choice demands a tool that the backend cannot serve", PARAM)
    return replace(_named(_name_in(said), functions), single=single)


def _name_in(said: Mapping[str, object]) -> object:
    function = said.get("function")
    return function.get("name") if isinstance(function, dict) else said.get("name")


def _named(name: object, functions: Collection[str]) -> _Wanted:
    if not isinstance(name, str):
        raise refusal("tool_choice must name a function", PARAM)
    if name not in functions:
        raise refusal(f"tool_choice names {name[:SHOWN]!r}, which is not among the tools", PARAM)
    return _Wanted(ToolChoice.NAMED, name=name)


def _allowed(said: Mapping[str, object], functions: Collection[str]) -> _Wanted:
    """Read allowed_tools, nested as in Chat Completions or flat as in Responses; hosted tools in it are passed over."""
    nested = said.get("allowed_tools", said)
    if not isinstance(nested, dict) or not isinstance(nested.get("tools"), list):
        raise refusal("tool_choice.allowed_tools must have a list of tools", PARAM)
    mode = nested.get("mode", "auto")
    if not isinstance(mode, str) or mode not in WORDS or mode == "none":
        raise refusal("tool_choice.allowed_tools.mode must be auto or required", PARAM)
    entries = [tool if isinstance(tool, dict) else {"name": tool} for tool in nested["tools"]]
    names = [
        _named(_name_in(tool), functions).name for tool in entries if tool.get("type", "function") in FUNCTION_KINDS
    ]
    allowed = frozenset(name for name in names if name is not None)
    if not allowed and WORDS[mode] is ToolChoice.REQUIRED:
        raise refusal("tool_choice requires a call, but allows no tool that the backend can serve", PARAM)
    return _Wanted(WORDS[mode], allowed=allowed)


def _take_legacy(fields: dict[str, object], notes: Notes) -> None:
    """functions and function_call, which came before tools and tool_choice, become these."""
    if "functions" in fields:
        held = fields.pop("functions")
        if isinstance(held, Raw) and is_longer(held, MAX_TOOLS):
            raise too_many("functions", MAX_TOOLS, "functions")
        functions = value_of(held, "functions")
        notes.repair(Rule.R28, "functions")
        if functions:
            if not isinstance(functions, list):
                raise refusal("functions must be an array", "functions")
            tools = value_of(fields.get("tools"), "tools") or []
            wrapped = [{"type": "function", "function": function} for function in functions]
            fields["tools"] = [*tools, *wrapped] if isinstance(tools, list) else tools
    if "function_call" in fields:
        call = fields.pop("function_call")
        notes.repair(Rule.R28, "function_call")
        if value_of(fields.get("tool_choice"), "tool_choice") is None:
            fields["tool_choice"] = call


def _translate_tools(fields: dict[str, object], profile: Profile, names: Names, notes: Notes) -> frozenset[str]:
    """Translate tools in place; return the client's names of those that are left."""
    if "tools" not in fields:
        return frozenset()
    tools = fields["tools"]
    if isinstance(tools, Raw) and (len(tools) <= JUDGED_BYTES or notes.steps is not None):
        functions = judge_tools(bytes(tools), profile.strict_tools)
        if functions is not None:
            names.declare_valid(functions)
            return functions
    if isinstance(tools, Raw) and notes.steps is None:
        mended = mend_tools(bytes(tools), profile.strict_tools)
        names.declare(mended.functions)
        notes.repaired |= mended.repaired
        notes.lost |= mended.lost
        _put(fields, mended.encoded)
    else:
        _put(fields, translate_tools(value_of(tools, "tools"), profile, names=names, notes=notes))
    return names.declared


def _put(fields: dict[str, object], tools: object) -> None:
    if tools is None:
        del fields["tools"]
    else:
        fields["tools"] = tools


def _filter(fields: dict[str, object], wanted: _Wanted, names: Names, notes: Notes) -> frozenset[str]:
    """Keep the allowed tools only; return the client's names of them."""
    allowed = wanted.allowed or frozenset()
    kept = frozenset(map(names.to_backend, allowed))
    tools = value_of(fields.get("tools"), "tools")
    if isinstance(tools, list):
        _put(fields, [tool for tool in tools if tool["function"]["name"] in kept] or None)
    notes.repair(Rule.R28, PARAM)
    return allowed


def _without_tools(fields: dict[str, object], notes: Notes, *, had_tools: bool) -> Choice:
    """R28: there is no choice without tools. R27: nor calls side by side, where the tools were left out."""
    if fields.pop("tool_choice", None) is not None:
        notes.repair(Rule.R28, PARAM)
    if had_tools and "parallel_tool_calls" in fields:
        del fields["parallel_tool_calls"]
        notes.repair(Rule.R27, "parallel_tool_calls")
    return NO_TOOLS
