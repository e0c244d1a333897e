"""Calls and their results."""

import json
import time
from typing import Any

import msgspec
import pytest

from router.translate.mistral.foreign import READ_MESSAGE
from router.translate.mistral.ids import nine_of
from router.translate.mistral.message import Turn
from router.translate.mistral.pairing import Pairing
from router.translate.notes import Notes, Rule
from router.translate.profile import PRESETS, STRICTEST, Profile

USER = {"role": "user", "content": "hi"}
A, B = "abcDEF123", "abcDEF124"
IMAGE = {"type": "image_url", "image_url": {"url": "data:x"}}
NOT_EXECUTED = "Tool call was not executed."


def calls(*idents: str, name: str = "f") -> dict[str, Any]:
    made = [{"id": ident, "type": "function", "function": {"name": name, "arguments": "{}"}} for ident in idents]
    return {"role": "assistant", "content": "", "tool_calls": made}


def result(ident: str | None, content: Any = "r", **more: Any) -> dict[str, Any]:
    named = {} if ident is None else {"tool_call_id": ident}
    return {"role": "tool", "content": content, **named, **more}


def turns_of(messages: tuple[dict[str, Any], ...]) -> list[Turn]:
    return [Turn(READ_MESSAGE.decode(json.dumps(message)), number) for number, message in enumerate(messages)]


def paired(*messages: dict[str, Any], profile: Profile = STRICTEST) -> tuple[list[Any], Notes]:
    notes = Notes(explain=True)
    turns = Pairing(profile, notes).paired(turns_of(messages))
    return [json.loads(msgspec.json.encode(turn.message)) for turn in turns], notes


def test_calls_with_their_results_stay_the_objects_they_are() -> None:
    notes = Notes()
    turns = turns_of((USER, calls(A, B), result(A), result(B), calls(A), result(A), USER))

    assert [*map(id, Pairing(STRICTEST, notes).paired(turns))] == [*map(id, turns)]
    assert not notes.repaired


def test_r3_a_call_and_its_result_get_the_same_id() -> None:
    turns, notes = paired(calls("call_0"), result("call_0"))

    assert turns == [calls("mupIKT56D"), result("mupIKT56D")]
    assert notes.repaired == {Rule.R3}
    assert not notes.lost


def test_r3_an_id_may_come_again_in_every_turn() -> None:
    turns, _ = paired(calls("call_0"), result("call_0", "a"), USER, calls("call_0"), result("call_0", "b"))

    own = nine_of("call_0")
    assert turns == [calls(own), result(own, "a"), USER, calls(own), result(own, "b")]


def test_r3_results_of_one_id_are_given_to_its_calls_in_order() -> None:
    turns, _ = paired(calls("x", "x"), result("x", "a"), result("x", "b"))

    assert turns == [calls(nine_of("x"), nine_of("x#2")), result(nine_of("x"), "a"), result(nine_of("x#2"), "b")]


def test_r3_results_without_id_are_given_to_calls_by_name_or_place() -> None:
    two = calls(A, name="f")
    two["tool_calls"] += calls(B, name="g")["tool_calls"]

    turns, notes = paired(two, result(None, "of g", name="g"), result(None, "of f"))

    assert turns == [two, result(A, "of f"), result(B, "of g")]
    assert Rule.R3 in notes.repaired
    assert not notes.lost


def test_r3_a_result_with_id_goes_before_one_without() -> None:
    turns, _ = paired(calls(A, B), result(None, "b"), result(A, "a"))

    assert turns == [calls(A, B), result(A, "a"), result(B, "b")]


def test_where_other_ids_are_taken_they_stay() -> None:
    free = Profile(nine_ids=False)

    turns, notes = paired(calls("call_0"), result("call_0"), profile=free)

    assert turns == [calls("call_0"), result("call_0")]
    assert not notes.repaired


def test_r12_the_name_of_a_result_goes_but_for_the_oldest_tokenizers_with_tools() -> None:
    turns, notes = paired(calls(A), result(A, name="mcp.server/get weather"))
    assert turns == [calls(A), result(A)]
    assert notes.repaired == {Rule.R12}
    assert not notes.lost

    for named in (result(A), result(A, name="other")):
        turns, notes = paired(calls(A), named, profile=PRESETS["v2"])
        assert turns == [calls(A), result(A, name="f")]
        assert notes.repaired == {Rule.R12}
    assert not paired(calls(A), result(A, name="f"), profile=PRESETS["v2"])[1].repaired


@pytest.mark.parametrize("after", [(), (USER,), ({"role": "assistant", "content": "x"},), (calls(B), result(B))])
def test_r17_a_call_without_result_gets_one_wherever_the_conversation_stands(after: tuple[dict[str, Any], ...]) -> None:
    turns, notes = paired(USER, calls(A), *after)

    assert turns == [USER, calls(A), result(A, NOT_EXECUTED), *after]
    assert notes.repaired == {Rule.R17}


def test_r18_a_second_result_is_joined_to_the_first() -> None:
    turns, notes = paired(calls(A), result(A, "a"), result(A, "b"))

    assert turns == [calls(A), result(A, "a\n\nb")]
    assert notes.repaired == {Rule.R18}
    assert not notes.lost


def test_r19_results_take_the_order_of_their_calls() -> None:
    turns, notes = paired(calls(A, B), result(B, "b"), result(A, "a"))

    assert turns == [calls(A, B), result(A, "a"), result(B, "b")]
    assert notes.repaired == {Rule.R19}
    assert not notes.lost


@pytest.mark.parametrize("between", [USER, {"role": "system", "content": "s"}, {"role": "assistant", "content": "x"}])
def test_r19_a_late_result_moves_up_to_its_call(between: dict[str, Any]) -> None:
    turns, notes = paired(calls(A, B), result(A), between, result(B))

    assert turns == [calls(A, B), result(A), result(B), between]
    assert notes.lost == {Rule.R19}


def test_r20_a_result_without_call_is_told_by_the_user_with_its_name_or_id() -> None:
    turns, notes = paired(USER, result("zzz", "a"), result("zzz", "b", name="f"), result(None, "c"))

    assert turns == [
        USER,
        {"role": "user", "content": "[result of tool zzz]\na"},
        {"role": "user", "content": "[result of tool f]\nb"},
        {"role": "user", "content": "[result of a tool]\nc"},
    ]
    assert notes.lost == {Rule.R20}


def test_r20_a_result_of_another_call_does_not_count_for_this_one() -> None:
    turns, _ = paired(calls(A), result("zzz", "z"))

    assert turns == [calls(A), result(A, NOT_EXECUTED), {"role": "user", "content": "[result of tool zzz]\nz"}]


def test_r9_images_of_all_results_of_a_message_are_said_behind_them() -> None:
    turns = turns_of((calls(A, B), result(A, "a"), result(B, "b")))
    turns[1].media, turns[2].media = [IMAGE], [IMAGE]

    placed = Pairing(STRICTEST, Notes()).paired(turns)

    assert json.loads(msgspec.json.encode(placed[3].message)) == {"role": "user", "content": [IMAGE, IMAGE]}
    assert placed[3].made


def test_r20_images_of_a_result_without_call_stay_with_its_text() -> None:
    turns = turns_of((result("z", "a"), result("z", "")))
    turns[0].media = turns[1].media = [IMAGE]

    said = [json.loads(msgspec.json.encode(turn.message)) for turn in Pairing(STRICTEST, Notes()).paired(turns)]

    assert [message["content"] for message in said] == [
        [{"type": "text", "text": "[result of tool z]\na"}, IMAGE],
        [{"type": "text", "text": "[result of tool z]\n"}, IMAGE],
    ]


@pytest.mark.parametrize("named", [{}, {"name": "f"}, {"name": "other"}])
@pytest.mark.parametrize("ident", ["", "x"])
def test_many_results_for_many_calls_take_time_in_proportion(named: dict[str, Any], ident: str) -> None:
    turns = turns_of((calls(*[ident] * 5000), *[result(ident, **named)] * 10_000))
    started = time.perf_counter()

    Pairing(STRICTEST, Notes()).paired(turns)

    assert time.perf_counter() - started < 2
