"""Which message may stand where."""

import json
import time
from typing import Any

import msgspec
import pytest

from router.translate.mistral.foreign import READ_MESSAGE
from router.translate.mistral.message import Turn
from router.translate.mistral.order import Placement
from router.translate.notes import Notes, Rule
from router.translate.profile import PRESETS, STRICTEST, Profile

MISTRAL, TEMPLATE, OLD = PRESETS["v13"], PRESETS["template"], PRESETS["v3"]
U = {"role": "user", "content": "u"}
A = {"role": "assistant", "content": "a"}
S = {"role": "system", "content": "s"}
BRIDGE = {"role": "assistant", "content": " "}
CALLS = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"id": "abcDEF123", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
TOOL = {"role": "tool", "content": "r", "tool_call_id": "abcDEF123"}
TURN = {"role": "user", "content": " "}  # a user's, of nothing


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def placed(
    *messages: dict[str, Any], profile: Profile = STRICTEST, continues: bool = False, made: tuple[int, ...] = ()
) -> tuple[list[Any], Notes]:
    notes = Notes(explain=True)
    placement = Placement(profile, notes)
    for number, message in enumerate(messages):
        placement.add(Turn(READ_MESSAGE.decode(json.dumps(message)), number, made=number in made))
    turns = placement.finish(continues=continues)
    return [json.loads(msgspec.json.encode(turn.message)) for turn in turns], notes


@pytest.mark.parametrize("profile", [STRICTEST, MISTRAL, TEMPLATE])
@pytest.mark.parametrize("messages", [(U,), (S, U, A, U), (U, CALLS, TOOL), (S, U, CALLS, TOOL, A, U), (S,)])
def test_a_conversation_that_every_backend_takes_stays(profile: Profile, messages: tuple[dict[str, Any], ...]) -> None:
    turns, notes = placed(*messages, profile=profile)

    assert turns == [*messages]
    assert not notes.repaired


@pytest.mark.parametrize(
    "messages", [(S, S, U), (U, S), (U, S, U), (U, U), (U, A, A, U), (A, U), (S, A, U), (S, CALLS, TOOL)]
)
def test_what_mistral_common_takes_stays_for_it_alone(messages: tuple[dict[str, Any], ...]) -> None:
    turns, notes = placed(*messages, profile=MISTRAL)
    assert turns == [*messages]
    assert not notes.repaired

    assert placed(*messages, profile=TEMPLATE)[1].repaired
    assert placed(*messages)[1].repaired


@pytest.mark.parametrize("profile", [STRICTEST, MISTRAL, TEMPLATE, OLD])
def test_r14_an_assistant_that_says_nothing_goes(profile: Profile) -> None:
    turns, notes = placed(U, {**A, "content": ""}, A, U, profile=profile)

    assert turns == [U, A, U]
    assert notes.repaired == {Rule.R14}
    assert placed(U, BRIDGE, U, profile=profile)[0] == [U, BRIDGE, U]


def test_r15_a_system_that_does_not_lead_is_told_by_the_user_in_its_place() -> None:
    turns, notes = placed(S, U, A, {**S, "content": "n"}, user("u2"))

    assert turns == [S, U, A, user("n\n\nu2")]
    assert notes.lost == {Rule.R15}
    assert placed(S, U, A, {**S, "content": "n"}, user("u2"), profile=MISTRAL)[0] == turns


def test_r15_behind_a_result_too() -> None:
    turns, notes = placed(U, CALLS, TOOL, S, profile=MISTRAL)

    assert turns == [U, CALLS, TOOL, BRIDGE, user("s")]
    assert notes.lost == {Rule.R15}


def test_r15_several_that_lead_are_one_for_a_template() -> None:
    turns, notes = placed(S, {**S, "content": "t"}, U)

    assert turns == [{**S, "content": "s\n\nt"}, U]
    assert not notes.lost


def test_r15_a_system_of_thoughts_is_told_as_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "thinking", "thinking": "t"}]

    assert placed(U, A, {**S, "content": parts}, profile=PRESETS["v13-think"])[0] == [U, A, user("a\n\nt")]


def test_r16_one_role_in_a_row_is_one_message_where_roles_must_take_turns() -> None:
    turns, notes = placed(user("a"), user("b"), A, {**A, "content": "b"}, CALLS, TOOL, U)

    assert turns == [user("a\n\nb"), {**CALLS, "content": "a\n\nb"}, TOOL, BRIDGE, U]
    assert notes.repaired == {Rule.R16, Rule.R22}
    assert not notes.lost


def test_r16_mistral_common_joins_messages_itself_but_not_what_was_made_here() -> None:
    assert placed(U, U, U, profile=MISTRAL, made=(1,))[0] == [user("u\n\nu\n\nu")]


def test_r16_reasoning_of_several_is_joined() -> None:
    turns, _ = placed(U, {**A, "reasoning": "s"}, A, {**A, "reasoning": "t"}, U, profile=Profile(thinking=True))

    assert turns[1] == {**A, "content": "a\n\na\n\na", "reasoning": "s\n\nt"}


def test_r21_a_call_does_not_come_first() -> None:
    """mistral-common passes over the first message when it looks for the calls of results."""
    for profile in (STRICTEST, MISTRAL, TEMPLATE, OLD):
        turns, notes = placed(CALLS, TOOL, profile=profile)
        assert turns == [user(""), CALLS, TOOL]
        assert notes.repaired == {Rule.R21}


def test_r21_for_a_template_no_assistant_does() -> None:
    assert placed(A, U)[0] == [user(""), A, U]
    assert placed(S, CALLS, TOOL)[0] == [S, user(""), CALLS, TOOL]


def test_r22_between_a_result_and_a_user_the_assistant_speaks() -> None:
    turns, notes = placed(U, CALLS, TOOL, U)

    assert turns == [U, CALLS, TOOL, BRIDGE, U]
    assert notes.repaired == {Rule.R22}
    assert placed(*turns)[0] == turns
    assert placed(U, CALLS, TOOL, U, profile=Profile(bridge=False))[0] == [U, CALLS, TOOL, U]


def test_r23_the_oldest_tokenizers_take_text_or_calls() -> None:
    both = {**CALLS, "content": "Let me look."}

    for messages in ((U, both, TOOL), (U, A, CALLS, TOOL), (U, A, A, both, TOOL)):
        turns, notes = placed(*messages, profile=OLD)
        assert turns == [U, CALLS, TOOL]
        assert Rule.R23 in notes.lost
    assert placed(U, both, TOOL)[0] == [U, both, TOOL]
    assert placed(A, CALLS, TOOL, profile=OLD)[0] == [user(""), CALLS, TOOL]


def test_r29_an_assistant_at_the_end_is_answered() -> None:
    turns, notes = placed(U, A)

    assert turns == [U, A, TURN]
    assert notes.repaired == {Rule.R29}


def test_r29_or_continued() -> None:
    turns, notes = placed(U, A, continues=True)

    assert turns == [U, A]
    assert not notes.repaired


@pytest.mark.parametrize("messages", [(U,), (U, CALLS, TOOL), (U, {**A, "content": ""})])
def test_r29_nobody_else_is_continued(messages: tuple[dict[str, Any], ...]) -> None:
    placement = Placement(STRICTEST, Notes())
    for message in messages:
        placement.add(Turn(READ_MESSAGE.decode(json.dumps(message)), 0))
    placement.finish(continues=True)

    assert not placement.continues


def test_r21_where_nothing_is_left_a_user_says_nothing() -> None:
    assert placed({**A, "content": ""})[0] == [user("")]


@pytest.mark.parametrize("row", [U, A, S])
def test_long_rows_take_time_in_proportion(row: dict[str, Any]) -> None:
    started = time.perf_counter()

    placed(*[row] * 20_000)

    assert time.perf_counter() - started < 3
