"""The tables of keys."""

import typing

import pydantic
import pytest
from openai.types import completion_usage
from openai.types.chat import chat_completion, chat_completion_chunk, chat_completion_message
from openai.types.chat import chat_completion_message_function_tool_call as tool_call

from router.translate.mistral import fields


@pytest.mark.parametrize(
    ("keys", "declared"),
    [
        (fields.ANSWER_KEYS, chat_completion.ChatCompletion),
        (fields.ANSWER_CHOICE_KEYS, chat_completion.Choice),
        (fields.MESSAGE_KEYS, chat_completion_message.ChatCompletionMessage),
        (fields.ANSWER_CALL_KEYS, tool_call.ChatCompletionMessageFunctionToolCall),
        (fields.FUNCTION_KEYS, tool_call.Function),
        (fields.CHUNK_KEYS, chat_completion_chunk.ChatCompletionChunk),
        (fields.CHOICE_KEYS, chat_completion_chunk.Choice),
        (fields.DELTA_KEYS, chat_completion_chunk.ChoiceDelta),
        (fields.CALL_KEYS, chat_completion_chunk.ChoiceDeltaToolCall),
        (fields.FUNCTION_KEYS, chat_completion_chunk.ChoiceDeltaToolCallFunction),
        (fields.USAGE_KEYS, completion_usage.CompletionUsage),
        (fields.PROMPT_DETAILS_KEYS, completion_usage.PromptTokensDetails),
        (fields.COMPLETION_DETAILS_KEYS, completion_usage.CompletionTokensDetails),
    ],
)
def test_a_table_is_what_openai_declares(keys: frozenset[str], declared: type[pydantic.BaseModel]) -> None:
    assert keys == set(declared.model_fields)


def test_finish_reasons_are_those_that_openai_declares() -> None:
    declared = chat_completion.Choice.model_fields["finish_reason"].annotation

    assert frozenset(typing.get_args(declared)) == fields.FINISH_REASONS


def test_service_tiers_are_those_that_openai_declares() -> None:
    optional = chat_completion.ChatCompletion.model_fields["service_tier"].annotation

    assert frozenset(typing.get_args(typing.get_args(optional)[0])) == fields.SERVICE_TIERS


def test_no_key_of_vllm_is_one_of_openai() -> None:
    ours = fields.ANSWER_KEYS | fields.ANSWER_CHOICE_KEYS | fields.MESSAGE_KEYS | fields.CHUNK_KEYS | fields.DELTA_KEYS

    assert not (fields.VLLM_ONLY | set(fields.REASONING_KEYS)) & ours
