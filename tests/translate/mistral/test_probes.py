"""What is concluded from the answers of vLLM 0.32 that tests/data/tokenize.json holds, by tokenizer."""

import json
from pathlib import Path

import pytest

from router.translate.mistral.probes import (
    MESSAGES,
    Probe,
    Reply,
    conclude,
    is_family,
    is_mistral,
    question,
    read_reply,
)
from router.translate.profile import STRICTEST, Profile, Renderer

RECORDED = json.loads((Path(__file__).parents[2] / "data/tokenize.json").read_text())
NOW = (0, 32)


def replies_of(server: str) -> dict[Probe, Reply]:
    return {
        Probe(name): read_reply(answer["status"], json.loads(answer["body"]))
        for name, answer in RECORDED[server].items()
    }


@pytest.mark.parametrize(
    ("server", "version", "thinking", "nine_ids"),
    [
        ("v3", 3, False, True),
        ("v7", 7, False, True),
        ("v11", 11, False, True),
        ("v13", 13, False, False),
        ("v13-think", 13, True, False),
        ("v13-older", 13, False, True),
        ("v15", 15, False, False),
        ("v15-think", 15, True, False),
    ],
)
def test_the_tokenizer_of_mistral_common_is_found(server: str, version: int, thinking: bool, nine_ids: bool) -> None:
    expected = Profile(
        Renderer.MISTRAL_COMMON,
        version,
        vision=False,
        thinking=thinking,
        nine_ids=nine_ids,
        bridge=False,
        strict_tools=True,
        max_model_len=4096,
    )

    assert conclude(replies_of(server), version=NOW) == expected


def test_a_chat_template_is_told_from_mistral_common() -> None:
    profile = conclude(replies_of("template"), version=NOW)

    assert profile.renderer is Renderer.TEMPLATE
    assert profile.version is None
    assert profile.nine_ids
    assert not profile.thinking, "the template has dropped the reasoning"


def test_without_answers_the_profile_is_the_strictest() -> None:
    assert conclude({}, version=None) == STRICTEST
    assert conclude({Probe.LAST_ASSISTANT: Reply(404)}, version=None) == STRICTEST


def test_a_refusal_in_other_words_tells_no_renderer() -> None:
    assert conclude({Probe.LAST_ASSISTANT: Reply(400, "no")}, version=None).renderer is None


def test_a_backend_that_refuses_a_user_after_a_tool_needs_a_bridge() -> None:
    refused = Reply(400, "Unexpected role 'user' after role 'tool'")

    assert conclude({**replies_of("v13"), Probe.USER_AFTER_TOOL: refused}, version=NOW).bridge


def test_images_are_taken_where_one_was_and_unknown_after_another_error() -> None:
    assert conclude({Probe.IMAGE: Reply(200)}, version=NOW).vision is True
    assert conclude({Probe.IMAGE: Reply(400, "cannot decode")}, version=NOW).vision is None


def test_an_older_server_is_not_sent_strict() -> None:
    assert not conclude(replies_of("v13"), version=(0, 31)).strict_tools
    assert not conclude(replies_of("v13"), version=None).strict_tools


def test_mistral_common_means_the_dialect_whatever_the_name() -> None:
    replies = replies_of("v13")

    assert is_mistral(conclude(replies, version=NOW), [["coder"]], replies)


def test_a_strict_template_means_the_dialect_for_models_of_the_family_only() -> None:
    replies = replies_of("template")
    profile = conclude(replies, version=NOW)

    assert is_mistral(profile, [["devstral"]], replies)
    assert not is_mistral(profile, [["qwen"]], replies)


def test_a_template_that_takes_everything_needs_no_dialect() -> None:
    replies = {probe: Reply(200, "hi") for probe in Probe}

    assert not is_mistral(conclude(replies, version=NOW), [["OpenHermes-Mistral"]], replies)


def test_where_nothing_can_be_asked_the_name_decides() -> None:
    assert is_mistral(STRICTEST, [["mistralai/Devstral-Small-2507"]], {})
    assert not is_mistral(STRICTEST, [["qwen3-coder"]], {})


@pytest.mark.parametrize(
    "name", ["devstral", "Mistral-Large", "mixtral-8x22b", "x/Magistral", "Ministral-3", "pixtral"]
)
def test_the_family_is_known_by_its_names(name: str) -> None:
    assert is_family([name])


@pytest.mark.parametrize("payload", [None, [], "x", {}, {"error": "x"}, {"error": {"message": 3}}, {"token_strs": 3}])
def test_odd_answers_tell_nothing_and_break_nothing(payload: object) -> None:
    assert read_reply(400, payload).text == ""
    assert read_reply(200, payload).text == ""


@pytest.mark.parametrize("probe", Probe)
def test_a_question_generates_nothing_and_names_the_model(probe: Probe) -> None:
    assert question(probe, "m")["model"] == "m"
    assert "model" not in question(probe, None)
    assert question(probe, None)["messages"] == MESSAGES[probe]


def test_an_api_with_models_of_other_families_is_not_taken_for_mistrals_by_its_names() -> None:
    assert not is_mistral(STRICTEST, [["devstral"], ["llama-3.3-70b"]], {})
    assert is_mistral(STRICTEST, [["devstral"], ["my-lora", "devstral"]], {})


@pytest.mark.parametrize(
    ("status", "final"), [(200, True), (400, True), (404, True), (401, True), (500, False), (503, False), (0, False)]
)
def test_only_an_answer_or_a_path_that_is_not_there_is_final(status: int, final: bool) -> None:
    assert Reply(status).is_final is final
