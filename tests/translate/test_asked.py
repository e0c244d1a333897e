"""What is taken for granted of a request that says nothing."""

from router.translate.asked import AnswerForm, Asked, ReasoningField, RequestForm, ToolChoice


def test_a_request_that_says_nothing_has_no_tools_and_no_stream() -> None:
    asked = Asked()

    assert asked.tool_choice is ToolChoice.AUTO
    assert not asked.tools
    assert not asked.names
    assert not asked.extras
    assert not (asked.stream)
    assert not (asked.include_usage)
    assert not (asked.continuous_usage)
    assert not (asked.single_call)


def test_what_is_not_configured_follows_openai_but_keeps_reasoning() -> None:
    assert AnswerForm() == AnswerForm(ReasoningField.REASONING_CONTENT, call_index=False)
    assert RequestForm() == RequestForm(continue_assistant=False, clamp_max_tokens=False)
