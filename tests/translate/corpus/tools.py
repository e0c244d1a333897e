"""Tools and tool_choice."""

from tests.translate.corpus.case import (
    ABSENT,
    CITY,
    MIXED,
    REFUSED,
    TAKEN,
    TIME,
    WEATHER,
    Case,
    Json,
    call,
    calls,
    result,
    tool,
    user,
)

HI = [user("Weather in Paris?")]


def with_tools(*tools: object, **fields: object) -> Json:
    """Return a request with these tools."""
    return {"messages": HI, "tools": list(tools), **fields}


def weather(**function: object) -> Json:
    """Return the weather's tool with keys in its function besides."""
    return {"type": "function", "function": {**WEATHER["function"], **function}}


TOOLS = [
    Case("tools_strict_true", MIXED, "R24", with_tools(weather(strict=True))),
    Case("tools_strict_true/false", MIXED, "R24", with_tools(weather(strict=False))),
    Case("tools_strict_null", MIXED, "R24", with_tools(weather(strict=None))),
    Case("tools_cache_control", MIXED, "R24", with_tools({**WEATHER, "cache_control": {"type": "ephemeral"}}, TIME)),
    Case("tools_cache_control/in_function", MIXED, "R24", with_tools(weather(cache_control={"type": "ephemeral"}))),
    Case("tools_cache_control/defer_loading", MIXED, "R24", with_tools({**WEATHER, "defer_loading": True})),
    Case(
        "tools_dollar_schema",
        TAKEN,
        "=",
        with_tools(
            tool(
                "get_weather",
                {"$schema": "http://json-schema.org/draft-07/schema#", "additionalProperties": False, **CITY},
            )
        ),
    ),
    Case(
        "tools_2020_schema",
        TAKEN,
        "=",
        with_tools(
            tool(
                "plot",
                {
                    "$schema": "https://json-schema.org/draft/2020-12/schema",
                    "$defs": {"Point": {"type": "array", "prefixItems": [{"type": "number"}, {"type": "number"}]}},
                    "type": "object",
                    "properties": {"at": {"$ref": "#/$defs/Point"}, "note": {"type": ["string", "null"]}},
                    "dependentRequired": {"note": ["at"]},
                    "unevaluatedProperties": False,
                },
            )
        ),
    ),
    Case(
        "tools_empty_enum",
        TAKEN,
        "=",
        with_tools(tool("set", {"type": "object", "properties": {"mode": {"type": "string", "enum": []}}})),
    ),
    Case(
        "tools_no_parameters",
        MIXED,
        "R25",
        with_tools({"type": "function", "function": {"name": "ping", "description": "Pings."}}),
    ),
    Case(
        "tools_no_parameters/null",
        MIXED,
        "R25",
        with_tools({"type": "function", "function": {"name": "ping", "description": "Pings.", "parameters": None}}),
    ),
    Case(
        "tools_no_parameters/only_name",
        MIXED,
        "R25",
        with_tools({"type": "function", "function": {"name": "ping"}}),
    ),
    Case("tools_null_description", MIXED, "R25", with_tools(weather(description=None))),
    Case(
        "tools_bad_schema_required_bool",
        REFUSED,
        "R26",
        with_tools(
            tool("f", {"type": "object", "properties": {"a": {"type": "string", "required": True, "default": "x"}}})
        ),
    ),
    Case(
        "tools_bad_schema_type_any",
        REFUSED,
        "R26",
        with_tools(tool("f", {"type": "object", "properties": {"a": {"type": "any"}, "b": {"type": "string"}}})),
    ),
    Case(
        "tools_bad_schema_type_any/properties_list",
        REFUSED,
        "R26",
        with_tools(tool("f", {"type": "object", "properties": [{"name": "a"}]})),
    ),
    Case(
        "tools_bad_schema_type_any/not_an_object",
        REFUSED,
        "R26 (R25)",
        with_tools({"type": "function", "function": {"name": "f", "description": "", "parameters": "string"}}),
    ),
    Case("tools_name_dots", REFUSED, "R12", with_tools(tool("mcp.fs.read"), tool("mcp/fs/read"))),
    Case("tools_name_65", REFUSED, "R12", with_tools(tool("a" * 65), tool("a" * 64 + "b"))),
    Case("tools_empty", TAKEN, "R27", with_tools(), gives={"tools": ABSENT}),
    Case(
        "tools_empty/choice_none",
        TAKEN,
        "R27 (R28)",
        with_tools(tool_choice="none", parallel_tool_calls=True),
        gives={"tools": ABSENT, "tool_choice": ABSENT, "parallel_tool_calls": ABSENT},
    ),
    Case("tools_null", TAKEN, "R27", {"messages": HI, "tools": None}, gives={"tools": ABSENT}),
    Case(
        "tools_null/choice_null",
        TAKEN,
        "R27 (R28)",
        {"messages": HI, "tools": None, "tool_choice": None, "parallel_tool_calls": None},
        gives={"tools": ABSENT, "tool_choice": ABSENT},
    ),
    Case("tools_web_search", REFUSED, "R27", with_tools({"type": "web_search"}, WEATHER), gives={"tools": [WEATHER]}),
    Case(
        "tools_web_search/only",
        REFUSED,
        "R27 (R28)",
        with_tools({"type": "web_search_preview", "search_context_size": "low"}, tool_choice="auto"),
        gives={"tools": ABSENT, "tool_choice": ABSENT},
    ),
    Case(
        "tools_custom",
        REFUSED,
        "R27",
        with_tools({"type": "custom", "custom": {"name": "code_exec", "format": {"type": "text"}}}, WEATHER),
        gives={"tools": [WEATHER]},
    ),
    Case(
        "tools_anthropic_shape",
        REFUSED,
        "R27",
        with_tools({"name": "get_weather", "description": "Calls get_weather.", "input_schema": CITY}),
        gives={"tools": [WEATHER]},
    ),
    Case(
        "legacy_functions",
        TAKEN,
        "R28 (R25)",
        {"messages": HI, "functions": [WEATHER["function"]], "function_call": {"name": "get_weather"}},
        gives={
            "tools": [WEATHER],
            "functions": ABSENT,
            "function_call": ABSENT,
            "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        },
    ),
    Case(
        "legacy_functions/auto",
        TAKEN,
        "R28 (R25)",
        {"messages": HI, "functions": [WEATHER["function"]], "function_call": "auto"},
        gives={"tools": [WEATHER], "functions": ABSENT, "function_call": ABSENT},
    ),
]

NAMED = {"type": "function", "function": {"name": "get_weather"}}
CHOICES = [
    Case("choice_any/mistral", TAKEN, "R28", with_tools(WEATHER, tool_choice="any"), gives={"tool_choice": "required"}),
    Case(
        "choice_any/anthropic",
        TAKEN,
        "R28",
        with_tools(WEATHER, tool_choice={"type": "any"}),
        gives={"tool_choice": "required"},
    ),
    Case(
        "choice_anthropic_tool",
        TAKEN,
        "R28",
        with_tools(WEATHER, TIME, tool_choice={"type": "tool", "name": "get_weather"}),
        gives={"tool_choice": NAMED},
    ),
    Case(
        "choice_anthropic_tool/auto",
        TAKEN,
        "R28",
        with_tools(WEATHER, tool_choice={"type": "auto"}),
        gives={"tool_choice": "auto"},
    ),
    Case(
        "choice_anthropic_tool/flat_name",  # the Responses API's form
        TAKEN,
        "R28",
        with_tools(WEATHER, TIME, tool_choice={"type": "function", "name": "get_weather"}),
        gives={"tool_choice": NAMED},
    ),
    Case(
        "choice_allowed_tools",
        TAKEN,
        "R28",
        with_tools(
            WEATHER,
            TIME,
            tool_choice={"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NAMED]}},
        ),
        gives={"tools": [WEATHER], "tool_choice": "required"},
    ),
    Case(
        "choice_allowed_tools/auto",
        TAKEN,
        "R28",
        with_tools(
            WEATHER,
            TIME,
            tool_choice={"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}},
        ),
        gives={"tools": [WEATHER], "tool_choice": "auto"},
    ),
    Case(
        "choice_auto_without_tools",
        TAKEN,
        "R28",
        {"messages": HI, "tool_choice": "auto"},
        gives={"tool_choice": ABSENT},
    ),
    Case(
        "choice_auto_without_tools/none_parallel",
        TAKEN,
        "R28 (R27)",
        {"messages": HI, "tool_choice": "none", "parallel_tool_calls": False},
        gives={"tool_choice": ABSENT},
    ),
    Case("choice_auto_without_tools/with_tools", TAKEN, "=", with_tools(WEATHER, tool_choice="none")),
    Case("choice_any/required", TAKEN, "=", with_tools(WEATHER, tool_choice="required")),
    Case("choice_any/named", TAKEN, "=", with_tools(WEATHER, TIME, tool_choice=NAMED), gives={"tool_choice": NAMED}),
    Case(
        "choice_any/named_with_dots",
        REFUSED,
        "R12 (R28)",
        with_tools(tool("fs.read"), tool_choice={"type": "function", "function": {"name": "fs.read"}}),
        gives={"tool_choice": {"type": "function", "function": {"name": "fs_read"}}},
    ),
    Case(
        "choice_named_unknown",
        TAKEN,
        "",
        with_tools(WEATHER, tool_choice={"type": "function", "function": {"name": "get_wether"}}),
        refused="tool_choice",
    ),
    Case(
        "choice_named_unknown/no_tools",
        TAKEN,
        "",
        {"messages": HI, "tool_choice": NAMED},
        refused="tool_choice",
    ),
    Case(
        "choice_named_unknown/odd_word", TAKEN, "", with_tools(WEATHER, tool_choice="sometimes"), refused="tool_choice"
    ),
    Case("choice_named_unknown/number", TAKEN, "", with_tools(WEATHER, tool_choice=7), refused="tool_choice"),
]

# what the Roo, Crush and AI SDK send in one request
WHOLE = [
    Case(
        "tools_strict_true/ai_sdk_step",
        MIXED,
        "R3 R24",
        {
            "messages": [
                *HI,
                calls(call("mUvLwyKFSBHcVKbQ"), content=""),
                result("mUvLwyKFSBHcVKbQ", '{"sky":"clear"}'),
            ],
            "tools": [weather(strict=True)],
            "tool_choice": "auto",
            "stream": True,
            "stream_options": {"include_usage": True},
        },
    ),
]

CASES = [*TOOLS, *CHOICES, *WHOLE]
