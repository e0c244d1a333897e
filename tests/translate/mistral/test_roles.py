"""One message at a time: the turns that it means."""

import json
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from router.errors import InvalidRequest
from router.translate.mistral.foreign import READ_MESSAGE
from router.translate.mistral.message import encoded
from router.translate.mistral.names import Names
from router.translate.mistral.roles import Reader, tell_dropped
from router.translate.notes import Notes, Rule
from router.translate.profile import PRESETS, STRICTEST, Profile

TEXT = {"type": "text", "text": "a"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:x"}}
SOUND = {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}
THOUGHT = {"type": "thinking", "thinking": "t"}
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
THINKING = PRESETS["v13-think"]


def read(message: dict[str, Any], profile: Profile = STRICTEST) -> tuple[list[Any], Notes]:
    """The messages that become of one, and the notes."""
    notes = Notes(explain=True)
    reader = Reader(profile, names=Names(), notes=notes)
    turns = reader.turns(READ_MESSAGE.decode(json.dumps(message)), 4)
    return [json.loads(msgspec.json.encode(turn.message)) for turn in turns], notes


def assistant(content: Any = "", **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": "x"},
        {"role": "user", "content": ""},
        {"role": "user", "content": [TEXT, IMAGE, TEXT]},
        {"role": "system", "content": "x"},
        assistant("x"),
        assistant("", tool_calls=[CALL]),
        {"role": "tool", "content": "", "tool_call_id": "a"},
    ],
)
def test_a_canonical_message_stays_and_nothing_is_noted(message: dict[str, Any]) -> None:
    turns, notes = read(message)

    assert turns == [message]
    assert not notes.repaired


@pytest.mark.parametrize("role", ["user", "system", "assistant"])
def test_r1_a_name_is_lost_and_a_null_is_not(role: str) -> None:
    message = {"role": role, "content": "x"}

    for name, lost in (("bob", {Rule.R1}), (None, set())):
        turns, notes = read({**message, "name": name})
        assert turns == [message]
        assert notes.repaired == {Rule.R1}
        assert notes.lost == lost


def test_r1_what_was_meant_for_another_backend_is_no_loss() -> None:
    notes = Notes()
    tell_dropped("cache_control", Raw(b'{"type":"ephemeral"}'), 0, notes)
    tell_dropped("provider_specific_fields", Raw(b'{"a":1}'), 0, notes)

    assert not notes.lost


def test_r1_r5_a_dumped_answer_of_openai_python_keeps_its_text() -> None:
    dumped = assistant("x", refusal=None, annotations=[], audio=None, function_call=None, tool_calls=None)

    turns, notes = read(dumped)

    assert turns == [assistant("x")]
    assert notes.repaired == {Rule.R1, Rule.R5}
    assert not notes.lost


def test_r2_a_developer_is_the_system() -> None:
    turns, notes = read({"role": "developer", "content": "x"})

    assert turns == [{"role": "system", "content": "x"}]
    assert notes.repaired == {Rule.R2}


@pytest.mark.parametrize("content", [None, [], [{"type": "text", "text": ""}]])
def test_r7_missing_content_of_a_user_is_empty_and_a_system_goes(content: Any) -> None:
    turns, notes = read({"role": "user", "content": content})
    assert turns == [{"role": "user", "content": ""}]
    assert Rule.R7 in notes.repaired

    turns, notes = read({"role": "system", "content": content})
    assert turns == []
    assert Rule.R7 in notes.repaired


@pytest.mark.parametrize("role", ["user", "system", "assistant"])
def test_r6_texts_of_a_list_become_one_as_the_tokenizer_joins_them(role: str) -> None:
    message = {"role": role, "content": [TEXT, "b"]}

    for profile, text in ((STRICTEST, "a\n\nb"), (PRESETS["v13"], "a\n\nb"), (PRESETS["v15"], "ab")):
        turns, notes = read(message, profile)
        assert turns == [{"role": role, "content": text}]
        assert notes.repaired == {Rule.R6}
        assert not notes.lost


def test_r6_parts_beside_an_image_keep_what_the_backend_knows() -> None:
    turns, notes = read({"role": "user", "content": ["a", {**IMAGE, "cache_control": {}}]})

    assert turns == [{"role": "user", "content": [TEXT, IMAGE]}]
    assert notes.repaired == {Rule.R6}


def test_r6_a_refusal_is_what_was_said() -> None:
    turns, notes = read(assistant(None, refusal="no"))

    assert turns == [assistant("no")]
    assert not notes.lost


def test_r1_a_refusal_beside_a_text_is_lost() -> None:
    turns, notes = read(assistant("x", refusal="no"))

    assert turns == [assistant("x")]
    assert notes.lost == {Rule.R1}


@pytest.mark.parametrize("role", ["system", "assistant"])
def test_r9_only_users_say_images(role: str) -> None:
    turns, notes = read({"role": role, "content": [TEXT, IMAGE]})

    assert turns == [{"role": role, "content": "a"}]
    assert notes.lost == {Rule.R9}


def test_r5_calls_without_content_get_an_empty_text() -> None:
    for message in (assistant(None, tool_calls=[CALL]), {"role": "assistant", "tool_calls": [CALL]}):
        turns, notes = read(message)
        assert turns == [assistant("", tool_calls=[CALL])]
        assert notes.repaired == {Rule.R5}


def test_r5_what_stands_beside_calls_without_content_is_read_as_ever() -> None:
    turns, notes = read(assistant(None, tool_calls=[CALL], refusal=None, reasoning_content="t"))
    assert turns == [assistant("", tool_calls=[CALL])]
    assert (notes.repaired, notes.lost) == ({Rule.R1, Rule.R5, Rule.R10}, {Rule.R10})

    turns, notes = read(assistant(None, tool_calls=[CALL], refusal="no"))
    assert turns == [assistant("no", tool_calls=[CALL])]
    assert notes.repaired == {Rule.R5, Rule.R6}


def test_r5_null_and_empty_lists_of_calls_are_left_out() -> None:
    for calls in (None, []):
        turns, notes = read(assistant("x", tool_calls=calls))
        assert turns == [assistant("x")]
        assert notes.repaired == {Rule.R5}


def test_r10_reasoning_is_left_out_or_kept_where_the_backend_takes_it() -> None:
    message = assistant("x", reasoning_content="t")

    turns, notes = read(message)
    assert turns == [assistant("x")]
    assert notes.lost == {Rule.R10}

    turns, notes = read(message, THINKING)
    assert turns == [assistant([THOUGHT, {"type": "text", "text": "x"}])]
    assert not notes.lost

    turns, notes = read(message, Profile(thinking=True))
    assert turns == [assistant("x", reasoning="t")]
    assert not notes.lost


@pytest.mark.parametrize(
    ("message", "profile"),
    [
        (assistant([THOUGHT, TEXT]), THINKING),
        (assistant([THOUGHT], tool_calls=[CALL]), THINKING),
        (assistant("x", reasoning="t"), Profile(thinking=True)),
        ({"role": "system", "content": [TEXT, THOUGHT]}, THINKING),
        ({"role": "tool", "tool_call_id": "a", "content": [TEXT, IMAGE]}, PRESETS["v15"]),
    ],
)
def test_what_a_profile_takes_stays(message: dict[str, Any], profile: Profile) -> None:
    turns, notes = read(message, profile)

    assert turns == [message]
    assert not notes.repaired


def test_a_systems_thoughts_are_its_words_where_it_may_have_none() -> None:
    """Magistral's system prompt shows the model how to think in such a part."""
    turns, notes = read({"role": "system", "content": [TEXT, THOUGHT]})

    assert turns == [{"role": "system", "content": "a\n\nt"}]
    assert not notes.lost


def test_r11_a_function_call_is_a_call() -> None:
    turns, notes = read(assistant(None, function_call={"name": "f", "arguments": "{}"}))

    assert turns == [assistant("", tool_calls=[{**CALL, "id": ""}])]
    assert Rule.R11 in notes.repaired
    assert not notes.lost


def test_r11_results_among_a_users_parts_come_before_what_follows_them() -> None:
    turns, notes = read(
        {"role": "user", "content": ["first", {"type": "tool_result", "tool_use_id": "a", "content": "s"}, "then"]}
    )

    assert turns == [
        {"role": "user", "content": "first"},
        {"role": "tool", "content": "s", "tool_call_id": "a"},
        {"role": "user", "content": "then"},
    ]
    assert Rule.R11 in notes.repaired


def test_r11_a_message_of_results_alone_has_no_text() -> None:
    turns, _ = read({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": None}]})

    assert turns == [{"role": "tool", "content": "", "tool_call_id": "a"}]


def test_r11_calls_among_an_assistants_parts_are_its_calls() -> None:
    turns, notes = read(assistant(["Let me look.", {"type": "tool_use", "id": "a", "name": "f", "input": {}}]))

    assert turns == [assistant("Let me look.", tool_calls=[CALL])]
    assert not notes.lost


def test_r29_a_prefix_is_remembered_and_left_out() -> None:
    notes = Notes()
    reader = Reader(STRICTEST, names=Names(), notes=notes)

    for value, is_prefix in ((True, True), (False, False), (None, False)):
        (turn,) = reader.turns(READ_MESSAGE.decode(encoded(assistant("x", prefix=value))), 0)
        assert turn.prefix is is_prefix
        assert b"prefix" not in msgspec.json.encode(turn.message)


@pytest.mark.parametrize(
    ("version", "has_system", "may"),
    [(3, False, False), (7, False, True), (7, True, False), (11, True, True), (13, True, True), (None, True, True)],
)
def test_r9_sounds_come_with_version_7_and_beside_a_system_with_11(
    version: int | None, has_system: bool, may: bool
) -> None:
    reader = Reader(Profile(version=version), names=Names(), notes=Notes())
    assert reader.may_sound(has_system=True)

    reader.turns(READ_MESSAGE.decode(encoded({"role": "user", "content": [SOUND]})), 2)

    assert reader.audio_at == 2
    assert reader.may_sound(has_system=has_system) is may


def test_r37_a_file_is_refused_by_its_place() -> None:
    with pytest.raises(InvalidRequest) as refused:
        read({"role": "user", "content": [TEXT, {"type": "file", "file": {}}]})

    assert refused.value.param == "messages.4.content.1"
