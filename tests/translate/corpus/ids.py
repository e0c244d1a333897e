"""Ids of calls and results, in every form that is in use."""

from tests.translate.corpus.calls import FUNCTION, OPENAI_ID, step
from tests.translate.corpus.case import (
    MIXED,
    REFUSED,
    TAKEN,
    WEATHER,
    Case,
    Json,
    assistant,
    call,
    calls,
    result,
    user,
)


def with_id(id: object, content: object = "") -> Json:  # noqa: A002
    """Return a request with one call and its result."""
    return step(call(id), results=[result(id)], content=content)


TAILED = ("call_a_000000001", "call_b_000000001")
CASES = [
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
    Case("id_short/toolu", MIXED, "R3", with_id("toolu_01A09q90qw90lq917835lq9")),
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
        "R3 (R4)",
        step({"type": "function", "function": FUNCTION}, results=[{"role": "tool", "content": "sun"}]),
    ),
    Case(
        "id_missing_in_call/named_result",
        MIXED,
        "R3 (R4 R17 R20 R22)",
        step({"type": "function", "function": FUNCTION}, results=[result("abcDEF123")]),
    ),
    Case("id_null_in_call", REFUSED, "R3 (R4)", with_id(None)),
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
