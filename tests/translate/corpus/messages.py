"""Requests that are fine as they are, and messages with keys or content that only their sender knows."""

from tests.translate.corpus.case import (
    MIXED,
    REFUSED,
    TAKEN,
    TIME,
    WEATHER,
    Case,
    assistant,
    call,
    calls,
    image,
    result,
    system,
    text,
    tool,
    user,
)

FINE = [
    Case("ok_plain_user", TAKEN, "=", {"messages": [user("Say hello.")]}),
    Case(
        "ok_plain_user/sampling",
        TAKEN,
        "=",
        {"messages": [user("Grüße, 你好, 👋🏽")], "temperature": 0.15, "max_tokens": 200, "stream": True},
    ),
    Case(
        "ok_multi_turn",
        TAKEN,
        "=",
        {"messages": [system("Be brief."), user("What is 2+2?"), assistant("4"), user("And 3+3?")]},
    ),
    Case(
        "ok_tool_cycle_9id",
        TAKEN,
        "=",
        {
            "messages": [
                system("You may call tools."),
                user("Weather in Paris?"),
                calls(call("abcDEF123"), content=""),
                result("abcDEF123"),
            ],
            "tools": [WEATHER],
        },
    ),
    Case(
        "ok_tool_cycle_9id/answered",
        TAKEN,
        "=",
        {
            "messages": [
                user("Weather in Paris?"),
                calls(call("abcDEF123"), content=""),
                result("abcDEF123"),
                assistant("It is sunny."),
                user("Thanks. And in Rome?"),
                calls(call("ghiJKL456", arguments='{"city": "Rome"}'), content=""),
                result("ghiJKL456", "rain"),
            ],
            "tools": [WEATHER, TIME],
            "tool_choice": "auto",
        },
    ),
    Case(
        "ok_parallel_tools_9id",
        TAKEN,
        "=",
        {
            "messages": [
                user("Weather and time in Paris?"),
                calls(call("abcDEF123"), call("ghiJKL456", "get_time", '{"zone": "CET"}'), content=""),
                result("abcDEF123"),
                result("ghiJKL456", "12:00"),
            ],
            "tools": [WEATHER, TIME],
            "parallel_tool_calls": True,
        },
    ),
]

KEYS = [
    Case("user_name_field/openai", MIXED, "R1", {"messages": [{"role": "user", "content": "hi", "name": "bob"}]}),
    Case(
        "user_name_field/autogen",
        MIXED,
        "R1 (R16)",
        {
            "messages": [
                {"role": "system", "content": "You are a planner.", "name": "planner"},
                {"role": "user", "content": "Plan it.", "name": "user_proxy"},
                {"role": "assistant", "content": "A plan.", "name": "planner"},
                {"role": "user", "content": "Do it.", "name": "critic"},
            ]
        },
    ),
    Case(
        "assistant_model_dump/openai_python",  # message.model_dump() of openai-python
        TAKEN,
        "R1 R5",
        {
            "messages": [
                user("hi"),
                {
                    "content": "Hello!",
                    "refusal": None,
                    "role": "assistant",
                    "annotations": [],
                    "audio": None,
                    "function_call": None,
                    "tool_calls": None,
                },
                user("bye"),
            ]
        },
    ),
    Case(
        "assistant_model_dump/with_calls",
        TAKEN,
        "R1 R5",
        {
            "messages": [
                user("Weather?"),
                {
                    "content": None,
                    "refusal": None,
                    "role": "assistant",
                    "annotations": [],
                    "audio": None,
                    "function_call": None,
                    "tool_calls": [
                        {
                            "id": "abcDEF123",
                            "function": {"arguments": '{"city": "Paris"}', "name": "get_weather"},
                            "type": "function",
                        }
                    ],
                },
                result("abcDEF123"),
            ],
            "tools": [WEATHER],
        },
    ),
    Case(
        "assistant_model_dump/litellm",
        TAKEN,
        "R1 R5 (R10)",
        {
            "messages": [
                user("hi"),
                {
                    "content": "Hello!",
                    "role": "assistant",
                    "tool_calls": None,
                    "function_call": None,
                    "provider_specific_fields": {"refusal": None},
                    "reasoning_content": None,
                },
                user("bye"),
            ]
        },
    ),
    Case(
        "message_id_metadata/vercel",
        MIXED,
        "R1",
        {
            "messages": [
                {"id": "msg_1", "role": "user", "content": "hi", "createdAt": "2026-01-01T00:00:00Z"},
                {"id": "msg_2", "role": "assistant", "content": "Hello!", "metadata": {"finish": "stop"}},
                {"id": "msg_3", "role": "user", "content": "bye", "experimental_attachments": []},
            ]
        },
    ),
    Case(
        "message_id_metadata/open_webui",
        MIXED,
        "R1",
        {
            "messages": [
                {
                    "role": "user",
                    "content": "hi",
                    "id": "1",
                    "parentId": None,
                    "timestamp": 1700000000,
                    "models": ["m"],
                },
                {"role": "assistant", "content": "Hello!", "id": "2", "parentId": "1", "done": True, "status": "ok"},
                {"role": "user", "content": "bye", "id": "3", "parentId": "2", "files": []},
            ]
        },
    ),
    Case(
        "message_id_metadata/tool_status",
        MIXED,
        "R1",
        {
            "messages": [
                user("Weather?"),
                calls(call("abcDEF123"), content=""),
                {
                    "role": "tool",
                    "tool_call_id": "abcDEF123",
                    "content": "timeout",
                    "is_error": True,
                    "status": "error",
                },
            ],
            "tools": [WEATHER],
        },
    ),
    Case(
        "text_part_cache_control/cline",
        MIXED,
        "R6",
        {
            "messages": [
                {
                    "role": "system",
                    "content": [
                        {"type": "text", "text": "You are Cline.", "cache_control": {"type": "ephemeral"}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "<task>Fix the bug.</task>"},
                        {
                            "type": "text",
                            "text": "<environment_details>main.py</environment_details>",
                            "cache_control": {"type": "ephemeral"},
                        },
                    ],
                },
            ]
        },
    ),
    Case(
        "text_part_cache_control/roo",
        MIXED,
        "R6 R22 (R23)",
        {
            "messages": [
                system("You are Roo."),
                {"role": "user", "content": [{"type": "text", "text": "Read a.py."}]},
                calls(call("abcDEF123", "read_file", '{"path": "a.py"}'), content="I read it."),
                result("abcDEF123", "print(1)"),
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Go on.", "cache_control": {"type": "ephemeral"}},
                    ],
                },
            ],
            "tools": [tool("read_file")],
        },
    ),
    Case(
        "text_part_cache_control/openhands",
        MIXED,
        "R3 R6 R8 (R12 R23)",
        {
            "messages": [
                {
                    "role": "system",
                    "content": [{"type": "text", "text": "You are OpenHands.", "cache_control": {"type": "ephemeral"}}],
                },
                {"role": "user", "content": [{"type": "text", "text": "List the files."}]},
                {
                    "role": "assistant",
                    "content": [{"type": "text", "text": "I list them."}],
                    "tool_calls": [call("call_1", "execute_bash", '{"command": "ls"}')],
                },
                {
                    "role": "tool",
                    "tool_call_id": "call_1",
                    "name": "execute_bash",
                    "content": [{"type": "text", "text": "a.py\nb.py", "cache_control": {"type": "ephemeral"}}],
                },
            ],
            "tools": [tool("execute_bash")],
        },
    ),
]

ASSISTANTS = [
    Case(
        "assistant_text_and_calls",
        MIXED,
        "= (R23)",
        {
            "messages": [
                user("Weather?"),
                calls(call("abcDEF123"), content="Let me look."),
                result("abcDEF123"),
            ],
            "tools": [WEATHER],
        },
    ),
    Case(
        "assistant_empty_calls_array/plain",
        TAKEN,
        "R5",
        {"messages": [user("hi"), {"role": "assistant", "content": "Hello!", "tool_calls": []}, user("bye")]},
    ),
    Case(
        "assistant_empty_calls_array/crush",
        REFUSED,
        "R5 R14 R16",
        {"messages": [user("hi"), {"role": "assistant", "content": "", "tool_calls": []}, user("bye")]},
    ),
    Case(
        "assistant_null_no_calls", REFUSED, "R14 R16 (R5)", {"messages": [user("hi"), assistant(None), user("again")]}
    ),
    Case("assistant_empty_no_calls", REFUSED, "R14 R16", {"messages": [user("hi"), assistant(""), user("again")]}),
    Case("assistant_empty_parts", REFUSED, "R14 R16 (R6)", {"messages": [user("hi"), assistant([]), user("again")]}),
    Case(
        "assistant_empty_parts/empty_text",
        REFUSED,
        "R14 R16 (R6)",
        {"messages": [user("hi"), assistant([text("")]), user("again")]},
    ),
    Case(
        "assistant_empty_no_calls/missing",
        REFUSED,
        "R14 R16",
        {"messages": [user("hi"), {"role": "assistant"}, user("again")]},
    ),
    Case("assistant_whitespace", TAKEN, "=", {"messages": [user("hi"), assistant(" "), user("again")]}),
    Case("assistant_whitespace/newline", TAKEN, "=", {"messages": [user("hi"), assistant("\n"), user("again")]}),
    Case(
        "assistant_refusal_part",
        REFUSED,
        "R6",
        {"messages": [user("hi"), assistant([{"type": "refusal", "refusal": "I can't do that."}]), user("why?")]},
    ),
    Case(
        "assistant_refusal_part/beside_text",
        REFUSED,
        "R6",
        {
            "messages": [
                user("hi"),
                assistant([text("Well."), {"type": "refusal", "refusal": "I can't do that."}]),
                user("why?"),
            ]
        },
    ),
    Case(
        "assistant_output_text_part/responses",
        REFUSED,
        "R6",
        {
            "messages": [
                user("hi"),
                assistant([{"type": "output_text", "text": "Hello!", "annotations": [], "logprobs": []}]),
                user("bye"),
            ]
        },
    ),
    Case(
        "assistant_image_part",
        REFUSED,
        "R9 (R6)",
        {"messages": [user("Draw."), assistant([text("Here it is."), image()]), user("Bigger.")]},
    ),
    Case(
        "assistant_image_part/only",
        REFUSED,
        "R9 (R6 R14 R16)",
        {"messages": [user("Draw."), assistant([image()]), user("Bigger.")]},
    ),
]

REASONING = [
    Case(
        "reasoning_content_field/cline",
        MIXED,
        "R10",
        {
            "messages": [
                user("2+2?"),
                {"role": "assistant", "content": "4", "reasoning_content": "The user asks a sum."},
                user("3+3?"),
            ]
        },
    ),
    Case(
        "reasoning_content_field/vllm",
        MIXED,
        "R10",
        {
            "messages": [
                user("2+2?"),
                {"role": "assistant", "content": "4", "reasoning": "The user asks a sum."},
                user("3+3?"),
            ]
        },
    ),
    Case(
        "reasoning_content_field/openrouter",
        MIXED,
        "R10",
        {
            "messages": [
                user("2+2?"),
                {
                    "role": "assistant",
                    "content": "4",
                    "reasoning": "A sum.",
                    "reasoning_details": [
                        {"type": "reasoning.text", "text": "A sum.", "format": "unknown", "index": 0}
                    ],
                },
                user("3+3?"),
            ]
        },
    ),
    Case(
        "reasoning_with_calls/crush",
        MIXED,
        "R3 R10 (R5)",
        {
            "messages": [
                user("Weather?"),
                {
                    "role": "assistant",
                    "content": "",
                    "reasoning_content": "I need the tool.",
                    "tool_calls": [call("call_00_Wz8FTr2pYb")],
                },
                result("call_00_Wz8FTr2pYb"),
            ],
            "tools": [WEATHER],
        },
    ),
    Case(
        "reasoning_with_calls/9id",
        MIXED,
        "R5 R10",
        {
            "messages": [
                user("Weather?"),
                {
                    "role": "assistant",
                    "content": None,
                    "reasoning": "I need the tool.",
                    "tool_calls": [call("abcDEF123")],
                },
                result("abcDEF123"),
            ],
            "tools": [WEATHER],
        },
    ),
    Case(
        "reasoning_both_differ",
        MIXED,
        "R10",
        {
            "messages": [
                user("2+2?"),
                {"role": "assistant", "content": "4", "reasoning": "One way.", "reasoning_content": "Another way."},
                user("3+3?"),
            ]
        },
    ),
    Case(
        "thinking_chunk_mistral/list",
        REFUSED,
        "R10 (R6)",
        {
            "messages": [
                user("2+2?"),
                assistant([{"type": "thinking", "thinking": [text("A sum.")], "closed": True}, text("4")]),
                user("3+3?"),
            ]
        },
    ),
    Case(
        "thinking_chunk_mistral/string",
        MIXED,
        "R10 (R6)",
        {"messages": [user("2+2?"), assistant([{"type": "thinking", "thinking": "A sum."}, text("4")]), user("3+3?")]},
    ),
    Case(
        "thinking_block_anthropic",
        MIXED,
        "R10 (R6)",
        {
            "messages": [
                user("2+2?"),
                assistant([{"type": "thinking", "thinking": "A sum.", "signature": "EqQBCgIYAhIM"}, text("4")]),
                user("3+3?"),
            ]
        },
    ),
    Case(
        "thinking_block_anthropic/redacted",
        REFUSED,
        "R10 (R6)",
        {
            "messages": [
                user("2+2?"),
                assistant([{"type": "redacted_thinking", "data": "EqQBCgIYAhIM"}, text("4")]),
                user("3+3?"),
            ]
        },
    ),
    Case(
        "reasoning_only_no_content/empty",
        MIXED,
        "R10 R14 R16",
        {
            "messages": [
                user("2+2?"),
                {"role": "assistant", "content": "", "reasoning_content": "A sum."},
                user("3+3?"),
            ]
        },
    ),
    Case(
        "reasoning_only_no_content/null",
        MIXED,
        "R10 R14 R16 (R5)",
        {
            "messages": [
                user("2+2?"),
                {"role": "assistant", "content": None, "reasoning": "A sum."},
                user("3+3?"),
            ]
        },
    ),
]

CASES = [*FINE, *KEYS, *ASSISTANTS, *REASONING]
