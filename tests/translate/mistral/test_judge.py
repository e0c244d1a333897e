"""Whether messages are canonical, at a glance."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.translate.mistral.foreign import READ_MESSAGE
from router.translate.mistral.judge import Judge, is_plain, past_steps
from router.translate.mistral.message import Assistant, Message, Turn
from router.translate.mistral.order import Placement
from router.translate.mistral.pairing import Pairing
from router.translate.notes import Notes
from router.translate.profile import PRESETS, STRICTEST, Profile

KNOWN = frozenset(("f",))
USER = {"role": "user", "content": "u"}
SYSTEM = {"role": "system", "content": "s"}
SAID = {"role": "assistant", "content": "a"}
PROFILES = [*PRESETS.values(), Profile(nine_ids=False, bridge=False), Profile(bridge=False)]


def call(ident: str = "abcDEF123", name: str = "f", arguments: Any = "{}", **more: Any) -> dict[str, Any]:
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def calls(*made: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": "", "tool_calls": [*made], **more}


def result(ident: str = "abcDEF123", **more: Any) -> dict[str, Any]:
    return {"role": "tool", "content": "r", "tool_call_id": ident, **more}


def message(value: dict[str, Any]) -> Message:
    return READ_MESSAGE.decode(json.dumps(value))


PLAIN = [USER, {**USER, "content": ""}, SYSTEM, SAID, calls(call()), calls(call(), call("x", "other")), result()]
ODD = [
    {"role": "user"},
    {**USER, "content": None},
    {**USER, "content": ["a"]},
    {**USER, "name": None},
    {**SYSTEM, "content": ""},
    {"role": "developer", "content": "d"},
    {**SAID, "content": ""},
    {**SAID, "tool_calls": []},
    {**SAID, "tool_calls": None},
    {**SAID, "refusal": None},
    {**SAID, "annotations": []},
    {**SAID, "audio": None},
    {**SAID, "function_call": None},
    {**SAID, "reasoning": "t"},
    {**SAID, "reasoning_content": None},
    {**SAID, "reasoning_details": []},
    {**SAID, "prefix": False},
    {**SAID, "provider_specific_fields": {}},
    {**SAID, "name": "n"},
    calls(call(index=0)),
    calls(call(provider_specific_fields=None)),
    calls(call(extra_content={})),
    calls(call(arguments={})),
    calls(call(arguments=5)),
    calls(call(arguments="")),
    calls(call(name="a.b")),
    {**calls(call()), "content": None},
    result(name="f"),
    result(content=5),
    {"role": "tool", "tool_call_id": "abcDEF123"},
]


@pytest.mark.parametrize("value", PLAIN)
def test_a_canonical_message_is_plain(value: dict[str, Any]) -> None:
    assert is_plain(message(value), KNOWN)


@pytest.mark.parametrize("value", ODD)
def test_what_a_rule_looks_at_is_not(value: dict[str, Any]) -> None:
    assert not is_plain(message(value), KNOWN)


@pytest.mark.parametrize("value", [value for value in ODD if value["role"] in ("assistant", "tool")])
def test_a_row_of_steps_ends_where_a_message_is_not_plain(value: dict[str, Any]) -> None:
    is_result = value["role"] == "tool"
    step = [calls(call()), value] if is_result else [value, result()]

    assert past_steps([message(one) for one in (calls(call()), result(), *step)], 0, KNOWN) == 2


@pytest.mark.parametrize(
    "step",
    [
        [calls(call("call_0")), result("call_0")],
        [calls(call("abcDEF12é")), result("abcDEF12é")],
        [calls(call()), result("abcDEF124")],
        [calls(call(name="no name")), result()],
        [SAID, SAID, calls(call()), result()],
        [USER, calls(call()), result()],
        [SAID, USER, USER, calls(call()), result()],
        [{**SAID, "content": ""}, USER, calls(call()), result()],
        [SAID, calls(call()), result()],
        [SAID, {**USER, "name": "n"}, calls(call()), result()],
        [SAID, SYSTEM, calls(call()), result()],
        [SAID, USER],
        [calls(call(), call("abcDEF124")), result()],
        [calls(call()), USER],
        [USER, result()],
        [calls(call())],
    ],
)
def test_a_row_of_steps_ends_where_a_step_needs_a_closer_look(step: list[dict[str, Any]]) -> None:
    assert past_steps([message(one) for one in (calls(call()), result(), *step)], 0, KNOWN) == 2


def test_between_two_steps_of_a_row_assistant_and_user_may_speak() -> None:
    step = [calls(call()), result()]
    row = [message(one) for one in [*step, SAID, USER, *step, SAID, USER, SAID, USER, *step, SAID, USER]]

    assert past_steps(row, 0, KNOWN) == 12
    assert past_steps(row, 2, KNOWN) == 12


def test_a_row_of_steps_may_begin_anywhere_and_end_with_the_conversation() -> None:
    row = [message(one) for one in [USER, *[calls(call()), result()] * 3]]

    assert past_steps(row, 1, KNOWN) == 7
    assert past_steps(row, 0, KNOWN) == 0
    assert past_steps([], 0, KNOWN) == 0


STEP = st.sampled_from(
    [
        [USER],
        [SYSTEM],
        [SAID],
        [SAID, USER],
        [{**SAID, "content": ""}, USER],
        [result()],
        [calls(call()), result()],
        [calls(call()), result(), SAID, USER, calls(call()), result()],
        [calls(call(), content="text"), result()],
        [calls(call()), result(name="f")],
        [calls(call("call_0")), result("call_0")],
        [calls(call(), call("abcDEF124")), result(), result("abcDEF124")],
        [calls(call(), call()), result(), result()],
        [calls(call())],
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(STEP, max_size=6), st.sampled_from(PROFILES))
def test_what_the_judge_passes_is_what_pairing_and_placement_leave_alone(
    steps: list[list[dict[str, Any]]], profile: Profile
) -> None:
    messages = [message(value) for step in steps for value in step]
    notes = Notes()
    turns = Pairing(profile, notes).paired([Turn(value, number) for number, value in enumerate(messages)])
    paired = not notes.repaired and not notes.lost
    placement = Placement(profile, notes)
    for turn in turns:
        placement.add(turn)
    placement.finish(continues=True)

    order = Judge(profile).look(messages)

    assert order.is_paired == paired
    if paired and messages:
        assert order.is_placed == (not notes.repaired)


@settings(max_examples=200, deadline=None)
@given(st.lists(STEP, max_size=6), st.sampled_from(PROFILES))
def test_passing_over_steps_changes_nothing_about_the_order(
    steps: list[list[dict[str, Any]]], profile: Profile
) -> None:
    messages = [message(value) for step in steps for value in step]
    judge = Judge(profile)
    glance = judge.glance(messages, KNOWN)

    if all(is_plain(value, KNOWN) for value in messages):
        assert glance.plain == len(messages)
        assert glance.order == judge.look(messages)
    else:
        assert not is_plain(messages[glance.plain], KNOWN)
        assert not glance.order.is_placed


def test_a_long_conversation_is_looked_at_without_its_steps() -> None:
    messages = [message(value) for value in [SYSTEM, USER, *[calls(call()), result()] * 50, SAID]]

    assert [type(value) for value in Judge(STRICTEST).glance(messages, KNOWN).rest].count(Assistant) == 2
