"""T7: translated for a chat template, every request of the corpus is one that Mistral's templates render."""

import json
from typing import Any

import pytest

from router.translate.mistral.request import translate
from tests.translate.corpus.requests import ACCEPTED
from tests.translate.real.workers import NEWEST, Fleet
from tests.translate.targets import PROFILES, dump, has_text_beside_calls

VERSIONS = {
    "v3": {},
    "v7": {},
    "v11": {},
    "v13": {},
    "v15": {"thinking_support": True, "reasoning_effort_values": ["none", "high"], "reasoning_effort_default": "none"},
}
PLAIN = {
    "spm": False,
    "image_support": True,
    "audio_support": False,
    "thinking_support": False,
    "default_system_prompt": None,
    "plain_thinking_support": False,
    "use_special_token_variables": True,
    "model_settings_fields": None,
    "reasoning_effort_values": None,
    "reasoning_effort_default": None,
}
UNSERVED = {"v3": "R23 is for tokenizers: a v3 template takes no text beside calls"}


def bodies(profile: str) -> list[dict[str, Any]]:
    return [json.loads(translate(dump(case.request), PROFILES[profile]).body) for case in ACCEPTED]


@pytest.mark.parametrize("profile", ["template", "strictest"])
@pytest.mark.parametrize("version", VERSIONS)
def test_mistrals_own_templates_render_it(fleet: Fleet, profile: str, version: str) -> None:
    """The templates that mistral-common generates; they check the order of roles, parts of content, and ids."""
    made = bodies(profile)
    arguments = {**PLAIN, **VERSIONS[version], "tokenizer_version": version}
    (answer,) = fleet.ask_all([(NEWEST, {"template": arguments, "bodies": made})])

    failed = {
        case.name: result["error"]
        for case, body, result in zip(ACCEPTED, made, answer["results"], strict=True)
        if "error" in result and not (version in UNSERVED and has_text_beside_calls(body))
    }
    assert not failed, "\n".join(f"{name}: {error}" for name, error in failed.items())


def out_of_turn(messages: list[dict[str, Any]]) -> str | None:
    """What the strictest of Mistral's templates objects to, if anything.

    At most one system message, in front; then user and assistant in turn, where results and assistants with calls do
    not count; an assistant says or calls something; the results of a call follow it.
    """
    rest = messages[1:] if messages and messages[0]["role"] == "system" else messages
    turn = 0
    pending: list[str] = []
    for number, message in enumerate(rest):
        role, made = message["role"], message.get("tool_calls") or []
        if role not in ("user", "assistant", "tool"):
            return f"{number}: role {role}"
        if role == "tool":
            if message["tool_call_id"] not in pending:
                return f"{number}: the result of no call"
            pending.remove(message["tool_call_id"])
            continue
        if pending:
            return f"{number}: calls without results"
        pending = [call["id"] for call in made]
        if role == "assistant" and not made and not message.get("content"):
            return f"{number}: an assistant without text and calls"
        if made:
            continue
        if (role == "user") != (turn % 2 == 0):
            return f"{number}: {role} out of turn"
        turn += 1
    return None


@pytest.mark.parametrize("profile", ["template", "template-text", "strictest"])
def test_user_and_assistant_take_turns(profile: str) -> None:
    wrong = {
        case.name: problem
        for case, body in zip(ACCEPTED, bodies(profile), strict=True)
        if (problem := out_of_turn(body["messages"]))
    }

    assert not wrong, "\n".join(f"{name}: {problem}" for name, problem in wrong.items())


def test_the_check_of_turns_finds_what_is_wrong() -> None:
    """It has to object to a good part of the requests as they came, or it would prove nothing."""
    plain = [case.body["messages"] for case in ACCEPTED if all(_is_plain(each) for each in case.body["messages"])]

    objected = [messages for messages in plain if out_of_turn(messages)]
    assert len(objected) > len(plain) / 5


def _is_plain(message: dict[str, Any]) -> bool:
    calls = message.get("tool_calls") or []
    return (
        "content" in message
        and all("id" in call for call in calls)
        and (message["role"] != "tool" or "tool_call_id" in message)
    )
