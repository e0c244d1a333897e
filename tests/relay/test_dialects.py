"""What holds for a backend: from the configuration, and from what was found."""

import pytest

from router.relay.dialects import LOSSES, Answers, Configured, Dialects, Found, StreamTools, numbers_of
from router.translate.asked import AnswerForm, RequestForm
from router.translate.profile import PRESETS, STRICTEST, Profile, Renderer

V13 = Profile(Renderer.MISTRAL_COMMON, 13, max_model_len=4096)


def dialects(configured: Configured, *, answers: Answers = Answers.AUTO) -> Dialects:
    return Dialects({"a": configured}, answers=answers)


def test_auto_passes_everything_until_a_mistral_backend_was_found() -> None:
    known = dialects(Configured())

    assert not known.of("a").translates
    assert not known.any_translates

    assert known.found("a", Found(True, V13, "0.32.0"))

    assert known.of("a").translates
    assert known.of("a").repairs
    assert known.of("a").profile == V13
    assert known.any_translates


def test_mistral_is_the_strictest_until_something_was_found() -> None:
    known = dialects(Configured("mistral"))

    assert known.of("a").translates
    assert known.of("a").profile == STRICTEST


def test_a_configured_profile_wins_but_takes_the_length_that_was_found() -> None:
    known = dialects(Configured("mistral", PRESETS["v7"]))

    known.found("a", Found(True, V13, "0.32.0"))

    assert known.of("a").profile.version == 7
    assert known.of("a").profile.max_model_len == 4096


def test_openai_is_never_asked_and_never_translated() -> None:
    known = dialects(Configured("openai"))

    assert not known.wants_probe("a")
    known.found("a", Found(True, V13))
    assert not known.of("a").translates


@pytest.mark.parametrize(
    ("answers", "mistral", "repairs"),
    [
        (Answers.AUTO, False, False),
        (Answers.AUTO, True, True),
        (Answers.STRICT, False, True),
        (Answers.AS_IS, True, False),
    ],
)
def test_answers_are_repaired_as_configured(answers: Answers, mistral: bool, repairs: bool) -> None:
    known = dialects(Configured(), answers=answers)

    known.found("a", Found(mistral, V13))

    assert known.of("a").repairs is repairs


@pytest.mark.parametrize(
    ("version", "emulates"), [("0.12.0", True), ("0.13.1", True), ("0.14.0", False), (None, False)]
)
def test_streams_with_tools_are_emulated_for_servers_that_lose_calls(version: str | None, emulates: bool) -> None:
    known = dialects(Configured())

    known.found("a", Found(True, V13, version))

    assert known.of("a").emulates is emulates


def test_calls_lost_in_a_row_turn_emulation_on_until_the_server_is_asked_again() -> None:
    known = dialects(Configured())
    known.found("a", Found(True, V13, "0.32.0"))

    assert [known.streamed("a", lost_call=True) for _ in range(LOSSES + 1)] == [False] * (LOSSES - 1) + [True, False]
    assert known.of("a").emulates

    known.found("a", Found(True, V13, "0.32.0"))
    assert not known.of("a").emulates


def test_one_odd_stream_among_others_turns_nothing_on() -> None:
    """A stop word may cut an answer at its very beginning."""
    known = dialects(Configured())
    known.found("a", Found(True, V13, "0.32.0"))

    for lost in [True, True, False] * LOSSES:
        assert not known.streamed("a", lost_call=lost)
    assert not known.of("a").emulates


def test_configured_stream_tools_hold_whatever_was_seen() -> None:
    always = dialects(Configured("mistral", stream_tools=StreamTools.EMULATE))
    never = dialects(Configured("mistral", stream_tools=StreamTools.PASSTHROUGH))
    never.found("a", Found(True, V13, "0.12.0"))
    assert not any(never.streamed("a", lost_call=True) for _ in range(LOSSES + 1))

    assert always.of("a").emulates
    assert not never.of("a").emulates


def test_finding_the_same_again_is_nothing_new() -> None:
    known = dialects(Configured())

    assert known.found("a", Found(True, V13, "0.32.0"))
    assert not known.found("a", Found(True, V13, "0.32.0"))


def test_a_status_page_is_told_dialect_profile_and_version() -> None:
    known = dialects(Configured())
    assert known.describe("a") == {"dialect": "auto"}, "it was not asked yet"

    known.found("a", Found(True, V13, "0.32.0"))

    assert known.describe("a") == {
        "dialect": "mistral",
        "profile": "mistral-common v13",
        "stream_tools": "passthrough",
        "version": "0.32.0",
    }


def test_versions_that_are_not_understood_are_none() -> None:
    assert numbers_of("0.12.0") == (0, 12)
    assert numbers_of("0.32.0+cpu") == (0, 32)
    assert [numbers_of(text) for text in (None, "", "dev", "1", "v1.2", "0.x")] == [None] * 6


def test_emulation_that_is_configured_holds_for_every_dialect() -> None:
    known = dialects(Configured("openai", stream_tools=StreamTools.EMULATE))

    assert known.of("a").emulates
    assert known.describe("a") == {"dialect": "openai", "stream_tools": "emulate"}


def test_another_configuration_keeps_what_was_found_of_backends_that_stay() -> None:
    known = Dialects({"a": Configured(), "b": Configured(), "c": Configured()})
    for name in "abc":
        known.found(name, Found(True, V13, "0.32.0"))

    known.update(
        {"a": Configured(), "c": Configured(), "d": Configured()},
        answers=Answers.AS_IS,
        request_form=RequestForm(clamp_max_tokens=True),
        answer_form=AnswerForm(),
        strangers=["c"],
    )

    assert known.of("a").profile == V13
    assert not known.of("a").repairs
    assert not known.has_found("c"), "under its name there is another server now"
    assert not known.has_found("d")
    assert known.request_form.clamp_max_tokens
    known.update({"d": Configured()}, answers=Answers.AUTO, request_form=RequestForm(), answer_form=AnswerForm())
    assert not known.any_translates


def test_a_backend_that_is_gone_is_nothing_to_fail_of() -> None:
    """Its last requests are still being finished."""
    known = Dialects({})

    assert not known.of("gone").translates
    assert known.describe("gone") == {}
    assert not known.wants_probe("gone")
    assert not known.found("gone", Found(True, V13, "0.32.0"))
    assert not any(known.streamed("gone", lost_call=True) for _ in range(LOSSES))
    assert not known.has_found("gone")
