"""Results, roles and their order: what agents, editors and trimmed histories send."""

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
    image,
    result,
    system,
    text,
    user,
)

A, B, C = "abcDEF123", "ghiJKL456", "mnoPQR789"
ASK = user("Weather in Paris?")
ONE = calls(call(A), content="")
TWO = calls(call(A), call(B, "get_time", '{"zone": "CET"}'), content="")


def talk(*messages: Json) -> Json:
    """Return a request with tools."""
    return {"messages": list(messages), "tools": [WEATHER, TIME]}


RESULTS = [
    Case("tool_text_parts", MIXED, "R8 (R6)", talk(ASK, ONE, result(A, [text("sunny"), text("21 C")]))),
    Case(
        "tool_text_parts/cache_control",
        MIXED,
        "R8 (R6)",
        talk(ASK, ONE, result(A, [{"type": "text", "text": "sunny", "cache_control": {"type": "ephemeral"}}])),
    ),
    Case("tool_text_parts/empty_list", MIXED, "R8 (R6)", talk(ASK, ONE, result(A, []))),
    Case("tool_text_parts/empty_text", TAKEN, "=", talk(ASK, ONE, result(A, ""))),
    Case("tool_content_null", REFUSED, "R8", talk(ASK, ONE, result(A, None))),
    Case("tool_content_missing", REFUSED, "R8", talk(ASK, ONE, {"role": "tool", "tool_call_id": A})),
    Case("tool_content_object", REFUSED, "R8", talk(ASK, ONE, result(A, {"sky": "klar", "temp": {"c": 21.5}}))),
    Case("tool_content_object/list_of_objects", REFUSED, "R8", talk(ASK, ONE, result(A, [{"sky": "klar"}, 7]))),
    Case("tool_content_number", REFUSED, "R8", talk(ASK, ONE, result(A, 21))),
    Case("tool_content_number/bool", REFUSED, "R8", talk(ASK, ONE, result(A, True))),
    Case(
        "tool_image_part", MIXED, "R9 (R6 R8 R22)", talk(ASK, ONE, result(A, [text("A map."), image()])), picture=True
    ),
    Case("tool_image_part/only", MIXED, "R9 (R6 R8 R22)", talk(ASK, ONE, result(A, [image()])), picture=True),
    Case(
        "tool_image_part/first_of_two",  # a browser's screenshot, then another result
        MIXED,
        "R9 (R6 R8 R22)",
        talk(
            ASK, TWO, result(A, [text("Shot."), image(detail="low")]), result(B, "12:00"), assistant("Noon."), user("k")
        ),
        picture=True,
    ),
    Case(
        "tool_image_part/anthropic",
        REFUSED,
        "R3 R9 R11 (R5 R6 R8 R22)",
        talk(
            ASK,
            assistant([{"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}}]),
            user(
                [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_1",
                        "content": [
                            {"type": "text", "text": "A map."},
                            {
                                "type": "image",
                                "source": {
                                    "type": "base64",
                                    "media_type": "image/png",
                                    "data": image()["image_url"]["url"].partition(",")[2],
                                },
                            },
                        ],
                    }
                ]
            ),
        ),
        picture=True,
    ),
]

USERS_AFTER = [
    Case("user_after_tool", MIXED, "R22", talk(ASK, ONE, result(A), user("Never mind, tell me a joke."))),
    Case(
        "user_after_tool/mid",
        MIXED,
        "R22",
        talk(ASK, ONE, result(A), user("In French."), assistant("Il fait beau."), user("Merci.")),
    ),
    Case("user_after_tool/two_users", MIXED, "R16 R22", talk(ASK, ONE, result(A), user("Stop."), user("In French."))),
    Case(
        "user_parts_after_tool",
        MIXED,
        "R22 (R6)",
        talk(ASK, ONE, result(A), user([text("See this:"), image()])),
        picture=True,
    ),
    Case("user_parts_after_tool/text", MIXED, "R6 R22", talk(ASK, ONE, result(A), user([text("Now"), text("go on.")]))),
]

SYSTEMS = [
    Case("system_after_tool", REFUSED, "R15 R22", talk(ASK, ONE, result(A), system("Answer in French."))),
    Case(
        "system_after_tool/then_user",
        REFUSED,
        "R15 R16 R22",
        talk(ASK, ONE, result(A), system("Answer in French."), user("Go on.")),
    ),
    Case(
        "system_after_assistant",
        REFUSED,
        "R15 R16",
        {"messages": [system("s"), user("hi"), assistant("Hello!"), system("New rule."), user("bye")]},
    ),
    Case(
        "system_last_after_assistant", REFUSED, "R15", {"messages": [user("hi"), assistant("Hello!"), system("Go on.")]}
    ),
    Case("two_systems_start", TAKEN, "R15", {"messages": [system("One."), system("Two."), user("hi")]}),
    Case(
        "two_systems_start/continue_dev",
        TAKEN,
        "R15",
        {"messages": [system("One."), system("Two."), system("Three."), user("hi"), assistant("Hello!"), user("bye")]},
    ),
    Case("system_after_user", TAKEN, "R15 (R16)", {"messages": [user("hi"), system("Be brief.")]}),
    Case(
        "system_after_user/sandwich",
        TAKEN,
        "R15 R16",
        {"messages": [system("s"), user("hi"), system("Be brief."), user("And kind.")]},
    ),
    Case(
        "developer_role",
        MIXED,
        "R2",
        {"messages": [{"role": "developer", "content": "Be brief."}, user("hi")]},
    ),
    Case(
        "developer_role/with_system",
        MIXED,
        "R2 R15",
        {"messages": [system("s"), {"role": "developer", "content": "Be brief."}, user("hi")]},
    ),
    Case(
        "developer_role/parts_named",
        MIXED,
        "R1 R2 R6",
        {
            "messages": [
                {"role": "developer", "name": "app", "content": [text("Be brief."), text("Be kind.")]},
                user("hi"),
            ]
        },
    ),
    Case(
        "developer_mid",
        REFUSED,
        "R2 R15 R16",
        {"messages": [user("hi"), assistant("Hello!"), {"role": "developer", "content": "Rule."}, user("bye")]},
    ),
    Case("unknown_role/human", REFUSED, "R2", {"messages": [{"role": "human", "content": "hi"}]}),
    Case(
        "unknown_role/ai_model",
        REFUSED,
        "R2",
        {
            "messages": [
                user("a"),
                {"role": "ai", "content": "b"},
                user("c"),
                {"role": "model", "content": "d"},
                user("e"),
            ]
        },
    ),
    Case(
        "unknown_role/wizard",
        REFUSED,
        "",
        {"messages": [user("hi"), {"role": "wizard", "content": "abracadabra"}]},
        refused="messages.1.role",
    ),
    Case("unknown_role/missing", REFUSED, "", {"messages": [{"content": "hi"}]}, refused="messages.0.role"),
    Case("unknown_role/number", REFUSED, "", {"messages": [{"role": 7, "content": "hi"}]}, refused="messages.0.role"),
]

ROWS = [
    Case("consecutive_users", TAKEN, "R16", {"messages": [user("a"), user("b"), user("c")]}),
    Case(
        "consecutive_users/parts",
        TAKEN,
        "R16 (R6)",
        {"messages": [user("a"), user([text("b"), image()]), user("c")]},
        picture=True,
    ),
    Case(
        "consecutive_assistants",
        TAKEN,
        "R16",
        {"messages": [user("a"), assistant("b"), assistant("c"), user("d")]},
    ),
    Case(
        "consecutive_assistants/bridge_text",
        TAKEN,
        "R16",
        {"messages": [user("a"), assistant(" "), assistant("c"), user("d")]},
    ),
    Case(
        "assistant_text_then_calls_split",
        MIXED,
        "R16 (R23)",
        talk(ASK, assistant("Let me look."), ONE, result(A)),
    ),
    Case(
        "assistant_text_then_calls_split/calls_then_text",
        REFUSED,
        "R17 (R16 R23)",
        talk(ASK, ONE, assistant("Hm."), user("Well?")),
    ),
    Case("assistant_first", TAKEN, "R21", {"messages": [assistant("Hi, I am here."), user("hi")]}),
    Case("system_assistant_first", TAKEN, "R21", {"messages": [system("s"), assistant("Hi!"), user("hi")]}),
    Case("empty_messages", REFUSED, "", {"messages": []}, refused="messages"),
    Case("empty_messages/none", REFUSED, "", {}, refused="messages"),
    Case("empty_messages/null", REFUSED, "", {"messages": None}, refused="messages"),
    Case("empty_messages/text", REFUSED, "", {"messages": "hi"}, refused="messages"),
    Case("empty_messages/not_objects", REFUSED, "", {"messages": [user("hi"), "hi"]}, refused="messages.1"),
    Case("last_assistant_prefill", REFUSED, "R29", {"messages": [user("hi"), assistant("Sure, ")]}),
    Case(
        "last_assistant_prefill/stopped_answer",
        REFUSED,
        "R29",
        {"messages": [system("s"), user("hi"), assistant("Hello!"), user("Count."), assistant("1, 2, ")]},
    ),
    Case(
        "last_assistant_prefix_true/mistral_sdk",
        REFUSED,
        "R29",
        {"messages": [user("hi"), {"role": "assistant", "content": "Sure, ", "prefix": True}]},
        gives={"continue_final_message": True, "add_generation_prompt": False},
    ),
    Case(
        "last_assistant_continue_flags/vllm",
        TAKEN,
        "=",
        {
            "messages": [user("hi"), assistant("Sure, ")],
            "continue_final_message": True,
            "add_generation_prompt": False,
        },
        gives={"continue_final_message": True, "add_generation_prompt": False},
    ),
    Case(
        "last_assistant_continue_flags/alone",
        TAKEN,
        "R29",
        {"messages": [user("hi"), assistant("Sure, ")], "continue_final_message": True},
        gives={"continue_final_message": True, "add_generation_prompt": False},
    ),
    Case("last_assistant_tool_call_pending", REFUSED, "R17", talk(ASK, ONE)),
    Case("last_assistant_tool_call_pending/text", REFUSED, "R17 (R23)", talk(ASK, calls(call(A), content="I look."))),
]

PAIRS = [
    Case("tool_first", REFUSED, "R20", talk(result(A))),
    Case("tool_first/then_user", MIXED, "R16 R20", talk(result(A), user("Well?"))),
    Case(
        "tool_first/trimmed_history", REFUSED, "R20", talk(system("s"), result(A), assistant("Sun."), user("Thanks."))
    ),
    Case("tool_after_user", REFUSED, "R16 R20", talk(ASK, result(A))),
    Case("tool_after_plain_assistant", MIXED, "R20", talk(ASK, assistant("Hm."), result(A))),
    Case("orphan_call_then_user", TAKEN, "R17 R22", talk(ASK, ONE, user("Stop."))),
    Case(
        "orphan_call_then_user/answered_later",
        REFUSED,
        "R17 R22",
        talk(ASK, ONE, user("Stop."), assistant("Stopped."), user("Thanks.")),
    ),
    Case("orphan_call_then_assistant", REFUSED, "R17", talk(ASK, ONE, assistant("It failed."), user("Why?"))),
    Case(
        "orphan_call_then_assistant/calls_again",
        REFUSED,
        "R17",
        talk(ASK, ONE, calls(call(B), content=""), result(B)),
    ),
    Case("partial_results_then_user", MIXED, "R17 R22", talk(ASK, TWO, result(A), user("Stop."))),
    Case("partial_results_then_assistant", REFUSED, "R17", talk(ASK, TWO, result(B), assistant("Half."), user("Hm."))),
    Case("partial_results_last", TAKEN, "R17", talk(ASK, TWO, result(A))),
    Case(
        "extra_result", REFUSED, "R20 (R22)", talk(ASK, ONE, result(A), result(B, "12:00"), assistant("Ok."), user("k"))
    ),
    Case("extra_result/last", MIXED, "R20 R22", talk(ASK, ONE, result(A), result(B, "12:00"))),
    Case("duplicate_result", MIXED, "R18", talk(ASK, ONE, result(A, "sunny"), result(A, "still sunny"))),
    Case(
        "duplicate_result/retried",
        REFUSED,
        "R18",
        talk(ASK, ONE, result(A, "timeout"), result(A, "sunny"), assistant("Sun."), user("Thanks.")),
    ),
    Case("results_out_of_order", TAKEN, "R19", talk(ASK, TWO, result(B, "12:00"), result(A, "sunny"))),
    Case(
        "results_interleaved_user",
        REFUSED,
        "R19 R22",
        talk(ASK, TWO, result(A), user("Hurry."), result(B, "12:00")),
    ),
    Case(
        "results_interleaved_user/zed",
        REFUSED,
        "R19 R22",
        talk(ASK, ONE, user("Hurry."), result(A), assistant("Sun."), user("Thanks.")),
    ),
    Case(
        "late_result",
        REFUSED,
        "R19 (R22)",
        talk(ASK, ONE, assistant("I wait."), result(A), user("Well?")),
    ),
    Case(
        "late_result/after_a_turn",
        REFUSED,
        "R19 R22 R29",
        talk(ASK, ONE, user("Meanwhile, a joke?"), assistant("Ha."), result(A)),
    ),
    Case("call_in_first_message", MIXED, "R21 R22", talk(ONE, result(A), user("Well?"))),
    Case("call_in_first_message/system", TAKEN, "R21", talk(system("s"), ONE, result(A), assistant("Sun."), user("k"))),
    Case("call_in_first_message/parallel", MIXED, "R21", talk(TWO, result(A), result(B, "12:00"))),
]

CASES = [*RESULTS, *USERS_AFTER, *SYSTEMS, *ROWS, *PAIRS]
