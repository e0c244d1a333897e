"""Calls in the history: what clients write besides, their ids, arguments, names, and older or foreign forms."""

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


def with_id(id: object, content: object = "") -> Json:  # noqa: A002
    """Return a request with one call and its result."""
    return step(call(id), results=[result(id)], content=content)


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

OPENAI_ID = "call_9XyZabCdEfGhIjKlMnOpQrSt"
TAILED = ("call_a_000000001", "call_b_000000001")
IDS = [
    Case("id_openai_29/openai_python", MIXED, "R3 R5", with_id(OPENAI_ID, None)),
    Case(
        "id_openai_29/langchain",
        MIXED,
        "R3 (R12)",
        step(call(OPENAI_ID), results=[{**result(OPENAI_ID), "name": "get_weather"}]),
    ),
    Case("id_vllm_chatcmpl_tool", MIXED, "R3", with_id("chatcmpl-tool-0123456789abcdef0123456789abcdef")),
    Case("id_vllm_chatcmpl_tool/dashed", MIXED, "R3", with_id("chatcmpl-tool-9d2a6c1e-4f0b-4a57-9d5e-0f6b8c3a7e21")),
    Case("id_short", MIXED, "R3", with_id("call_0")),
    Case("id_short/digit", MIXED, "R3", with_id("1")),
    Case("id_short/claude", MIXED, "R3", with_id("toolu_01A09q90qw90lq917835lq9")),
    Case("id_short/ten_letters", MIXED, "R3", with_id("abcDEF1234")),
    Case("id_short/ai_sdk_16", MIXED, "R3", with_id("mUvLwyKFSBHcVKbQ")),
    Case("id_short/newline", TAKEN, "R3", with_id("abcDEF123\n")),
    Case("id_kimi_style", MIXED, "R3", with_id("functions.get_weather:0")),
    Case(
        "id_kimi_style/parallel",
        MIXED,
        "R3",
        step(
            call("functions.get_weather:0"),
            call("functions.get_weather:1", arguments='{"city": "Rome"}'),
            results=[result("functions.get_weather:0", "sun"), result("functions.get_weather:1", "rain")],
        ),
    ),
    Case(
        "id_tail_collision",
        MIXED,
        "R3",
        step(
            call(TAILED[0]),
            call(TAILED[1], "get_time", '{"zone": "CET"}'),
            results=[result(TAILED[0]), result(TAILED[1], "12:00")],
        ),
    ),
    Case(
        "id_reused_across_turns/ollama",
        MIXED,
        "R3",
        {
            "messages": [
                user("Weather in Paris?"),
                calls(call("call_0"), content=""),
                result("call_0", "sun"),
                assistant("Sun."),
                user("In Rome?"),
                calls(call("call_0", arguments='{"city": "Rome"}'), content=""),
                result("call_0", "rain"),
            ],
            "tools": [WEATHER],
        },
    ),
    Case(
        "id_reused_across_turns/same_9id",
        TAKEN,
        "= (R3)",
        {
            "messages": [
                user("Weather in Paris?"),
                calls(call("abcDEF123"), content=""),
                result("abcDEF123", "sun"),
                calls(call("abcDEF123", arguments='{"city": "Rome"}'), content=""),
                result("abcDEF123", "rain"),
            ],
            "tools": [WEATHER],
        },
    ),
    Case(
        "id_duplicate_in_one_msg",
        MIXED,
        "R3",
        step(
            call("abcDEF123"),
            call("abcDEF123", arguments='{"city": "Rome"}'),
            results=[result("abcDEF123", "sun"), result("abcDEF123", "rain")],
        ),
    ),
    Case(
        "id_duplicate_in_one_msg/call_0",
        REFUSED,
        "R3",
        step(
            call("call_0"),
            call("call_0", "get_time", "{}"),
            results=[result("call_0", "sun"), result("call_0", "12:00")],
        ),
    ),
    Case(
        "id_missing_in_call",
        REFUSED,
        "R3",
        step({"type": "function", "function": FUNCTION}, results=[{"role": "tool", "content": "sun"}]),
    ),
    Case(
        "id_missing_in_call/named_result",
        MIXED,
        "R3 (R17 R20 R22)",
        step({"type": "function", "function": FUNCTION}, results=[result("abcDEF123")]),
    ),
    Case("id_null_in_call", REFUSED, "R3", with_id(None)),
    Case("id_empty_string", REFUSED, "R3", with_id("")),
    Case(
        "id_missing_in_tool_msg",
        REFUSED,
        "R3",
        step(call("abcDEF123"), results=[{"role": "tool", "content": "sun"}]),
    ),
    Case(
        "id_missing_in_tool_msg/two",
        REFUSED,
        "R3",
        step(
            call("abcDEF123"),
            call("ghiJKL456", "get_time", "{}"),
            results=[{"role": "tool", "content": "sun"}, {"role": "tool", "content": "12:00"}],
        ),
    ),
    Case(
        "id_missing_in_tool_msg/null",
        REFUSED,
        "R3 (R1)",
        step(call("abcDEF123"), results=[{"role": "tool", "tool_call_id": None, "content": "sun"}]),
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
        "R13",
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
        "R12",
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

CASES = [*EXTRAS, *IDS, *ARGUMENTS, *NAMES, *FOREIGN]
