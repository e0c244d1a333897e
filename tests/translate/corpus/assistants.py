"""What assistants said: nothing, in parts, with refusals, images and thoughts."""

from tests.translate.corpus.case import (
    MIXED,
    REFUSED,
    TAKEN,
    WEATHER,
    Case,
    assistant,
    call,
    calls,
    image,
    result,
    text,
    user,
)

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

CASES = [*ASSISTANTS, *REASONING]
