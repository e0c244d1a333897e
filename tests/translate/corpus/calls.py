"""Calls in the history: what clients write besides, arguments, names, and older or foreign forms."""

from tests.translate.corpus.case import (
    MIXED,
    REFUSED,
    TAKEN,
    TIME,
    WEATHER,
    Case,
    Json,
    assistant,
    call,
    calls,
    result,
    text,
    tool,
    user,
)


def step(*made: Json, results: list[Json], tools: list[Json] | None = None, content: object = "") -> Json:
    """Return a request that ends with the results of calls."""
    tools = [WEATHER, TIME] if tools is None else tools
    return {"messages": [user("Weather in Paris?"), calls(*made, content=content), *results], "tools": tools}


OPENAI_ID = "call_9XyZabCdEfGhIjKlMnOpQrSt"
FUNCTION = {"name": "get_weather", "arguments": '{"city": "Paris"}'}

EXTRAS = [
    Case(
        "tool_call_index/vllm_stream",
        MIXED,
        "R4",
        step({"index": 0, **call("abcDEF123")}, results=[result("abcDEF123")]),
    ),
    Case(
        "tool_call_index/two",
        MIXED,
        "R4 R5",
        step(
            {"index": 0, **call("abcDEF123")},
            {"index": 1, **call("ghiJKL456", "get_time", "{}")},
            results=[result("abcDEF123"), result("ghiJKL456", "12:00")],
            content=None,
        ),
    ),
    Case(
        "tool_call_extra_provider_fields/gemini",
        MIXED,
        "R4",
        step(
            {**call("abcDEF123"), "extra_content": {"google": {"thought_signature": "CiQB"}}},
            results=[result("abcDEF123")],
        ),
    ),
    Case(
        "tool_call_extra_provider_fields/litellm",
        MIXED,
        "R4",
        step(
            {**call("abcDEF123"), "provider_specific_fields": {"thought_signature": "CiQB"}},
            results=[result("abcDEF123")],
        ),
    ),
    Case(
        "tool_call_extra_provider_fields/in_function",
        MIXED,
        "R4",
        step(
            {
                "id": "abcDEF123",
                "type": "function",
                "function": {**FUNCTION, "provider_specific_fields": None, "parsed_arguments": {"city": "Paris"}},
            },
            results=[result("abcDEF123")],
        ),
    ),
    Case(
        "tool_message_bad_name",
        REFUSED,
        "R12",
        step(
            call("abcDEF123"),
            results=[{**result("abcDEF123"), "name": "mcp.server/get weather"}],
        ),
    ),
    Case(
        "tool_message_bad_name/good_name",  # LangChain sends the function's name with every result
        TAKEN,
        "(R1 R12)",
        step(call("abcDEF123"), results=[{**result("abcDEF123"), "name": "get_weather"}]),
    ),
    Case(
        "call_type_missing",
        TAKEN,
        "R4",
        step({"id": "abcDEF123", "function": FUNCTION}, results=[result("abcDEF123")]),
    ),
    Case(
        "call_type_missing/null",
        REFUSED,
        "R4",
        step({"id": "abcDEF123", "type": None, "function": FUNCTION}, results=[result("abcDEF123")]),
    ),
]

ARGUMENTS = [
    Case(
        "args_object",
        TAKEN,
        "R13",
        step(call("abcDEF123", arguments={"city": "Paris"}), results=[result("abcDEF123")]),
    ),
    Case(
        "args_object/nested",
        TAKEN,
        "R13",
        step(
            call("abcDEF123", arguments={"city": "Zürich", "days": [1, 2.5, None], "opt": {"é": True}}),
            results=[result("abcDEF123")],
        ),
    ),
    Case("args_empty_string", TAKEN, "R13", step(call("abcDEF123", arguments=""), results=[result("abcDEF123")])),
    Case("args_null", MIXED, "R13", step(call("abcDEF123", arguments=None), results=[result("abcDEF123")])),
    Case(
        "args_missing",
        REFUSED,
        "R13 (R4)",
        step(
            {"id": "abcDEF123", "type": "function", "function": {"name": "get_weather"}},
            results=[result("abcDEF123")],
        ),
    ),
    Case(
        "args_truncated_json",
        TAKEN,
        "=",
        step(call("abcDEF123", arguments='{"city": "Par'), results=[result("abcDEF123", "bad arguments")]),
    ),
    Case(
        "args_truncated_json/not_json",
        TAKEN,
        "=",
        step(call("abcDEF123", arguments="Paris"), results=[result("abcDEF123", "bad arguments")]),
    ),
    Case(
        "args_truncated_json/array",
        TAKEN,
        "=",
        step(call("abcDEF123", arguments='["Paris"]'), results=[result("abcDEF123", "bad arguments")]),
    ),
]

NAMES = [
    Case(
        "call_name_invalid_chars/mcp",
        REFUSED,
        "R12",
        step(
            call("abcDEF123", "mcp.fs/read", '{"path": "a"}'),
            results=[result("abcDEF123", "text")],
            tools=[tool("mcp.fs/read")],
        ),
    ),
    Case(
        "call_name_invalid_chars/history_only",
        REFUSED,
        "R12",
        step(call("abcDEF123", "get weather"), results=[result("abcDEF123")]),
    ),
    Case(
        "call_name_invalid_chars/unicode",
        REFUSED,
        "R12",
        step(call("abcDEF123", "météo"), results=[result("abcDEF123")], tools=[tool("météo")]),
    ),
    Case("call_name_empty", REFUSED, "R12", step(call("abcDEF123", ""), results=[result("abcDEF123")])),
    Case(
        "call_name_empty/missing",
        REFUSED,
        "R12 (R4)",
        step(
            {"id": "abcDEF123", "type": "function", "function": {"arguments": "{}"}},
            results=[result("abcDEF123")],
        ),
    ),
    Case(
        "call_name_too_long",
        REFUSED,
        "R12",
        step(
            call("abcDEF123", "mcp__" + "a_long_server_name__" * 4),
            results=[result("abcDEF123")],
            tools=[tool("mcp__" + "a_long_server_name__" * 4)],
        ),
    ),
]

FOREIGN = [
    Case(
        "call_custom_type/gpt5",
        REFUSED,
        "R3 R11 (R4 R13)",
        step(
            {"id": OPENAI_ID, "type": "custom", "custom": {"name": "apply_patch", "input": "*** Begin Patch\n+ x"}},
            results=[result(OPENAI_ID, "Done!")],
        ),
    ),
    Case(
        "call_custom_type/9id",
        REFUSED,
        "R11 (R4 R13)",
        step(
            {"id": "abcDEF123", "type": "custom", "custom": {"name": "code_exec", "input": "print(1)"}},
            results=[result("abcDEF123", "1")],
        ),
    ),
    Case(
        "legacy_function_call/openai_2023",
        REFUSED,
        "R2 R3 R11 (R5 R12)",
        {
            "messages": [
                user("Weather in Paris?"),
                {"role": "assistant", "content": None, "function_call": FUNCTION},
                {"role": "function", "name": "get_weather", "content": "sunny"},
            ]
        },
    ),
    Case(
        "legacy_function_call/two_turns",
        REFUSED,
        "R2 R3 R11 (R5 R12 R25 R28)",
        {
            "messages": [
                user("Weather in Paris?"),
                {"role": "assistant", "content": None, "function_call": FUNCTION},
                {"role": "function", "name": "get_weather", "content": "sunny"},
                assistant("Sun."),
                user("In Rome?"),
                {"role": "assistant", "content": "", "function_call": {**FUNCTION, "arguments": '{"city": "Rome"}'}},
                {"role": "function", "name": "get_weather", "content": "rain"},
            ],
            "functions": [{"name": "get_weather", "parameters": {"type": "object", "properties": {}}}],
        },
    ),
    Case(
        "user_tool_result_block/anthropic",
        REFUSED,
        "R3 R11 (R5 R6 R23)",
        {
            "messages": [
                user("Weather in Paris?"),
                {
                    "role": "assistant",
                    "content": [
                        {"type": "text", "text": "Let me look."},
                        {"type": "tool_use", "id": "toolu_01A09q90", "name": "get_weather", "input": {"city": "Paris"}},
                    ],
                },
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "toolu_01A09q90", "content": "15 degrees"}],
                },
            ],
            "tools": [WEATHER],
        },
    ),
    Case(
        "user_tool_result_block/with_text",
        REFUSED,
        "R3 R11 R22 (R1 R5 R6 R8)",
        {
            "messages": [
                user("Weather in Paris?"),
                {
                    "role": "assistant",
                    "content": [
                        {"type": "tool_use", "id": "toolu_01A09q90", "name": "get_weather", "input": {"city": "Paris"}},
                        {"type": "tool_use", "id": "toolu_02B18r81", "name": "get_time", "input": {}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "toolu_01A09q90",
                            "content": [{"type": "text", "text": "15 degrees"}],
                            "is_error": False,
                        },
                        {"type": "tool_result", "tool_use_id": "toolu_02B18r81", "content": "12:00"},
                        {"type": "text", "text": "Answer in French."},
                    ],
                },
            ],
            "tools": [WEATHER, TIME],
        },
    ),
    Case(
        "user_tool_result_block/orphan",
        REFUSED,
        "R11 R20 (R3 R6 R16)",
        {
            "messages": [
                user(
                    [text("Go on."), {"type": "tool_result", "tool_use_id": "toolu_01A09q90", "content": "15 degrees"}]
                )
            ]
        },
    ),
    Case(
        "user_tool_result_block/role_tool_results",  # Cohere's and smolagents' name of the role
        REFUSED,
        "R2",
        step(call("abcDEF123"), results=[{**result("abcDEF123"), "role": "tool_results"}]),
    ),
]

CASES = [*EXTRAS, *ARGUMENTS, *NAMES, *FOREIGN]
