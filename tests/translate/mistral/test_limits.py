"""How much one conversation may hold."""

import json
import time
from typing import Any

import pytest

from router.errors import InvalidRequest
from router.translate.mistral.limits import (
    MAX_ANSWER_LISTS,
    MAX_ANSWER_VALUES,
    MAX_CALLS,
    MAX_MESSAGES,
    MAX_PARTS,
    MAX_TOOLS,
    says_too_much,
)
from router.translate.mistral.request import translate
from router.translate.profile import STRICTEST

USER = {"role": "user", "content": "a"}
CALL = {"id": "abcDEF123", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ODD = {"id": "c", "custom": {"name": "f", "input": "x"}}
PART = {"type": "text", "text": "a"}
TOOL = {"type": "function", "function": {"name": "f", "description": "", "parameters": {}}}


def speaks(*calls: object) -> dict[str, Any]:
    return {"role": "assistant", "content": "", "tool_calls": list(calls)}


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([USER] * (MAX_MESSAGES + 1), "messages"),
        ([{**USER, "odd": 1}] * (MAX_MESSAGES + 1), "messages"),
        ([USER, speaks(*[CALL] * (MAX_CALLS + 1))], "messages"),
        ([USER, speaks(*[ODD] * (MAX_CALLS + 1))], "messages.1.tool_calls"),
        ([USER, *[speaks(*[ODD] * 1001)] * 5], "messages.5.tool_calls"),
        ([{"role": "user", "content": [PART] * (MAX_PARTS + 1)}], "messages.0.content"),
        ([{"role": "user", "content": [PART] * 1001}] * 10, "messages.9.content"),
        ([{"role": "user", "content": ["a"] * (MAX_PARTS + 1)}], "messages.0.content"),
    ],
)
def test_a_conversation_that_holds_too_much_is_refused(messages: list[object], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        translate(json.dumps({"messages": messages}).encode(), STRICTEST)

    assert caught.value.param == param
    assert "more than" in caught.value.message


def test_too_many_tools_are_refused() -> None:
    tools = [{**TOOL, "x": 1}] * (MAX_TOOLS + 1)

    with pytest.raises(InvalidRequest) as caught:
        translate(json.dumps({"messages": [USER], "tools": tools}).encode(), STRICTEST)

    assert caught.value.param == "tools"


def test_what_is_just_within_the_limits_is_taken() -> None:
    messages = [{"role": "user", "content": [PART] * (MAX_PARTS // 10)}] * 10

    assert translate(json.dumps({"messages": messages}).encode(), STRICTEST).body


@pytest.mark.parametrize(
    "entry", [b'{"role":"user"}', b'{"role":"tool","content":"a","tool_call_id":"x"}', b"{}", b"1"]
)
def test_a_million_messages_hold_up_nobody_for_long(entry: bytes) -> None:
    body = b'{"messages":[' + b",".join([entry] * 1_000_000) + b"]}"
    started = time.perf_counter()

    with pytest.raises(InvalidRequest):
        translate(body, STRICTEST)

    assert time.perf_counter() - started < 5, "translating them took longer than this before there was a limit"


def test_a_message_of_many_keys_holds_up_nobody_for_long() -> None:
    body = b'{"messages":[{"role":"user",' + b",".join(b'"%d":1' % number for number in range(300_000)) + b"}]}"

    with pytest.raises(InvalidRequest, match="keys and texts"):
        translate(body, STRICTEST)


def test_long_texts_with_many_quotation_marks_are_no_many_texts() -> None:
    text = 'print("a")\n' * 300_000
    body = json.dumps({"messages": [{"role": "user", "content": text, "odd": 1}]}).encode()

    assert translate(body, STRICTEST).notes.lost


def test_an_answer_says_too_much_by_its_values_or_by_its_objects_and_arrays() -> None:
    for value, most in ((b"0", MAX_ANSWER_VALUES), (b"[]", MAX_ANSWER_LISTS), (b"{}", MAX_ANSWER_LISTS)):
        for count, expected in ((most - 2, False), (most + 1, True)):
            assert says_too_much(b'{"x":[' + b",".join([value] * count) + b"]}") is expected
    assert not says_too_much(b'{"x":"' + b"[]," * MAX_ANSWER_VALUES + b'"}')
