"""Requests that are fine as they are, and messages with keys that only their sender knows."""

from tests.translate.corpus.case import (
    MIXED,
    TAKEN,
    TIME,
    WEATHER,
    Case,
    assistant,
    call,
    calls,
    result,
    system,
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

CASES = [*FINE, *KEYS]
