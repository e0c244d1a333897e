from typing import Any

import pytest

from router.simulator.prompt import render, truncated
from router.simulator.refusals import Refusal
from router.simulator.settings import Settings
from router.simulator.tokens import INST_END, decode

SETTINGS = Settings()
USER = {"role": "user", "content": "Hello"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def text(**body: Any) -> str:
    return decode(render(body, SETTINGS))


def test_a_conversation_is_rendered_with_its_marks() -> None:
    messages = [{"role": "system", "content": "Be brief."}, USER, {"role": "assistant", "content": "Hi"}, USER]

    assert text(messages=messages) == (
        "<s>[SYSTEM_PROMPT]Be brief.[/SYSTEM_PROMPT][INST]Hello[/INST]Hi</s>[INST]Hello[/INST]"
    )


def test_parts_are_joined_and_images_count() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]

    assert text(messages=[{"role": "user", "content": parts}]) == "<s>[INST]ab[/INST]"
    assert "[IMG]" in text(messages=[{"role": "user", "content": [*parts, IMAGE]}])
    with pytest.raises(Refusal, match="not a multimodal model"):
        render({"messages": [{"role": "user", "content": [IMAGE]}]}, Settings(vision=False))


def test_a_message_to_be_continued_is_left_open() -> None:
    messages = [USER, {"role": "assistant", "content": "One, two"}]
    rendered = text(messages=messages, continue_final_message=True, add_generation_prompt=False)

    assert rendered == "<s>[INST]Hello[/INST]One, two"


def test_tools_and_their_calls_are_part_of_the_prompt() -> None:
    call = {"id": "abcDEF123", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    result = {"role": "tool", "tool_call_id": "abcDEF123", "content": "3"}
    rendered = text(
        messages=[USER, {"role": "assistant", "content": "", "tool_calls": [call]}, result],
        tools=[{"type": "function", "function": {"name": "add"}}],
    )

    assert rendered.startswith("<s>[AVAILABLE_TOOLS]")
    assert rendered.endswith("[TOOL_RESULTS]3[/TOOL_RESULTS]")


@pytest.mark.parametrize(
    "messages",
    [
        [],
        ["x"],
        [{"role": "alien", "content": "a"}],
        [USER, {"role": "tool", "tool_call_id": "x", "content": "1"}],
        [USER, {"role": "assistant", "content": ""}, USER],
        [{"role": "user", "content": None}],
        [USER, {"role": "assistant", "content": "x"}],
    ],
)
def test_conversations_that_mistral_refuses_are_refused(messages: Any) -> None:
    with pytest.raises(Refusal, match="400"):
        render({"messages": messages}, SETTINGS)


def test_truncation_keeps_the_end() -> None:
    ids = render({"messages": [USER]}, SETTINGS)

    assert truncated(ids, {"truncate_prompt_tokens": 2})[-1] == INST_END
    assert len(truncated(ids, {"truncate_prompt_tokens": 2})) == 2
    assert truncated(ids, {"truncate_prompt_tokens": -1}) == truncated(ids, {}) == ids
