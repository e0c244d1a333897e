"""The top level of a request, as far as it is known by name; values stay the bytes they were.

A key that stands here costs nothing; any other makes the reading of a request that needs repairs a little slower.
"""

from msgspec import UNSET, Struct, UnsetType

from router.translate.mistral.message import Field, Message


class KnownFields(Struct, forbid_unknown_fields=True, gc=False):
    """What OpenAI, Mistral and vLLM know, and what clients are seen to send besides."""

    messages: list[Message] | UnsetType = UNSET
    model: str | UnsetType | None = UNSET
    stream: bool | UnsetType | None = UNSET
    # OpenAI
    audio: Field = UNSET
    frequency_penalty: Field = UNSET
    function_call: Field = UNSET
    functions: Field = UNSET
    logit_bias: Field = UNSET
    logprobs: Field = UNSET
    max_completion_tokens: Field = UNSET
    max_tokens: Field = UNSET
    metadata: Field = UNSET
    modalities: Field = UNSET
    moderation: Field = UNSET
    n: Field = UNSET
    parallel_tool_calls: Field = UNSET
    prediction: Field = UNSET
    presence_penalty: Field = UNSET
    prompt_cache_key: Field = UNSET
    prompt_cache_options: Field = UNSET
    prompt_cache_retention: Field = UNSET
    reasoning_effort: Field = UNSET
    response_format: Field = UNSET
    safety_identifier: Field = UNSET
    seed: Field = UNSET
    service_tier: Field = UNSET
    stop: Field = UNSET
    store: Field = UNSET
    stream_options: Field = UNSET
    temperature: Field = UNSET
    tool_choice: Field = UNSET
    tools: Field = UNSET
    top_logprobs: Field = UNSET
    top_p: Field = UNSET
    user: Field = UNSET
    verbosity: Field = UNSET
    web_search_options: Field = UNSET
    # Mistral, OpenRouter, Anthropic
    prompt_mode: Field = UNSET
    provider: Field = UNSET
    random_seed: Field = UNSET
    reasoning: Field = UNSET
    safe_prompt: Field = UNSET
    thinking: Field = UNSET
    transforms: Field = UNSET
    usage: Field = UNSET
    # vLLM
    add_generation_prompt: Field = UNSET
    add_special_tokens: Field = UNSET
    allowed_token_ids: Field = UNSET
    bad_words: Field = UNSET
    cache_salt: Field = UNSET
    chat_template: Field = UNSET
    chat_template_kwargs: Field = UNSET
    continue_final_message: Field = UNSET
    documents: Field = UNSET
    echo: Field = UNSET
    ec_transfer_params: Field = UNSET
    guided_choice: Field = UNSET
    guided_grammar: Field = UNSET
    guided_json: Field = UNSET
    guided_regex: Field = UNSET
    ignore_eos: Field = UNSET
    include_reasoning: Field = UNSET
    include_stop_str_in_output: Field = UNSET
    kv_transfer_params: Field = UNSET
    length_penalty: Field = UNSET
    logits_processors: Field = UNSET
    min_p: Field = UNSET
    min_tokens: Field = UNSET
    mm_processor_kwargs: Field = UNSET
    priority: Field = UNSET
    prompt_logprobs: Field = UNSET
    repetition_penalty: Field = UNSET
    request_id: Field = UNSET
    return_prompt_text: Field = UNSET
    return_token_ids: Field = UNSET
    return_tokens_as_token_ids: Field = UNSET
    skip_special_tokens: Field = UNSET
    spaces_between_special_tokens: Field = UNSET
    stop_token_ids: Field = UNSET
    structured_outputs: Field = UNSET
    top_k: Field = UNSET
    truncate_prompt_tokens: Field = UNSET
    use_beam_search: Field = UNSET
    vllm_xargs: Field = UNSET


class LooseFields(KnownFields, forbid_unknown_fields=False, gc=False):
    """The same of a request that has other keys too; they are passed over (R36)."""
